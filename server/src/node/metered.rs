//! A disk whose syncs are timed: what the log's latency is seen by.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stator_storage::disk::{Disk, DiskFile};

use crate::metrics::Metrics;

/// Passes everything on, and counts the bytes and the time of each sync with the writes before it.
pub(super) struct MeteredDisk<D> {
    disk: D,
    metrics: Arc<Metrics>,
}

impl<D: Disk> MeteredDisk<D> {
    pub(super) const fn new(disk: D, metrics: Arc<Metrics>) -> Self {
        Self { disk, metrics }
    }

    fn metered(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let metrics = self.metrics.clone();
        Arc::new(MeteredFile { file, metrics, unsynced: Mutex::default() })
    }
}

impl<D: Disk> Disk for MeteredDisk<D> {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name, len).map(|file| self.metered(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.metered(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

struct MeteredFile {
    file: Arc<dyn DiskFile>,
    metrics: Arc<Metrics>,
    /// The bytes written since the last sync, and how long that took.
    unsynced: Mutex<(u64, Duration)>,
}

impl DiskFile for MeteredFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let begun = Instant::now();
        self.file.write_at(data, offset)?;
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.0 += data.len() as u64;
        unsynced.1 += begun.elapsed();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        self.file.sync_data()?;
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, writing) = std::mem::take(&mut *unsynced);
        self.metrics.log_sync(bytes, writing + begun.elapsed());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
