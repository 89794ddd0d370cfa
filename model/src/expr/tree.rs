//! Document paths as a tree: tells paths that get in each other's way, and takes several places out of an item at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ExpressionKind;
use super::path::{Element, Path};
use crate::error::{Error, Result};
use crate::limits::NESTING_LEVELS_MAX;
use crate::value::{AttributeValue, Item};

/// Paths of which none is the beginning of another, and no two disagree on what is a list and what a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PathTree {
    roots: BTreeMap<Arc<str>, Node>,
}

/// What is asked of a value: all of it, or entries of the map or list that it is. At most
/// [`NESTING_LEVELS_MAX`] of them are one inside another, which bounds every recursion here.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Whole,
    Map(BTreeMap<Arc<str>, Node>),
    List(BTreeMap<u32, Node>),
}

impl PathTree {
    /// A tree of these paths.
    ///
    /// # Errors
    /// `ValidationException` if two of them overlap (one is the other, or its beginning) or conflict (one says that
    /// a value is a list, the other that it is a map). An overlap is told before a conflict.
    pub(super) fn new(kind: ExpressionKind, paths: &[Path]) -> Result<Self> {
        if let Some(error) = first_clash(kind, paths) {
            return Err(error);
        }
        let mut tree = Self { roots: BTreeMap::new() };
        for path in paths {
            let node = tree.roots.entry(Arc::clone(path.root())).or_insert(Node::Whole);
            insert(node, path.rest());
        }
        Ok(tree)
    }

    /// Whether any of the paths begins with this attribute.
    pub(super) fn has_root(&self, name: &str) -> bool {
        self.roots.contains_key(name)
    }

    /// What the paths name of an item. Elements of a list keep their order and close ranks; a map or list of which
    /// nothing is there is left out.
    pub(super) fn project(&self, item: &Item) -> Item {
        let found = self.roots.iter().filter_map(|(name, node)| {
            let (name, value) = item.get_key_value(&**name)?;
            Some((name.clone(), node.project(value)?))
        });
        found.collect()
    }
}

impl Node {
    fn project(&self, value: &AttributeValue) -> Option<AttributeValue> {
        match (self, value) {
            (Self::Whole, _) => Some(value.clone()),
            (Self::Map(nodes), AttributeValue::M(map)) => {
                let found = nodes.iter().filter_map(|(name, node)| {
                    let (name, value) = map.get_key_value(&**name)?;
                    Some((name.clone(), node.project(value)?))
                });
                let found: BTreeMap<_, _> = found.collect();
                (!found.is_empty()).then_some(AttributeValue::M(found))
            }
            (Self::List(nodes), AttributeValue::L(list)) => {
                let found = nodes
                    .iter()
                    .filter_map(|(index, node)| node.project(list.get(*index as usize)?));
                let found: Vec<_> = found.collect();
                (!found.is_empty()).then_some(AttributeValue::L(found))
            }
            _ => None,
        }
    }
}

/// Adds a path to a tree in which nothing gets in its way: a node that is [`Node::Whole`] was made just now.
fn insert(mut node: &mut Node, rest: &[Element]) {
    for element in rest {
        if *node == Node::Whole {
            *node = match element {
                Element::Name(_) => Node::Map(BTreeMap::new()),
                Element::Index(_) => Node::List(BTreeMap::new()),
            };
        }
        node = match (node, element) {
            (Node::Map(nodes), Element::Name(name)) => {
                nodes.entry(Arc::clone(name)).or_insert(Node::Whole)
            }
            (Node::List(nodes), Element::Index(index)) => {
                nodes.entry(*index).or_insert(Node::Whole)
            }
            // The paths conflict, which `first_clash` has ruled out.
            _ => return,
        };
    }
}

/// An overlap, or else a conflict, if the paths have any. Of several it tells the one that is written first among those
/// that sorting the paths brings to light.
///
/// Paths that share a beginning stand together once sorted: one that is the beginning of others right before them, and
/// names and indexes under one parent side by side where the one kind ends and the other begins. So neighbours are all
/// that need be compared.
fn first_clash(kind: ExpressionKind, paths: &[Path]) -> Option<Error> {
    let mut sorted: Vec<usize> = (0..paths.len()).collect();
    sorted.sort_by(|a, b| paths[*a].cmp(&paths[*b]).then(a.cmp(b)));
    let (mut overlap, mut conflict): (Option<Clash>, Option<Clash>) = (None, None);
    for pair in sorted.windows(2) {
        let &[a, b] = pair else { continue };
        let clash = Some(Clash { second: a.max(b), first: a.min(b) });
        match meet(&paths[a], &paths[b]) {
            Meet::Apart => {}
            Meet::Overlap => overlap = overlap.into_iter().chain(clash).min(),
            Meet::Conflict => conflict = conflict.into_iter().chain(clash).min(),
        }
    }
    let (how, clash) = match (overlap, conflict) {
        (Some(clash), _) => ("overlap", clash),
        (None, Some(clash)) => ("conflict", clash),
        (None, None) => return None,
    };
    Some(kind.invalid(format_args!(
        "Two document paths {how} with each other; must remove or rewrite one of these paths; \
         path one: {}, path two: {}",
        paths[clash.first], paths[clash.second]
    )))
}

/// Two paths that do not go together, by their place in the expression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Clash {
    second: usize,
    first: usize,
}

enum Meet {
    Apart,
    Overlap,
    Conflict,
}

/// How two paths stand to each other.
fn meet(a: &Path, b: &Path) -> Meet {
    debug_assert!(a.levels() <= NESTING_LEVELS_MAX && b.levels() <= NESTING_LEVELS_MAX);
    if a.root() != b.root() {
        return Meet::Apart;
    }
    match a.rest().iter().zip(b.rest()).find(|(a, b)| a != b) {
        None => Meet::Overlap,
        Some((Element::Name(_), Element::Index(_)) | (Element::Index(_), Element::Name(_))) => {
            Meet::Conflict
        }
        Some(_) => Meet::Apart,
    }
}
