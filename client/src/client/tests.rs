//! The client over a scripted transport, with a clock that only moves when everybody waits.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::TryStreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, pending};
use stator_model::api::*;
use stator_model::error::Retry;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableDescription};
use stator_model::{AttributeValue, EncodedItem, Error as ModelError, Item};

use super::*;

/// What the script makes of a call.
pub(crate) enum Step {
    /// It answers this.
    Answer(Answer),
    /// It fails with this.
    Fail(ModelError),
    /// It never answers.
    Hang,
}

/// Answers calls from a script, and keeps them.
#[derive(Default)]
pub(crate) struct Script {
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<(Request, CallOptions)>>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let steps = Mutex::new(steps.into_iter().collect());
        Arc::new(Self { steps, calls: Mutex::default() })
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.calls.lock().unwrap().iter().map(|(request, _)| request.clone()).collect()
    }

    fn options(&self) -> Vec<CallOptions> {
        self.calls.lock().unwrap().iter().map(|(_, options)| options.clone()).collect()
    }
}

impl Transport for Script {
    fn call(
        &self,
        request: Request,
        options: CallOptions,
    ) -> BoxFuture<'_, stator_model::Result<Answer>> {
        self.calls.lock().unwrap().push((request, options));
        let step = self.steps.lock().unwrap().pop_front().expect("the script is at its end");
        match step {
            Step::Answer(answer) => async move { Ok(answer) }.boxed(),
            Step::Fail(error) => async move { Err(error) }.boxed(),
            Step::Hang => pending().boxed(),
        }
    }
}

fn fail(kind: ErrorKind) -> Step {
    Step::Fail(ModelError::new(kind, "scripted"))
}

fn written() -> Step {
    Step::Answer(Answer::PutItem(PutItemAnswer::default()))
}

fn found() -> Step {
    Step::Answer(Answer::GetItem(GetItemAnswer { item: None }))
}

