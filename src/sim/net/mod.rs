//! The network: links between peers, what they do to frames, and what cuts them.
//!
//! A link is made by a dial, has two ends that may learn of its end at different times, and carries two lanes. State exists
//! for links that are up only. In `stream` mode a lane is first in, first out, and loss shows as delay with all that
//! follows waiting, as over TCP; a cut holds frames until it heals or the watchdogs give the link up. In `datagram` mode
//! loss is loss, and frames may arrive twice or out of order.

mod trouble;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::luck::{Luck, MILLION, Stream};
use super::plan::Item;
use super::scenario::{Mode, Network};
use crate::topology::{Link, Topology};
use crate::types::{Lane, NodeId};
use trouble::{Trouble, Troubles, Weather};

/// First retransmission timeout of a lost packet; doubles each time (RFC 6298, with Linux's floor).
const RETRANSMIT_NS: u64 = 200_000_000;
/// Most times that one frame is retransmitted; by then the watchdogs have decided.
const RETRANSMITS_MAX: u64 = 5;
/// Payload of one packet.
const PACKET: u64 = 1_448;
/// Bytes that may wait on one link: the driver's outbox and the socket's buffers. What is more is dropped.
const OUTBOX_MAX: u64 = 8 << 20;
/// What the handshakes of a new link cost besides their round trips.
const HANDSHAKE_NS: u64 = 800_000;

/// A frame under way.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Which of the links that this pair had.
    pub(super) conn: u32,
    pub(super) lane: Lane,
    pub(super) bytes: Bytes,
}

/// What becomes of a frame that was sent: when it arrives, and when it arrives again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) arrives: Option<u64>,
    pub(super) again: Option<u64>,
    /// It was damaged: when the other end notices, and the link breaks.
    pub(super) breaks: Option<u64>,
}

/// Counts over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct NetStats {
    /// Frames sent over a link.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames lost for good, or sent again by the transport.
    pub lost: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames dropped since there was no link or its outbox was full.
    pub dropped: u64,
    /// Links made.
    pub links: u64,
    /// Frames that were held until something was over.
    pub held: u64,
    /// Frames damaged on their way.
    pub corrupted: u64,
    /// Links that ended.
    pub unlinks: u64,
    /// Dials that failed.
    pub failed_dials: u64,
}

#[derive(Debug)]
struct End {
    conn: u32,
    /// Who was at the other end when the link was made.
    peer: NodeId,
    path: Path,
    lanes: [Flow; 2],
    held: VecDeque<Frame>,
    held_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// When the wire is free for the next frame of this lane.
    free_at: u64,
    /// Nothing arrives before what was sent earlier.
    floor: u64,
    sent: u64,
    /// In the bad state of a loss that comes in bursts.
    bad: bool,
}

/// A link's way from one end to the other, in integers.
#[derive(Clone, Copy, Debug)]
struct Path {
    delay: u64,
    jitter: u64,
    loss: u64,
    bandwidth: Option<u64>,
}

#[derive(Debug, Default)]
struct Pair {
    conn: u32,
    dialing: bool,
    /// Which of the two wait for the dial's end: the lower, the higher.
    waiting: [bool; 2],
}

/// All links.
#[derive(Debug)]
pub(super) struct Net {
    topology: Topology,
    says: Network,
    ends: Vec<BTreeMap<u32, End>>,
    pairs: BTreeMap<(u32, u32), Pair>,
    troubles: Troubles,
    pub(super) stats: NetStats,
    luck: Draws,
}

#[derive(Clone, Copy, Debug)]
struct Draws {
    loss: Stream,
    jitter: Stream,
    duplicate: Stream,
    reorder: Stream,
    watchdog: Stream,
    burst: Stream,
    corrupt: Stream,
    distance: Stream,
}

impl Net {
    pub(super) fn new(topology: Topology, says: Network, luck: &Luck) -> Self {
        let peers = topology.nodes().len();
        let stream = |label| luck.stream(label);
        Self {
            topology,
            says,
            ends: (0..peers).map(|_| BTreeMap::new()).collect(),
            pairs: BTreeMap::new(),
            troubles: Troubles::default(),
            stats: NetStats::default(),
            luck: Draws {
                loss: stream("net loss"),
                jitter: stream("net jitter"),
                duplicate: stream("net duplicate"),
                reorder: stream("net reorder"),
                watchdog: stream("net watchdog"),
                burst: stream("net burst"),
                corrupt: stream("net corrupt"),
                distance: stream("net distance"),
            },
        }
    }

