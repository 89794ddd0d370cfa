//! `stator bench --target etcd` on something that answers as a member of etcd does and keeps what it is given in a map. What it has
//! counted is held against what the bench says.

#[path = "../../src/bench/target/etcd/messages.rs"]
mod messages;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Ready, ready};
use prost::Message;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
    TxnRequest, TxnResponse,
};
use crate::support::{Ended, directory, finish, program};

const RECORDS: u64 = 200;
const CLIENTS: u64 = 4;

/// What a member has, and what it has seen.
#[derive(Default)]
struct Seen {
    kept: BTreeMap<Bytes, Bytes>,
    loaded: u64,
    puts: u64,
    /// Reads of one key, and of many.
    gets: u64,
    ranges: u64,
    serializable: u64,
    refused: u64,
    /// Whether it refuses the requests of this number, which are counted from 0.
    refuses: Option<fn(u64) -> bool>,
}

impl Seen {
    /// Whether a request is refused. What it refuses it has not done.
    fn judge(&mut self) -> Result<(), Status> {
        let number = self.puts + self.gets + self.ranges + self.refused;
        if !self.refuses.is_some_and(|refuses| refuses(number)) {
            return Ok(());
        }
        self.refused += 1;
        Err(Status::resource_exhausted("etcdserver: mvcc: database space exceeded"))
    }

    fn put(&mut self, put: PutRequest) -> Result<PutResponse, Status> {
        self.judge()?;
        self.puts += 1;
        self.kept.insert(put.key, put.value);
        Ok(PutResponse {})
    }

    /// As records are loaded. This is never refused.
    fn transact(&mut self, transaction: TxnRequest) -> Result<TxnResponse, Status> {
        for put in transaction.success.into_iter().filter_map(|operation| operation.put) {
            self.loaded += 1;
            self.kept.insert(put.key, put.value);
        }
        Ok(TxnResponse {})
    }

    fn range(&mut self, range: RangeRequest) -> Result<RangeResponse, Status> {
        self.judge()?;
        self.serializable += u64::from(range.serializable);
        let end = if range.range_end.is_empty() {
            self.gets += 1;
            Bound::Included(range.key.clone())
        } else {
            self.ranges += 1;
            Bound::Excluded(range.range_end)
        };
        let most = if range.limit == 0 { usize::MAX } else { range.limit as usize };
        let found = self.kept.range((Bound::Included(range.key), end)).take(most);
        let kvs = found.map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() });
        Ok(RangeResponse { kvs: kvs.collect() })
    }
}

/// A member, which has the services `KV` and `Maintenance`.
struct Member {
    seen: Arc<Mutex<Seen>>,
    endpoint: String,
    _runtime: Runtime,
}

