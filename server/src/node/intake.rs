//! How much a node works on at once: so many requests, and so many bytes of them and their answers. What is over is refused at once,
//! with nothing done, instead of waiting in a queue that grows.

use std::sync::Arc;

use stator_model::Request;
use stator_model::api::{Values, WriteRequest};
use stator_model::size::value_size;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What any request takes, in bytes, besides its items.
pub(crate) const BASE_BYTES: usize = 2 << 10;
/// What a request is taken to take whose answer may hold many items: some hundreds of clients that read small pages find room on a
/// small node. What a page may hold besides is bounded where it is read, in `serve::pages`.
const PAGE_BYTES: usize = 128 << 10;
/// The bound is counted in units of so many bytes.
const UNIT_BYTES: usize = 1 << 10;

/// The bounds.
#[derive(Debug)]
pub(crate) struct Intake {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
    units_max: u32,
}

/// Leave to work on a request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Leave {
    _request: OwnedSemaphorePermit,
    _units: OwnedSemaphorePermit,
}

/// Room that is taken piece by piece, as it turns out what an answer comes to; given back when dropped.
#[derive(Debug)]
pub(crate) struct AnswerRoom {
    units: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    /// What is left of the last unit.
    left: usize,
}

impl AnswerRoom {
    /// Whether there was room for so many bytes more.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let units = bytes.saturating_sub(self.left).div_ceil(UNIT_BYTES);
        let count = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(more) = self.units.clone().try_acquire_many_owned(count) else { return false };
        self.left = self.left + units * UNIT_BYTES - bytes;
        match &mut self.held {
            Some(held) => held.merge(more),
            held @ None => *held = Some(more),
        }
        true
    }
}

impl Intake {
    pub(crate) fn new(requests_max: usize, bytes_max: u64) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES as u64).unwrap_or(u32::MAX).max(1);
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Leave to work on a request whose message has so many bytes, if there is room for it now. One that is larger than half the
    /// room gets half of it, so that it does not have to find the node without any other.
    pub(crate) fn admit(&self, request: &Request, bytes: usize) -> Option<Leave> {
        self.admit_bytes(weight(request, bytes))
    }

    /// The same for a call that is no operation, and takes so many bytes with its answer.
    pub(crate) fn admit_bytes(&self, bytes: usize) -> Option<Leave> {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = units.clamp(1, (self.units_max / 2).max(1));
        Some(Leave {
            _request: self.requests.clone().try_acquire_owned().ok()?,
            _units: self.units.clone().try_acquire_many_owned(units).ok()?,
        })
    }

    /// Room for an answer of which nothing is there yet.
    pub(crate) fn answer_room(&self) -> AnswerRoom {
        AnswerRoom { units: self.units.clone(), held: None, left: 0 }
    }
}

/// About how many bytes a request and its answer take, whose message has so many.
const fn weight(request: &Request, bytes: usize) -> usize {
    let more = match request {
        // The values in its expressions are there twice, in the request and in what the leader judges.
        Request::UpdateItem(_) | Request::DeleteItem(_) => bytes,
        // What a batch finds takes room as it is found; and an item that a write answers does with its entry, where it is judged.
        Request::Query(_) | Request::Scan(_) => PAGE_BYTES,
        _ => 0,
    };
    bytes.saturating_add(more).saturating_add(BASE_BYTES)
}

/// About how many bytes the message of a request would have that came in none: what may be large of it.
pub(crate) fn bytes_of(request: &Request) -> usize {
    let values = |values: &Values| values.values().map(value_size).sum::<usize>();
    let write = |write: &WriteRequest| match write {
        WriteRequest::Put(item) => item.as_bytes().len(),
        WriteRequest::Delete(_) => 0,
    };
    match request {
        Request::PutItem(put) => {
            put.item.as_bytes().len() + values(&put.expression_attribute_values)
        }
        Request::UpdateItem(update) => values(&update.expression_attribute_values),
        Request::DeleteItem(delete) => values(&delete.expression_attribute_values),
        Request::Query(query) => values(&query.expression_attribute_values),
        Request::Scan(scan) => values(&scan.expression_attribute_values),
        Request::BatchWriteItem(batch) => batch.request_items.values().flatten().map(write).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use stator_model::api::{BatchWriteItem, DeleteItem, PutItem, Query, ReturnValues, UpdateItem};
    use stator_model::{AttributeValue, EncodedItem, Item};

    use super::*;

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let intake = Intake::new(100, 600 << 10);
        let page = Request::from(Query::default());
        let held: Vec<Leave> = (0..4).map(|_| intake.admit(&page, 0).expect("room")).collect();
        assert!(intake.admit(&page, 0).is_none(), "600 KiB hold four pages");
        drop(held);
        assert!(intake.admit(&page, 0).is_some());
    }

    #[test]
    fn hundreds_of_clients_find_room_on_a_small_node() {
        let plan = crate::config::NodeConfig::default().memory_plan();
        let intake = Intake::new(4096, plan.in_flight_requests);
        let requests = [
            Query::default().into(),
            DeleteItem { return_values: ReturnValues::AllOld, ..DeleteItem::default() }.into(),
        ];
        for request in requests {
            let held: Vec<Leave> = (0..256).map_while(|_| intake.admit(&request, 100)).collect();
            assert_eq!(held.len(), 256);
        }
    }

    #[test]
    fn requests_are_counted_too() {
        let intake = Intake::new(1, 1 << 30);
        let page = Request::from(Query::default());
        let held = intake.admit(&page, 0).expect("room");
        assert!(intake.admit(&page, 0).is_none());
        drop(held);
        assert!(intake.admit(&page, 0).is_some());
    }

    #[test]
    fn every_request_weighs_what_its_message_does() {
        let value = AttributeValue::from("x".repeat(400_000));
        let values = Values::from([(":d".to_owned(), value.clone())]);
        let key = Item::from([("id".to_owned(), AttributeValue::from("a"))]);
        let requests = [
            UpdateItem {
                key: key.clone(),
                expression_attribute_values: values.clone(),
                ..UpdateItem::default()
            }
            .into(),
            DeleteItem { key, expression_attribute_values: values, ..DeleteItem::default() }.into(),
            PutItem {
                item: EncodedItem::encode(&Item::from([("a".to_owned(), value)])),
                ..PutItem::default()
            }
            .into(),
        ];
        for request in requests {
            let bytes = bytes_of(&request);
            assert!(bytes >= 400_000);
            let intake = Intake::new(1000, 64 << 20);
            let held: Vec<Leave> = (0..1000).map_while(|_| intake.admit(&request, bytes)).collect();
            assert!(held.len() >= 50 && held.len() <= 170, "{}", held.len());
        }
    }

    #[test]
    fn what_is_larger_than_half_the_room_gets_half_of_it() {
        let intake = Intake::new(10, 64 << 10);
        let (small, batch) =
            (Request::from(PutItem::default()), Request::from(BatchWriteItem::default()));
        let other = intake.admit(&small, 0).expect("room");
        let held = intake.admit(&batch, 16 << 20).expect("others do not keep it out");
        assert!(intake.admit(&batch, 16 << 20).is_none(), "but its like does");
        assert!(intake.admit(&small, 0).is_some());
        drop((other, held));
        assert!(intake.admit(&batch, 16 << 20).is_some());
    }
}