    /// Sends over the link that there is; without one the frame is dropped.
    pub(super) fn send(&mut self, now: u64, from: u32, to: u32, lane: Lane, bytes: Bytes) -> (Fate, Option<Frame>) {
        let weather = self.troubles.weather(from, to);
        let Some(end) = self.ends[from as usize].get_mut(&to) else {
            self.stats.dropped += 1;
            return (Fate::default(), None);
        };
        let frame = Frame { from, to, conn: end.conn, lane, bytes };
        let len = frame.bytes.len() as u64;
        (self.stats.frames, self.stats.bytes) = (self.stats.frames + 1, self.stats.bytes + len);
        if weather.cut || weather.clogged {
            let held = weather.clogged && !weather.cut || self.says.mode == Mode::Stream;
            if !held || end.held_bytes + len > OUTBOX_MAX {
                self.stats.lost += 1;
            } else {
                self.stats.held += 1;
                end.held_bytes += len;
                end.held.push_back(frame);
            }
            return (Fate::default(), None);
        }
        let fate = self.fate(now, &frame, weather);
        (fate, Some(frame))
    }

    /// When a frame arrives that is put on the wire now.
    fn fate(&mut self, now: u64, frame: &Frame, weather: Weather) -> Fate {
        let (luck, mode) = (self.luck, self.says.mode);
        let end = self.ends[frame.from as usize].get_mut(&frame.to).expect("the frame was sent over this link");
        let (entity, lane) = (u64::from(frame.from) << 32 | u64::from(frame.to), frame.lane as usize);
        let len = frame.bytes.len() as u64;
        let bandwidth = [end.path.bandwidth, weather.bits].into_iter().flatten().min();
        let wire_ns = bandwidth.map_or(0, |bits| len * 8 * 1_000_000_000 / bits.max(1));
        // Control never waits behind bulk; bulk waits behind both.
        let free_at = if lane == 0 { end.lanes[0].free_at } else { end.lanes[0].free_at.max(end.lanes[1].free_at) };
        let leaves = free_at.max(now) + wire_ns;
        let queue = weather.queue.unwrap_or(OUTBOX_MAX).max(len);
        if wire_ns > 0 && (leaves - now) / wire_ns.max(1) * len > queue {
            self.stats.dropped += 1;
            return Fate::default();
        }
        let path = end.path;
        let flow = &mut end.lanes[lane];
        flow.free_at = leaves;
        flow.sent += 1;
        let counter = u64::from(frame.conn) << 40 | (lane as u64) << 39 | flow.sent << 3;
        let jitter = luck.jitter.exponential(entity, counter, path.jitter / 4).min(path.jitter);
        let mut arrives = leaves + (path.delay.max(1) + jitter) * weather.factor + weather.delay;
        let burst = flow.burst(luck.burst, entity, counter, weather);
        let loss = ((path.loss + self.says.loss.0 + weather.loss + burst) * len.div_ceil(PACKET).max(1)).min(MILLION);
        let corrupted = luck.corrupt.chance(entity, counter, weather.corrupt);
        self.stats.corrupted += u64::from(corrupted);
        if mode == Mode::Datagram {
            // A datagram that fails its checksum is none.
            let loss = if corrupted { MILLION } else { loss };
            return self.datagram(entity, counter, (arrives, jitter), loss, weather);
        }
        let lost = (0..RETRANSMITS_MAX).take_while(|attempt| luck.loss.chance(entity, counter + attempt, loss)).count();
        self.stats.lost += lost as u64;
        arrives += RETRANSMIT_NS * ((1 << lost) - 1);
        flow.floor = arrives.max(flow.floor + 1);
        if corrupted {
            return Fate { breaks: Some(flow.floor), ..Fate::default() };
        }
        Fate { arrives: Some(flow.floor), ..Fate::default() }
    }

    fn datagram(&mut self, entity: u64, counter: u64, at: (u64, u64), loss: u64, weather: Weather) -> Fate {
        let (luck, (arrives, jitter)) = (self.luck, at);
        if luck.loss.chance(entity, counter, loss) {
            self.stats.lost += 1;
            return Fate::default();
        }
        let late = |n| luck.reorder.exponential(entity, counter + n, jitter.max(1_000_000) * 4) + 1;
        let reordered = luck.reorder.chance(entity, counter, self.says.reorder.0 + weather.reorder);
        let arrives = arrives + if reordered { late(1) } else { 0 };
        let duplicated = luck.duplicate.chance(entity, counter, self.says.duplicate.0 + weather.duplicate);
        self.stats.duplicated += u64::from(duplicated);
        Fate { arrives: Some(arrives), again: duplicated.then(|| arrives + late(2)), breaks: None }
    }

    /// Whom a frame that arrives now is from; nobody, if its link is not there any more.
    pub(super) fn sender(&self, frame: &Frame) -> Option<NodeId> {
        let end = self.ends[frame.to as usize].get(&frame.from);
        end.filter(|end| end.conn == frame.conn).map(|end| end.peer)
    }

