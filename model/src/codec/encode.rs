//! Writes items: always the canonical form.

use std::fmt::Write as _;

use super::field;
use super::wire::{delimited_tag, put_delimited, put_nested, varint_tag};
use crate::number::Number;
use crate::value::{AttributeValue, Item};

/// Appends the entries of a map in field 1, which is an item's form and a map's alike.
pub(super) fn put_entries(out: &mut Vec<u8>, entries: &Item) {
    for (name, value) in entries {
        put_nested(out, delimited_tag(field::ENTRIES), |out| {
            put_delimited(out, delimited_tag(field::KEY), name.as_bytes());
            put_nested(out, delimited_tag(field::VALUE), |out| put_value(out, value));
        });
    }
}

/// Appends the one field of an attribute value.
pub(super) fn put_value(out: &mut Vec<u8>, value: &AttributeValue) {
    match value {
        AttributeValue::S(text) => put_delimited(out, delimited_tag(field::S), text.as_bytes()),
        AttributeValue::N(number) => put_number(out, delimited_tag(field::N), number),
        AttributeValue::B(bytes) => put_delimited(out, delimited_tag(field::B), bytes),
        AttributeValue::Bool(value) => {
            out.extend_from_slice(&[varint_tag(field::BOOL), u8::from(*value)]);
        }
        AttributeValue::Null => out.extend_from_slice(&[varint_tag(field::NULL), 1]),
        AttributeValue::Ss(set) => put_nested(out, delimited_tag(field::SS), |out| {
            for text in set {
                put_delimited(out, delimited_tag(field::VALUES), text.as_bytes());
            }
        }),
        AttributeValue::Ns(set) => put_nested(out, delimited_tag(field::NS), |out| {
            for number in set {
                put_number(out, delimited_tag(field::VALUES), number);
            }
        }),
        AttributeValue::Bs(set) => put_nested(out, delimited_tag(field::BS), |out| {
            for bytes in set {
                put_delimited(out, delimited_tag(field::VALUES), bytes);
            }
        }),
        AttributeValue::L(list) => put_nested(out, delimited_tag(field::L), |out| {
            for value in list {
                put_nested(out, delimited_tag(field::VALUES), |out| put_value(out, value));
            }
        }),
        AttributeValue::M(map) => {
            put_nested(out, delimited_tag(field::M), |out| put_entries(out, map));
        }
    }
}

/// Appends a number's canonical text, without a `String` on the way.
fn put_number(out: &mut Vec<u8>, tag: u8, number: &Number) {
    struct Ascii<'a>(&'a mut Vec<u8>);
    impl std::fmt::Write for Ascii<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    put_nested(out, tag, |out| {
        // Writing into memory cannot fail.
        let _ = write!(Ascii(out), "{number}");
    });
}
