use super::*;

#[test]
fn a_job_frees_its_bytes_once_its_last_entry_is_applied() {
    let mut feed = Feed::new(10, 12);
    assert!(feed.wants(100) && !feed.is_near(100));
    feed.hand(12, 150);
    feed.commit(13, 20);
    assert!(!feed.wants(100), "the bound is passed");
    assert!(feed.apply(11) && feed.bytes() == 150);
    assert!(feed.apply(12) && feed.bytes() == 0);
    assert!(feed.wants(100));
}

#[test]
fn what_is_committed_counts_until_it_is_applied() {
    let mut feed = Feed::new(10, 10);
    feed.commit(12, 30);
    feed.commit(12, 30);
    assert_eq!(feed.backlog(), 30, "it is news once");
    feed.hand(11, 10);
    assert_eq!(feed.backlog(), 30);
    assert!(feed.apply(11) && feed.backlog() == 20);
    // More than was counted: a restart had left it.
    feed.hand(12, 50);
    assert!(feed.apply(12) && feed.backlog() == 0);
    feed.commit(13, 5);
    feed.lack();
    assert_eq!(feed.backlog(), 0, "nothing of it is going to be applied");
    feed.reset(20);
    assert_eq!(feed.backlog(), 0);
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
