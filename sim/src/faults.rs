//! Faults: what goes wrong, when, and how it ends.
//!
//! Most are drawn without looking at what the nodes are doing. Some look, see `aimed`.

use stator_consensus::GroupId;
use stator_storage::Error;
use stator_storage::disk::{Fault as DiskFault, FaultOp};

use crate::items::{GROUPS, NODES};
use crate::network::Link;
use crate::plan::SAFETY_NS;
use crate::rng::Rng;
use crate::time::{MS, Ns, SECOND};
use crate::world::{Action, Phase, World};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashKind {
    /// The process is killed: the page cache stays.
    Kill,
    /// The machine loses its power: what was not synced may be lost.
    PowerCut,
    /// The same in the middle of a write: a part of it is there.
    MidWrite,
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Crash {
        node: usize,
        kind: CrashKind,
        down: Ns,
    },
    /// The power goes while the log is in the middle of a write.
    TornWrite {
        node: usize,
    },
    /// All nodes lose their power at once, as soon as one of them is there.
    Blackout {
        at: Moment,
    },
    Pause {
        node: usize,
        for_ns: Ns,
    },
    /// Links, in one direction each, are in this state for a while.
    Links {
        links: Vec<(usize, usize)>,
        state: Link,
        for_ns: Ns,
    },
    SlowDisk {
        node: usize,
        for_ns: Ns,
    },
    SlowEngine {
        node: usize,
        for_ns: Ns,
    },
    /// The engine fails at its next write, and perhaps, because its disk is full, for a while after it was opened again.
    EngineFails {
        node: usize,
    },
    /// The next sync of the log fails.
    SyncFails {
        node: usize,
    },
    /// A leader hands over, by itself or with something that goes wrong behind it.
    HandOver {
        group: GroupId,
        behind: Behind,
    },
    /// A leader is told that the log needs its space back.
    Pressure {
        node: usize,
    },
    /// A leader keeps its link to one follower; the other cannot reach it; the follower is started again in the middle.
    ForgottenPromise {
        group: GroupId,
    },
    /// A leader's followers are heard twice, the second time when it is cut off already.
    Echo {
        group: GroupId,
    },
    /// A leader hears its followers late, and is cut off while their answers are on the way.
    LateAnswers {
        group: GroupId,
    },
    /// A leader is paused right after a read has looked at its lease.
    PauseAtRead {
        group: GroupId,
        for_ns: Ns,
    },
    /// A leader's engine fails right after a read has looked at its lease.
    EngineFailsAtRead {
        group: GroupId,
    },
    /// The first-ranked replica is elected while its disk is slow, and loses its power at once.
    Forgotten {
        group: GroupId,
    },
    /// A follower is cut off until the log that it needs is gone.
    LeftBehind {
        group: GroupId,
    },
    WallClock {
        node: usize,
    },
}

/// A bad moment for the power to go, for one of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Any,
    /// The log has written something, and not synced it.
    Unsynced,
    /// Of that, something is a truncation.
    Truncation,
    /// Of that, something is the tombstone of a replica.
    Tombstone,
    /// A snapshot is partly installed.
    Installation,
}

/// What goes wrong behind a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind {
    Nothing,
    /// The old leader hears nothing any more, as soon as its order to campaign may have left.
    OldLeaderCutOff,
    /// The order to campaign is held back until the transfer has been given up.
    OrderHeldBack,
    /// The heir applies slowly, and has much left to apply when it is elected.
    SlowHeir,
    /// Nothing, but it is to be this heir.
    To(usize),
}

