use std::sync::Mutex;

use super::*;

/// A log that has what was synced, and counts what it is asked.
#[derive(Default)]
struct Disk {
    entries: Mutex<Vec<LogEntry>>,
    asked: Mutex<Vec<Range<u64>>>,
}

impl LogReader for Disk {
    fn entries(
        &self,
        _group: GroupId,
        range: Range<u64>,
        _bytes_max: u64,
    ) -> stator_storage::Result<Vec<LogEntry>> {
        self.asked.lock().expect("lock").push(range.clone());
        let entries = self.entries.lock().expect("lock");
        Ok(entries.iter().filter(|entry| range.contains(&entry.index)).cloned().collect())
    }
}

fn entry(index: u64, term: u64, len: usize) -> Entry {
    Entry { index, term, data: vec![index as u8; len].into(), ..Entry::default() }
}

fn store() -> (Store, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    (Store::new(GroupId(1), disk.clone(), (10, 5), &[], vec![1]), disk)
}

fn sync(disk: &Disk, entries: &[Entry]) {
    disk.entries.lock().expect("lock").extend(entries.iter().map(to_log));
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index).collect()
}

fn all(store: &Store, low: u64, high: u64, bytes_max: u64) -> Vec<u64> {
    let entries = store.entries(low, high, bytes_max, GetEntriesContext::empty(false));
    indexes(&entries.expect("there"))
}

#[test]
fn a_run_is_put_together_from_the_log_and_the_cache() {
    let (mut store, disk) = store();
    let entries: Vec<Entry> = (11..=16).map(|index| entry(index, 6, 100)).collect();
    sync(&disk, &entries[..4]);
    store.append(entries);
    store.shrink_cache(250, 14);
    assert_eq!(store.cache_bytes(), 200, "what may not be forgotten stays");
    assert_eq!(all(&store, 11, 17, u64::MAX), [11, 12, 13, 14, 15, 16]);
    assert_eq!(all(&store, 13, 17, 350), [13, 14, 15]);
    assert_eq!(all(&store, 15, 17, 0), [15], "at least one");
}

#[test]
fn an_overwritten_tail_is_not_read_from_the_log() {
    let (mut store, disk) = store();
    let old: Vec<Entry> = (11..=14).map(|index| entry(index, 6, 100)).collect();
    sync(&disk, &old);
    store.append(old);
    store.append(vec![entry(13, 7, 100)]);
    assert_eq!((store.last(), store.term_of(13)), (13, Some(7)));
    store.shrink_cache(0, 12);
    let read = store.entries(12, 14, u64::MAX, GetEntriesContext::empty(false)).expect("there");
    assert_eq!(read.iter().map(|entry| entry.term).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn what_the_log_gives_back_must_be_what_was_written() {
    let (mut store, disk) = store();
    sync(&disk, &[entry(11, 4, 1)]);
    store.append(vec![entry(11, 6, 1)]);
    store.shrink_cache(0, 11);
    store.entries(11, 12, u64::MAX, GetEntriesContext::empty(false)).expect_err("another term");
    store.committed(11, 12, u64::MAX).expect_err("another term");
}

#[test]
fn a_ready_reads_nothing_back() {
    let disk = Arc::new(Disk::default());
    let mut store = Store::new(GroupId(1), disk.clone(), (10, 5), &[5, 5, 6], vec![1]);
    store.set_listing(true);
    assert_eq!(all(&store, 11, 14, 100), [11, 12, 13]);
    assert!(disk.asked.lock().expect("lock").is_empty());
    store.set_listing(false);
    sync(&disk, &[entry(11, 5, 1), entry(12, 5, 1), entry(13, 6, 1)]);
    assert_eq!(store.committed(11, 14, u64::MAX).expect("there").0.len(), 3);
}

#[test]
fn truncating_keeps_what_follows() {
    let (mut store, _) = store();
    store.append((11..=14).map(|index| entry(index, index, 10)).collect());
    assert_eq!(store.truncate(12), (12, 12));
    assert_eq!(store.truncate(11), (12, 12), "never back");
    assert_eq!((store.term_of(11), store.term_of(12), store.last()), (None, Some(12), 14));
    assert_eq!(store.cache_bytes(), 20);
    assert_eq!(all(&store, 13, 15, u64::MAX), [13, 14]);
}

#[test]
fn a_snapshot_is_offered_to_whom_it_was_made_for() {
    let (mut store, _) = store();
    store.snapshot(0, 3).expect_err("none yet");
    assert_eq!((store.take_wanted(), store.take_wanted()), (Some(3), None));
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = 12;
    store.offer(Some((3, snapshot)));
    store.snapshot(0, 2).expect_err("another's");
    assert_eq!(store.snapshot(0, 3).expect("offered").get_metadata().index, 12);
    store.append((11..=14).map(|index| entry(index, 6, 10)).collect());
    store.truncate(13);
    store.snapshot(0, 3).expect_err("too old by now");
}
