//! What a condition means for an item. Nothing here allocates, but for the search of a binary in a binary.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Comparator, Operand, Predicate, Step};
use crate::number::Number;
use crate::value::{AttributeValue, Item};

/// Runs a condition's program.
pub(super) fn holds(steps: &[Step], item: &Item) -> bool {
    let mut outcome = false;
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Test(predicate) => outcome = predicate.holds(item),
            Step::Not => outcome = !outcome,
            // Skips lead onwards only, so that the loop ends.
            Step::SkipIfFalse(to) if !outcome => at = at.max(*to),
            Step::SkipIfTrue(to) if outcome => at = at.max(*to),
            Step::SkipIfFalse(_) | Step::SkipIfTrue(_) => {}
        }
    }
    outcome
}

impl Predicate {
    fn holds(&self, item: &Item) -> bool {
        match self {
            Self::Compare(a, comparator, b) => compare(a.get(item), *comparator, b.get(item)),
            Self::Between(value, lower, upper) => {
                let value = value.get(item);
                let (lower, upper) = (lower.get(item), upper.get(item));
                let Some(value) = value.as_deref() else { return false };
                lower.as_deref().and_then(|lower| order(lower, value)).is_some_and(Ordering::is_le)
                    && upper
                        .as_deref()
                        .and_then(|upper| order(value, upper))
                        .is_some_and(Ordering::is_le)
            }
            Self::In(value, others) => {
                let Some(value) = value.get(item) else { return false };
                others.iter().any(|other| other.get(item).is_some_and(|other| *other == *value))
            }
            Self::Exists(path) => path.get(item).is_some(),
            Self::NotExists(path) => path.get(item).is_none(),
            Self::HasType(operand, wanted) => {
                operand.get(item).is_some_and(|value| value.attribute_type() == *wanted)
            }
            Self::BeginsWith(value, prefix) => both(value, prefix, item)
                .is_some_and(|(value, prefix)| begins_with(&value, &prefix)),
            Self::Contains(value, element) => both(value, element, item)
                .is_some_and(|(value, element)| contains(&value, &element)),
        }
    }
}

impl Operand {
    fn get<'a>(&'a self, item: &'a Item) -> Option<Cow<'a, AttributeValue>> {
        match self {
            Self::Source(source) => source.get(item).map(Cow::Borrowed),
            Self::Size(source) => {
                let size = i64::try_from(size(source.get(item)?)?).ok()?;
                Some(Cow::Owned(AttributeValue::N(Number::from(size))))
            }
        }
    }
}

type Pair<'a> = (Cow<'a, AttributeValue>, Cow<'a, AttributeValue>);

/// The values of two operands, if both have one.
fn both<'a>(a: &'a Operand, b: &'a Operand, item: &'a Item) -> Option<Pair<'a>> {
    Some((a.get(item)?, b.get(item)?))
}

fn compare(
    a: Option<Cow<'_, AttributeValue>>,
    comparator: Comparator,
    b: Option<Cow<'_, AttributeValue>>,
) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return comparator == Comparator::NotEqual };
    match comparator {
        Comparator::Equal => a == b,
        Comparator::NotEqual => a != b,
        Comparator::Less => order(&a, &b).is_some_and(Ordering::is_lt),
        Comparator::LessOrEqual => order(&a, &b).is_some_and(Ordering::is_le),
        Comparator::Greater => order(&a, &b).is_some_and(Ordering::is_gt),
        Comparator::GreaterOrEqual => order(&a, &b).is_some_and(Ordering::is_ge),
    }
}

/// How two values are ordered, if they are of one type that has an order.
pub(super) fn order(a: &AttributeValue, b: &AttributeValue) -> Option<Ordering> {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.cmp(b)),
        (AttributeValue::N(a), AttributeValue::N(b)) => Some(a.cmp(b)),
        (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn begins_with(value: &AttributeValue, prefix: &AttributeValue) -> bool {
    match (value, prefix) {
        (AttributeValue::S(value), AttributeValue::S(prefix)) => value.starts_with(&**prefix),
        (AttributeValue::B(value), AttributeValue::B(prefix)) => value.starts_with(prefix),
        _ => false,
    }
}

/// Part of a string or binary, or element of a set or list.
fn contains(value: &AttributeValue, element: &AttributeValue) -> bool {
    match (value, element) {
        (AttributeValue::S(value), AttributeValue::S(part)) => value.contains(&**part),
        (AttributeValue::B(value), AttributeValue::B(part)) => contains_bytes(value, part),
        (AttributeValue::Ss(set), AttributeValue::S(element)) => set.contains(element),
        (AttributeValue::Ns(set), AttributeValue::N(element)) => set.contains(element),
        (AttributeValue::Bs(set), AttributeValue::B(element)) => set.contains(element),
        (AttributeValue::L(list), element) => list.contains(element),
        _ => false,
    }
}

/// Whether `part` occurs in `bytes`, in time linear in both (Knuth, Morris and Pratt): both are the caller's, and
/// comparing at every place would let two binaries of 400 KB cost minutes.
fn contains_bytes(bytes: &[u8], part: &[u8]) -> bool {
    if part.is_empty() || part.len() > bytes.len() {
        return part.is_empty();
    }
    // borders[i]: the length of the longest proper beginning of part[..=i] that is its end, too.
    let mut borders = Vec::with_capacity(part.len());
    let mut matched = 0;
    for (at, byte) in part.iter().enumerate() {
        if at > 0 {
            matched = extend(part, &borders, matched, *byte);
        }
        borders.push(matched);
    }
    matched = 0;
    bytes.iter().any(|byte| {
        matched = extend(part, &borders, matched, *byte);
        matched == part.len()
    })
}

/// How much of `part` is matched after one more byte, if `matched` bytes were matched before it.
fn extend(part: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if part.get(matched) == Some(&byte) {
            return matched + 1;
        }
        let Some(before) = matched.checked_sub(1) else { return 0 };
        matched = borders.get(before).copied().unwrap_or_default();
    }
}

/// What `size` gives: UTF-16 code units, bytes or elements.
fn size(value: &AttributeValue) -> Option<usize> {
    match value {
        AttributeValue::S(text) => Some(text.encode_utf16().count()),
        AttributeValue::B(bytes) => Some(bytes.len()),
        AttributeValue::Ss(set) => Some(set.len()),
        AttributeValue::Ns(set) => Some(set.len()),
        AttributeValue::Bs(set) => Some(set.len()),
        AttributeValue::L(list) => Some(list.len()),
        AttributeValue::M(map) => Some(map.len()),
        AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => None,
    }
}
