use stator_model::schema::{KeyAttribute, KeySchema, TableStatus};

use super::*;

/// Whether a table may be deleted, by who is there and what they answer; and what they are told.
fn asked(is_terminal: bool, answer: &str) -> (Result<(), Failure>, String) {
    let partition = KeyAttribute { name: "artist".to_owned(), key_type: KeyType::S };
    let table = TableDescription {
        table_name: "music".to_owned(),
        table_id: 7,
        status: TableStatus::Active,
        key_schema: KeySchema { partition, sort: None },
        partitions: 4,
        created_ms: 0,
        item_count: 61,
        size_bytes: 6100,
        deletion_protection: false,
    };
    let mut told = Vec::new();
    let result = confirm(&table, is_terminal, &mut answer.as_bytes(), &mut told);
    (result, String::from_utf8(told).expect("text"))
}

#[test]
fn who_is_there_is_asked_before_a_table_is_deleted() {
    for yes in ["y\n", "Y\n", "yes\n", " y \r\n", "y"] {
        let (result, told) = asked(true, yes);
        assert!(result.is_ok(), "{yes:?}: {result:?}");
        assert_eq!(told, "Delete the table music and its 61 items? [y/N] ");
    }
    for no in ["n\n", "\n", "", "no\n", "yess\n", "music\n", "n\ny\n"] {
        let (result, told) = asked(true, no);
        let failure = result.expect_err(no);
        assert_eq!((failure.code(), failure.to_string().as_str()), (1, ""), "{no:?}");
        assert!(told.ends_with("[y/N] nothing was deleted\n"), "{no:?}: {told}");
    }
}

#[test]
fn a_table_is_not_deleted_when_nobody_can_be_asked() {
    let (result, told) = asked(false, "y\n");
    let failure = result.expect_err("refused");
    assert_eq!(failure.code(), 2);
    assert!(failure.to_string().contains("give --yes"), "{failure}");
    assert_eq!(told, "", "a question that nobody reads");
}
