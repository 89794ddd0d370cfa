//! A door to a disk that tells in words what goes through it.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::{CrashDisk, Disk, DiskFile};
use crate::log::format::{Body, HEADER_BYTES, Header, HeaderFound, decode, seed};

#[derive(Clone)]
pub(crate) struct TraceDisk {
    disk: CrashDisk,
    lines: Arc<Mutex<Vec<String>>>,
}

struct TraceFile {
    name: String,
    file: Arc<dyn DiskFile>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl TraceDisk {
    pub(crate) fn new(disk: &CrashDisk) -> Self {
        Self { disk: disk.clone(), lines: Arc::default() }
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    fn tell<T>(&self, what: String, result: io::Result<T>) -> io::Result<T> {
        tell(&self.lines, what, result)
    }

    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TraceFile { name: name.to_owned(), file, lines: Arc::clone(&self.lines) })
    }
}

fn tell<T>(lines: &Mutex<Vec<String>>, what: String, result: io::Result<T>) -> io::Result<T> {
    let line = match &result {
        Ok(_) => what,
        Err(error) => format!("{what} FAILED: {error}"),
    };
    lines.lock().unwrap().push(line);
    result
}

impl Disk for TraceDisk {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.tell(format!("create {name} of {len}"), self.disk.create(name, len))?;
        Ok(self.file(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.tell(format!("rename {from} {to}"), self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.tell(format!("remove {name}"), self.disk.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.tell("sync directory".to_owned(), self.disk.sync_dir())
    }
}

impl DiskFile for TraceFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let seed = self.seed();
        let what = if offset == 0 { header_text(data) } else { records_text(data, seed) };
        let end = offset + data.len() as u64;
        let what = format!("write {} {offset}..{end}: {what}", self.name);
        tell(&self.lines, what, self.file.write_at(data, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        tell(&self.lines, format!("sync {}", self.name), self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl TraceFile {
    fn seed(&self) -> u32 {
        let mut page = vec![0; HEADER_BYTES as usize];
        self.file.read_at(&mut page, 0).unwrap();
        match Header::decode(&page) {
            HeaderFound::Header(header) => seed(header.incarnation, header.salt),
            _ => 0,
        }
    }
}

fn header_text(data: &[u8]) -> String {
    let HeaderFound::Header(header) = Header::decode(data) else { return "?".to_owned() };
    let state = if header.in_chain { "segment" } else { "segment to be" };
    let before = header.previous;
    format!("{state} {} after {}:{}", header.incarnation, before.segment, before.offset)
}

fn records_text(data: &[u8], seed: u32) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Ok(frame) = decode(&data[at..], seed) {
        let group = frame.group.0;
        let _ = match frame.body {
            Body::Head(head) => write!(
                text,
                "[head {} B, synced {}:{}, needed {}..]",
                head.len, head.synced.segment, head.synced.offset, head.first_needed
            ),
            Body::Entry { index, term, data, .. } => {
                write!(text, " [g{group} entry {index}@{term} {} B]", data.len())
            }
            Body::HardState(it) => {
                write!(text, " [g{group} hard {} {} {}]", it.term, it.vote, it.commit)
            }
            Body::Truncate(mark) => {
                write!(text, " [g{group} truncate {}@{}]", mark.index, mark.term)
            }
            Body::Reset(mark) => write!(text, " [g{group} reset {}@{}]", mark.index, mark.term),
            Body::Tombstone => write!(text, " [g{group} tombstone]"),
        };
        at += frame.len;
    }
    text
}
