//! What a condition means for an item.
//!
//! # Bounds
//! A text of 4 KB may ask for the same thing two thousand times, as `a IN (b, b, ..) OR a IN (b, b, ..)` does, and each time
//! could walk through two values of 200 KB. So what was found out of two large values is kept while the condition is evaluated
//! (see [`Memo`]). What is left are pairs of *different* values, of which many are small, because all of them together are an
//! item and 2 MB of substitutions. Beside that, only the search of a binary in a binary allocates.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Comparator, Operand, Predicate, Step};
use crate::number::Number;
use crate::value::{AttributeValue, Item};

/// A string or binary that has more bytes is remembered, and so is all that has elements.
const LARGE_BYTES: usize = 1024;

/// A question about two values, or about one that is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Equal,
    Contains,
    Size,
}

/// A value of the item or the condition by its place, for both stay where they are while the condition is evaluated.
type Place = *const AttributeValue;

/// What was found out of large values: each question is answered once for each pair of them.
#[derive(Default)]
pub(super) struct Memo {
    answers: RefCell<BTreeMap<(Question, Place, Place), usize>>,
}

impl Memo {
    /// The answer, by `find` if it is not known.
    fn answer(
        &self,
        question: Question,
        (a, b): (&Cow<'_, AttributeValue>, &Cow<'_, AttributeValue>),
        find: impl FnOnce() -> usize,
    ) -> usize {
        // What is made for one test, the number of `size`, has no place that lasts.
        let (Cow::Borrowed(a), Cow::Borrowed(b)) = (a, b) else { return find() };
        if !is_large(a) {
            return find();
        }
        let key = (question, std::ptr::from_ref(*a), std::ptr::from_ref(*b));
        *self.answers.borrow_mut().entry(key).or_insert_with(find)
    }

    #[expect(clippy::ptr_arg, reason = "a value that is owned has no place that lasts")]
    fn equal(&self, a: &Cow<'_, AttributeValue>, b: &Cow<'_, AttributeValue>) -> bool {
        self.answer(Question::Equal, (a, b), || usize::from(a == b)) == 1
    }

    #[expect(clippy::ptr_arg, reason = "a value that is owned has no place that lasts")]
    fn contains(&self, a: &Cow<'_, AttributeValue>, b: &Cow<'_, AttributeValue>) -> bool {
        self.answer(Question::Contains, (a, b), || usize::from(contains(a, b))) == 1
    }

    fn size(&self, value: &AttributeValue, text: &str) -> usize {
        let value = Cow::Borrowed(value);
        self.answer(Question::Size, (&value, &value), || text.encode_utf16().count())
    }

    /// How many answers were looked for and kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.borrow().len()
    }
}

fn is_large(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::S(text) => text.len() > LARGE_BYTES,
        AttributeValue::B(bytes) => bytes.len() > LARGE_BYTES,
        AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => false,
        AttributeValue::Ss(_)
        | AttributeValue::Ns(_)
        | AttributeValue::Bs(_)
        | AttributeValue::L(_)
        | AttributeValue::M(_) => true,
    }
}

/// Runs a condition's program.
pub(super) fn holds(steps: &[Step], item: &Item, memo: &Memo) -> bool {
    let mut outcome = false;
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Test(predicate) => outcome = predicate.holds(item, memo),
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
    fn holds(&self, item: &Item, memo: &Memo) -> bool {
        match self {
            Self::Compare(a, comparator, b) => {
                compare(a.get(item, memo), *comparator, b.get(item, memo), memo)
            }
            Self::Between(value, lower, upper) => {
                let value = value.get(item, memo);
                let (lower, upper) = (lower.get(item, memo), upper.get(item, memo));
                let Some(value) = value.as_deref() else { return false };
                lower.as_deref().and_then(|lower| order(lower, value)).is_some_and(Ordering::is_le)
                    && upper
                        .as_deref()
                        .and_then(|upper| order(value, upper))
                        .is_some_and(Ordering::is_le)
            }
            Self::In(value, others) => {
                let Some(value) = value.get(item, memo) else { return false };
                let is_it = |other: &Operand| {
                    other.get(item, memo).is_some_and(|other| memo.equal(&value, &other))
                };
                others.iter().any(is_it)
            }
            Self::Exists(path) => path.get(item).is_some(),
            Self::NotExists(path) => path.get(item).is_none(),
            Self::HasType(operand, wanted) => {
                operand.get(item, memo).is_some_and(|value| value.attribute_type() == *wanted)
            }
            Self::BeginsWith(value, prefix) => both(value, prefix, item, memo)
                .is_some_and(|(value, prefix)| begins_with(&value, &prefix)),
            Self::Contains(value, element) => both(value, element, item, memo)
                .is_some_and(|(value, element)| memo.contains(&value, &element)),
        }
    }
}

impl Operand {
    fn get<'a>(&'a self, item: &'a Item, memo: &Memo) -> Option<Cow<'a, AttributeValue>> {
        match self {
            Self::Source(source) => source.get(item).map(Cow::Borrowed),
            Self::Size(source) => {
                let size = i64::try_from(size(source.get(item)?, memo)?).ok()?;
                Some(Cow::Owned(AttributeValue::N(Number::from(size))))
            }
        }
    }
}

type Pair<'a> = (Cow<'a, AttributeValue>, Cow<'a, AttributeValue>);

/// The values of two operands, if both have one.
fn both<'a>(a: &'a Operand, b: &'a Operand, item: &'a Item, memo: &Memo) -> Option<Pair<'a>> {
    Some((a.get(item, memo)?, b.get(item, memo)?))
}

fn compare(
    a: Option<Cow<'_, AttributeValue>>,
    comparator: Comparator,
    b: Option<Cow<'_, AttributeValue>>,
    memo: &Memo,
) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return comparator == Comparator::NotEqual };
    match comparator {
        Comparator::Equal => memo.equal(&a, &b),
        Comparator::NotEqual => !memo.equal(&a, &b),
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
fn size(value: &AttributeValue, memo: &Memo) -> Option<usize> {
    match value {
        AttributeValue::S(text) => Some(memo.size(value, text)),
        AttributeValue::B(bytes) => Some(bytes.len()),
        AttributeValue::Ss(set) => Some(set.len()),
        AttributeValue::Ns(set) => Some(set.len()),
        AttributeValue::Bs(set) => Some(set.len()),
        AttributeValue::L(list) => Some(list.len()),
        AttributeValue::M(map) => Some(map.len()),
        AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => None,
    }
}
