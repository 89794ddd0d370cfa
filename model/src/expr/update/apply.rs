//! What an update makes of an item.

use std::collections::BTreeSet;

use super::{Action, Change, Operand, SetValue};
use crate::error::{Error, Result};
use crate::expr::path::{Element, Path};
use crate::limits::{ITEM_BYTES_MAX, deeper};
use crate::number::Number;
use crate::value::{AttributeValue, Item};

/// Works out all changes from the item before, then makes them.
pub(super) fn apply(actions: &[Action], old: &Item) -> Result<Item> {
    let mut changes = Changes { old, bytes_left: ITEM_BYTES_MAX, put: Vec::new(), out: Vec::new() };
    for action in actions {
        changes.work_out(action)?;
    }
    let Changes { mut put, mut out, .. } = changes;
    let mut item = old.clone();
    // Elements behind the end of a list are appended in the order of their indexes.
    put.sort_by_key(|(path, _)| *path);
    for (path, value) in put {
        put_in(&mut item, path, value)?;
    }
    // The last go first, so that the indexes of the others stay what they were. None of these was just appended: they
    // were found in the item before.
    out.sort_unstable_by(|a, b| b.cmp(a));
    for path in out {
        take_out(&mut item, path);
    }
    Ok(item)
}

struct Changes<'u> {
    old: &'u Item,
    /// How much may yet be written. What is written all stays in the item, so that more than this cannot end well; and
    /// a text of 4 KB may well say to write one value 500 times.
    bytes_left: usize,
    put: Vec<(&'u Path, AttributeValue)>,
    /// Places that have a value in the item before.
    out: Vec<&'u Path>,
}

impl<'u> Changes<'u> {
    fn work_out(&mut self, Action { path, change }: &'u Action) -> Result<()> {
        match change {
            Change::Set(value) => {
                let value = self.evaluate(value, path.levels())?;
                self.put.push((path, value));
            }
            Change::Remove => self.take(path)?,
            Change::Add(addend) => {
                let sum = match path.get(self.old) {
                    Some(old) => add(old, addend)?,
                    None => (**addend).clone(),
                };
                self.admit(&sum, path.levels())?;
                self.put.push((path, sum));
            }
            Change::Delete(elements) => match path.get(self.old) {
                Some(old) => match without(old, elements)? {
                    Some(left) => self.put.push((path, left)),
                    None => self.out.push(path),
                },
                None => check_parent(self.old, path)?,
            },
        }
        Ok(())
    }

    /// Takes a value out, if there is one; what it would be in must be there.
    fn take(&mut self, path: &'u Path) -> Result<()> {
        if path.get(self.old).is_some() {
            self.out.push(path);
            return Ok(());
        }
        check_parent(self.old, path)
    }

    /// What a SET action puts at this level of the item.
    fn evaluate(&mut self, value: &'u SetValue, level: usize) -> Result<AttributeValue> {
        match value {
            SetValue::Operand(operand) => {
                let value = self.find(operand)?;
                self.admit(value, level)?;
                Ok(value.clone())
            }
            SetValue::ListAppend(head, tail) => {
                let (AttributeValue::L(head), AttributeValue::L(tail)) =
                    (self.find(head)?, self.find(tail)?)
                else {
                    return Err(wrong_type());
                };
                self.spend(3 + head.len() + tail.len())?;
                let level = deeper(level)?;
                for element in head.iter().chain(tail) {
                    self.admit(element, level)?;
                }
                Ok(AttributeValue::L([&**head, &**tail].concat()))
            }
            SetValue::Sum(a, b) => self.arithmetic(a, b, Number::checked_add),
            SetValue::Difference(a, b) => self.arithmetic(a, b, Number::checked_sub),
        }
    }

    fn arithmetic(
        &self,
        a: &'u Operand,
        b: &'u Operand,
        operation: impl Fn(&Number, &Number) -> Result<Number>,
    ) -> Result<AttributeValue> {
        match (self.find(a)?, self.find(b)?) {
            (AttributeValue::N(a), AttributeValue::N(b)) => operation(a, b).map(AttributeValue::N),
            _ => Err(wrong_type()),
        }
    }

