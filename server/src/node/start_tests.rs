use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

async fn node() -> Node {
    Node::embedded(NodeConfig::default(), true).await.expect("a node in memory")
}

async fn end_of(node: &Node) -> String {
    tokio::time::timeout(PATIENCE, node.failed()).await.expect("the node is told to end")
}

#[tokio::test]
async fn a_task_that_panics_takes_the_node_with_it() {
    let mut node = node().await;
    node.until_stopped("nothing", async {});
    let asleep = async {
        tokio::task::yield_now().await;
        panic!("a test");
    };
    node.until_stopped("the test", asleep);
    assert_eq!(end_of(&node).await, "the test panicked");
}

#[tokio::test]
async fn a_door_that_ends_takes_the_node_with_it() {
    let mut node = node().await;
    let inner = node.inner.clone();
    node.while_serving("the first", async move { inner.stopping().await });
    node.while_serving("the second", async {});
    assert_eq!(end_of(&node).await, "the second ended");
}
