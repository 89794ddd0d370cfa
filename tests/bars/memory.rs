//! Whether a node keeps to the memory that it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use stator::Client;

use crate::Scale;
use crate::cluster::{Cluster, create, peak_resident_bytes};
use crate::load::{id, load};
use crate::report::{Outcome, mib, seconds};
use crate::support::directory;

pub(crate) const CLAIM: &str = "With --memory 512MiB the peak of a node's resident memory (VmHWM) stays under 125% of it while 2 million items \
    of 400 bytes are loaded and read for a minute.";

const READERS: u64 = 64;

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = directory();
    let (given, items) = scale.of((512, 2_000_000), (128, 20_000));
    let cluster = Cluster::start(dir.path(), scale, &["--memory", &format!("{given}MiB")]);
    let (client, _) = cluster.client();
    create(&client, "bars", 12).await;
    let begun = Instant::now();
    load(&client, "bars", 0..items).await;
    outcome.figure(format!("loading {items} items took"), seconds(begun.elapsed()));
    let pids: Vec<u64> = cluster.pids().into_iter().flatten().collect();
    let peaks = || pids.iter().map(|pid| peak_resident_bytes(*pid)).collect::<Vec<_>>();
    outcome
        .figure("peaks after loading", peaks().into_iter().map(mib).collect::<Vec<_>>().join(", "));
    let (read, missing) = read(&client, items, Duration::from_secs(scale.of(60, 2))).await;
    outcome.figure("items read", read);
    outcome.require(missing == 0, format!("{missing} items that were loaded are not there"));
    let peaks = peaks();
    outcome
        .figure("peaks at the end", peaks.iter().copied().map(mib).collect::<Vec<_>>().join(", "));
    let bound = (given << 20) * 5 / 4;
    outcome.figure("bound", mib(bound));
    outcome.require(peaks.len() == 3, "a node ended");
    let is_kept = peaks.iter().all(|peak| *peak < bound);
    outcome.require_in_full(scale, is_kept, "a node took more memory");
    outcome
}

/// Reads items from all over for a time: how many, and how many were not there.
async fn read(client: &Client, items: u64, time: Duration) -> (u64, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let missing = Arc::new(AtomicU64::new(0));
    let readers = (0..READERS).map(|reader| {
        let (client, stop, missing) = (client.clone(), stop.clone(), missing.clone());
        tokio::spawn(async move {
            let mut read = 0;
            while !stop.load(Ordering::Relaxed) {
                // Coprime to the number of items: every item comes up.
                let n = (reader * 31_337 + read * 7_919_111) % items;
                let get = client.get_item().table_name("bars").key("id", id(n));
                let found = get.consistent_read(true).send().await.expect("read");
                missing.fetch_add(u64::from(found.item.is_none()), Ordering::Relaxed);
                read += 1;
            }
            read
        })
    });
    let readers: Vec<_> = readers.collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let read = join_all(readers).await.into_iter().map(|read| read.expect("a reader")).sum();
    (read, missing.load(Ordering::Relaxed))
}
