//! What the replicas here hold, in one number each: for comparing them with those of other nodes.

use std::sync::Arc;

use stator_storage::partition::{PartitionChecksum, checksum};

use super::Node;
use crate::metrics::Metrics;

/// What a replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaChecksum {
    /// The group.
    pub group: u64,
    /// The replica's data; `None` while it does not hold the partition as of one index.
    pub checksum: Option<PartitionChecksum>,
}

impl Node {
    /// Sums up what each replica on this node holds, in order of their groups. Replicas of a group with one applied index
    /// hold the same. Reads all data of the node.
    ///
    /// # Errors
    /// A fault of the engine, or damaged data.
    pub async fn checksums(&self) -> stator_storage::Result<Vec<ReplicaChecksum>> {
        let (engine, replicas) = (self.inner.engine.clone(), self.inner.replicas.all());
        let summed = tokio::task::spawn_blocking(move || {
            let of_one = |replica: &Arc<crate::replicas::Replica>| {
                let checksum = checksum(engine.as_ref(), &replica.spec)?;
                Ok(ReplicaChecksum { group: replica.spec.group.0, checksum })
            };
            replicas.iter().map(of_one).collect()
        });
        summed.await.map_err(|_| stator_storage::Error::Engine("a reader panicked".into()))?
    }

    /// The node's figures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}
