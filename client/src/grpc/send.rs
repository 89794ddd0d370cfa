//! One request to one node.

use stator_model::error::Result;
use stator_model::{Answer, Request};
use stator_proto::metadata;
use stator_proto::status::never_served;
use stator_proto::v1;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::nodes::{DETAIL_BYTES_MAX, Node};
use super::{Unreachable, misread};
use crate::transport::CallOptions;

/// What came back from a node.
pub(super) struct Sent {
    /// The answer, or that it made no sense; or the status in its place.
    pub(super) result: Result<Result<Answer>, Status>,
    /// Whether the node sent the request on to another: the route was not the best.
    pub(super) forwarded: bool,
}

/// Sends a request to a node and waits for what comes back.
pub(super) async fn send(
    node: &Node,
    request: Request,
    options: &CallOptions,
) -> Result<Sent, Unreachable> {
    let mut client = node.client().await?;

    macro_rules! call {
        ($($operation:ident: $method:ident, $message:ident;)*) => {
            match request {
                $(Request::$operation(request) => {
                    let message = with_metadata(v1::$message::from(request), options);
                    answered(client.$method(message).await, |message| {
                        Ok(Answer::$operation(message.try_into()?))
                    })
                })*
                // The model may learn an operation before this client does.
                other => answered(Err(Status::unimplemented(other.operation())), |_: ()| {
                    Err(stator_model::Error::internal("An answer to no request"))
                }),
            }
        };
    }

    call! {
        CreateTable: create_table, CreateTableRequest;
        DescribeTable: describe_table, DescribeTableRequest;
        ListTables: list_tables, ListTablesRequest;
        UpdateTable: update_table, UpdateTableRequest;
        DeleteTable: delete_table, DeleteTableRequest;
        PutItem: put_item, PutItemRequest;
        GetItem: get_item, GetItemRequest;
        UpdateItem: update_item, UpdateItemRequest;
        DeleteItem: delete_item, DeleteItemRequest;
        Query: query, QueryRequest;
        Scan: scan, ScanRequest;
        BatchGetItem: batch_get_item, BatchGetItemRequest;
        BatchWriteItem: batch_write_item, BatchWriteItemRequest;
    }
}

fn with_metadata<T>(message: T, options: &CallOptions) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let deadline = Instant::from_std(options.deadline);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    let metadata = request.metadata_mut();
    metadata.insert(metadata::DETAIL_BYTES_MAX, MetadataValue::from(DETAIL_BYTES_MAX));
    // An id that no header can hold is left out: it only helps to read logs.
    if let Ok(id) = MetadataValue::try_from(&*options.request_id) {
        metadata.insert(metadata::REQUEST_ID, id);
    }
    request
}

fn answered<T>(
    result: Result<Response<T>, Status>,
    read: impl FnOnce(T) -> Result<Answer>,
) -> Result<Sent, Unreachable> {
    match result {
        Ok(response) => {
            let forwarded = response.metadata().contains_key(metadata::FORWARDED_TO);
            Ok(Sent { result: Ok(read(response.into_inner()).map_err(misread)), forwarded })
        }
        Err(status) if never_served(&status) => Err(Unreachable(status.message().to_owned())),
        Err(status) => {
            let forwarded = status.metadata().contains_key(metadata::FORWARDED_TO);
            Ok(Sent { result: Err(status), forwarded })
        }
    }
}
