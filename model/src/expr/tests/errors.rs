//! The texts of errors, which programs match on. Each table is `(expression, text)`.

use super::{Given, error_of, schema};
use crate::api::{Names, Values};
use crate::expr::{Condition, ExpressionKind, Substitutions};
use crate::schema::KeyType;
use crate::value::AttributeValue;

fn given() -> Given {
    Given::default()
        .name("#a", "a")
        .name("#odd", "[3]")
        .value(":s", "x")
        .value(":n", 1)
        .value(":b", bytes::Bytes::from_static(b"xy"))
        .value(":bb", bytes::Bytes::from_static(b"x"))
        .value(":bool", true)
        .value(":l", Vec::new())
        .value(":m", super::notation::value("{}"))
        .value(":ss", super::notation::value("<\"a\">"))
        .value(":ns", super::notation::value("<1>"))
}

fn filters(cases: &[(&str, &str)]) {
    for (text, error) in cases {
        assert_eq!(
            error_of(given().filter(text)),
            format!("Invalid FilterExpression: {error}"),
            "{text}"
        );
    }
}

fn updates(cases: &[(&str, &str)]) {
    for (text, error) in cases {
        assert_eq!(
            error_of(given().update(text)),
            format!("Invalid UpdateExpression: {error}"),
            "{text}"
        );
    }
}

fn projections(cases: &[(&str, &str)]) {
    for (text, error) in cases {
        let shown = error_of(given().projection(text));
        assert_eq!(shown, format!("Invalid ProjectionExpression: {error}"), "{text}");
    }
}

#[test]
fn an_expression_is_named_by_its_parameter() {
    let empty = Given::default();
    let text = "The expression can not be empty;";
    for kind in [ExpressionKind::Condition, ExpressionKind::Filter, ExpressionKind::KeyCondition] {
        let error = error_of(Condition::parse(kind, " \t\r\n", &mut empty.substitutions()));
        assert_eq!(error, format!("Invalid {}: {text}", kind.name()));
    }
    assert_eq!(error_of(empty.update("")), format!("Invalid UpdateExpression: {text}"));
    assert_eq!(error_of(empty.projection("")), format!("Invalid ProjectionExpression: {text}"));
    let key = schema(("pk", KeyType::S), None);
    assert_eq!(
        error_of(empty.key_condition("", &key)),
        format!("Invalid KeyConditionExpression: {text}")
    );
}

