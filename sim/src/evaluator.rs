//! The real evaluator, with ears: what it rests its outcomes on is counted. Also the place of two planted bugs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use stator_consensus::ReplicaView;
use stator_storage::Result;
use stator_storage::machine::{Draft, Evaluated, Evaluator};
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::{PartitionEvaluator, PartitionOutcome, PartitionRequest};

use crate::rng::Rng;

/// What evaluators have come to, all of a run together.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Outcomes that changed nothing and rest on an image that was not applied yet (R4).
    pub(crate) conflicts: AtomicU64,
    /// Entries that were taken back.
    pub(crate) refused: AtomicU64,
}

/// An evaluator that is listened to.
pub(crate) struct SimEvaluator {
    pub(crate) inner: PartitionEvaluator,
    pub(crate) heard: Arc<Heard>,
    pub(crate) view: Arc<ReplicaView>,
    pub(crate) rng: Rng,
}

impl Evaluator for SimEvaluator {
    type Request = PartitionRequest;
    type Outcome = PartitionOutcome;

    fn weight(&self, request: &PartitionRequest) -> usize {
        self.inner.weight(request)
    }

    fn outcome_bytes(&self, outcome: &PartitionOutcome) -> usize {
        self.inner.outcome_bytes(outcome)
    }

    fn begin_leading(&mut self, term: u64) -> Result<()> {
        self.inner.begin_leading(term)
    }

    fn evaluate(
        &mut self,
        request: PartitionRequest,
        draft: &mut Draft,
    ) -> Result<Evaluated<PartitionOutcome>> {
        let mut evaluated = self.inner.evaluate(request, draft)?;
        if self.rng.chance(3) {
            // The apply thread has opened a failed engine again and restored it, all while this request was evaluated.
            self.view.replace_data(self.view.applied());
            self.view.data_restored();
        }
        if evaluated.rests_on > 0 && evaluated.rests_on < draft.index {
            self.heard.conflicts.fetch_add(1, Relaxed);
            if planted(Mutation::OutcomeBeforeApplied) {
                evaluated.rests_on = 0;
            }
        }
        Ok(evaluated)
    }

    fn seal(&mut self, draft: Draft) -> Bytes {
        let index = draft.index;
        let sealed = self.inner.seal(draft);
        if planted(Mutation::ImageLeavesEarly) {
            self.inner.applied(index);
        }
        sealed
    }

    fn applied(&mut self, index: u64) {
        self.inner.applied(index);
    }

    fn refused(&mut self, index: u64) {
        self.heard.refused.fetch_add(1, Relaxed);
        self.inner.refused(index);
    }

    fn stop_leading(&mut self) {
        self.inner.stop_leading();
    }
}
