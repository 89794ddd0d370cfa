//! What no sound client sends: the node refuses it, goes on serving, and keeps nothing of it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use prost::Message;
use stator_model::api::PutItem;
use stator_model::{AttributeValue, EncodedItem, Item};
use stator_proto::v1;
use stator_server::config::NodeConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, PATIENCE, get, put};
use crate::watching::{Before, Rng, level};
use crate::wire::{Wire, framed, status, tcp, whole};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PUT: &str = "/stator.v1.Stator/PutItem";

/// Writes bytes, and waits until the other side has closed.
async fn told(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    // It may close before it has heard all.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    heard(&mut stream).await
}

/// What comes until the other side closes.
async fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it closes");
    answer
}

fn put_request(id: &str) -> PutItem {
    let item = Item::from([("id".to_owned(), AttributeValue::from(id))]);
    let item = EncodedItem::encode(&item);
    PutItem { table_name: "music".into(), item, ..PutItem::default() }
}

pub(crate) async fn one_node(set_up: impl Fn(&mut NodeConfig)) -> Cluster {
    let cluster = Cluster::start(1, set_up).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_calls_are_shrugged_off() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let mut rng = Rng(1);
    for round in 0..40 {
        let rubbish = rng.bytes(1 << (round % 14));
        told(tcp(&node).await, &rubbish).await;
        told(tcp(&node).await, &[PREFACE, &rubbish].concat()).await;
        // Sound settings first, and then frames of every kind with rubbish in them.
        let mut frames = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        for kind in 0..12 {
            let payload = rng.bytes(1 + (rng.0 % 40) as usize);
            frames.put_uint(payload.len() as u64, 3);
            frames.extend([kind, rng.bytes(1)[0]]);
            frames.put_u32(1 + 2 * (round as u32 % 4));
            frames.extend(payload);
        }
        told(tcp(&node).await, &frames).await;
        // A frame that is said to be longer than any may be.
        told(tcp(&node).await, &[PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()).await;
    }
    told(tcp(&node).await, b"GET / HTTP/1.1\r\nhost: node\r\n\r\n").await;
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_no_messages_are_refused() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let sound = v1::PutItemRequest::from(put_request("sound")).encode_to_vec();
    let wire = Wire::to(&node).await;
    assert_eq!(wire.call(PUT, whole(&sound)).await.as_deref(), Some("0"));
    let length = u32::try_from(sound.len()).expect("short");
    let bodies = [
        ("nothing", Bytes::new()),
        ("half a frame", Bytes::from_static(&[0, 0, 0])),
        ("less than is said", framed(0, length + 1, &sound)),
        ("as long as can be said", framed(0, u32::MAX, &sound)),
        ("longer than is taken", framed(0, 21 << 20, &sound)),
        ("compressed, which it is not", framed(1, length, &sound)),
        ("an unknown flag", framed(7, length, &sound)),
        ("no protobuf", whole(&[0xff; 32])),
        ("half a message", whole(&sound[..sound.len() / 2])),
        ("two messages", [whole(&sound), whole(&sound)].concat().into()),
    ];
    for (what, body) in bodies {
        let status = wire.call(PUT, body).await;
        let refused = status.as_deref() != Some("0");
        assert!(refused || what == "two messages", "{what}: {status:?}");
    }
    for path in ["/stator.v1.Stator/Nothing", "/nothing", "/", "//", "/stator.v1.Stator/PutItem/"] {
        assert_eq!(wire.call(path, whole(&sound)).await.as_deref(), Some("12"), "{path}");
    }
    let mut rng = Rng(2);
    let methods = ["PutItem", "Query", "Scan", "BatchWriteItem", "CreateTable", "UpdateItem"];
    for round in 0..300 {
        let mut message = sound.clone();
        for _ in 0..1 + round % 4 {
            let place = (rng.next() % message.len() as u64) as usize;
            message[place] = rng.bytes(1)[0];
        }
        let path = format!("/stator.v1.Stator/{}", methods[round % methods.len()]);
        assert!(wire.call(&path, whole(&message)).await.is_some(), "an answer of some kind");
        let rubbish = rng.bytes(round);
        assert!(wire.call(&path, whole(&rubbish)).await.is_some());
    }
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
    wire.vanish().await;
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_never_end_take_a_bounded_share() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let wire = Wire::to(&node).await;
    // Each is said to be of 19 MB, and comes to 1 MB: 60 MB in all.
    let mut streams = Vec::new();
    for _ in 0..60 {
        let (answer, mut stream) = wire.open(PUT).await.expect("open");
        let _ = stream.send_data(framed(0, 19 << 20, &vec![0; 1 << 20]), false);
        streams.push((tokio::spawn(answer), stream));
    }
    let deadline = Instant::now() + PATIENCE;
    while !streams.iter().any(|(answer, _)| answer.is_finished()) {
        assert!(Instant::now() < deadline, "nothing is refused");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(level(&node, "stator_reading_bytes") <= (20 << 20) + 64);
    // Others are served meanwhile.
    for n in 0..20 {
        let sound = v1::PutItemRequest::from(put_request(&format!("other-{n}"))).encode_to_vec();
        let other = Wire::to(&node).await;
        assert_eq!(other.call(PUT, whole(&sound)).await.as_deref(), Some("0"));
        other.vanish().await;
    }
    let mut refused = 0;
    for (answer, _stream) in streams {
        if answer.is_finished() {
            let answer = answer.await.expect("it ran").expect("an answer");
            assert_eq!(status(answer).await.as_deref(), Some("8"), "RESOURCE_EXHAUSTED");
            refused += 1;
        }
    }
    assert!(refused > 0);
    wire.vanish().await;
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_writers_make_room_for_a_small_put() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    // Each call is said to be of 19 MB, and comes to 60 KB: 36 MB in all.
    let (mut wires, mut streams) = (Vec::new(), Vec::new());
    let piece = framed(0, 19 << 20, &vec![0; 60 << 10]);
    for _ in 0..200 {
        let wire = Wire::to(&node).await;
        for _ in 0..3 {
            let (answer, mut stream) = wire.open(PUT).await.expect("open");
            let _ = stream.send_data(piece.clone(), false);
            streams.push((tokio::spawn(answer), stream));
        }
        wires.push(wire);
    }
    // And what one that was refused gave back is taken in small pieces.
    let piece = framed(0, 19 << 20, &[0; 1 << 10]);
    for wire in &wires {
        let (answer, mut stream) = wire.open(PUT).await.expect("open");
        let _ = stream.send_data(piece.clone(), false);
        streams.push((tokio::spawn(answer), stream));
    }
    let deadline = Instant::now() + PATIENCE;
    while !streams.iter().any(|(answer, _)| answer.is_finished()) {
        assert!(Instant::now() < deadline, "there is room for all of them");
        sleep(Duration::from_millis(5)).await;
    }
    let full = level(&node, "stator_reading_bytes");
    let other = Wire::to(&node).await;
    for n in 0..20 {
        let item = Item::from([
            ("id".to_owned(), AttributeValue::from(n.to_string())),
            ("value".to_owned(), AttributeValue::from("x".repeat(40_000))),
        ]);
        let item = EncodedItem::encode(&item);
        let put = PutItem { table_name: "music".into(), item, ..PutItem::default() };
        let put = v1::PutItemRequest::from(put).encode_to_vec();
        let status = loop {
            let status = other.call(PUT, whole(&put)).await;
            if status.as_deref() != Some("8") {
                break status;
            }
            sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(status.as_deref(), Some("0"));
        // They have not gone by themselves, as they would in the end.
        assert!(level(&node, "stator_reading_bytes") > full / 2, "it was kept waiting");
    }
    drop(streams);
    for wire in wires.into_iter().chain([other]) {
        wire.vanish().await;
    }
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn describing_is_bounded_as_all_else_is() {
    let cluster = one_node(|config| config.max_in_flight_requests = 1).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let wires = [Wire::to(&node).await, Wire::to(&node).await, Wire::to(&node).await];
    for path in ["/stator.v1.Stator/DescribeRoutes", "/stator.v1.Stator/DescribeCluster"] {
        let deadline = Instant::now() + PATIENCE;
        let is_refused = async || {
            let calls = (0..600).map(|n| wires[n % wires.len()].call(path, whole(&[])));
            let answers = futures::future::join_all(calls).await;
            answers.iter().any(|status| status.as_deref() == Some("8"))
        };
        while !is_refused().await {
            assert!(Instant::now() < deadline, "{path} takes all that comes");
        }
    }
    for wire in wires {
        wire.vanish().await;
    }
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_in_the_midst_leave_nothing() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    for round in 0..5 {
        let wire = Wire::to(&node).await;
        for n in 0..400 {
            // Whoever takes back too much is shown the door.
            let Some((_answer, mut stream)) = wire.open(PUT).await else { break };
            let id = format!("gone-{round}-{n}");
            let sound = whole(&v1::PutItemRequest::from(put_request(&id)).encode_to_vec());
            // Some whole, some half, some taken back.
            let _ = match n % 3 {
                0 => stream.send_data(sound, true),
                1 => stream.send_data(sound.slice(..sound.len() / 2), false),
                _ => {
                    stream.send_reset(h2::Reason::CANCEL);
                    Ok(())
                }
            };
        }
        sleep(Duration::from_millis(2 * round)).await;
        wire.vanish().await;
    }
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_throttled_and_others_are_served() {
    let cluster = one_node(|config| config.max_in_flight_requests = 4).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let throttled = level(&node, "stator_throttled_total");
    let mut floods = Vec::new();
    for number in 0..4 {
        let wire = Wire::to(&node).await;
        floods.push(tokio::spawn(async move {
            for round in 0..4 {
                let calls = (0..300).map(|n| {
                    let id = format!("flood-{number}-{round}-{n}");
                    let sound = v1::PutItemRequest::from(put_request(&id)).encode_to_vec();
                    wire.call(PUT, whole(&sound))
                });
                for status in futures::future::join_all(calls).await {
                    assert!(matches!(status.as_deref(), Some("0" | "8")), "{status:?}");
                }
            }
            wire.vanish().await;
        }));
    }
    for n in 0..10 {
        put(&node, "music", &format!("beside-{n}"), "there").await;
    }
    for flood in floods {
        flood.await.expect("it ended");
    }
    assert!(level(&node, "stator_throttled_total") > throttled, "nothing was refused");
    assert_eq!(get(&node, "music", "beside-9").await.as_deref(), Some("there"));
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_does_not_cut_the_cluster() {
    let mut cluster = Cluster::start(3, |config| config.max_connections = 3).await;
    cluster.create_table("music").await;
    let path = "/stator.v1.Stator/ListTables";
    let mut held = Vec::new();
    for number in 0..2 {
        let node = cluster.node(number);
        let (mut served, mut refused) = (0, 0);
        for _ in 0..40 {
            let wire = Wire::to(&node).await;
            match wire.call(path, whole(&[])).await.as_deref() {
                Some("0") => served += 1,
                Some("8") => refused += 1,
                other => panic!("{other:?}"),
            }
            held.push(wire);
        }
        assert_eq!((served, refused), (3, 37));
        // And many who say nothing at all.
        for _ in 0..300 {
            let mut stream = tcp(&node).await;
            let _ = stream.write_all(PREFACE).await;
            held.push(Wire { send: held[0].send.clone(), task: tokio::spawn(silent(stream)) });
        }
    }
    cluster.crash(2).await;
    put(&cluster.node(0), "music", "song", "while one is away").await;
    cluster.restart(2).await;
    cluster.wait_ready().await;
    let late = get(&cluster.node(2), "music", "song").await;
    assert_eq!(late.as_deref(), Some("while one is away"));
    for wire in held {
        wire.vanish().await;
    }
    cluster.wait_equal().await;
}

/// Holds a connection until the other side closes it.
async fn silent(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
}

/// Asks for ever and reads no answer, until the node closes. How many bytes it took is counted.
async fn asks_and_reads_nothing(stream: TcpStream, written: &AtomicUsize) {
    let mut asked = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    loop {
        let Ok(()) = stream.writable().await else { return };
        match stream.try_write(&asked) {
            Ok(taken) => {
                written.fetch_add(taken, Ordering::Relaxed);
                asked.drain(..taken);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        while asked.len() < 64 << 10 {
            // A ping, which is to be answered.
            asked.extend([0, 0, 8, 6, 0, 0, 0, 0, 0]);
            asked.extend([7; 8]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_cut_off_all_the_same() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1).expect("as small as may be");
    let stream = socket.connect(node.listening().expect("it listens")).await.expect("connects");
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let hostile = tokio::spawn(async move { asks_and_reads_nothing(stream, &count).await });
    // Until nothing of it is taken any more, for there is no room for the answers.
    let mut former = 0;
    loop {
        sleep(Duration::from_millis(200)).await;
        let now = written.load(Ordering::Relaxed);
        if now > 0 && now == former {
            break;
        }
        former = now;
    }
    assert!(!hostile.is_finished(), "it was not closed yet");
    // It has not said what it is for, and has to make room for others.
    let mut others = Vec::new();
    for _ in 0..300 {
        others.push(tcp(&node).await);
    }
    timeout(PATIENCE, hostile).await.expect("it is closed").expect("it ran");
    drop(others);
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_shrugs_off_rubbish() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let admin = node.admin().expect("an admin port");
    let connect = || async { TcpStream::connect(admin).await.expect("connects") };
    let mut rng = Rng(3);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let header = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let requests: [&[u8]; 10] = [
        b"",
        b"\0\0\0\0",
        PREFACE,
        b"GET\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n",
        b"POST /livez HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        long.as_bytes(),
        header.as_bytes(),
        many.as_bytes(),
    ];
    for request in requests {
        let answer = told(connect().await, request).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(request));
        let rubbish = rng.bytes(3000);
        told(connect().await, &rubbish).await;
        let mut sound = connect().await;
        sound.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        let answer = heard(&mut sound).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
    before.comes_back(&node).await;
}
