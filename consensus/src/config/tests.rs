use super::*;

#[test]
fn the_defaults_agree_with_each_other() {
    Config::default().validate().expect("valid");
}

#[test]
fn an_election_timeout_over_a_second_is_refused_by_name() {
    let config = Config { election_ticks: 21, ..Config::default() };
    assert!(config.validate().expect_err("too long").starts_with("election_ticks = 21"));
}

#[test]
fn a_lease_ends_before_the_promise_behind_it() {
    let config = Config::default();
    assert!(config.lease_length() + config.tick <= config.election_timeout());
}
