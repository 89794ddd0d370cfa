//! A node's address leads to another node of its cluster: what is for the one is not answered by the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stator_proto::v1::Liveness;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, put};
use crate::joining::seen_by;
use crate::tables::delete_table;

/// An address that leads to another, as one does that was given to another machine.
struct Detour {
    taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Detour {
    async fn new(from: SocketAddr, to: SocketAddr) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(from).await {
                Ok(listener) => break listener,
                Err(error) if Instant::now() >= deadline => panic!("{from}: {error}"),
                Err(_) => sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let task = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                ways.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { taken, task }
    }

    /// Waits until so many more connections have come this way.
    async fn wait_for(&self, more: usize) {
        let wanted = self.taken.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.taken.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "nobody comes any more");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_answer_for_one_whose_address_it_has() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "first").await;
    cluster.wait_equal().await;
    cluster.crash(1).await;
    let [from, to] = [1, 2].map(|number| cluster.config(number).listen);
    let detour = Detour::new(from, to).await;
    detour.wait_for(2).await;
    // The states of its replicas are asked for: nobody has any to tell.
    for number in [0, 2, 0, 2] {
        let seen = seen_by(&cluster, number).await;
        assert_ne!(seen.nodes[1].liveness(), Liveness::Alive, "{seen:?}");
        assert_eq!((seen.nodes[1].node_id, seen.nodes[1].replicas), (2, 0), "{seen:?}");
    }
    // What the other two lead is served as before.
    put(&cluster.node(2), "music", "song", "second").await;
    assert_eq!(get(&cluster.node(0), "music", "song").await.as_deref(), Some("second"));

    // The others let go of the table's replicas, the node at the address among them. That it has none says nothing of the node that
    // is meant: it is told once it is back.
    delete_table(&cluster, "music").await;
    detour.wait_for(8).await;
    detour.end().await;
    cluster.restart(1).await;
    cluster.wait_ready().await;
    let held = cluster.wait_equal().await;
    assert_eq!(held.len(), 1, "the catalog: {held:?}");
}
