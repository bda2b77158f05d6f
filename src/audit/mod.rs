//! Audits: whether neighbours that hold the same logs hold the same documents.
//!
//! Version vectors say what was delivered, not what came of it. A defect of the engine, a delivery that was lost on the way to
//! it or failing memory may leave documents that differ for ever, and no exchange of logs would see it. So now and then, and soon after
//! each boot, a node compares digests with a neighbour: first of everything, which takes some bytes if all is well, then
//! level by level down the trie of its documents, until the differing ones are named on both sides. Both build those again
//! from the log (`documents::rebuild`); what differs still is told, and named in the status.
//!
//! **Invariant:** nothing is compared unless both sides hold the same logs and have nothing under way: else a difference would say
//! nothing. Each message says for which logs it speaks, and answers nothing that is remembered: what is lost on the way ends an
//! audit, and the next one begins anew.
//!
//! Left to others: what documents are and how they are built again (`documents`), who the neighbours are (`overlay`).

mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use message::{LEAVES_MAX, PREFIXES_MAX};
pub use message::{Leaves, Message, Sums};
use serde::Serialize;

use crate::documents::{self, Prefix};
use crate::machine::{Cx, Machine, Never};
use crate::probe::{planted, reachable};
use crate::types::{Digest, DocId, Lane, NodeId, Time};

/// From the start to the first audit, and to the next one when it could not be made or found something.
const SOON: Duration = Duration::from_secs(20);
/// What differs is built again at most this often: it takes reading all of the log, and a neighbour might lie.
const PAUSE: Duration = Duration::from_secs(5);
/// For each neighbour it takes twice as long every time, up to this. That all was the same in between does not count: who lies
/// can say that too.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// It begins anew with a neighbour that had nothing to say for so long.
const FORGIVEN: Duration = Duration::from_secs(24 * 3_600);
/// Documents that are named in the status at most, for each neighbour.
const NAMED_MAX: usize = 16;

/// How often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Config {
    /// From one audit to the next, about.
    pub interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Duration::from_secs(300) } // Each costs 40 bytes when all is well.
    }
}

/// What an audit looks at.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The documents.
    pub documents: documents::View<'a>,
    /// Of all logs that are held.
    pub vector: Digest,
    /// Why documents cannot be compared now, if so.
    pub unrest: Option<&'static str>,
}

/// Names of its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// An audit is due.
    Due,
}

/// What audits tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// All documents are the same here and there.
    Agreed {
        /// With whom.
        peer: NodeId,
    },
    /// Documents differ though the logs are the same: they are built again.
    Differs {
        /// From whose.
        peer: NodeId,
        /// Which.
        docs: Vec<DocId>,
        /// Hashes of the ids of those that are only there.
        missing: Vec<u64>,
    },
    /// An audit was not made.
    Skipped {
        /// Why.
        why: &'static str,
    },
}

/// Counts and findings since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Audits that found everything equal.
    pub agreed: u64,
    /// Audits that found something.
    pub differed: u64,
    /// Audits that could not be made, since the logs differed or something was under way.
    pub skipped: u64,
    /// With whom documents differed when they were last compared, and which.
    pub differing: BTreeMap<NodeId, Vec<DocId>>,
}

/// The audits of one node. See the room's essay.
#[derive(Debug, Default)]
pub struct Audit {
    config: Config,
    findings: Findings,
    /// When something was last found to differ.
    found_at: Option<Time>,
    /// And by comparing with whom, and how often.
    found_with: BTreeMap<NodeId, (Time, u32)>,
}

impl Machine for Audit {
    type Message = Message;
    type Record = Never;
    type Wait = Never;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(_: &Message) -> Lane {
        Lane::Control
    }
}

