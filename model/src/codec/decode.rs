//! Reads items into trees, from any valid encoding, and says in DynamoDB's words what is wrong with a bad one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;

use super::field;
use super::wire::{DELIMITED, Reader, VARINT, malformed};
use crate::error::{Error, Result};
use crate::limits::{ATTRIBUTE_NAME_BYTES_MAX, deeper};
use crate::number::Number;
use crate::value::{AttributeValue, Item};

/// How much of a set with duplicates its error text shows, in bytes. DynamoDB shows all of it, but a text that travels
/// in a response's headers has to be bounded.
const SHOWN_BYTES_MAX: usize = 1024;

/// Decodes a message; binaries are slices of it, not copies.
pub(super) struct Decoder<'a> {
    whole: &'a Bytes,
}

impl<'a> Decoder<'a> {
    pub(super) const fn new(whole: &'a Bytes) -> Self {
        Self { whole }
    }

    /// The entries of a map in field 1: an item's form and a map's alike. Their values stand at this level.
    pub(super) fn entries(&self, message: &'a [u8], level: usize) -> Result<Item> {
        let mut entries = BTreeMap::new();
        let mut reader = Reader::new(message);
        while !reader.is_empty() {
            let (name, value) = entry(reader.only_field(u64::from(field::ENTRIES))?)?;
            let value = self.value(value, level)?;
            if entries.insert(name.to_owned(), value).is_some() {
                return Err(malformed("an attribute name is there twice"));
            }
        }
        Ok(entries)
    }

    /// An attribute value at this level of nesting, the top one being 1.
    pub(super) fn value(&self, message: &'a [u8], level: usize) -> Result<AttributeValue> {
        if message.is_empty() {
            return Err(Error::validation(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            ));
        }
        let mut reader = Reader::new(message);
        let value = self.one_value(&mut reader, level)?;
        if !reader.is_empty() {
            return Err(Error::validation(
                "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported \
                 datatypes",
            ));
        }
        Ok(value)
    }

    fn one_value(&self, reader: &mut Reader<'a>, level: usize) -> Result<AttributeValue> {
        let (number, wire_type) = reader.tag()?;
        let number = u8::try_from(number).unwrap_or(0);
        if wire_type == VARINT && matches!(number, field::BOOL | field::NULL) {
            let truth = reader.varint()? != 0;
            return match (number, truth) {
                (field::BOOL, truth) => Ok(AttributeValue::Bool(truth)),
                (_, true) => Ok(AttributeValue::Null),
                (_, false) => Err(Error::validation(
                    "One or more parameter values were invalid: Null attribute value types must have the value of true",
                )),
            };
        }
        if wire_type != DELIMITED {
            return Err(malformed("an attribute value has an unknown field"));
        }
        let bytes = reader.delimited()?;
        Ok(match number {
            field::S => AttributeValue::S(text(bytes)?.to_owned()),
            field::N => AttributeValue::N(text(bytes)?.parse()?),
            field::B => AttributeValue::B(self.whole.slice_ref(bytes)),
            field::SS => AttributeValue::Ss(string_set(bytes)?),
            field::NS => AttributeValue::Ns(number_set(bytes)?),
            field::BS => AttributeValue::Bs(self.binary_set(bytes)?),
            field::L => AttributeValue::L(self.list(bytes, deeper(level)?)?),
            field::M => AttributeValue::M(self.entries(bytes, deeper(level)?)?),
            _ => return Err(malformed("an attribute value has an unknown field")),
        })
    }

    fn list(&self, message: &'a [u8], level: usize) -> Result<Vec<AttributeValue>> {
        members(message).map(|member| self.value(member?, level)).collect()
    }

    fn binary_set(&self, message: &'a [u8]) -> Result<BTreeSet<Bytes>> {
        let mut set = BTreeSet::new();
        let mut duplicates = false;
        for member in members(message) {
            duplicates |= !set.insert(self.whole.slice_ref(member?));
        }
        if duplicates {
            let shown = shown_collection(message, base64);
            return Err(Error::validation(format!(
                "One or more parameter values were invalid: Input collection {shown}of type BS contains duplicates."
            )));
        }
        not_empty(set, "Binary sets should not be empty")
    }
}

/// The name and the undecoded value of a map's entry.
pub(super) fn entry(message: &[u8]) -> Result<(&str, &[u8])> {
    let mut name = None;
    let mut value = None;
    let mut reader = Reader::new(message);
    while !reader.is_empty() {
        let (number, wire_type) = reader.tag()?;
        let place = match (u8::try_from(number), wire_type) {
            (Ok(field::KEY), DELIMITED) => &mut name,
            (Ok(field::VALUE), DELIMITED) => &mut value,
            _ => return Err(malformed("a map's entry has an unknown field")),
        };
        if place.replace(reader.delimited()?).is_some() {
            return Err(malformed("a map's entry has a field twice"));
        }
    }
    // Protobuf may leave out what is empty.
    let name = text(name.unwrap_or_default())?;
    check_name(name)?;
    Ok((name, value.unwrap_or_default()))
}

/// Refuses an attribute name that is empty or too long.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::validation(
            "One or more parameter values were invalid: An attribute name may not be empty",
        ));
    }
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return Err(Error::validation(format!(
            "One or more parameter values were invalid: An attribute name may not be longer than \
             {ATTRIBUTE_NAME_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// The members of a set or a list: a message of one repeated field.
pub(super) fn members(message: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let member = reader.only_field(u64::from(field::VALUES));
        if member.is_err() {
            // What follows an error has no meaning.
            reader = Reader::new(&[]);
        }
        Some(member)
    })
}

fn string_set(message: &[u8]) -> Result<BTreeSet<String>> {
    let mut set = BTreeSet::new();
    let mut duplicates = false;
    for member in members(message) {
        duplicates |= !set.insert(text(member?)?.to_owned());
    }
    if duplicates {
        let shown = shown_collection(message, |bytes| String::from_utf8_lossy(bytes).into_owned());
        return Err(Error::validation(format!(
            "One or more parameter values were invalid: Input collection {shown} contains duplicates."
        )));
    }
    // The two spaces are DynamoDB's.
    not_empty(set, "An string set  may not be empty")
}

fn number_set(message: &[u8]) -> Result<BTreeSet<Number>> {
    let mut set = BTreeSet::new();
    let mut duplicates = false;
    for member in members(message) {
        duplicates |= !set.insert(text(member?)?.parse::<Number>()?);
    }
    if duplicates {
        return Err(Error::validation("Input collection contains duplicates"));
    }
    not_empty(set, "An number set  may not be empty")
}

fn not_empty<T>(set: BTreeSet<T>, otherwise: &str) -> Result<BTreeSet<T>> {
    if set.is_empty() {
        return Err(Error::validation(format!(
            "One or more parameter values were invalid: {otherwise}"
        )));
    }
    Ok(set)
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))
}

/// The members of a set as its error text shows them: `[a, a]`.
fn shown_collection(message: &[u8], show: impl Fn(&[u8]) -> String) -> String {
    let mut shown = String::from("[");
    for (i, member) in members(message).flatten().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        if shown.len() + separator.len() + member.len() > SHOWN_BYTES_MAX {
            shown.push_str(separator);
            shown.push_str("...");
            break;
        }
        let _ = write!(shown, "{separator}{}", show(member));
    }
    shown.push(']');
    shown
}

/// Base64 with padding, as DynamoDB shows binaries.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
