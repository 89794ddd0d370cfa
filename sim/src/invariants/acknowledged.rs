//! An acknowledged write is not lost: when a caller is told that it is done, it stands in a committed entry, which stays. A write
//! that its caller knows to have come to nothing stands in none, now or later.

use std::collections::BTreeSet;

use super::Holds;

/// The ids of writes.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// All in committed entries.
    committed: BTreeSet<u64>,
    /// Those that their callers have given up as surely not done.
    void: BTreeSet<u64>,
}

impl Acknowledged {
    /// A write stands in an entry that a node has applied.
    pub(crate) fn committed(&mut self, id: u64) -> Holds {
        if self.void.contains(&id) {
            return Err(format!("write {id} is committed after its caller knew it to be void"));
        }
        if self.committed.insert(id) {
            return Ok(());
        }
        Err(format!("write {id} was committed twice"))
    }

    /// A caller is told that a write is done.
    pub(crate) fn acknowledged(&self, id: u64) -> Holds {
        if self.committed.contains(&id) {
            return Ok(());
        }
        Err(format!("write {id} is acknowledged, and no applied entry has it"))
    }

    /// A caller is told that nothing has come of a write.
    pub(crate) fn refused(&self, id: u64) -> Holds {
        if self.committed.contains(&id) {
            return Err(format!("write {id} was said to be surely not done, and it is committed"));
        }
        Ok(())
    }

    /// A call has ended with the certainty that nothing came of these writes.
    pub(crate) fn void(&mut self, ids: Vec<u64>) -> Holds {
        ids.iter().try_for_each(|id| self.refused(*id))?;
        self.void.extend(ids);
        Ok(())
    }
}
