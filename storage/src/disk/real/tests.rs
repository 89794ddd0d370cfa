//! The real disk does what its trait says.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use crate::disk::{Disk, RealDisk};

#[test]
fn files_are_made_written_read_renamed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way");
    let disk = RealDisk::open(&path).unwrap();
    let file = disk.create("b.log", 1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    let blocks = std::fs::metadata(path.join("b.log")).unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks are no reservation");
    file.write_at(b"hello", 4090).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    disk.create("a", 0).unwrap();
    std::fs::create_dir(path.join("folder")).unwrap();
    assert_eq!(disk.list().unwrap(), ["a", "b.log"]);

    let file = disk.open("b.log").unwrap();
    let mut buf = [0; 7];
    assert_eq!(file.read_at(&mut buf, 4089).unwrap(), 7);
    assert_eq!(&buf, b"\0hello\0");
    assert_eq!(file.read_at(&mut buf, (1 << 20) - 3).unwrap(), 3);
    assert_eq!(file.read_at(&mut buf, 1 << 30).unwrap(), 0);

    disk.rename("b.log", "a").unwrap();
    assert_eq!(disk.list().unwrap(), ["a"]);
    disk.create("a", 100).unwrap();
    assert_eq!(disk.open("a").unwrap().read_at(&mut buf, 98).unwrap(), 2, "emptied and reused");
    disk.remove("a").unwrap();
    assert_eq!(disk.open("a").err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn names_stay_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    for name in ["", "..", "../a", "a/b", ".hidden"] {
        assert_eq!(disk.create(name, 0).err().unwrap().kind(), ErrorKind::InvalidInput, "{name}");
    }
}