impl Member {
    fn start(refuses: Option<fn(u64) -> bool>) -> Self {
        let seen = Arc::new(Mutex::new(Seen { refuses, ..Seen::default() }));
        let runtime = Runtime::new().expect("a runtime");
        let bound = async { TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")) };
        let incoming = runtime.block_on(bound).expect("a port").with_nodelay(Some(true));
        let address = incoming.local_addr().expect("an address");
        let server = Server::builder().add_service(Kv(seen.clone())).add_service(Maintenance);
        runtime.spawn(server.serve_with_incoming(incoming));
        Self { seen, endpoint: format!("http://{address}"), _runtime: runtime }
    }

    /// A tiny run on it with these arguments besides, and its figures.
    fn bench(&self, arguments: &[&str]) -> (Ended, Value) {
        let dir = directory();
        let mut command = program(dir.path());
        command.args(["bench", "--target", "etcd", "--endpoints", &self.endpoint]);
        command.args(["--records", &RECORDS.to_string(), "--clients", &CLIENTS.to_string()]);
        command.args(["--seconds", "1", "--warmup", "0", "--json", "figures"]).args(arguments);
        let ended = finish(command, "");
        let figures = std::fs::read(dir.path().join("figures")).expect("written");
        (ended, serde_json::from_slice(&figures).expect("JSON"))
    }
}

#[derive(Clone)]
struct Kv(Arc<Mutex<Seen>>);

#[derive(Clone)]
struct Maintenance;

impl NamedService for Kv {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl NamedService for Maintenance {
    const NAME: &'static str = "etcdserverpb.Maintenance";
}

type Answer = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

impl Service<http::Request<Body>> for Kv {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let seen = self.0.clone();
        match request.uri().path() {
            "/etcdserverpb.KV/Put" => unary(request, move |put| lock(&seen).put(put)),
            "/etcdserverpb.KV/Range" => unary(request, move |range| lock(&seen).range(range)),
            "/etcdserverpb.KV/Txn" => unary(request, move |txn| lock(&seen).transact(txn)),
            _ => unknown(),
        }
    }
}

impl Service<http::Request<Body>> for Maintenance {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        match request.uri().path() {
            "/etcdserverpb.Maintenance/Status" => unary(request, |_: StatusRequest| {
                Ok(StatusResponse { version: "3.4.23".to_owned() })
            }),
            _ => unknown(),
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no panic")
}

fn unknown() -> Answer {
    async { Ok(Status::unimplemented("no such method").into_http()) }.boxed()
}

/// Answers one message with one.
fn unary<Q, A, F>(request: http::Request<Body>, answer: F) -> Answer
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: FnMut(Q) -> Result<A, Status> + Send + 'static,
{
    async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        Ok(grpc.unary(Method(answer), request).await)
    }
    .boxed()
}

/// A method, by what it answers.
struct Method<F>(F);

impl<Q, A, F: FnMut(Q) -> Result<A, Status>> UnaryService<Q> for Method<F> {
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}

/// Whether so many operations that succeeded have been counted. Each has a latency, for all began in time; those that ended too late
/// do not count as done, and each caller has one at most.
#[track_caller]
fn assert_counted(found: &Value, operations: u64) {
    let count = |value: &Value| value.as_u64().expect("a number");
    let kinds = found["by_operation"].as_object().expect("kinds of operations");
    assert_eq!(
        kinds.values().map(|kind| count(&kind["count"])).sum::<u64>(),
        operations,
        "{found}"
    );
    let done = count(&found["operations"]);
    assert!(done <= operations && operations - done <= CLIENTS, "{operations}: {found}");
}

#[test]
fn what_etcd_is_asked_is_what_is_counted() {
    std::thread::scope(|scope| {
        for workload in ["put", "get", "get-eventual", "b", "d", "e", "f"] {
            scope.spawn(move || does_as_it_says(workload));
        }
    });
}

fn does_as_it_says(workload: &str) {
    let member = Member::start(None);
    let (ended, found) = member.bench(&["--workload", workload, "--value-bytes", "50"]);
    assert!(ended.ok().contains("errors: 0"));
    let seen = lock(&member.seen);
    assert_eq!((&found["target"], &found["workload"]), (&json!("etcd"), &json!(workload)));
    assert_eq!(found["target_version"], json!("etcd 3.4.23, endpoints: 1"));
    assert_eq!((&found["errors"], &found["missing"]), (&json!(0), &json!(0)), "{found}");
    assert_eq!((&found["load"]["records"], seen.loaded), (&json!(RECORDS), RECORDS));

    // One that reads, modifies and writes is one operation and two requests.
    let requests = seen.puts + seen.gets + seen.ranges;
    let operations = if workload == "f" { seen.gets } else { requests };
    assert!(operations > CLIENTS, "{found}");
    assert_counted(&found, operations);
    let (puts, gets, ranges) = (seen.puts > 0, seen.gets > 0, seen.ranges > 0);
    let expected = match workload {
        "put" => (true, false, false),
        "get" | "get-eventual" => (false, true, false),
        "e" => (true, false, true),
        _ => (true, true, false),
    };
    assert_eq!((puts, gets, ranges), expected, "{workload}");
    let serializable = if workload == "get-eventual" { requests } else { 0 };
    assert_eq!(seen.serializable, serializable, "{workload}");

    let inserted = if matches!(workload, "d" | "e") { seen.puts } else { 0 };
    assert_eq!(seen.kept.len() as u64, RECORDS + inserted, "{workload}");
    let prefix: &[u8] = if workload == "e" { b"bench-ranges/user" } else { b"bench/user" };
    assert!(seen.kept.keys().all(|key| key.starts_with(prefix)));
    assert!(seen.kept.values().all(|value| value.len() == 50));
}

#[test]
fn what_etcd_refuses_is_an_error_and_no_operation() {
    let member = Member::start(Some(|number| number % 3 == 1));
    let (ended, found) = member.bench(&["--workload", "put"]);
    let told = ended.ok();
    let seen = lock(&member.seen);
    assert!(seen.puts > CLIENTS && seen.refused > 0, "{found}");
    assert_counted(&found, seen.puts);
    assert_eq!(found["errors"], json!(seen.refused), "{found}");
    let kinds = json!({ "ResourceExhausted": {
        "count": seen.refused, "example": "etcdserver: mvcc: database space exceeded",
    } });
    assert_eq!(found["error_kinds"], kinds);
    let line = format!("{} ResourceExhausted: etcdserver: mvcc: database", seen.refused);
    assert!(told.contains(&line), "{told}");
}

#[test]
fn where_etcd_refuses_everything_nothing_was_measured() {
    let member = Member::start(Some(|_| true));
    let (ended, found) = member.bench(&["--workload", "get"]);
    assert!(ended.refused(1).contains("no operation succeeded"));
    assert_counted(&found, 0);
    assert_eq!(found["errors"], json!(lock(&member.seen).refused));
}
