use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Drained, Mailbox, Refused, mailbox};

const SHORT: Option<Duration> = Some(Duration::from_millis(5));
/// Far longer than any of these tests should take.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn everything_is_taken_at_once_and_in_order() {
    let (mailbox, mut inbox) = mailbox(10);
    for n in 0..5 {
        assert!(mailbox.push(n));
    }
    let mut events = Vec::new();
    assert_eq!(inbox.drain(&mut events, LONG), Drained::Events);
    assert_eq!(events, [0, 1, 2, 3, 4]);
    assert!(mailbox.is_empty());
}

#[test]
fn what_was_handled_before_is_not_seen_again() {
    let (mailbox, mut inbox) = mailbox(10);
    let mut events = Vec::new();
    mailbox.push(1);
    inbox.drain(&mut events, LONG);
    mailbox.push(2);
    inbox.drain(&mut events, LONG);
    assert_eq!(events, [2]);
    assert_eq!(inbox.drain(&mut events, SHORT), Drained::TimedOut);
    assert!(events.is_empty());
}

#[test]
fn requests_are_refused_when_full_and_events_are_not() {
    let (mailbox, mut inbox) = mailbox(2);
    assert_eq!(mailbox.try_push(1), Ok(()));
    assert!(mailbox.push(2));
    assert_eq!(mailbox.try_push(3), Err(Refused::Full(3)));
    assert!(mailbox.push(4));
    assert_eq!(mailbox.len(), 3);
    let mut events = Vec::new();
    inbox.drain(&mut events, LONG);
    assert_eq!(events, [1, 2, 4]);
    assert_eq!(mailbox.try_push(5), Ok(()), "there is room again");
}

#[test]
fn a_deadline_passes_without_events() {
    let (_mailbox, mut inbox) = mailbox::<u8>(1);
    let begun = Instant::now();
    assert_eq!(inbox.drain(&mut Vec::new(), Some(Duration::from_millis(20))), Drained::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(inbox.drain(&mut Vec::new(), Some(Duration::ZERO)), Drained::TimedOut);
}

#[test]
fn a_sleeping_consumer_is_woken() {
    let (mailbox, mut inbox) = mailbox(10);
    let consumer = thread::spawn(move || {
        let mut events = Vec::new();
        let drained = inbox.drain(&mut events, None);
        (drained, events)
    });
    until_asleep(&mailbox);
    mailbox.push(7);
    assert_eq!(consumer.join().expect("consumer"), (Drained::Events, vec![7]));
}

#[test]
fn closing_wakes_the_consumer_after_the_last_event() {
    let (mailbox, mut inbox) = mailbox(10);
    mailbox.push(1);
    mailbox.close();
    assert!(!mailbox.push(2));
    assert_eq!(mailbox.try_push(3), Err(Refused::Closed(3)));
    let mut events = Vec::new();
    assert_eq!(inbox.drain(&mut events, LONG), Drained::Events);
    assert_eq!(events, [1]);
    assert_eq!(inbox.drain(&mut events, LONG), Drained::Closed);

    let (mailbox, mut inbox) = super::mailbox::<u8>(10);
    let consumer = thread::spawn(move || inbox.drain(&mut Vec::new(), None));
    until_asleep(&mailbox);
    mailbox.close();
    assert_eq!(consumer.join().expect("consumer"), Drained::Closed);
}

#[test]
fn a_consumer_that_goes_drops_what_waits() {
    let (mailbox, inbox) = mailbox(10);
    let answer = Arc::new(());
    mailbox.push(Arc::clone(&answer));
    drop(inbox);
    assert_eq!(Arc::strong_count(&answer), 1, "nobody is left waiting for an answer");
    assert!(!mailbox.push(answer));
}

#[test]
fn the_room_of_a_burst_is_given_back() {
    let (mailbox, mut inbox) = mailbox(usize::MAX);
    for n in 0..super::ROOM_KEPT * 4 {
        mailbox.push(n);
    }
    let mut events = Vec::new();
    inbox.drain(&mut events, LONG);
    assert_eq!(events.len(), super::ROOM_KEPT * 4);
    inbox.drain(&mut events, SHORT);
    assert!(events.capacity() <= super::ROOM_KEPT);
}

#[test]
fn nothing_is_lost_between_four_producers_and_a_consumer_that_sleeps() {
    const EACH: usize = 20_000;
    let (mailbox, mut inbox) = mailbox(usize::MAX);
    let producers: Vec<_> = (0..4)
        .map(|producer| {
            let mailbox = mailbox.clone();
            thread::spawn(move || (0..EACH).for_each(|n| assert!(mailbox.push((producer, n)))))
        })
        .collect();
    let mut next = [0; 4];
    let mut events = Vec::new();
    while next.iter().sum::<usize>() < 4 * EACH {
        assert_eq!(inbox.drain(&mut events, LONG), Drained::Events, "the bell was missed");
        for &(producer, n) in &events {
            let next: &mut usize = &mut next[producer];
            assert_eq!(n, *next, "out of order");
            *next += 1;
        }
    }
    producers.into_iter().for_each(|producer| producer.join().expect("producer"));
}

/// Waits until the consumer sleeps, so that what follows has to wake it.
fn until_asleep<T>(mailbox: &Mailbox<T>) {
    while !mailbox.shared.lock().asleep {
        thread::yield_now();
    }
}

/// `cargo test -p stator-server --release -- --ignored --nocapture push_costs`
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the figure is what this is for")]
fn push_costs() {
    const EACH: u64 = 2_000_000;
    for producers in [1_u64, 4] {
        let (mailbox, mut inbox) = mailbox(usize::MAX);
        let consumer = thread::spawn(move || {
            let mut events = Vec::new();
            let (mut turns, mut taken) = (0_u64, 0_u64);
            while inbox.drain(&mut events, None) == Drained::Events {
                turns += 1;
                taken += events.len() as u64;
            }
            (turns, taken)
        });
        let begun = Instant::now();
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    for n in 0..EACH {
                        mailbox.push([n; 8]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("producer"));
        let elapsed = begun.elapsed();
        mailbox.close();
        let (turns, taken) = consumer.join().expect("consumer");
        assert_eq!(taken, producers * EACH);
        println!(
            "{producers} producers: {:.0} ns a push of 64 bytes, {:.0} events a turn",
            elapsed.as_nanos() as f64 / taken as f64,
            taken as f64 / turns as f64
        );
    }
}
