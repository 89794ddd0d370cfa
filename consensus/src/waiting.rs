//! Requests that wait to be evaluated: bounded by number and by bytes.

use std::collections::VecDeque;

/// A request that waits to be evaluated.
#[derive(Debug)]
pub(crate) struct Submission<R, T> {
    pub(crate) request: R,
    /// About how much it may add to an entry.
    pub(crate) weight: usize,
    pub(crate) deadline_ns: u64,
    pub(crate) token: T,
}

#[derive(Debug)]
pub(crate) struct Waiting<R, T> {
    queue: VecDeque<Submission<R, T>>,
    bytes: usize,
}

impl<R, T> Waiting<R, T> {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The weight of all.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, submission: Submission<R, T>) {
        self.bytes += submission.weight;
        self.queue.push_back(submission);
    }

    /// The weight of the next one.
    pub(crate) fn next_weight(&self) -> Option<usize> {
        self.queue.front().map(|next| next.weight)
    }

    pub(crate) fn pop(&mut self) -> Option<Submission<R, T>> {
        let next = self.queue.pop_front()?;
        self.bytes -= next.weight;
        Some(next)
    }

    /// Takes out those whose time is over.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Vec<T> {
        if self.queue.iter().all(|next| next.deadline_ns > now_ns) {
            return Vec::new();
        }
        let (over, kept): (VecDeque<_>, VecDeque<_>) =
            self.queue.drain(..).partition(|next| next.deadline_ns <= now_ns);
        self.queue = kept;
        self.bytes -= over.iter().map(|next| next.weight).sum::<usize>();
        over.into_iter().map(|next| next.token).collect()
    }

    /// Takes out all.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = T> + use<R, T> {
        self.bytes = 0;
        std::mem::take(&mut self.queue).into_iter().map(|next| next.token)
    }
}
