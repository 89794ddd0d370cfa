//! Both dialects, their borders, and what they refuse.

use proptest::prelude::*;
use serde_json::json;
use stator_model::limits::NESTING_LEVELS_MAX;

use super::*;
use crate::convert::tests::any_item;

fn nested_plain(levels: usize) -> Value {
    (0..levels).fold(Value::from("core"), |inner, _| Value::Array(vec![inner]))
}

fn nested_typed(levels: usize) -> Value {
    (0..levels).fold(json!({"S": "core"}), |inner, _| {
        let map = Map::from_iter([("m".to_owned(), inner)]);
        Value::Object(Map::from_iter([("M".to_owned(), Value::Object(map))]))
    })
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().message().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn dynamodb_json_says_every_item(item in any_item()) {
        let text = item_to_dynamodb_json(&item).to_string();
        let back = item_from_dynamodb_json(&parse(text.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(back, item);
    }

    #[test]
    fn plain_json_comes_to_rest_after_one_turn(item in any_item()) {
        let once = item_to_plain_json(&item).to_string();
        let read = item_from_plain_json(&parse(once.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(item_to_plain_json(&read).to_string(), once);
    }
}

#[test]
fn dynamodb_json_by_example() {
    let text = concat!(
        r#"{"b":{"B":"AAH/"},"bs":{"BS":["AA==","AQ=="]},"l":{"L":[{"BOOL":false},{"NULL":true}]},"#,
        r#""m":{"M":{"x":{"S":""}}},"n":{"N":"-0.5"},"ns":{"NS":["1","2"]},"ss":{"SS":["a","b"]}}"#
    );
    let item = item_from_dynamodb_json(&parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(item["b"], AttributeValue::B(Bytes::from_static(&[0, 1, 255])));
    assert_eq!(item["l"], AttributeValue::L(vec![false.into(), AttributeValue::Null]));
    assert_eq!(item["n"], AttributeValue::N("-0.5".parse().unwrap()));
    assert_eq!(item_to_dynamodb_json(&item).to_string(), text);
}

#[test]
fn plain_json_by_example() {
    let json = json!({
        "b": {"B": "AAH/"}, "bs": {"BS": ["AA=="]}, "ns": {"NS": ["10", "2"]}, "ss": {"SS": ["a"]}, "z": {"NULL": true},
    });
    let item = item_from_dynamodb_json(&json).unwrap();
    let plain = r#"{"b":"AAH/","bs":["AA=="],"ns":[2,10],"ss":["a"],"z":null}"#;
    assert_eq!(item_to_plain_json(&item).to_string(), plain);
}

#[test]
fn numbers_keep_every_digit() {
    for text in ["12345678901234567890123456789012345678", "0.1", "-1", "1e125", "1e-130"] {
        let read = value_from_plain_json(&parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(read, AttributeValue::N(text.parse().unwrap()), "{text}");
        let written = value_to_plain_json(&read);
        assert!(written.is_number(), "{text} is written as {written}");
        assert_eq!(value_from_plain_json(&written).unwrap(), read);
    }
    let too_long = b"123456789012345678901234567890123456789";
    let refused = refusal(value_from_plain_json(&parse(too_long).unwrap()));
    assert_eq!(refused, "Attempting to store more than 38 significant digits in a Number");
}

#[test]
fn depth_is_bounded_where_the_codec_bounds_it() {
    let deepest = NESTING_LEVELS_MAX - 1;
    for (nested, read) in [
        (nested_plain as fn(usize) -> Value, value_from_plain_json as fn(&Value) -> Result<_>),
        (nested_typed, value_from_dynamodb_json),
    ] {
        let value = read(&nested(deepest)).unwrap();
        let item = Item::from([("a".to_owned(), value)]);
        assert_eq!(EncodedItem::encode(&item).decode().unwrap(), item);
        assert!(refusal(read(&nested(deepest + 1))).starts_with("Nesting Levels have exceeded"));
        assert!(refusal(read(&nested(1000))).starts_with("Nesting Levels have exceeded"));
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (json, expected) in [
        (json!({}), "Supplied AttributeValue is empty, must contain exactly one"),
        (json!({"X": "?"}), "Supplied AttributeValue is empty, must contain exactly one"),
        (json!({"S": "a", "N": "1"}), "Supplied AttributeValue has more than one datatypes set"),
        (json!({"N": 1}), "Expected a string, found a number"),
        (json!({"N": "one"}), "The parameter cannot be converted to a numeric value: one"),
        (json!({"NULL": false}), "One or more parameter values were invalid: Null attribute"),
        (json!({"SS": []}), "One or more parameter values were invalid: An string set"),
        (json!({"SS": ["a", "a"]}), "One or more parameter values were invalid: Input collection"),
        (json!({"NS": ["1", "1.0"]}), "Input collection contains duplicates"),
        (json!({"B": "?"}), "A binary is not base64"),
        (json!({"L": {}}), "Expected an array, found an object"),
        (json!([]), "Expected an object, found an array"),
    ] {
        let refused = refusal(value_from_dynamodb_json(&json));
        assert!(refused.starts_with(expected), "{json}: {refused}");
    }
    assert_eq!(refusal(item_from_plain_json(&json!([]))), "Expected an object, found an array");
    assert!(refusal(parse(b"{")).starts_with("Not JSON: "));
}

#[test]
fn a_key_twice_is_refused_by_name_wherever_it_is() {
    for (text, key) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"a":{"b":[1.5,{"c":null,"c":true}]}}"#, "c"),
        (r#"{"":"x","":"y"}"#, ""),
        // The same key, written in two ways.
        (r#"{"a":1,"\u0061":2}"#, "a"),
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        let told = format!("the key {key:?} is there twice");
        assert!(error.message().contains(&told), "{error}");
    }
    for text in [r#"{"a":{"a":1},"b":{"a":1e+100}}"#, "[]", "-1.50", "[true,null,\"x\"]"] {
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }
}
