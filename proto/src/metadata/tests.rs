//! What callers say of themselves.

use super::*;

fn saying(key: &'static str, value: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert(key, value.parse().unwrap());
    metadata
}

#[test]
fn a_caller_is_believed_within_bounds() {
    for (said, expected) in [
        ("0", 0),
        ("100000", 100_000),
        ("99999999999", DETAIL_BYTES_LIMIT),
        ("-1", DETAIL_BYTES_DEFAULT),
        ("many", DETAIL_BYTES_DEFAULT),
    ] {
        assert_eq!(detail_bytes_max(&saying(DETAIL_BYTES_MAX, said)), expected, "{said}");
    }
    assert_eq!(detail_bytes_max(&MetadataMap::new()), DETAIL_BYTES_DEFAULT);
}

#[test]
fn a_request_may_have_a_name() {
    assert_eq!(request_id(&saying(REQUEST_ID, "a")), Some("a"));
    assert_eq!(request_id(&MetadataMap::new()), None);
}
