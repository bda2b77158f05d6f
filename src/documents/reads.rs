//! Reads of clients: places, histories, pages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::{DocState, Documents, Error, Found, Listed, Look, Outcome, PolicyHistory, Task, Wish, size};
use crate::machine::Cx;
use crate::types::{CommandId, DocId, hex};

/// Documents that one scan has read at the same time at most.
const AHEAD_MAX: usize = 16;

/// A read of one document that waits for its turn.
#[derive(Debug)]
pub(super) enum Read {
    Get { command: CommandId, path: String },
    Standing { command: CommandId, path: String, change: String },
    Met { command: CommandId, look: Look },
    History { command: CommandId },
}

impl Read {
    /// Whether the folded past is needed too.
    pub(super) const fn needs_whole(&self) -> bool {
        matches!(self, Self::History { .. } | Self::Met { look: Look::Trail, .. })
    }

    pub(super) fn task(self, doc: &DocId, policies: PolicyHistory) -> Task {
        match self {
            Self::Get { command, path } => {
                Task::Get { doc: doc.clone(), command, path, policies: policies.in_force().clone() }
            }
            Self::Standing { command, path, change } => {
                let policies = policies.in_force().clone();
                Task::Standing { doc: doc.clone(), command, path, change, policies }
            }
            Self::Met { command, look } => Task::Met { doc: doc.clone(), command, look, policies },
            Self::History { command } => Task::History { doc: doc.clone(), command },
        }
    }
}

/// What a worker's answer is for.
#[derive(Debug)]
pub(super) enum Ask {
    One,
    Page(Box<Scan>),
}

/// A page that is being gathered.
#[derive(Debug)]
pub(super) struct Scan {
    prefix: String,
    after: Option<DocId>,
    limit: usize,
    pub(super) what: What,
    /// Still to be read.
    pub(super) left: VecDeque<DocId>,
    /// Being read.
    pub(super) reading: BTreeSet<DocId>,
    read: BTreeMap<DocId, Listed>,
    /// What was found, each with the heads that the document had.
    pub(super) met: BTreeMap<DocId, (Found, Vec<String>)>,
    /// The last document that is in this page.
    pub(super) last: Option<DocId>,
    pub(super) bytes: usize,
    pub(super) more: bool,
}

/// What is read of each document.
#[derive(Clone, Debug)]
pub(super) enum What {
    Names,
    Contents,
    Met(Look, Wish),
}

impl Scan {
    pub(super) const fn new(prefix: String, after: Option<DocId>, limit: usize, what: What) -> Self {
        Self {
            prefix,
            after,
            limit,
            what,
            left: VecDeque::new(),
            reading: BTreeSet::new(),
            read: BTreeMap::new(),
            met: BTreeMap::new(),
            last: None,
            bytes: 0,
            more: false,
        }
    }
}

impl Documents {
    pub(super) fn on_read(&mut self, cx: &mut Cx<'_, Self>, doc: DocId, read: Read) {
        let (Read::Get { command, .. }
        | Read::Standing { command, .. }
        | Read::Met { command, .. }
        | Read::History { command }) = read;
        if !self.docs.contains_key(&doc) && !self.work.contains_key(&doc) {
            return self.reply(cx, command, Err(Error::NotFound { doc }));
        }
        self.asks.insert(command, Ask::One);
        self.read(cx, doc, read);
    }

    /// Has a worker read, at once unless an edit is not durable yet.
    fn read(&mut self, cx: &mut Cx<'_, Self>, doc: DocId, read: Read) {
        if read.needs_whole() || self.work.contains_key(&doc) || self.is_away(&doc) {
            self.work.entry(doc.clone()).or_default().reads.push_back(read);
            self.pump(cx, &doc);
        } else {
            self.touch(&doc);
            let policies = self.policies_held();
            cx.task(read.task(&doc, policies));
        }
    }

    pub(super) fn on_scan(&mut self, cx: &mut Cx<'_, Self>, command: CommandId, mut scan: Scan) {
        if self.restoring > 0 {
            return self.parked.push((command, scan));
        }
        let limit = scan.limit.min(self.config.page_max);
        let mut found: Vec<(DocId, Listed)> = self.matching(&scan).take(limit + 1).collect();
        scan.more = found.len() > limit;
        found.truncate(limit);
        if matches!(scan.what, What::Names) {
            let docs = found.into_iter().map(|(_, listed)| listed).collect();
            return self.reply(cx, command, Ok(Outcome::Page { docs, more: scan.more }));
        }
        scan.last = found.last().map(|(doc, _)| doc.clone());
        scan.left = found.into_iter().map(|(doc, _)| doc).collect();
        self.read_on(cx, command, scan);
    }

