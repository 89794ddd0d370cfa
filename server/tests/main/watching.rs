//! What can be seen of a node that somebody does something to.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stator_server::Node;
use tokio::time::{Instant, sleep};

use crate::cluster::PATIENCE;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts, from now on, what panics on threads that are not tests': those of nodes, and those that run tasks.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            if name.starts_with("tokio-") || name.starts_with("stator-") {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            former(info);
        }));
    });
}

/// The value of a metric that has no labels.
pub(crate) fn level(node: &Node, name: &str) -> u64 {
    let text = node.metrics().encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
}

/// How much a node had in hand before something was done to it.
pub(crate) struct Before {
    panics: usize,
    tasks: usize,
    levels: Vec<u64>,
}

const LEVELS: [&str; 3] =
    ["stator_connections", "stator_requests_in_flight", "stator_reading_bytes"];

fn levels(node: &Node) -> Vec<u64> {
    LEVELS.iter().map(|name| level(node, name)).collect()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

impl Before {
    pub(crate) fn of(node: &Node) -> Self {
        count_panics();
        let panics = PANICS.load(Ordering::Relaxed);
        Self { panics, tasks: tasks(), levels: levels(node) }
    }

    /// Waits until the node has no more in hand than before, and nothing has panicked.
    pub(crate) async fn comes_back(&self, node: &Node) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (levels, tasks) = (levels(node), tasks());
            let is_less = levels.iter().zip(&self.levels).all(|(now, before)| now <= before);
            // A node's own tasks come and go, by twos and threads.
            if is_less && tasks <= self.tasks + 4 {
                break;
            }
            let before = (&self.levels, self.tasks);
            assert!(Instant::now() < deadline, "{LEVELS:?} {levels:?} {tasks} before {before:?}");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(PANICS.load(Ordering::Relaxed), self.panics, "something panicked");
        assert_eq!(node.unready(), Vec::<String>::new());
    }
}

/// Numbers that are the same in each run.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}
