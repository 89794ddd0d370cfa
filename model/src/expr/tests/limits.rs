//! What is bounded: sizes, operators, nesting, and the stack.

use super::notation::item;
use super::{Given, error_of};
use crate::error::Result;
use crate::expr::{Condition, ExpressionKind, Projection, Substitutions, Update};
use crate::limits::{EXPRESSION_BYTES_MAX, ITEM_BYTES_MAX, SUBSTITUTIONS_BYTES_MAX};
use crate::value::{AttributeValue, Item};

#[test]
fn a_text_is_at_most_4096_bytes() {
    let name = |bytes: usize| format!("attribute_exists({})", "x".repeat(bytes - 18));
    let given = Given::default();
    assert!(given.filter(&name(EXPRESSION_BYTES_MAX)).is_ok());
    let size = "Expression size has exceeded the maximum allowed size; expression size: 4097";
    assert_eq!(error_of(given.filter(&name(4097))), format!("Invalid FilterExpression: {size}"));
    assert_eq!(
        error_of(given.update(&"(".repeat(4097))),
        format!("Invalid UpdateExpression: {size}")
    );
    assert_eq!(
        error_of(given.projection(&" ".repeat(4097))),
        format!("Invalid ProjectionExpression: {size}")
    );
}

#[test]
fn an_expression_has_at_most_300_operators() {
    let too_many = "The expression contains too many operators; operator count: 301";
    let given = Given::default().value(":n", 1);
    let chain = |tests: usize, test: &str| vec![test; tests].join(" OR ");
    assert!(given.filter(&chain(150, "a<b")).is_ok());
    assert!(given.filter(&format!("NOT {}", chain(150, "a<b"))).is_ok());
    for text in [
        chain(151, "a<b"),
        format!("NOT NOT {}", chain(150, "a<b")),
        "NOT ".repeat(300) + "a<b",
        chain(101, "size(a)<b"),
    ] {
        assert_eq!(error_of(given.filter(&text)), format!("Invalid FilterExpression: {too_many}"));
    }
    let sums = |count| (0..count).map(|i| format!("a{i}=b+:n")).collect::<Vec<_>>().join(",");
    assert!(given.update(&format!("SET {}", sums(300))).is_ok());
    assert_eq!(
        error_of(given.update(&format!("SET {}", sums(301)))),
        format!("Invalid UpdateExpression: {too_many}")
    );
    // `=` of SET is no operator, and IN is one however many operands it has.
    let plain: Vec<_> = (0..400).map(|i| format!("a{i}=b")).collect();
    assert!(given.update(&format!("SET {}", plain.join(","))).is_ok());
}

#[test]
fn in_takes_at_most_100_operands() {
    let given = Given::default();
    let text = |count| {
        let operands: Vec<_> = (0..count).map(|i| format!("a{i}")).collect();
        format!("x IN ({})", operands.join(", "))
    };
    assert!(given.filter(&text(100)).is_ok());
    assert_eq!(
        error_of(given.filter(&text(101))),
        "Invalid FilterExpression: The IN operator is provided with too many operands; number of operands: 101"
    );
}

#[test]
fn a_path_goes_down_at_most_32_levels() {
    let given = Given::default().value(":n", 1);
    let path = |levels: usize| "a".to_owned() + &".b".repeat(levels - 1);
    let too_deep = "The document path has too many nesting levels; nesting levels: 33";
    assert!(given.projection(&path(32)).is_ok());
    assert_eq!(
        error_of(given.projection(&path(33))),
        format!("Invalid ProjectionExpression: {too_deep}")
    );
    assert_eq!(
        error_of(given.update(&format!("SET {} = :n", path(33)))),
        format!("Invalid UpdateExpression: {too_deep}")
    );
    assert_eq!(
        error_of(given.filter(&format!("x = {}", path(33)))),
        format!("Invalid FilterExpression: {too_deep}")
    );
}

/// A value of this many levels, itself counted.
fn deep(levels: usize) -> AttributeValue {
    (1..levels).fold(AttributeValue::from(1), |value, _| AttributeValue::L(vec![value]))
}