impl World {
    /// Draws what goes wrong in this run: enough of each kind, at any times.
    pub(crate) fn plan_faults(&mut self) {
        let mut rng = self.rng.fork();
        let mut faults = Vec::new();
        for _ in 0..rng.between(7, 12) {
            faults.push(draw_crash(&mut rng));
        }
        for _ in 0..rng.between(1, 4) {
            faults.push(Fault::TornWrite { node: rng.index(NODES) });
        }
        for _ in 0..rng.between(6, 12) {
            faults.push(draw_links(&mut rng));
        }
        for _ in 0..rng.between(2, 5) {
            faults.push(Fault::Pause {
                node: rng.index(NODES),
                for_ns: rng.between(100 * MS, 3 * SECOND),
            });
        }
        for _ in 0..rng.between(4, 8) {
            let group = GroupId(rng.between(1, GROUPS));
            let behind = rng.pick(&[
                Behind::Nothing,
                Behind::OldLeaderCutOff,
                Behind::OrderHeldBack,
                Behind::SlowHeir,
            ]);
            faults.push(Fault::HandOver { group, behind });
        }
        for _ in 0..rng.between(2, 4) {
            faults.push(Fault::ForgottenPromise { group: GroupId(rng.between(1, GROUPS)) });
        }
        for _ in 0..rng.between(1, 3) {
            let group = GroupId(rng.between(1, GROUPS));
            let for_ns = rng.between(1500 * MS, 3500 * MS);
            faults.push(Fault::PauseAtRead { group, for_ns });
            let group = GroupId(rng.between(1, GROUPS));
            faults.push(Fault::EngineFailsAtRead { group });
            faults.push(Fault::Forgotten { group: GroupId(rng.between(1, GROUPS)) });
            faults.push(Fault::LeftBehind { group: GroupId(rng.between(1, GROUPS)) });
            faults.push(Fault::Echo { group: GroupId(rng.between(1, GROUPS)) });
            faults.push(Fault::LateAnswers { group: GroupId(rng.between(1, GROUPS)) });
        }
        for _ in 0..rng.between(4, 12) {
            faults.push(Fault::Pressure { node: rng.index(NODES) });
        }
        for _ in 0..rng.between(1, 3) {
            let (node, for_ns) = (rng.index(NODES), rng.between(200 * MS, 4 * SECOND));
            faults.push(Fault::SlowDisk { node, for_ns });
            let (node, for_ns) = (rng.index(NODES), rng.between(200 * MS, 4 * SECOND));
            faults.push(Fault::SlowEngine { node, for_ns });
            faults.push(Fault::EngineFails { node: rng.index(NODES) });
            faults.push(Fault::WallClock { node: rng.index(NODES) });
        }
        if rng.chance(400) {
            faults.push(Fault::SyncFails { node: rng.index(NODES) });
        }
        if rng.chance(600) {
            faults.push(Fault::Blackout { at: self.plan.blackout });
        }
        for fault in faults {
            let at = rng.between(2 * SECOND, SAFETY_NS - 2 * SECOND);
            self.queue.push(at, Action::Fault(fault));
        }
    }

