//! The gRPC door for clients: each call is taken apart, answered as any request is, and put together again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stator_model::api::{self, Operation};
use stator_model::error::Retry;
use stator_model::limits::{ITEM_BYTES_MAX, PAGE_BYTES_MAX};
use stator_model::{Error, ErrorKind, Result};
use stator_proto::metadata::{FORWARDED_TO, REQUEST_ID, detail_bytes_max};
use stator_proto::operation::{Effect, WireOperation};
use stator_proto::status::to_status;
use stator_proto::v1;
use stator_proto::v1::stator_server::Stator;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::answers::{Held, Outgoing};
use super::lobby::Guest;
use crate::node::Inner;
use crate::serve::CallContext;

/// What is kept of a call's time to answer that it is over.
const LEFT_FOR_WORDS: Duration = Duration::from_millis(10);
/// Streams of pages at once, of all connections: each may hold a page or two for a slow client, and what it was asked with.
const PAGE_STREAMS_MAX: usize = 256;
/// Descriptions of the cluster at once: each asks all nodes for all their replicas, and tells of up to ten thousand partitions.
const DESCRIPTIONS_MAX: usize = 8;
/// The room that a page of a stream is read with: few come to more.
const PAGE_ROOM: usize = PAGE_BYTES_MAX + ITEM_BYTES_MAX;
/// Pages that are read at once, for each thread that reads: one is ready to be read while the other is.
const TURNS_PER_THREAD: usize = 2;
/// How long a page's first turn lasts: what is not read then is asked for in another one, of twice the time if it needed this one.
const TURN: Duration = Duration::from_secs(2);
/// How often a stream that waits for room looks whether there is some; and how long it waits at first, and at most, where the node
/// takes no more.
const PAGE_PAUSE: Duration = Duration::from_millis(20);
const PAGE_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The door.
pub(crate) struct ClientDoor {
    node: Arc<Inner>,
    /// The leave for streams of pages, of all connections together.
    page_streams: Arc<Semaphore>,
    /// The turns to read a page of a stream, of all connections together.
    turns: Arc<Semaphore>,
    /// The leave to describe the cluster.
    descriptions: Semaphore,
}

type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ClientDoor {
    pub(crate) fn new(node: Arc<Inner>) -> Self {
        let turns = Arc::new(Semaphore::new(TURNS_PER_THREAD * node.config.query_threads));
        let page_streams = Arc::new(Semaphore::new(PAGE_STREAMS_MAX));
        Self { node, page_streams, turns, descriptions: Semaphore::new(DESCRIPTIONS_MAX) }
    }

    /// Answers a call of one operation.
    async fn answer<O: WireOperation>(
        &self,
        request: tonic::Request<O::RequestMessage>,
    ) -> Result<Response<O::ResponseMessage>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let cx = self.context(&metadata);
        let guest = extensions.get::<Arc<Guest>>();
        let answer = async {
            let bytes = O::request_bytes(&message);
            let request = O::try_from(message)?;
            let answer: O::ResponseMessage = call(&self.node, request, bytes, &cx).await?.into();
            let held = hold(&self.node, guest, effect::<O>(), O::answer_bytes(&answer))?;
            Ok((answer, held))
        };
        match answer.await {
            Ok((answer, held)) => {
                let mut response = response(answer, held);
                name(response.metadata_mut(), &cx);
                self.tell_route(&cx, response.metadata_mut());
                Ok(response)
            }
            Err(error) => Err(refusal(&error, &cx, &metadata)),
        }
    }

    /// Answers a call that is no operation, within the same bounds.
    async fn tell<Q: prost::Message, A: prost::Message>(
        &self,
        request: tonic::Request<Q>,
        answer: impl AsyncFnOnce(Q, &CallContext) -> Result<A>,
    ) -> Result<Response<A>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let cx = self.context(&metadata);
        let told = async {
            let _leave = self.node.admit_other(message.encoded_len())?;
            let answer = answer(message, &cx).await?;
            let held = hold(&self.node, extensions.get(), Effect::Read, answer.encoded_len())?;
            Ok((answer, held))
        };
        let (answer, held) = told.await.map_err(|error| refusal(&error, &cx, &metadata))?;
        Ok(response(answer, held))
    }

    /// Tells the client that another node served its request, so that it asks there next time.
    fn tell_route(&self, cx: &CallContext, metadata: &mut MetadataMap) {
        let endpoint = cx.served_by().and_then(|node| self.node.endpoint_of(node));
        if let Some(endpoint) = endpoint.and_then(|endpoint| endpoint.parse().ok()) {
            metadata.insert(FORWARDED_TO, endpoint);
        }
    }

    /// Who asks, and for how long: a little less than the call has, for at its end the call is cut off without a word.
    fn context(&self, metadata: &MetadataMap) -> CallContext {
        let given = metadata.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let timeout = timeout(metadata).map(|timeout| timeout - (timeout / 10).min(LEFT_FOR_WORDS));
        self.node.context(self.node.request_ids.given_or_made(given), timeout)
    }
}

