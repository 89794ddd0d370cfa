use super::*;

fn at(schedule: &Schedule, micros: u64) -> Instant {
    schedule.start + Duration::from_micros(micros)
}

#[test]
fn operations_are_due_evenly() {
    let schedule = Schedule::new(Instant::now() + Duration::from_secs(60), 1000.0);
    assert_eq!(schedule.due(0), schedule.start);
    assert_eq!(schedule.due(2500), at(&schedule, 2_500_000));
    assert_eq!(schedule.due_by(schedule.start - Duration::from_secs(1)), 0);
    assert_eq!(schedule.due_by(schedule.start), 1);
    assert_eq!(schedule.due_by(at(&schedule, 999)), 1);
    assert_eq!(schedule.due_by(at(&schedule, 1000)), 2);
    assert_eq!(schedule.due_by(at(&schedule, 2_500_000)), 2501);
}

#[test]
fn what_is_due_is_what_has_been_counted() {
    for per_second in [0.3, 7.0, 333.3, 81_234.5] {
        let schedule = Schedule::new(Instant::now(), per_second);
        for number in [0, 1, 2, 3, 10, 999, 100_003] {
            let due = schedule.due(number);
            assert_eq!(schedule.due_by(due), number + 1, "{number} at {per_second}/s");
            if number > 0 {
                assert_eq!(schedule.due_by(due - Duration::from_nanos(1)), number);
            }
        }
    }
}

#[tokio::test]
async fn callers_who_come_late_get_the_times_that_were_due() {
    let start = Instant::now();
    let end = start + Duration::from_millis(200);
    let pace = Pace::start(start, end, Some(100.0));
    assert_eq!(pace.next().await, Some(start));
    // All callers are busy for a while: the operations of that while are late, not left out.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let begun = Instant::now();
    for number in 1..6 {
        assert_eq!(pace.next().await, Some(start + Duration::from_millis(10 * number)));
    }
    assert!(begun.elapsed() < Duration::from_millis(50), "what was due had to be waited for");
    tokio::time::sleep(end + Duration::from_millis(150) - Instant::now()).await;
    assert_eq!(pace.next().await, None);
    let backlog = pace.backlog();
    assert_eq!(backlog.first(), Some(&(start + Duration::from_millis(60))));
    assert_eq!(backlog.len(), 15, "due at 60, 70 ... 200 ms");
}

#[tokio::test]
async fn a_closed_loop_begins_at_once_until_its_end() {
    let start = Instant::now();
    let pace = Pace::start(start, start + Duration::from_millis(20), None);
    assert!(pace.next().await.is_some_and(|begun| begun < start + Duration::from_millis(20)));
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(pace.next().await, None);
    assert!(pace.backlog().is_empty());
}
