use super::*;

fn lease() -> Lease {
    Lease::new(Arc::default(), 700, true)
}

#[test]
fn a_lease_counts_from_the_asking() {
    let mut lease = lease();
    lease.lead(5);
    lease.grant(5, 100);
    assert!(lease.holds(799) && !lease.holds(800));
    let ticket = lease.view().begin(799).expect("holds");
    assert!(!lease.view().holds(ticket, 800), "time went by during the read");
}

#[test]
fn a_confirmation_of_another_term_grants_nothing() {
    let mut lease = lease();
    lease.lead(5);
    lease.grant(4, 100);
    assert!(!lease.holds(101));
}

#[test]
fn a_barred_leader_has_no_lease_until_its_next_term() {
    let mut lease = lease();
    lease.lead(5);
    lease.grant(5, 100);
    let ticket = lease.view().begin(101).expect("holds");
    lease.bar();
    lease.grant(5, 200);
    assert!(!lease.holds(201) && !lease.view().holds(ticket, 201));
    lease.lead(6);
    lease.grant(6, 300);
    assert!(lease.holds(301));
    assert!(!lease.view().holds(ticket, 301), "the ticket is of another term");
}

#[test]
fn replaced_data_is_not_read() {
    let mut lease = lease();
    lease.lead(5);
    lease.grant(5, 100);
    let ticket = lease.view().begin(101).expect("holds");
    let unleased = lease.view().begin_unleased().expect("readable");
    lease.view().replace_data(40);
    assert!(!lease.view().holds(ticket, 102) && !lease.view().holds_unleased(unleased));
    assert!(lease.view().begin_unleased().is_none());
    lease.view().set_applied(40);
    assert!(lease.view().begin_unleased().is_none(), "not whole yet");
    lease.view().data_restored();
    assert!(lease.view().begin_unleased().is_some() && lease.view().begin(102).is_some());
}