/// A response whose answer counts until it is gone.
pub(super) fn response<A>(answer: A, held: Option<Held>) -> Response<A> {
    let mut response = Response::new(answer);
    if let Some(held) = held {
        let outgoing = Outgoing::default();
        outgoing.add(held);
        response.extensions_mut().insert(Arc::new(outgoing));
    }
    response
}

/// An error, as the caller of this call can take it, with the name by which the request is found in logs.
fn refusal(error: &Error, cx: &CallContext, metadata: &MetadataMap) -> Status {
    let mut status = to_status(error, None, detail_bytes_max(metadata));
    name(status.metadata_mut(), cx);
    status
}

/// Tells the caller what its request is called in logs.
fn name(metadata: &mut MetadataMap, cx: &CallContext) {
    if let Ok(id) = cx.request_id.parse() {
        metadata.insert(REQUEST_ID, id);
    }
}

/// Answers a request of one operation, whose message has so many bytes.
async fn call<O: Operation>(
    node: &Inner,
    request: O,
    bytes: usize,
    cx: &CallContext,
) -> Result<O::Answer> {
    let answer = node.answer(request.into(), bytes, cx).await?;
    O::answer(answer).ok_or_else(|| Error::uncertain("another operation was answered"))
}

/// Counts an answer of so many bytes until the other side has read it.
///
/// # Errors
/// That there is no room for the answer: what only read is refused.
pub(super) fn hold(
    node: &Inner,
    guest: Option<&Arc<Guest>>,
    effect: Effect,
    bytes: usize,
) -> Result<Option<Held>> {
    let Some(guest) = guest else { return Ok(None) };
    if let Some(held) = guest.answers.take(bytes) {
        return Ok(Some(held));
    }
    node.metrics.throttled();
    if effect == Effect::Read {
        return Err(crate::serve::throttled());
    }
    let held = guest.answers.take_anyway(bytes);
    if guest.answers.is_too_much() {
        guest.cut_off();
    }
    Ok(Some(held))
}

const fn effect<O: WireOperation>() -> Effect {
    Effect::of_operation(O::OPERATION)
}

/// The deadline that came with a call, as gRPC writes it: digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

macro_rules! unary {
    ($($method:ident: $operation:ident, $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl Stator for ClientDoor {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<v1::$request>,
                ) -> Result<Response<v1::$response>, Status> {
                    self.answer::<api::$operation>(request).await
                }
            )*

            type QueryPagesStream = Pages<v1::QueryResponse>;

            async fn query_pages(
                &self,
                request: tonic::Request<v1::QueryRequest>,
            ) -> Result<Response<Self::QueryPagesStream>, Status> {
                let next = |request: &mut api::Query, answer: &api::QueryAnswer| {
                    request.exclusive_start_key = answer.last_evaluated_key.clone();
                    request.exclusive_start_key.is_some()
                };
                self.pages(request, next)
            }

            type ScanPagesStream = Pages<v1::ScanResponse>;

            async fn scan_pages(
                &self,
                request: tonic::Request<v1::ScanRequest>,
            ) -> Result<Response<Self::ScanPagesStream>, Status> {
                let next = |request: &mut api::Scan, answer: &api::ScanAnswer| {
                    request.exclusive_start_key = answer.last_evaluated_key.clone();
                    request.exclusive_start_key.is_some()
                };
                self.pages(request, next)
            }

            async fn describe_routes(
                &self,
                request: tonic::Request<v1::DescribeRoutesRequest>,
            ) -> Result<Response<v1::DescribeRoutesResponse>, Status> {
                let routes = async |message: v1::DescribeRoutesRequest, cx: &CallContext| {
                    self.node.describe_routes(&message.table_name, cx).await
                };
                self.tell(request, routes).await
            }

            async fn describe_cluster(
                &self,
                request: tonic::Request<v1::DescribeClusterRequest>,
            ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
                let cluster = async |_, cx: &CallContext| {
                    let Ok(_leave) = self.descriptions.try_acquire() else {
                        self.node.metrics.throttled();
                        return Err(crate::serve::throttled());
                    };
                    Ok(self.node.describe_cluster(cx).await)
                };
                self.tell(request, cluster).await
            }
        }
    };
}