    /// Documents with content under the scan's prefix and above where it goes on, in order.
    fn matching(&self, scan: &Scan) -> impl Iterator<Item = (DocId, Listed)> {
        // The longest part of the prefix that is itself an id is not above any id that begins with the prefix.
        let (prefix, after) = (scan.prefix.clone(), scan.after.clone());
        let look = if let What::Met(look, _) = &scan.what { Some(*look) } else { None };
        let mut ends = prefix.char_indices().rev().map(|(at, c)| at + c.len_utf8());
        let floor = ends.find_map(|end| DocId::parse(&prefix[..end]).ok());
        let from = match (floor, after.clone()) {
            (Some(floor), Some(after)) => Some(floor.max(after)),
            (floor, after) => floor.or(after),
        };
        let (below, within) = (prefix.clone(), prefix);
        let docs = match from {
            Some(from) => self.docs.range(from..),
            None => self.docs.range::<DocId, _>(..),
        };
        docs.skip_while(move |(doc, _)| doc.as_str() < below.as_str())
            .take_while(move |(doc, _)| doc.as_str().starts_with(&within))
            .filter(move |(doc, indexed)| {
                let state = &indexed.state;
                // Where no two changes stand side by side nothing met.
                let wanted = match look {
                    Some(Look::Open) => state.exists && state.met != Some(false),
                    Some(Look::Trail) => state.met != Some(false),
                    None => state.exists,
                };
                wanted && after.as_ref().is_none_or(|after| after < *doc)
            })
            .map(|(doc, indexed)| (doc.clone(), Listed { doc: doc.clone(), heads: hexes(&indexed.state), value: None }))
    }

    pub(super) fn read_on(&mut self, cx: &mut Cx<'_, Self>, command: CommandId, mut scan: Scan) {
        if scan.bytes >= self.config.page_bytes
            && let Some(first) = scan.left.front()
        {
            // What was begun is above all that is done, so the page ends before what was not.
            scan.last =
                scan.read.keys().chain(scan.met.keys()).chain(&scan.reading).filter(|doc| *doc < first).max().cloned();
            scan.left.clear();
            scan.more = true;
        }
        if scan.left.is_empty() && scan.reading.is_empty() {
            if matches!(scan.what, What::Met(..)) {
                let outcome = scan.outcome();
                return self.reply(cx, command, Ok(outcome));
            }
            let docs = scan.read.into_values().collect();
            return self.reply(cx, command, Ok(Outcome::Page { docs, more: scan.more }));
        }
        let free = AHEAD_MAX - scan.reading.len();
        let next: Vec<DocId> = scan.left.drain(..free.min(scan.left.len())).collect();
        scan.reading.extend(next.iter().cloned());
        let look = if let What::Met(look, _) = &scan.what { Some(*look) } else { None };
        self.asks.insert(command, Ask::Page(Box::new(scan)));
        for doc in next {
            let read = match look {
                Some(look) => Read::Met { command, look },
                None => Read::Get { command, path: String::new() },
            };
            self.read(cx, doc, read);
        }
    }

    pub(super) fn on_got(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: DocId,
        command: CommandId,
        value: Result<Value, Error>,
        state: &DocState,
    ) {
        match self.asks.remove(&command) {
            None => {}
            Some(Ask::One) => {
                let result = value.map(|value| Outcome::Value { doc, value, heads: hexes(state) });
                self.reply(cx, command, result);
            }
            Some(Ask::Page(mut scan)) => {
                scan.reading.remove(&doc);
                match value {
                    Ok(value) => {
                        scan.bytes += size::of_value(&value);
                        scan.read.insert(doc.clone(), Listed { doc, heads: hexes(state), value: Some(value) });
                    }
                    Err(error @ Error::Unreadable { .. }) => return self.reply(cx, command, Err(error)),
                    // A document that was removed meanwhile is left out.
                    Err(_) => {}
                }
                self.read_on(cx, command, *scan);
            }
        }
    }
}

pub(super) fn hexes(state: &DocState) -> Vec<String> {
    state.heads.iter().map(|head| hex(head)).collect()
}
