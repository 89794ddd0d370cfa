//! Snapshots for followers: read piece by piece while writes go on, carried before the message that announces them, received into
//! synced files, and installed from there, again after a crash (R9, R18).

use bytes::{BufMut, Bytes};
use stator_consensus::{Event, GroupId, InstallJob, PeerMessage, ReplicaId};
use stator_storage::Error;
use stator_storage::disk::{CrashDisk, Disk};
use stator_storage::engine::{Batch, Engine};
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::snapshot::SnapshotFooter;
use stator_storage::partition::{
    AppliedRecord, PartitionApplier, ReplicaState, SnapshotHeader, SnapshotReader,
};

use crate::apply::is_engines;
use crate::faults::{CrashKind, Fault};
use crate::node::{Installing, Sending, SnapshotParcel};
use crate::time::{MS, US};
use crate::world::{Action, Step, World};

/// Keys deleted in one step of an installation.
const CLEAR_STEP: usize = 20;

impl World {
    /// A follower of a group led here needs a snapshot.
    pub(crate) fn begin_snapshot(&mut self, node: usize, group: GroupId, to: ReplicaId) {
        let id = self.rng.next() >> 1;
        // What it is like at its beginning is noted, for what is installed from it to be compared with.
        self.compare_replica(node, group);
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(replica) = process.replicas.get(&group) else { return };
        // The apply thread would do this between two jobs, and so does this.
        let Ok(writer) = replica.applier.begin_snapshot(id) else {
            return self.tell(node, Event::SnapshotSent { group, to, arrived: false });
        };
        let frames = vec![writer.header().encode()];
        process.sending.insert(group, Sending { to, writer: Some(writer), frames });
        self.after(100 * US, node, Step::Cut(group));
    }

    /// Reads the next chunk of a snapshot.
    pub(crate) fn cut_snapshot(&mut self, node: usize, group: GroupId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(replica) = process.replicas.get(&group) else { return };
        let Some(sending) = process.sending.get_mut(&group) else { return };
        let Some(writer) = &mut sending.writer else { return };
        match writer.next_chunk(self.plan.chunk_bytes) {
            Ok(Some(frame)) => {
                sending.frames.push(frame);
                let delay = self.rng.between(100 * US, 60 * MS);
                self.after(delay, node, Step::Cut(group));
            }
            Ok(None) => {
                let Some(writer) = sending.writer.take() else { return };
                let header = writer.header().clone();
                let Ok(footer) = writer.finish(&replica.applier) else {
                    return self.give_up_snapshot(node, group);
                };
                sending.frames.push(footer);
                let (index, term) = (header.mark.index, header.mark.term);
                let event = Event::SnapshotPrepared { group, index, term, header: header.encode() };
                self.tell(node, event);
            }
            // The data were replaced meanwhile.
            Err(_) => self.give_up_snapshot(node, group),
        }
    }

    fn give_up_snapshot(&mut self, node: usize, group: GroupId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if let Some(sending) = process.sending.remove(&group) {
            self.tell(node, Event::SnapshotSent { group, to: sending.to, arrived: false });
        }
    }

    /// A snapshot has arrived: into a file first, and only then its message to the host.
    pub(crate) fn snapshot_arrives(&mut self, from: usize, to: usize, parcel: SnapshotParcel) {
        let SnapshotParcel { message, frames } = parcel;
        let state = &self.nodes[to];
        let group = message.group;
        let kept = frames
            .first()
            .and_then(|header| SnapshotHeader::decode(header).ok())
            .map(|header| keep(&state.snapshots, group, header.id, &frames));
        if !matches!(kept, Some(Ok(()))) {
            return self.fail(format!("node {to} cannot keep a snapshot"));
        }
        self.note_bytes(to, "snapshot received", &message.payload);
        // Word of it may be lost on the way back; then the sender hears that it was not received.
        let back = self.network.pass(self.now, to, from).first;
        let arrived = back.is_some();
        let at = back.unwrap_or(self.now + 500 * MS);
        let life = self.nodes[from].life;
        let told = Box::new(message.clone());
        self.queue.push(at, Action::SnapshotEnd { from, life, message: told, arrived });
        self.tell(to, Event::Message(message));
    }

    /// The sender hears how the sending of a snapshot ended.
    pub(crate) fn snapshot_ended(&mut self, from: usize, message: &PeerMessage, arrived: bool) {
        let group = message.group;
        if let Some(process) = &mut self.nodes[from].process {
            process.sending.remove(&group);
        }
        self.tell(from, Event::SnapshotSent { group, to: message.to, arrived });
    }