#[test]
fn what_an_update_makes_goes_down_at_most_32_levels() {
    let too_deep = "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit";
    let mut old = item("{m: {}, l: []}");
    old.insert("deep".to_owned(), deep(31));
    let apply = |levels, text: &str| -> Result<Item> {
        Given::default().value(":v", deep(levels)).update(text)?.apply(&old)
    };
    assert!(apply(32, "SET a = :v").is_ok());
    assert!(apply(31, "SET m.a = :v").is_ok());
    assert!(apply(32, "SET l = list_append(l, :v)").is_ok());
    assert!(apply(1, "SET m.a = deep, a = if_not_exists(a, :v)").is_ok());
    assert_eq!(error_of(apply(33, "SET a = :v")), too_deep);
    assert_eq!(error_of(apply(32, "SET m.a = :v")), too_deep);
    assert_eq!(error_of(apply(32, "SET m.a = :v, l[0] = deep")), too_deep);
    assert_eq!(error_of(apply(33, "SET l = list_append(l, :v)")), too_deep);
}

#[test]
fn what_an_update_writes_is_at_most_an_item() {
    let large = "x".repeat(ITEM_BYTES_MAX);
    let given = Given::default().value(":large", large).value(":h", "x".repeat(ITEM_BYTES_MAX / 2));
    let apply = |text: &str| given.update(text)?.apply(&Item::new());
    assert!(apply("SET a = :large").is_ok());
    assert!(apply("SET a = :h, b = :h").is_ok());
    let too_large = "Item size to update has exceeded the maximum allowed size";
    assert_eq!(error_of(apply("SET a = :h, b = :h, c = :h")), too_large);
    let all: Vec<_> = (0..400).map(|i| format!("a{i}=:h")).collect();
    assert_eq!(error_of(apply(&format!("SET {}", all.join(",")))), too_large);
    let list = vec![AttributeValue::Null; ITEM_BYTES_MAX / 3];
    let given = Given::default().value(":l", list);
    let doubled =
        given.update("SET a = list_append(:l, :l)").and_then(|update| update.apply(&Item::new()));
    assert_eq!(error_of(doubled), too_large);
}

#[test]
fn placeholders_are_at_most_255_bytes_and_2_megabytes_together() {
    let long = |bytes: usize| format!("#{}", "x".repeat(bytes - 1));
    let text = "contains invalid key: The expression attribute map contains a key that is too long; size of key: 256";
    let given = Given::default().name(&long(255), "x");
    assert!(Substitutions::new(&given.names, &given.values).is_ok());
    let given = Given::default().name(&long(256), "x");
    assert_eq!(
        error_of(Substitutions::new(&given.names, &given.values).map(|_| ())),
        format!("ExpressionAttributeNames {text}")
    );
    let given = Given::default().value(":a", "x".repeat(SUBSTITUTIONS_BYTES_MAX - 3));
    assert!(Substitutions::new(&given.names, &given.values).is_ok());
    let given = given.name("#n", "x");
    assert_eq!(
        error_of(Substitutions::new(&given.names, &given.values).map(|_| ())),
        "ExpressionAttributeValues exceeds max size"
    );
}