    /// Begins a dial unless the two are linked or one of them dials already; says when it is decided.
    pub(super) fn dial(&mut self, now: u64, from: u32, to: u32) -> Option<u64> {
        if self.ends[from as usize].contains_key(&to) {
            return None;
        }
        let (path, weather) = (self.path(from, to), self.troubles.weather(from, to));
        let pair = self.pairs.entry((from.min(to), from.max(to))).or_default();
        pair.waiting[usize::from(from > to)] = true;
        if std::mem::replace(&mut pair.dialing, true) {
            return None;
        }
        let (entity, counter) = (u64::from(from) << 32 | u64::from(to), u64::from(pair.conn) << 40 | now >> 30);
        let jitter = self.luck.jitter.exponential(entity, counter, path.jitter / 4).min(path.jitter);
        let loss = (path.loss + self.says.loss.0 + weather.loss).min(MILLION);
        let lost = (0..3).take_while(|attempt| self.luck.loss.chance(entity, counter + attempt, loss)).count();
        let round_trips = (path.delay + jitter) * 4 * weather.factor + weather.delay * 4;
        Some(now + round_trips + HANDSHAKE_NS + RETRANSMIT_NS * ((1 << lost) - 1))
    }

    /// A dial is decided: who waited for it.
    pub(super) fn dialed(&mut self, a: u32, b: u32) -> Vec<u32> {
        let (low, high) = (a.min(b), a.max(b));
        let pair = self.pairs.get_mut(&(low, high)).expect("a dial is decided once, after it began");
        pair.dialing = false;
        let waited = std::mem::take(&mut pair.waiting);
        [low, high].into_iter().zip(waited).filter_map(|(peer, waited)| waited.then_some(peer)).collect()
    }

    /// Makes a link between two peers; returns the ends that still held an older one, which is gone now, with whom.
    pub(super) fn link(&mut self, now: u64, one: (u32, NodeId), other: (u32, NodeId)) -> Vec<(u32, NodeId)> {
        let ((a, a_id), (b, b_id)) = (one, other);
        let pair = self.pairs.entry((a.min(b), a.max(b))).or_default();
        pair.conn += 1;
        let conn = pair.conn;
        self.stats.links += 1;
        let mut stale = Vec::new();
        for (from, to, peer) in [(a, b, b_id), (b, a, a_id)] {
            let flow = Flow { free_at: now, floor: now, sent: 0, bad: false };
            let path = self.path(from, to);
            let end = End { conn, peer, path, lanes: [flow; 2], held: VecDeque::new(), held_bytes: 0 };
            if let Some(old) = self.ends[from as usize].insert(to, end) {
                stale.push((from, old.peer));
            }
        }
        stale
    }

    /// Takes one end away if it still belongs to this link; says with whom it was.
    pub(super) fn unlink(&mut self, at: u32, peer: u32, conn: u32) -> Option<NodeId> {
        let ends = &mut self.ends[at as usize];
        let end = ends.get(&peer).is_some_and(|end| end.conn == conn).then(|| ends.remove(&peer))??;
        self.stats.unlinks += 1;
        Some(end.peer)
    }

    /// Takes away this peer's end of a link that it closes; when the other end learns of it, of which link, and with whom.
    pub(super) fn close(&mut self, now: u64, at: u32, peer: u32, silent: bool) -> Option<(u64, u32, NodeId)> {
        let end = self.ends[at as usize].remove(&peer)?;
        self.stats.unlinks += 1;
        if silent || self.blocked(at, peer) {
            return Some((now + self.watchdog(at, peer, end.conn), end.conn, end.peer));
        }
        // The goodbye follows what was sent before.
        let after = end.lanes.iter().map(|flow| flow.floor).max().unwrap_or(0).max(now + end.path.delay);
        Some((after + 1, end.conn, end.peer))
    }

    /// The peers that this one has a link to, with the links.
    pub(super) fn links(&self, at: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ends[at as usize].iter().map(|(peer, end)| (*peer, end.conn))
    }

    /// Whether this peer has a link to that one.
    pub(super) fn has_link(&self, at: u32, peer: u32) -> bool {
        self.ends[at as usize].contains_key(&peer)
    }

    /// Whether this end of a link is there.
    pub(super) fn is_linked(&self, at: u32, peer: u32, conn: u32) -> bool {
        self.ends[at as usize].get(&peer).is_some_and(|end| end.conn == conn)
    }

    /// After how long the watchdog of `at` gives up a silent link: it looks now and then, so not at once.
    pub(super) fn watchdog(&self, at: u32, peer: u32, conn: u32) -> u64 {
        let base = self.says.cut_detection.0;
        base + self.luck.watchdog.below(u64::from(at) << 32 | u64::from(peer), u64::from(conn), base / 4 + 1)
    }