    /// The log begins anew behind a snapshot: it takes the place of the data.
    pub(crate) fn begin_install(&mut self, node: usize, job: &InstallJob) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        let Some(replica) = process.replicas.get_mut(&job.group) else { return };
        replica.lacking = false;
        let frames = SnapshotHeader::decode(&job.header)
            .map_err(|error| error.to_string())
            .and_then(|header| load(&state.snapshots, job.group, header.id))
            .and_then(|frames| Ok((end_index(&frames)?, frames)));
        match frames {
            Ok((end, frames)) => {
                if self.rng.chance(150) {
                    // The power goes while it is being installed, or before that is durable.
                    let at = self.now + self.rng.between(0, 30 * MS);
                    let (kind, down) = (CrashKind::PowerCut, 50 * MS);
                    self.queue.push(at, Action::Fault(Fault::Crash { node, kind, down }));
                }
                replica.view.replace_data(end);
                process.installing = Some(Installing {
                    group: job.group,
                    frames: frames.into(),
                    begun: false,
                    cleared: false,
                });
            }
            Err(what) => self.fail(format!("node {node} cannot install a snapshot: {what}")),
        }
    }

    /// One step of an installation.
    pub(crate) fn install_step(&mut self, node: usize) {
        if self.blacks_out(node) {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(mut installing) = process.installing.take() else { return };
        let group = installing.group;
        let Some(replica) = process.replicas.get_mut(&group) else { return };
        match step(&mut replica.applier, &mut installing) {
            Ok(None) => process.installing = Some(installing),
            Ok(Some(index)) => {
                replica.applied = index;
                replica.view.data_restored();
                self.trace.note(
                    self.now,
                    format_args!("{node} installed group {} as of {index}", group.0),
                );
                self.reached.one("snapshots installed");
                self.compare_replica(node, group);
                self.tell(node, Event::Applied { group, index });
            }
            Err(error) => {
                // The engine failed, or has lost a part: from the beginning, from the file.
                self.trace.note(self.now, format_args!("{node} install failed: {error}"));
                self.reached.one("installations begun again");
                let state = &self.nodes[node];
                let frames = latest(&state.snapshots, group);
                let Some((_, frames)) = frames else {
                    return self.fail(format!("node {node} has lost a snapshot: {error}"));
                };
                let again =
                    Installing { group, frames: frames.into(), begun: false, cleared: false };
                if let Some(process) = &mut self.nodes[node].process {
                    process.installing = Some(again);
                }
                if is_engines(&error) {
                    self.reopen(node);
                }
            }
        }
    }

    /// The engine holds a group durably up to an index: older snapshots are not needed to install again.
    pub(crate) fn forget_snapshots(&mut self, node: usize, group: GroupId, durable: u64) {
        let disk = &self.nodes[node].snapshots;
        for (name, header) in kept(disk, group) {
            if header.mark.index < durable {
                // A name that comes back after a crash is only forgotten again.
                let _ = disk.remove(&name);
            }
        }
    }
}

/// A snapshot that the log was reset to, and that the engine does not hold, or no longer, is installed from its file.
pub(crate) fn install_again(
    disk: &CrashDisk,
    applier: &mut PartitionApplier,
    group: GroupId,
    mark: (u64, u64),
) -> stator_storage::Result<()> {
    let mut kept = kept(disk, group).into_iter();
    let found = kept.find(|(_, header)| (header.mark.index, header.mark.term) == mark);
    let frames = found
        .ok_or_else(|| format!("there is none at {mark:?} of group {}", group.0))
        .and_then(|(_, header)| load(disk, group, header.id))
        .map_err(|what| Error::corruption("a snapshot", 0, what))?;
    let mut installing = Installing { group, frames: frames.into(), begun: false, cleared: false };
    while step(applier, &mut installing)?.is_none() {}
    Ok(())
}

/// A planted bug: what lies in the range is taken for the whole snapshot.
pub(crate) fn take_for_installed(
    engine: &dyn Engine,
    disk: &CrashDisk,
    group: GroupId,
    mark: (u64, u64),
) -> Result<(), String> {
    let mut kept = kept(disk, group).into_iter();
    let header = kept.find(|(_, header)| (header.mark.index, header.mark.term) == mark);
    let (_, header) = header.ok_or("the snapshot is not there")?;
    let record = AppliedRecord {
        state: ReplicaState::Serving,
        mark: header.mark,
        generation: header.generation,
        highest_stamp: header.highest_stamp,
        counters: header.counters,
        complete_from: 0,
        install_steps: 0,
    };
    let mut batch = Batch::default();
    record.put(group, &mut batch);
    engine.write(&batch).map_err(|error| error.to_string())
}

