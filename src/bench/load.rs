//! The load phase: all records, in batches, by a few callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::options::Settings;
use super::progress::Progress;
use super::records::{Layout, Values};
use super::rng::Rng;
use super::target::{Caller, Failed, Found, Target};
use super::workload::Operation;
use crate::cli::output::Failure;

/// How many callers load at a time.
const LOADERS: usize = 32;
/// How many records a batch has at most: what DynamoDB's BatchWriteItem takes.
const BATCH_RECORDS_MAX: u64 = 25;
/// How many bytes of values a batch has at most; etcd takes requests of 1.5 MiB.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// How often a batch is sent until loading is given up. That it may be put twice does no harm: nobody else writes.
const ATTEMPTS_MAX: u32 = 8;

/// How loading went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    pub(super) records: u64,
    pub(super) seconds: f64,
}

/// What the loaders share.
struct Shared {
    records: u64,
    batch_records: u64,
    layout: Layout,
    values: Values,
    seed: u64,
    begun: AtomicU64,
    done: AtomicU64,
}

/// Puts all records.
pub(super) async fn load(
    target: &Target,
    settings: &Settings,
    values: &Values,
    progress: &Progress,
) -> Result<Loaded, Failure> {
    let batch_bytes = BATCH_BYTES_MAX / u64::from(settings.value_bytes);
    let shared = Arc::new(Shared {
        records: settings.records,
        batch_records: batch_bytes.clamp(1, BATCH_RECORDS_MAX),
        layout: settings.layout(),
        values: values.clone(),
        seed: settings.seed,
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
    });
    let start = Instant::now();
    let mut loaders = JoinSet::new();
    for number in 0..LOADERS {
        loaders.spawn(put_batches(target.caller(number), shared.clone(), number as u64));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            ended = loaders.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(Failed { kind, text }))) => {
                    return Err(Failure::refused(format!("loading failed: {kind}: {text}")));
                }
                Some(Err(error)) => return Err(Failure::refused(error)),
            },
            _ = tick.tick() => {
                let done = shared.done.load(Ordering::Relaxed);
                progress.tell(format!("loading: {done} of {} records", shared.records));
            }
        }
    }
    Ok(Loaded { records: settings.records, seconds: start.elapsed().as_secs_f64() })
}

async fn put_batches(mut caller: Caller, shared: Arc<Shared>, number: u64) -> Result<(), Failed> {
    // Dice that no caller of the run has.
    let mut rng = Rng::new(!shared.seed, number);
    loop {
        let first = shared.begun.fetch_add(shared.batch_records, Ordering::Relaxed);
        if first >= shared.records {
            return Ok(());
        }
        let records = first..(first + shared.batch_records).min(shared.records);
        let count = records.end - records.start;
        let batch: Vec<_> = records
            .map(|record| (shared.layout.key(record), shared.values.next(&mut rng)))
            .collect();
        let mut attempt = 1;
        while let Err(failed) = caller.put_batch(batch.clone()).await {
            if attempt == ATTEMPTS_MAX {
                return Err(failed);
            }
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
            attempt += 1;
        }
        shared.done.fetch_add(count, Ordering::Relaxed);
        // Not all targets ever make their callers wait.
        tokio::task::consume_budget().await;
    }
}

/// Makes sure, at both ends, that the records are there from a run before.
pub(super) async fn check(target: &Target, settings: &Settings) -> Result<(), Failure> {
    let mut caller = target.caller(0);
    for record in [0, settings.records - 1] {
        match caller.perform(Operation::Read { record }).await {
            Ok(Found::Something) => {}
            Ok(Found::Nothing) => {
                let text = format!(
                    "the table {} does not hold {} records: leave out --no-load",
                    settings.table, settings.records
                );
                return Err(Failure::refused(text));
            }
            Err(Failed { kind, text }) => return Err(Failure::refused(format!("{kind}: {text}"))),
        }
    }
    Ok(())
}
