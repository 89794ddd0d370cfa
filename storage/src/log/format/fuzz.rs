//! One door to every decoder of the log, for fuzzing.

use crate::log::format::{
    BODY_MIN, Bad, Body, FRAME_BYTES, HEADER_BYTES, Header, HeaderFound, decode, decode_body,
    find_head, frame, seed,
};
use crate::log::index::{Index, Place};

/// Decodes any bytes as a segment file and takes its records up into an index. Must not panic, whatever the bytes.
///
/// Checksums are made to fit: else hardly any input would get past the first one.
pub fn fuzz_segment(bytes: &[u8]) {
    let seed = match Header::decode(bytes) {
        HeaderFound::Header(header) => seed(header.incarnation, header.salt),
        _ => seed(1, 0),
    };
    let records = bytes.get(HEADER_BYTES as usize..).unwrap_or(bytes);
    let _ = find_head(records, 0, seed);
    let mut index = Index::default();
    let mut at = 0;
    while let Some(rest) = records.get(at..)
        && let Some((len, _)) = frame(rest)
    {
        debug_assert!(len >= FRAME_BYTES + BODY_MIN, "a frame has a body");
        debug_assert!(!matches!(decode(rest, seed), Ok(frame) if frame.len != len));
        let place = Place { segment: 1, offset: at as u32, len: len as u32 };
        match decode_body(&rest[FRAME_BYTES..len]) {
            Ok(frame) if !matches!(frame.body, Body::Head(_)) => {
                let _ = index.apply(frame.group, &frame.body, place);
            }
            Ok(_) | Err(Bad::Unwritten | Bad::Malformed(_)) => {}
        }
        at += len;
    }
    let _ = index.settled();
    let _ = index.recovery();
    let _ = index.small_records(1, u64::MAX);
}
