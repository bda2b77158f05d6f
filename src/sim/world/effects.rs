//! Effects: one input is handled, and what the node wants done is done.

use std::fmt;

use super::super::check::{AtDisk, Sight};
use super::super::cost;
use super::super::guest::Tell;
use super::super::host::{Asked, Life};
use super::super::outcome::Line;
use super::super::plan::Fault;
use super::super::witness::{Happened, Seen};
use super::faults::address_of;
use super::{Due, World, hashed};
use crate::documents::{Engine, Stamp};
use crate::node::{
    Boot, BootReport, CommandError, Copies, Effect, Event, Identity, Input, Io, IoOutcome, Outcome, Progress, Setup,
};
use crate::types::{ClusterId, CommandId, DiskFault, Hlc, LogId, NodeId, Seq};
use crate::{consensus, documents, membership};

/// Reading and changing files, without a sync.
const IO_NS: u64 = 40_000;
/// Reading, for each KiB.
const IO_NS_KIB: u64 = 500;
/// A client tries an edit so often: it may find no document, and then another client's.
const TRIES_MAX: u32 = 3;
/// From the start of a process to its first step.
const START_NS: u64 = 5_000_000;

impl World<'_> {
    /// A process begins on what the disk holds.
    pub(super) fn start(&mut self, place: u32) {
        let now = self.mesh.now;
        let node = &self.scenario.mesh.nodes()[place as usize];
        let address = address_of(place, self.mesh.hosts[place as usize].address);
        let meta = membership::Meta {
            name: node.name.clone(),
            region: node.region.clone().unwrap_or_default(),
            zone: node.zone.clone().unwrap_or_default(),
            priority: node.priority,
            observer: node.role == crate::topology::Role::Observer,
            addresses: vec![address],
            protocol: self.mesh.hosts[place as usize].protocol(),
            ..membership::Meta::default()
        };
        let config = self.config_with_policies(place);
        let host = &mut self.mesh.hosts[place as usize];
        if host.runs() {
            return;
        }
        host.forget(now);
        (host.down_by, host.down_since) = (None, None);
        if host.is_next {
            host.disk.take_newer();
        }
        host.disk.open();
        let setup = Setup {
            identity: Identity { node: host.id, cluster: ClusterId::from_bytes([7; 32]) },
            seed: self.luck.seed(&format!("node {place} epoch {}", host.epoch)),
            meta,
            config,
            founds: place == 0 && !self.founded,
        };
        host.engine = Engine::new(setup.config.documents.limits).with_customs(setup.config.documents.customs.clone());
        host.life = Life::Booting(Box::new(Boot::start(setup)));
        host.busy_until = now + START_NS;
        self.at_disk(place, AtDisk::Starts);
        self.figures.starts += 1;
        self.note(place, &"start");
        self.seen(place, &Seen::Start);
        self.trace.event(now, place, 0);
        self.drain(place, now + START_NS);
    }

    /// Handles one input and performs its effects.
    pub(super) fn step(&mut self, place: u32, input: Input) {
        let now = self.mesh.now;
        hashed::input(&mut self.trace, now, place, &input);
        self.note(place, &input);
        if !self.mesh.hosts[place as usize].wrongs.is_empty() {
            self.acted_at(place, |fault| matches!(fault, Fault::Slow { .. }));
        }
        self.seen(place, &Seen::Input(&input));
        self.on_heard(place, &input);
        let host = &mut self.mesh.hosts[place as usize];
        if matches!(input, Input::IoDone { result: Ok(IoOutcome::Truncated), .. }) {
            host.disk.answered_removal();
        }
        let cost = cost::of_input(&input) * host.slowness();
        let read = host.clock.read(now);
        host.busy_until = now + cost;
        host.inputs += 1;
        match std::mem::replace(&mut host.life, Life::Off) {
            Life::Up(mut node) => {
                node.handle(read, input);
                host.life = Life::Up(node);
                self.drain(place, now + cost);
            }
            Life::Booting(boot) => match boot.handle(read, input) {
                Progress::Booting(boot) => {
                    host.life = Life::Booting(boot);
                    self.drain(place, now + cost);
                }
                Progress::Ready(node, report) => {
                    host.life = Life::Up(node);
                    self.ready(place, &report);
                    self.drain(place, now + cost);
                }
                Progress::Refused(error) => {
                    host.life = Life::Refused;
                    host.down_since = Some(now);
                    self.note(place, &format_args!("refused: {error}"));
                    self.seen(place, &Seen::Refused(&error));
                    self.refused(place, &error);
                }
            },
            life @ (Life::Off | Life::Refused) => host.life = life,
        }
    }

    /// A node may speak from now on.
    fn ready(&mut self, place: u32, report: &BootReport) {
        let now = self.mesh.now;
        self.note(place, report);
        self.seen(place, &Seen::Ready(report));
        self.figures.cuts += u64::from(report.cut.is_some());
        let host = self.host(place);
        if host.ailments == 0 {
            host.well_since = now;
        }
        self.recall_policies(place);
        self.seek(place);
        self.guest_starts(place);
        let verdict = self.checks.on_ready(&Sight::new(&self.mesh, self.scenario), place, report);
        self.judge(verdict);
    }

    pub(super) fn sight(&self) -> Sight<'_> {
        Sight::new(&self.mesh, self.scenario)
    }

    fn drain(&mut self, place: u32, at: u64) {
        loop {
            let effect = match &mut self.mesh.hosts[place as usize].life {
                Life::Up(node) => node.poll_effect(),
                Life::Booting(boot) => boot.poll_effect(),
                Life::Off | Life::Refused => None,
            };
            let Some(effect) = effect else { return };
            hashed::effect(&mut self.trace, &effect);
            self.note(place, &effect);
            self.seen(place, &Seen::Effect(&effect));
            self.perform(place, at, effect);
        }
    }

    fn perform(&mut self, place: u32, at: u64, effect: Effect) {
        match effect {
            Effect::Send { to, lane, frame } => {
                self.on_said(place, to, lane, &frame);
                let Some(to) = self.place_of(to) else { return };
                self.spread.on_frame(&self.mesh, self.scenario, place, to, &frame);
                let host = &self.mesh.hosts[place as usize];
                if host.wrongs.is_empty() && !host.is_next {
                    self.send(place, to, lane, frame, at);
                } else {
                    self.missend(place, to, lane, frame, at);
                }
            }
            Effect::Persist { id, segment, offset, bytes } => {
                self.figures.bytes_written += bytes.len() as u64;
                match self.host(place).disk.write(id, segment, offset, &bytes) {
                    Ok(()) => {
                        self.at_disk(place, AtDisk::Writes { segment, offset, bytes: &bytes });
                        self.sync(place, at);
                        let writing = |fault: &Fault| matches!(fault, Fault::CrashWriting { .. });
                        if let Some(item) = self.host(place).wrong(writing) {
                            self.queue.push(at, self.cause, Due::Strike { item });
                        }
                    }
                    Err(why) => {
                        let verdict = self.checks.edge(&self.sight(), place, &why);
                        self.judge(verdict);
                    }
                }
            }
            Effect::Io { id, op } => {
                let (result, bytes) = self.io(place, &op);
                let cost = (IO_NS + bytes / 1_024 * IO_NS_KIB) * self.slow_disk(place);
                if self.stalls(place) {
                    self.host(place).stalled_io.push((id, result));
                } else {
                    self.later(place, at + cost, Input::IoDone { id, result });
                }
            }
            Effect::Task { id, task } => self.work(place, at, id, task),
            Effect::Pack { id, pack } => {
                let took = cost::of_pack(&pack) * self.host(place).slowness();
                let input = Input::Packed { id, bytes: pack.run() };
                self.later(place, at + took, input);
            }
            Effect::Dial { peer, addresses } => {
                let heard = |to: &u32| {
                    let address = self.mesh.hosts[*to as usize].address;
                    address == 0 || addresses.contains(&address_of(*to, address))
                };
                match self.place_of(peer).filter(heard) {
                    Some(to) => self.dial(place, to, at),
                    // Whoever answers there is somebody else, and mostly nobody answers.
                    None => {
                        let timeout = at + self.mesh.net.dial_timeout();
                        self.mesh.net.stats.failed_dials += 1;
                        self.later(place, timeout, Input::DialFailed { peer });
                    }
                }
            }
            Effect::Close { peer, .. } => {
                if let Some(peer) = self.place_of(peer) {
                    self.close(place, peer);
                }
            }
            Effect::KeepPolicy { policy, .. } => self.keep_policy(place, at, policy),
            Effect::Reply { id, result } => self.reply(place, id, result),
            Effect::Notify(event) => self.notify(place, &event),
        }
    }

    /// The place of a peer; none if nobody has this id.
    pub(super) fn place_of(&self, id: NodeId) -> Option<u32> {
        super::place_in(&self.mesh.hosts, id)
    }

    pub(super) fn later(&mut self, place: u32, at: u64, input: Input) {
        let epoch = self.host(place).epoch;
        self.queue.push(at, self.cause, Due::Input { host: place, epoch, input: Box::new(input) });
    }

    /// Lets the disk sync, if it is not at it already.
    pub(super) fn sync(&mut self, place: u32, at: u64) {
        let disk = &self.scenario.says.disk;
        let (least, jitter) = (disk.sync.0, disk.jitter.0);
        let draws = self.draws.sync;
        let host = self.host(place);
        if !host.disk.start_sync() {
            return;
        }
        host.disk_ops += 1;
        let took = least + draws.exponential(u64::from(place), host.disk_ops, jitter);
        let epoch = host.epoch;
        let at = at + took * self.slow_disk(place);
        self.queue.push(at, self.cause, Due::Synced { host: place, epoch });
    }

    pub(super) fn synced(&mut self, place: u32, epoch: u32) {
        let now = self.mesh.now;
        if self.host(place).epoch != epoch {
            return;
        }
        if self.stalls(place) {
            self.host(place).stalled_sync = true;
            return;
        }
        self.figures.syncs += 1;
        let covered = self.host(place).disk.covered();
        let answers = self.host(place).disk.finish_sync();
        for ((segment, offset, len), (id, result)) in covered.into_iter().zip(answers) {
            if result.is_err() {
                self.failed(place);
            }
            self.at_disk(place, AtDisk::Answers { segment, offset, len, result: &result });
            self.feed(place, Input::Persisted { id, result });
        }
        self.sync(place, now);
    }

    /// Shows the checks what happens at a disk.
    fn at_disk(&mut self, place: u32, what: AtDisk<'_>) {
        let verdict = self.checks.on_disk(&Sight::new(&self.mesh, self.scenario), place, what);
        self.judge(verdict);
    }

    fn io(&mut self, place: u32, op: &Io) -> (Result<IoOutcome, DiskFault>, u64) {
        if let Io::Truncate { segment, len: 0 } = *op {
            self.at_disk(place, AtDisk::Removes { segment });
        }
        let disk = &mut self.host(place).disk;
        match *op {
            Io::List => (Ok(IoOutcome::Listed(disk.list())), 0),
            Io::Read { segment, offset, len } => {
                let mut read = disk.read(segment, offset, len);
                if let Ok(bytes) = &read
                    && !self.mesh.hosts[place as usize].wrongs.is_empty()
                {
                    read = self.misread(place, bytes).unwrap_or(read);
                }
                let len = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                self.at_disk(place, AtDisk::Reads { len });
                (read.map(IoOutcome::Read), len)
            }
            Io::Truncate { segment, len } => (disk.truncate(segment, len).map(|()| IoOutcome::Truncated), 0),
            Io::Reopen { ends, room } => {
                let result = disk.reopen(ends, room).map(|()| IoOutcome::Reopened);
                if result.is_ok() {
                    self.at_disk(place, AtDisk::Reopens);
                }
                (result, 0)
            }
        }
    }

    /// One worker a peer: tasks keep their order, and take as long as the engine says.
    fn work(&mut self, place: u32, at: u64, id: crate::types::TaskId, mut task: documents::Task) {
        let host = self.host(place);
        if let documents::Task::Apply { changes, .. } = &mut task
            && let Some(item) = host.loses_change.take()
        {
            changes.pop();
            self.acted(item);
        }
        let host = self.host(place);
        let took = cost::of_task(&host.engine, &task) * host.slowness();
        let done = host.engine.run(task);
        host.worker_free = host.worker_free.max(at) + took;
        let at = host.worker_free;
        self.figures.tasks += 1;
        hashed::done(&mut self.trace, &done);
        self.later(place, at, Input::TaskDone { id, done });
    }

    fn reply(&mut self, place: u32, id: CommandId, result: Result<Outcome, CommandError>) {
        let Some(asked) = self.host(place).asked.remove(&id) else {
            let verdict =
                self.checks.edge(&self.sight(), place, &format!("an answer to command {id}, which nobody asks"));
            return self.judge(verdict);
        };
        match (asked, result) {
            (Asked::Edit { number, .. }, Ok(Outcome::Copied { outcome, copies })) => {
                let Outcome::Documents(documents::Outcome::Edited { stamp, .. }) = *outcome else { return };
                if let Some(stamp) = stamp {
                    self.on_copied(place, Some(number), (stamp.log, stamp.seq), &copies);
                }
                self.on_edited(place, number, stamp);
            }
            (Asked::Edit { number, .. }, Err(CommandError::NotReplicated { place: Some((log, seq)), .. })) => {
                self.figures.uncopied += 1;
                self.on_edited(place, number, Some(Stamp { log, seq, hlc: Hlc::default() }));
            }
            (Asked::Edit { number, .. }, Ok(Outcome::Documents(documents::Outcome::Edited { stamp, .. }))) => {
                self.on_edited(place, number, stamp);
            }
            (Asked::Edit { number, tries }, Err(CommandError::Documents(error)))
                if retriable(&error) && tries < TRIES_MAX =>
            {
                let create = matches!(error, documents::Error::NotFound { .. });
                self.ask_edit(place, number, tries + 1, create);
            }
            (Asked::Edit { .. }, _) => self.figures.edits_refused += 1,
            (Asked::Append { number }, result) => self.on_append(place, number, result),
            (Asked::Stream { stream }, result) => self.on_stream_page(place, stream, result),
            (Asked::Proposal { number, at }, result) => self.on_decided(place, number, at, result),
            (Asked::Step, result) => self.on_step(place, result),
            (Asked::Content, result) => self.on_content(place, result),
            (Asked::Met { look }, result) => self.on_met(place, look, result),
            (Asked::Hold, _) => {}
            (Asked::Guest, result) => self.tell_guest(place, Tell::Answered(id, result)),
            (Asked::Leave, _) => self.left(place),
        }
    }

    fn on_edited(&mut self, place: u32, number: usize, stamp: Option<Stamp>) {
        self.figures.acknowledged += 1;
        let verdict = self.checks.on_acknowledged(&Sight::new(&self.mesh, self.scenario), place, number, stamp);
        self.judge(verdict);
    }

    /// A write was acknowledged with copies.
    pub(super) fn on_copied(&mut self, place: u32, edit: Option<usize>, entry: (LogId, Seq), copies: &Copies) {
        self.figures.copied += 1;
        let sight = Sight::new(&self.mesh, self.scenario);
        let verdict = self.checks.on_copied(&sight, place, edit, entry, &copies.members);
        self.judge(verdict);
    }

    fn notify(&mut self, place: u32, event: &Event) {
        self.founded |= matches!(event, Event::Consensus(consensus::Event::Elected { .. }));
        self.spread.on_event(&self.mesh, place, event);
        self.mesh.trust.on_event(&self.mesh.hosts, place, event);
        let verdict = self.checks.on_event(&Sight::new(&self.mesh, self.scenario), place, event);
        self.judge(verdict);
        self.tell_guest(place, Tell::Heard(event));
    }

    /// A fault that found nothing to break is over at once.
    pub(super) fn came_to_nothing(&mut self, item: usize) {
        if !self.mesh.active[item] && self.witness.is_some() {
            let says = self.mesh.plan.items[item].clone();
            self.seen(says.fault.peer().unwrap_or_default(), &Seen::Ends { item, says: &says });
        }
    }

    /// Shows whoever watches the run what happens at a peer.
    pub(super) fn seen(&mut self, place: u32, what: &Seen<'_>) {
        if let Some(witness) = &mut self.witness {
            let happened = Happened { at: self.mesh.now, id: self.cause, cause: self.caused_by };
            witness.seen(happened, place, what);
        }
    }

    /// Tells whoever watches the run.
    pub(super) fn note(&mut self, place: u32, what: &dyn fmt::Debug) {
        if let Some(sink) = &mut self.sink {
            let name = self.scenario.mesh.nodes()[place as usize].name.clone();
            let (event, cause) = (self.cause.0, self.caused_by.0);
            sink(Line { at: self.mesh.now, event, cause, node: name, what: format!("{what:?}") });
        }
    }
}

/// Whether a client tries again: the document is not there yet, or by now.
fn retriable(error: &documents::Error) -> bool {
    use documents::Error as E;
    matches!(error, E::NotFound { .. } | E::Exists { .. } | E::NoSuchPath { .. })
}
