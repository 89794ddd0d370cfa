//! What does a turn's batch cost in the log, beside a bare checksummed write and `fdatasync` of as many bytes? 6 KiB and 26 KiB over
//! four groups, handed in and waited for: within 1.3x of the bare write. `TMPDIR` says which disk it is that is waited for.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use stator_storage::disk::{Disk, RealDisk};
use stator_storage::log::{HardState, Log, LogEntry, LogOptions, Mark, Record};
use stator_storage::machine::GroupId;

const GROUPS: u64 = 4;

/// A disk in a directory of its own, which goes with it.
fn disk() -> (RealDisk, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (RealDisk::open(dir.path()).expect("a disk"), dir)
}

fn bare(group: &mut BenchmarkGroup<'_, WallTime>, data: &Bytes) {
    const LEN: u64 = 8 << 20;
    let (disk, _dir) = disk();
    let file = disk.create("bare", LEN).expect("a file");
    // Written once, so that what is measured allocates nothing.
    for at in 0..LEN >> 20 {
        file.write_at(&vec![0; 1 << 20], at << 20).expect("written");
    }
    file.sync_data().expect("synced");
    let mut offset = 0;
    group.bench_function("bare", |b| {
        b.iter(|| {
            let mut buffer = Vec::with_capacity(GROUPS as usize * (data.len() + 4));
            for _ in 0..GROUPS {
                buffer.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
                buffer.extend_from_slice(data);
            }
            if offset + buffer.len() as u64 > LEN {
                offset = 0;
            }
            file.write_at(&buffer, offset).expect("written");
            file.sync_data().expect("synced");
            offset += buffer.len() as u64;
        });
    });
}

/// An entry and a hard state of every group, and now and then what cuts the log.
fn batch(index: u64, data: &Bytes) -> Vec<Record> {
    let groups = || (1..=GROUPS).map(GroupId);
    let entry = || LogEntry { index, term: 1, kind: 0, data: data.clone() };
    let state = HardState { term: 1, vote: 1, commit: index - 1 };
    let mut records: Vec<_> =
        groups().map(|group| Record::Entry { group, entry: entry() }).collect();
    records.extend(groups().map(|group| Record::HardState { group, state }));
    if index.is_multiple_of(50) {
        let mark = Mark { index: index - 10, term: 1 };
        records.extend(groups().map(|group| Record::Truncate { group, mark }));
    }
    records
}

fn through_log(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    data: &Bytes,
    segment_bytes: u64,
) {
    let (disk, _dir) = disk();
    let options = LogOptions {
        segment_bytes,
        budget_bytes: 8 * segment_bytes,
        pending_bytes: segment_bytes / 2,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(Arc::new(disk), &options).expect("a log");
    let mut index = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            index += 1;
            let (done, wait) = sync_channel(1);
            let told = move |result| done.send(result).expect("waited for");
            log.append(&batch(index, data), told).expect("taken");
            wait.recv().expect("told").expect("synced");
        });
    });
    log.close().expect("closed");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for bytes in [6 << 10, 26 << 10] {
        let data = Bytes::from(vec![7; bytes / GROUPS as usize]);
        let mut group = criterion.benchmark_group(format!("log/{bytes}"));
        bare(&mut group, &data);
        // As nodes have them, mostly new; and small ones, which are used over and over.
        through_log(&mut group, "segments_of_64_mib", &data, 64 << 20);
        through_log(&mut group, "segments_of_2_mib", &data, 2 << 20);
        group.finish();
    }
    criterion.final_summary();
}