    fn find(&self, operand: &'u Operand) -> Result<&'u AttributeValue> {
        let found = operand.places.iter().find_map(|path| path.get(self.old));
        found.or_else(|| operand.last.get(self.old)).ok_or_else(|| {
            Error::validation(
                "The provided expression refers to an attribute that does not exist in the item",
            )
        })
    }

    /// Takes a value's size off what may yet be written (a little less, where that is simpler), and refuses one that
    /// goes too deep when it stands at this level.
    fn admit(&mut self, value: &AttributeValue, level: usize) -> Result<()> {
        self.spend(match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::B(bytes) => bytes.len(),
            AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => 1,
            AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
            AttributeValue::Ns(set) => set.len(),
            AttributeValue::Bs(set) => set.iter().map(bytes::Bytes::len).sum(),
            AttributeValue::L(list) => 3 + list.len(),
            AttributeValue::M(map) => 3 + map.keys().map(|name| 1 + name.len()).sum::<usize>(),
        })?;
        match value {
            AttributeValue::L(list) => {
                let level = deeper(level)?;
                list.iter().try_for_each(|value| self.admit(value, level))
            }
            AttributeValue::M(map) => {
                let level = deeper(level)?;
                map.values().try_for_each(|value| self.admit(value, level))
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            Error::validation("Item size to update has exceeded the maximum allowed size")
        })?;
        Ok(())
    }
}

/// The sum of two numbers, or all elements of two sets of one type.
fn add(old: &AttributeValue, addend: &AttributeValue) -> Result<AttributeValue> {
    Ok(match (old, addend) {
        (AttributeValue::N(old), AttributeValue::N(addend)) => {
            AttributeValue::N(old.checked_add(addend)?)
        }
        (AttributeValue::Ss(old), AttributeValue::Ss(new)) => AttributeValue::Ss(old | new),
        (AttributeValue::Ns(old), AttributeValue::Ns(new)) => AttributeValue::Ns(old | new),
        (AttributeValue::Bs(old), AttributeValue::Bs(new)) => AttributeValue::Bs(old | new),
        _ => return Err(wrong_type()),
    })
}

/// A set without these elements, or `None` if none is left: there are no empty sets.
fn without(old: &AttributeValue, elements: &AttributeValue) -> Result<Option<AttributeValue>> {
    fn some<T: Ord>(left: BTreeSet<T>) -> Option<BTreeSet<T>> {
        (!left.is_empty()).then_some(left)
    }
    Ok(match (old, elements) {
        (AttributeValue::Ss(old), AttributeValue::Ss(out)) => {
            some(old - out).map(AttributeValue::Ss)
        }
        (AttributeValue::Ns(old), AttributeValue::Ns(out)) => {
            some(old - out).map(AttributeValue::Ns)
        }
        (AttributeValue::Bs(old), AttributeValue::Bs(out)) => {
            some(old - out).map(AttributeValue::Bs)
        }
        _ => return Err(wrong_type()),
    })
}

/// Refuses a path whose last step is not into a map or list that is there.
fn check_parent(item: &Item, path: &Path) -> Result<()> {
    let Some((last, rest)) = path.rest().split_last() else { return Ok(()) };
    let parent = Path::new(path.root().clone(), rest.to_vec());
    match (parent.get(item), last) {
        (Some(AttributeValue::M(_)), Element::Name(_))
        | (Some(AttributeValue::L(_)), Element::Index(_)) => Ok(()),
        _ => Err(invalid_path()),
    }
}

/// Puts a value in its place.
fn put_in(item: &mut Item, path: &Path, value: AttributeValue) -> Result<()> {
    let Some((last, parents)) = path.rest().split_last() else {
        item.insert(path.root().to_string(), value);
        return Ok(());
    };
    match (parent_mut(item, path, parents).ok_or_else(invalid_path)?, last) {
        (AttributeValue::M(map), Element::Name(name)) => {
            map.insert(name.to_string(), value);
        }
        (AttributeValue::L(list), Element::Index(index)) => match list.get_mut(*index as usize) {
            Some(element) => *element = value,
            None => list.push(value),
        },
        _ => return Err(invalid_path()),
    }
    Ok(())
}

/// Takes out a value that is there.
fn take_out(item: &mut Item, path: &Path) {
    let Some((last, parents)) = path.rest().split_last() else {
        item.remove(&**path.root());
        return;
    };
    match (parent_mut(item, path, parents), last) {
        (Some(AttributeValue::M(map)), Element::Name(name)) => {
            map.remove(&**name);
        }
        (Some(AttributeValue::L(list)), Element::Index(index))
            if (*index as usize) < list.len() =>
        {
            list.remove(*index as usize);
        }
        _ => {}
    }
}

fn parent_mut<'a>(
    item: &'a mut Item,
    path: &Path,
    parents: &[Element],
) -> Option<&'a mut AttributeValue> {
    let root = item.get_mut(&**path.root())?;
    parents.iter().try_fold(root, |value, element| match (element, value) {
        (Element::Name(name), AttributeValue::M(map)) => map.get_mut(&**name),
        (Element::Index(index), AttributeValue::L(list)) => list.get_mut(*index as usize),
        _ => None,
    })
}

fn wrong_type() -> Error {
    Error::validation("An operand in the update expression has an incorrect data type")
}

fn invalid_path() -> Error {
    Error::validation("The document path provided in the update expression is invalid for update")
}
