//! Key conditions: which items a Query reads.
//!
//! DynamoDB reads one as it reads any condition, so that faults of syntax and operands are worded alike, and only then
//! looks whether it is of the form that a Query can use: the partition key equal to a value, perhaps `AND` one condition
//! on the sort key.

use super::condition::{Comparator, Operand, Predicate, Source, Step};
use super::path::Path;
use super::{Condition, ExpressionKind, Substitutions};
use crate::error::{Error, Result};
use crate::schema::{KeyAttribute, KeySchema};
use crate::value::AttributeValue;

/// A key condition, checked against a table's key schema: names and types fit.
///
/// Whether the values are ones that a key can have (not empty, not too long) is for whoever encodes them to check.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyCondition {
    /// The partition key's value.
    pub partition: AttributeValue,
    /// What the sort key must be.
    pub sort: Option<SortCondition>,
}

/// What a sort key must be.
#[derive(Clone, Debug, PartialEq)]
pub enum SortCondition {
    /// Equal to this.
    Equal(AttributeValue),
    /// Less than this.
    Less(AttributeValue),
    /// Less than this, or equal to it.
    LessOrEqual(AttributeValue),
    /// Greater than this.
    Greater(AttributeValue),
    /// Greater than this, or equal to it.
    GreaterOrEqual(AttributeValue),
    /// Between these, both included; the first is not greater than the second.
    Between(AttributeValue, AttributeValue),
    /// A string or binary that begins with this.
    BeginsWith(AttributeValue),
}

impl KeyCondition {
    /// Parses a key condition, and checks it against the schema.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text, if it is not one, or not one for this key.
    pub fn parse(
        text: &str,
        substitutions: &mut Substitutions<'_>,
        schema: &KeySchema,
    ) -> Result<Self> {
        let condition = Condition::parse(ExpressionKind::KeyCondition, text, substitutions)?;
        let clauses = clauses(&condition)?;
        check_count(&clauses, schema)?;
        let partition = match take(&clauses, &schema.partition)? {
            Some(SortCondition::Equal(value)) => value.clone(),
            Some(_) => return Err(not_supported()),
            None => return Err(missed(&schema.partition)),
        };
        let sort = match &schema.sort {
            Some(attribute) => take(&clauses, attribute)?.cloned(),
            None => None,
        };
        if sort.is_none() && clauses.len() > 1 {
            return Err(schema.sort.as_ref().map_or_else(not_supported, missed));
        }
        Ok(Self { partition, sort })
    }
}

/// What the condition asks of one attribute.
struct Clause {
    attribute: Path,
    wanted: SortCondition,
}

/// The clauses that `AND` joins, if the condition is made of such.
fn clauses(condition: &Condition) -> Result<Vec<Clause>> {
    let steps = condition.steps();
    if steps.iter().any(|step| matches!(step, Step::SkipIfTrue(_))) {
        return Err(invalid_operator("OR"));
    }
    if steps.contains(&Step::Not) {
        return Err(invalid_operator("NOT"));
    }
    let mut clauses: Vec<Clause> = Vec::new();
    for step in steps {
        let Step::Test(predicate) = step else { continue };
        let clause = clause(predicate)?;
        if clauses.iter().any(|other| other.attribute == clause.attribute) {
            return Err(ExpressionKind::KeyCondition
                .invalid("KeyConditionExpressions must only contain one condition per key"));
        }
        clauses.push(clause);
    }
    Ok(clauses)
}

fn clause(predicate: &Predicate) -> Result<Clause> {
    match predicate {
        Predicate::Compare(_, Comparator::NotEqual, _) => Err(invalid_operator("<>")),
        Predicate::Compare(a, comparator, b) => {
            let (attribute, [value]) = attribute_and_values([a, b])?;
            let value_first = plain_path(a).is_none();
            Ok(Clause { attribute, wanted: compared(*comparator, value_first, value)? })
        }
        Predicate::Between(attribute, lower, upper) => {
            check_first("BETWEEN", attribute)?;
            let (attribute, [lower, upper]) = attribute_and_values([attribute, lower, upper])?;
            Ok(Clause { attribute, wanted: SortCondition::Between(lower, upper) })
        }
        Predicate::BeginsWith(attribute, prefix) => {
            check_first("begins_with", attribute)?;
            let (attribute, [prefix]) = attribute_and_values([attribute, prefix])?;
            Ok(Clause { attribute, wanted: SortCondition::BeginsWith(prefix) })
        }
        Predicate::In(..) => Err(invalid_operator("IN")),
        Predicate::Exists(_) => Err(invalid_operator("attribute_exists")),
        Predicate::NotExists(_) => Err(invalid_operator("attribute_not_exists")),
        Predicate::HasType(..) => Err(invalid_operator("attribute_type")),
        Predicate::Contains(..) => Err(invalid_operator("contains")),
    }
}

