//! Answers that nobody reads: they have a share of the node's memory, and no more.

use std::time::Duration;

use h2::RecvStream;
use prost::Message;
use stator_model::api::Scan;
use stator_model::{Answer, ErrorKind, Request};
use stator_proto::v1;
use stator_server::Node;
use stator_server::config::NodeConfig;
use tokio::time::{Instant, sleep, timeout};
use tonic::codegen::http::Response;

use crate::cluster::{PATIENCE, put};
use crate::hostile_calls::one_node;
use crate::watching::{Before, level};
use crate::wire::{Wire, status, whole};

const SCAN: &str = "/stator.v1.Stator/Scan";
const SCAN_PAGES: &str = "/stator.v1.Stator/ScanPages";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_take_a_bounded_share() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    leave_unread(&node, Wire::to(&node).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_which_nobody_reads_the_rest_take_a_bounded_share() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    leave_unread(&node, Wire::with_window(&node, 1).await).await;
}

fn is_refused(answer: &Response<RecvStream>) -> bool {
    answer.headers().get("grpc-status").is_some_and(|status| status == "8")
}

async fn leave_unread(node: &Node, wire: Wire) {
    for n in 0..3 {
        put(node, "music", &format!("large-{n}"), &"x".repeat(390_000)).await;
    }
    let before = Before::of(node);
    let waiting = || level(node, "stator_waiting_answers_bytes");
    let scan = Scan { table_name: "music".into(), ..Scan::default() };
    let scan = whole(&v1::ScanRequest::from(scan).encode_to_vec());
    // Answers are held, and nothing is read of them.
    let begin = async |wire: &Wire, path: &str| {
        let (answer, mut stream) = wire.open(path).await.expect("open");
        let _ = stream.send_data(scan.clone(), true);
        timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer")
    };
    let mut held = futures::future::join_all((0..400).map(|_| begin(&wire, SCAN))).await;
    for _ in 0..50 {
        held.push(begin(&wire, SCAN).await);
    }
    assert!(held.iter().any(is_refused), "it may have as much as it likes");
    for _ in 0..50 {
        held.push(begin(&wire, SCAN_PAGES).await);
    }
    let share = 17 << 20;
    assert!(waiting() > share / 2 && waiting() <= share, "{}", waiting());
    // Others are answered meanwhile, and a large answer that is read does not count for longer than that.
    let other = Wire::to(node).await;
    for _ in 0..40 {
        assert_eq!(other.call(SCAN, scan.clone()).await.as_deref(), Some("0"));
    }
    assert!(waiting() <= share);
    drop(held);
    wire.vanish().await;
    other.vanish().await;
    let deadline = Instant::now() + PATIENCE;
    while waiting() > 0 {
        assert!(Instant::now() < deadline, "{} bytes are never given back", waiting());
        sleep(Duration::from_millis(5)).await;
    }
    before.comes_back(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_wait_for_their_rest_take_a_bounded_share() {
    let set_up = |config: &mut NodeConfig| {
        config.table_partitions = 4;
        config.query_threads = 1;
    };
    let cluster = one_node(set_up).await;
    let node = cluster.node(0);
    // Less than a page, in all of four partitions: each page of a scan goes through all of them.
    for n in 0..15 {
        put(&node, "music", &format!("large-{n}"), &"x".repeat(60_000)).await;
    }
    let scan = Request::from(Scan { table_name: "music".into(), ..Scan::default() });
    let pages = (0..100).map(|_| node.call(scan.clone(), "scan".into(), None));
    let pages = futures::future::join_all(pages).await;
    let refused: Vec<_> = pages.iter().filter_map(|page| page.as_ref().err()).collect();
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Throttling), "{refused:?}");
    assert!(refused.len() < 90, "{} refused", refused.len());
    // Those that found no room for their rest end before it.
    let read = pages.iter().filter_map(|page| match page.as_ref().ok()? {
        Answer::Scan(page) => Some(page),
        other => panic!("{other:?}"),
    });
    let (whole, short): (Vec<_>, Vec<_>) = read.partition(|page| page.last_evaluated_key.is_none());
    assert!(whole.iter().all(|page| page.items.len() == 16));
    assert!(!short.is_empty() && short.iter().all(|page| (1..16).contains(&page.items.len())));
}

