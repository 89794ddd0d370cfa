//! What a power cut may leave.

use std::io::ErrorKind;

use crate::disk::{Crash, CrashDisk, Disk, Fault, FaultOp};

fn written() -> CrashDisk {
    let disk = CrashDisk::new();
    let file = disk.create("a", 16384).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(&[1; 4096], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 12288], 0).unwrap();
    file.write_at(&[3; 4096], 12288).unwrap();
    disk
}

#[test]
fn what_is_not_synced_may_be_lost_or_kept() {
    let disk = written();
    assert_eq!(disk.unsynced_writes(), 2);
    let lost = disk.crash(Crash::LoseAll).bytes("a").unwrap();
    assert_eq!((lost[0], lost[4096], lost[16383]), (1, 0, 0));
    let kept = disk.crash(Crash::KeepAll);
    assert_eq!(kept.bytes("a"), disk.bytes("a"));
    assert_eq!(kept.unsynced_writes(), 0);
}

#[test]
fn every_prefix_and_every_set_of_pages_may_come() {
    let disk = written();
    let pages = |crash| {
        let bytes = disk.crash(crash).bytes("a").unwrap();
        [bytes[0], bytes[4096], bytes[8192], bytes[12288]]
    };
    let sets: std::collections::BTreeSet<_> =
        (0..400).map(|seed| pages(Crash::Pages(seed))).collect();
    assert_eq!(sets.len(), 16);
    for seed in 0..400 {
        let [first, second, third, last] = pages(Crash::Prefix(seed));
        assert!(first == 2 || second == 0, "a later page without an earlier one");
        assert!(second == 2 || third == 0, "a later page without an earlier one");
        assert!(third == 2 || last == 0, "a later write without an earlier one");
        assert_eq!(pages(Crash::Prefix(seed)), [first, second, third, last], "another image");
    }
}

#[test]
fn a_write_is_torn_at_sectors_only() {
    let disk = CrashDisk::new();
    let file = disk.create("a", 4096).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(&[9; 2000], 100).unwrap();
    let mut cuts = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let bytes = disk.crash(Crash::Prefix(seed)).bytes("a").unwrap();
        let end = bytes.iter().rposition(|byte| *byte == 9).map_or(0, |at| at + 1);
        assert!(end % 512 == 0 || end == 2100, "cut at {end}");
        cuts.insert(end);
    }
    assert_eq!(cuts.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1536, 2048, 2100]);
}

#[test]
fn names_come_with_the_directorys_sync() {
    let disk = CrashDisk::new();
    disk.create("a", 4096).unwrap().sync_data().unwrap();
    assert_eq!(disk.crash(Crash::LoseAll).list().unwrap(), [""; 0]);
    disk.sync_dir().unwrap();
    disk.create("b", 4096).unwrap();
    disk.rename("a", "c").unwrap();
    disk.remove("b").unwrap();
    assert_eq!(disk.list().unwrap(), ["c"]);
    let after = disk.crash(Crash::LoseAll);
    assert_eq!(after.list().unwrap(), ["a"]);
    assert_eq!(after.bytes("a").unwrap().len(), 4096, "the name undone leads to the same file");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        seen.insert(disk.crash(Crash::Prefix(seed)).list().unwrap());
    }
    let all: [&[&str]; 4] = [&["a"], &["a", "b"], &["b", "c"], &["c"]];
    let all: Vec<Vec<String>> =
        all.iter().map(|names| names.iter().map(|&name| name.to_owned()).collect()).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    disk.sync_dir().unwrap();
    assert_eq!(disk.crash(Crash::LoseAll).list().unwrap(), ["c"]);
    assert_eq!((disk.syncs(), disk.dir_syncs()), (1, 2));
}

#[test]
fn a_file_never_synced_may_be_empty() {
    let disk = CrashDisk::new();
    disk.create("a", 4096).unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.crash(Crash::LoseAll).bytes("a").unwrap().len(), 0);
}

#[test]
fn planned_faults_come_once_and_leave_nothing() {
    let disk = written();
    let before = disk.bytes("a");
    let file = disk.open("a").unwrap();
    disk.fail(Fault { op: FaultOp::Write, after: 1, times: 1, kind: ErrorKind::StorageFull });
    disk.fail(Fault { op: FaultOp::Sync, after: 0, times: u64::MAX, kind: ErrorKind::Other });
    file.write_at(&[3], 12288).unwrap();
    assert_eq!(file.write_at(&[5], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.bytes("a"), before);
    file.write_at(&[2], 0).unwrap();
    assert!(file.sync_data().is_err() && file.sync_data().is_err());
    assert_eq!(disk.crash(Crash::LoseAll).bytes("a").unwrap()[0], 1);
    disk.heal();
    file.sync_data().unwrap();
}
