//! The ten attribute types, and items made of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::number::Number;

/// An item: attribute names with their values. Ordered by name, so that equal items encode to equal bytes.
pub type Item = BTreeMap<String, AttributeValue>;

/// The value of an attribute: one of DynamoDB's ten types.
///
/// Equality is by value: `1`, `1.0` and `1e0` are one number, and sets have no order.
///
/// ```
/// use stator_model::AttributeValue;
///
/// let song = AttributeValue::from("Happy Day");
/// let year = AttributeValue::from(1971);
/// assert_eq!(song.type_name(), "S");
/// assert_eq!(year, AttributeValue::N("1971.0".parse().unwrap()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// A string of UTF-8.
    S(String),
    /// A number of up to 38 digits.
    N(Number),
    /// Binary.
    B(Bytes),
    /// True or false.
    Bool(bool),
    /// Null: present, without a value.
    Null,
    /// A set of strings, never empty.
    Ss(BTreeSet<String>),
    /// A set of numbers, never empty.
    Ns(BTreeSet<Number>),
    /// A set of binaries, never empty.
    Bs(BTreeSet<Bytes>),
    /// A list of values of any types.
    L(Vec<AttributeValue>),
    /// A map of names to values of any types.
    M(BTreeMap<String, AttributeValue>),
}

/// The type of an attribute value, as `attribute_type` and error texts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
    /// Boolean.
    Bool,
    /// Null.
    Null,
    /// String set.
    Ss,
    /// Number set.
    Ns,
    /// Binary set.
    Bs,
    /// List.
    L,
    /// Map.
    M,
}

impl AttributeType {
    /// DynamoDB's name of the type: `S`, `N`, `B`, `BOOL`, `NULL`, `SS`, `NS`, `BS`, `L` or `M`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
            Self::Bool => "BOOL",
            Self::Null => "NULL",
            Self::Ss => "SS",
            Self::Ns => "NS",
            Self::Bs => "BS",
            Self::L => "L",
            Self::M => "M",
        }
    }

    /// The type with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [AttributeType; 10] = [
            AttributeType::S,
            AttributeType::N,
            AttributeType::B,
            AttributeType::Bool,
            AttributeType::Null,
            AttributeType::Ss,
            AttributeType::Ns,
            AttributeType::Bs,
            AttributeType::L,
            AttributeType::M,
        ];
        ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl AttributeValue {
    /// The value's type.
    #[must_use]
    pub const fn attribute_type(&self) -> AttributeType {
        match self {
            Self::S(_) => AttributeType::S,
            Self::N(_) => AttributeType::N,
            Self::B(_) => AttributeType::B,
            Self::Bool(_) => AttributeType::Bool,
            Self::Null => AttributeType::Null,
            Self::Ss(_) => AttributeType::Ss,
            Self::Ns(_) => AttributeType::Ns,
            Self::Bs(_) => AttributeType::Bs,
            Self::L(_) => AttributeType::L,
            Self::M(_) => AttributeType::M,
        }
    }

    /// DynamoDB's name of the value's type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.attribute_type().name()
    }

    /// The string, if this is one.
    #[must_use]
    pub fn as_s(&self) -> Option<&str> {
        if let Self::S(text) = self { Some(text) } else { None }
    }

    /// The number, if this is one.
    #[must_use]
    pub const fn as_n(&self) -> Option<&Number> {
        if let Self::N(number) = self { Some(number) } else { None }
    }

    /// The binary, if this is one.
    #[must_use]
    pub const fn as_b(&self) -> Option<&Bytes> {
        if let Self::B(bytes) = self { Some(bytes) } else { None }
    }

    /// The boolean, if this is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The list, if this is one.
    #[must_use]
    pub fn as_l(&self) -> Option<&[AttributeValue]> {
        if let Self::L(list) = self { Some(list) } else { None }
    }

    /// The map, if this is one.
    #[must_use]
    pub const fn as_m(&self) -> Option<&BTreeMap<String, AttributeValue>> {
        if let Self::M(map) = self { Some(map) } else { None }
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::S(text.to_owned())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::S(text)
    }
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Number> for AttributeValue {
    fn from(number: Number) -> Self {
        Self::N(number)
    }
}

impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::N(Number::from(value))
    }
}

impl From<i32> for AttributeValue {
    fn from(value: i32) -> Self {
        Self::N(Number::from(i64::from(value)))
    }
}

impl From<Bytes> for AttributeValue {
    fn from(bytes: Bytes) -> Self {
        Self::B(bytes)
    }
}

impl From<Vec<AttributeValue>> for AttributeValue {
    fn from(list: Vec<AttributeValue>) -> Self {
        Self::L(list)
    }
}

impl From<BTreeMap<String, AttributeValue>> for AttributeValue {
    fn from(map: BTreeMap<String, AttributeValue>) -> Self {
        Self::M(map)
    }
}
