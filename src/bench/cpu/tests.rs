use super::*;

#[test]
fn times_stand_behind_any_name() {
    let rest = "S 1 2 3 0 -1 4194560 5 6 7 8 1234 66 9 10 20 0 1 0 100 200 300";
    assert_eq!(ticks(&format!("42 (stator) {rest}")), Some(1300));
    assert_eq!(ticks(&format!("42 (a) b ) {rest}")), Some(1300));
    for broken in ["", "42 (stator", "42 (stator) S 1 2", "42 (x) S 1 2 3 4 5 6 7 8 9 a b c d"] {
        assert_eq!(ticks(broken), None, "{broken}");
    }
}

#[test]
fn work_is_seen() {
    let begun = own();
    let mut sum = 0u64;
    while own() - begun < Duration::from_millis(60) {
        sum = std::hint::black_box(sum + 1);
    }
    if cfg!(target_os = "linux") {
        let used = own();
        let seen = of(&[std::process::id()]).unwrap();
        // User and system time are rounded down, each to its tick.
        assert!(used <= seen + TICK * 3 && seen <= own() + TICK, "{used:?} seen as {seen:?}");
        assert!(of(&[std::process::id(), u32::MAX]).is_err());
    }
}
