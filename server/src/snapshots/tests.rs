use std::sync::Arc;

use bytes::Bytes;
use stator_consensus::{GroupId, ReplicaView};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_storage::disk::{Crash, CrashDisk, Disk};
use stator_storage::engine::Engine;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::machine::{AppliedMark, Applier};
use stator_storage::partition::{
    AppliedRecord, Member, PartitionApplier, PartitionSpec, ReplicaState, initialise,
};

use super::Name;
use super::files::{Announced, Begun, Incoming, Rejected, SnapshotFiles};
use super::install::{InstallRun, Progress};
