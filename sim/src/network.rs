//! The network between nodes: messages are delayed, dropped, sent twice and overtaken; links are cut, one way or both.
//!
//! Real streams keep the order of messages and deliver each once; this does neither, because a stream that breaks and is made
//! anew does not, and because nothing above may rest on it.

use crate::items::NODES;
use crate::rng::Rng;
use crate::time::{MS, Ns, SECOND, US};

/// The state of a link, in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Nothing comes through.
    pub(crate) cut: bool,
    /// Of a thousand messages, how many are lost.
    pub(crate) lost_per_mille: u64,
    /// Of a thousand messages, how many come twice.
    pub(crate) twice_per_mille: u64,
    /// What is added to every delay, at most.
    pub(crate) slower: Ns,
    /// How much later what is sent twice comes for the second time, at most.
    pub(crate) echo: Ns,
    /// Everything sent now comes this much later.
    pub(crate) held: Ns,
}

impl Link {
    pub(crate) const SOUND: Self =
        Self { cut: false, lost_per_mille: 1, twice_per_mille: 5, slower: 0, echo: 0, held: 0 };

    /// What it is in the end, when everything has to come to rest.
    pub(crate) const PERFECT: Self =
        Self { cut: false, lost_per_mille: 0, twice_per_mille: 0, slower: 0, echo: 0, held: 0 };
}

/// When a message arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passage {
    pub(crate) first: Option<Ns>,
    pub(crate) again: Option<Ns>,
    /// It comes before one that was sent before it.
    pub(crate) overtakes: bool,
}

/// All links.
pub(crate) struct Network {
    links: [[Link; NODES]; NODES],
    latest: [[Ns; NODES]; NODES],
    rng: Rng,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { links: [[Link::SOUND; NODES]; NODES], latest: [[0; NODES]; NODES], rng }
    }

    pub(crate) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from][to]
    }

    pub(crate) fn set_all(&mut self, link: Link) {
        self.links = [[link; NODES]; NODES];
    }

    /// When a message that is sent now arrives.
    pub(crate) fn pass(&mut self, now: Ns, from: usize, to: usize) -> Passage {
        let link = self.links[from][to];
        if link.cut || self.rng.chance(link.lost_per_mille) {
            return Passage::default();
        }
        let first = now + self.delay(link);
        let again = self.rng.chance(link.twice_per_mille).then(|| {
            let echo = self.rng.between(0, link.echo);
            now + echo + 20 * self.delay(link)
        });
        let overtakes = first < self.latest[from][to];
        self.latest[from][to] = self.latest[from][to].max(first);
        Passage { first: Some(first), again, overtakes }
    }

    fn delay(&mut self, link: Link) -> Ns {
        let usual = match self.rng.below(1000) {
            0 => self.rng.between(100 * MS, 3 * SECOND),
            1..=20 => self.rng.between(MS, 20 * MS),
            _ => self.rng.between(50 * US, 500 * US),
        };
        // In the end nothing is late by accident.
        let usual = if link.twice_per_mille == 0 { usual.min(MS) } else { usual };
        usual + link.held + self.rng.between(0, link.slower)
    }

    /// Between a caller and a node: some time, or never.
    pub(crate) fn pass_caller(&mut self, now: Ns, perfect: bool) -> Option<Ns> {
        if !perfect && self.rng.chance(5) {
            return None;
        }
        Some(now + self.rng.between(30 * US, 300 * US))
    }
}
