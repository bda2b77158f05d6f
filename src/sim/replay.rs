//! A replay: what was once really written, asked again of the peers of a run, each step on the version on which it was made.
//!
//! Each peer that writes has one client. It asks its steps in their order, one at a time: the next one when all steps that it
//! builds on are known to be made, and again as long as its peer has not seen them. A peer that ends takes the answer with it:
//! what was asked may be durable all the same, and what was answered may be gone with a disk that was put back. So once its
//! peer is there again, a client waits for a while and then reads, in the histories of the documents that it wrote to, which of
//! its steps are there; what is not is asked again. A change is known to be the one of a step by its writer and the changes
//! that it follows: a client's steps on a document follow each other, so no two follow the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::plan::PLAN_MAX;
use crate::documents::{ChangeInfo, Edit};
use crate::types::{DocId, NodeId};

/// What is asked of the peers of a run besides the workload of its scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// In an order in which each comes after those that it builds on.
    pub steps: Vec<ReplayStep>,
    /// How long a client lets pass, at least, between two of its steps.
    pub pace: Duration,
    /// What documents must read at every peer in the end. Of others it is only known that all peers read the same.
    pub end: BTreeMap<DocId, Value>,
}

/// That of a run without one.
pub(super) static NONE: Replay = Replay { steps: Vec::new(), pace: Duration::ZERO, end: BTreeMap::new() };

/// One edit.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayStep {
    /// The peer of which it is asked, by its place in the mesh from 0.
    pub writer: u32,
    /// The document.
    pub doc: DocId,
    /// What is done to it.
    pub edits: Vec<Edit>,
    /// The steps that made the version on which it was made; none: before the document was written. One peer's steps on a
    /// document must follow each other.
    pub after: Vec<usize>,
}

/// Why a replay cannot be run. Nothing was run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// More steps than a plan may have edits.
    #[error("{found} steps, at most {PLAN_MAX}")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// A step is asked of nobody.
    #[error("step {step} is asked of peer {writer}, and the last one is {}", peers.saturating_sub(1))]
    NoSuchPeer {
        /// Which step.
        step: usize,
        /// Of whom.
        writer: u32,
        /// How many peers there are.
        peers: usize,
    },
    /// A step builds on one that does not come before it, or that is of another document.
    #[error("step {step} builds on step {after}, which is not an earlier one of its document")]
    NotBefore {
        /// Which step.
        step: usize,
        /// On which it builds.
        after: usize,
    },
}

impl Replay {
    /// Whether it can be run by so many peers.
    ///
    /// # Errors
    /// [`ReplayError`] with the first step that cannot.
    pub(super) fn checked(&self, peers: usize) -> Result<(), ReplayError> {
        if self.steps.len() > PLAN_MAX {
            return Err(ReplayError::TooLong { found: self.steps.len() });
        }
        for (step, says) in self.steps.iter().enumerate() {
            let writer = says.writer;
            if writer as usize >= peers {
                return Err(ReplayError::NoSuchPeer { step, writer, peers });
            }
            let earlier = |at: usize| at < step && self.steps[at].doc == says.doc;
            if let Some(after) = says.after.iter().find(|after| !earlier(**after)) {
                return Err(ReplayError::NotBefore { step, after: *after });
            }
        }
        Ok(())
    }
}

/// The heads of a version of a document, as hex.
pub(super) type Version = BTreeSet<String>;

/// How far a replay is.
#[derive(Debug)]
pub(super) struct Replaying<'a> {
    pub(super) replay: &'a Replay,
    pub(super) clients: BTreeMap<u32, Client>,
    /// For each step the version that it made, as hex: its change, or where nothing differed the changes on which it was made.
    made: Vec<Option<Version>>,
}

/// The client of one peer.
#[derive(Debug, Default)]
pub(super) struct Client {
    steps: Vec<usize>,
    /// Which of them comes next.
    next: usize,
    /// When it may ask that.
    pub(super) not_before: u64,
    /// Only the last look that it planned counts.
    pub(super) look: u64,
    /// In which life of its peer it waits for an answer.
    pub(super) waits: Option<u32>,
    /// The life of its peer that it knows, and since when.
    pub(super) life: Option<(u32, u64)>,
    /// Documents of which it does not know which of its steps are there.
    pub(super) doubts: BTreeSet<DocId>,
    /// The last refusal of the next step.
    pub(super) refusal: Option<String>,
}

