//! Whom to dial, when: the swarm has no address book, no backoff and no reconnect of its own.
//!
//! A **candidate** is somebody this peer wants to be linked with on its own account (a bootstrap address, a remembered
//! member, a peer found on the LAN) or once on request (the overlay asks, and keeps its own pauses). A candidate has
//! **targets**: a target is dialled as one, at all its addresses; when all targets have failed the round has failed.
//! Pauses double with each failed round, with full jitter, and start over when a link has held for a while: not when a
//! connection is made, because a denied peer sees its connection established before it is closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::identity::PeerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;

use super::limit::Limits;
use crate::machine::Rng;
use crate::types::NodeId;

/// Most addresses that one candidate has.
const ADDRESSES_MAX: usize = 16;
/// Failed rounds after which a remembered or found candidate is forgotten, once there are links: the mesh knows better.
const ROUNDS_MAX: u32 = 8;

/// Names a candidate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A member that the overlay asked for.
    Asked(NodeId),
    /// An address that an operator gave.
    Bootstrap(Multiaddr),
    /// A member of an earlier life.
    Remembered(NodeId),
    /// A peer found on the LAN.
    Found(PeerId),
}

/// What is dialled as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Who must answer, if that is known.
    pub(super) peer: Option<PeerId>,
    /// Where. One address only if the peer is not known: whoever answers first would hide the others.
    pub(super) addresses: Vec<Multiaddr>,
}

/// Groups addresses by the peer that they name.
pub(super) fn targets(addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let peer = match address.iter().last() {
            Some(Protocol::P2p(peer)) => Some(peer),
            _ => None,
        };
        match targets.iter_mut().find(|target| peer.is_some() && target.peer == peer) {
            Some(target) if target.addresses.contains(&address) => {}
            Some(target) => target.addresses.push(address),
            None => targets.push(Target { peer, addresses: vec![address] }),
        }
    }
    targets
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be dialled at this time.
    Waiting(Instant),
    Dialling(ConnectionId),
    /// A connection to this node is being opened, or there is a link with it since then.
    Reached {
        node: NodeId,
        linked_at: Option<Instant>,
    },
}

#[derive(Debug)]
struct Candidate {
    targets: Vec<Target>,
    /// The target to be dialled next.
    next: usize,
    /// Failed rounds since the last link that held.
    failures: u32,
    state: State,
}

/// A dial that the overlay asked for has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) peer: NodeId,
    pub(super) why: Arc<str>,
}

/// All candidates.
#[derive(Debug)]
pub(super) struct DialBook {
    limits: Limits,
    rng: Rng,
    candidates: BTreeMap<Key, Candidate>,
    dialling: usize,
    links: usize,
}

impl DialBook {
    pub(super) fn new(limits: Limits, rng: Rng) -> Self {
        Self { limits, rng, candidates: BTreeMap::new(), dialling: 0, links: 0 }
    }

    /// Adds a candidate, or new addresses to one that is there; `false` when the book is full or there is no address.
    pub(super) fn add(&mut self, key: Key, found: Vec<Target>, at: Instant) -> bool {
        if let Some(candidate) = self.candidates.get_mut(&key) {
            for target in found {
                let new = candidate.targets.len() < ADDRESSES_MAX && !candidate.targets.contains(&target);
                match candidate.targets.iter_mut().find(|old| old.peer.is_some() && old.peer == target.peer) {
                    Some(old) => {
                        let room = ADDRESSES_MAX.saturating_sub(old.addresses.len());
                        let new = target.addresses.into_iter().filter(|new| !old.addresses.contains(new));
                        let new: Vec<Multiaddr> = new.take(room).collect();
                        old.addresses.extend(new);
                    }
                    None if new => candidate.targets.push(target),
                    None => {}
                }
            }
            if let State::Waiting(when) = &mut candidate.state
                && !matches!(key, Key::Found(_))
            {
                *when = at.min(*when);
            }
            return true;
        }
        let own_account = self.candidates.keys().filter(|key| !matches!(key, Key::Asked(_))).count();
        if found.is_empty() || (own_account >= self.limits.candidates && !matches!(key, Key::Asked(_))) {
            return false;
        }
        let candidate = Candidate { targets: found, next: 0, failures: 0, state: State::Waiting(at) };
        self.candidates.insert(key, candidate);
        true
    }

    /// Forgets a candidate that is neither dialled nor linked.
    pub(super) fn forget(&mut self, key: &Key) {
        if self.candidates.get(key).is_some_and(|candidate| matches!(candidate.state, State::Waiting(_))) {
            self.candidates.remove(key);
        }
    }

