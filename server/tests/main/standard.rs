//! The services that gRPC has for everybody: health, and reflection, which tells what the README's callers from other languages use.

use h2::RecvStream;
use prost::Message as _;
use stator_server::Node;
use tokio::time::{Instant, sleep, timeout};
use tonic::codegen::http::Response;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::cluster::{Cluster, PATIENCE};
use crate::hostile_calls::one_node;
use crate::watching::Before;
use crate::wire::{Wire, whole};

const README: &str = include_str!("../../../README.md");
const API: &str = "stator.v1.Stator";

async fn channel(node: &Node) -> Channel {
    let address = format!("http://{}", node.listening().expect("it listens"));
    Channel::from_shared(address).expect("an address").connect().await.expect("connects")
}

/// A service of a node, watched.
struct Watched(Streaming<HealthCheckResponse>);

impl Watched {
    async fn of(node: &Node, service: &str) -> Self {
        let request = HealthCheckRequest { service: service.to_owned() };
        let watched = HealthClient::new(channel(node).await).watch(request).await;
        Self(watched.expect("watched").into_inner())
    }

    /// What is told next.
    async fn next(&mut self) -> Option<ServingStatus> {
        let told = timeout(PATIENCE, self.0.message()).await.expect("told in time");
        told.ok().flatten().map(|told| told.status())
    }

    /// Waits until this is told.
    async fn comes_to(&mut self, status: ServingStatus) {
        while self.next().await.expect("the node is there") != status {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_whether_the_node_serves() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let unknown = HealthCheckRequest { service: "nobody".to_owned() };
    let asked = HealthClient::new(channel(&cluster.node(0)).await).check(unknown).await;
    assert_eq!(asked.expect_err("unknown").code(), Code::NotFound);

    let mut whole = Watched::of(&cluster.node(0), "").await;
    let mut api = Watched::of(&cluster.node(0), API).await;
    whole.comes_to(ServingStatus::Serving).await;
    api.comes_to(ServingStatus::Serving).await;
    // Without the others its partition has no leader.
    cluster.crash(1).await;
    cluster.crash(2).await;
    whole.comes_to(ServingStatus::NotServing).await;
    api.comes_to(ServingStatus::NotServing).await;
    // Connections that are left would hold what is left of the node.
    drop((whole, api));
    cluster.crash(0).await;

    // Its door is open before the catalog is reached.
    cluster.restart(0).await;
    let mut api = Watched::of(&cluster.node(0), API).await;
    assert_eq!(api.next().await, Some(ServingStatus::NotServing));
    let mut whole = Watched::of(&cluster.node(0), "").await;
    assert_eq!(whole.next().await, Some(ServingStatus::NotServing));
    cluster.restart(1).await;
    api.comes_to(ServingStatus::Serving).await;

    // On its way out it serves no longer.
    let stopping = cluster.begin_shutdown(0);
    api.comes_to(ServingStatus::NotServing).await;
    whole.comes_to(ServingStatus::NotServing).await;
    stopping.await.expect("stopped");
}

/// What is looked at of a file's descriptor.
#[derive(Clone, PartialEq, prost::Message)]
struct FileName {
    #[prost(string, tag = "1")]
    name: String,
}

/// Asks what a symbol is, or else which services there are; nothing if the symbol is unknown.
async fn reflected(node: &Node, symbol: Option<&str>) -> Option<MessageResponse> {
    let wanted = match symbol {
        Some(symbol) => MessageRequest::FileContainingSymbol(symbol.to_owned()),
        None => MessageRequest::ListServices(String::new()),
    };
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let mut client = ServerReflectionClient::new(channel(node).await);
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
    match answers.expect("answered").into_inner().message().await {
        Ok(answer) => Some(answer?.message_response.expect("of some kind")),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status}");
            None
        }
    }
}

