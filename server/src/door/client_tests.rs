use std::sync::Arc;

use stator_consensus::ReplicaView;
use stator_proto::status::from_status;

use super::*;
use crate::catalog::records::CATALOG_GROUP;
use crate::config::NodeConfig;
use crate::mailbox::mailbox;
use crate::node::Node;
use crate::replicas::Replica;

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(600);

fn of(text: &str) -> Option<Duration> {
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-timeout", text.parse().expect("text"));
    timeout(&metadata)
}

#[test]
fn timeouts_are_read_as_grpc_writes_them() {
    assert_eq!(timeout(&MetadataMap::new()), None);
    assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(of("3M"), Some(Duration::from_secs(180)));
    assert_eq!(of("4S"), Some(Duration::from_secs(4)));
    assert_eq!(of("5m"), Some(Duration::from_millis(5)));
    assert_eq!(of("6u"), Some(Duration::from_micros(6)));
    assert_eq!(of("7n"), Some(Duration::from_nanos(7)));
    assert_eq!(of("0S"), Some(Duration::ZERO));
    assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)), "the longest");
    for no in ["", "S", "5", "5s", "5h", "100000000S", "-5S", "+5S", "5.5S", " 5S", "5 S", "5SS"] {
        assert_eq!(of(no), None, "{no:?}");
    }
}

#[tokio::test]
async fn a_call_ends_a_little_before_its_time() {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    let door = ClientDoor::new(node.inner.clone());
    let left = |text: Option<&str>| {
        let mut metadata = MetadataMap::new();
        if let Some(text) = text {
            metadata.insert("grpc-timeout", text.parse().expect("text"));
        }
        let now = node.inner.clock.monotonic_ns();
        let cx = door.context(&metadata);
        // What has passed meanwhile is not what is asked for here.
        (cx.deadline_ns - now, node.inner.clock.monotonic_ns() - now)
    };
    let default = node.inner.config.request_timeout;
    let kept = LEFT_FOR_WORDS;
    for (text, wanted) in [
        (None, default),
        (Some("rubbish"), default),
        (Some("600S"), LONG - kept),
        (Some("50m"), Duration::from_millis(45)),
        (Some("0S"), Duration::ZERO),
    ] {
        let (left, passed) = left(text);
        let wanted = u64::try_from(wanted.as_nanos()).expect("fits");
        assert!((wanted..=wanted + passed).contains(&left), "{text:?}: {left}, not {wanted}");
    }
}

#[tokio::test]
async fn a_call_of_a_silent_leader_is_told_that_its_time_is_over() {
    let config = NodeConfig { request_timeout: LONG, ..NodeConfig::default() };
    let node = Node::embedded(config, true).await.expect("a node in memory");
    // The catalog's replica as it would be if its host said nothing to anybody.
    let real = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
    let (host, _inbox) = mailbox(16);
    let (spec, data) = (real.spec.clone(), real.data.clone());
    let view = Arc::new(ReplicaView::default());
    node.inner.replicas.insert(Arc::new(Replica { spec, view, data, host }));
    let door = ClientDoor::new(node.inner.clone());
    let mut request = tonic::Request::new(v1::ListTablesRequest::default());
    request.metadata_mut().insert("grpc-timeout", "100m".parse().expect("text"));
    request.metadata_mut().insert(REQUEST_ID, "mine".parse().expect("text"));
    let answer = tokio::time::timeout(LONG / 10, door.list_tables(request)).await;
    let status = answer.expect("the node's own time is not waited for").expect_err("no answer");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    assert_eq!(status.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok()), Some("mine"));
    let told = from_status(&status, Effect::Read);
    assert!(told.from_stator, "in the node's own words");
    assert_eq!(told.error.applied(), stator_model::error::Applied::No);
}
