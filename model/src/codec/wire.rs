//! Protobuf's wire format, as far as items use it: varints, tags and length-delimited fields.

use crate::error::{Error, Result};

/// Wire type 0: a varint.
pub(super) const VARINT: u64 = 0;
/// Wire type 2: a length, then so many bytes.
pub(super) const DELIMITED: u64 = 2;

/// The tag of a length-delimited field. Every field number in an item is below 16, so a tag is one byte.
pub(super) const fn delimited_tag(field: u8) -> u8 {
    (field << 3) | DELIMITED as u8
}

/// The tag of a varint field.
pub(super) const fn varint_tag(field: u8) -> u8 {
    (field << 3) | VARINT as u8
}

/// The error of bytes that are no item at all. DynamoDB has no words for it: its items travel as JSON.
pub(super) fn malformed(what: &str) -> Error {
    Error::validation(format!("The item is not well-formed protobuf: {what}"))
}

/// Reads one message from front to back.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A varint of up to 64 bits, in as many bytes as the writer liked (at most ten).
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64> {
        // Nearly every tag and most lengths are one byte.
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(byte.into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some((&byte, rest)) = self.rest.split_first() else {
                return Err(malformed("it ends inside a number"));
            };
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(malformed("a number has more than 64 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number has more than ten bytes"))
    }

    /// A tag: field number and wire type.
    pub(super) fn tag(&mut self) -> Result<(u64, u64)> {
        let tag = self.varint()?;
        Ok((tag >> 3, tag & 7))
    }

    /// The bytes of a length-delimited field whose tag was read.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8]> {
        let length = self.varint()?;
        let field =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((field, rest)) = field else {
            return Err(malformed("it ends inside a field"));
        };
        self.rest = rest;
        Ok(field)
    }

    /// The next field, which must be this length-delimited one: all that messages with one repeated field hold.
    pub(super) fn only_field(&mut self, field: u64) -> Result<&'a [u8]> {
        if self.tag()? != (field, DELIMITED) {
            return Err(malformed("it has an unknown field"));
        }
        self.delimited()
    }

    /// The next byte, if it is this one.
    pub(super) fn expect_byte(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// The bytes of a length-delimited field with this tag byte, if its length is written in as few bytes as can be.
    pub(super) fn minimal_delimited(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.expect_byte(tag)?;
        let before = self.rest.len();
        let field = self.delimited().ok()?;
        let length_bytes = before - self.rest.len() - field.len();
        (length_bytes == varint_len(field.len())).then_some(field)
    }
}

/// How many bytes a varint of this value takes at least.
const fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a varint, in as few bytes as can be.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length-delimited field.
pub(super) fn put_delimited(out: &mut Vec<u8>, tag: u8, field: &[u8]) {
    out.push(tag);
    put_varint(out, field.len());
    out.extend_from_slice(field);
}

/// Appends a length-delimited field that `write` writes, whose length is not known before.
///
/// One byte is kept for the length, as most fields need no more; a longer one moves the field up afterwards. That is
/// cheaper than measuring every nested message before it is written, and much simpler.
pub(super) fn put_nested(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let length_at = out.len();
    out.push(0);
    let start = out.len();
    write(out);
    let length = out.len() - start;
    let length_bytes = varint_len(length);
    if length_bytes > 1 {
        let end = out.len();
        out.resize(end + length_bytes - 1, 0);
        out.copy_within(start..end, start + length_bytes - 1);
    }
    let mut value = length;
    for (i, byte) in out[length_at..length_at + length_bytes].iter_mut().enumerate() {
        let more = if i + 1 < length_bytes { 0x80 } else { 0 };
        *byte = (value as u8 & 0x7f) | more;
        value >>= 7;
    }
}
