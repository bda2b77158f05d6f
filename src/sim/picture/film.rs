//! A run as it is to be drawn: what each peer was and how others saw it, second by second; faults, news, and messages of the
//! part that matters.

use std::collections::BTreeMap;

use super::super::host::Life;
use super::super::scenario::Scenario;
use super::super::speech::Speech;
use super::super::witness::{Happened, Seen, Witness};
use super::super::words;
use super::super::world::Mesh;
use crate::membership::{self, State};
use crate::node::{Effect, Event};
use crate::types::{Lane, LogId, Seq};
use crate::{replication, wire};

/// Most messages of a picture.
pub(super) const MESSAGES_MAX: usize = 40_000;
/// Most news of a picture.
const NEWS_MAX: usize = 20_000;
/// Most peers that are asked what they think of the others: beyond, evenly chosen ones.
const OBSERVERS_MAX: usize = 50;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Is {
    Off = 0,
    Booting = 1,
    Up = 2,
    Paused = 3,
    Refused = 4,
}

/// One second of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Second {
    pub(super) is: Is,
    /// Of a hundred that know it, how many suspect it, and how many hold it for dead.
    pub(super) suspected: u8,
    pub(super) dead: u8,
    /// Entries that somebody holds and it does not.
    pub(super) behind: u64,
    /// Of this second: writes that became durable, bytes given to the disk, frames sent.
    pub(super) synced: u32,
    pub(super) written: u32,
    pub(super) sent: u32,
    /// Its disk has failed it, or is full.
    pub(super) disk_fails: bool,
}

/// A fault as it happened.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) begins: u64,
    pub(super) ends: Option<u64>,
    pub(super) kind: String,
    pub(super) what: String,
    pub(super) peers: Vec<u32>,
}

/// What a peer told of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    pub(super) at: u64,
    pub(super) place: u32,
    /// 0 starts, 1 ready, 2 refused, 3 suspects, 4 declares dead, 5 finds alive, 6 joined, 7 left, 8 defends itself, 9 faulty.
    pub(super) kind: u8,
    pub(super) about: Option<u32>,
}

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) sent: u64,
    /// None if it is lost, or waits behind a cut.
    pub(super) arrives: Option<u64>,
    pub(super) from: u32,
    pub(super) to: u32,
    /// 0 membership, 1 replication, 2 overlay, 3 audit; on the sync lane 4 more.
    pub(super) kind: u8,
    pub(super) len: u32,
}

/// Watches a run for its picture.
pub(super) struct Film<'a> {
    speech: Speech<'a>,
    /// Which messages are kept: sent from then to then.
    window: (u64, u64),
    counts: Vec<Count>,
    pub(super) lanes: Vec<Vec<Second>>,
    pub(super) bars: Vec<Bar>,
    begun: BTreeMap<usize, usize>,
    pub(super) news: Vec<News>,
    pub(super) news_left_out: u64,
    pub(super) messages: Vec<Message>,
    /// Frames sent in each second, over all peers.
    pub(super) frames: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    synced: u32,
    written: u32,
    sent: u32,
    disk_fails: bool,
}

impl<'a> Film<'a> {
    pub(super) fn new(scenario: &'a Scenario, window: (u64, u64)) -> Self {
        Self {
            speech: Speech::new(scenario),
            window,
            counts: vec![Count::default(); scenario.peers()],
            lanes: vec![Vec::new(); scenario.peers()],
            bars: Vec::new(),
            begun: BTreeMap::new(),
            news: Vec::new(),
            news_left_out: 0,
            messages: Vec::new(),
            frames: Vec::new(),
        }
    }

    fn tell(&mut self, at: u64, place: u32, kind: u8, about: Option<u32>) {
        if self.news.len() < NEWS_MAX {
            self.news.push(News { at, place, kind, about });
        } else {
            self.news_left_out += 1;
        }
    }