    /// How long a dial to somebody who does not answer hangs.
    pub(super) fn dial_timeout(&self) -> u64 {
        self.says.dial_timeout.0
    }

    /// The shortest time that the watchdogs wait.
    pub(super) fn cut_detection(&self) -> u64 {
        self.says.cut_detection.0
    }

    /// Something goes wrong with links; those that it silences, each once.
    pub(super) fn trouble(&mut self, now: u64, item: usize, says: &Item) -> Vec<(u32, u32, u32)> {
        let Some(trouble) = Trouble::of(item, now, says) else { return Vec::new() };
        let mut silenced = Vec::new();
        if trouble.blocks() {
            for (a, ends) in (0..).zip(&self.ends) {
                let hit = ends.iter().filter(|(b, end)| {
                    let twin = self.ends[**b as usize].get(&a).is_some_and(|other| other.conn == end.conn);
                    (a < **b || !twin) && (trouble.covers(a, **b) || trouble.covers(**b, a))
                });
                silenced.extend(hit.map(|(b, end)| (a, *b, end.conn)));
            }
        }
        self.troubles.begin(trouble);
        silenced
    }

    /// That is over; the frames that it held and that may go on now, with what becomes of them.
    pub(super) fn heal(&mut self, now: u64, item: usize) -> Vec<(Fate, Frame)> {
        self.troubles.end(item);
        self.release_all(now)
    }

    /// From now on nothing is wrong with the links between these.
    pub(super) fn spare(&mut self, now: u64, core: &[u32]) -> Vec<(Fate, Frame)> {
        self.troubles.spare(core);
        self.release_all(now)
    }

    /// The items of the plan that a frame met on its way.
    pub(super) fn met(&self) -> impl Iterator<Item = usize> {
        self.troubles.met().iter().copied()
    }

    fn release_all(&mut self, now: u64) -> Vec<(Fate, Frame)> {
        let mut released = Vec::new();
        for at in 0..self.ends.len() {
            let at = u32::try_from(at).expect("a topology has at most 10,000 nodes");
            let holding: Vec<u32> =
                self.ends[at as usize].iter().filter(|(_, end)| !end.held.is_empty()).map(|(peer, _)| *peer).collect();
            for peer in holding.into_iter().filter(|peer| !self.blocked(at, *peer)).collect::<Vec<_>>() {
                self.release(now, at, peer, &mut released);
            }
        }
        released
    }

    /// The transport's next retransmission carries what was held.
    fn release(&mut self, now: u64, at: u32, peer: u32, released: &mut Vec<(Fate, Frame)>) {
        let end = self.ends[at as usize].get_mut(&peer).expect("the caller found it");
        let held = std::mem::take(&mut end.held);
        end.held_bytes = 0;
        let entity = u64::from(at) << 32 | u64::from(peer);
        let resumes = now + self.luck.jitter.below(entity, now, 2 * RETRANSMIT_NS);
        let weather = self.troubles.weather(at, peer);
        for frame in held {
            let fate = self.fate(resumes, &frame, weather);
            released.push((fate, frame));
        }
    }

    /// Whether what `from` sends does not get to `to`.
    pub(super) fn blocked(&self, from: u32, to: u32) -> bool {
        self.troubles.block(from, to)
    }

    /// Since when one way or the other between the two is cut. A link needs both ways: acknowledgements travel back.
    pub(super) fn cut_since(&self, a: u32, b: u32) -> Option<u64> {
        self.troubles.since(a, b)
    }

    /// The least time from one to the other.
    pub(super) fn delay(&self, from: u32, to: u32) -> u64 {
        self.path(from, to).delay
    }

    fn path(&self, from: u32, to: u32) -> Path {
        let Link { delay, jitter, loss, bandwidth } = self.topology.path(from as usize, to as usize);
        let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let pair = u64::from(from.min(to)) << 32 | u64::from(from.max(to));
        let further = self.luck.distance.below(pair, 0, self.says.distance.0);
        Path { delay: nanos(delay) + further, jitter: nanos(jitter), loss: u64::from(loss.value()), bandwidth }
    }
}

impl Flow {
    /// What a burst adds to the loss of the next frame: a chain of two states, a step for each frame.
    fn burst(&mut self, luck: Stream, entity: u64, counter: u64, weather: Weather) -> u64 {
        let Some((to_bad, to_good, ppm)) = weather.burst else {
            self.bad = false;
            return 0;
        };
        let turns = luck.chance(entity, counter, if self.bad { to_good } else { to_bad });
        self.bad ^= turns;
        if self.bad { ppm } else { 0 }
    }
}
