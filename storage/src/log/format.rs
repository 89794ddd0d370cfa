//! The bytes of segments and records.

/// Decodes any bytes as a segment: must not panic. For fuzzing.
pub fn fuzz_segment(_bytes: &[u8]) {}
