use stator_storage::partition::{WriteAnswer, WriteError};

use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, Item};

use super::*;

fn refused() -> WriteError {
    WriteError::Refused(Error::new(ErrorKind::Throttling, "no room"))
}

#[test]
fn a_share_of_which_some_is_done_is_never_said_to_be_undone() {
    for failed in [refused(), WriteError::Moved { generation: 2 }] {
        for outcomes in [
            vec![Ok(WriteAnswer::default()), Err(failed.clone())],
            vec![Err(failed.clone()), Ok(WriteAnswer::default())],
        ] {
            let Attempt::Done(Err(error)) = all_done(outcomes) else { panic!("an error") };
            assert_eq!(error.applied(), Applied::Unknown);
        }
    }
}

#[test]
fn a_share_of_which_nothing_is_done_may_be_tried_elsewhere() {
    let moved = all_done(vec![Err(WriteError::Moved { generation: 2 })]);
    assert!(matches!(moved, Attempt::StaleRoute));
    let Attempt::Done(Err(error)) = all_done(vec![Err(refused())]) else { panic!("an error") };
    assert_eq!(error.applied(), Applied::No);
    let done = all_done(vec![Ok(WriteAnswer::default())]);
    assert!(matches!(done, Attempt::Done(Ok(left)) if left.is_empty()));
}

#[test]
fn the_largest_key_is_no_larger_than_what_a_delete_counts() {
    let attribute = |name: &str| KeyAttribute { name: name.into(), key_type: KeyType::B };
    let schema = KeySchema { partition: attribute("a"), sort: Some(attribute("b")) };
    // A zero is what takes two bytes.
    let zeros = |count| AttributeValue::B(vec![0; count].into());
    let key = Item::from([
        ("a".to_owned(), zeros(PARTITION_KEY_BYTES_MAX)),
        ("b".to_owned(), zeros(SORT_KEY_BYTES_MAX)),
    ]);
    let key = Key::of_key_attributes(&schema, &key).expect("as long as it may be");
    assert!(key.bytes().len() <= KEY_BYTES_MAX, "{}", key.bytes().len());
}