    fn effect(&mut self, at: u64, place: u32, effect: &Effect) {
        use membership::Event as E;
        match effect {
            Effect::Persist { bytes, .. } => {
                let written = &mut self.counts[place as usize].written;
                *written = written.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            Effect::Notify(Event::Membership(event)) => {
                let (kind, who) = match event {
                    E::Suspected { member, .. } => (3, Some(member)),
                    E::Died { member, .. } => (4, Some(member)),
                    E::Refuted { member, .. } => (5, Some(member)),
                    E::Joined { member, .. } => (6, Some(member)),
                    E::Left { member, .. } => (7, Some(member)),
                    E::Defended { .. } => (8, None),
                    E::PeerFault { peer, .. } => (9, Some(peer)),
                    _ => return,
                };
                let [.., a, b, c, d] = who.map_or([0; 16], |id| *id.as_bytes());
                self.tell(at, place, kind, u32::from_be_bytes([a, b, c, d]).checked_sub(1));
            }
            _ => {}
        }
    }

    fn sent(&mut self, at: u64, place: u32, to: u32, lane: Lane, arrives: Option<u64>, frame: &[u8]) {
        if at < self.window.0 || at > self.window.1 || self.messages.len() >= MESSAGES_MAX {
            return;
        }
        let kind = match wire::kind(frame) {
            Some(wire::Kind::Membership) | None => 0,
            Some(wire::Kind::Replication) => 1,
            Some(wire::Kind::Overlay) => 2,
            Some(wire::Kind::Audit | wire::Kind::Consensus | wire::Kind::Roles) => 3,
        };
        let kind = if lane == Lane::Sync { kind + 4 } else { kind };
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.messages.push(Message { sent: at, arrives, from: place, to, kind, len });
    }
}

impl Witness for Film<'_> {
    fn seen(&mut self, event: Happened, place: u32, what: &Seen<'_>) {
        let at = event.at;
        match what {
            Seen::Start => self.tell(at, place, 0, None),
            Seen::Ready(_) => {
                self.counts[place as usize].disk_fails = false;
                self.tell(at, place, 1, None);
            }
            Seen::Refused(_) => self.tell(at, place, 2, None),
            Seen::Input(crate::node::Input::Persisted { result, .. }) => {
                let count = &mut self.counts[place as usize];
                count.synced += 1;
                count.disk_fails |= result.is_err();
            }
            Seen::Input(_) => {}
            Seen::Effect(effect) => self.effect(at, place, effect),
            Seen::Sent { to, lane, fate, frame } => {
                self.counts[place as usize].sent += 1;
                let second = usize::try_from(at / super::SECOND).expect("a run is a day at most");
                if self.frames.len() <= second {
                    self.frames.resize(second + 1, 0);
                }
                self.frames[second] += 1;
                self.sent(at, place, *to, *lane, fate.arrives, frame);
            }
            Seen::Begins { item, says } => {
                let piece = serde_json::to_value(&says.fault).expect("faults are texts, numbers and lists");
                let peers = match says.fault.peer() {
                    Some(peer) => vec![peer],
                    None => words::places(&piece).into_iter().filter_map(|place| u32::try_from(place).ok()).collect(),
                };
                let what = words::fault(&says.fault, &|place| self.speech.name(place));
                self.begun.insert(*item, self.bars.len());
                self.bars.push(Bar { begins: at, ends: None, kind: says.kind().to_owned(), what, peers });
            }
            Seen::Ends { item, .. } => {
                if let Some(bar) = self.begun.remove(item) {
                    self.bars[bar].ends = Some(at);
                }
            }
        }
    }

    fn tick(&mut self, mesh: &Mesh) {
        let held = held(mesh);
        let most: BTreeMap<LogId, Seq> =
            held.iter().flatten().flatten().fold(BTreeMap::new(), |mut most, (log, seq)| {
                let known = most.entry(*log).or_insert(*seq);
                *known = (*known).max(*seq);
                most
            });
        let all: u64 = most.values().map(|seq| seq.value()).sum();
        let live: Vec<usize> = (0..mesh.hosts.len()).filter(|place| mesh.hosts[*place].node().is_some()).collect();
        let observers: Vec<usize> = live.iter().copied().step_by(live.len().div_ceil(OBSERVERS_MAX).max(1)).collect();
        for (place, host) in mesh.hosts.iter().enumerate() {
            let is = match &host.life {
                Life::Off => Is::Off,
                Life::Booting(_) => Is::Booting,
                Life::Refused => Is::Refused,
                Life::Up(_) if host.paused_since.is_some() => Is::Paused,
                Life::Up(_) => Is::Up,
            };
            let (mut asked, mut suspected, mut dead) = (0_usize, 0_usize, 0_usize);
            for node in observers.iter().filter(|at| **at != place).filter_map(|at| mesh.hosts[*at].node()) {
                // Who has not heard of it yet has no opinion.
                let Some(member) = node.membership().member(host.id) else { continue };
                asked += 1;
                match member.state {
                    State::Alive => {}
                    State::Suspect => suspected += 1,
                    State::Dead | State::Left => dead += 1,
                }
            }
            let percent = |part: usize| u8::try_from(part * 100 / asked.max(1)).unwrap_or(100);
            let behind = held[place]
                .as_ref()
                .map_or(0, |held| all.saturating_sub(held.iter().map(|(_, seq)| seq.value()).sum()));
            let Count { synced, written, sent, disk_fails } = self.counts[place];
            self.counts[place] = Count { disk_fails, ..Count::default() };
            let (suspected, dead) = (percent(suspected), percent(dead));
            self.lanes[place].push(Second { is, suspected, dead, behind, synced, written, sent, disk_fails });
        }
    }
}

/// How far each running peer holds each log.
fn held(mesh: &Mesh) -> Vec<Option<Vec<(LogId, Seq)>>> {
    let of = |replication: replication::View<'_>| replication.vector().iter().collect();
    mesh.hosts.iter().map(|host| host.node().map(|node| of(node.replication()))).collect()
}