impl<'a> Replaying<'a> {
    pub(super) fn new(replay: &'a Replay) -> Self {
        let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
        for (at, step) in replay.steps.iter().enumerate() {
            clients.entry(step.writer).or_default().steps.push(at);
        }
        Self { replay, clients, made: vec![None; replay.steps.len()] }
    }

    /// The step that this peer's client asks next.
    pub(super) fn next(&self, peer: u32) -> Option<usize> {
        self.clients.get(&peer).and_then(|client| client.steps.get(client.next)).copied()
    }

    /// The version on which a step is made, as hex; none while a part of it is not made.
    pub(super) fn version(&self, step: usize) -> Option<Version> {
        let mut version = Version::new();
        for before in &self.replay.steps[step].after {
            version.extend(self.made[*before].as_ref()?.iter().cloned());
        }
        Some(version)
    }

    /// This client's next step is made.
    pub(super) fn on_made(&mut self, peer: u32, step: usize, version: Version) {
        self.made[step] = Some(version);
        self.go_on(peer);
    }

    /// The next step is the first that is not made.
    fn go_on(&mut self, peer: u32) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        let done = |at: usize| client.steps.get(at).is_some_and(|step| self.made[*step].is_some());
        client.next = (client.next..).find(|at| !done(*at)).unwrap_or_default();
        client.refusal = None;
    }

    /// A new life of this peer: all that its client wrote is in doubt, and what it asks next.
    pub(super) fn doubt(&mut self, peer: u32) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        let asked = client.steps.iter().take(client.next + 1);
        client.doubts = asked.map(|step| self.replay.steps[*step].doc.clone()).collect();
    }

    /// What the peer has of a document: a client's steps that are there are made, and no others are.
    pub(super) fn on_history(&mut self, peer: u32, id: NodeId, doc: &DocId, changes: &[ChangeInfo]) {
        let here: BTreeSet<&str> = changes.iter().map(|change| &change.hash[..]).collect();
        let Some(client) = self.clients.get_mut(&peer) else { return };
        client.doubts.remove(doc);
        client.next = 0;
        for step in client.steps.iter().copied().filter(|step| self.replay.steps[*step].doc == *doc) {
            if self.made[step].as_ref().is_some_and(|version| version.iter().all(|head| here.contains(&head[..]))) {
                continue;
            }
            let mut before = self.replay.steps[step].after.iter().map(|before| self.made[*before].as_ref());
            let version = before.try_fold(Version::new(), |sum, made| Some(&sum | made?));
            // A change may name its writer's last one too, though that is behind the others already.
            let is_own = |dep: &String| {
                changes.iter().any(|it| it.hash == *dep && it.actor.is_some_and(|actor| actor.node == id))
            };
            let is_it = |change: &&ChangeInfo| {
                let follows = |version: &Version| {
                    let extra = change.deps.iter().filter(|dep| !version.contains(*dep));
                    version.iter().all(|head| change.deps.contains(head)) && extra.into_iter().all(is_own)
                };
                change.actor.is_some_and(|actor| actor.node == id) && version.as_ref().is_some_and(follows)
            };
            self.made[step] = changes.iter().find(is_it).map(|change| Version::from([change.hash.clone()]));
        }
        self.go_on(peer);
    }

    /// How many steps are made.
    pub(super) fn count(&self) -> usize {
        self.made.iter().flatten().count()
    }

    /// What is wrong with it at the end of a run.
    pub(super) fn unfinished(&self) -> Option<String> {
        let left = |(peer, client): (&u32, &Client)| {
            let step = self.next(*peer)?;
            let why = client.refusal.as_deref().unwrap_or("it was not answered, or not asked");
            Some(format!("step {step} on {}: {why}", self.replay.steps[step].doc))
        };
        let left: Vec<String> = self.clients.iter().filter_map(left).collect();
        let (count, all) = (self.count(), self.made.len());
        (!left.is_empty()).then(|| format!("{count} of {all} steps of the replay are made; {}", left.join("; ")))
    }
}
