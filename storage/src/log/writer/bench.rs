//! What the log costs beside a bare checksummed write and `fdatasync` of as many bytes. Not a test: run it alone with
//! `cargo test --release -p stator-storage --lib log_bench -- --ignored --nocapture`.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use crate::disk::{Disk, RealDisk};
use crate::log::tests::{entry, hard, truncate};
use crate::log::{Log, LogOptions, Record};

const GROUPS: u64 = 4;
const OPS: u64 = 600;

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Runs an operation often; gives the median and mean time and the CPU time, in microseconds.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure(ops: u64, mut op: impl FnMut(u64)) -> (f64, f64, f64) {
    let mut times = Vec::new();
    let (start, cpu_start) = (Instant::now(), cpu());
    for n in 0..ops {
        let begun = Instant::now();
        op(n);
        times.push(begun.elapsed());
    }
    let mean = start.elapsed().as_secs_f64() * 1e6 / ops as f64;
    let cpu = (cpu() - cpu_start).as_secs_f64() * 1e6 / ops as f64;
    times.sort_unstable();
    (times[times.len() / 2].as_secs_f64() * 1e6, mean, cpu)
}

fn batch(index: u64, data: &Bytes) -> Vec<Record> {
    let entries = (1..=GROUPS).map(|group| entry(group, index, 1, data.clone()));
    let states = (1..=GROUPS).map(|group| hard(group, 1, 1, index - 1));
    entries.chain(states).collect()
}

fn bare(disk: &RealDisk, data: &Bytes) -> (f64, f64, f64) {
    const LEN: u64 = 8 << 20;
    let file = disk.create("bare", LEN).unwrap();
    for at in 0..LEN >> 20 {
        file.write_at(&vec![0; 1 << 20], at << 20).unwrap();
    }
    file.sync_data().unwrap();
    let mut offset = 0;
    let result = measure(OPS, |_| {
        let mut buffer = Vec::with_capacity(GROUPS as usize * data.len());
        for _ in 0..GROUPS {
            buffer.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
            buffer.extend_from_slice(data);
        }
        if offset + buffer.len() as u64 > LEN {
            offset = 0;
        }
        file.write_at(&buffer, offset).unwrap();
        file.sync_data().unwrap();
        offset += buffer.len() as u64;
    });
    disk.remove("bare").unwrap();
    result
}

fn through_log(disk: RealDisk, data: &Bytes, segment_bytes: u64) -> (f64, f64, f64) {
    let options = LogOptions {
        segment_bytes,
        budget_bytes: 8 * segment_bytes,
        pending_bytes: segment_bytes / 2,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(Arc::new(disk), &options).unwrap();
    let mut index = 0;
    let mut op = |_| {
        index += 1;
        let (done, wait) = sync_channel(1);
        let mut records = batch(index, data);
        if index % 50 == 0 {
            records.extend((1..=GROUPS).map(|group| truncate(group, index - 10, 1)));
        }
        log.append(&records, move |result| done.send(result).unwrap()).unwrap();
        wait.recv().unwrap().unwrap();
    };
    // Until every segment has been used, and is recycled from then on.
    let warm_up = 8 * segment_bytes / (GROUPS * data.len() as u64);
    measure(warm_up.min(4000), &mut op);
    measure(OPS, &mut op)
}

#[test]
#[ignore = "a measurement"]
fn log_bench() {
    for total in [6 << 10, 26 << 10] {
        let data = Bytes::from(vec![7; total / GROUPS as usize]);
        for round in 0..5 {
            let run = |name: &str, (p50, mean, cpu): (f64, f64, f64)| {
                println!("{total} B {name}: p50 {p50:.0} us, mean {mean:.0} us, cpu {cpu:.0} us");
                (p50, cpu)
            };
            let open = || {
                let dir = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
                (RealDisk::open(dir.path()).unwrap(), dir)
            };
            let (disk, _dir) = open();
            let floor = run("bare", bare(&disk, &data));
            let (disk, _dir) = open();
            let fresh = run("log, new segments", through_log(disk, &data, 64 << 20));
            let (disk, _dir) = open();
            let recycled = run("log, recycled", through_log(disk, &data, 2 << 20));
            println!(
                "round {round}: new {:.2}x time {:.2}x cpu, recycled {:.2}x time {:.2}x cpu",
                fresh.0 / floor.0,
                fresh.1 / floor.1,
                recycled.0 / floor.0,
                recycled.1 / floor.1
            );
        }
    }
}
