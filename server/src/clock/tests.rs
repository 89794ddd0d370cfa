use std::time::{Duration, Instant};

use super::{Clock, RealClock, TestClock};

#[test]
fn the_monotonic_clock_goes_on_in_nanoseconds() {
    let (begun, instant) = (RealClock.monotonic_ns(), Instant::now());
    std::thread::sleep(Duration::from_millis(20));
    let (elapsed_ns, upper) = (RealClock.monotonic_ns() - begun, instant.elapsed());
    assert!(elapsed_ns >= 20_000_000, "{elapsed_ns}");
    // The reading is taken before the second one of `Instant`.
    assert!(u128::from(elapsed_ns) <= upper.as_nanos() + 20_000_000, "{elapsed_ns}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_monotonic_clock_counts_from_the_start_of_the_machine_asleep_or_not() {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
    let seconds: f64 = uptime.split(' ').next().expect("a figure").parse().expect("seconds");
    let ours = RealClock.monotonic_ns() as f64 / 1e9;
    assert!((ours - seconds).abs() < 10.0, "{ours} beside {seconds}");
}

#[test]
fn the_wall_clock_shows_milliseconds_of_this_century() {
    let wall_ms = RealClock.wall_ms();
    assert!((1_600_000_000_000..4_102_444_800_000).contains(&wall_ms), "{wall_ms}");
}

#[test]
fn a_test_clock_stands_still_until_it_is_set() {
    let clock = TestClock::new(5, 1_000);
    assert_eq!((clock.monotonic_ns(), clock.wall_ms()), (5, 1_000));
    clock.advance_ms(2);
    assert_eq!((clock.monotonic_ns(), clock.wall_ms()), (2_000_005, 1_002));
    clock.set_wall_ms(1);
    clock.set_monotonic_ns(7);
    assert_eq!((clock.monotonic_ns(), clock.wall_ms()), (2_000_005, 1), "one never goes back");
}
