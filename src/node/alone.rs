//! A node alone, over files in memory: what a start finds of a log, and answers to questions. Nobody hears of it.
//!
//! It is the same node that a start would give, so that nothing is read here in another way than there. It writes to memory, has
//! no neighbours, and its clock stands. The log must fit into memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Boot, BootError, BootReport, Command, CommandError, Effect, Input, Io, IoOutcome, Node, Outcome, Progress, Setup,
};
use crate::documents::{self, Engine, Listed};
use crate::types::{CommandId, DiskFault, DiskFaultKind, DocId, Now, SegmentId, Time, WallTime};

/// Documents asked for at once.
const PAGE: usize = 1_000;

/// A node over files in memory.
pub struct Alone {
    node: Box<Node>,
    host: Host,
    next: u64,
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone").field("node", &self.node.identity).finish_non_exhaustive()
    }
}

/// Performs every effect at once.
struct Host {
    files: BTreeMap<SegmentId, Vec<u8>>,
    engine: Engine,
    reply: Option<Result<Outcome, CommandError>>,
    now: Now,
}

/// When a start ends before its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// It has changed the files so often.
    pub(crate) changes: u64,
    /// Of the next change, if that is a write, it has done a half.
    pub(crate) half: bool,
}

/// A node, what its start tells, and what it is to be told first.
type Begun = (Box<Node>, BootReport, VecDeque<Input>);

impl Alone {
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
        let mut host = Host::over(files, &setup, wall);
        let (node, report, inputs) = host.boot(setup, None)?.expect("nothing ends it");
        let mut alone = Self { node, host, next: 0 };
        alone.settle(inputs);
        Ok((alone, report))
    }

    /// The same without what the node does first: documents are not put together.
    ///
    /// # Errors
    /// Why there is no node.
    #[cfg(feature = "sim")]
    pub(crate) fn begun(
        files: BTreeMap<SegmentId, Vec<u8>>,
        setup: Setup,
        wall: WallTime,
    ) -> Result<(Box<Node>, BootReport), BootError> {
        let mut host = Host::over(files, &setup, wall);
        host.boot(setup, None).map(|begun| begun.expect("nothing ends it")).map(|(node, report, _)| (node, report))
    }

    /// What a start leaves of these files that ends as it is said, if it changes them that often.
    #[cfg(feature = "sim")]
    #[must_use]
    pub(crate) fn crashed(
        files: BTreeMap<SegmentId, Vec<u8>>,
        setup: Setup,
        wall: WallTime,
        crash: Crash,
    ) -> BTreeMap<SegmentId, Vec<u8>> {
        let mut host = Host::over(files, &setup, wall);
        // Whatever it comes to.
        let _ = host.boot(setup, Some(crash));
        host.files
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The files, as they are by now.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<SegmentId, Vec<u8>> {
        &self.host.files
    }

    /// The documents with this prefix and their contents, in order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn documents(&mut self, prefix: &str) -> Result<BTreeMap<DocId, Value>, CommandError> {
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
    pub fn ask(&mut self, command: Command) -> Result<Outcome, CommandError> {
        self.next += 1;
        self.host.reply = None;
        self.settle(VecDeque::from([Input::Command { id: CommandId::new(self.next), command }]));
        self.host.reply.take().expect("a node alone answers at once")
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
    fn over(files: BTreeMap<SegmentId, Vec<u8>>, setup: &Setup, wall: WallTime) -> Self {
        let engine = Engine::new(setup.config.documents.limits).with_customs(setup.config.documents.customs.clone());
        Self { files, engine, reply: None, now: Now { mono: Time::ZERO, wall } }
    }

    /// A start, to its end; none if it crashes before.
    fn boot(&mut self, setup: Setup, crash: Option<Crash>) -> Result<Option<Begun>, BootError> {
        let (mut boot, mut inputs, mut done) = (Box::new(Boot::start(setup)), VecDeque::new(), 0);
        loop {
            while let Some(effect) = boot.poll_effect() {
                let is_change = matches!(effect, Effect::Persist { .. } | Effect::Io { op: Io::Truncate { .. }, .. });
                if let Some(crash) = crash.filter(|crash| is_change && crash.changes == done) {
                    self.half(crash, effect);
                    return Ok(None);
                }
                done += u64::from(is_change);
                inputs.extend(self.perform(effect));
            }
            let input = inputs.pop_front().expect("a boot waits for what it asked for");
            match boot.handle(self.now, input) {
                Progress::Booting(more) => boot = more,
                Progress::Ready(node, report) => return Ok(Some((node, report, inputs))),
                Progress::Refused(error) => return Err(error),
            }
        }
    }

    /// What is done of a change during which the start ends.
    fn half(&mut self, crash: Crash, effect: Effect) {
        if let Effect::Persist { segment, bytes, .. } = effect
            && crash.half
        {
            self.files.entry(segment).or_default().extend_from_slice(&bytes[..bytes.len() / 2]);
        }
    }

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
            Io::Truncate { segment, len: 0 } => {
                self.files.remove(&segment);
                Ok(IoOutcome::Truncated)
            }
            Io::Truncate { segment, len } => {
                let bytes = self.files.get_mut(&segment).ok_or_else(missing)?;
                bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                Ok(IoOutcome::Truncated)
            }
            // Nothing is refused here, so nobody asks.
            Io::Reopen { .. } => Err(missing()),
        }
    }
}
