//! The exact texts of what is refused, operation by operation.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::*;
use crate::error::ErrorKind;
use crate::schema::{KeyAttribute, KeySchema, KeyType};
use crate::value::AttributeValue;

fn refused(request: impl Into<Request>, text: &str) {
    let request = request.into();
    let error = request.validate().expect_err(text);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Validation, text), "{request:?}");
}

fn taken(request: impl Into<Request>) {
    let request = request.into();
    assert_eq!(request.validate(), Ok(()), "{request:?}");
}

fn table() -> String {
    "tab".to_owned()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn names() -> Names {
    Names::from([("#a".to_owned(), "a".to_owned())])
}

fn values() -> Values {
    Values::from([(":a".to_owned(), AttributeValue::from(1))])
}

fn violation(value: &str, path: &str, constraint: &str) -> String {
    format!("Value '{value}' at '{path}' failed to satisfy constraint: Member must {constraint}")
}

fn one(violation: &str) -> String {
    format!("1 validation error detected: {violation}")
}

const PATTERN: &str = "satisfy regular expression pattern: [a-zA-Z0-9_.-]+";

#[test]
fn table_names_are_bounded_in_every_operation() {
    let requests: [fn(String) -> Request; 9] = [
        |table_name| DescribeTable { table_name }.into(),
        |table_name| DeleteTable { table_name }.into(),
        |table_name| UpdateTable { table_name, deletion_protection: Some(true) }.into(),
        |table_name| PutItem { table_name, ..PutItem::default() }.into(),
        |table_name| GetItem { table_name, ..GetItem::default() }.into(),
        |table_name| UpdateItem { table_name, ..UpdateItem::default() }.into(),
        |table_name| DeleteItem { table_name, ..DeleteItem::default() }.into(),
        |table_name| {
            let key_condition_expression = "a = :a".to_owned();
            Query { table_name, key_condition_expression, ..Query::default() }.into()
        },
        |table_name| Scan { table_name, ..Scan::default() }.into(),
    ];
    let long = "a".repeat(256);
    let cases = [
        ("", one(&violation("", "tableName", "have length greater than or equal to 1"))),
        ("ab", one(&violation("ab", "tableName", "have length greater than or equal to 3"))),
        ("bad table!", one(&violation("bad table!", "tableName", PATTERN))),
        ("abé", one(&violation("abé", "tableName", PATTERN))),
        (&long, one(&violation(&long, "tableName", "have length less than or equal to 255"))),
        (
            "a;",
            format!(
                "2 validation errors detected: {}; {}",
                violation("a;", "tableName", PATTERN),
                violation("a;", "tableName", "have length greater than or equal to 3")
            ),
        ),
    ];
    for request in requests {
        for (name, text) in &cases {
            refused(request((*name).to_owned()), text);
        }
        for name in ["abc", "A.b_c-9", &long[1..]] {
            taken(request(name.to_owned()));
        }
    }
}

#[test]
fn what_breaks_a_bound_is_not_shown_without_bound() {
    let name = "é".repeat(100_000);
    let error = DescribeTable { table_name: name }.validate().unwrap_err();
    assert!(error.message().starts_with("2 validation errors detected: Value 'éé"));
    assert!(error.message().len() < 3000);
}

fn create(partition: &str, sort: Option<&str>) -> CreateTable {
    let attribute = |name: &str| KeyAttribute { name: name.to_owned(), key_type: KeyType::S };
    CreateTable {
        table_name: table(),
        key_schema: KeySchema { partition: attribute(partition), sort: sort.map(attribute) },
        partitions: None,
        deletion_protection: false,
    }
}

#[test]
fn create_table() {
    taken(create("pk", None));
    taken(CreateTable { partitions: Some(1024), ..create("pk", Some("sk")) });
    taken(create(&"k".repeat(255), None));
    refused(
        create("pk", Some("pk")),
        "Both the Hash Key and the Range Key element in the KeySchema have the same name",
    );
    let long = "k".repeat(256);
    refused(
        CreateTable {
            partitions: Some(0),
            table_name: "t!t".to_owned(),
            ..create("", Some(&long))
        },
        &format!(
            "4 validation errors detected: {}; {}; {}; {}",
            violation("t!t", "tableName", PATTERN),
            violation(
                "",
                "keySchema.1.member.attributeName",
                "have length greater than or equal to 1"
            ),
            violation(
                &long,
                "keySchema.2.member.attributeName",
                "have length less than or equal to 255"
            ),
            violation("0", "partitions", "have value greater than or equal to 1")
        ),
    );
    refused(
        CreateTable { partitions: Some(1025), ..create("pk", None) },
        &one(&violation("1025", "partitions", "have value less than or equal to 1024")),
    );
}

#[test]
fn list_and_update_table() {
    taken(ListTables::default());
    taken(ListTables { limit: Some(100), exclusive_start_table_name: some("abc") });
    refused(
        ListTables { limit: Some(0), exclusive_start_table_name: some("a") },
        &format!(
            "2 validation errors detected: {}; {}",
            violation("a", "exclusiveStartTableName", "have length greater than or equal to 3"),
            violation("0", "limit", "have value greater than or equal to 1")
        ),
    );
    refused(
        ListTables { limit: Some(101), exclusive_start_table_name: None },
        &one(&violation("101", "limit", "have value less than or equal to 100")),
    );
    refused(
        UpdateTable { table_name: table(), deletion_protection: None },
        "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
         SSESpecification or ReplicaUpdates is required",
    );
}

#[test]
fn placeholders_need_expressions() {
    let unused_names = "ExpressionAttributeNames can only be specified when using expressions";
    let unused = "ExpressionAttributeValues can only be specified when using expressions: ";
    let put = PutItem { table_name: table(), ..PutItem::default() };
    let update = UpdateItem { table_name: table(), ..UpdateItem::default() };
    let delete = DeleteItem { table_name: table(), ..DeleteItem::default() };
    let get = GetItem { table_name: table(), ..GetItem::default() };
    let scan = Scan { table_name: table(), ..Scan::default() };

    refused(PutItem { expression_attribute_names: names(), ..put.clone() }, unused_names);
    refused(UpdateItem { expression_attribute_names: names(), ..update.clone() }, unused_names);
    refused(DeleteItem { expression_attribute_names: names(), ..delete.clone() }, unused_names);
    refused(GetItem { expression_attribute_names: names(), ..get.clone() }, unused_names);
    refused(Scan { expression_attribute_names: names(), ..scan.clone() }, unused_names);

    let condition = format!("{unused}ConditionExpression is null");
    refused(PutItem { expression_attribute_values: values(), ..put.clone() }, &condition);
    refused(DeleteItem { expression_attribute_values: values(), ..delete }, &condition);
    refused(
        UpdateItem { expression_attribute_values: values(), ..update },
        &format!("{unused}UpdateExpression and ConditionExpression are null"),
    );
    refused(
        Scan {
            projection_expression: some("#a"),
            expression_attribute_names: names(),
            expression_attribute_values: values(),
            ..scan
        },
        &format!("{unused}FilterExpression is null"),
    );
    taken(GetItem {
        projection_expression: some("#a"),
        expression_attribute_names: names(),
        ..get
    });
    taken(PutItem {
        condition_expression: some("#a = :a"),
        expression_attribute_names: names(),
        expression_attribute_values: values(),
        ..put
    });
}

#[test]
fn values_are_well_formed() {
    let put = |value| PutItem {
        table_name: table(),
        condition_expression: some("a = :a"),
        expression_attribute_values: Values::from([(":a".to_owned(), value)]),
        ..PutItem::default()
    };
    let nested =
        |depth| (0..depth).fold(AttributeValue::Null, |inner, _| AttributeValue::L(vec![inner]));
    let cases = [
        (
            AttributeValue::Ss(BTreeSet::new()),
            "One or more parameter values were invalid: An string set  may not be empty",
        ),
        (
            AttributeValue::Ns(BTreeSet::new()),
            "One or more parameter values were invalid: An number set  may not be empty",
        ),
        (
            AttributeValue::Bs(BTreeSet::new()),
            "One or more parameter values were invalid: Binary sets should not be empty",
        ),
        (
            AttributeValue::M(BTreeMap::from([(String::new(), AttributeValue::Null)])),
            "One or more parameter values were invalid: An attribute name may not be empty",
        ),
        (
            nested(32),
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit",
        ),
    ];
    for (value, text) in cases {
        let text = format!("ExpressionAttributeValues contains invalid value: {text} for key :a");
        refused(put(value.clone()), &text);
        if value != nested(32) {
            refused(put(AttributeValue::L(vec![value])), &text);
        }
    }
    taken(put(nested(31)));
}

#[test]
fn return_values() {
    for return_values in [ReturnValues::UpdatedOld, ReturnValues::AllNew, ReturnValues::UpdatedNew]
    {
        let text = "Return values set to invalid value";
        refused(PutItem { table_name: table(), return_values, ..PutItem::default() }, text);
        refused(DeleteItem { table_name: table(), return_values, ..DeleteItem::default() }, text);
        taken(UpdateItem { table_name: table(), return_values, ..UpdateItem::default() });
    }
    let return_values = ReturnValues::AllOld;
    taken(PutItem { table_name: table(), return_values, ..PutItem::default() });
    taken(DeleteItem { table_name: table(), return_values, ..DeleteItem::default() });
}

#[test]
fn selections() {
    let cannot = "Cannot specify the ProjectionExpression when choosing to get ";
    let cases = [
        (Select::AllAttributes, true, format!("{cannot}ALL_ATTRIBUTES")),
        (Select::AllProjectedAttributes, true, format!("{cannot}ALL_PROJECTED_ATTRIBUTES")),
        (Select::Count, true, format!("{cannot}only the Count")),
        (
            Select::AllProjectedAttributes,
            false,
            "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName".to_owned(),
        ),
        (
            Select::SpecificAttributes,
            false,
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
                .to_owned(),
        ),
        (Select::SpecificAttributes, true, String::new()),
        (Select::AllAttributes, false, String::new()),
        (Select::Count, false, String::new()),
    ];
    for (select, projection, text) in cases {
        let select = Some(select);
        let projection_expression = projection.then(|| "a".to_owned());
        let query = Query {
            table_name: table(),
            key_condition_expression: "a = :a".to_owned(),
            projection_expression: projection_expression.clone(),
            select,
            ..Query::default()
        };
        let scan = Scan { table_name: table(), projection_expression, select, ..Scan::default() };
        if text.is_empty() {
            taken(query);
            taken(scan);
        } else {
            refused(query, &one(&text));
            refused(scan, &text);
        }
    }
}

#[test]
fn queries_have_a_condition_and_a_positive_limit() {
    refused(
        Query { table_name: table(), ..Query::default() },
        "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
    );
    refused(
        Query { table_name: "tt".to_owned(), limit: Some(0), ..Query::default() },
        &format!(
            "2 validation errors detected: {}; {}",
            violation("tt", "tableName", "have length greater than or equal to 3"),
            violation("0", "limit", "have value greater than or equal to 1")
        ),
    );
}

#[test]
fn segments_come_in_pairs() {
    let scan = |segment, total_segments| Scan {
        table_name: table(),
        segment: Some(Segment { segment, total_segments }),
        ..Scan::default()
    };
    taken(scan(None, None));
    taken(scan(Some(0), Some(1)));
    taken(scan(Some(999_999), Some(1_000_000)));
    let cases = [
        (
            scan(Some(0), None),
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is \
             present"
                .to_owned(),
        ),
        (
            scan(None, Some(1)),
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is \
             present"
                .to_owned(),
        ),
        (
            scan(Some(4), Some(4)),
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 4 is not less \
             than TotalSegments: 4"
                .to_owned(),
        ),
        (scan(Some(0), Some(0)), one(&violation("0", "totalSegments", "have value greater than or equal to 1"))),
        (
            scan(Some(1_000_000), Some(1_000_001)),
            format!(
                "2 validation errors detected: {}; {}",
                violation("1000001", "totalSegments", "have value less than or equal to 1000000"),
                violation("1000000", "segment", "have value less than or equal to 999999")
            ),
        ),
    ];
    for (scan, text) in cases {
        refused(scan, &text);
    }
}

const MAP_KEYS: &str = "Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must \
                        have length greater than or equal to 3, Member must satisfy regular expression pattern: \
                        [a-zA-Z0-9_.-]+]";

#[test]
fn batch_get() {
    let keys = |count: usize| KeysAndAttributes {
        keys: (0..count)
            .map(|i| crate::Item::from([("pk".to_owned(), (i as i64).into())]))
            .collect(),
        ..KeysAndAttributes::default()
    };
    let batch = |tables: &[(&str, KeysAndAttributes)]| BatchGetItem {
        request_items: tables.iter().map(|(name, get)| ((*name).to_owned(), get.clone())).collect(),
    };
    taken(batch(&[("abc", keys(100))]));
    taken(batch(&[("abc", keys(50)), ("abd", keys(50))]));
    refused(
        batch(&[]),
        &one(&violation("{}", "requestItems", "have length greater than or equal to 1")),
    );
    refused(
        batch(&[("abc", keys(101))]),
        &one(&violation(
            "[...]",
            "requestItems.abc.member.keys",
            "have length less than or equal to 100",
        )),
    );
    refused(
        batch(&[("a", keys(0))]),
        &format!(
            "2 validation errors detected: Value '{{a=...}}' at 'requestItems' failed to satisfy constraint: {MAP_KEYS}; {}",
            violation("[]", "requestItems.a.member.keys", "have length greater than or equal to 1")
        ),
    );
    refused(
        batch(&[("abc", keys(100)), ("abd", keys(1))]),
        "Too many items requested for the BatchGetItem call",
    );
    let unused = KeysAndAttributes { expression_attribute_names: names(), ..keys(1) };
    refused(
        batch(&[("abc", unused)]),
        "ExpressionAttributeNames can only be specified when using expressions",
    );
    // More violations than are reported.
    let many: Vec<_> = (0..20).map(|i| format!("t{i}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), keys(0))).collect();
    let error = batch(&many).validate().unwrap_err();
    assert!(error.message().starts_with("10 validation errors detected: "), "{error}");
    assert_eq!(error.message().matches("Value '").count(), 10);
}

#[test]
fn batch_write() {
    let writes = |count: usize| vec![WriteRequest::Put(crate::EncodedItem::default()); count];
    let batch = |tables: &[(&str, usize)]| BatchWriteItem {
        request_items: tables
            .iter()
            .map(|(name, count)| ((*name).to_owned(), writes(*count)))
            .collect(),
    };
    taken(batch(&[("abc", 25)]));
    taken(batch(&[("abc", 12), ("abd", 13)]));
    refused(
        batch(&[]),
        &one(&violation("{}", "requestItems", "have length greater than or equal to 1")),
    );
    let map_value = "Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must \
                     have length greater than or equal to 1]";
    refused(
        batch(&[("abc", 26)]),
        &one(&format!(
            "Value '{{abc=...}}' at 'requestItems' failed to satisfy constraint: {map_value}"
        )),
    );
    refused(
        batch(&[("a", 0)]),
        &format!(
            "2 validation errors detected: Value '{{a=...}}' at 'requestItems' failed to satisfy constraint: {MAP_KEYS}; \
             Value '{{a=...}}' at 'requestItems' failed to satisfy constraint: {map_value}"
        ),
    );
    refused(
        batch(&[("abc", 25), ("abd", 1)]),
        "Too many items requested for the BatchWriteItem call",
    );
}
