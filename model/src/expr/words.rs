//! The functions, and the checks that need no placeholders: reserved words, list indexes, and which function
//! stands where.

use super::ExpressionKind;
use super::reserved::is_reserved;
use super::syntax::{Place, RawCall, RawElement, RawPath, Term};
use crate::error::Result;

/// A function of the expression language. Their names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    AttributeExists,
    AttributeNotExists,
    AttributeType,
    BeginsWith,
    Contains,
    Size,
    IfNotExists,
    ListAppend,
}

impl Function {
    const ALL: [Self; 8] = [
        Self::AttributeExists,
        Self::AttributeNotExists,
        Self::AttributeType,
        Self::BeginsWith,
        Self::Contains,
        Self::Size,
        Self::IfNotExists,
        Self::ListAppend,
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AttributeExists => "attribute_exists",
            Self::AttributeNotExists => "attribute_not_exists",
            Self::AttributeType => "attribute_type",
            Self::BeginsWith => "begins_with",
            Self::Contains => "contains",
            Self::Size => "size",
            Self::IfNotExists => "if_not_exists",
            Self::ListAppend => "list_append",
        }
    }

    /// How many operands it takes.
    pub(super) const fn arity(self) -> usize {
        match self {
            Self::AttributeExists | Self::AttributeNotExists | Self::Size => 1,
            _ => 2,
        }
    }

    const fn is_for_updates(self) -> bool {
        matches!(self, Self::IfNotExists | Self::ListAppend)
    }

    /// Whether it may stand in this place of an expression that it belongs to.
    fn may_stand(self, place: Place) -> bool {
        match place {
            Place::Condition => self != Self::Size,
            Place::Value => true,
            // An update's `+` and `-` refuse the list that `list_append` gives by its type, later.
            Place::Operand => matches!(self, Self::Size | Self::IfNotExists | Self::ListAppend),
            Place::Argument => matches!(self, Self::Size | Self::IfNotExists),
        }
    }
}

/// Checks words in the order in which they are written.
pub(super) fn check_terms(kind: ExpressionKind, terms: &[Term<'_>]) -> Result<()> {
    terms.iter().try_for_each(|term| match term {
        Term::Path(path) => check_path(kind, path),
        Term::Value(_) => Ok(()),
        Term::Call(call) => check_call(kind, call),
    })
}

/// Checks the names and indexes of one path.
pub(super) fn check_path(kind: ExpressionKind, path: &RawPath<'_>) -> Result<()> {
    path.elements.iter().try_for_each(|element| match *element {
        RawElement::Name(name) if is_reserved(name) => Err(kind.invalid(format_args!(
            "Attribute name is a reserved keyword; reserved keyword: {name}"
        ))),
        RawElement::Index(digits) if index(digits).is_none() => Err(kind.invalid(format_args!(
            "List index is not within the allowable range; index: [{digits}]"
        ))),
        _ => Ok(()),
    })
}

/// A list index, if it is one that DynamoDB allows: up to 2^31 - 1.
pub(super) fn index(digits: &str) -> Option<u32> {
    digits.parse().ok().filter(|index| i32::try_from(*index).is_ok())
}

fn check_call(kind: ExpressionKind, call: &RawCall<'_>) -> Result<()> {
    let name = call.name;
    let Some(function) = Function::from_name(name) else {
        return Err(kind.invalid(format_args!("Invalid function name; function: {name}")));
    };
    let in_update = kind == ExpressionKind::Update;
    let problem = if in_update != function.is_for_updates() {
        if in_update {
            "The function is not allowed in an update expression"
        } else {
            "The function is not allowed in a condition expression"
        }
    } else if !function.may_stand(call.place) {
        "The function is not allowed to be used this way in an expression"
    } else {
        return Ok(());
    };
    Err(kind.invalid(format_args!("{problem}; function: {name}")))
}