#[test]
fn syntax_errors_show_the_token_between_its_neighbours() {
    filters(&[
        ("x y z", r#"Syntax error; token: "y", near: "x y z""#),
        ("x", r#"Syntax error; token: "<EOF>", near: "x""#),
        ("x = ", r#"Syntax error; token: "<EOF>", near: "=""#),
        ("= x", r#"Syntax error; token: "=", near: "= x""#),
        ("x = 4", r#"Syntax error; token: "4", near: "= 4""#),
        ("x > \"y\"", r#"Syntax error; token: """, near: "> "y""#),
        ("x != y", r#"Syntax error; token: "!", near: "x !=""#),
        ("über = x", r#"Syntax error; token: "ü", near: "über""#),
        ("x > between", r#"Syntax error; token: "between", near: "> between""#),
        ("x in y", r#"Syntax error; token: "y", near: "in y""#),
        ("x in ()", r#"Syntax error; token: ")", near: "()""#),
        ("x in (y,)", r#"Syntax error; token: ")", near: ",)""#),
        ("x between y or z", r#"Syntax error; token: "or", near: "y or z""#),
        ("(x = y", r#"Syntax error; token: "<EOF>", near: "y""#),
        ("x = y)", r#"Syntax error; token: ")", near: "y)""#),
        ("x = y OR", r#"Syntax error; token: "<EOF>", near: "OR""#),
        ("NOT x", r#"Syntax error; token: "<EOF>", near: "x""#),
        ("(x = y) = z", r#"Syntax error; token: "=", near: ") = z""#),
        ("(x AND y = z)", r#"Syntax error; token: "AND", near: "x AND y""#),
        ("size() > x", r#"Syntax error; token: ")", near: "() >""#),
        ("size(x).y > z", r#"Syntax error; token: ".", near: ").y""#),
        ("(size(x)).y > z", r#"Syntax error; token: ".", near: ").y""#),
        ("z > (size(x))[0]", r#"Syntax error; token: "[", near: ")[0""#),
        ("x.(y.z) = a", r#"Syntax error; token: "(", near: ".(y""#),
        ("x..y = a", r#"Syntax error; token: ".", near: "..y""#),
        ("x[y] = a", r#"Syntax error; token: "y", near: "[y]""#),
        ("x[#a] = a", r##"Syntax error; token: "#a", near: "[#a]""##),
        ("x[4.5] = a", r#"Syntax error; token: ".", near: "4.5""#),
        ("x[01] = a", r#"Syntax error; token: "1", near: "01]""#),
        ("x.:s = a", r#"Syntax error; token: ":s", near: ".:s =""#),
        (":s.x = a", r#"Syntax error; token: ".", near: ":s.x""#),
        ("# = x", r##"Syntax error; token: "#", near: "# =""##),
        ("_x = y", r#"Syntax error; token: "_", near: "_x""#),
        ("attribute_exists(pictures-rear)", r#"Syntax error; token: "-", near: "pictures-rear""#),
    ]);
    updates(&[
        ("INVALID SYNTAX HERE", r#"Syntax error; token: "INVALID", near: "INVALID SYNTAX""#),
        ("SET x", r#"Syntax error; token: "<EOF>", near: "x""#),
        ("SET x y", r#"Syntax error; token: "y", near: "x y""#),
        ("SET x = y + z + w", r#"Syntax error; token: "+", near: "z + w""#),
        ("SET x = y / z", r#"Syntax error; token: "/", near: "y / z""#),
        ("SET x = (y.z).w", r#"Syntax error; token: ".", near: ").w""#),
        ("SET (x = y)", r#"Syntax error; token: "(", near: "SET (x""#),
        ("SET x = (y + z", r#"Syntax error; token: "<EOF>", near: "z""#),
        ("SET x = if_not_exists(y, y + z)", r#"Syntax error; token: "+", near: "y + z""#),
        ("SET :s = x", r#"Syntax error; token: ":s", near: "SET :s =""#),
        ("SET x = SET", r#"Syntax error; token: "SET", near: "= SET""#),
        ("SET x = y,", r#"Syntax error; token: "<EOF>", near: ",""#),
        ("REMOVE x y", r#"Syntax error; token: "y", near: "x y""#),
        ("REMOVE x = y", r#"Syntax error; token: "=", near: "x = y""#),
        ("ADD x y", r#"Syntax error; token: "y", near: "x y""#),
        (
            "DELETE x if_not_exists(y)",
            r#"Syntax error; token: "if_not_exists", near: "x if_not_exists(""#,
        ),
    ]);
    projections(&[
        ("x,", r#"Syntax error; token: "<EOF>", near: ",""#),
        ("x y", r#"Syntax error; token: "y", near: "x y""#),
        ("(x)", r#"Syntax error; token: "(", near: "(x""#),
        (":s", r#"Syntax error; token: ":s", near: ":s""#),
        ("x[]", r#"Syntax error; token: "]", near: "[]""#),
    ]);
}

#[test]
fn parentheses_may_not_be_redundant() {
    let redundant = "The expression has redundant parentheses;";
    for text in [
        "((x = y))",
        "x = y AND ((x = y OR x = z))",
        "NOT ((x = y))",
        "((x)) = y",
        "x = ((y))",
        "x IN (((y)))",
        "((x.y)).z = w",
        "(((x).y)) = w",
        "((attribute_exists(x)))",
        "((NOT x = y))",
        "begins_with(((x)), y)",
    ] {
        filters(&[(text, redundant)]);
    }
    updates(&[
        ("SET x = ((y))", redundant),
        ("SET x = ((y + z))", redundant),
        ("SET x = ((y)) + z", redundant),
    ]);
    for text in [
        "(x = y)",
        "((x = y) AND (x = z))",
        "((x) = (y))",
        "(NOT (x = y))",
        "(x = y AND (x = z))",
        "((x).y) = z",
        "begins_with((x), (:s))",
        "x IN ((y), z)",
    ] {
        assert!(given().filter(text).is_ok(), "{text}");
    }
    for text in ["SET x = (y)", "SET x = ((y) + (z))", "SET x = (if_not_exists(y, :n)) - (z)"] {
        assert!(given().update(text).is_ok(), "{text}");
    }
}

#[test]
fn words_are_judged_before_placeholders_and_in_order() {
    let misplaced = "The function is not allowed to be used this way in an expression; function:";
    filters(&[
        (":no < abOrT", "Attribute name is a reserved keyword; reserved keyword: abOrT"),
        ("x.y.Name = :no", "Attribute name is a reserved keyword; reserved keyword: Name"),
        ("foo(name) = :no", "Invalid function name; function: foo"),
        ("name = foo(x)", "Attribute name is a reserved keyword; reserved keyword: name"),
        ("Size(x) = :n", "Invalid function name; function: Size"),
        ("x[2147483648] = y", "List index is not within the allowable range; index: [2147483648]"),
        (
            "x[99999999999999] = y",
            "List index is not within the allowable range; index: [99999999999999]",
        ),
        ("size(x)", &format!("{misplaced} size")),
        ("NOT (size(x))", &format!("{misplaced} size")),
        ("attribute_exists(name) > x", &format!("{misplaced} attribute_exists")),
        ("x = contains(y, z)", &format!("{misplaced} contains")),
        ("size(begins_with(x, y)) > z", &format!("{misplaced} begins_with")),
        ("x IN (y, attribute_type(z, :s))", &format!("{misplaced} attribute_type")),
        (
            "list_append(x, y) = z",
            "The function is not allowed in a condition expression; function: list_append",
        ),
        (
            "if_not_exists(x, y)",
            "The function is not allowed in a condition expression; function: if_not_exists",
        ),
    ]);
    updates(&[
        ("SET Status = :no", "Attribute name is a reserved keyword; reserved keyword: Status"),
        ("SET x = foo(y)", "Invalid function name; function: foo"),
        ("SET x = size(y)", "The function is not allowed in an update expression; function: size"),
        ("SET x = list_append(list_append(y, z), :l)", &format!("{misplaced} list_append")),
        (
            "SET x = :no SET y = :n",
            "The \"SET\" section can only be used once in an update expression;",
        ),
        (
            "REMOVE x ADD y :n remove z",
            "The \"REMOVE\" section can only be used once in an update expression;",
        ),
        (
            "SET x = :n SET name = :n",
            "Attribute name is a reserved keyword; reserved keyword: name",
        ),
    ]);
    projections(&[
        ("x, name", "Attribute name is a reserved keyword; reserved keyword: name"),
        ("x[4294967296]", "List index is not within the allowable range; index: [4294967296]"),
    ]);
}

#[test]
fn placeholders_must_be_defined() {
    let name =
        "An expression attribute name used in the document path is not defined; attribute name:";
    let value = "An expression attribute value used in expression is not defined; attribute value:";
    filters(&[
        ("x.#no = :no", &format!("{name} #no")),
        (":no = #no", &format!("{value} :no")),
        ("begins_with(:no, x, y)", &format!("{value} :no")),
        (
            "x = x AND x = :no",
            "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [x]",
        ),
    ]);
    updates(&[
        ("SET #no = :no", &format!("{name} #no")),
        ("SET x = if_not_exists(:no)", &format!("{value} :no")),
        ("SET x = :no1, y = :no2", &format!("{value} :no2")),
        ("ADD x :no", &format!("{value} :no")),
    ]);
    projections(&[("x.#no", &format!("{name} #no"))]);
}

#[test]
fn operands_are_counted_and_typed() {
    let count = "Incorrect number of operands for operator or function; operator or function:";
    let kind = "Incorrect operand type for operator or function; operator or function:";
    let path = "Operator or function requires a document path; operator or function:";
    let distinct = "The first operand must be distinct from the remaining operands for this operator or function; operator:";
    filters(&[
        ("begins_with(x)", &format!("{count} begins_with, number of operands: 1")),
        ("attribute_exists(x, y)", &format!("{count} attribute_exists, number of operands: 2")),
        ("size(x, x) > y", &format!("{count} size, number of operands: 2")),
        ("begins_with(x, :n)", &format!("{kind} begins_with, operand type: N")),
        ("begins_with(:bool, x)", &format!("{kind} begins_with, operand type: BOOL")),
        ("begins_with(x, size(y))", &format!("{kind} begins_with, operand type: N")),
        ("size(size(x)) > y", &format!("{kind} size, operand type: N")),
        ("size(:bool) > y", &format!("{kind} size, operand type: BOOL")),
        ("x < :bool", &format!("{kind} <, operand type: BOOL")),
        (":ss >= x", &format!("{kind} >=, operand type: SS")),
        ("x BETWEEN :l AND :n", &format!("{kind} BETWEEN, operand type: L")),
        ("attribute_type(x, :n)", &format!("{kind} attribute_type, operand type: N")),
        ("attribute_type(x, size(y))", &format!("{kind} attribute_type, operand type: N")),
        (
            "attribute_type(x, y)",
            &format!("{kind} attribute_type, operand type: {{NS,SS,L,BS,N,M,B,BOOL,NULL,S}}"),
        ),
        (
            "attribute_type(x, :s)",
            "Invalid attribute type name found; type: x, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
        ),
        ("attribute_exists(:s)", &format!("{path} attribute_exists")),
        ("attribute_not_exists(size(x))", &format!("{path} attribute_not_exists")),
        ("a = #a", &format!("{distinct} =, first operand: [a]")),
        ("a.b[1].#odd <= a.b[1].#odd", &format!("{distinct} <=, first operand: [a, b, [1], [3]]")),
        ("contains(#a, a)", &format!("{distinct} contains, first operand: [a]")),
        ("x IN (y, x)", &format!("{distinct} IN, first operand: [x]")),
        ("x BETWEEN y AND x", &format!("{distinct} BETWEEN, first operand: [x]")),
        (
            "x BETWEEN :s AND :n",
            "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {S:x}, upper bound operand: AttributeValue: {N:1}",
        ),
        (
            "x BETWEEN :b AND :bb",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {B:java.nio.HeapByteBuffer[pos=0 lim=2 cap=2]}, upper bound operand: AttributeValue: {B:java.nio.HeapByteBuffer[pos=0 lim=1 cap=1]}",
        ),
    ]);
    let operand = "Incorrect operand type for operator or function; operator:";
    updates(&[
        ("SET x = if_not_exists(y)", &format!("{count} if_not_exists, number of operands: 1")),
        ("SET x = list_append(:l, y, z)", &format!("{count} list_append, number of operands: 3")),
        ("SET x = if_not_exists(:n, y)", &format!("{path} if_not_exists")),
        ("SET x = if_not_exists(if_not_exists(x, y), y)", &format!("{path} if_not_exists")),
        ("SET x = list_append(x, :n)", &format!("{kind} list_append, operand type: N")),
        ("SET x = y + :s", &format!("{kind} +, operand type: S")),
        ("SET x = :ss - y", &format!("{kind} -, operand type: SS")),
        ("SET x = list_append(x, :l) + :n", &format!("{kind} +, operand type: L")),
        (
            "ADD x :s",
            &format!("{operand} ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND"),
        ),
        (
            "ADD x :l",
            &format!("{operand} ADD, operand type: LIST, typeSet: ALLOWED_FOR_ADD_OPERAND"),
        ),
        (
            "DELETE x :n",
            &format!("{operand} DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND"),
        ),
        (
            "DELETE x :bool",
            &format!(
                "{operand} DELETE, operand type: BOOLEAN, typeSet: ALLOWED_FOR_DELETE_OPERAND"
            ),
        ),
        // The last action is judged first.
        (
            "SET x = list_append(x, :n) ADD y :m",
            &format!("{operand} ADD, operand type: MAP, typeSet: ALLOWED_FOR_ADD_OPERAND"),
        ),
    ]);
}

#[test]
fn paths_of_an_update_must_not_clash() {
    let overlap = |one, two| {
        format!(
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: {one}, path two: {two}"
        )
    };
    let conflict = |one, two| {
        format!(
            "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: {one}, path two: {two}"
        )
    };
    updates(&[
        ("SET a = :n, a.b = :n", &overlap("[a]", "[a, b]")),
        ("SET a.b = :n REMOVE #a", &overlap("[a, b]", "[a]")),
        ("SET x = :n, y = :n, x = :n", &overlap("[x]", "[x]")),
        ("SET a[3].#odd = b, a[3] = b", &overlap("[a, [3], [3]]", "[a, [3]]")),
        ("REMOVE a.#odd SET a[3] = :n", &conflict("[a, [3]]", "[a, [3]]")),
        ("REMOVE a.b SET a[1] = :no", &conflict("[a, b]", "[a, [1]]")),
        // An overlap is told first.
        ("SET x[1] = :n, x.y = :n, z.a = :n, z = :n", &overlap("[z, a]", "[z]")),
    ]);
    for text in ["SET a.b = :n, a.c = :n, ab = :n", "SET x[1] = :n REMOVE x[2], y[1].z, y[2]"] {
        assert!(given().update(text).is_ok(), "{text}");
    }
}

#[test]
fn placeholders_are_spelt_right_and_all_used() {
    let new = |names: &[(&str, &str)], values: &[&str]| {
        let names: Names =
            names.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect();
        let values: Values =
            values.iter().map(|key| ((*key).to_owned(), AttributeValue::Null)).collect();
        error_of(Substitutions::new(&names, &values).map(|_| ()))
    };
    let syntax = "contains invalid key: Syntax error; key:";
    for key in ["a", "#", "", ":a", "#a-b", "#ü", "# a"] {
        assert_eq!(new(&[(key, "x")], &[]), format!("ExpressionAttributeNames {syntax} \"{key}\""));
    }
    for key in ["a", ":", "#a", ":a.b"] {
        assert_eq!(new(&[], &[key]), format!("ExpressionAttributeValues {syntax} \"{key}\""));
    }
    assert_eq!(
        new(&[("#a", "")], &[]),
        "ExpressionAttributeNames contains invalid value: Empty attribute name for key #a"
    );
    let given = given();
    let mut substitutions = given.substitutions();
    Condition::parse(ExpressionKind::Filter, "#a = :s AND #a > :n", &mut substitutions).unwrap();
    assert_eq!(
        error_of(substitutions.finish()),
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#odd}"
    );
    let given = Given::default().value(":s", "x").value(":t", "y").value(":u", "z");
    let mut substitutions = given.substitutions();
    Condition::parse(ExpressionKind::Filter, "x = :t", &mut substitutions).unwrap();
    assert_eq!(
        error_of(substitutions.finish()),
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:s, :u}"
    );
    let mut substitutions = given.substitutions();
    for text in ["x = :t", "x = :s", "x IN (:u, :t)"] {
        Condition::parse(ExpressionKind::Filter, text, &mut substitutions).unwrap();
    }
    substitutions.finish().unwrap();
}
