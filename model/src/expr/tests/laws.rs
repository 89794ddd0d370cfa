//! What is true of all expressions, tried on random ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::Given;
use super::notation::item;
use crate::expr::{Condition, ExpressionKind, KeyCondition, Projection, Update};
use crate::number::Number;
use crate::schema::KeyType;
use crate::value::{AttributeValue, Item};

/// A condition as a tree, with the naive evaluation that the flat program is held against.
#[derive(Clone, Debug)]
enum Tree {
    /// Whether attribute `a0` to `a4` is true.
    Leaf(usize),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn holds(&self, attributes: &[bool; 5]) -> bool {
        match self {
            Self::Leaf(leaf) => attributes[*leaf],
            Self::Not(tree) => !tree.holds(attributes),
            Self::And(a, b) => a.holds(attributes) && b.holds(attributes),
            Self::Or(a, b) => a.holds(attributes) || b.holds(attributes),
        }
    }

    /// The text with only the parentheses that it needs; `level` is how tightly what is around it binds.
    fn text(&self, level: u8) -> String {
        let (own, text) = match self {
            Self::Leaf(leaf) => (3, format!("a{leaf} = :true")),
            Self::Not(tree) => (2, format!("NOT {}", tree.text(2))),
            // AND and OR group to the left, and the right side is parenthesised to keep the tree.
            Self::And(a, b) => (1, format!("{} AND {}", a.text(1), b.text(2))),
            Self::Or(a, b) => (0, format!("{} OR {}", a.text(0), b.text(1))),
        };
        if own < level { format!("({text})") } else { text }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    (0usize..5).prop_map(Tree::Leaf).prop_recursive(6, 40, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Tree::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Tree::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn number() -> impl Strategy<Value = Number> {
    (-3i64..4).prop_map(Number::from)
}

fn bytes() -> impl Strategy<Value = bytes::Bytes> {
    vec(0u8..2, 0..4).prop_map(bytes::Bytes::from)
}

/// Values that are often equal.
fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        4 => number().prop_map(AttributeValue::N),
        4 => "[ab]{0,2}".prop_map(AttributeValue::S),
        3 => bytes().prop_map(AttributeValue::B),
        1 => any::<bool>().prop_map(AttributeValue::Bool),
        1 => Just(AttributeValue::Null),
        1 => btree_set("[ab]", 1..3).prop_map(AttributeValue::Ss),
        1 => btree_set(number(), 1..3).prop_map(AttributeValue::Ns),
        1 => btree_set(bytes(), 1..3).prop_map(AttributeValue::Bs),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(AttributeValue::L),
            btree_map("[a-c]", inner, 0..3).prop_map(AttributeValue::M),
        ]
    })
}

fn any_item() -> impl Strategy<Value = Item> {
    btree_map(select(vec!["a", "b", "c"]).prop_map(str::to_owned), value(), 0..4)
}