    /// The overlay asks for a node that is being reached already.
    pub(super) fn ask_reached(&mut self, node: NodeId) {
        let state = State::Reached { node, linked_at: None };
        let candidate = Candidate { targets: Vec::new(), next: 0, failures: 0, state };
        self.candidates.entry(Key::Asked(node)).or_insert(candidate);
    }

    /// The next target that is due, if there is room for a dial. Answer with `dialling` or `failed`.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Key, Target)> {
        if self.dialling >= self.limits.dials {
            return None;
        }
        // Requests first (they sort first), then whoever has waited longest.
        let due = self.candidates.iter().filter_map(|(key, candidate)| match candidate.state {
            State::Waiting(at) if at <= now => Some((!matches!(key, Key::Asked(_)), at, key)),
            _ => None,
        });
        let (_, _, key) = due.min()?;
        let candidate = &self.candidates[key];
        Some((key.clone(), candidate.targets[candidate.next].clone()))
    }

    /// When the next target is due; `None` when there is none, or no room.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dialling >= self.limits.dials {
            return None;
        }
        let waiting = self.candidates.values().filter_map(|candidate| match candidate.state {
            State::Waiting(at) => Some(at),
            State::Dialling(_) | State::Reached { .. } => None,
        });
        waiting.min()
    }

    pub(super) fn dialling(&mut self, key: &Key, connection: ConnectionId) {
        let candidate = self.candidates.get_mut(key).expect("due gave this key");
        candidate.state = State::Dialling(connection);
        self.dialling += 1;
    }

    /// The dial of `key` could not even begin.
    pub(super) fn refused_to_dial(&mut self, key: &Key, why: &str, hopeless: bool, now: Instant) -> Option<Failed> {
        self.target_failed(key, why, hopeless, now)
    }

    /// This connection failed before it was admitted. `hopeless`: trying again soon will not help.
    pub(super) fn failed(
        &mut self,
        connection: ConnectionId,
        why: &str,
        hopeless: bool,
        now: Instant,
    ) -> Option<Failed> {
        let key = self.dialled_as(connection)?;
        self.dialling -= 1;
        self.target_failed(&key, why, hopeless, now)
    }

    /// The candidate that this connection is dialled for, and its target.
    pub(super) fn dialled(&self, connection: ConnectionId) -> Option<(&Key, &Target)> {
        let mut all = self.candidates.iter();
        let (key, candidate) = all.find(|(_, candidate)| candidate.state == State::Dialling(connection))?;
        Some((key, &candidate.targets[candidate.next]))
    }

    fn dialled_as(&self, connection: ConnectionId) -> Option<Key> {
        self.dialled(connection).map(|(key, _)| key.clone())
    }

    fn target_failed(&mut self, key: &Key, why: &str, hopeless: bool, now: Instant) -> Option<Failed> {
        let candidate = self.candidates.get_mut(key)?;
        candidate.next += 1;
        if candidate.next < candidate.targets.len() {
            candidate.state = State::Waiting(now);
            return None;
        }
        self.round_failed(key, why, hopeless, now)
    }

    fn round_failed(&mut self, key: &Key, why: &str, hopeless: bool, now: Instant) -> Option<Failed> {
        if let Key::Asked(peer) = key {
            self.candidates.remove(key);
            return Some(Failed { peer: *peer, why: why.into() });
        }
        let candidate = self.candidates.get_mut(key)?;
        candidate.next = 0;
        candidate.failures = candidate.failures.saturating_add(1);
        let spare = !matches!(key, Key::Bootstrap(_)) && self.links > 0;
        if spare && candidate.failures >= ROUNDS_MAX {
            self.candidates.remove(key);
            return None;
        }
        let pause = if hopeless { self.limits.refused_pause } else { self.pause(key) };
        let candidate = self.candidates.get_mut(key)?;
        candidate.state = State::Waiting(now + pause);
        None
    }

    /// Full jitter: anything up to the doubled pause, so that peers that failed together do not come back together.
    fn pause(&mut self, key: &Key) -> Duration {
        let failures = self.candidates.get(key).map_or(0, |candidate| candidate.failures);
        let ceiling = self.limits.backoff_base.saturating_mul(1 << failures.clamp(1, 16)).min(self.limits.backoff_cap);
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(micros.max(1)))
    }

    /// There is a connection to this candidate already.
    pub(super) fn attach(&mut self, key: &Key, node: NodeId, linked_at: Option<Instant>) {
        if let Some(candidate) = self.candidates.get_mut(key) {
            candidate.state = State::Reached { node, linked_at };
        }
    }

    /// This connection leads to that node, which is admitted. A request for another node has failed.
    pub(super) fn reached(&mut self, connection: ConnectionId, node: NodeId, now: Instant) -> Option<Failed> {
        let key = self.dialled_as(connection)?;
        self.dialling -= 1;
        if matches!(key, Key::Asked(asked) if asked != node) {
            return self.target_failed(&key, "another peer answers at that address", true, now);
        }
        let candidate = self.candidates.get_mut(&key)?;
        candidate.next = 0;
        candidate.state = State::Reached { node, linked_at: None };
        None
    }

    /// There is a link with this node. Requests for it are answered.
    pub(super) fn linked(&mut self, node: NodeId, now: Instant) {
        self.links += 1;
        let asked = Key::Asked(node);
        match self.candidates.get(&asked).map(|candidate| candidate.state) {
            // Its dial is still under way; its end is of no interest.
            Some(State::Dialling(_)) => self.dialling -= 1,
            Some(State::Waiting(_) | State::Reached { .. }) | None => {}
        }
        self.candidates.remove(&asked);
        for candidate in self.candidates.values_mut() {
            if let State::Reached { node: reached, linked_at } = &mut candidate.state
                && *reached == node
            {
                *linked_at = Some(now);
            }
        }
        let remembered = self.candidates.get_mut(&Key::Remembered(node));
        if let Some(candidate) = remembered
            && let State::Waiting(_) = candidate.state
        {
            candidate.state = State::Reached { node, linked_at: Some(now) };
        }
    }

    /// A link has ended, and a connection of the same node's next life is there.
    pub(super) fn life_over(&mut self) {
        self.links -= 1;
    }

    /// No connection to this node is left. `was_linked`: there was a link. Requests for it have failed.
    pub(super) fn lost(
        &mut self,
        node: NodeId,
        why: &str,
        was_linked: bool,
        hopeless: bool,
        now: Instant,
    ) -> Option<Failed> {
        if was_linked {
            self.links -= 1;
        }
        let reached = self.candidates.iter().filter_map(|(key, candidate)| match candidate.state {
            State::Reached { node: reached, linked_at } if reached == node => Some((key.clone(), linked_at)),
            _ => None,
        });
        let mut failed = None;
        for (key, linked_at) in reached.collect::<Vec<_>>() {
            let held = linked_at.is_some_and(|at| now.saturating_duration_since(at) >= self.limits.backoff_reset);
            if held && let Some(candidate) = self.candidates.get_mut(&key) {
                candidate.failures = 0;
            }
            // Only a request fails aloud, and there is one at most.
            let this = self.round_failed(&key, why, hopeless, now);
            failed = failed.or(this);
        }
        failed
    }

    /// Whether the overlay waits for a link to this node.
    #[cfg(test)]
    fn is_asked(&self, node: NodeId) -> bool {
        self.candidates.contains_key(&Key::Asked(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId::from_u128(1);
    const B: NodeId = NodeId::from_u128(2);

    fn book(limits: Limits) -> DialBook {
        DialBook::new(limits, Rng::fork(&[7; 32], "dial"))
    }

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn connection(raw: usize) -> ConnectionId {
        ConnectionId::new_unchecked(raw)
    }

    fn dial(book: &mut DialBook, raw: usize, now: Instant) -> Key {
        let (key, _) = book.due(now).expect("something is due");
        book.dialling(&key, connection(raw));
        key
    }

    #[test]
    fn addresses_are_grouped_by_the_peer_they_name() {
        let peer = crate::driver::admission::key::SecretKey::mint().public().peer_id().unwrap();
        let named = |port| at(port).with(Protocol::P2p(peer));
        let grouped = targets([at(1), named(2), at(3), named(4), named(2)]);
        let expected = vec![
            Target { peer: None, addresses: vec![at(1)] },
            Target { peer: Some(peer), addresses: vec![named(2), named(4)] },
            Target { peer: None, addresses: vec![at(3)] },
        ];
        assert_eq!(grouped, expected);
    }

    #[test]
    fn a_request_fails_once_after_all_its_targets() {
        let (mut book, now) = (book(Limits::default()), Instant::now());
        assert!(book.add(Key::Asked(A), targets([at(1), at(2)]), now));
        dial(&mut book, 1, now);
        assert_eq!(book.failed(connection(1), "no route", false, now), None);
        dial(&mut book, 2, now);
        let failed = book.failed(connection(2), "no route", false, now);
        assert_eq!(failed, Some(Failed { peer: A, why: "no route".into() }));
        assert_eq!((book.due(now), book.failed(connection(2), "again", false, now)), (None, None));
    }

    #[test]
    fn a_request_answered_by_another_node_fails() {
        let (mut book, now) = (book(Limits::default()), Instant::now());
        book.add(Key::Asked(A), targets([at(1)]), now);
        dial(&mut book, 1, now);
        assert_eq!(book.reached(connection(1), B, now).map(|failed| failed.peer), Some(A));
    }

    #[test]
    fn a_link_answers_a_request_however_it_came_about() {
        let (mut book, now) = (book(Limits { dials: 1, ..Limits::default() }), Instant::now());
        book.add(Key::Asked(A), targets([at(1)]), now);
        dial(&mut book, 1, now);
        book.linked(A, now);
        assert!(!book.is_asked(A));
        assert_eq!(book.failed(connection(1), "late", false, now), None);
        book.add(Key::Asked(B), targets([at(2)]), now);
        assert_eq!(book.due(now).map(|(key, _)| key), Some(Key::Asked(B)), "the place of the dial is free again");
    }

    #[test]
    fn pauses_double_to_a_cap_and_start_over_when_a_link_has_held() {
        let limits = Limits { backoff_cap: Duration::from_secs(4), ..Limits::default() };
        let (mut book, mut now) = (book(limits.clone()), Instant::now());
        let key = Key::Bootstrap(at(1));
        book.add(key.clone(), targets([at(1)]), now);
        let mut longest = Duration::ZERO;
        for raw in 0..200 {
            now = book.deadline().expect("bootstrap addresses are tried for ever");
            dial(&mut book, raw, now);
            book.failed(connection(raw), "no route", false, now);
            longest = longest.max(book.deadline().unwrap() - now);
        }
        assert!(longest <= limits.backoff_cap && longest > limits.backoff_cap / 2, "{longest:?}");
        now = book.deadline().unwrap();
        dial(&mut book, 999, now);
        book.reached(connection(999), A, now);
        book.linked(A, now);
        assert_eq!(book.deadline(), None);
        now += limits.backoff_reset;
        book.lost(A, "gone", true, false, now);
        assert!(book.deadline().unwrap() - now <= limits.backoff_base * 2, "the pauses start over");
    }

    #[test]
    fn a_short_link_does_not_reset_the_pauses() {
        let (mut book, mut now) = (book(Limits::default()), Instant::now());
        book.add(Key::Bootstrap(at(1)), targets([at(1)]), now);
        for raw in 0..20 {
            dial(&mut book, raw, now);
            book.reached(connection(raw), A, now);
            book.linked(A, now);
            book.lost(A, "gone", true, false, now);
            now = book.deadline().unwrap();
        }
        assert_eq!(book.candidates[&Key::Bootstrap(at(1))].failures, 20);
    }

    #[test]
    fn dials_and_candidates_are_bounded_but_requests_are_always_taken() {
        let (mut book, now) = (book(Limits { dials: 2, candidates: 3, ..Limits::default() }), Instant::now());
        let taken = (1..=5).filter(|port| book.add(Key::Bootstrap(at(*port)), targets([at(*port)]), now)).count();
        assert_eq!(taken, 3);
        assert!(book.add(Key::Asked(A), targets([at(9)]), now));
        assert_eq!(dial(&mut book, 1, now), Key::Asked(A), "requests come first");
        dial(&mut book, 2, now);
        assert_eq!((book.due(now), book.deadline()), (None, None));
    }

    #[test]
    fn somebody_who_was_refused_is_left_alone_for_long() {
        let (mut book, now) = (book(Limits::default()), Instant::now());
        book.add(Key::Bootstrap(at(1)), targets([at(1)]), now);
        dial(&mut book, 1, now);
        book.failed(connection(1), "refused", true, now);
        assert_eq!(book.deadline(), Some(now + Limits::default().refused_pause));
    }

    #[test]
    fn what_never_answers_is_forgotten_once_there_are_links() {
        let (mut book, mut now) = (book(Limits::default()), Instant::now());
        book.add(Key::Remembered(A), targets([at(1)]), now);
        book.linked(B, now);
        for raw in 0..100 {
            let Some(next) = book.deadline() else { break };
            now = next;
            dial(&mut book, raw, now);
            book.failed(connection(raw), "no route", false, now);
        }
        assert_eq!(book.candidates.len(), 0);
    }
}