pub(crate) fn item(pairs: &[(&str, i32)]) -> Item {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

async fn put(client: &Client) -> Result<crate::request::item::WriteOutput> {
    client.put_item().table_name("t").item("p", 1).send().await
}

async fn get(client: &Client) -> Result<crate::request::item::GetItemOutput> {
    client.get_item().table_name("t").key("p", 1).send().await
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_applied_is_sent_again_under_one_name() {
    let script =
        Script::new([fail(ErrorKind::Throttling), fail(ErrorKind::Unavailable), written()]);
    put(&Client::new(Arc::clone(&script))).await.unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0]));
    let options = script.options();
    assert_eq!(options[0].request_id, options[2].request_id);
    assert_eq!(options[0].deadline, options[2].deadline);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_take_for_ever() {
    let script = Script::new([found(), written()]);
    let retry = RetryPolicy { read_attempt_timeout: Duration::MAX, ..RetryPolicy::default() };
    let client = Client::builder(Arc::clone(&script)).timeout(Duration::MAX).retry(retry).build();
    get(&client).await.unwrap();
    put(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_write_goes_back_to_the_caller() {
    let script = Script::new([fail(ErrorKind::Uncertain)]);
    let error = put(&Client::new(Arc::clone(&script))).await.unwrap_err();
    assert!(error.is_uncertain());
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_opts_in_has_uncertain_writes_sent_again() {
    for by_request in [false, true] {
        let script = Script::new([fail(ErrorKind::Uncertain), written()]);
        let policy = RetryPolicy::default().with_resend_uncertain_writes(!by_request);
        let client = Client::builder(Arc::clone(&script)).retry(policy).build();
        let mut request = client.put_item().table_name("t").item("p", 1);
        if by_request {
            request = request.resend_uncertain(true);
        }
        request.send().await.unwrap();
        assert_eq!(script.requests().len(), 2);
    }
}

/// The condition may have failed on what the first attempt wrote.
#[tokio::test(start_paused = true)]
async fn a_failure_after_an_uncertain_attempt_stays_uncertain() {
    let script = Script::new([
        fail(ErrorKind::Uncertain),
        Step::Fail(ModelError::conditional_check_failed(None)),
    ]);
    let client = Client::new(Arc::clone(&script));
    let sent = client.put_item().table_name("t").item("p", 1).resend_uncertain(true).send();
    let error = sent.await.unwrap_err();
    assert!(error.is_uncertain() && !error.is_conditional_check_failed());
    assert!(error.message().contains("ConditionalCheckFailedException"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn reads_are_sent_again_whatever_became_of_them() {
    let script = Script::new([fail(ErrorKind::Uncertain), fail(ErrorKind::Unavailable), found()]);
    get(&Client::new(Arc::clone(&script))).await.unwrap();
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final() {
    let script = Script::new([fail(ErrorKind::Validation)]);
    let error = get(&Client::new(script)).await.unwrap_err();
    assert!(error.is_validation() && !error.is_uncertain());
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_costs_a_read_one_attempt() {
    let script = Script::new([Step::Hang, found()]);
    let begun = Instant::now();
    get(&Client::new(Arc::clone(&script))).await.unwrap();
    let policy = RetryPolicy::default();
    let took = begun.elapsed();
    assert!(took >= policy.read_attempt_timeout && took < policy.read_attempt_timeout * 3 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_makes_a_write_uncertain_and_a_read_late_at_the_deadline() {
    let script = Script::new([Step::Hang]);
    let begun = Instant::now();
    let error = put(&Client::new(Arc::clone(&script))).await.unwrap_err();
    assert!(error.is_uncertain());
    assert_eq!(begun.elapsed(), TIMEOUT_DEFAULT + GRACE);
    let deadline = script.options()[0].deadline;
    assert_eq!(Instant::from_std(deadline) - begun, TIMEOUT_DEFAULT);

    let script = Script::new([Step::Hang, Step::Hang, Step::Hang]);
    let client = Client::builder(script).timeout(Duration::from_secs(1)).build();
    let begun = Instant::now();
    let error = get(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(begun.elapsed() <= Duration::from_secs(1) + GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_have_a_timeout_of_its_own() {
    let script = Script::new([Step::Hang]);
    let begun = Instant::now();
    let client = Client::new(script);
    let sent = client.delete_item().table_name("t").key("p", 1).timeout(Duration::from_millis(50));
    assert!(sent.send().await.unwrap_err().is_uncertain());
    assert_eq!(begun.elapsed(), Duration::from_millis(50) + GRACE);
}

#[tokio::test(start_paused = true)]
async fn attempts_come_to_an_end() {
    let steps = (0..10).map(|_| fail(ErrorKind::Unavailable));
    let script = Script::new(steps);
    let error = put(&Client::new(Arc::clone(&script))).await.unwrap_err();
    assert!(error.is_unavailable());
    assert_eq!(script.requests().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn no_pause_outlives_the_deadline() {
    let later = Retry::After(Duration::from_secs(60));
    let throttled = ModelError::new(ErrorKind::Throttling, "scripted").with_retry(later);
    let begun = Instant::now();
    let error = put(&Client::new(Script::new([Step::Fail(throttled)]))).await.unwrap_err();
    assert!(error.is_throttled());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_something_else_is_an_error() {
    let error = put(&Client::new(Script::new([found()]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InternalServerError);
    assert!(error.is_uncertain());
}

fn described(status: TableStatus) -> Step {
    let partition = KeyAttribute { name: "p".to_owned(), key_type: KeyType::S };
    let table = TableDescription {
        table_name: "t".to_owned(),
        table_id: 1,
        status,
        key_schema: KeySchema { partition, sort: None },
        partitions: 4,
        created_ms: 0,
        item_count: 0,
        size_bytes: 0,
        deletion_protection: false,
    };
    Step::Answer(Answer::DescribeTable(DescribeTableAnswer { table }))
}

#[tokio::test(start_paused = true)]
async fn a_table_is_waited_for() {
    let steps = [TableStatus::Creating, TableStatus::Creating, TableStatus::Active].map(described);
    let script = Script::new(steps);
    Client::new(Arc::clone(&script)).wait_until_active("t").await.unwrap();
    assert_eq!(script.requests().len(), 3);

    let script = Script::new((0..1000).map(|_| described(TableStatus::Creating)));
    let error = Client::new(script).wait_until_active("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
}

fn page(number: i32, last: bool) -> Step {
    Step::Answer(Answer::Query(QueryAnswer {
        items: vec![
            EncodedItem::encode(&item(&[("n", number)])),
            EncodedItem::encode(&item(&[("n", number + 1)])),
        ],
        count: 2,
        scanned_count: 2,
        last_evaluated_key: (!last).then(|| item(&[("p", number)])),
    }))
}

#[tokio::test(start_paused = true)]
async fn pages_follow_one_another() {
    let script = Script::new([page(1, false), fail(ErrorKind::Throttling), page(3, true)]);
    let client = Client::new(Arc::clone(&script));
    let query = client.query().table_name("t").key_condition_expression("p = :p");
    let items: Vec<Item> =
        query.into_paginator().page_size(2).items().send().try_collect().await.unwrap();
    assert_eq!(items, [1, 2, 3, 4].map(|n| item(&[("n", n)])));
    let starts: Vec<_> = script
        .requests()
        .into_iter()
        .map(|request| match request {
            Request::Query(query) => (query.limit, query.exclusive_start_key),
            other => panic!("{other:?}"),
        })
        .collect();
    let second = (Some(2), Some(item(&[("p", 1)])));
    assert_eq!(starts, [(Some(2), None), second.clone(), second]);
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_pages() {
    let script = Script::new([page(1, false), fail(ErrorKind::ResourceNotFound)]);
    let client = Client::new(script);
    let mut pages = client.query().table_name("t").into_paginator().send();
    assert_eq!(pages.try_next().await.unwrap().unwrap().count, 2);
    assert!(pages.try_next().await.unwrap_err().is_resource_not_found());
    assert_eq!(pages.try_next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn builders_fill_in_typed_requests() {
    let script = Script::new((0..4).map(|_| fail(ErrorKind::Validation)));
    let client = Client::new(Arc::clone(&script));
    let _ = client
        .update_item()
        .table_name("t")
        .key("p", "a")
        .update_expression("SET #n = :v")
        .condition_expression("#n < :v")
        .expression_attribute_names("#n", "n")
        .expression_attribute_values(":v", 2)
        .return_values(ReturnValues::AllNew)
        .return_old_on_condition_failure(true)
        .send()
        .await;
    let _ = client.get_item().table_name("t").key("p", "a").send().await;
    let _ = client.get_item().table_name("t").key("p", "a").consistent_read(false).send().await;
    let _ = client.scan().table_name("t").segment(1).total_segments(4).limit(9).send().await;
    let key = Item::from([("p".to_owned(), AttributeValue::from("a"))]);
    let get = GetItem { table_name: "t".to_owned(), key: key.clone(), ..GetItem::default() };
    assert_eq!(
        script.requests(),
        [
            Request::UpdateItem(UpdateItem {
                table_name: "t".to_owned(),
                key,
                update_expression: Some("SET #n = :v".to_owned()),
                condition_expression: Some("#n < :v".to_owned()),
                expression_attribute_names: [("#n".to_owned(), "n".to_owned())].into(),
                expression_attribute_values: item(&[(":v", 2)]),
                return_values: ReturnValues::AllNew,
                return_old_on_condition_failure: true,
            }),
            Request::GetItem(GetItem { consistent_read: true, ..get.clone() }),
            Request::GetItem(get),
            Request::Scan(Scan {
                table_name: "t".to_owned(),
                segment: Some(Segment { segment: Some(1), total_segments: Some(4) }),
                limit: Some(9),
                consistent_read: true,
                ..Scan::default()
            }),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_table_needs_a_key() {
    let client = Client::new(Script::new([]));
    let error = client.create_table().table_name("t").send().await.unwrap_err();
    assert!(error.is_validation());
}

/// Fails after a while, and counts how often it did.
struct Slow(Mutex<u32>);

impl Transport for Slow {
    fn call(
        &self,
        _: Request,
        options: CallOptions,
    ) -> BoxFuture<'_, stator_model::Result<Answer>> {
        *self.0.lock().unwrap() += 1;
        let late = options.deadline <= Instant::now().into_std();
        async move {
            let text = if late { "late" } else { "node 2 does not lead" };
            Err(ModelError::new(ErrorKind::Unavailable, text).with_retry(Retry::Elsewhere))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_its_time_a_call_tells_what_it_met_and_not_that_it_is_late() {
    for milliseconds in 1..40 {
        let timeout = Duration::from_millis(milliseconds);
        let mut policy = RetryPolicy::default().with_attempts_max(u32::MAX);
        policy.pause_max = Duration::from_millis(7);
        let client = Client::builder(Slow(Mutex::new(0))).retry(policy).timeout(timeout).build();
        let error = client.get_item().table_name("t").key("p", "a").send().await.unwrap_err();
        assert_eq!(error.message(), "node 2 does not lead");
        assert!(error.is_unavailable() && !error.is_unreachable());
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_came_too_late_to_reach_a_node_hides_nothing() {
    let late = ModelError::new(
        ErrorKind::DeadlineExceeded,
        format!("{} in the time given", crate::error::UNREACHED),
    );
    for (before, told) in [(Some(ErrorKind::Unavailable), "scripted"), (None, late.message())] {
        let mut script: Vec<Step> = before.into_iter().map(fail).collect();
        script.push(Step::Fail(late.clone()));
        let policy = RetryPolicy::default().with_attempts_max(script.len() as u32);
        let client = Client::builder(Script::new(script)).retry(policy).build();
        let error = get(&client).await.unwrap_err();
        assert_eq!(error.message(), told);
        assert_eq!(error.is_unreachable(), before.is_none());
    }
}
