//! Who may have a connection: so many clients, and apart from them so many nodes, that no flood of clients cuts the cluster.
//!
//! All come by one port, and what a connection is for only its first call tells. Until then it waits in the lobby, where there is
//! room for a few hundred: when it is full the one that has waited longest is cut off, so that whoever speaks at once gets in however
//! many come who say nothing. A client beyond the bound is told so by its first call, and stays in the lobby.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answers::{self, Answers};
use super::budget::Budget;
use crate::metrics::Metrics;

/// Connections of other nodes: each has one for messages, one for calls and one for each snapshot.
const PEERS_MAX: usize = 128;
/// Connections that have not said yet what they are for.
const WAITING_MAX: usize = 256;
/// How long one may take to say it.
const WAITING_TIME: Duration = Duration::from_secs(10);

/// Streams of pages of one connection at once: whoever begins them and reads none leaves most of all that there may be to others.
const PAGE_STREAMS_MAX: usize = 64;
/// Streams of one connection at once of the services that gRPC has for everybody: a client watches a service or two, and may begin
/// again before its former stream is gone.
const STANDARD_STREAMS_MAX: usize = 4;

/// The lobby of a node.
pub(super) struct Lobby {
    clients: Arc<Semaphore>,
    peers: Arc<Semaphore>,
    /// In the order in which they came. Some may be in, or gone, by now.
    waiting: Mutex<VecDeque<Weak<Guest>>>,
    answers: Arc<answers::Whole>,
    metrics: Arc<Metrics>,
}

/// A connection.
pub(super) struct Guest {
    lobby: Arc<Lobby>,
    came: Instant,
    place: Mutex<Option<Place>>,
    cut: AtomicBool,
    /// Wakes who reads from the connection and writes to it, once it is cut off: one task.
    driver: AtomicWaker,
    /// What it may have being read.
    pub(super) budget: Arc<Budget>,
    /// Its answers that wait for it to read them.
    pub(super) answers: Arc<Answers>,
    /// The leave for its streams of pages.
    pub(super) page_streams: Arc<Semaphore>,
    /// The leave for its streams of reflection and of health.
    pub(super) standard_streams: Arc<Semaphore>,
}

/// What a connection is for, and the leave to have it.
enum Place {
    Client { _leave: OwnedSemaphorePermit },
    Peer { _leave: OwnedSemaphorePermit },
}

