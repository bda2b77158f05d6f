//! Places for logs of which nothing is held yet.
//!
//! A log is known by an index, and there are so many of them (`logs_max`). Neighbours name logs in all that they say, and what they
//! name has to have a place before anything of it is here: it is to be asked for. But a name costs its teller nothing, and
//! entries are not signed by their origins, so nobody can tell a name that was made up from one that is new. If names alone
//! could fill the table, one member could keep every log that is new from everybody until they restart. So
//!
//! * a log of which nothing is held is **hearsay**, charged to the neighbour who first named it, and each has so many places
//!   (`named_max`). Who names more is not at fault, a newcomer's neighbours all do: the rest is not noted, and asked for when half
//!   of the share is free again;
//! * a place of hearsay is given up when another is needed, the one that was named the longest ago of the neighbour that has most
//!   of them; or after [`IDLE`]. So whoever names little always finds a place beside somebody who names much;
//! * an entry that is really here finds a place as long as there is hearsay anywhere, whatever its teller's share is;
//! * what is held, what is on its way to the disk and what we write ourselves is never given up;
//! * hearsay is not passed on: `knowledge` and `copies` tell of what is held here, and of the rest once its first entry is
//!   durable. Otherwise a lie would be charged to those who repeat it.
//!
//! That a log is not held from its beginning any more is believed of logs that somebody named before, and is durable then: such
//! logs without an entry are at most [`SKIPPED_MAX`], since they cannot be given up.
//!
//! **What remains**: who writes entries under names that it made up fills the table with what it sends, 256 logs for each
//! node that it invents. Only origins that sign could be told from it. It costs it bytes and the disks of everybody, and each
//! of these logs is listed; but it is not kept from it here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::log::Logs;
use super::message::{Name, Short};
use super::{Config, Replication};
use crate::machine::Cx;
use crate::types::{Actor, LogId, NodeId, Time};

/// Hearsay that was not named again for so long gives way to any other.
const IDLE: Duration = Duration::from_secs(60);
/// Most logs of which no entry was ever held, and whose beginning is known to have expired.
pub(super) const SKIPPED_MAX: usize = 1 << 13;

/// Why a log is to have a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was named.
    Named,
    /// Its first entry is here.
    Entry,
}

/// Who named what, of what is not held.
#[derive(Debug, Default)]
pub(super) struct Hearsay {
    /// By place: who named it first, and when it was named last.
    places: BTreeMap<usize, (NodeId, Time)>,
    /// The same by neighbour, the longest unnamed first.
    by_use: BTreeMap<NodeId, BTreeSet<(Time, usize)>>,
    /// Who named more than was noted.
    curtailed: BTreeSet<NodeId>,
    /// Logs without an entry whose beginning expired.
    pub(super) skipped: BTreeSet<usize>,
}

impl Hearsay {
    fn count(&self, by: NodeId) -> usize {
        self.by_use.get(&by).map_or(0, BTreeSet::len)
    }

    fn note(&mut self, at: usize, by: NodeId, now: Time) {
        self.places.insert(at, (by, now));
        self.by_use.entry(by).or_default().insert((now, at));
    }

    /// It was named again.
    fn touch(&mut self, at: usize, now: Time) {
        if let Some((by, used)) = self.places.get_mut(&at)
            && let Some(places) = self.by_use.get_mut(by)
        {
            places.remove(&(*used, at));
            places.insert((now, at));
            *used = now;
        }
    }

    /// It is no hearsay any more; gives who named it.
    fn drop_place(&mut self, at: usize) -> Option<NodeId> {
        let (by, used) = self.places.remove(&at)?;
        if let Some(places) = self.by_use.get_mut(&by) {
            places.remove(&(used, at));
            if places.is_empty() {
                self.by_use.remove(&by);
            }
        }
        Some(by)
    }

    /// The place that a neighbour can best do without.
    fn oldest_of(&self, by: NodeId, free: impl Fn(usize) -> bool) -> Option<(Time, usize)> {
        self.by_use.get(&by)?.iter().copied().find(|(_, at)| free(*at))
    }