/// One step of an installation; the index it ends at once it is over.
fn step(
    applier: &mut PartitionApplier,
    installing: &mut Installing,
) -> stator_storage::Result<Option<u64>> {
    if !installing.begun {
        if let Some(header) = installing.frames.pop_front() {
            applier.begin_install(&header)?;
        }
        installing.begun = true;
        return Ok(None);
    }
    if !installing.cleared {
        installing.cleared = applier.clear_some(CLEAR_STEP)?;
        return Ok(None);
    }
    let Some(frame) = installing.frames.pop_front() else {
        return Err(Error::corruption("a snapshot", 0, "it has no end"));
    };
    if installing.frames.is_empty() {
        return Ok(Some(applier.finish_install(&frame)?.index));
    }
    applier.install_chunk(&frame)?;
    Ok(None)
}

fn file_name(group: GroupId, id: u64) -> String {
    format!("{}-{id}.snapshot", group.0)
}

/// Keeps a snapshot in a synced file.
fn keep(disk: &CrashDisk, group: GroupId, id: u64, frames: &[Bytes]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.put_u32(frame.len() as u32);
        bytes.extend_from_slice(frame);
    }
    let file = disk.create(&file_name(group, id), bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    disk.sync_dir()
}

/// The snapshots of a group that are kept, by name.
fn kept(disk: &CrashDisk, group: GroupId) -> Vec<(String, SnapshotHeader)> {
    let names = disk.list().unwrap_or_default();
    let prefix = format!("{}-", group.0);
    let of_group = names.into_iter().filter(|name| name.starts_with(&prefix));
    let with_header = of_group.filter_map(|name| {
        let frames = parse(&Bytes::from(disk.bytes(&name)?))?;
        let header = SnapshotHeader::decode(frames.first()?).ok()?;
        Some((name, header))
    });
    with_header.collect()
}

/// A group is no more: neither are its snapshots.
pub(crate) fn forget_all(disk: &CrashDisk, group: GroupId) {
    for (name, _) in kept(disk, group) {
        let _ = disk.remove(&name);
    }
}

/// The newest snapshot of a group that is kept.
fn latest(disk: &CrashDisk, group: GroupId) -> Option<(SnapshotHeader, Vec<Bytes>)> {
    let (_, header) = kept(disk, group).into_iter().max_by_key(|(_, header)| header.mark.index)?;
    let frames = load(disk, group, header.id).ok()?;
    Some((header, frames))
}

fn load(disk: &CrashDisk, group: GroupId, id: u64) -> Result<Vec<Bytes>, String> {
    let bytes = disk.bytes(&file_name(group, id)).ok_or("its file is not there")?;
    let mut frames = parse(&Bytes::from(bytes)).ok_or("its file is not whole")?;
    if planted(Mutation::SnapshotServedEarly)
        && let Some(Ok(header)) = frames.first().map(SnapshotHeader::decode)
        && let Some(footer) = frames.last_mut()
    {
        *footer = with_end(footer, &header);
    }
    Ok(frames)
}

/// The footer of a snapshot, saying that it is as of one entry.
fn with_end(footer: &Bytes, header: &SnapshotHeader) -> Bytes {
    let number = |at: usize| footer.get(at..at + 4).and_then(|it| it.try_into().ok());
    let chunks = u32::from_be_bytes(number(2).unwrap_or_default());
    let items = footer.get(6..14).and_then(|it| it.try_into().ok()).unwrap_or_default();
    let items = u64::from_be_bytes(items);
    SnapshotFooter { chunks, items, end_index: header.mark.index }.encode(header.id)
}

fn parse(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        frames.push(bytes.slice_ref(bytes.get(at + 4..at + 4 + len)?));
        at += 4 + len;
    }
    Some(frames)
}

/// Up to where a replica has to apply before the snapshot's items are as of one entry.
fn end_index(frames: &[Bytes]) -> Result<u64, String> {
    let describe = |error: Error| error.to_string();
    let [header, chunks @ .., footer] = frames else {
        return Err("a snapshot of no frames".to_owned());
    };
    let mut reader = SnapshotReader::new(header).map_err(describe)?;
    for chunk in chunks {
        reader.chunk(chunk).map_err(describe)?;
    }
    let (_, footer) = reader.finish(footer).map_err(describe)?;
    Ok(footer.end_index)
}
