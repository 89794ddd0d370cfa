//! Batches over a scripted transport.

use std::sync::Arc;

use stator_model::api::BatchGetItemAnswer;
use stator_model::{Answer, Request};

use super::*;
use crate::client::tests::{Script, Step, item};

fn number(write: &WriteRequest) -> i64 {
    let WriteRequest::Delete(key) = write else { panic!("{write:?}") };
    key["p"].as_n().unwrap().to_i64().unwrap()
}

fn key(number: usize) -> Item {
    item(&[("p", i32::try_from(number).unwrap())])
}

fn deletes(numbers: impl IntoIterator<Item = usize>) -> Vec<WriteRequest> {
    numbers.into_iter().map(key).map(delete).collect()
}

fn left_over(numbers: impl IntoIterator<Item = usize>) -> Step {
    let left = deletes(numbers);
    let tables = (!left.is_empty()).then(|| ("t".to_owned(), left));
    let answer = BatchWriteItemAnswer { unprocessed_items: tables.into_iter().collect() };
    Step::Answer(Answer::BatchWriteItem(answer))
}

fn batches(script: &Script) -> Vec<Vec<i64>> {
    let numbers = |request| match request {
        Request::BatchWriteItem(batch) => batch.request_items["t"].iter().map(number).collect(),
        other => panic!("{other:?}"),
    };
    script.requests().into_iter().map(numbers).collect()
}

#[tokio::test(start_paused = true)]
async fn all_is_written_in_order_and_what_is_left_over_goes_first() {
    let script = Script::new([left_over([3, 7]), left_over([7]), left_over([]), left_over([])]);
    let client = Client::new(Arc::clone(&script));
    // One of the second batch has been in the first one.
    let writes = (0..25).chain([7]).chain(26..40);
    let left = client.write_all("t", deletes(writes)).await.unwrap();
    assert!(left.is_empty());
    let second = [7].into_iter().chain(26..40).collect::<Vec<_>>();
    assert_eq!(batches(&script), [(0..25).collect(), vec![3, 7], vec![7], second]);
}

#[tokio::test(start_paused = true)]
async fn writing_ends_when_nothing_gets_done_any_more() {
    let script = Script::new((0..100).map(|_| left_over(0..3)));
    let client = Client::new(Arc::clone(&script));
    let left = client.write_all("t", deletes(0..3)).await.unwrap();
    assert_eq!(left.len(), 3);
    assert_eq!(script.requests().len(), 10, "as often as the policy allows");
}

#[tokio::test(start_paused = true)]
async fn slow_progress_is_progress() {
    let script = Script::new((1..=20).map(|done| left_over(done..20)));
    let client = Client::new(script);
    assert!(client.write_all("t", deletes(0..20)).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_ends_it() {
    let error = stator_model::Error::uncertain("scripted");
    let script = Script::new([left_over([]), Step::Fail(error)]);
    let client = Client::new(Arc::clone(&script));
    assert!(client.write_all("t", deletes(0..60)).await.unwrap_err().is_uncertain());
    assert_eq!(script.requests().len(), 2);
}

fn read(found: std::ops::Range<usize>, left: std::ops::Range<usize>) -> Step {
    let items = found.map(|number| EncodedItem::encode(&key(number))).collect();
    let keys: Vec<_> = left.map(key).collect();
    let wanted = KeysAndAttributes { keys, ..KeysAndAttributes::default() };
    Step::Answer(Answer::BatchGetItem(BatchGetItemAnswer {
        responses: [("t".to_owned(), items)].into(),
        unprocessed_keys: [("t".to_owned(), wanted)].into(),
    }))
}

#[tokio::test(start_paused = true)]
async fn all_is_read() {
    let script = Script::new([read(0..90, 90..100), read(90..100, 0..0), read(100..150, 0..0)]);
    let client = Client::new(Arc::clone(&script));
    let (found, left) = client.get_all("t", (0..150).map(key)).await.unwrap();
    assert_eq!((found.len(), left.len()), (150, 0));
    assert_eq!(script.requests().len(), 3, "what the first left over goes alone");
}
