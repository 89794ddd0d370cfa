//! How much CPU time has been used: by this process, and by those of a local cluster.

use std::fs;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The unit of times in `/proc`: 1/100 s on Linux, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// By all threads of this process, ended ones too.
pub(super) fn own() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap_or(0), used.tv_nsec.try_into().unwrap_or(0))
}

/// By these processes together, to a hundredth of a second each.
///
/// # Errors
/// Which of them is not there, or that the system has no `/proc`; in one line.
pub(super) fn of(pids: &[u32]) -> Result<Duration, String> {
    pids.iter()
        .map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_err(|error| format!("the CPU time of process {pid} is not known: {error}"))?;
            ticks(&stat)
                .and_then(|ticks| TICK.checked_mul(ticks))
                .ok_or_else(|| format!("/proc/{pid}/stat cannot be understood"))
        })
        .sum()
}

/// User and system time, the 14th and 15th word of `/proc/PID/stat`. The second is the program's name in parentheses, in
/// which anything may stand.
fn ticks(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut words = behind_name.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    user.checked_add(system)
}
