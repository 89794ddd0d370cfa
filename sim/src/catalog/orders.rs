//! Futures in virtual time: a task gives orders and waits for what comes of them; the world polls it when something has come.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use stator_consensus::GroupId;
use stator_model::read::PreparedQuery;
use stator_model::write::PreparedWrite;
use stator_model::{EncodedItem, Item};
use stator_storage::partition::{PartitionSpec, WriteOutcome};

use crate::time::Ns;

/// What a task wants done.
#[derive(Debug)]
pub(crate) enum Order {
    /// A write in a group.
    Write { group: GroupId, write: Box<PreparedWrite> },
    /// A page of the catalog, read strongly.
    Query(Box<PreparedQuery>),
    /// A node is to have this replica.
    Ensure { to: usize, spec: Box<PartitionSpec>, fresh: bool },
    /// A node is to be rid of its replica of a group.
    Remove { at: usize, group: GroupId },
    /// Which of these groups a node serves.
    Served { at: usize, groups: Vec<u64> },
    /// Nothing, for a while.
    Sleep(Ns),
    /// The run fails: something is not as it has to be.
    Complain(String),
}

/// What came of an order.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Written(WriteOutcome),
    Page(Vec<EncodedItem>, Option<Item>),
    Served(Vec<GroupId>),
    /// As ordered.
    Ready,
    /// Surely or perhaps not done.
    Failed(#[allow(dead_code, reason = "read in traces")] String),
}

#[derive(Default)]
struct Shared {
    given: VecDeque<(u64, Order)>,
    /// Orders that something is still to come of: the second word of one is not heard.
    open: BTreeSet<u64>,
    done: BTreeMap<u64, Done>,
    next: u64,
    /// Whether the task is to come to an end.
    is_over: bool,
}

/// A task's way to give orders.
#[derive(Clone, Default)]
pub(crate) struct Orders(Rc<RefCell<Shared>>);

impl Orders {
    /// Gives an order; the future is ready with what came of it.
    pub(crate) fn give(&self, order: Order) -> Waiting {
        let mut shared = self.0.borrow_mut();
        shared.next += 1;
        let number = shared.next;
        shared.given.push_back((number, order));
        shared.open.insert(number);
        Waiting { orders: self.clone(), number }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_over
    }
}

/// An order under way.
pub(crate) struct Waiting {
    orders: Orders,
    number: u64,
}

impl Future for Waiting {
    type Output = Done;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Done> {
        let done = self.orders.0.borrow_mut().done.remove(&self.number);
        done.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Something that runs on a node, or with a caller.
pub(crate) struct Task {
    /// The node, and which of its lives: the task ends with it.
    pub(crate) home: Option<(usize, u64)>,
    orders: Orders,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

impl Task {
    pub(crate) fn new<F: Future<Output = ()> + 'static>(
        home: Option<(usize, u64)>,
        begin: impl FnOnce(Orders) -> F,
    ) -> Self {
        let orders = Orders::default();
        Self { home, future: Box::pin(begin(orders.clone())), orders }
    }

    /// Goes on with what has come, and answers what is to be done next; `None` once it is at its end.
    pub(crate) fn go_on(
        &mut self,
        is_over: bool,
        come: Option<(u64, Done)>,
    ) -> Option<Vec<(u64, Order)>> {
        {
            let mut shared = self.orders.0.borrow_mut();
            shared.is_over = is_over;
            if let Some((number, done)) = come
                && shared.open.remove(&number)
            {
                shared.done.insert(number, done);
            }
        }
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(self.orders.0.borrow_mut().given.drain(..).collect()),
        }
    }
}
