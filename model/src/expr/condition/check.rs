//! A raw condition to a [`Condition`]: placeholders resolved, operands checked.

use std::cmp::Ordering;
use std::fmt;

use super::eval::order;
use super::parse::{RawCondition, RawStep, RawTest};
use super::{Comparator, Condition, Operand, Predicate, Source, Step};
use crate::error::{Error, Result};
use crate::expr::path::Path;
use crate::expr::resolve::Resolver;
use crate::expr::syntax::Term;
use crate::expr::words::Function;
use crate::limits::IN_OPERANDS_MAX;
use crate::value::{AttributeType, AttributeValue};

/// What DynamoDB says the type of a document path is, where it does not take one.
const ANY_TYPE: &str = "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}";
/// The types' names, in the order in which DynamoDB lists them.
const TYPE_NAMES: &str = "{B,NULL,SS,BOOL,L,BS,N,NS,S,M}";

/// Resolves a condition, test by test.
pub(super) fn condition(raw: RawCondition<'_>, resolver: Resolver<'_, '_>) -> Result<Condition> {
    let mut checker = Checker { resolver, terms: raw.terms.into_iter() };
    let steps = raw.steps.into_iter().map(|step| checker.step(step)).collect::<Result<_>>()?;
    Ok(Condition { steps })
}

struct Checker<'t, 's, 'a> {
    resolver: Resolver<'s, 'a>,
    terms: std::vec::IntoIter<Term<'t>>,
}

/// What an operand as it is written comes to.
enum Resolved {
    Operand(Operand),
    Predicate(Predicate),
}

impl From<Source> for Resolved {
    fn from(source: Source) -> Self {
        Self::Operand(Operand::Source(source))
    }
}

impl Resolved {
    fn into_operand(self) -> Result<Operand> {
        match self {
            Self::Operand(operand) => Ok(operand),
            Self::Predicate(_) => Err(Error::internal("a condition where an operand stands")),
        }
    }
}

impl Checker<'_, '_, '_> {
    fn step(&mut self, step: RawStep) -> Result<Step> {
        Ok(match step {
            RawStep::Test(RawTest::Call) => Step::Test(self.call()?),
            RawStep::Test(test) => {
                let predicate = self.test(test)?;
                self.resolver.count_operator()?;
                Step::Test(predicate)
            }
            RawStep::Not => {
                self.resolver.count_operator()?;
                Step::Not
            }
            RawStep::SkipIfFalse(to) => {
                self.resolver.count_operator()?;
                Step::SkipIfFalse(to)
            }
            RawStep::SkipIfTrue(to) => {
                self.resolver.count_operator()?;
                Step::SkipIfTrue(to)
            }
        })
    }

    /// A function that is a condition.
    fn call(&mut self) -> Result<Predicate> {
        match self.resolver.operand(&mut self.terms, finish_call)? {
            Resolved::Predicate(predicate) => Ok(predicate),
            Resolved::Operand(_) => Err(Error::internal("an operand where a condition stands")),
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        self.resolver.operand(&mut self.terms, finish_call)?.into_operand()
    }

    /// Resolves a test that is not a function.
    fn test(&mut self, test: RawTest) -> Result<Predicate> {
        let first = self.operand()?;
        match test {
            RawTest::Compare(comparator) => {
                let second = self.operand()?;
                check_distinct(&self.resolver, comparator.symbol(), &first, [&second])?;
                if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
                    check_types(
                        &self.resolver,
                        comparator.symbol(),
                        [&first, &second],
                        is_ordered,
                    )?;
                }
                Ok(Predicate::Compare(first, comparator, second))
            }
            RawTest::Between => {
                let (lower, upper) = (self.operand()?, self.operand()?);
                check_distinct(&self.resolver, "BETWEEN", &first, [&lower, &upper])?;
                check_types(&self.resolver, "BETWEEN", [&first, &lower, &upper], is_ordered)?;
                check_bounds(&self.resolver, &lower, &upper)?;
                Ok(Predicate::Between(first, lower, upper))
            }
            RawTest::In(count) => {
                let others = (0..count).map(|_| self.operand()).collect::<Result<Vec<_>>>()?;
                if count > IN_OPERANDS_MAX {
                    return Err(self.resolver.kind.invalid(format_args!(
                        "The IN operator is provided with too many operands; number of operands: {count}"
                    )));
                }
                check_distinct(&self.resolver, "IN", &first, &others)?;
                Ok(Predicate::In(first, others))
            }
            RawTest::Call => Err(Error::internal("a function is not a comparison")),
        }
    }
}

/// Checks the operands of a function.
fn finish_call(
    resolver: &Resolver<'_, '_>,
    function: Function,
    operands: Vec<Resolved>,
) -> Result<Resolved> {
    resolver.check_arity(function, operands.len())?;
    let mut operands = operands.into_iter().map(Resolved::into_operand);
    let mut next =
        || operands.next().unwrap_or_else(|| Err(Error::internal("an operand is missing")));
    let first = next()?;
    if function.arity() == 1 {
        return finish_unary(resolver, function, first);
    }
    let second = next()?;
    check_distinct(resolver, function.name(), &first, [&second])?;
    Ok(Resolved::Predicate(match function {
        Function::AttributeType => {
            let wanted = type_named_by(resolver, &second)?;
            Predicate::HasType(first, wanted)
        }
        Function::BeginsWith => {
            let allowed = |kind| matches!(kind, AttributeType::S | AttributeType::B);
            check_types(resolver, function.name(), [&first, &second], allowed)?;
            Predicate::BeginsWith(first, second)
        }
        Function::Contains => Predicate::Contains(first, second),
        _ => return Err(Error::internal("a function that is not a condition's")),
    }))
}