impl Lobby {
    pub(super) fn new(
        clients_max: usize,
        metrics: Arc<Metrics>,
        answers: Arc<answers::Whole>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clients: Arc::new(Semaphore::new(clients_max)),
            peers: Arc::new(Semaphore::new(PEERS_MAX)),
            waiting: Mutex::default(),
            answers,
            metrics,
        })
    }

    /// A connection comes in. If there is no room for it, the one that has waited longest goes.
    pub(super) fn enter(self: &Arc<Self>, budget: Budget) -> Arc<Guest> {
        let guest = Arc::new(Guest {
            lobby: self.clone(),
            came: Instant::now(),
            place: Mutex::new(None),
            cut: AtomicBool::new(false),
            driver: AtomicWaker::new(),
            budget: Arc::new(budget),
            answers: Answers::of_connection(&self.answers),
            page_streams: Arc::new(Semaphore::new(PAGE_STREAMS_MAX)),
            standard_streams: Arc::new(Semaphore::new(STANDARD_STREAMS_MAX)),
        });
        self.answers.enter(&guest);
        self.metrics.connection_opened();
        let mut waiting = self.lock();
        waiting.retain(|guest| guest.upgrade().is_some_and(|guest| guest.waits()));
        if waiting.len() >= WAITING_MAX
            && let Some(longest) = waiting.pop_front().and_then(|guest| guest.upgrade())
        {
            longest.cut_off();
        }
        waiting.push_back(Arc::downgrade(&guest));
        guest
    }

    /// Cuts off who has waited for too long, and who does not read its answers.
    pub(super) fn sweep(&self) {
        self.answers.sweep();
        let mut waiting = self.lock();
        while let Some(next) = waiting.front() {
            match next.upgrade().filter(|guest| guest.waits()) {
                Some(guest) if guest.came.elapsed() < WAITING_TIME => return,
                Some(guest) => guest.cut_off(),
                None => {}
            }
            waiting.pop_front();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Guest>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// The connection is a client's: whether there is room for it.
    pub(super) fn is_client(&self) -> bool {
        self.takes(&self.lobby.clients, |leave| Place::Client { _leave: leave })
    }

    /// The connection is another node's: whether there is room for it. One that was taken for a client's is that no more, and waits
    /// again if there is none.
    pub(super) fn is_peer(self: &Arc<Self>) -> bool {
        let mut place = self.lock();
        let was_client = matches!(*place, Some(Place::Client { .. }));
        if was_client {
            *place = None;
        }
        drop(place);
        let has_room = self.takes(&self.lobby.peers, |leave| Place::Peer { _leave: leave });
        if was_client && !has_room {
            self.lobby.lock().push_back(Arc::downgrade(self));
        }
        has_room
    }

    fn takes(
        &self,
        room: &Arc<Semaphore>,
        place: impl FnOnce(OwnedSemaphorePermit) -> Place,
    ) -> bool {
        let mut own = self.lock();
        if own.is_none() {
            *own = room.clone().try_acquire_owned().ok().map(place);
        }
        own.is_some()
    }

    fn waits(&self) -> bool {
        self.lock().is_none() && !self.cut.load(Ordering::Acquire)
    }

    pub(super) fn cut_off(&self) {
        self.cut.store(true, Ordering::Release);
        self.driver.wake();
    }

    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ready once the connection is cut off.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.cut.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.driver.register(cx.waker());
        if self.cut.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("came", &self.came).finish_non_exhaustive()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.metrics.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Whole;
    use super::*;

    fn lobby(clients_max: usize) -> Arc<Lobby> {
        let metrics = Arc::new(Metrics::new(1, 0));
        let answers = answers::Whole::new(0, metrics.clone());
        Lobby::new(clients_max, metrics, answers)
    }

    fn enter(lobby: &Arc<Lobby>) -> Arc<Guest> {
        lobby.enter(Budget::of_connection(&Whole::new(0, lobby.metrics.clone())))
    }

    #[test]
    fn clients_do_not_take_the_places_of_nodes() {
        let lobby = lobby(2);
        let clients: Vec<_> = (0..3).map(|_| enter(&lobby)).collect();
        assert_eq!([0, 1, 2].map(|n| clients[n].is_client()), [true, true, false]);
        let node = enter(&lobby);
        assert!(node.is_peer());
        drop(clients);
        let late = enter(&lobby);
        assert!(late.is_client(), "places are given back");
        assert!(late.is_peer(), "a health check came first");
        assert!(enter(&lobby).is_client() && enter(&lobby).is_client());
    }

    #[test]
    fn a_client_that_finds_no_room_as_a_node_waits_again() {
        let lobby = lobby(1);
        let peers: Vec<_> = (0..PEERS_MAX).map(|_| enter(&lobby)).collect();
        assert!(peers.iter().all(Guest::is_peer));
        let guest = enter(&lobby);
        assert!(guest.is_client());
        // Whoever comes next takes those from the list that are in.
        let _next = enter(&lobby);
        assert!(!guest.is_peer());
        let silent: Vec<_> = (0..WAITING_MAX).map(|_| enter(&lobby)).collect();
        assert!(guest.cut.load(Ordering::Acquire), "it goes when others come");
        drop(silent);
    }

    #[test]
    fn who_says_nothing_goes_when_others_come() {
        let lobby = lobby(1);
        let client = enter(&lobby);
        assert!(client.is_client());
        let silent: Vec<_> = (0..WAITING_MAX).map(|_| enter(&lobby)).collect();
        assert!(silent.iter().all(|guest| guest.waits()));
        let next = enter(&lobby);
        assert!(!silent[0].waits() && silent[1].waits() && next.waits());
        assert!(!client.cut.load(Ordering::Acquire), "who is in stays");
        let open = || {
            let text = lobby.metrics.encode();
            let line = text.lines().find_map(|line| line.strip_prefix("stator_connections "));
            line.and_then(|count| count.parse().ok())
        };
        assert_eq!(open(), Some(WAITING_MAX + 2));
        drop((client, silent, next));
        assert_eq!(open(), Some(0));
        lobby.sweep();
        assert!(lobby.lock().is_empty());
    }
}
