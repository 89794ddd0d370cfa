use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, Item};
use stator_storage::partition::{WriteAnswer, WriteError};

use super::*;
use crate::node::intake::Intake;

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

/// Reads a batch of 100 items of 400 KB each: what was found, and how many were looked at for it.
fn read_large(intake: &Intake) -> (Found, usize) {
    let schema = KeySchema {
        partition: KeyAttribute { name: "id".into(), key_type: KeyType::S },
        sort: None,
    };
    let key = |n: usize| Item::from([("id".to_owned(), AttributeValue::from(n.to_string()))]);
    let wanted = KeysAndAttributes { keys: (0..100).map(key).collect(), ..Default::default() };
    let value = AttributeValue::from("x".repeat(399_000));
    let item = EncodedItem::encode(&Item::from([("value".to_owned(), value)]));
    let looked = std::cell::Cell::new(0);
    let prepared = wanted.prepare(&schema).expect("sound");
    let found = Found::read(&prepared, intake.answer_room(), |_| {
        looked.set(looked.get() + 1);
        Ok(Some(item.clone()))
    });
    (found.expect("read"), looked.get())
}

#[test]
fn a_batch_reads_no_more_than_an_answer_holds() {
    let (found, looked) = read_large(&Intake::new(1, 64 << 20));
    assert!(found.items.len() > 35 && looked == found.items.len() + 1);
    assert_eq!(found.left, Left::From(found.items.len()));
    assert!(!found.is_short);
}

#[test]
fn what_batches_find_has_room_or_is_left() {
    let intake = Intake::new(1, 64 << 20);
    let bytes = |found: &Found| found.items.iter().map(|item| item.as_bytes().len()).sum::<usize>();
    let held: Vec<_> = (0..20).map(|_| read_large(&intake).0).collect();
    let sum: usize = held.iter().map(bytes).sum();
    assert!(sum > 60 << 20 && sum <= 64 << 20, "{sum}");
    let last = held.last().expect("twenty");
    assert!(last.is_short && last.items.is_empty() && last.left == Left::From(0));
    let items =
        vec![EncodedItem::encode(&Item::from([("a".to_owned(), "x".repeat(900_000).into())]))];
    let sent = Found::sent(items.clone(), None, intake.answer_room());
    assert!(sent.is_short && sent.items.is_empty(), "nor is there room for what another sends");
    drop((held, sent));
    let sent = Found::sent(items, None, intake.answer_room());
    assert!(!sent.is_short && sent.items.len() == 1 && sent.left == Left::Keys(Vec::new()));
}
