use super::*;

fn window() -> Window {
    let start = Instant::now() + Duration::from_secs(100);
    Window { start, end: start + Duration::from_secs(10) }
}

fn after(window: Window, seconds: f64) -> Instant {
    if seconds < 0.0 {
        return window.start - Duration::from_secs_f64(-seconds);
    }
    window.start + Duration::from_secs_f64(seconds)
}

fn failed() -> Failed {
    Failed { kind: "Broken".to_owned(), text: "it broke".to_owned() }
}

#[test]
fn rates_are_of_what_ends_and_latencies_of_what_begins_in_the_window() {
    let window = window();
    let mut tally = Tally::new(window);
    let mut run = |begun, ended| {
        tally.ended(Kind::Read, after(window, begun), after(window, ended), Ok(Found::Something));
    };
    run(-2.0, -1.0);
    run(-1.0, 1.0);
    run(2.0, 3.0);
    run(9.0, 13.0);
    run(10.0, 11.0);
    assert_eq!(tally.done, 2);
    assert_eq!(tally.all().count(), 2);
    assert!((tally.all().max_ms() - 4000.0).abs() < 5.0);
    assert!((tally.all().quantile_ms(0.5) - 1000.0).abs() < 2.0);
    assert!((tally.all().mean_ms() - 2500.0).abs() < 5.0);
}

#[test]
fn failures_and_misses_are_counted() {
    let window = window();
    let mut tally = Tally::new(window);
    let (at, later) = (after(window, 1.0), after(window, 20.0));
    tally.ended(Kind::Read, at, at, Ok(Found::Nothing));
    tally.ended(Kind::Put, at, at, Err(failed()));
    tally.ended(Kind::Put, at, later, Err(failed()));
    tally.ended(Kind::Put, later, later, Err(failed()));
    let mut other = Tally::new(window);
    other.ended(Kind::Put, at, at, Err(failed()));
    tally.merge(other);
    assert_eq!((tally.done, tally.missing, tally.errors), (1, 1, 3));
    assert_eq!(tally.error_kinds["Broken"], (3, "it broke".to_owned()));
    assert_eq!(tally.all().count(), 1);
}

#[test]
fn what_never_began_has_waited() {
    let window = window();
    let mut tally = Tally::new(window);
    tally.ended(Kind::Put, after(window, 1.0), after(window, 1.001), Ok(Found::Something));
    let mut other = Tally::new(window);
    for due in [-1.0, 4.0, 8.0, 10.0] {
        other.never_begun(after(window, due));
    }
    tally.merge(other);
    assert_eq!((tally.done, tally.backlog), (1, 2));
    assert!((tally.all().max_ms() - 6000.0).abs() < 10.0);
    assert_eq!(tally.by_kind()[&Kind::Put].count(), 1);
}

#[test]
fn merged_tallies_are_one() {
    let window = window();
    let (mut one, mut two) = (Tally::new(window), Tally::new(window));
    for n in 0..1000 {
        let begun = after(window, 1.0);
        let ended = begun + Duration::from_micros(n + 1);
        let tally = if n % 3 == 0 { &mut one } else { &mut two };
        let kind = if n % 2 == 0 { Kind::Read } else { Kind::Update };
        tally.ended(kind, begun, ended, Ok(Found::Something));
    }
    one.merge(two);
    assert_eq!((one.done, one.all().count()), (1000, 1000));
    assert!((one.all().quantile_ms(0.99) - 0.99).abs() < 0.002);
    assert_eq!(one.by_kind().keys().copied().collect::<Vec<_>>(), [Kind::Read, Kind::Update]);
}

#[test]
fn nothing_measured_is_no_panic() {
    let all = Tally::new(window()).all();
    assert_eq!((all.count(), all.quantile_ms(0.99), all.max_ms()), (0, 0.0, 0.0));
}
