//! Turns of a host as scripts: events in, effects out, line by line. `STATOR_BLESS=1` writes the traces anew.
//!
//! A script's lines are `time-ms event...`, one turn each, and below each, indented, what the turn came to:
//!
//! ```text
//! 10 put 1=7 @a        a caller's put, with a token
//!   log entry 12/6 (32 B), hard state 6 vote 1 commit 11
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use stator_consensus::{
    Answer, Class, Config, Effects, Event, GroupId, GroupSpec, Host, Member, NodeId, PeerMessage,
    Recovered, ReplicaId, ReplicaView, StartGroup,
};
use stator_storage::log::Record;

use crate::disk::Disk;
use crate::toy::{Engine, Evaluating, Outcome, Request, SharedEngine, open};
use crate::world::MS;

const GROUP: GroupId = GroupId(1);

struct Stage {
    host: Host<Evaluating, String>,
    engine: SharedEngine,
    view: Arc<ReplicaView>,
    members: Vec<Member>,
    disk: Disk,
}

impl Stage {
    fn new() -> Self {
        let disk = Disk::default();
        Self {
            host: Host::new(Config::default(), Arc::new(disk.clone())),
            engine: Engine::starting_from(Recovered::fresh().applied),
            view: Arc::default(),
            members: Vec::new(),
            disk,
        }
    }

    /// An event by its words.
    fn event(&mut self, words: &str) -> Event<Evaluating, String> {
        let mut words = words.split_whitespace();
        let kind = words.next().expect("an event");
        let rest: Vec<&str> = words.collect();
        let token =
            || rest.last().and_then(|token| token.strip_prefix('@')).expect("a token").to_owned();
        let deadline_ns = 5_000 * MS;
        match kind {
            "start" => self.start(number(rest[0])),
            "tick" => Event::Tick,
            "persisted" => {
                let turn = number(rest[0]);
                self.disk.sync(turn);
                Event::Persisted { turn }
            }
            "applied" => Event::Applied { group: GROUP, index: number(rest[0]) },
            "put" => {
                let (key, value) = rest[0].split_once('=').expect("key=value");
                let request = Request::Put { key: number(key) as u8, value: number(value) };
                Event::Submit { group: GROUP, request, deadline_ns, token: token() }
            }
            "put-if" => {
                let (key, expected) = rest[0].split_once("==").expect("key==expected");
                let (key, expected) = (number(key) as u8, number(expected));
                let request = Request::PutIf { key, expected, value: 99 };
                Event::Submit { group: GROUP, request, deadline_ns, token: token() }
            }
            "dropped" => Event::Dropped { group: GROUP, to: ReplicaId(number(rest[0])) },
            "unreachable" => Event::Unreachable(NodeId(number(rest[0]))),
            "read" => Event::Read { group: GROUP, deadline_ns, token: token() },
            "from" => Event::Message(self.message(number(rest[0]), &rest[1..])),
            other => panic!("no such event: {other}"),
        }
    }

    fn start(&mut self, voters: u64) -> Event<Evaluating, String> {
        let member = |id| Member { replica: ReplicaId(id), node: NodeId(id) };
        self.members = (1..=voters).map(member).collect();
        Event::Start(Box::new(StartGroup {
            spec: GroupSpec { group: GROUP, replica: ReplicaId(1), members: self.members.clone() },
            recovered: Recovered::fresh(),
            fresh: true,
            evaluator: Evaluating::new(self.engine.clone(), self.view.clone()),
            view: self.view.clone(),
        }))
    }

    /// A peer's message: its kind, then `name=number`, and `ctx=term.counter` for a question's context.
    fn message(&self, from: u64, words: &[&str]) -> PeerMessage {
        let mut message = Message::default();
        (message.from, message.to) = (from, 1);
        message.set_msg_type(match words[0] {
            "grants-pre-vote" => MessageType::MsgRequestPreVoteResponse,
            "grants-vote" => MessageType::MsgRequestVoteResponse,
            "has" => MessageType::MsgAppendResponse,
            "alive" => MessageType::MsgHeartbeatResponse,
            other => panic!("no such message: {other}"),
        });
        for word in &words[1..] {
            match word.split_once('=').expect("name=value") {
                ("term", value) => message.term = number(value),
                ("index", value) => message.index = number(value),
                ("commit", value) => message.commit = number(value),
                ("ctx", value) => {
                    let (term, counter) = value.split_once('.').expect("term.counter");
                    let parts = [number(term).to_be_bytes(), number(counter).to_be_bytes()];
                    message.context = parts.concat().into();
                }
                (name, _) => panic!("no such field: {name}"),
            }
        }
        let payload = message.write_to_bytes().expect("small").into();
        let (from, to) = (ReplicaId(from), ReplicaId(1));
        PeerMessage { group: GROUP, from, to, class: Class::Control, payload }
    }

