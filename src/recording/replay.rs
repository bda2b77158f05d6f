//! The same life again.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;

use super::digest::{of_done, of_packed};
use super::format::build;
use super::kept::short;
use super::{Entry, Header, Mark, ReadError, Reader};
use crate::documents::{Done, Engine};
use crate::node::{Boot, Effect, Input, Node, Progress, Status};
use crate::types::{NodeId, Now, TaskId, Time};

/// What a replay came to: no effect differed.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Replayed {
    /// Whose life it is.
    pub node: NodeId,
    /// Who recorded it.
    pub build: String,
    /// Inputs.
    pub inputs: u64,
    /// Effects, all the same.
    pub effects: u64,
    /// Tasks of workers, all with the same result.
    pub tasks: u64,
    /// From the first input to the last, in milliseconds of the peer's own time.
    pub lived_ms: u64,
    /// Whether the recording has its end; that of a peer that was killed has none, and lacks the last moments.
    pub ended: bool,
    /// How the node stands in the end; none if it was booting still.
    pub status: Option<Status>,
}

/// Where the life that was lived again parts from the one that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// At which input, from 0.
    pub input: u64,
    /// When, since the peer's start.
    pub at: Duration,
    /// What the input says.
    pub says: String,
    /// What was recorded.
    pub recorded: String,
    /// What is now.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, at, says, recorded, now } = self;
        write!(f, "input {input}, at {at:.3?}, {says}: recorded was {recorded}, now it is {now}")
    }
}

/// Why a recording was not lived again to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An input is not one of this build.
    #[error("an input that this build does not understand: {0}")]
    Input(#[from] serde_json::Error),
    /// Something is not as it was.
    #[error("{difference}{}", other_build(.build))]
    Differs {
        /// What.
        difference: Box<Difference>,
        /// Who recorded it.
        build: String,
    },
    /// The node or its engine panicked, and so it did not when it was recorded.
    #[error("input {input}, {says}: {who} panicked: {why}")]
    Panicked {
        /// At which input, from 0.
        input: u64,
        /// What the input says.
        says: String,
        /// Which of the two.
        who: &'static str,
        /// Its words.
        why: String,
    },
}

fn other_build(recorded: &str) -> String {
    let now = build();
    if recorded == now { String::new() } else { format!(" (recorded by {recorded}, this is {now})") }
}

/// Has the node of a recording live the same life again; `told` hears of each input before it is handled.
///
/// # Errors
/// [`ReplayError`]; what came before it was the same.
pub fn replay<R: Read>(reader: &mut Reader<R>, mut told: impl FnMut(u64, &Entry)) -> Result<Replayed, ReplayError> {
    let header = reader.header().clone();
    let mut again = Again::new(&header)?;
    while let Some(entry) = reader.entry()? {
        told(again.inputs, &entry);
        again.live(entry, &header.build)?;
    }
    let status = match &again.life {
        Life::Node(node) => again.last.map(|now| node.status(now)),
        Life::Boot(_) | Life::Over => None,
    };
    Ok(Replayed {
        node: header.setup()?.identity.node,
        build: header.build,
        inputs: again.inputs,
        effects: again.effects,
        tasks: again.tasks,
        lived_ms: u64::try_from(again.lived().as_millis()).unwrap_or(u64::MAX),
        ended: reader.has_end(),
        status,
    })
}

enum Life {
    Boot(Box<Boot>),
    Node(Box<Node>),
    /// The boot was refused.
    Over,
}

struct Again {
    life: Life,
    engines: Vec<Engine>,
    /// What workers have done and the node was not told yet.
    done: BTreeMap<TaskId, Done>,
    packed: BTreeMap<TaskId, Bytes>,
    inputs: u64,
    effects: u64,
    tasks: u64,
    first: Option<Time>,
    last: Option<Now>,
}

impl Again {
    fn new(header: &Header) -> Result<Self, ReadError> {
        let setup = header.setup()?;
        let workers = header.workers.max(1) as usize;
        let limits = setup.config.documents.limits.shared(workers);
        Ok(Self {
            engines: (0..workers).map(|_| Engine::new(limits)).collect(),
            life: Life::Boot(Box::new(Boot::start(setup))),
            done: BTreeMap::new(),
            packed: BTreeMap::new(),
            inputs: 0,
            effects: 0,
            tasks: 0,
            first: None,
            last: None,
        })
    }

