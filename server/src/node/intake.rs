//! How much a node works on at once: so many requests, and so many bytes of them and their answers. What is over is refused at once,
//! with nothing done, instead of waiting in a queue that grows.

use std::sync::Arc;

use stator_model::Request;
use stator_model::api::WriteRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What any request takes, in bytes, besides its items.
const BASE_BYTES: usize = 2 << 10;
/// What a request is taken to take whose answer may hold many items.
const PAGE_BYTES: usize = 256 << 10;
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

impl Intake {
    pub(crate) fn new(requests_max: usize, bytes_max: u64) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES as u64).unwrap_or(u32::MAX).max(1);
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Leave to work on a request, if there is room for it now. One that is larger than all the room there is gets all of it.
    pub(crate) fn admit(&self, request: &Request) -> Option<Leave> {
        let units = u32::try_from(weight(request) / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.units_max);
        Some(Leave {
            _request: self.requests.clone().try_acquire_owned().ok()?,
            _units: self.units.clone().try_acquire_many_owned(units).ok()?,
        })
    }
}

/// About how many bytes a request and its answer take.
fn weight(request: &Request) -> usize {
    let write = |write: &WriteRequest| match write {
        WriteRequest::Put(item) => item.as_bytes().len(),
        WriteRequest::Delete(_) => 0,
    };
    BASE_BYTES
        + match request {
            Request::PutItem(put) => put.item.as_bytes().len(),
            Request::BatchWriteItem(batch) => {
                batch.request_items.values().flatten().map(write).sum()
            }
            Request::Query(_) | Request::Scan(_) | Request::BatchGetItem(_) => PAGE_BYTES,
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use stator_model::api::{PutItem, Query};
    use stator_model::{AttributeValue, EncodedItem, Item};

    use super::*;

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let intake = Intake::new(100, 600 << 10);
        let page = Request::from(Query::default());
        let held: Vec<Leave> = (0..2).map(|_| intake.admit(&page).expect("room")).collect();
        assert!(intake.admit(&page).is_none(), "600 KiB hold two pages");
        drop(held);
        assert!(intake.admit(&page).is_some());
    }

    #[test]
    fn requests_are_counted_too() {
        let intake = Intake::new(1, 1 << 30);
        let page = Request::from(Query::default());
        let held = intake.admit(&page).expect("room");
        assert!(intake.admit(&page).is_none());
        drop(held);
        assert!(intake.admit(&page).is_some());
    }

    #[test]
    fn what_is_larger_than_all_room_gets_all_of_it() {
        let intake = Intake::new(10, 64 << 10);
        let item = Item::from([("a".to_owned(), AttributeValue::from("x".repeat(200_000)))]);
        let put = PutItem { item: EncodedItem::encode(&item), ..PutItem::default() };
        let held = intake.admit(&put.into()).expect("alone it fits");
        assert!(intake.admit(&Request::from(Query::default())).is_none());
        drop(held);
    }
}
