//! The run: callers at work, and a supervisor that looks at the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::cpu;
use super::distribution::Chooser;
use super::measure::{Tally, Window};
use super::options::Settings;
use super::pace::Pace;
use super::progress::Progress;
use super::records::{Frontier, Values};
use super::target::{Caller, Target};
use super::workload::{Generator, Operation};
use crate::cli::output::Failure;

/// How long a caller waits after an error, so that a target that refuses everything is not asked in a tight loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a run has shown.
pub(super) struct Run {
    pub(super) tally: Tally,
    /// CPU time that this process used in the window.
    pub(super) own_cpu: Duration,
    /// CPU time that the processes of the cluster used in the window, if any were named.
    pub(super) pids_cpu: Option<Duration>,
}

/// Lets the callers run, and measures behind the warm-up.
pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    values: Values,
    progress: &Progress,
) -> Result<Run, Failure> {
    let frontier = Arc::new(Frontier::new(settings.records));
    let chooser = Chooser::new(settings.distribution, settings.records);
    let generator =
        Generator::new(settings.workload, chooser, frontier.clone(), values, settings.seed);

    let begin = Instant::now();
    let start = begin + Duration::from_secs(settings.warmup.into());
    let window = Window { start, end: start + Duration::from_secs(settings.seconds.into()) };
    let pace = Pace::start(begin, window.end, settings.rate);
    let ended = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for number in 0..settings.clients {
        let worker = Worker {
            caller: target.caller(number as usize),
            generator: generator.for_caller(settings.seed, number.into()),
            pace: pace.clone(),
            frontier: frontier.clone(),
            ended: ended.clone(),
        };
        callers.spawn(worker.work(window));
    }

    let (own_cpu, pids_cpu) = watch(window, settings, &ended, progress).await?;
    let mut tally = Tally::new(window);
    while let Some(worked) = callers.join_next().await {
        tally.merge(worked.map_err(Failure::refused)?);
    }
    pace.backlog().into_iter().for_each(|due| tally.never_begun(due));
    Ok(Run { tally, own_cpu, pids_cpu })
}

/// Waits until the window ends. Answers the CPU time used in it.
async fn watch(
    window: Window,
    settings: &Settings,
    ended: &AtomicU64,
    progress: &Progress,
) -> Result<(Duration, Option<Duration>), Failure> {
    let used = || -> Result<_, Failure> {
        let pids = (!settings.pids.is_empty()).then(|| cpu::of(&settings.pids));
        Ok((cpu::own(), pids.transpose().map_err(Failure::refused)?))
    };
    // That a process is not there is better told before the run than behind it.
    used()?;
    progress.tell("warming up".to_owned());
    sleep_until(window.start.into()).await;
    let (own_before, pids_before) = used()?;
    let mut last = (window.start, ended.load(Ordering::Relaxed));
    loop {
        let now = Instant::now();
        if now >= window.end {
            break;
        }
        let count = ended.load(Ordering::Relaxed);
        let rate = (count - last.1) as f64 / (now - last.0).as_secs_f64().max(1e-3);
        last = (now, count);
        let left = (window.end - now).as_secs();
        progress.tell(format!("{rate:.0} operations a second, {left} s to go"));
        sleep_until((now + Duration::from_secs(1)).min(window.end).into()).await;
    }
    let (own, pids) = used()?;
    let pids = pids.zip(pids_before).map(|(after, before)| after.saturating_sub(before));
    Ok((own.saturating_sub(own_before), pids))
}

/// A caller at work.
struct Worker {
    caller: Caller,
    generator: Generator,
    pace: Pace,
    frontier: Arc<Frontier>,
    ended: Arc<AtomicU64>,
}

impl Worker {
    async fn work(mut self, window: Window) -> Tally {
        let mut tally = Tally::new(window);
        while let Some(begun) = self.pace.next().await {
            let operation = self.generator.next();
            let kind = operation.kind();
            let inserted = match &operation {
                Operation::Insert { record, .. } => Some(*record),
                _ => None,
            };
            let result = self.caller.perform(operation).await;
            let ended = Instant::now();
            if let Some(record) = inserted {
                self.frontier.end(record);
            }
            self.ended.fetch_add(1, Ordering::Relaxed);
            let failed = result.is_err();
            tally.ended(kind, begun, ended, result);
            if failed {
                sleep(PAUSE_AFTER_ERROR).await;
            }
            // A database in this process may never make its callers wait, and others are to have their turn.
            tokio::task::consume_budget().await;
        }
        tally
    }
}
