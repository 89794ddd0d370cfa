use super::messages::KeyValue;
use super::*;

/// The bytes of the messages as etcd's own `.proto` has them.
#[test]
fn messages_have_etcds_field_numbers() {
    let put = PutRequest { key: "k".into(), value: "v".into() };
    assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
    let txn = TxnRequest { success: vec![RequestOp { put: Some(put) }] };
    assert_eq!(txn.encode_to_vec(), b"\x12\x08\x12\x06\x0a\x01k\x12\x01v");
    let range =
        RangeRequest { key: "a".into(), range_end: "b".into(), limit: 9, serializable: true };
    assert_eq!(range.encode_to_vec(), b"\x0a\x01a\x12\x01b\x18\x09\x38\x01");
}

#[test]
fn answers_are_read_with_all_else_in_them_passed_over() {
    // A header, a key and value with revisions, and a count.
    let bytes = b"\x0a\x02\x08\x07\x12\x0d\x0a\x01k\x10\x03\x18\x04\x20\x02\x2a\x02vw\x20\x01";
    let response = RangeResponse::decode(&bytes[..]).unwrap();
    assert_eq!(response.kvs, [KeyValue { key: "k".into(), value: "vw".into() }]);
    let status = StatusResponse::decode(&b"\x0a\x02\x08\x07\x12\x063.4.23\x18\x01"[..]).unwrap();
    assert_eq!(status.version, "3.4.23");
}

#[tokio::test]
async fn a_range_ends_with_its_partition_key() {
    let layout = Layout::ranges(5000);
    let caller = EtcdCaller {
        grpc: Grpc::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy()),
        prefix: "t/".to_owned(),
        layout,
        eventual: false,
    };
    let keys: Vec<Bytes> = (0..5000).map(|record| caller.key(&layout.key(record))).collect();
    let start = layout.key(7);
    let end = Bytes::from(format!("t/{}0", start.partition));
    let begin = caller.key(&start);
    let inside = keys.iter().filter(|key| begin <= **key && **key < end).count();
    assert_eq!(inside, 999, "all positions of one partition key but the first");
}
