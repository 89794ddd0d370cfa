//! A whole snapshot into the engine: one step at a time, so that the apply thread has time for other groups (R18).
//!
//! Whatever goes wrong with the engine, the installation begins again from the file, until the apply thread is out of patience.
//! Whatever is wrong with the file, the replica lacks its snapshot, and asks its leader for another.

use std::sync::Arc;

use bytes::Bytes;
use stator_consensus::{GroupId, ReplicaView};
use stator_storage::Result;
use stator_storage::machine::AppliedMark;
use stator_storage::partition::snapshot::SnapshotFooter;
use stator_storage::partition::{PartitionApplier, SnapshotHeader};

use super::Name;
use super::files::{SnapshotFiles, WholeFile};

/// Keys of the former data deleted in one step.
const CLEAR_STEP: usize = 2000;
/// How often an installation begins before the file is given up.
const ATTEMPTS_MAX: u32 = 3;
/// A footer is short; what is longer is a chunk.
const FOOTER_BYTES_MAX: usize = 64;

/// A snapshot being installed.
pub(crate) struct InstallRun {
    files: Arc<SnapshotFiles>,
    file: WholeFile,
    stage: Stage,
    id: u64,
    attempts: u32,
    /// Steps done in this stage.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Begin,
    Clear,
    Load,
}

/// How far an installation has got: one that clears more than another before it, because that had loaded more, has got no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reached(Stage, u64);

impl Reached {
    /// As far as any installation gets.
    pub(crate) const ALL: Self = Self(Stage::Load, u64::MAX);
}

/// How far a step has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// There is more to do.
    More,
    /// The replica holds the snapshot.
    Installed(AppliedMark),
    /// The snapshot cannot be installed, for this reason, and has been thrown away.
    Lost(String),
}

impl InstallRun {
    /// Finds the file of the snapshot of a group that ends at this mark, and, if the header is known, is that one.
    pub(crate) fn new(
        files: &Arc<SnapshotFiles>,
        group: GroupId,
        mark: (u64, u64),
        header: Option<&Bytes>,
    ) -> Option<Self> {
        let id = match header {
            Some(header) => Some(SnapshotHeader::decode(header).ok()?.id),
            None => None,
        };
        let file = files.find(group, mark, id)?;
        Some(Self {
            id: file.name.id,
            files: files.clone(),
            file,
            stage: Stage::Begin,
            attempts: 0,
            steps: 0,
        })
    }

    /// The snapshot's name.
    pub(crate) const fn name(&self) -> Name {
        self.file.name
    }

    /// How far it has got since it began, the last time.
    pub(crate) const fn reached(&self) -> Reached {
        Reached(self.stage, self.steps)
    }

    /// Begins again: the engine has lost what was done.
    pub(crate) fn restart(&mut self) {
        self.enter(Stage::Begin);
    }

    /// Does some of it.
    ///
    /// # Errors
    /// A fault of the engine: it is to be opened again, and [`InstallRun::restart`] called.
    pub(crate) fn step(
        &mut self,
        applier: &mut PartitionApplier,
        view: &ReplicaView,
    ) -> Result<Progress> {
        let done = match self.stage {
            Stage::Begin => self.begin(applier, view),
            Stage::Clear => applier.clear_some(CLEAR_STEP).map(|cleared| {
                if cleared {
                    self.enter(Stage::Load);
                }
                Progress::More
            }),
            Stage::Load => self.load(applier, view),
        };
        match done {
            Ok(Progress::Lost(why)) => Ok(self.lose(why)),
            Ok(progress) => {
                self.steps += 1;
                Ok(progress)
            }
            Err(error) if crate::shell::apply::is_engines(&error) => Err(error),
            // Perhaps another replica's fault made the engine lose a step; if not, it will be the same again.
            Err(error) if self.attempts >= ATTEMPTS_MAX => Ok(self.lose(error.to_string())),
            Err(error) => {
                tracing::warn!(name = %self.file.name, %error, "an installation begins again");
                self.restart();
                Ok(Progress::More)
            }
        }
    }

    fn begin(&mut self, applier: &mut PartitionApplier, view: &ReplicaView) -> Result<Progress> {
        self.attempts += 1;
        self.file.rewind();
        let header = match self.file.next() {
            Ok(header) => header,
            Err(why) => return Ok(Progress::Lost(why)),
        };
        // Readers leave before the first key does (R5).
        view.replace_data(0);
        applier.begin_install(&header)?;
        self.enter(Stage::Clear);
        Ok(Progress::More)
    }

    fn load(&mut self, applier: &mut PartitionApplier, view: &ReplicaView) -> Result<Progress> {
        let frame = match self.file.next() {
            Ok(frame) => frame,
            Err(why) => return Ok(Progress::Lost(why)),
        };
        let footer = (frame.len() <= FOOTER_BYTES_MAX)
            .then(|| SnapshotFooter::decode(self.id, &frame).ok())
            .flatten();
        let Some(footer) = footer else {
            applier.install_chunk(&frame)?;
            return Ok(Progress::More);
        };
        let mark = applier.finish_install(&frame)?;
        // Until then the items are as of different entries (R18).
        view.replace_data(footer.end_index);
        view.data_restored();
        Ok(Progress::Installed(mark))
    }

    fn enter(&mut self, stage: Stage) {
        (self.stage, self.steps) = (stage, 0);
    }

    fn lose(&self, why: String) -> Progress {
        self.files.discard(self.file.name);
        Progress::Lost(why)
    }
}
