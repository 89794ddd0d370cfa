//! What waits to go to one node: bounded, with places of its own for what keeps leaders (R9).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stator_consensus::{Class, PeerMessage};
use tokio::sync::Notify;

/// Bytes of entries that are enough for one frame.
const FRAME_BYTES: usize = 1 << 20;
/// Heartbeats, votes and the like that may wait.
const CONTROL_MAX: usize = 16 * 1024;

/// Bytes of entries that wait, for all nodes together.
#[derive(Debug)]
pub(crate) struct Pool {
    held: AtomicUsize,
    max: usize,
}

impl Pool {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits to be sent.
    Waits,
    /// There is no connection.
    Closed,
    /// There is no room for it.
    Full,
}

/// Messages to one node.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Notify,
    pool: Arc<Pool>,
}

#[derive(Debug, Default)]
struct Waiting {
    open: bool,
    ping: bool,
    control: Vec<PeerMessage>,
    entries: VecDeque<PeerMessage>,
    entry_bytes: usize,
}

impl Queue {
    /// A queue that has room for one frame always, and for more while all have less than there is for them: itself no more than half.
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { waiting: Mutex::default(), bell: Notify::new(), pool: pool.clone() }
    }

    fn has_room(&self, entry_bytes: usize) -> bool {
        let (held, max) = (self.pool.held.load(Ordering::Relaxed), self.pool.max);
        entry_bytes < FRAME_BYTES || (held < max && entry_bytes < max / 2)
    }

    /// Takes a message, if there is a connection and room.
    pub(crate) fn push(&self, message: PeerMessage) -> Pushed {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.open {
            return Pushed::Closed;
        }
        match message.class {
            Class::Control | Class::Rest if waiting.control.len() < CONTROL_MAX => {
                waiting.control.push(message);
            }
            Class::Entries if self.has_room(waiting.entry_bytes) => {
                self.pool.held.fetch_add(message.payload.len(), Ordering::Relaxed);
                waiting.entry_bytes += message.payload.len();
                waiting.entries.push_back(message);
            }
            _ => return Pushed::Full,
        }
        drop(waiting);
        self.bell.notify_one();
        Pushed::Waits
    }

    /// A sign of life is to go out.
    pub(crate) fn ping(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).ping = true;
        self.bell.notify_one();
    }

    /// The connection stands: messages are taken from now on.
    pub(crate) fn open(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).open = true;
    }

    /// The connection is gone: what waits is dropped. Answers whether there was anything.
    pub(crate) fn close(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = std::mem::take(&mut *waiting);
        self.pool.held.fetch_sub(dropped.entry_bytes, Ordering::Relaxed);
        !dropped.control.is_empty() || !dropped.entries.is_empty()
    }

    /// Waits for something to send, and takes it: what keeps leaders first, and then entries, not more of them than heartbeats that
    /// come next can wait behind. An empty answer is a sign of life.
    pub(crate) async fn take(&self) -> Vec<PeerMessage> {
        loop {
            let bell = self.bell.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let mut messages = std::mem::take(&mut waiting.control);
                let mut bytes = 0;
                while bytes < FRAME_BYTES
                    && let Some(message) = waiting.entries.pop_front()
                {
                    bytes += message.payload.len();
                    messages.push(message);
                }
                waiting.entry_bytes -= bytes;
                self.pool.held.fetch_sub(bytes, Ordering::Relaxed);
                if std::mem::take(&mut waiting.ping) || !messages.is_empty() {
                    return messages;
                }
            }
            bell.await;
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stator_consensus::{GroupId, ReplicaId};

    use super::*;

    fn message(class: Class, bytes: usize) -> PeerMessage {
        PeerMessage {
            group: GroupId(1),
            from: ReplicaId(1),
            to: ReplicaId(2),
            class,
            payload: Bytes::from(vec![0; bytes]),
        }
    }

    /// What one queue may hold, of a pool for two.
    const ENTRY_BYTES_MAX: usize = 16 << 20;

    fn queue() -> Queue {
        Queue::new(&Pool::new(2 * ENTRY_BYTES_MAX))
    }

    #[test]
    fn nodes_share_what_there_is() {
        let pool = Pool::new(8 * FRAME_BYTES);
        let queues: Vec<_> = (0..4).map(|_| Queue::new(&pool)).collect();
        let fill = |queue: &Queue| {
            queue.open();
            let push = || queue.push(message(Class::Entries, FRAME_BYTES / 2));
            (0..100).take_while(|_| push() == Pushed::Waits).count()
        };
        let taken: Vec<_> = queues.iter().map(fill).collect();
        assert_eq!(taken, [8, 8, 2, 2], "a half each, and then one frame");
        assert!(queues[0].close());
        let pushed = queues[3].push(message(Class::Entries, 1));
        assert_eq!(pushed, Pushed::Waits, "what is dropped leaves room");
        drop(queues);
        assert_eq!(pool.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn heartbeats_have_room_when_entries_have_none() {
        let queue = queue();
        queue.open();
        assert_eq!(queue.push(message(Class::Entries, ENTRY_BYTES_MAX)), Pushed::Waits);
        assert_eq!(queue.push(message(Class::Entries, 1)), Pushed::Full);
        assert_eq!(queue.push(message(Class::Control, 1)), Pushed::Waits);
        let classes: Vec<Class> = queue.take().await.iter().map(|message| message.class).collect();
        assert_eq!(classes, [Class::Control, Class::Entries], "and they go first");
    }

    #[tokio::test]
    async fn a_heartbeat_waits_behind_one_frame_of_entries_at_most() {
        let queue = queue();
        queue.open();
        for _ in 0..4 {
            assert_eq!(queue.push(message(Class::Entries, FRAME_BYTES / 2)), Pushed::Waits);
        }
        assert_eq!(queue.take().await.len(), 2);
        assert_eq!(queue.push(message(Class::Control, 1)), Pushed::Waits);
        let classes: Vec<Class> = queue.take().await.iter().map(|message| message.class).collect();
        assert_eq!(classes, [Class::Control, Class::Entries, Class::Entries]);
        assert_eq!(
            queue.push(message(Class::Entries, ENTRY_BYTES_MAX)),
            Pushed::Waits,
            "what is taken leaves room"
        );
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_taken() {
        let queue = queue();
        assert_eq!(queue.push(message(Class::Control, 1)), Pushed::Closed);
        queue.open();
        assert_eq!(queue.push(message(Class::Control, 1)), Pushed::Waits);
        assert!(queue.close(), "what waited is dropped");
        assert_eq!(queue.push(message(Class::Control, 1)), Pushed::Closed);
    }
}