/// The names that the README's callers use: each with the file that has to hold it, if they say so.
fn names_in_the_readme() -> Vec<(String, Option<String>)> {
    let mut names = Vec::new();
    // `grpcurl -d '{"field":...}' ... stator.v1.Stator/Method`
    let call = README.lines().find(|line| line.starts_with("grpcurl ")).expect("a call");
    let (_, method) = call.split_once("stator.v1.Stator/").expect("a method");
    names.push((format!("{API}.{method}"), None));
    let json = call.split('\'').nth(1).expect("a message");
    let message: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for field in message.as_object().expect("an object").keys() {
        names.push((format!("stator.v1.{method}Request.{field}"), None));
    }
    // `stator.Method(...)`, and `file_pb2.Message(field=..., field=...)`.
    let (_, program) = README.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("\n```").expect("it ends");
    for (at, _) in program.match_indices("stator.") {
        let rest = &program[at + "stator.".len()..];
        if rest.starts_with(char::is_uppercase) {
            let (method, _) = rest.split_once('(').expect("a call");
            names.push((format!("{API}.{method}"), None));
        }
    }
    for (at, pb2) in program.match_indices("_pb2.") {
        let before = &program[..at];
        let file = before.rsplit(|letter: char| !letter.is_alphanumeric()).next().expect("a file");
        let (message, rest) = program[at + pb2.len()..].split_once('(').expect("a message");
        let file = Some(format!("stator/v1/{file}.proto"));
        names.push((format!("stator.v1.{message}"), file.clone()));
        // The names before a `=`, within these brackets and no others.
        let (mut depth, mut word) = (0, String::new());
        for letter in rest.chars() {
            match letter {
                '(' | '{' | '[' => depth += 1,
                ')' if depth == 0 => break,
                ')' | '}' | ']' => depth -= 1,
                '=' if depth == 0 => {
                    names.push((format!("stator.v1.{message}.{word}"), file.clone()));
                }
                _ => {}
            }
            if letter.is_alphanumeric() || letter == '_' { word.push(letter) } else { word.clear() }
        }
    }
    // `found.item.attributes["song"].s`
    assert!(program.ends_with("print(found.item.attributes[\"song\"].s)"), "{program}");
    for field in ["GetItemResponse.item", "Item.attributes", "AttributeValue.s"] {
        names.push((format!("stator.v1.{field}"), None));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_knows_the_services_and_what_the_readme_calls() {
    let cluster = Cluster::start(1, |_| {}).await;
    let node = cluster.node(0);
    let Some(MessageResponse::ListServicesResponse(listed)) = reflected(&node, None).await else {
        panic!("no list of services");
    };
    let mut services: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    services.sort_unstable();
    let listed = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", API];
    for service in listed {
        assert!(services.iter().any(|name| name == service), "{service}: {services:?}");
    }

    let names = names_in_the_readme();
    let of_readme = |name: &str| names.iter().any(|(known, _)| known == name);
    assert!(of_readme("stator.v1.PutItemRequest.item") && of_readme("stator.v1.Stator.GetItem"));
    assert!(of_readme("stator.v1.AttributeValue.s") && of_readme("stator.v1.GetItemRequest.key"));
    for (name, file) in &names {
        let found = reflected(&node, Some(name)).await;
        let Some(MessageResponse::FileDescriptorResponse(found)) = found else {
            panic!("the README names {name}, which is unknown");
        };
        // A file names those that it imports as well: what counts is what it is called itself.
        let files = found.file_descriptor_proto.iter().map(|file| FileName::decode(&**file));
        let files: Vec<_> = files.map(|file| file.expect("a descriptor").name).collect();
        let is_there = file.as_ref().is_none_or(|file| files.contains(file));
        assert!(is_there, "the README has {name} from {file:?}, which is in {files:?}");
    }
    for unknown in ["GetItemsRequest", "GetItemRequest.keys", "Stator.GetItems"] {
        assert_eq!(reflected(&node, Some(&format!("stator.v1.{unknown}"))).await, None);
    }
}

/// The requests of a stream, of which each is answered.
fn asked(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| whole(message)).collect()
}

/// Begins a stream of which nothing can be read; nothing if it was refused for want of room.
async fn begin(wire: &Wire, path: &str, asked: &[u8]) -> Option<Response<RecvStream>> {
    let (answer, mut stream) = wire.open(path).await.expect("open");
    let _ = stream.send_data(asked.to_vec().into(), true);
    let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    let status = answer.headers().get("grpc-status").map(|status| status.to_str().expect("text"));
    assert!(matches!(status, None | Some("8")), "{status:?}");
    status.is_none().then_some(answer)
}

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_reflection_are_few() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let wanted = MessageRequest::FileContainingSymbol(format!("{API}.GetItem"));
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let request = asked(&vec![request.encode_to_vec(); 3]);
    let (mut wires, mut held) = (Vec::new(), Vec::new());
    for counted in [4, 4, 4, 4, 0] {
        let wire = Wire::with_window(&node, 0).await;
        let mut begun = Vec::new();
        for _ in 0..20 {
            begun.extend(begin(&wire, REFLECTION, &request).await);
        }
        assert_eq!(begun.len(), counted);
        wires.push(wire);
        held.push(begun);
    }
    // One that lets go makes room for others: here of its streams, there of the connection.
    let is_served = async || {
        let mut client = ServerReflectionClient::new(channel(&node).await);
        let list = MessageRequest::ListServices(String::new());
        let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let answer = client.server_reflection_info(tokio_stream::iter([list])).await;
        answer.map_err(|status| assert_eq!(status.code(), Code::ResourceExhausted)).is_ok()
    };
    assert!(!is_served().await);
    held.pop();
    held.pop();
    let deadline = Instant::now() + PATIENCE;
    while !is_served().await {
        assert!(Instant::now() < deadline, "the streams are never given back");
        sleep(std::time::Duration::from_millis(5)).await;
    }
    for wire in wires {
        wire.vanish().await;
    }
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_as_many_as_connections_and_checks_go_on() {
    let cluster = one_node(|config| config.max_connections = 6).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let (mut wires, mut held) = (Vec::new(), Vec::new());
    for counted in [4, 2, 0] {
        let wire = Wire::with_window(&node, 0).await;
        let mut begun = Vec::new();
        for _ in 0..20 {
            begun.extend(begin(&wire, WATCH, &whole(&[])).await);
        }
        assert_eq!(begun.len(), counted);
        wires.push(wire);
        held.push(begun);
    }
    // The node says now and then whether it serves.
    let mut client = HealthClient::new(channel(&node).await);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let check = client.check(HealthCheckRequest::default()).await.expect("told");
        if check.into_inner().status() == ServingStatus::Serving {
            break;
        }
        assert!(Instant::now() < deadline, "it serves");
        sleep(std::time::Duration::from_millis(5)).await;
    }
    drop((client, held));
    for wire in wires {
        wire.vanish().await;
    }
    before.comes_back(&node).await;
    Watched::of(&node, "").await.comes_to(ServingStatus::Serving).await;
}
