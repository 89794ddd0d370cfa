//! What is measured: a database behind the few things that workloads do.
//!
//! - [`stator`]: a cluster over gRPC, or a database in this process; the same client for both.
//! - [`etcd`]: an etcd cluster.
//!
//! Callers have a handle each. They share connections to each endpoint, the same number of callers to each for every target,
//! and take what is answered as bytes: measured is the database, not the making of maps.

mod etcd;
mod stator;

use std::time::Duration;

use bytes::Bytes;

use self::etcd::{Etcd, EtcdCaller};
use self::stator::{Stator, StatorCaller};
use super::options::{Settings, TargetKind};
use super::records::RecordKey;
use super::workload::Operation;
use crate::cli::output::Failure;

/// How long an operation may take, with all of its attempts.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an operation that succeeded found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What it was meant for, or it was not meant to find anything.
    Something,
    /// It read, and there was nothing.
    Nothing,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// The error's name.
    pub(super) kind: String,
    /// What it says.
    pub(super) text: String,
}

/// A database.
pub(super) enum Target {
    Stator(Stator),
    Etcd(Etcd),
}

impl Target {
    /// Connects, or opens; and makes the table if there is none.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        match settings.target {
            TargetKind::Grpc => Stator::connect(settings).await.map(Self::Stator),
            TargetKind::Embedded => Stator::open(settings).await.map(Self::Stator),
            TargetKind::Etcd => Etcd::connect(settings).await.map(Self::Etcd),
        }
    }

    /// Which version of the database answers, and anything else to know about it.
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Stator(stator) => stator.version(),
            Self::Etcd(etcd) => etcd.version(),
        }
    }

    /// The handle of a caller, by its number.
    pub(super) fn caller(&self, number: usize) -> Caller {
        match self {
            Self::Stator(stator) => Caller::Stator(stator.caller()),
            Self::Etcd(etcd) => Caller::Etcd(etcd.caller(number)),
        }
    }

    /// Lets go of it in good order. All callers are gone.
    pub(super) async fn close(self) {
        match self {
            Self::Stator(stator) => stator.close().await,
            Self::Etcd(_) => {}
        }
    }
}

/// The handle of one caller.
#[derive(Clone)]
pub(super) enum Caller {
    Stator(StatorCaller),
    Etcd(EtcdCaller),
}

impl Caller {
    /// Does one operation.
    pub(super) async fn perform(&mut self, operation: Operation) -> Result<Found, Failed> {
        match self {
            Self::Stator(caller) => caller.perform(operation).await,
            Self::Etcd(caller) => caller.perform(operation).await,
        }
    }

    /// Puts a few records at once, for the first time.
    pub(super) async fn put_batch(
        &mut self,
        records: Vec<(RecordKey, Bytes)>,
    ) -> Result<(), Failed> {
        match self {
            Self::Stator(caller) => caller.put_batch(records).await,
            Self::Etcd(caller) => caller.put_batch(records).await,
        }
    }
}