/// Begins so many streams of pages, and reads nothing of them: those that were not refused.
async fn begin_streams(wire: &Wire, count: usize, scan: &Scan) -> Vec<Response<RecvStream>> {
    let scan = whole(&v1::ScanRequest::from(scan.clone()).encode_to_vec());
    let mut begun = Vec::new();
    for _ in 0..count {
        let (answer, mut stream) = wire.open(SCAN_PAGES).await.expect("open");
        let _ = stream.send_data(scan.clone(), true);
        let answer = timeout(PATIENCE, answer).await.expect("an answer in time");
        begun.push(answer.expect("an answer"));
    }
    begun.retain(|answer| !is_refused(answer));
    begun
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_leave_some_to_others() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let before = Before::of(&node);
    let scan = Scan { table_name: "music".into(), ..Scan::default() };
    // The pages are small, and no more than a byte of each is read.
    let wire = Wire::with_window(&node, 1).await;
    let held = begin_streams(&wire, 300, &scan).await;
    assert_eq!(held.len(), 64);
    let other = Wire::to(&node).await;
    let request = whole(&v1::ScanRequest::from(scan.clone()).encode_to_vec());
    assert_eq!(other.call(SCAN_PAGES, request).await.as_deref(), Some("0"));
    // Whoever lets go of some may begin others.
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while begin_streams(&wire, 1, &scan).await.is_empty() {
        assert!(Instant::now() < deadline, "the streams are never given back");
        sleep(Duration::from_millis(5)).await;
    }
    wire.vanish().await;
    other.vanish().await;
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_do_not_keep_others_from_reading() {
    let cluster = one_node(|config| {
        config.query_threads = 1;
        config.request_timeout = LONG;
    })
    .await;
    let node = cluster.node(0);
    for n in 0..20 {
        put(&node, "music", &format!("small-{n}"), "x").await;
    }
    // A page of each is on its way, and the next one is asked for ahead of it.
    let wire = Wire::with_window(&node, 1).await;
    let scan = Scan { table_name: "music".into(), limit: Some(1), ..Scan::default() };
    let held = begin_streams(&wire, 8, &scan).await;
    assert_eq!(held.len(), 8);
    let other = Wire::to(&node).await;
    let request = whole(&v1::ScanRequest::from(scan).encode_to_vec());
    for path in [SCAN, SCAN_PAGES] {
        let answer = timeout(PATIENCE, other.call(path, request.clone())).await;
        assert_eq!(answer.expect("in time").as_deref(), Some("0"), "{path}");
    }
    wire.vanish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_streams_were_asked_with_counts_while_they_last() {
    let cluster = one_node(|_| {}).await;
    let node = cluster.node(0);
    let scan = Scan {
        table_name: "music".into(),
        filter_expression: Some("id = :large".into()),
        expression_attribute_values: [(":large".into(), "x".repeat(1 << 20).into())].into(),
        ..Scan::default()
    };
    let wire = Wire::with_window(&node, 1).await;
    let held = begin_streams(&wire, 30, &scan).await;
    assert_eq!(held.len(), 8, "half of what a connection has room for: seventeen megabytes");
    wire.vanish().await;
}

/// Leaves answers unread until there is no room for a page.
async fn leave_no_room(node: &Node, wire: &Wire) -> Vec<Response<RecvStream>> {
    for n in 0..3 {
        put(node, "music", &format!("large-{n}"), &"x".repeat(390_000)).await;
    }
    let scan = Scan { table_name: "music".into(), ..Scan::default() };
    let scan = whole(&v1::ScanRequest::from(scan).encode_to_vec());
    let mut held = Vec::new();
    loop {
        let (answer, mut stream) = wire.open(SCAN).await.expect("open");
        let _ = stream.send_data(scan.clone(), true);
        let answer = timeout(PATIENCE, answer).await.expect("an answer in time");
        let answer = answer.expect("an answer");
        if is_refused(&answer) {
            return held;
        }
        held.push(answer);
    }
}

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_for_room_for_its_pages() {
    let cluster = one_node(|config| config.request_timeout = LONG).await;
    let node = cluster.node(0);
    // Less than a piece of an answer is read ahead.
    let wire = Wire::with_window(&node, 4096).await;
    let mut held = leave_no_room(&node, &wire).await;
    let scan = Scan { table_name: "music".into(), limit: Some(1), ..Scan::default() };
    let mut streams = begin_streams(&wire, 3, &scan).await;
    assert_eq!(streams.len(), 3, "they are begun all the same");
    // Time for them to see that there is none: what is here is not judged by it.
    sleep(Duration::from_millis(100)).await;
    held.truncate(held.len() / 2);
    for stream in streams.drain(..) {
        let status = timeout(PATIENCE, status(stream)).await.expect("to its end in time");
        assert_eq!(status.as_deref(), Some("0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_does_not_wait_for_a_client_that_reads_nothing() {
    let cluster = one_node(|config| config.request_timeout = LONG).await;
    let node = cluster.node(0);
    let wire = Wire::with_window(&node, 4096).await;
    let held = leave_no_room(&node, &wire).await;
    let scan = Scan { table_name: "music".into(), ..Scan::default() };
    let mut streams = begin_streams(&wire, 1, &scan).await;
    let stream = streams.pop().expect("begun");
    let status = timeout(PATIENCE, status(stream)).await.expect("not for as long as it has time");
    assert_eq!(status.as_deref(), Some("8"));
    drop(held);
}