fn finish_unary(
    resolver: &Resolver<'_, '_>,
    function: Function,
    operand: Operand,
) -> Result<Resolved> {
    if function == Function::Size {
        let sized =
            |kind| !matches!(kind, AttributeType::N | AttributeType::Bool | AttributeType::Null);
        check_types(resolver, function.name(), [&operand], sized)?;
        return match operand {
            Operand::Source(source) => Ok(Resolved::Operand(Operand::Size(source))),
            Operand::Size(_) => Err(Error::internal("the size of a number")),
        };
    }
    let Operand::Source(Source::Path(path)) = operand else {
        return Err(resolver.path_required(function));
    };
    Ok(Resolved::Predicate(if function == Function::AttributeExists {
        Predicate::Exists(path)
    } else {
        Predicate::NotExists(path)
    }))
}

/// The type that `attribute_type` is asked about.
fn type_named_by(resolver: &Resolver<'_, '_>, operand: &Operand) -> Result<AttributeType> {
    let name = Function::AttributeType.name();
    let value = match operand {
        Operand::Source(Source::Value(value)) => value,
        Operand::Source(Source::Path(_)) => return Err(resolver.wrong_type(name, ANY_TYPE)),
        Operand::Size(_) => return Err(resolver.wrong_type(name, "N")),
    };
    let AttributeValue::S(wanted) = &**value else {
        return Err(resolver.wrong_type(name, value.type_name()));
    };
    AttributeType::from_name(wanted).ok_or_else(|| {
        resolver.kind.invalid(format_args!(
            "Invalid attribute type name found; type: {wanted}, valid types: {TYPE_NAMES}"
        ))
    })
}

fn check_distinct<'o>(
    resolver: &Resolver<'_, '_>,
    operator: &str,
    first: &Operand,
    others: impl IntoIterator<Item = &'o Operand>,
) -> Result<()> {
    let Some(path) = plain_path(first) else { return Ok(()) };
    if others.into_iter().any(|other| plain_path(other) == Some(path)) {
        return Err(resolver.not_distinct(operator, path));
    }
    Ok(())
}

/// Refuses operands whose type the text tells, and is not one of those allowed.
fn check_types<'o>(
    resolver: &Resolver<'_, '_>,
    operator: &str,
    operands: impl IntoIterator<Item = &'o Operand>,
    allowed: impl Fn(AttributeType) -> bool,
) -> Result<()> {
    let mut types = operands.into_iter().filter_map(static_type);
    match types.find(|kind| !allowed(*kind)) {
        Some(kind) => Err(resolver.wrong_type(operator, kind.name())),
        None => Ok(()),
    }
}

/// Refuses bounds of `BETWEEN` that no value lies between, if both are values of the request.
fn check_bounds(resolver: &Resolver<'_, '_>, lower: &Operand, upper: &Operand) -> Result<()> {
    let (Operand::Source(Source::Value(lower)), Operand::Source(Source::Value(upper))) =
        (lower, upper)
    else {
        return Ok(());
    };
    let problem = match order(lower, upper) {
        None => "same data type for lower and upper bounds",
        Some(Ordering::Greater) => "upper bound to be greater than or equal to lower bound",
        Some(_) => return Ok(()),
    };
    Err(resolver.kind.invalid(format_args!(
        "The BETWEEN operator requires {problem}; lower bound operand: AttributeValue: {}, \
         upper bound operand: AttributeValue: {}",
        Bound(lower),
        Bound(upper)
    )))
}

/// The document path that an operand is, and not only uses.
fn plain_path(operand: &Operand) -> Option<&Path> {
    if let Operand::Source(Source::Path(path)) = operand { Some(path) } else { None }
}

/// An operand's type, if it does not depend on the item.
fn static_type(operand: &Operand) -> Option<AttributeType> {
    match operand {
        Operand::Source(Source::Value(value)) => Some(value.attribute_type()),
        Operand::Source(Source::Path(_)) => None,
        Operand::Size(_) => Some(AttributeType::N),
    }
}

const fn is_ordered(kind: AttributeType) -> bool {
    matches!(kind, AttributeType::S | AttributeType::N | AttributeType::B)
}

/// Shows a bound as DynamoDB shows it, Java's way with binaries included.
struct Bound<'a>(&'a AttributeValue);

impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AttributeValue::S(text) => write!(f, "{{S:{text}}}"),
            AttributeValue::N(number) => write!(f, "{{N:{number}}}"),
            AttributeValue::B(bytes) => {
                let len = bytes.len();
                write!(f, "{{B:java.nio.HeapByteBuffer[pos=0 lim={len} cap={len}]}}")
            }
            other => write!(f, "{{{}}}", other.type_name()),
        }
    }
}
