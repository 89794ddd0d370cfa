//! A raw update to an [`Update`]: placeholders resolved, paths held against each other, operands checked.

use std::sync::Arc;

use super::parse::{Operator, RawAction, RawUpdate, Section};
use super::{Action, Change, Operand, SetValue, Update};
use crate::error::{Error, Result};
use crate::expr::path::Path;
use crate::expr::resolve::{Resolver, Source};
use crate::expr::syntax::Term;
use crate::expr::tree::PathTree;
use crate::expr::words::Function;
use crate::value::{AttributeType, AttributeValue};

/// What an operand as it is written comes to.
enum Resolved {
    Operand(Operand),
    /// `list_append`, which is no operand of anything else.
    List(Operand, Operand),
}

impl From<Source> for Resolved {
    fn from(source: Source) -> Self {
        Self::Operand(Operand::from(source))
    }
}

/// Resolves an update: first the paths of all actions, which may not clash, then the operands. Like DynamoDB it
/// checks the actions' operands from the last one back.
pub(super) fn update(raw: RawUpdate<'_>, mut resolver: Resolver<'_, '_>) -> Result<Update> {
    let paths =
        raw.actions.iter().map(|action| resolver.path(&action.path)).collect::<Result<Vec<_>>>()?;
    let tree = PathTree::new(resolver.kind, &paths)?;
    let mut actions = Vec::with_capacity(paths.len());
    for (path, action) in paths.into_iter().zip(raw.actions).rev() {
        actions.push(Action { path, change: change(&mut resolver, action)? });
    }
    actions.reverse();
    Ok(Update { actions, tree })
}

fn change(resolver: &mut Resolver<'_, '_>, action: RawAction<'_>) -> Result<Change> {
    let section = action.section;
    let mut terms = action.terms.into_iter();
    match section {
        Section::Remove => Ok(Change::Remove),
        Section::Set => set_value(resolver, action.operator, &mut terms).map(Change::Set),
        Section::Add => addend(resolver, section, &mut terms).map(Change::Add),
        Section::Delete => addend(resolver, section, &mut terms).map(Change::Delete),
    }
}

/// What ADD adds, or DELETE takes away.
fn addend<'t>(
    resolver: &mut Resolver<'_, '_>,
    section: Section,
    terms: &mut impl Iterator<Item = Term<'t>>,
) -> Result<Arc<AttributeValue>> {
    let Some(Term::Value(key)) = terms.next() else {
        return Err(Error::internal("an operand is missing"));
    };
    let value = resolver.value(key)?;
    let allowed = match value.attribute_type() {
        AttributeType::Ss | AttributeType::Ns | AttributeType::Bs => true,
        AttributeType::N => section == Section::Add,
        _ => false,
    };
    if allowed {
        return Ok(value);
    }
    let name = section.name();
    Err(resolver.kind.invalid(format_args!(
        "Incorrect operand type for operator or function; operator: {name}, operand type: {}, \
         typeSet: ALLOWED_FOR_{name}_OPERAND",
        long_name(value.attribute_type())
    )))
}

fn set_value<'t>(
    resolver: &mut Resolver<'_, '_>,
    operator: Option<Operator>,
    terms: &mut impl Iterator<Item = Term<'t>>,
) -> Result<SetValue> {
    let first = resolver.operand(terms, finish_call)?;
    let Some(operator) = operator else {
        return Ok(match first {
            Resolved::Operand(operand) => SetValue::Operand(operand),
            Resolved::List(head, tail) => SetValue::ListAppend(head, tail),
        });
    };
    let second = resolver.operand(terms, finish_call)?;
    resolver.count_operator()?;
    let symbol = operator.symbol();
    let (Resolved::Operand(first), Resolved::Operand(second)) = (first, second) else {
        return Err(resolver.wrong_type(symbol, AttributeType::L.name()));
    };
    check_types(resolver, symbol, [&first, &second], AttributeType::N)?;
    Ok(match operator {
        Operator::Plus => SetValue::Sum(first, second),
        Operator::Minus => SetValue::Difference(first, second),
    })
}

fn finish_call(
    resolver: &Resolver<'_, '_>,
    function: Function,
    operands: Vec<Resolved>,
) -> Result<Resolved> {
    resolver.check_arity(function, operands.len())?;
    let mut operands = operands.into_iter();
    let (Some(Resolved::Operand(first)), Some(Resolved::Operand(second))) =
        (operands.next(), operands.next())
    else {
        return Err(Error::internal("an operand is missing, or not one"));
    };
    match function {
        Function::ListAppend => {
            check_types(resolver, function.name(), [&first, &second], AttributeType::L)?;
            Ok(Resolved::List(first, second))
        }
        Function::IfNotExists => {
            let Some(path) = plain_path(first) else {
                return Err(resolver.path_required(function));
            };
            let Operand { mut places, last } = second;
            places.insert(0, path);
            Ok(Resolved::Operand(Operand { places, last }))
        }
        _ => Err(Error::internal("a function that is not an update's")),
    }
}

/// Refuses operands whose type the text tells, and is not the one wanted.
fn check_types(
    resolver: &Resolver<'_, '_>,
    operator: &str,
    operands: [&Operand; 2],
    wanted: AttributeType,
) -> Result<()> {
    match operands.into_iter().filter_map(static_type).find(|kind| *kind != wanted) {
        Some(kind) => Err(resolver.wrong_type(operator, kind.name())),
        None => Ok(()),
    }
}

/// An operand's type, if it does not depend on the item.
fn static_type(operand: &Operand) -> Option<AttributeType> {
    match &operand.last {
        Source::Value(value) if operand.places.is_empty() => Some(value.attribute_type()),
        _ => None,
    }
}

fn plain_path(operand: Operand) -> Option<Path> {
    match operand.last {
        Source::Path(path) if operand.places.is_empty() => Some(path),
        _ => None,
    }
}

/// A type as errors of ADD and DELETE name it.
const fn long_name(kind: AttributeType) -> &'static str {
    match kind {
        AttributeType::S => "STRING",
        AttributeType::N => "NUMBER",
        AttributeType::B => "BINARY",
        AttributeType::Bool => "BOOLEAN",
        AttributeType::Null => "NULL",
        AttributeType::Ss => "STRING_SET",
        AttributeType::Ns => "NUMBER_SET",
        AttributeType::Bs => "BINARY_SET",
        AttributeType::L => "LIST",
        AttributeType::M => "MAP",
    }
}
