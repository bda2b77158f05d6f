//! What a log held at a moment: a node that is booted from frames in memory and answers questions, and of which nobody hears.
//!
//! It is the same node that a start would give, so that nothing is read here in another way than there. It writes to memory, has
//! no neighbours, and its clock stands. The log up to the moment must fit into memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use super::source::{Source, SourceError};
use super::survey::{Located, Survey};
use super::target::Mark;
use crate::documents::{self, Engine, Listed};
use crate::membership::Meta;
use crate::node::{
    Boot, BootError, BootReport, Command, CommandError, Config, Effect, Identity, Input, Io, IoOutcome, Node, Outcome, Progress,
    Setup,
};
use crate::types::{
    Chain, ClusterId, CommandId, Digest, DiskFault, DiskFaultKind, DocId, Hlc, Lsn, Now, SegmentId, Time, WallTime,
};
use crate::wal::{self, End, Writer};

/// Documents asked for at once.
const PAGE: usize = 1_000;

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// The log could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No node can be made of it.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A question was refused.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// A log at a moment.
pub struct Look {
    node: Box<Node>,
    host: Host,
    next: u64,
}

/// Performs every effect at once.
struct Host {
    files: BTreeMap<SegmentId, Vec<u8>>,
    engine: Engine,
    reply: Option<Result<Outcome, CommandError>>,
    now: Now,
}

impl Look {
    /// The log at a moment.
    ///
    /// # Errors
    /// [`LookError`]: it cannot be read, or a node would not boot from it.
    pub fn at(source: &Source, survey: &Survey, located: &Located) -> Result<Self, LookError> {
        let files = gather(source, survey, located)?;
        let Mark { at, .. } = located.last;
        let setup = Setup {
            identity: Identity { node: source.node(), cluster: ClusterId::from_bytes([0; 32]) },
            seed: [0; 32],
            meta: Meta::default(),
            config: Config::default(),
        };
        Ok(Self::on(files, setup, at.wall)?.0)
    }

    /// The log in these files, as a start at this time finds it; and what that start tells. Nothing is written but to memory.
    ///
    /// # Errors
    /// Why there is no node.
    pub fn on(
        files: BTreeMap<SegmentId, Vec<u8>>,
        mut setup: Setup,
        wall: WallTime,
    ) -> Result<(Self, BootReport), BootError> {
        // Nobody will start from it.
        setup.config.snapshots.keep = 0;
        let engine = Engine::new(setup.config.documents.limits);
        let mut host = Host { files, engine, reply: None, now: Now { mono: Time::ZERO, wall } };
        let mut boot = Box::new(Boot::start(setup));
        let mut inputs = VecDeque::new();
        let (node, report) = loop {
            while let Some(effect) = boot.poll_effect() {
                inputs.extend(host.perform(effect));
            }
            let input = inputs.pop_front().expect("a boot waits for what it asked for");
            match boot.handle(host.now, input) {
                Progress::Booting(more) => boot = more,
                Progress::Ready(node, report) => break (node, report),
                Progress::Refused(error) => return Err(error),
            }
        };
        let mut look = Self { node, host, next: 0 };
        look.settle(inputs);
        Ok((look, report))
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Equal on two nodes if and only if they hold the same changes of the same documents.
    #[must_use]
    pub fn content(&self) -> Digest {
        self.node.documents().content()
    }

    /// The documents with this prefix and their contents, in order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn documents(&mut self, prefix: &str) -> Result<BTreeMap<DocId, Value>, LookError> {
        let mut found = BTreeMap::new();
        loop {
            let after = found.last_key_value().map(|(doc, _): (&DocId, &Value)| doc.clone());
            let command = documents::Command::Scan { prefix: prefix.into(), after, limit: PAGE, values: true };
            let outcome = self.ask(Command::Documents(command))?;
            let Outcome::Documents(documents::Outcome::Page { docs, more }) = outcome else {
                unreachable!("a scan was answered by {outcome:?}");
            };
            found.extend(docs.into_iter().filter_map(|Listed { doc, value, .. }| value.map(|value| (doc, value))));
            if !more {
                return Ok(found);
            }
        }
    }