impl Audit {
    /// None made yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, findings: Findings::default(), found_at: None, found_with: BTreeMap::new() }
    }

    /// What was found.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Begins: the first audit is soon.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.arm(cx, SOON);
    }

    fn arm(&mut self, cx: &mut Cx<'_, Self>, about: Duration) {
        let nanos = u64::try_from(about.as_nanos()).unwrap_or(u64::MAX);
        let after = nanos / 2 + cx.rng().below(nanos);
        cx.arm(Timer::Due, Duration::from_nanos(after));
    }

    /// An audit is due with one of these.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, neighbors: &[NodeId], sight: Sight<'_>) {
        self.findings.differing.retain(|peer, _| neighbors.contains(peer));
        // With whom something differed, it is looked at first whether it does still.
        let again = self.findings.differing.keys().next().copied();
        let Some(peer) = again.or_else(|| cx.rng().pick(neighbors).copied()) else { return self.arm(cx, SOON) };
        match sight.unrest {
            Some(why) => self.skip(cx, why),
            None => {
                cx.send(peer, Message::Begin { vector: sight.vector, content: sight.documents.content() });
                self.arm(cx, self.config.interval);
            }
        }
    }

    fn skip(&mut self, cx: &mut Cx<'_, Self>, why: &'static str) {
        self.findings.skipped += 1;
        reachable!("audit/skipped");
        cx.emit(Event::Skipped { why });
        self.arm(cx, SOON);
    }

    /// A neighbour speaks.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message, sight: Sight<'_>) {
        if message.check().is_err() {
            return;
        }
        let holds = |vector: Digest| sight.unrest.is_none() && vector == sight.vector;
        match message {
            Message::Begin { vector, .. } if !holds(vector) => cx.send(from, Message::Later),
            Message::Begin { content, .. }
                if content == sight.documents.content() || planted!("audit/agrees-unseen") =>
            {
                self.agree(cx, from);
                cx.send(from, Message::Same);
            }
            Message::Begin { .. } => {
                let sums = Sums { prefix: Prefix::ROOT, sums: sight.documents.trie().sums(Prefix::ROOT) };
                cx.send(from, Message::Sums { vector: sight.vector, about: vec![sums] });
            }
            Message::Same => self.agree(cx, from),
            Message::Later => self.skip(cx, "the neighbour holds other logs, or has something under way"),
            Message::Sums { vector, about } if holds(vector) => Self::descend(cx, from, &about, sight),
            Message::Leaves { vector, about, answer } if holds(vector) => {
                self.compare(cx, from, &about, answer, sight);
            }
            Message::Sums { .. } | Message::Leaves { .. } => self.skip(cx, "something came while it was made"),
        }
    }

    fn agree(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.findings.agreed += 1;
        reachable!("audit/agreed");
        self.findings.differing.remove(&peer);
        cx.emit(Event::Agreed { peer });
    }

    /// Looks below the branches that differ: answers with their branches, or with their leaves if those are few.
    fn descend(cx: &mut Cx<'_, Self>, to: NodeId, about: &[Sums], sight: Sight<'_>) {
        let trie = sight.documents.trie();
        let (mut sums, mut leaves) = (Vec::new(), Vec::new());
        for theirs in about {
            let ours = trie.sums(theirs.prefix);
            for nibble in (0..16).filter(|at| ours[*at] != theirs.sums[*at]) {
                let Some(prefix) = theirs.prefix.branch(nibble) else { continue };
                match trie.leaves(prefix, LEAVES_MAX) {
                    Some(own) => leaves.push(Leaves { prefix, leaves: own }),
                    None => sums.push(Sums { prefix, sums: trie.sums(prefix) }),
                }
            }
        }
        // What does not fit differs still when the rest is built again.
        sums.truncate(PREFIXES_MAX);
        leaves.truncate(PREFIXES_MAX);
        if !leaves.is_empty() {
            cx.send(to, Message::Leaves { vector: sight.vector, about: leaves, answer: true });
        }
        if !sums.is_empty() {
            cx.send(to, Message::Sums { vector: sight.vector, about: sums });
        }
    }

    /// The documents that differ are known: both sides tell, and build them again.
    fn compare(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, about: &[Leaves], answer: bool, sight: Sight<'_>) {
        let trie = sight.documents.trie();
        if answer {
            let own = |theirs: &Leaves| {
                Some(Leaves { prefix: theirs.prefix, leaves: trie.leaves(theirs.prefix, 4 * LEAVES_MAX)? })
            };
            let about = about.iter().filter_map(own).collect();
            cx.send(peer, Message::Leaves { vector: sight.vector, about, answer: false });
        }
        let (mut docs, mut missing) = (Vec::new(), Vec::new());
        for theirs in about {
            let (differing, lacking) = trie.differing(theirs.prefix, &theirs.leaves);
            docs.extend(differing);
            missing.extend(lacking);
        }
        if (docs.is_empty() && missing.is_empty()) || !self.may_find(peer, cx.now().mono) {
            return;
        }
        self.findings.differed += 1;
        reachable!("audit/differs");
        let named = docs.iter().take(NAMED_MAX).cloned().collect();
        self.findings.differing.insert(peer, named);
        cx.emit(Event::Differs { peer, docs, missing });
        self.arm(cx, SOON);
    }

    /// Whether it is time to build something again because this neighbour says that it differs.
    fn may_find(&mut self, peer: NodeId, now: Time) -> bool {
        self.found_with.retain(|_, (found_at, _)| now.since(*found_at) < FORGIVEN);
        let (before, times) = self.found_with.get(&peer).copied().unwrap_or((Time::ZERO, 0));
        let pause = PAUSE.saturating_mul(1 << times.min(16)).min(PAUSE_MAX);
        let early = times > 0 && now.since(before) < pause;
        if early || self.found_at.is_some_and(|found_at| now.since(found_at) < PAUSE) {
            return false;
        }
        self.found_at = Some(now);
        self.found_with.insert(peer, (now, times + 1));
        true
    }
}