    fn turn(&mut self, now_ms: u64, words: &str) -> String {
        let events: Vec<_> = words.split(" + ").map(|words| self.event(words)).collect();
        let effects = self.host.turn(now_ms * MS, now_ms, events);
        let mut lines = Vec::new();
        self.show(&effects, &mut lines);
        if !effects.log.is_empty() {
            self.disk.stage(effects.turn, effects.log);
        }
        for job in effects.apply {
            open(&self.engine).apply(&job.entries);
        }
        let lease = self.view.begin(now_ms * MS).is_some();
        lines.push(format!("turn {}{}", effects.turn, if lease { ", lease" } else { "" }));
        lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  {line}");
            text
        })
    }

    fn show(&self, effects: &Effects<Evaluating, String>, lines: &mut Vec<String>) {
        for record in &effects.log {
            lines.push(match record {
                Record::Entry { entry, .. } => {
                    format!("log entry {}/{} ({} B)", entry.index, entry.term, entry.data.len())
                }
                Record::HardState { state, .. } => {
                    let (term, vote, commit) = (state.term, state.vote, state.commit);
                    format!("log hard state: term {term}, vote {vote}, commit {commit}")
                }
                Record::Truncate { mark, .. } => format!("log truncate to {}", mark.index),
                Record::Reset { mark, .. } => format!("log reset to {}/{}", mark.index, mark.term),
                Record::Tombstone { .. } => "log tombstone".to_owned(),
            });
        }
        let mut sent: Vec<String> =
            effects.send.iter().map(|(to, message)| show_message(*to, message)).collect();
        // raft-rs keeps its peers in hash maps: their order is no promise.
        sent.sort();
        lines.extend(sent);
        for job in &effects.apply {
            let last = job.entries.last().map_or(0, |entry| entry.index);
            lines.push(format!("apply {}..={last}", job.entries[0].index));
        }
        for (token, answer) in &effects.answers {
            lines.push(match answer {
                Answer::Outcome(Outcome::Done | Outcome::Large(_)) => {
                    format!("answer @{token}: done")
                }
                Answer::Outcome(Outcome::Held(value)) => format!("answer @{token}: held {value}"),
                Answer::MayRead => format!("answer @{token}: may read"),
                Answer::Refused(refusal) => format!("answer @{token}: {refusal:?}"),
            });
        }
        for change in &effects.leader_changes {
            let leader = change.leader.map_or("nobody".to_owned(), |node| format!("node {node}"));
            lines.push(format!("leader of term {}: {leader}", change.term));
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn show_message(to: NodeId, peer: &PeerMessage) -> String {
    let mut message = Message::default();
    message.merge_from_bytes(&peer.payload).expect("ours");
    let mut text = format!("to {to} {:?} term {}", message.get_msg_type(), message.term);
    if message.get_msg_type() == MessageType::MsgAppend {
        let count = message.entries.len();
        let _ = write!(text, " after {}/{}: {count} entries", message.index, message.log_term);
    }
    if message.commit > 0 {
        let _ = write!(text, ", commit {}", message.commit);
    }
    if !message.context.is_empty() {
        let counter = message.context.last().copied().unwrap_or_default();
        let _ = write!(text, ", question {counter}");
    }
    text
}

fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/golden").join(name);
    let script = std::fs::read_to_string(&path).expect("the script is there");
    let mut stage = Stage::new();
    let mut played = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(played, "{line}");
        if let Some((time, words)) = line.split_once(' ').filter(|_| !line.starts_with('#')) {
            played += &stage.turn(number(time), words);
        }
    }
    if std::env::var_os("STATOR_BLESS").is_some() {
        std::fs::write(&path, &played).expect("written");
    }
    assert_eq!(script, played, "{name}: the trace is another; STATOR_BLESS=1 writes it anew");
}

#[test]
fn a_group_of_one_puts() {
    play("one.txt");
}

#[test]
fn a_group_of_three_puts() {
    play("three.txt");
}

#[test]
fn a_lease_comes_and_goes() {
    play("lease.txt");
}

#[test]
fn a_failed_condition_rests_on_what_it_saw() {
    play("condition.txt");
}

#[test]
fn what_is_dropped_is_asked_for() {
    play("dropped.txt");
}
