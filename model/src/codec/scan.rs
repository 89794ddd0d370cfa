//! One pass over canonical bytes: is this an item, and how big is it? Nothing is built and nothing allocated.
//!
//! The pass answers "yes, of this size" or "look closer". It knows no errors: whatever is not canonical, for whatever
//! reason, goes through [`decode`](super::decode), which has the last word. So the two cannot disagree on what an item
//! is, except by this pass being too generous, which the property tests look for.

use std::fmt::Write as _;

use super::field;
use super::wire::{Reader, delimited_tag, varint_tag};
use crate::limits::{ATTRIBUTE_NAME_BYTES_MAX, deeper};
use crate::number::Number;
use crate::size::{CONTAINER_BYTES, ELEMENT_BYTES, SCALAR_BYTES};

/// The size of an item's or a map's entries, names included, if they are canonical, and how many they are.
pub(super) fn entries(message: &[u8], level: usize) -> Option<(usize, usize)> {
    let mut reader = Reader::new(message);
    let (mut size, mut count) = (0, 0);
    let mut last: Option<&[u8]> = None;
    while !reader.is_empty() {
        let mut entry = Reader::new(reader.minimal_delimited(delimited_tag(field::ENTRIES))?);
        let name = entry.minimal_delimited(delimited_tag(field::KEY))?;
        let value = entry.minimal_delimited(delimited_tag(field::VALUE))?;
        let name_fits = (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len());
        if !name_fits || !entry.is_empty() || last.is_some_and(|last| last >= name) {
            return None;
        }
        std::str::from_utf8(name).ok()?;
        last = Some(name);
        size += name.len() + self::value(value, level)?;
        count += 1;
    }
    Some((size, count))
}

/// The size of an attribute value at this level, if it is canonical.
fn value(message: &[u8], level: usize) -> Option<usize> {
    const BOOL: u8 = varint_tag(field::BOOL);
    const NULL: u8 = varint_tag(field::NULL);
    let mut reader = Reader::new(message);
    let tag = *message.first()?;
    if tag == BOOL || tag == NULL {
        reader.byte()?;
        let truth = reader.byte()?;
        let valid = if tag == BOOL { truth <= 1 } else { truth == 1 };
        return (valid && reader.is_empty()).then_some(SCALAR_BYTES);
    }
    let bytes = reader.minimal_delimited(tag)?;
    if !reader.is_empty() {
        return None;
    }
    const S: u8 = delimited_tag(field::S);
    const N: u8 = delimited_tag(field::N);
    const B: u8 = delimited_tag(field::B);
    const SS: u8 = delimited_tag(field::SS);
    const NS: u8 = delimited_tag(field::NS);
    const BS: u8 = delimited_tag(field::BS);
    const L: u8 = delimited_tag(field::L);
    const M: u8 = delimited_tag(field::M);
    match tag {
        S => std::str::from_utf8(bytes).ok().map(str::len),
        N => number(bytes).map(|number| number.size()),
        B => Some(bytes.len()),
        SS => set(bytes, |bytes| std::str::from_utf8(bytes).ok(), |text| text.len()),
        NS => set(bytes, number, Number::size),
        BS => set(bytes, Some, |bytes| bytes.len()),
        L => list(bytes, deeper(level).ok()?),
        M => {
            let (size, count) = entries(bytes, deeper(level).ok()?)?;
            Some(CONTAINER_BYTES + ELEMENT_BYTES * count + size)
        }
        _ => None,
    }
}

fn list(message: &[u8], level: usize) -> Option<usize> {
    let mut reader = Reader::new(message);
    let (mut size, mut count) = (0, 0);
    while !reader.is_empty() {
        size += value(reader.minimal_delimited(delimited_tag(field::VALUES))?, level)?;
        count += 1;
    }
    Some(CONTAINER_BYTES + ELEMENT_BYTES * count + size)
}

/// The size of a set that is not empty and whose members strictly ascend.
fn set<'a, T: Ord>(
    message: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<T>,
    size_of: impl Fn(&T) -> usize,
) -> Option<usize> {
    let mut reader = Reader::new(message);
    let mut last: Option<T> = None;
    let mut size = 0;
    while !reader.is_empty() {
        let member = read(reader.minimal_delimited(delimited_tag(field::VALUES))?)?;
        if last.is_some_and(|last| last >= member) {
            return None;
        }
        size += size_of(&member);
        last = Some(member);
    }
    last.is_some().then_some(size)
}

/// The number that a text spells, if it is spelled canonically.
fn number(text: &[u8]) -> Option<Number> {
    /// Takes what is written to it off the front of what is expected.
    struct Expected<'a>(&'a [u8]);
    impl std::fmt::Write for Expected<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(text.as_bytes()).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let number: Number = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mut expected = Expected(text);
    write!(expected, "{number}").ok()?;
    expected.0.is_empty().then_some(number)
}