    /// A fault begins.
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.phase == Phase::Liveness {
            return;
        }
        self.trace.note(self.now, format_args!("fault {fault:?}"));
        match fault {
            Fault::Crash { node, kind, down } => self.crash(node, kind, down),
            Fault::TornWrite { node } => self.nodes[node].tears = true,
            Fault::Blackout { at: Moment::Any } => self.black_out(),
            Fault::Blackout { at } => self.blackout = Some(at),
            Fault::Pause { node, for_ns } => self.pause(node, for_ns),
            Fault::Links { ref links, state, for_ns } => {
                self.reached.one("network faults");
                for (from, to) in links {
                    *self.network.link(*from, *to) = state;
                }
                self.queue.push(self.now + for_ns, Action::Mend(fault));
            }
            Fault::SlowDisk { node, for_ns } => {
                self.nodes[node].slow_disk_until = self.now + for_ns;
            }
            Fault::SlowEngine { node, for_ns } => {
                self.nodes[node].slow_engine_until = self.now + for_ns;
            }
            // The engine of a node that is down does nothing that could fail.
            Fault::EngineFails { node } if self.nodes[node].process.is_none() => {}
            Fault::EngineFails { node } => {
                let draw = self.rng.next();
                let error = if draw.is_multiple_of(4) {
                    self.nodes[node].full_times = draw >> 60;
                    full()
                } else {
                    Error::Engine("a planned fault".to_owned())
                };
                self.nodes[node].engine.fail_next_write(error, draw);
            }
            Fault::SyncFails { node } => {
                let kind = std::io::ErrorKind::Other;
                let fault = DiskFault { op: FaultOp::Sync, after: 0, times: 1, kind };
                self.nodes[node].disk.fail(fault);
            }
            Fault::HandOver { group, behind } => self.hand_over(group, behind),
            Fault::Pressure { node } => self.press(node),
            Fault::ForgottenPromise { group } => self.make_forget(group),
            Fault::Echo { group } => self.echo(group),
            Fault::LateAnswers { group } => self.delay_answers(group),
            Fault::PauseAtRead { group, for_ns } => {
                if let Some(leader) = self.leader_of(group) {
                    self.nodes[leader].pauses_at_read = Some(for_ns);
                }
            }
            Fault::EngineFailsAtRead { group } => {
                if let Some(leader) = self.leader_of(group) {
                    self.nodes[leader].engine_fails_at_read = true;
                }
            }
            Fault::Forgotten { group } => self.make_forgotten(group),
            Fault::LeftBehind { group } => self.leave_behind(group),
            Fault::WallClock { node } => {
                let mut rng = self.rng.fork();
                self.nodes[node].clock.jump(&mut rng);
            }
        }
    }

    /// A fault ends.
    pub(crate) fn mend(&mut self, fault: &Fault) {
        if let Fault::Links { links, .. } = fault {
            for (from, to) in links {
                *self.network.link(*from, *to) = self.sound_link();
            }
        }
    }

    const fn sound_link(&self) -> Link {
        match self.phase {
            Phase::Safety => Link::SOUND,
            Phase::Liveness => Link::PERFECT,
        }
    }

    pub(crate) fn pause(&mut self, node: usize, for_ns: Ns) {
        let state = &mut self.nodes[node];
        if state.process.is_some() && !state.paused {
            state.paused = true;
            let life = state.life;
            self.reached.one("pauses");
            self.queue.push(self.now + for_ns, Action::Resume { node, life });
        }
    }

    /// A paused process goes on, with everything that came meanwhile.
    pub(crate) fn resume(&mut self, node: usize, life: u64) {
        let state = &mut self.nodes[node];
        if state.life != life || !state.paused {
            return;
        }
        state.paused = false;
        self.trace.note(self.now, format_args!("{node} goes on"));
        for action in std::mem::take(&mut state.deferred) {
            self.queue.push(self.now, action);
        }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn make_whole(&mut self) {
        self.blackout = None;
        self.trace.note(self.now, format_args!("everything is mended"));
        self.network.set_all(Link::PERFECT);
        for node in 0..NODES {
            let state = &mut self.nodes[node];
            state.tears = false;
            state.pauses_at_read = None;
            state.engine_fails_at_read = false;
            state.dies_elected = false;
            state.full_times = 0;
            state.slow_disk_until = 0;
            state.slow_engine_until = 0;
            state.disk.heal();
            let life = state.life;
            if state.process.is_none() {
                self.restart(node, life);
            } else {
                self.resume(node, life);
            }
        }
    }
}

/// What an engine says whose disk is full.
pub(crate) fn full() -> Error {
    Error::Full("a planned fault".to_owned())
}

fn draw_crash(rng: &mut Rng) -> Fault {
    Fault::Crash {
        node: rng.index(NODES),
        kind: if rng.chance(300) { CrashKind::Kill } else { CrashKind::PowerCut },
        down: rng.pick(&[5 * MS, 50 * MS, 500 * MS, 2 * SECOND]),
    }
}

fn draw_links(rng: &mut Rng) -> Fault {
    let one = rng.index(NODES);
    let others = (0..NODES).filter(|node| *node != one);
    let out = others.clone().map(|node| (one, node));
    let into = others.clone().map(|node| (node, one));
    let two = (one + 1) % NODES;
    let everything = (0..NODES)
        .flat_map(|from| (0..NODES).map(move |to| (from, to)))
        .filter(|(from, to)| from != to);
    let links = match rng.below(6) {
        0 => out.chain(into).collect(),
        1 => out.collect(),
        2 => into.collect(),
        3 => vec![(one, two), (two, one)],
        4 => vec![(one, two)],
        _ => everything.collect(),
    };
    let state = match rng.below(4) {
        0 => Link { lost_per_mille: 200, twice_per_mille: 200, ..Link::SOUND },
        1 => Link { slower: rng.pick(&[20 * MS, 200 * MS, SECOND]), ..Link::SOUND },
        _ => Link { cut: true, ..Link::SOUND },
    };
    Fault::Links { links, state, for_ns: rng.between(100 * MS, 3 * SECOND) }
}