    /// The neighbours who named something, those with most places first.
    fn heaviest(&self) -> Vec<(usize, NodeId)> {
        let mut all: Vec<(usize, NodeId)> = self.by_use.iter().map(|(by, places)| (places.len(), *by)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// Of one node's logs: how many each neighbour named, and the place each can best do without.
    fn of_node(&self, logs: &Logs, node: NodeId, free: impl Fn(usize) -> bool) -> Vec<(usize, NodeId, Time, usize)> {
        let mut all: BTreeMap<NodeId, (usize, Time, usize)> = BTreeMap::new();
        for at in logs.places_of(node) {
            let Some((by, used)) = self.places.get(&at).filter(|_| free(at)) else { continue };
            let found = all.entry(*by).or_insert((0, *used, at));
            found.0 += 1;
            (found.1, found.2) = (found.1, found.2).min((*used, at));
        }
        let mut all: Vec<_> = all.into_iter().map(|(by, (count, used, at))| (count, by, used, at)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}

impl Replication {
    /// The index of a named log, which is made if it may be. A tag that could mean several is settled by the chain before
    /// a place; `None` if it means nothing here.
    pub(super) fn resolve(
        &mut self,
        name: Name,
        by: (NodeId, Time),
        before: Option<(u64, Short)>,
    ) -> Result<Option<usize>, String> {
        let cause = if before.is_some_and(|(seq, _)| seq == 0) { Cause::Entry } else { Cause::Named };
        match name {
            Name::Id(log) => self.admit(log, by, cause),
            Name::Tag(tag) => Ok(match self.logs.tagged(tag) {
                [] => None,
                [at] => Some(*at),
                several => several.iter().copied().find(|at| {
                    before.is_some_and(|(seq, short)| self.logs.get(*at).chain_at(seq).map(Short::of) == Some(short))
                }),
            }),
        }
    }

    /// The index of this log, which is made if there is a place for it; `None` if there is none for hearsay.
    ///
    /// # Errors
    /// Why it can have none: its topic is unknown, or there are too many logs, and all are held.
    pub(super) fn admit(
        &mut self,
        log: LogId,
        (by, now): (NodeId, Time),
        cause: Cause,
    ) -> Result<Option<usize>, String> {
        if let Some(at) = self.logs.find(log) {
            self.hearsay.touch(at, now);
            return Ok(Some(at));
        }
        let Config { logs_max: all, logs_per_node_max: one, named_max: named, .. } = self.config;
        let (node, topic) = (log.actor.node, log.topic);
        if !self.config.topics.contains(&topic) {
            return Err(format!("topic {} of node {node} does not exist", topic.value()));
        }
        let full = (self.logs.len() >= all, self.logs.of_node(node) >= one);
        let over = self.hearsay.count(by) >= named;
        let at = if full.0 || full.1 || over {
            let victim = match (full.1, cause) {
                (true, _) => self.victim_of_node(node, by, now, cause),
                (false, Cause::Named) if over => self.idle_of(by, now),
                (false, _) => self.victim(by, now, cause),
            };
            match victim {
                Some(at) => {
                    self.vacate(at, log);
                    at
                }
                None if cause == Cause::Entry && !full.0 && !full.1 => self.logs.intern(log),
                None if cause == Cause::Entry || self.hearsay.places.is_empty() => {
                    return Err(format!("one log too many for node {node}: {all} are the limit, {one} a node"));
                }
                None => {
                    self.hearsay.curtailed.insert(by);
                    return Ok(None);
                }
            }
        } else {
            self.logs.intern(log)
        };
        if log.actor != self.actor {
            self.hearsay.note(at, by, now);
        }
        Ok(Some(at))
    }

    /// Whether this place may be given up.
    fn is_free(logs: &Logs, me: Actor, at: usize) -> bool {
        let log = logs.get(at);
        log.accepted() == 0 && !log.is_moving() && log.id.actor != me
    }

    fn idle_of(&self, by: NodeId, now: Time) -> Option<usize> {
        let oldest = self.hearsay.oldest_of(by, |at| Self::is_free(&self.logs, self.actor, at));
        oldest.filter(|(used, _)| now.since(*used) >= IDLE).map(|(_, at)| at)
    }

    /// The place that is given up for another log, of any node.
    fn victim(&self, by: NodeId, now: Time, cause: Cause) -> Option<usize> {
        let free = |at: usize| Self::is_free(&self.logs, self.actor, at);
        let own = self.hearsay.count(by);
        // Who writes more than it may name gives up what it named.
        if cause == Cause::Entry && own >= self.config.named_max && self.logs.len() < self.config.logs_max {
            return self.hearsay.oldest_of(by, free).map(|(_, at)| at);
        }
        let heaviest = self.hearsay.heaviest().into_iter();
        let fair = |count: usize| cause == Cause::Entry || count > own + 1;
        let mut found = heaviest.filter(|(count, _)| fair(*count)).map(|(_, by)| self.hearsay.oldest_of(by, free));
        found.find_map(|found| found).map(|(_, at)| at).or_else(|| self.idle_of(by, now))
    }

    /// The place of another log of this node that is given up.
    fn victim_of_node(&self, node: NodeId, by: NodeId, now: Time, cause: Cause) -> Option<usize> {
        let all = self.hearsay.of_node(&self.logs, node, |at| Self::is_free(&self.logs, self.actor, at));
        let own = all.iter().find(|(_, who, ..)| *who == by).map_or(0, |(count, ..)| *count);
        let over = self.hearsay.count(by) >= self.config.named_max;
        let fair = |(count, who, used, _): &&(usize, NodeId, Time, usize)| {
            let idle = now.since(*used) >= IDLE;
            cause == Cause::Entry || if *who == by { idle } else { !over && (idle || *count > own + 1) }
        };
        all.iter().find(fair).map(|(.., at)| *at)
    }

    /// Gives a place of hearsay to another log: nothing that was noted of the one before is left.
    fn vacate(&mut self, at: usize, log: LogId) {
        self.hearsay.drop_place(at);
        self.logs.rename(at, log);
        self.replicas.part(at);
        self.behind.remove(&at);
        self.unannounced.remove(&at);
        self.disputes.retain(|(disputed, _), _| *disputed != at);
        self.offers.values_mut().for_each(|offers| _ = offers.remove(&at));
        self.copies.vacate(at);
        self.peers.values_mut().for_each(|peer| peer.vacate(at));
    }

    /// Something of this log is held from now on: it keeps its place, and what is known of it may be told.
    pub(super) fn on_first_entry(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        self.hearsay.skipped.remove(&at);
        self.replicas.restamp(at);
        self.tell_watchers(cx, at);
        let Some(by) = self.hearsay.drop_place(at) else { return };
        let room = self.hearsay.count(by) <= self.config.named_max / 2;
        if room && self.hearsay.curtailed.remove(&by) && self.peers.contains_key(&by) {
            self.tell_vector(cx, by, true);
        }
    }
}