    /// Asks the node. An edit would be made in memory alone.
    ///
    /// # Errors
    /// The node's own.
    pub fn ask(&mut self, command: Command) -> Result<Outcome, LookError> {
        self.next += 1;
        self.host.reply = None;
        self.settle(VecDeque::from([Input::Command { id: CommandId::new(self.next), command }]));
        Ok(self.host.reply.take().expect("a node alone answers at once")?)
    }

    fn settle(&mut self, mut inputs: VecDeque<Input>) {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                inputs.extend(self.host.perform(effect));
            }
            match inputs.pop_front() {
                Some(input) => self.node.handle(self.host.now, input),
                None => return,
            }
        }
    }
}

impl Host {
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Persist { id, segment, bytes, .. } => {
                self.files.entry(segment).or_default().extend_from_slice(&bytes);
                Some(Input::Persisted { id, result: Ok(()) })
            }
            Effect::Io { id, op } => Some(Input::IoDone { id, result: self.io(op) }),
            Effect::Pack { id, pack } => Some(Input::Packed { id, bytes: pack.run() }),
            Effect::Task { id, task } => Some(Input::TaskDone { id, done: self.engine.run(task) }),
            Effect::Reply { result, .. } => {
                self.reply = Some(result);
                None
            }
            Effect::Send { .. }
            | Effect::Dial { .. }
            | Effect::Close { .. }
            | Effect::KeepPolicy { .. }
            | Effect::Notify(_) => None,
        }
    }

    fn io(&mut self, op: Io) -> Result<IoOutcome, DiskFault> {
        let missing = || DiskFault {
            kind: DiskFaultKind::Missing,
            what: "read the log in memory".into(),
            why: "there is no such place".into(),
        };
        match op {
            Io::List => Ok(IoOutcome::Listed(self.files.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect())),
            Io::Read { segment, offset, len } => {
                let (from, len) = (usize::try_from(offset).ok(), usize::try_from(len).ok());
                let range = from.zip(len).and_then(|(from, len)| Some(from..from.checked_add(len)?));
                let bytes = range.and_then(|range| self.files.get(&segment)?.get(range));
                bytes.map(|bytes| IoOutcome::Read(Bytes::copy_from_slice(bytes))).ok_or_else(missing)
            }
            Io::Truncate { segment, .. } => {
                self.files.remove(&segment);
                Ok(IoOutcome::Truncated)
            }
            // Nothing is refused here, so nobody asks.
            Io::Reopen { .. } => Err(missing()),
        }
    }
}

/// Both chains up to the moment, in memory.
fn gather(source: &Source, survey: &Survey, located: &Located) -> Result<BTreeMap<SegmentId, Vec<u8>>, LookError> {
    let mut files = BTreeMap::new();
    let begins = survey.begins();
    let later = !survey.trims_after(located.upto.main).is_empty();
    for chain in Chain::ALL {
        let upto = located.upto.of(chain);
        let (segment, next, frames) = match chain {
            Chain::Main => (chain.origin().next(), Lsn::ZERO.next(), source.main(Some(upto))),
            // What expired since is not looked at, as little as the trim that says so.
            Chain::Events if later => continue,
            Chain::Events => (begins.segment, begins.lsn, source.events(begins, Some(upto))),
        };
        let (node, last_hlc) = (source.node(), Hlc::default());
        let end = End { node, store: None, next, segment, offset: 0, cut: None, last_hlc };
        let mut writer = Writer::new(wal::Config::default(), end, source.store());
        for frame in frames {
            let frame = frame?;
            let appended = writer
                .append(frame.kind, frame.hlc, &frame.payload)
                .map_err(|error| SourceError::Log { dir: source.dir().to_owned(), error })?;
            writer.on_persisted(appended.lsn, appended.position);
            files.entry(appended.segment).or_insert_with(Vec::new).extend_from_slice(&appended.bytes);
        }
    }
    Ok(files)
}
