use super::*;

#[test]
fn a_job_frees_its_bytes_once_its_last_entry_is_applied() {
    let mut feed = Feed::new(10, 12);
    assert!(feed.wants(100) && !feed.is_near(100));
    feed.hand(12, 150);
    feed.commit(13);
    assert!(!feed.wants(100), "the bound is passed");
    assert!(feed.apply(11) && feed.bytes() == 150);
    assert!(feed.apply(12) && feed.bytes() == 0);
    assert!(feed.wants(100));
}

#[test]
fn word_of_a_former_life_is_no_news() {
    let mut feed = Feed::new(10, 12);
    assert!(!feed.apply(12), "never handed out in this life");
    feed.hand(12, 1);
    assert!(feed.apply(12));
    assert!(!feed.apply(11), "late");
}

#[test]
fn the_engine_flushes_no_more_than_was_applied() {
    let mut feed = Feed::new(10, 12);
    feed.flush(12);
    assert_eq!(feed.durable(), 10);
}

#[test]
fn jobs_of_before_a_snapshot_may_end_behind_it() {
    let mut feed = Feed::new(10, 12);
    feed.hand(12, 100);
    feed.reset(40);
    assert_eq!(feed.bytes(), 0);
    assert!(feed.apply(12), "it came before the snapshot");
    assert!(feed.apply(40));
}
