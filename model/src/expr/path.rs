//! Document paths: where in an item a value is.

use std::fmt;
use std::sync::Arc;

use crate::value::{AttributeValue, Item};

/// One step of a document path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// The attribute of an item, or the entry of a map, with this name.
    Name(Arc<str>),
    /// The element of a list with this index, from 0.
    Index(u32),
}

/// A document path, such as `orders[2].lines`: an attribute's name, then steps into maps and lists.
///
/// It is shown as error texts show it: `[orders, [2], lines]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    root: Arc<str>,
    rest: Vec<Element>,
}

impl Path {
    /// The path to a top-level attribute, with steps further in.
    #[must_use]
    pub fn new(root: Arc<str>, rest: Vec<Element>) -> Self {
        Self { root, rest }
    }

    /// The top-level attribute that the path begins with.
    #[must_use]
    pub fn root(&self) -> &Arc<str> {
        &self.root
    }

    /// The steps after the top-level attribute.
    #[must_use]
    pub fn rest(&self) -> &[Element] {
        &self.rest
    }

    /// How many levels the path goes down; a top-level attribute is at level one.
    #[must_use]
    pub fn levels(&self) -> usize {
        1 + self.rest.len()
    }

    /// The value at this place of an item, if there is one.
    #[must_use]
    pub fn get<'a>(&self, item: &'a Item) -> Option<&'a AttributeValue> {
        self.rest.iter().try_fold(item.get(&*self.root)?, |value, element| match (element, value) {
            (Element::Name(name), AttributeValue::M(map)) => map.get(&**name),
            (Element::Index(index), AttributeValue::L(list)) => list.get(*index as usize),
            _ => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.root)?;
        for element in &self.rest {
            match element {
                Element::Name(name) => write!(f, ", {name}")?,
                Element::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}
