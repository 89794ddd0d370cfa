//! The bytes of one key value. [`crate::number`] has those of numbers; strings and binaries stand here.
//!
//! A string of bytes is written as it is, but for zeros, and ended:
//!
//! | byte    | written     |
//! |---------|-------------|
//! | `00`    | `00 FF`     |
//! | others  | themselves  |
//! | the end | `00 01`     |
//!
//! The end sorts below every byte that could stand in its place, an escaped zero included, so that a string comes before
//! those that it begins, whatever follows it in the key. And what begins the bytes begins their encoding, less its end:
//! that is what `begins_with` looks for.

use std::borrow::Cow;

use bytes::Bytes;

use super::Role;
use crate::number::Number;
use crate::schema::KeyType;
use crate::value::AttributeValue;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x01;

/// A key value as it was read, borrowed from the key's bytes unless those had to be unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyValue<'a> {
    S(Cow<'a, str>),
    N(Number),
    B(Cow<'a, [u8]>),
}

impl KeyValue<'_> {
    pub(super) fn into_attribute_value(self) -> AttributeValue {
        match self {
            Self::S(text) => AttributeValue::S(text.into_owned()),
            Self::N(number) => AttributeValue::N(number),
            Self::B(bytes) => AttributeValue::B(Bytes::from(bytes.into_owned())),
        }
    }
}

/// Appends the encoding of a string of bytes.
pub(super) fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_prefix(bytes, out);
    out.extend([ESCAPE, END]);
}

/// Appends the encoding without its end: what the encodings of all strings begin with that begin with these bytes.
pub(super) fn encode_prefix(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    for (index, run) in bytes.split(|byte| *byte == ESCAPE).enumerate() {
        if index > 0 {
            out.extend([ESCAPE, ESCAPED_ZERO]);
        }
        out.extend_from_slice(run);
    }
}

/// Decodes a value from the front of `input` and moves `input` past it; `None` if what stands there is not the
/// encoding of a value that may be a key's: of another type, empty, or too long.
pub(super) fn decode_value<'a>(
    key_type: KeyType,
    role: Role,
    input: &mut &'a [u8],
) -> Option<KeyValue<'a>> {
    if key_type == KeyType::N {
        return Number::decode_key(input).map(KeyValue::N);
    }
    let bytes = decode_bytes(input, role.bytes_max())?;
    if bytes.is_empty() {
        return None;
    }
    match (key_type, bytes) {
        (KeyType::S, Cow::Borrowed(bytes)) => {
            std::str::from_utf8(bytes).ok().map(|text| KeyValue::S(text.into()))
        }
        (KeyType::S, Cow::Owned(bytes)) => {
            String::from_utf8(bytes).ok().map(|text| KeyValue::S(text.into()))
        }
        (_, bytes) => Some(KeyValue::B(bytes)),
    }
}

/// Decodes a string of at most `max` bytes.
fn decode_bytes<'a>(input: &mut &'a [u8], max: usize) -> Option<Cow<'a, [u8]>> {
    let mut unescaped = Vec::new();
    let mut rest = *input;
    loop {
        let run_len = rest.iter().position(|byte| *byte == ESCAPE)?;
        let (run, after) = rest.split_at(run_len);
        if unescaped.len() + run_len > max {
            return None;
        }
        match after {
            [ESCAPE, END, after @ ..] => {
                *input = after;
                // Each escape leaves a zero, so that nothing unescaped means that nothing was escaped.
                if unescaped.is_empty() {
                    return Some(Cow::Borrowed(run));
                }
                unescaped.extend_from_slice(run);
                return Some(Cow::Owned(unescaped));
            }
            [ESCAPE, ESCAPED_ZERO, after @ ..] => {
                unescaped.extend_from_slice(run);
                unescaped.push(0);
                rest = after;
            }
            _ => return None,
        }
    }
}
