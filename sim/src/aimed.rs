//! Faults that look at what the nodes are doing: a transfer with the leader cut off behind it, or with the order to campaign held
//! back until the transfer is given up, come about by accident in one run of a thousand.

use stator_consensus::{Event, GroupId};

use crate::faults::{Behind, CrashKind, Fault};
use crate::items::{NODES, replica_id};
use crate::network::Link;
use crate::time::{MS, SECOND};
use crate::world::{Action, World};

impl World {
    /// The node that leads a group, if one does; of several that think so, the one of the highest term.
    pub(crate) fn leader_of(&self, group: GroupId) -> Option<usize> {
        let leading = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let status = node.process.as_ref()?.host.status(group)?;
            (status.leads && !node.paused).then_some((status.term, at))
        });
        leading.max().map(|(_, at)| at)
    }

    /// A node with another replica of a group.
    fn draw_follower(&mut self, group: GroupId, leader: usize) -> Option<usize> {
        let drawn = (leader + 1 + self.rng.index(NODES - 1)) % NODES;
        let members = self.plan.shape.members(group);
        let mut others = members.into_iter().filter(|member| *member != leader);
        others.clone().find(|member| *member == drawn).or_else(|| others.next())
    }

    pub(crate) fn hand_over(&mut self, group: GroupId, behind: Behind) {
        let Some(leader) = self.leader_of(group) else { return };
        let Some(heir) = self.draw_follower(group, leader) else { return };
        let to = Some(replica_id(group, heir));
        if let Behind::SlowHeir = behind {
            self.nodes[heir].slow_engine_until = self.now + 2 * SECOND;
            let again = Fault::HandOver { group, behind: Behind::To(heir) };
            return self.queue.push(self.now + 500 * MS, Action::Fault(again));
        }
        let to = if let Behind::To(heir) = behind { Some(replica_id(group, heir)) } else { to };
        self.tell(leader, Event::HandOver { group, to });
        match behind {
            Behind::Nothing | Behind::SlowHeir | Behind::To(_) => {}
            Behind::OldLeaderCutOff => {
                let links = (0..NODES).filter(|node| *node != leader).map(|node| (node, leader));
                let state = Link { cut: true, ..Link::SOUND };
                let for_ns = self.rng.between(100 * MS, 2 * SECOND);
                let fault = Fault::Links { links: links.collect(), state, for_ns };
                self.queue.push(self.now + self.rng.between(0, 2 * MS), Action::Fault(fault));
            }
            Behind::OrderHeldBack => {
                let held = self.rng.between(1600 * MS, 3500 * MS);
                let state = Link { held, ..Link::SOUND };
                let for_ns = self.rng.between(2 * MS, 20 * MS);
                let links = vec![(leader, heir)];
                self.strike(Fault::Links { links, state, for_ns });
            }
        }
    }

    /// The log of a node lets go of everything that its engine durably holds.
    pub(crate) fn press(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let applied: Vec<_> =
            process.replicas.iter().map(|(group, replica)| (*group, replica.applied)).collect();
        for (group, index) in applied {
            self.tell(node, Event::Pressure { group, index });
        }
    }

    /// Two followers: one cannot reach the leader and wants to be elected, the other forgets that it was just promised.
    pub(crate) fn make_forget(&mut self, group: GroupId) {
        let Some(leader) = self.leader_of(group) else { return };
        let Some(other) = self.draw_follower(group, leader) else { return };
        let forgetful = NODES - leader - other;
        let state = Link { cut: true, ..Link::SOUND };
        let links = vec![(leader, other), (other, leader)];
        self.strike(Fault::Links { links, state, for_ns: 4 * SECOND });
        // Who is cut off is elected only as long as it misses nothing.
        self.callers.rest(group, self.now + 4 * SECOND);
        for _ in 0..3 {
            let at = self.now + self.rng.between(800 * MS, 3800 * MS);
            let kind = self.rng.pick(&[CrashKind::Kill, CrashKind::PowerCut]);
            let down = self.rng.between(5 * MS, 60 * MS);
            self.queue.push(at, Action::Fault(Fault::Crash { node: forgetful, kind, down }));
        }
    }

    /// A vote that is on its way to the disk when its candidate is elected would be forgotten with the power.
    pub(crate) fn make_forgotten(&mut self, group: GroupId) {
        let first = (group.0 as usize - 1) % NODES;
        let Some(leader) = self.leader_of(group).filter(|leader| *leader != first) else { return };
        self.nodes[first].slow_disk_until = self.now + 2 * SECOND;
        self.nodes[first].dies_elected = true;
        let to = Some(replica_id(group, first));
        self.tell(leader, Event::HandOver { group, to });
    }

    /// What followers said to a leader comes once more after they have lost it.
    pub(crate) fn echo(&mut self, group: GroupId) {
        let Some(leader) = self.leader_of(group) else { return };
        let others = (0..NODES).filter(|node| *node != leader);
        let into: Vec<_> = others.clone().map(|node| (node, leader)).collect();
        let out = others.map(|node| (leader, node));
        let state = Link { twice_per_mille: 900, echo: 4 * SECOND, ..Link::SOUND };
        let for_ns = self.rng.between(500 * MS, 1500 * MS);
        self.strike(Fault::Links { links: into.clone(), state, for_ns });
        let links = into.iter().copied().chain(out).collect();
        let state = Link { cut: true, ..Link::SOUND };
        let cut = Fault::Links { links, state, for_ns: 3 * SECOND };
        self.queue.push(self.now + for_ns + MS, Action::Fault(cut));
    }

    /// What followers say to a leader is on its way for long, and the leader is cut off meanwhile.
    pub(crate) fn delay_answers(&mut self, group: GroupId) {
        let Some(leader) = self.leader_of(group) else { return };
        let others = (0..NODES).filter(|node| *node != leader);
        let into: Vec<_> = others.clone().map(|node| (node, leader)).collect();
        let out = others.map(|node| (leader, node));
        let held = self.rng.between(300 * MS, 700 * MS);
        let state = Link { held, ..Link::SOUND };
        let for_ns = self.rng.between(700 * MS, 1500 * MS);
        self.strike(Fault::Links { links: into.clone(), state, for_ns });
        let links = into.iter().copied().chain(out).collect();
        let state = Link { cut: true, ..Link::SOUND };
        let cut = Fault::Links { links, state, for_ns: 2 * SECOND };
        self.queue.push(self.now + for_ns + MS, Action::Fault(cut));
    }

    /// A follower is cut off, and everybody lets go of the log that it misses: it needs a snapshot when it comes back, perhaps on a
    /// slow disk, perhaps with its power going meanwhile.
    pub(crate) fn leave_behind(&mut self, group: GroupId) {
        let Some(leader) = self.leader_of(group) else { return };
        let Some(other) = self.draw_follower(group, leader) else { return };
        let others = (0..NODES).filter(|node| *node != other);
        let links = others.flat_map(|node| [(node, other), (other, node)]).collect();
        let state = Link { cut: true, ..Link::SOUND };
        let for_ns = self.rng.between(800 * MS, 2500 * MS);
        self.strike(Fault::Links { links, state, for_ns });
        let back = self.now + for_ns;
        for node in (0..NODES).filter(|node| *node != other) {
            self.queue.push(back - MS, Action::Fault(Fault::Pressure { node }));
        }
        if self.rng.chance(500) {
            self.nodes[other].slow_disk_until = back + 2 * SECOND;
        }
        if self.rng.chance(500) {
            let at = back + self.rng.between(50 * MS, SECOND);
            let crash = Fault::Crash { node: other, kind: CrashKind::PowerCut, down: 50 * MS };
            self.queue.push(at, Action::Fault(crash));
        }
    }
}
