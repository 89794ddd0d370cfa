//! A node: a host, and the shell that carries out its effects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use protobuf::Message as _;
use stator_consensus::{
    ApplyJob, Config, Effects, Event, GroupId, GroupSpec, Host, InstallJob, PeerMessage, Recovered,
    ReplicaView, StartGroup,
};

use crate::disk::Disk;
use crate::toy::{Data, Engine, Evaluating, SharedEngine, open};

pub(crate) type Token = u64;
pub(crate) type NodeEvent = Event<Evaluating, Token>;
pub(crate) type NodeEffects = Effects<Evaluating, Token>;

/// Work for the applier of a node, in order.
pub(crate) enum Job {
    Apply(ApplyJob),
    Install(InstallJob),
}

impl Job {
    fn group(&self) -> GroupId {
        match self {
            Self::Apply(job) => job.group,
            Self::Install(job) => job.group,
        }
    }
}

pub(crate) struct Node {
    pub(crate) host: Option<Host<Evaluating, Token>>,
    /// Counts the lives of the node: what was under way in a former life is nothing to this one.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) specs: BTreeMap<GroupId, GroupSpec>,
    pub(crate) engines: BTreeMap<GroupId, SharedEngine>,
    pub(crate) views: BTreeMap<GroupId, Arc<ReplicaView>>,
    pub(crate) mailbox: VecDeque<NodeEvent>,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) applier_busy: bool,
    /// Snapshots received, by group and index: their chunks are files, synced before the message is let in.
    pub(crate) received: BTreeMap<(GroupId, u64), Data>,
    pub(crate) turn_due: bool,
    /// The time when the log is through with what it has.
    pub(crate) disk_free_at: u64,
    pub(crate) paused_until: u64,
    /// The clock runs fast or slow by this many millionths.
    pub(crate) skew_ppm: i64,
    pub(crate) skipped: usize,
}

impl Node {
    pub(crate) fn new(skew_ppm: i64) -> Self {
        Self {
            host: None,
            life: 0,
            disk: Disk::default(),
            specs: BTreeMap::new(),
            engines: BTreeMap::new(),
            views: BTreeMap::new(),
            mailbox: VecDeque::new(),
            jobs: VecDeque::new(),
            applier_busy: false,
            received: BTreeMap::new(),
            turn_due: false,
            disk_free_at: 0,
            paused_until: 0,
            skew_ppm,
            skipped: 0,
        }
    }

    /// The node's own monotonic clock.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        let off = (i128::from(now) * i128::from(self.skew_ppm)) / 1_000_000;
        1_000_000_000 + u64::try_from(i128::from(now) + off).expect("time is positive")
    }

    /// A replica of a group that was just made.
    pub(crate) fn create(&mut self, spec: &GroupSpec) {
        let fresh = Recovered::fresh();
        self.engines.insert(spec.group, Engine::starting_from(fresh.applied));
        self.specs.insert(spec.group, spec.clone());
        self.start_group(spec.clone(), fresh, true);
    }

    fn start_group(&mut self, spec: GroupSpec, recovered: Recovered, fresh: bool) {
        let view = Arc::new(ReplicaView::default());
        self.views.insert(spec.group, view.clone());
        let evaluator = Evaluating::new(self.engines[&spec.group].clone(), view.clone());
        let start = StartGroup { spec, recovered, fresh, evaluator, view };
        self.mailbox.push_back(Event::Start(Box::new(start)));
    }

    pub(crate) fn boot(&mut self, config: Config) {
        assert!(self.host.is_none(), "the node is up");
        self.life += 1;
        self.host = Some(Host::new(config, Arc::new(self.disk.clone())));
        for spec in self.specs.values().cloned().collect::<Vec<_>>() {
            let engine = self.engines[&spec.group].clone();
            let Some(mut recovered) = self.disk.recover(spec.group) else {
                // The crash took the group's very first records with it: it was never there.
                self.engines.insert(spec.group, Engine::starting_from(Recovered::fresh().applied));
                self.start_group(spec, Recovered::fresh(), true);
                continue;
            };
            if open(&engine).data.applied.0 < recovered.mark.0 {
                // The log was reset to a snapshot that the engine lost, or never got. A replica whose files are gone, too, starts
                // without data.
                if let Some(data) = self.received.get(&(spec.group, recovered.mark.0)) {
                    open(&engine).install(data.clone());
                }
            }
            recovered.applied = open(&engine).data.applied;
            self.start_group(spec, recovered, false);
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.host.is_some()
    }

    /// Notes the snapshot in a leader's message: here it is its own chunks.
    pub(crate) fn receive_snapshot(&mut self, message: &PeerMessage) {
        let mut raft_message = raft::eraftpb::Message::default();
        raft_message.merge_from_bytes(&message.payload).expect("ours");
        let snapshot = raft_message.get_snapshot();
        let index = snapshot.get_metadata().index;
        self.received.insert((message.group, index), decode(&snapshot.data));
    }

    /// Does the applier's next job. Answers what to tell the host.
    pub(crate) fn do_job(&mut self) -> Option<NodeEvent> {
        let job = self.jobs.pop_front()?;
        let group = job.group();
        let engine = self.engines.get(&group)?.clone();
        let index = match job {
            Job::Apply(job) => {
                self.skipped += open(&engine).apply(&job.entries);
                job.entries.last()?.index
            }
            Job::Install(job) => {
                let view = &self.views[&group];
                view.replace_data(job.index);
                open(&engine).install(decode(&job.header));
                view.data_restored();
                job.index
            }
        };
        Some(Event::Applied { group, index })
    }
}

/// A snapshot as the header of its message.
pub(crate) fn encode(data: &Data) -> bytes::Bytes {
    let mut bytes = Vec::new();
    bytes.extend(data.applied.0.to_be_bytes());
    bytes.extend(data.applied.1.to_be_bytes());
    for (key, value) in &data.registers {
        bytes.push(*key);
        bytes.extend(value.to_be_bytes());
    }
    bytes.into()
}

fn decode(bytes: &[u8]) -> Data {
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let registers = bytes[16..].chunks_exact(9).map(|chunk| (chunk[0], number(&chunk[1..])));
    Data { registers: registers.collect(), applied: (number(&bytes[..8]), number(&bytes[8..16])) }
}
