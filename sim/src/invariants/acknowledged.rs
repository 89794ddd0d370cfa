//! An acknowledged write is not lost: when a caller is told that it is done, it stands in a committed entry, which stays.

use std::collections::BTreeSet;

use super::Holds;

/// The ids of all writes in committed entries.
#[derive(Default)]
pub(crate) struct Acknowledged(BTreeSet<u64>);

impl Acknowledged {
    /// A write stands in an entry that a node has applied.
    pub(crate) fn committed(&mut self, id: u64) -> Holds {
        if self.0.insert(id) {
            return Ok(());
        }
        Err(format!("write {id} was committed twice"))
    }

    /// A caller is told that a write is done.
    pub(crate) fn acknowledged(&self, id: u64) -> Holds {
        if self.0.contains(&id) {
            return Ok(());
        }
        Err(format!("write {id} is acknowledged, and no applied entry has it"))
    }

    /// A caller is told that nothing has come of a write.
    pub(crate) fn refused(&self, id: u64) -> Holds {
        if self.0.contains(&id) {
            return Err(format!("write {id} was said to be surely not done, and it is committed"));
        }
        Ok(())
    }
}
