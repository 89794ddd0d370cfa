//! Exact decimal numbers. (skeleton)
use crate::error::Error;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// An exact decimal number of up to 38 significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    coefficient: u128,
    exponent: i16,
}
impl Number {
    /// The sum, or DynamoDB's overflow error.
    pub fn checked_add(&self, _other: &Self) -> Result<Self, Error> {
        todo!()
    }
    /// The difference.
    pub fn checked_sub(&self, _other: &Self) -> Result<Self, Error> {
        todo!()
    }
    /// Appends the order-preserving, self-delimiting encoding.
    pub fn encode_key(&self, _out: &mut Vec<u8>) {
        todo!()
    }
    /// Decodes what `encode_key` wrote from the front of `input`, and moves `input` past it.
    pub fn decode_key(_input: &mut &[u8]) -> Option<Self> {
        todo!()
    }
    /// Size in bytes as DynamoDB accounts it.
    pub fn size(&self) -> usize {
        todo!()
    }
}
impl FromStr for Number {
    type Err = Error;
    fn from_str(_text: &str) -> Result<Self, Error> {
        todo!()
    }
}
impl From<i64> for Number {
    fn from(_v: i64) -> Self {
        todo!()
    }
}
impl fmt::Display for Number {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
impl Ord for Number {
    fn cmp(&self, _o: &Self) -> Ordering {
        todo!()
    }
}
impl PartialOrd for Number {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}
