//! An engine in memory that does what a test's script says.

use bytes::Bytes;
use stator_storage::Result;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::engine::{
    Batch, Direction, Engine, EngineSize, Isolation, KeyRange, Reader, Visitor,
};

/// What becomes of the calls to an engine.
pub(super) trait Script: Send + Sync + 'static {
    fn write(&self, memory: &MemoryEngine, batch: &Batch) -> Result<()> {
        memory.write(batch)
    }

    fn flush(&self, memory: &MemoryEngine) -> Result<()> {
        memory.flush()
    }

    fn reopen(&self, memory: &MemoryEngine) -> Result<()> {
        memory.reopen()
    }
}

/// An engine with its script.
pub(super) struct Scripted<S> {
    pub(super) memory: MemoryEngine,
    pub(super) script: S,
}

impl<S: Script> Reader for Scripted<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.memory.get(key)
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        self.memory.scan(range, direction, visit)
    }
}

impl<S: Script> Engine for Scripted<S> {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        self.script.write(&self.memory, batch)
    }

    fn flush(&self) -> Result<()> {
        self.script.flush(&self.memory)
    }

    fn snapshot(&self) -> Option<Box<dyn Reader>> {
        self.memory.snapshot()
    }

    fn isolation(&self) -> Isolation {
        self.memory.isolation()
    }

    fn size(&self) -> EngineSize {
        self.memory.size()
    }

    fn reopen(&self) -> Result<()> {
        self.script.reopen(&self.memory)
    }
}