    /// How long it has lived, by its own clock.
    fn lived(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.mono.since(self.first.unwrap_or(last.mono)))
    }

    fn live(&mut self, entry: Entry, build: &str) -> Result<(), ReplayError> {
        let now = entry.now();
        let says = entry.words();
        (self.first, self.last) = (self.first.or(Some(now.mono)), Some(now));
        let differs = |again: &Self, recorded: String, is: String| {
            let (input, at) = (again.inputs, again.lived());
            let difference = Difference { input, at, says: says.clone(), recorded, now: is };
            ReplayError::Differs { difference: Box::new(difference), build: build.to_owned() }
        };
        if let Some(kept) = entry.input {
            let result = |recorded: u64| format!("a result {recorded:016x}");
            let none = || "no such task".to_owned();
            let (mut done, mut packed) = (std::mem::take(&mut self.done), std::mem::take(&mut self.packed));
            let input = kept.input(
                |id, recorded| match done.remove(&id) {
                    Some(done) if of_done(&done) == recorded => Ok(done),
                    Some(done) => Err(differs(self, result(recorded), short(&done))),
                    None => Err(differs(self, result(recorded), none())),
                },
                |id, recorded| match packed.remove(&id) {
                    Some(bytes) if of_packed(&bytes) == recorded => Ok(bytes),
                    Some(bytes) => Err(differs(self, result(recorded), result(of_packed(&bytes)))),
                    None => Err(differs(self, result(recorded), none())),
                },
            )?;
            (self.done, self.packed) = (done, packed);
            self.handle(now, input, &says)?;
        }
        let mut recorded = entry.effects.into_iter();
        while let Some(effect) = self.poll() {
            let mark = Mark::of(&effect);
            match recorded.next() {
                Some(kept) if kept == mark => {}
                Some(kept) => return Err(differs(self, kept.to_string(), format!("{mark}: {}", short(&effect)))),
                None => return Err(differs(self, "no more".to_owned(), format!("{mark}: {}", short(&effect)))),
            }
            self.effects += 1;
            if let Effect::Pack { id, pack } = effect {
                self.packed.insert(id, pack.run());
                self.tasks += 1;
            } else if let Effect::Task { id, task } = effect {
                let engine = task.worker(self.engines.len());
                let engine = &mut self.engines[engine];
                let done = catch_unwind(AssertUnwindSafe(|| engine.run(task)));
                let done = done.map_err(|panic| self.panicked("its engine", &says, panic.as_ref()))?;
                self.done.insert(id, done);
                self.tasks += 1;
            }
        }
        if let Some(kept) = recorded.next() {
            return Err(differs(self, kept.to_string(), "no more".to_owned()));
        }
        self.inputs += 1;
        Ok(())
    }

    fn handle(&mut self, now: Now, input: Input, says: &str) -> Result<(), ReplayError> {
        let life = std::mem::replace(&mut self.life, Life::Over);
        let lived = catch_unwind(AssertUnwindSafe(|| match life {
            Life::Boot(boot) => match boot.handle(now, input) {
                Progress::Booting(boot) => Life::Boot(boot),
                Progress::Ready(node, _) => Life::Node(node),
                Progress::Refused(_) => Life::Over,
            },
            Life::Node(mut node) => {
                node.handle(now, input);
                Life::Node(node)
            }
            Life::Over => Life::Over,
        }));
        self.life = lived.map_err(|panic| self.panicked("the node", says, panic.as_ref()))?;
        Ok(())
    }

    fn panicked(&self, who: &'static str, says: &str, panic: &(dyn Any + Send)) -> ReplayError {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        ReplayError::Panicked { input: self.inputs, says: says.to_owned(), who, why }
    }

    fn poll(&mut self) -> Option<Effect> {
        match &mut self.life {
            Life::Boot(boot) => boot.poll_effect(),
            Life::Node(node) => node.poll_effect(),
            Life::Over => None,
        }
    }
}
