//! The tables that this node knows: a cache of the catalog's records, by name.
//!
//! A record is used for a while and then fetched again; a request that meets a stale one (its partition is not where the record
//! says, or it does not fit the record's key schema) drops it and looks again, so that a stale caller heals in one extra hop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use stator_consensus::{GroupId, Member, NodeId, ReplicaId};
use stator_model::schema::{KeySchema, TableStatus};

use crate::catalog::records::{
    CATALOG_GROUP, CATALOG_NAME, CATALOG_TABLE, PartitionRecord, TableRecord, catalog_schema,
};

/// How long a record is used before somebody fetches it again; the others use it meanwhile, and all do while the catalog does not
/// answer: a node that does not hold a partition any more says so itself.
const FRESH_NS: u64 = 2_000_000_000;
/// A record as old as this is fetched anew before a request that does not fit it is refused: the table may be another one of the
/// same name. Requests that fit no table so cost the catalog one read in this time.
const DOUBTFUL_NS: u64 = 100_000_000;
/// How many records are kept: more than a cluster has tables.
const TABLES_KEPT: usize = 4096;
/// How many leaders of groups elsewhere are kept.
const LEADERS_KEPT: usize = 64 * 1024;

/// What is known of a table.
#[derive(Debug)]
pub(crate) enum Known {
    /// This, and that is enough.
    Fresh(Arc<Table>),
    /// This, and the caller is the one to look whether it is still so.
    Stale(Arc<Table>),
    Not,
}

/// A table as this node knows it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) record: TableRecord,
}

impl Table {
    pub(crate) const fn schema(&self) -> &KeySchema {
        &self.record.key_schema
    }

    pub(crate) fn partitions(&self) -> &[PartitionRecord] {
        &self.record.partitions
    }

    /// The place in the order of ranges of the partition that a hash falls into.
    pub(crate) fn index_of(&self, hash: u64) -> usize {
        let partitions = &self.record.partitions;
        partitions.partition_point(|partition| partition.last_hash < hash).min(partitions.len() - 1)
    }

    /// The partition that a hash falls into.
    pub(crate) fn partition_of(&self, hash: u64) -> &PartitionRecord {
        &self.record.partitions[self.index_of(hash)]
    }

    /// The catalog's own table.
    pub(crate) fn catalog(nodes: &[NodeId]) -> Self {
        let members = (1..)
            .zip(nodes)
            .map(|(replica, node)| Member { replica: ReplicaId(replica), node: *node });
        Self {
            record: TableRecord {
                name: CATALOG_NAME.to_owned(),
                id: CATALOG_TABLE,
                status: TableStatus::Active,
                key_schema: catalog_schema(),
                created_ms: 0,
                deletion_protection: true,
                partitions: vec![PartitionRecord {
                    group: CATALOG_GROUP,
                    generation: 1,
                    first_hash: 0,
                    last_hash: u64::MAX,
                    members: members.collect(),
                }],
            },
        }
    }
}

/// A record in the cache.
struct Entry {
    table: Arc<Table>,
    fetched_ns: u64,
    /// When somebody last went to fetch it.
    looked_ns: AtomicU64,
}

/// The cache.
#[derive(Default)]
pub(crate) struct Tables {
    known: RwLock<BTreeMap<String, Entry>>,
    /// The nodes last seen to lead groups that have no replica here.
    leaders: RwLock<BTreeMap<GroupId, NodeId>>,
}

impl Tables {
    /// A table that is known. Of those who ask for one that is not fresh any more, one is told to fetch it again, so that the
    /// catalog is asked at a steady rate, however many requests there are.
    pub(crate) fn get(&self, name: &str, now_ns: u64) -> Known {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Entry { table, looked_ns, .. }) = known.get(name) else { return Known::Not };
        let looked = looked_ns.load(Relaxed);
        // Moved ahead, so that the others go on using it for as long again while this one looks.
        let is_due = now_ns >= looked.saturating_add(FRESH_NS)
            && looked_ns.compare_exchange(looked, now_ns, Relaxed, Relaxed).is_ok();
        if is_due { Known::Stale(table.clone()) } else { Known::Fresh(table.clone()) }
    }

    /// A request does not fit what is known of its table. Whether that is worth another look: then it is forgotten.
    pub(crate) fn doubt(&self, name: &str, now_ns: u64) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_old = |entry: &Entry| now_ns >= entry.fetched_ns.saturating_add(DOUBTFUL_NS);
        let is_doubtful = known.get(name).is_some_and(is_old);
        if is_doubtful {
            known.remove(name);
        }
        is_doubtful
    }

    /// A table that was just fetched. One that is not ready for use is not kept: it changes soon.
    pub(crate) fn put(&self, table: Arc<Table>, now_ns: u64) {
        if table.record.status != TableStatus::Active || table.record.partitions.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TABLES_KEPT {
            known.clear();
        }
        let name = table.record.name.clone();
        known.insert(name, Entry { table, fetched_ns: now_ns, looked_ns: AtomicU64::new(now_ns) });
    }

    /// What is known of a table is stale.
    pub(crate) fn forget(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The node last seen to lead a group.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.read().unwrap_or_else(PoisonError::into_inner).get(&group).copied()
    }

    /// A node was seen to lead a group, or nobody was.
    pub(crate) fn set_leader(&self, group: GroupId, leader: Option<NodeId>) {
        let mut leaders = self.leaders.write().unwrap_or_else(PoisonError::into_inner);
        if leaders.len() >= LEADERS_KEPT {
            leaders.clear();
        }
        match leader {
            Some(leader) => leaders.insert(group, leader),
            None => leaders.remove(&group),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_looks_again_and_the_others_go_on() {
        let tables = Tables::default();
        tables.put(Arc::new(Table::catalog(&[NodeId(1)])), 0);
        let get = |now_ns| tables.get(CATALOG_NAME, now_ns);
        assert!(matches!(get(FRESH_NS - 1), Known::Fresh(_)));
        assert!(matches!(get(FRESH_NS), Known::Stale(_)));
        assert!(matches!(get(FRESH_NS), Known::Fresh(_)), "somebody looks already");
        assert!(matches!(get(100 * FRESH_NS), Known::Stale(_)), "it is known however old");
        tables.forget(CATALOG_NAME);
        assert!(matches!(get(0), Known::Not));
    }

    #[test]
    fn what_was_just_fetched_is_not_doubted() {
        let tables = Tables::default();
        assert!(!tables.doubt(CATALOG_NAME, 0), "nothing is known of it");
        tables.put(Arc::new(Table::catalog(&[NodeId(1)])), 0);
        assert!(matches!(tables.get(CATALOG_NAME, FRESH_NS), Known::Stale(_)));
        assert!(!tables.doubt(CATALOG_NAME, DOUBTFUL_NS - 1));
        assert!(tables.doubt(CATALOG_NAME, FRESH_NS), "looked at again, but not fetched");
        assert!(matches!(tables.get(CATALOG_NAME, FRESH_NS), Known::Not));
    }
}
