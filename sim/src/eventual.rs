//! Eventually consistent reads, of any replica, as a node serves them: without a lease, but with a second look at the data (R5).
//!
//! They draw from numbers of their own and change nothing, so that a run is the same with them and without.

use stator_model::EncodedItem;
use stator_storage::key::item_key;
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition;
use stator_storage::partition::generation::Noted;

use stator_consensus::lease::ReadTicket;

use crate::items::NODES;
use crate::node::Replica;
use crate::rng::Rng;
use crate::time::{MS, Ns, US};
use crate::world::{Action, Phase, Step, World};

/// How often a read is begun again.
const TRIES: u32 = 4;

/// The eventually consistent reads of a run.
pub(crate) struct Eventual {
    rng: Rng,
    next: u64,
    /// What was read last: whoever reads it again at once sees whether time goes back.
    last: Option<(usize, usize)>,
}

/// A read under way.
pub(crate) struct Glance {
    item: usize,
    tries: u32,
    noted: Option<(Noted, ReadTicket)>,
    /// What was found, and what the process had shown by then.
    found: Option<(Option<EncodedItem>, u64)>,
}

impl Eventual {
    pub(crate) fn new(seed: u64) -> Self {
        // Not forked from the run's numbers: those of all other things stay as they are.
        Self { rng: Rng::new(seed ^ 0x6c61_6e63_6573), next: 0, last: None }
    }

    fn delay(&mut self) -> Ns {
        match self.rng.below(100) {
            // Long enough for the data to be replaced, or lost and applied again.
            0..=14 => self.rng.between(MS, 200 * MS),
            _ => self.rng.between(US, 50 * US),
        }
    }
}

impl World {
    /// Somebody reads an item from some replica.
    pub(crate) fn glance(&mut self) {
        if self.phase == Phase::Liveness {
            return;
        }
        let again = self.now + self.eventual.rng.between(2 * MS, 40 * MS);
        self.queue.push(again, Action::Glance);
        let (node, item) = match self.eventual.last {
            Some(last) if self.eventual.rng.chance(500) => last,
            _ => {
                let node = self.eventual.rng.index(NODES);
                (node, self.callers.any_item(&mut self.eventual.rng))
            }
        };
        self.eventual.last = Some((node, item));
        self.glance_at(node, item);
    }

    /// Somebody reads again what was read last of a node.
    pub(crate) fn glance_again(&mut self, node: usize) {
        if let Some((_, item)) = self.eventual.last.filter(|(at, _)| *at == node) {
            self.glance_at(node, item);
        }
    }

    fn glance_at(&mut self, node: usize, item: usize) {
        let state = &mut self.nodes[node];
        let Some(process) = state.process.as_mut().filter(|_| !state.paused) else { return };
        self.eventual.next += 1;
        let id = self.eventual.next;
        process.glances.insert(id, Glance { item, tries: 0, noted: None, found: None });
        self.begin_glance(node, id);
    }

    fn begin_glance(&mut self, node: usize, id: u64) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(glance) = process.glances.get_mut(&id) else { return };
        glance.tries += 1;
        glance.found = None;
        let replica = process.replicas.get(&self.callers.items[glance.item].name.group);
        glance.noted = replica.and_then(|it| it.data.note().zip(it.view.begin_unleased()));
        let is_readable = glance.noted.is_some() || planted(Mutation::EventualUnchecked);
        if !is_readable || replica.is_none() || glance.tries > TRIES {
            // Sent to another replica.
            process.glances.remove(&id);
            return self.reached.one("eventual reads sent elsewhere");
        }
        let delay = self.eventual.delay();
        self.after(delay, node, Step::Glance(id));
    }

    /// Reads the engine, or looks a second time at what was noted before.
    pub(crate) fn glance_step(&mut self, node: usize, id: u64) {
        let state = &mut self.nodes[node];
        let life = state.life;
        let Some(process) = &mut state.process else { return };
        let Some(glance) = process.glances.get_mut(&id) else { return };
        let name = &self.callers.items[glance.item].name;
        let Some(replica) = process.replicas.get(&name.group) else { return };
        let Some((found, floor)) = &glance.found else {
            match partition::get(state.engine.as_ref(), &replica.spec, &name.key) {
                Ok(found) => {
                    let floor = self.invariants.shown.newest(name.group, node, life);
                    glance.found = Some((found, floor));
                }
                Err(error) => return self.fail(format!("node {node} cannot read: {error:?}")),
            }
            let delay = self.eventual.delay();
            return self.after(delay, node, Step::Glance(id));
        };
        if !holds(replica, glance.noted) {
            self.reached.one("eventual reads begun again");
            return self.begin_glance(node, id);
        }
        let key = item_key(replica.spec.table_id, &name.key);
        let by = (node, life);
        let shown = self.invariants.shown.shows(name.group, by, &key, found.as_ref(), *floor);
        let leads = replica.view.serves();
        process.glances.remove(&id);
        self.reached.one(if leads {
            "eventual reads of leaders"
        } else {
            "eventual reads of followers"
        });
        self.check("shown", shown);
    }
}

fn holds(replica: &Replica, noted: Option<(Noted, ReadTicket)>) -> bool {
    let is_still = noted.is_some_and(|(data, ticket)| {
        replica.data.holds(data) && replica.view.holds_unleased(ticket)
    });
    is_still || planted(Mutation::EventualUnchecked)
}
