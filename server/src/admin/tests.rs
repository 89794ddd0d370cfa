use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::bounded::{CONNECTIONS_MAX, LIFE_MAX};
use super::{AdminSource, run};
use crate::metrics::Metrics;

#[derive(Default)]
struct Node {
    reasons: Mutex<Vec<String>>,
    metrics: Option<Arc<Metrics>>,
    gathering: AtomicBool,
    overlapped: AtomicBool,
    gathered: AtomicUsize,
}

impl AdminSource for Node {
    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.reasons.lock().expect("reasons").clone();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn gather(&self) {
        if self.gathering.swap(true, Ordering::SeqCst) {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(20));
        self.gathering.store(false, Ordering::SeqCst);
        self.gathered.fetch_add(1, Ordering::SeqCst);
        if let Some(metrics) = &self.metrics {
            metrics.disk_free(4711);
        }
    }
}

struct Served {
    node: Arc<Node>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Served {
    let metrics = Arc::new(Metrics::new(1, 0));
    let node = Arc::new(Node { metrics: Some(metrics.clone()), ..Node::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        // A test that lets go of `stop` is served on.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let task = tokio::spawn(run(listener, node.clone(), metrics, shutdown));
    Served { node, address, stop, task }
}

/// Everything that is answered until the connection ends.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    (head.split(' ').nth(1).expect("status").parse().expect("status"), body.to_owned())
}

#[tokio::test]
async fn a_live_node_may_not_be_ready_and_says_why() {
    let Served { node, address, .. } = serve().await;
    assert_eq!(get(address, "/livez").await, (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz").await, (200, "[]\n".into()));
    *node.reasons.lock().expect("reasons") = vec!["no \"leader\"".into(), "disk".into()];
    assert_eq!(get(address, "/readyz").await, (503, "[\"no \\\"leader\\\"\",\"disk\"]\n".into()));
    assert_eq!(get(address, "/livez").await.0, 200);
    assert_eq!(get(address, "/").await.0, 404);
    let posted = ask(address, "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "a body is not waited for: {posted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_gathered_when_asked_for_and_not_twice_at_once() {
    let Served { node, address, .. } = serve().await;
    let asked: Vec<_> = (0..8).map(|_| tokio::spawn(get(address, "/metrics"))).collect();
    for answer in asked {
        let (status, text) = answer.await.expect("answered");
        assert_eq!(status, 200);
        assert!(text.contains("\nstator_disk_free_bytes 4711\n"), "gathered before it is encoded");
        assert!(text.ends_with("# EOF\n"));
    }
    assert_eq!(node.gathered.load(Ordering::SeqCst), 8);
    assert!(!node.overlapped.load(Ordering::SeqCst));
    let head = ask(address, "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
}

/// Time stands still but for what the test waits for, so the ten seconds pass at once.
#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_are_cut_off() {
    let Served { address, .. } = serve().await;
    let mut silent = TcpStream::connect(address).await.expect("connected");
    silent.write_all(b"GET /livez HTTP/1.1\r\nx:").await.expect("sent");
    let begun = tokio::time::Instant::now();
    let mut answer = Vec::new();
    // Cut off, by an end or by a reset.
    let _ = silent.read_to_end(&mut answer).await;
    assert!(begun.elapsed() <= LIFE_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(answer.is_empty());
}

#[tokio::test]
async fn those_over_the_bound_wait_for_the_others() {
    let Served { address, .. } = serve().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.expect("connected"));
    }
    let waiting = tokio::spawn(get(address, "/livez"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "answered although {CONNECTIONS_MAX} were open");
    silent.pop();
    assert_eq!(waiting.await.expect("answered").0, 200);
}

#[tokio::test]
async fn it_stops_when_told_whoever_is_connected() {
    let Served { address, stop, task, .. } = serve().await;
    let mut held = TcpStream::connect(address).await.expect("connected");
    held.write_all(b"GET /li").await.expect("sent");
    assert_eq!(get(address, "/livez").await.0, 200);
    stop.send(()).expect("running");
    let ended = tokio::time::timeout(LIFE_MAX / 2, task).await.expect("in good time");
    ended.expect("no panic").expect("no error");
    assert!(TcpStream::connect(address).await.is_err());
}
