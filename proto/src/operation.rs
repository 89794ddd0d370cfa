//! Every operation's messages, tied to its typed request and answer; and requests as bytes, for a node that sends one on.

use bytes::Bytes;
use prost::Message;
use stator_model::api::{self, Answer, Request};
use stator_model::error::{Applied, Error, ErrorKind, Result};

use crate::peer::v1::Operation;
use crate::v1;

/// What kind of request an error answers: that decides what a failure on the way may have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads: a failed one has changed nothing.
    Read,
    /// It writes: unless somebody says otherwise, a failed one may have been applied.
    Write,
}

/// An operation of [`stator_model::api`] as it goes over the wire: code that treats all operations alike is written
/// against this.
pub trait WireOperation:
    api::Operation + TryFrom<Self::RequestMessage, Error = Error> + Sized
{
    /// The request's message in `stator.v1`.
    type RequestMessage: Message + Default + From<Self> + 'static;
    /// The answer's message in `stator.v1`.
    type ResponseMessage: Message
        + Default
        + From<Self::Answer>
        + TryInto<Self::Answer, Error = Error>
        + 'static;
    /// The operation's name between nodes.
    const OPERATION: Operation;

    /// How many bytes a request has on the wire.
    #[must_use]
    fn request_bytes(request: &Self::RequestMessage) -> usize {
        request.encoded_len()
    }

    /// How many bytes an answer has on the wire.
    #[must_use]
    fn answer_bytes(answer: &Self::ResponseMessage) -> usize {
        answer.encoded_len()
    }
}

macro_rules! operations {
    ($($name:ident($effect:ident): $request:ident => $response:ident,)*) => {
        $(
            impl WireOperation for api::$name {
                type RequestMessage = v1::$request;
                type ResponseMessage = v1::$response;
                const OPERATION: Operation = Operation::$name;
            }
        )*

        impl Effect {
            /// The effect of this request. An operation that is not known here is taken for the worst.
            #[must_use]
            pub const fn of(request: &Request) -> Self {
                match request {
                    $(Request::$name(_) => Self::$effect,)*
                    _ => Self::Write,
                }
            }

            /// The effect of requests of this operation.
            #[must_use]
            pub const fn of_operation(operation: Operation) -> Self {
                match operation {
                    $(Operation::$name => Self::$effect,)*
                    Operation::Unspecified => Self::Write,
                }
            }
        }

        /// A request as bytes of its message, with the operation that they are of.
        ///
        /// # Errors
        /// `UnknownOperationException` for an operation that this version cannot send.
        pub fn encode_request(request: Request) -> Result<(Operation, Bytes)> {
            match request {
                $(Request::$name(request) => {
                    let message = v1::$request::from(request);
                    Ok((Operation::$name, message.encode_to_vec().into()))
                })*
                other => Err(unknown(other.operation())),
            }
        }

        /// The request that [`encode_request`] made these bytes of.
        ///
        /// # Errors
        /// `ValidationException` if they are no such request, `UnknownOperationException` without an operation.
        pub fn decode_request(operation: Operation, bytes: Bytes) -> Result<Request> {
            match operation {
                $(Operation::$name => {
                    let message = v1::$request::decode(bytes).map_err(|e| malformed(&e))?;
                    Ok(api::$name::try_from(message)?.into())
                })*
                Operation::Unspecified => Err(unknown(operation.as_str_name())),
            }
        }

        /// An answer as bytes of its message.
        ///
        /// # Errors
        /// `UnknownOperationException` for the answer of an operation that this version cannot send.
        pub fn encode_answer(answer: Answer) -> Result<Bytes> {
            match answer {
                $(Answer::$name(answer) => {
                    Ok(v1::$response::from(answer).encode_to_vec().into())
                })*
                _ => Err(unknown("answer")),
            }
        }

        /// The answer that [`encode_answer`] made these bytes of.
        ///
        /// # Errors
        /// `InternalServerError`, with the fate of the request unknown, if they are no such answer.
        pub fn decode_answer(operation: Operation, bytes: Bytes) -> Result<Answer> {
            match operation {
                $(Operation::$name => {
                    let message = v1::$response::decode(bytes).map_err(|e| {
                        malformed_answer(&e)
                    })?;
                    Ok(Answer::$name(message.try_into()?))
                })*
                Operation::Unspecified => Err(unknown(operation.as_str_name())),
            }
        }
    };
}

operations! {
    CreateTable(Write): CreateTableRequest => CreateTableResponse,
    DescribeTable(Read): DescribeTableRequest => DescribeTableResponse,
    ListTables(Read): ListTablesRequest => ListTablesResponse,
    UpdateTable(Write): UpdateTableRequest => UpdateTableResponse,
    DeleteTable(Write): DeleteTableRequest => DeleteTableResponse,
    PutItem(Write): PutItemRequest => PutItemResponse,
    GetItem(Read): GetItemRequest => GetItemResponse,
    UpdateItem(Write): UpdateItemRequest => UpdateItemResponse,
    DeleteItem(Write): DeleteItemRequest => DeleteItemResponse,
    Query(Read): QueryRequest => QueryResponse,
    Scan(Read): ScanRequest => ScanResponse,
    BatchGetItem(Read): BatchGetItemRequest => BatchGetItemResponse,
    BatchWriteItem(Write): BatchWriteItemRequest => BatchWriteItemResponse,
}

fn unknown(operation: &str) -> Error {
    Error::new(ErrorKind::UnknownOperation, format!("The operation {operation} is not known here"))
}

fn malformed(error: &prost::DecodeError) -> Error {
    Error::validation(format!("The request is not well-formed protobuf: {error}"))
}

fn malformed_answer(error: &prost::DecodeError) -> Error {
    Error::internal(format!("The answer is not well-formed protobuf: {error}"))
        .with_applied(Applied::Unknown)
}