fn holds(text: &str, item: &Item) -> bool {
    Given::default().filter(text).expect(text).holds(item)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_condition_means_what_its_tree_means(tree in tree(), attributes in any::<[bool; 5]>()) {
        let text = tree.text(0);
        let values = attributes.iter().enumerate();
        let item: Item = values.map(|(i, value)| (format!("a{i}"), AttributeValue::from(*value))).collect();
        let given = Given::default().value(":true", true);
        let condition = given.filter(&text).unwrap();
        prop_assert_eq!(condition.holds(&item), tree.holds(&attributes), "{}", text);
        // Parentheses around it change nothing, unless it is one test, or in parentheses already.
        let around = given.filter(&format!("({text})"));
        prop_assert_eq!(around.unwrap(), condition);
    }

    #[test]
    fn comparisons_agree_with_each_other(item in any_item()) {
        let both = item.contains_key("a") && item.contains_key("b");
        prop_assert_eq!(holds("a = b", &item), !holds("a <> b", &item));
        prop_assert_eq!(holds("a = b", &item), holds("b = a", &item));
        prop_assert_eq!(holds("a = b", &item), both && item["a"] == item["b"]);
        prop_assert_eq!(holds("a < b", &item), holds("b > a", &item));
        prop_assert_eq!(holds("a <= b", &item), holds("b >= a", &item));
        let ordered = holds("a <= b OR a > b", &item);
        prop_assert_eq!(ordered, holds("a < b OR a >= b", &item));
        prop_assert_eq!(holds("a <= b AND a >= b", &item), ordered && holds("a = b", &item));
        prop_assert_eq!(holds("a < b AND a > b", &item), false);
        prop_assert_eq!(holds("c BETWEEN a AND b", &item), holds("a <= c AND c <= b", &item));
        prop_assert_eq!(holds("c IN (a, b)", &item), holds("c = a OR c = b", &item));
        prop_assert_eq!(holds("attribute_exists(a)", &item), holds("NOT attribute_not_exists(a)", &item));
        if holds("begins_with(a, b)", &item) {
            prop_assert!(holds("contains(a, b) AND a >= b AND size(a) >= size(b)", &item));
        }
    }

    #[test]
    fn contains_finds_what_is_there(whole in vec(0u8..2, 0..12), part in vec(0u8..2, 0..5)) {
        let found = part.is_empty() || whole.windows(part.len()).any(|window| window == part);
        let item = Item::from([("a".to_owned(), AttributeValue::B(whole.into()))]);
        let given = Given::default().value(":part", bytes::Bytes::from(part));
        prop_assert_eq!(given.filter("contains(a, :part)").unwrap().holds(&item), found);
    }

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else(old in any_item(), new in value()) {
        let given = Given::default().value(":new", new.clone());
        let update = given.update("SET a = :new, d = if_not_exists(b, :new) REMOVE c").unwrap();
        let after = update.apply(&old).unwrap();
        prop_assert_eq!(after.get("a"), Some(&new));
        prop_assert_eq!(after.get("b"), old.get("b"));
        prop_assert_eq!(after.get("c"), None);
        prop_assert_eq!(after.get("d"), Some(old.get("b").unwrap_or(&new)));
        let named = |name: &&String| update.names_attribute(name);
        prop_assert!(after.keys().filter(|name| !named(name)).eq(old.keys().filter(|name| !named(name))));
        let mut touched = after.clone();
        touched.retain(|name, _| name != "b");
        prop_assert_eq!(update.touched(&after), touched);
    }

    /// Any sets and removals of a list's elements, against a list that remembers where each element was.
    #[test]
    fn indexes_are_those_of_the_item_before(
        len in 0u32..6,
        sets in btree_set(0u32..9, 0..4),
        removals in btree_set(0u32..9, 0..4),
        backwards in any::<bool>(),
    ) {
        let removals: BTreeSet<u32> = removals.difference(&sets).copied().collect();
        let mut actions: Vec<String> = sets.iter().map(|i| format!("l[{i}] = :new")).collect();
        let mut outs: Vec<String> = removals.iter().map(|i| format!("l[{i}]")).collect();
        if backwards {
            actions.reverse();
            outs.reverse();
        }
        let set = if actions.is_empty() { String::new() } else { format!("SET {}", actions.join(", ")) };
        let remove = if outs.is_empty() { String::new() } else { format!(" REMOVE {}", outs.join(", ")) };
        prop_assume!(!(set.is_empty() && remove.is_empty()));
        let old: Vec<AttributeValue> = (0..len).map(|i| AttributeValue::from(i64::from(i))).collect();
        let new = AttributeValue::from("new");
        let mut model: BTreeMap<u32, AttributeValue> = (0..).zip(old.clone()).collect();
        model.retain(|index, _| !removals.contains(index));
        model.extend(sets.iter().map(|index| (*index, new.clone())));
        let expected: Vec<AttributeValue> = model.into_values().collect();

        let item = Item::from([("l".to_owned(), AttributeValue::L(old))]);
        let update = Given::default().value(":new", new).update(&(set + &remove));
        let after = update.unwrap().apply(&item).unwrap();
        prop_assert_eq!(after["l"].as_l().unwrap(), &expected[..]);
    }

    #[test]
    fn a_projection_of_a_projection_of_names_is_the_same(item in any_item()) {
        let projection = Given::default().projection("a, b.a, b.c.b").unwrap();
        let once = projection.project(&item);
        prop_assert!(once.keys().all(|name| projection.names_attribute(name)));
        prop_assert_eq!(projection.project(&once), once);
    }

    /// Any text is parsed or refused, by every parser, without a panic.
    #[test]
    fn no_text_is_too_odd(
        words in vec(select(vec![
            "a", "b.c", "[1]", ".", "[", "]", "(", ")", "((", "))", ",", "=", "<>", "<", ">=", "+", "-", ":v", ":no",
            "#n", "#no", "AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE", "size(", "contains(",
            "begins_with(", "attribute_exists(", "if_not_exists(", "list_append(", "f(", "name", "ü", "0", "12", "#", "\"",
        ]), 0..24),
        spaced in any::<bool>(),
    ) {
        let text = words.join(if spaced { " " } else { "" });
        let given = Given::default().name("#n", "n").value(":v", 1);
        let (item, mut substitutions) = (item("{a: 1, b: {c: 2}, n: [1, 2]}"), given.substitutions());
        if let Ok(condition) = Condition::parse(ExpressionKind::Condition, &text, &mut substitutions) {
            let _ = condition.holds(&item);
        }
        if let Ok(update) = Update::parse(&text, &mut substitutions) {
            let _ = update.apply(&item).map(|after| update.touched(&after));
        }
        if let Ok(projection) = Projection::parse(&text, &mut substitutions) {
            let _ = projection.project(&item);
        }
        let schema = super::schema(("a", KeyType::N), Some(("b", KeyType::S)));
        let _ = KeyCondition::parse(&text, &mut substitutions, &schema);
    }
}