/// A comparison of the attribute with a value; of the value with the attribute, it is turned round.
fn compared(
    comparator: Comparator,
    value_first: bool,
    value: AttributeValue,
) -> Result<SortCondition> {
    Ok(match (comparator, value_first) {
        (Comparator::Equal, _) => SortCondition::Equal(value),
        (Comparator::Less, false) | (Comparator::Greater, true) => SortCondition::Less(value),
        (Comparator::LessOrEqual, false) | (Comparator::GreaterOrEqual, true) => {
            SortCondition::LessOrEqual(value)
        }
        (Comparator::Greater, false) | (Comparator::Less, true) => SortCondition::Greater(value),
        (Comparator::GreaterOrEqual, false) | (Comparator::LessOrEqual, true) => {
            SortCondition::GreaterOrEqual(value)
        }
        (Comparator::NotEqual, _) => return Err(invalid_operator("<>")),
    })
}

/// `BETWEEN` and `begins_with` have the attribute first, or at least something that uses one.
fn check_first(operator: &str, operand: &Operand) -> Result<()> {
    if let Operand::Source(Source::Value(_)) = operand {
        return Err(Error::validation(format!(
            "Invalid condition in KeyConditionExpression: {operator} operator must have the key attribute \
             as its first operand"
        )));
    }
    Ok(())
}

/// The one attribute among the operands, and the `V` values that are all the others.
fn attribute_and_values<const V: usize, const N: usize>(
    operands: [&Operand; N],
) -> Result<(Path, [AttributeValue; V])> {
    let mut attribute = None;
    let mut values = Vec::with_capacity(V);
    for operand in operands {
        match operand {
            Operand::Size(_) => {
                return Err(Error::validation(
                    "KeyConditionExpressions cannot contain nested operations",
                ));
            }
            Operand::Source(Source::Value(value)) => values.push((**value).clone()),
            Operand::Source(Source::Path(_)) if attribute.is_some() => {
                return Err(Error::validation(
                    "Invalid condition in KeyConditionExpression: \
                     Multiple attribute names used in one condition",
                ));
            }
            Operand::Source(Source::Path(path)) if path.levels() > 1 => {
                return Err(Error::validation(
                    "KeyConditionExpressions cannot have conditions on nested attributes",
                ));
            }
            Operand::Source(Source::Path(path)) => attribute = Some(path.clone()),
        }
    }
    match (attribute, <[AttributeValue; V]>::try_from(values)) {
        (Some(attribute), Ok(values)) => Ok((attribute, values)),
        _ => Err(Error::validation(
            "Invalid condition in KeyConditionExpression: No key attribute specified",
        )),
    }
}

fn plain_path(operand: &Operand) -> Option<&Path> {
    if let Operand::Source(Source::Path(path)) = operand { Some(path) } else { None }
}

fn check_count(clauses: &[Clause], schema: &KeySchema) -> Result<()> {
    let attributes = 1 + usize::from(schema.sort.is_some());
    if clauses.len() <= attributes {
        return Ok(());
    }
    Err(Error::validation(format!(
        "The number of query conditions ({}) exceeds the number of key attributes defined in the schema ({attributes})",
        clauses.len()
    )))
}

/// What is asked of a key attribute, if anything is; its values must have the attribute's type.
fn take<'c>(clauses: &'c [Clause], attribute: &KeyAttribute) -> Result<Option<&'c SortCondition>> {
    let Some(clause) = clauses.iter().find(|clause| **clause.attribute.root() == *attribute.name)
    else {
        return Ok(None);
    };
    let wanted = attribute.key_type.attribute_type();
    if clause.wanted.values().into_iter().any(|value| value.attribute_type() != wanted) {
        return Err(Error::validation(
            "One or more parameter values were invalid: Condition parameter type does not match schema type",
        ));
    }
    Ok(Some(&clause.wanted))
}

impl SortCondition {
    /// The values that the sort key is compared with.
    #[must_use]
    pub fn values(&self) -> Vec<&AttributeValue> {
        match self {
            Self::Equal(value)
            | Self::Less(value)
            | Self::LessOrEqual(value)
            | Self::Greater(value)
            | Self::GreaterOrEqual(value)
            | Self::BeginsWith(value) => vec![value],
            Self::Between(lower, upper) => vec![lower, upper],
        }
    }
}

fn invalid_operator(operator: &str) -> Error {
    Error::validation(format!("Invalid operator used in KeyConditionExpression: {operator}"))
}

fn not_supported() -> Error {
    Error::validation("Query key condition not supported")
}

fn missed(attribute: &KeyAttribute) -> Error {
    Error::validation(format!("Query condition missed key schema element: {}", attribute.name))
}