unary! {
    create_table: CreateTable, CreateTableRequest => CreateTableResponse;
    describe_table: DescribeTable, DescribeTableRequest => DescribeTableResponse;
    list_tables: ListTables, ListTablesRequest => ListTablesResponse;
    update_table: UpdateTable, UpdateTableRequest => UpdateTableResponse;
    delete_table: DeleteTable, DeleteTableRequest => DeleteTableResponse;
    put_item: PutItem, PutItemRequest => PutItemResponse;
    get_item: GetItem, GetItemRequest => GetItemResponse;
    update_item: UpdateItem, UpdateItemRequest => UpdateItemResponse;
    delete_item: DeleteItem, DeleteItemRequest => DeleteItemResponse;
    query: Query, QueryRequest => QueryResponse;
    scan: Scan, ScanRequest => ScanResponse;
    batch_get_item: BatchGetItem, BatchGetItemRequest => BatchGetItemResponse;
    batch_write_item: BatchWriteItem, BatchWriteItemRequest => BatchWriteItemResponse;
}

impl ClientDoor {
    /// Answers page after page, as fast as the client takes them and there is room for them. Each page has the call's deadline for
    /// itself, so that a long stream is not cut off by the time of its first page.
    fn pages<O>(
        &self,
        request: tonic::Request<O::RequestMessage>,
        next: impl Fn(&mut O, &O::Answer) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<Response<Pages<O::ResponseMessage>>, Status>
    where
        O: WireOperation + Clone + Sync,
        O::Answer: Sync,
        O::ResponseMessage: Send,
    {
        let (metadata, extensions, message) = request.into_parts();
        let guest = extensions.get::<Arc<Guest>>().cloned();
        let timeout = timeout(&metadata);
        let cx = self.context(&metadata);
        let bytes = O::request_bytes(&message);
        let request = O::try_from(message).map_err(|error| refusal(&error, &cx, &metadata))?;
        let all_streams =
            [Some(&self.page_streams), guest.as_ref().map(|guest| &guest.page_streams)];
        let leaves = all_streams.into_iter().flatten().map(|all| all.clone().try_acquire_owned());
        let Ok(leaves) = leaves.collect::<Result<Vec<_>, _>>() else {
            self.node.metrics.throttled();
            return Err(refusal(&crate::serve::throttled(), &cx, &metadata));
        };
        let kept = guest.as_ref().map(|guest| guest.answers.take_request(bytes));
        if let Some(None) = kept {
            self.node.metrics.throttled();
            return Err(refusal(&crate::serve::throttled(), &cx, &metadata));
        }
        // Read as the client takes them: one that is gone, or takes none, has none read for it.
        let (node, turns) = (self.node.clone(), self.turns.clone());
        let (metadata, request_id) = (Arc::new(metadata), cx.request_id.clone());
        let outgoing = Arc::new(Outgoing::stream(leaves, kept.flatten()));
        let pages = outgoing.clone();
        let stream = futures::stream::unfold(Some(request), move |left| {
            let (node, turns) = (node.clone(), turns.clone());
            let (next, request_id) = (next.clone(), request_id.clone());
            let (metadata, guest, pages) = (metadata.clone(), guest.clone(), pages.clone());
            let asked = pages.clone();
            async move {
                let mut request = left?;
                // A task, for HTTP/2 asks for a page ahead, and then no more until the client has taken the former: what has
                // begun, and has what others wait for, is not to wait for that.
                let mut task = JoinSet::new();
                task.spawn(async move {
                    let cx = node.context(request_id, timeout);
                    asked.set_unread(false);
                    let guest = guest.as_deref();
                    let page = page(&node, &turns, guest, &mut request, &next, bytes, &cx).await;
                    asked.set_unread(true);
                    page.map(|(page, held, more)| (page, held, more.then_some(request)))
                        .map_err(|error| refusal(&error, &cx, &metadata))
                });
                Some(match task.join_next().await {
                    Some(Ok(Ok((page, held, request)))) => {
                        held.into_iter().for_each(|held| pages.add(held));
                        (Ok(page), request)
                    }
                    Some(Ok(Err(status))) => (Err(status), None),
                    None | Some(Err(_)) => (Err(Status::internal("reading a page failed")), None),
                })
            }
        });
        let mut response: Response<Pages<O::ResponseMessage>> = Response::new(Box::pin(stream));
        response.extensions_mut().insert(outgoing);
        name(response.metadata_mut(), &cx);
        Ok(response)
    }
}

/// Reads a page of a stream, when it has its turn and there is room for it; and tells whether there are more, for which the request
/// is changed.
///
/// Turns are given in the order in which they are asked for. A page that finds no room, a node that takes no more, or nobody who
/// serves it, gives its turn back and asks for another one after a pause, behind all who wait: no client that leaves its own room
/// full, and no partition without a leader, stands in others' way.
///
/// # Errors
/// What the page is refused with. What may pass is no reason yet: it is waited for, for as long as the page has time, the node does
/// not stop, and the client takes what there is for it.
async fn page<O: WireOperation + Clone>(
    node: &Inner,
    turns: &Semaphore,
    guest: Option<&Guest>,
    request: &mut O,
    next: impl Fn(&mut O, &O::Answer) -> bool,
    bytes: usize,
    cx: &CallContext,
) -> Result<(O::ResponseMessage, Option<Held>, bool)> {
    let now = || node.clock.monotonic_ns();
    let left = || cx.left(now());
    let (mut room, mut pause_if_busy, mut time) = (PAGE_ROOM, PAGE_PAUSE, TURN);
    loop {
        let mut pause = PAGE_PAUSE;
        let refused = 'turn: {
            let Ok(_turn) = tokio::time::timeout(left(), turns.acquire()).await else {
                break 'turn crate::serve::throttled();
            };
            let held = guest.map(|guest| guest.answers.reserve(room));
            if let Some(None) = held {
                break 'turn crate::serve::throttled();
            }
            let began = now();
            match call(node, request.clone(), bytes, &cx.for_an_attempt(time, began)).await {
                Ok(answer) => {
                    let mut asked = request.clone();
                    let more = next(&mut asked, &answer);
                    let page: O::ResponseMessage = answer.into();
                    // Values of a byte or two come to more than they count. Such a page is read again, once there is room for
                    // that.
                    room = O::answer_bytes(&page);
                    let held = held.flatten().map(|held| held.comes_to(room));
                    if !matches!(held, Some(None)) {
                        *request = asked;
                        return Ok((page, held.flatten(), more));
                    }
                    crate::serve::throttled()
                }
                Err(error) if may_pass(&error) => {
                    // Most of it: what looks for a leader gives up a little before the end. Refusals that come at once lengthen nothing.
                    if Duration::from_nanos(now() - began) >= time / 2 {
                        time *= 2;
                    }
                    let said = if let Retry::After(said) = error.retry() { said } else { pause };
                    pause = pause_if_busy.max(said);
                    pause_if_busy = (2 * pause_if_busy).min(PAGE_PAUSE_MAX);
                    error
                }
                Err(error) => return Err(error),
            }
        };
        let is_stuck = guest.is_some_and(|guest| guest.answers.is_stuck());
        if left() <= pause || node.is_stopping() || is_stuck {
            if refused.kind() == ErrorKind::Throttling {
                node.metrics.throttled();
            }
            return Err(refused);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether a page may be read though it has been refused so.
fn may_pass(error: &Error) -> bool {
    use ErrorKind::{DeadlineExceeded, Throttling, Unavailable};
    matches!(error.kind(), Throttling | Unavailable | DeadlineExceeded)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
