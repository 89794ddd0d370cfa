//! PutItem, UpdateItem, DeleteItem and GetItem.

use std::future::ready;

use stator_model::api::{
    DeleteItem, DeleteItemAnswer, GetItem, GetItemAnswer, Operation, PutItem, PutItemAnswer,
    UpdateItem, UpdateItemAnswer,
};
use stator_model::schema::KeySchema;
use stator_model::write::PreparedWrite;
use stator_model::{Answer, EncodedItem, Error, Result};
use stator_storage::partition::{PartitionOutcome, PartitionRequest, get};

use super::CallContext;
use super::here::{Freshness, write_outcome};
use super::route::{Attempt, Attempts, Way};
use crate::node::Inner;

/// A write of one item.
pub(crate) trait ItemWrite: Operation + Clone {
    fn table_name(&self) -> &str;
    fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite>;
    fn answered(attributes: Option<EncodedItem>) -> Self::Answer;
}

macro_rules! item_writes {
    ($($operation:ident => $answer:ident,)*) => {
        $(impl ItemWrite for $operation {
            fn table_name(&self) -> &str {
                &self.table_name
            }
            fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite> {
                $operation::prepare(self, schema)
            }
            fn answered(attributes: Option<EncodedItem>) -> $answer {
                $answer { attributes }
            }
        })*
    };
}

item_writes! {
    PutItem => PutItemAnswer,
    UpdateItem => UpdateItemAnswer,
    DeleteItem => DeleteItemAnswer,
}

impl Inner {
    /// Writes an item.
    pub(crate) async fn write<R: ItemWrite>(
        &self,
        request: R,
        cx: &CallContext,
    ) -> Result<R::Answer> {
        let mut attempts = Attempts::new(cx);
        loop {
            let prepare = |schema: &KeySchema| request.prepare(schema);
            let (table, prepared) = self.prepared(request.table_name(), cx, prepare).await?;
            let partition = table.partition_of(prepared.key.hash());
            let attempt = match attempts.way(self, partition) {
                Way::Here(replica) => {
                    let request = PartitionRequest::Write(prepared);
                    let outcome = self.write_here(&replica, request, cx).await;
                    let outcome = outcome.and_then(|outcome| match outcome {
                        PartitionOutcome::Write(outcome) => write_outcome(outcome),
                        PartitionOutcome::Writes(_) => Attempt::Done(Err(other_answer())),
                    });
                    outcome.then(|answer| Ok(R::answered(answer.attributes)))
                }
                Way::There(node) => {
                    let request = request.clone().into();
                    unwrap::<R>(self.forward(node, partition, request, cx).await)
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if let Some(answer) = attempts.judge(self, &table, partition, attempt).await? {
                return Ok(answer);
            }
        }
    }

    /// Reads an item.
    pub(crate) async fn get_item(
        &self,
        request: GetItem,
        cx: &CallContext,
    ) -> Result<GetItemAnswer> {
        let freshness = Freshness::of(request.consistent_read);
        let mut attempts = Attempts::new(cx);
        loop {
            let prepare = |schema: &KeySchema| request.prepare(schema);
            let (table, prepared) = self.prepared(&request.table_name, cx, prepare).await?;
            let partition = table.partition_of(prepared.key.hash());
            let attempt = match self.way_to_read(&mut attempts, partition, freshness) {
                Way::Here(replica) => {
                    let engine = self.engine.as_ref();
                    // On the caller's own task, although it may mean the disk: another thread costs more than most reads do. Hosts
                    // have threads of their own; and the messages between them wait for some dozens of such reads at most, after
                    // which tokio looks at its sockets, which is a small part of an election with any disk that writes are fast on.
                    let found = self
                        .read_here(&replica, freshness, cx, || {
                            ready(get(engine, &replica.spec, &prepared.key))
                        })
                        .await;
                    found.then(|found| prepared.answer(found))
                }
                Way::There(node) => {
                    let request = request.clone().into();
                    unwrap::<GetItem>(self.forward(node, partition, request, cx).await)
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if let Some(answer) = attempts.judge(self, &table, partition, attempt).await? {
                return Ok(answer);
            }
        }
    }

    /// Whom to try for a read: an eventually consistent one is served by any replica, best by one on this node.
    pub(crate) fn way_to_read(
        &self,
        attempts: &mut Attempts<'_>,
        partition: &crate::catalog::records::PartitionRecord,
        freshness: Freshness,
    ) -> Way {
        if freshness == Freshness::Eventual
            && !attempts.is_astray(partition)
            && let Some(replica) = self.replicas.get(partition.group)
            && replica.data.note().is_some()
            && replica.view.begin_unleased().is_some()
        {
            return Way::Here(replica);
        }
        attempts.way(self, partition)
    }
}

/// The answer of an operation, out of the sum of all.
pub(crate) fn unwrap<R: Operation>(attempt: Attempt<Answer>) -> Attempt<R::Answer> {
    attempt.then(|answer| R::answer(answer).ok_or_else(other_answer))
}

/// What should have been the answer is another operation's: something ran, and nobody knows what.
pub(crate) fn other_answer() -> Error {
    Error::uncertain("another operation was answered")
}