/// Texts that would nest deeply in a parser that recursed.
fn deep_texts() -> Vec<String> {
    let wrap = |open: &str, inner: &str, close: &str| {
        let times = (EXPRESSION_BYTES_MAX - 20 - inner.len()) / (open.len() + close.len());
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let conditions = [
        "(".repeat(EXPRESSION_BYTES_MAX),
        wrap("(", "a<b", ")"),
        wrap("(", "a", ")") + "<b",
        wrap("NOT ", "a<b", ""),
        wrap("NOT(", "a<b", ")"),
        wrap("a<b or(", "a<b", ")"),
        wrap("a<b and (", "a<b", ")"),
        wrap("size(", "a", ")") + "<b",
        "b<".to_owned() + &wrap("f(", "a", ")"),
        "b<".to_owned() + &wrap("(size(", "a", "))"),
        wrap("(", "a", ").b") + "<b",
        wrap("a.", "a", "") + "<b",
        wrap("a<b or(", "", ""),
    ];
    let updates = [
        "SET a=".to_owned() + &"(".repeat(4000),
        "SET a=".to_owned() + &wrap("(", "a", ")"),
        "SET a=".to_owned() + &wrap("if_not_exists(a,", "a", ")"),
        "SET a=".to_owned() + &wrap("list_append(", "a", ",a)"),
        "REMOVE ".to_owned() + &wrap("a[1].", "a", ""),
        wrap("a.", "a", ""),
    ];
    conditions.into_iter().chain(updates).collect()
}

#[test]
fn no_text_needs_a_deep_stack() {
    let run = || {
        let given = Given::default();
        let mut substitutions = given.substitutions();
        let mut right = 0;
        for text in deep_texts() {
            assert!(text.len() <= EXPRESSION_BYTES_MAX, "{}", text.len());
            for kind in [ExpressionKind::Filter, ExpressionKind::KeyCondition] {
                let parsed = Condition::parse(kind, &text, &mut substitutions);
                right += usize::from(parsed.is_ok());
            }
            right += usize::from(Update::parse(&text, &mut substitutions).is_ok());
            right += usize::from(Projection::parse(&text, &mut substitutions).is_ok());
        }
        // The update of many nested if_not_exists is under 300 operators, and right.
        assert_eq!(right, 1);
        // What is nested as deeply as it may be is evaluated, compared, shown and dropped.
        let nested = format!("{}a<b{}", "NOT (a<b OR ".repeat(99), ")".repeat(99));
        let condition = given.filter(&nested).expect("298 operators");
        let _ = condition.holds(&item("{a: 1, b: 0}"));
        assert!(condition == condition.clone() && !format!("{condition:?}").is_empty());
        let nested = format!("SET a = {}z{}", "if_not_exists(b,".repeat(230), ")".repeat(230));
        let update = given.update(&nested).expect("230 operators");
        assert_eq!(update.apply(&item("{z: 1}")).unwrap(), item("{a: 1, z: 1}"));
        assert!(update == update.clone() && !format!("{update:?}").is_empty());
    };
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(run);
    thread.expect("a thread").join().expect("no overflow, and no panic");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of how long something takes reads the clock")]
fn contains_takes_linear_time() {
    // Comparing at every place would take 4 * 10^10 steps, which is seconds even 32 bytes at a time.
    let bytes = vec![0u8; ITEM_BYTES_MAX];
    let mut part = vec![0u8; ITEM_BYTES_MAX / 2];
    *part.last_mut().expect("it is not empty") = 1;
    let given = Given::default().value(":part", bytes::Bytes::from(part));
    let item = Item::from([("a".to_owned(), AttributeValue::B(bytes.into()))]);
    let started = std::time::Instant::now();
    assert!(!given.filter("contains(a, :part)").unwrap().holds(&item));
    assert!(started.elapsed().as_millis() < 1000);
}

#[test]
fn what_is_asked_often_is_answered_once() {
    let numbers: Vec<AttributeValue> = (0..1000).map(AttributeValue::from).collect();
    let strings = (0..1000).map(|n| format!("{n}")).collect();
    let text = "x".repeat(2000);
    let twice = |value: AttributeValue| {
        let mut last = value.clone();
        if let AttributeValue::L(list) = &mut last {
            list.push(AttributeValue::Null);
        }
        Item::from([("a".to_owned(), value), ("b".to_owned(), last)])
    };
    let given = Given::default();
    let others = vec!["b"; 100].join(",");
    let is_in = vec![format!("NOT a IN ({others})"); 19].join(" AND ");
    assert!(is_in.len() <= EXPRESSION_BYTES_MAX);
    let condition = given.filter(&is_in).expect("as long as it may be");
    assert_eq!(condition.holds_after(&twice(AttributeValue::L(numbers))), (true, 1));
    for (value, text) in [
        (AttributeValue::Ss(strings), vec!["a <> b"; 150]),
        (AttributeValue::S(text.clone()), vec!["a <> b"; 150]),
        (AttributeValue::S(text.clone()), vec!["NOT contains(a, b)"; 100]),
        (AttributeValue::B(text.clone().into()), vec!["NOT contains(a, b)"; 100]),
        (AttributeValue::S(text), vec!["size(a) = z"; 100]),
    ] {
        let condition = given.filter(&text.join(" OR ")).expect("under 300 operators");
        assert_eq!(condition.holds_after(&twice(value)), (false, 1));
    }
    // Two sizes are no values that are there: what is found of one is not taken for the other's.
    let item = item("{a: [1], b: [1, 2], c: [1]}");
    assert!(given.filter("size(a) <> size(b) AND size(a) = size(c)").unwrap().holds(&item));
}
