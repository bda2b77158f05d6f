//! Who holds what, beyond the neighbours: how it is learned, passed on, and what follows from it.
//!
//! Neighbours are known from the exchange itself: acknowledgements, entries, vectors, equal digests. What is known so of a
//! member, its neighbours tell theirs, and these go on ([`Message::Held`]): only cells that changed, a member at a time, the
//! newest state of each once over each link, and not back to where they came from. In a full mesh each tells only of itself.
//!
//! When entries have ceased to flow, it is enough to name those who hold the same as the teller ([`Message::Equal`]).
//!
//! **Cost**: of the bytes of entries that cross a link a 200th, and 8 bytes a second while there is something to tell (`told`);
//! 4 bytes a member once after the last entry; nothing in a mesh at rest. So while much flows knowledge of far members may be a
//! minute old for each step between, and says how old it is. A frame that was lost shows as lag that does not end: it is asked
//! for again ([`Message::Tell`]).
//!
//! **Who stands between** is believed, within bounds: what a neighbour tells of another member counts up to what is held here, where
//! the chain has to fit, or up to what some neighbour says that it holds itself, which is then asked for. So nobody is made to
//! hold what was never written, and the member's own word ends what cannot be checked. What remains: of entries that exist a
//! neighbour may say that a member behind it has them, as of now, and hide its lag for as long as it says so; and that it
//! lacks them, by silence. Nothing that is sent could tell that from the truth but the member's signature over how far it holds
//! its logs, which would cost 64 bytes in each line of 11. Where everybody exchanges with everybody nobody stands between.

use std::time::Duration;

use super::log::Log;
use super::message::{Held, Hold, LINES_MAX, MEMBERS_MAX, Message, Short};
use super::peer::Peer;
use super::replicas::{ACTIVE_WITHIN, InQuestion, Lag, Row};
use super::{Event, Replication, ReplicationState, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Boot, Digest, NodeId, Seq, Time, digest64};

/// How often what changed is told.
const REPORT: Duration = Duration::from_secs(1);
/// How often lag is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// About what a member and a line take in a frame, in bytes.
const MEMBER_BYTES: i64 = 24;
const LINE_BYTES: i64 = 11;
/// Who is behind for so long by knowledge that is as old is asked after.
const DOUBT: Duration = Duration::from_secs(60);
/// Of larger meshes only neighbours are known.
pub const REPLICAS_MAX: usize = 256;

/// The name of a member's life in four bytes: what was known of an earlier one says nothing. Two with the same name are taken
/// for each other once in four billion pairs, and then one of them is taken to hold what it may lack until it lives anew.
pub(super) fn short(member: NodeId, boot: Boot) -> Short {
    Short::of(digest64(member.as_bytes()).chain(&boot.value().to_be_bytes()))
}

impl Replication {
    /// These are the members, itself included: which life of each, and whether it is there. `direct` if everybody exchanges
    /// entries with everybody.
    pub fn on_members(
        &mut self,
        cx: &mut Cx<'_, Self>,
        members: impl Iterator<Item = (NodeId, Boot, bool)>,
        direct: bool,
    ) {
        if let Some(moved) = self.replicas.set_members(cx.now().mono, members) {
            self.peers.values_mut().for_each(|peer| peer.told.upto.moved(&moved));
        }
        let known = self.replicas.len();
        let relayed = std::mem::replace(&mut self.relays, !direct && known <= REPLICAS_MAX);
        if self.relays && !relayed {
            self.report_soon(cx);
        }
        if known > 1 && !std::mem::replace(&mut self.looking, true) {
            cx.arm(Timer::Lag, LOOK);
        }
    }

    /// A neighbour holds this log up to here, durably, in the branch that we hold.
    pub(super) fn confirm(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, seq: u64) {
        if let Some(chain) = self.logs.get(at).chain_at(seq) {
            self.confirm_as(cx, peer, at, seq, chain);
        }
    }

    /// A neighbour holds this log up to here, durably, and the chain there is so.
    pub(super) fn confirm_as(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, seq: u64, chain: Digest) {
        let now = cx.now().mono;
        if let Some(row) = self.replicas.row_mut(peer) {
            (row.as_of, row.compared) = (now, true);
        }
        self.replicas.doubt(peer, at, self.logs.get(at));
        let held = self.logs.get(at).durable() > 0;
        if self.replicas.raise(peer, at, (seq, Short::of(chain)), peer, now, held) {
            self.on_raised(cx, peer, at, peer);
            self.report_soon(cx);
        }
    }

    /// A neighbour holds exactly what we hold.
    pub(super) fn confirm_all(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        for at in self.in_question(peer) {
            let durable = self.logs.get(at).durable();
            self.confirm(cx, peer, at, durable);
        }
        if let Some(row) = self.replicas.row_mut(peer) {
            (row.as_of, row.compared) = (cx.now().mono, true);
        }
    }

    /// Notes how far we hold a log ourselves. Says whether that is news.
    pub(super) fn raise_own(&mut self, at: usize, now: Time) -> bool {
        let (me, log) = (self.actor.node, self.logs.get(at));
        let Some(chain) = log.chain_at(log.durable()) else { return false };
        self.replicas.raise(me, at, (log.durable(), Short::of(chain)), me, now, log.durable() > 0)
    }

    pub(super) fn report_soon(&mut self, cx: &mut Cx<'_, Self>) {
        if planted!("replication/knowledge-not-passed-on") {
            return;
        }
        if !self.peers.is_empty() && !std::mem::replace(&mut self.reporting, true) {
            cx.arm(Timer::Report, REPORT);
        }
    }

    /// Tells neighbours what changed, as far as each link's allowance goes.
    pub(super) fn on_report(&mut self, cx: &mut Cx<'_, Self>) {
        let (me, now) = (self.actor.node, cx.now().mono);
        for at in self.in_question(me) {
            self.raise_own(at, now);
        }
        let digest = self.logs.digest();
        if let Some(row) = self.replicas.row_mut(me) {
            (row.as_of, row.compared) = (now, true);
            row.note_all(&self.logs, digest);
        }
        self.reporting = false;
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        let equals = if now.since(self.durable_at) >= REPORT { self.equals() } else { Vec::new() };
        let mut left = false;
        for peer in peers {
            self.tell_equals(cx, peer, &equals);
            left |= self.report_to(cx, peer);
        }
        if left {
            self.report_soon(cx);
        }
    }

    /// Says whether something is left to be told.
    fn report_to(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&to) else { return false };
        peer.told.save();
        let (me, relays) = (self.actor.node, self.relays);
        let is_news = |id: NodeId, row: &Row| row.compared && (id == me || relays);
        if peer.told.allowance <= 0 {
            let first = peer.told.first_untold(to, &self.replicas, is_news);
            peer.told.next = first.or(peer.told.next);
            return first.is_some();
        }
        let untold = peer.told.untold(to, &self.replicas);
        let mut rows: Vec<(usize, NodeId)> =
            untold.into_iter().filter(|(_, id, row)| is_news(*id, row)).map(|(place, id, _)| (place, id)).collect();
        let next = peer.told.next;
        let split = rows.partition_point(|(_, id)| Some(*id) < next);
        rows.rotate_left(split);
        let (mut held, mut lines) = (Vec::new(), 0);
        for (place, member) in &rows {
            let allowance = self.peers[&to].told.allowance;
            if allowance <= 0 || held.len() >= MEMBERS_MAX {
                self.peers.get_mut(&to).expect("looked up above").told.next = Some(*member);
                break;
            }
            let Some(one) = self.held_of(*place, to, cx.now().mono) else { continue };
            if lines + one.lines.len() > LINES_MAX {
                break;
            }
            lines += one.lines.len();
            held.push(one);
        }
        let left = held.len() < rows.len();
        held.retain(|one| !one.lines.is_empty());
        if !held.is_empty() {
            cx.send(to, Message::Held(held));
        }
        left
    }

    /// Those who hold what we hold, if that is news to some neighbour: where and who, which life of it, as of which change.
    fn equals(&mut self) -> Vec<(usize, NodeId, Short, u64)> {
        let (me, digest) = (self.actor.node, self.logs.digest());
        let whole = self.peers.values().map(|peer| peer.told.whole).min().unwrap_or_default();
        let is_news = |(place, id, row): &(usize, NodeId, &Row)| {
            let told = |peer: &Peer| peer.told.upto.has(*place, row.stamp);
            // Of whom nothing is known all may have been told, and yet not that.
            let all_told = || (row.stamp > 0 && row.stamp <= whole) || self.peers.values().all(told);
            row.compared && (*id == me || self.relays) && !all_told()
        };
        let covers = |(_, id, row): &(usize, NodeId, &Row)| row.is_known_to_hold(digest) || row.covers(&self.logs, *id);
        let equals = self.replicas.placed().filter(is_news).filter(covers);
        equals.map(|(place, id, row)| (place, id, row.name, row.stamp)).collect()
    }

    /// Names those of these whom this neighbour was not told of.
    fn tell_equals(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, equals: &[(usize, NodeId, Short, u64)]) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let mut members = Vec::new();
        for (place, _, name, stamp) in equals.iter().filter(|(_, id, ..)| *id != to) {
            if members.len() >= MEMBERS_MAX {
                break;
            }
            if peer.told.upto.insert_if(*place, *stamp, |_| true) {
                if members.is_empty() {
                    members.reserve_exact(equals.len().min(MEMBERS_MAX));
                }
                members.push(*name);
            }
        }
        if !members.is_empty() {
            cx.send(to, Message::Equal { digest: self.logs.digest(), members });
        }
    }

    /// A neighbour names those who hold what it holds. If that is what we hold, all is known of them.
    pub(super) fn on_equal(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, digest: Digest, members: &[Short]) {
        if digest != self.logs.digest() {
            return;
        }
        let (now, mut in_question) = (cx.now().mono, InQuestion::default());
        for place in self.replicas.named(members) {
            let (member, row) = self.replicas.at(place);
            if !self.hears_of(from, member) {
                continue;
            }
            if !row.is_known_to_hold(digest) {
                let news = self.replicas.raise_all(place, (&self.logs, digest), from, now, &mut in_question);
                if !news.is_empty() && self.relays {
                    self.report_soon(cx);
                }
                news.into_iter().for_each(|at| self.on_raised(cx, member, at, from));
            }
            let row = self.replicas.at_mut(place);
            row.as_of = now;
            if !std::mem::replace(&mut row.compared, true) && self.relays {
                self.report_soon(cx);
            }
            self.knows_of(from, place);
        }
    }

    /// The logs that this member may not hold as far as they are held here.
    fn in_question(&self, member: NodeId) -> Vec<usize> {
        self.replicas.row(member).map_or_else(Vec::new, |row| row.in_question(&self.logs))
    }

    /// A neighbour has just said that this member holds what is held here: it need not be told so, unless there is more to tell.
    fn knows_of(&mut self, neighbor: NodeId, place: usize) {
        let ((_, row), Some(peer)) = (self.replicas.at(place), self.peers.get_mut(&neighbor)) else { return };
        let no_more = |(at, cell): (usize, super::replicas::Cell)| cell.seq <= self.logs.get(at).durable();
        let may = |told| row.stamp > 0 && (row.has_no_more() || row.since(told).all(no_more));
        peer.told.upto.insert_if(place, row.stamp, may);
    }

    /// Whether what a neighbour tells of a member counts. Where everybody exchanges with everybody, each speaks for itself: a
    /// member that lies can say of no other that it holds what it does not.
    fn hears_of(&self, from: NodeId, member: NodeId) -> bool {
        member != self.actor.node && (self.relays || member == from)
    }

    /// What is to be told to this neighbour of the member at this place; counts as told then.
    fn held_of(&mut self, place: usize, to: NodeId, now: Time) -> Option<Held> {
        let (member, row) = self.replicas.at(place);
        let peer = self.peers.get_mut(&to)?;
        let told = peer.told.upto.insert(place, row.stamp);
        let mut lines = Vec::new();
        for (at, cell) in row.since(told) {
            let log = self.logs.get(at);
            // It told so itself, or was shown by the exchange, or is whom the log comes from.
            let known = cell.from == to || (cell.from == member && self.is_shown(to, member, at, cell.seq, log));
            // Of what is not held here it is told once it is.
            if !known && log.durable() > 0 && lines.len() < LINES_MAX {
                let name = self.peers[&to].log_name(&self.logs, at);
                lines.push(Hold { log: name, last: Seq::new(cell.seq), chain: cell.chain });
            }
        }
        let age_ms = u64::try_from(now.since(row.as_of).as_millis()).unwrap_or(u64::MAX);
        let held = Held { member, boot: row.boot, age_ms, lines };
        let lines = i64::try_from(held.lines.len()).unwrap_or(i64::MAX);
        if lines > 0 {
            let peer = self.peers.get_mut(&to)?;
            peer.told.allowance -= MEMBER_BYTES + LINE_BYTES.saturating_mul(lines);
        }
        Some(held)
    }

    fn is_shown(&self, to: NodeId, member: NodeId, at: usize, seq: u64, log: &Log) -> bool {
        let shown = self.peers.get(&to).map_or(0, |peer| peer.edge(at).shown);
        (member == self.actor.node && shown >= seq) || log.id.actor.node == member
    }

    /// A neighbour tells how far members hold logs.
    pub(super) fn on_held(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, held: Vec<Held>) {
        let now = cx.now().mono;
        for Held { member, boot, age_ms, lines } in held {
            let heard = self.hears_of(from, member);
            let Some(row) = self.replicas.row_mut(member).filter(|row| row.boot == boot && heard) else { continue };
            if age_ms < u64::MAX {
                let as_of = Time::from_nanos(now.as_nanos().saturating_sub(age_ms.saturating_mul(1_000_000)));
                (row.as_of, row.compared) = (row.as_of.max(as_of), true);
            }
            for line in lines {
                let at = match self.resolve(line.log, (from, now), None) {
                    Ok(Some(at)) => at,
                    Ok(None) => continue,
                    Err(why) => return self.fault(cx, from, why),
                };
                let log = self.logs.get(at);
                let most = self.peers.values().map(|peer| peer.edge(at).known).max();
                if member != from && line.last.value() > most.unwrap_or_default().max(log.durable()) {
                    continue; // Nobody here says that there is so much of it.
                }
                // Of another branch: it will give way here or there, and be told anew. Of our own log all is known here.
                let ours = log.chain_at(line.last.value()).map(Short::of);
                if ours.map_or(log.id.actor != self.actor, |ours| ours == line.chain)
                    && self.replicas.raise(member, at, (line.last.value(), line.chain), from, now, log.durable() > 0)
                {
                    self.on_raised(cx, member, at, from);
                    if self.relays {
                        self.report_soon(cx);
                    }
                }
            }
        }
    }

    /// A neighbour doubts what it knows of these members.
    pub(super) fn on_tell(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, members: &[NodeId]) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for place in members.iter().filter_map(|member| self.replicas.place(*member)) {
            peer.told.forget(place);
        }
        // What was shown may not have been seen.
        if members.contains(&self.actor.node) {
            peer.unshow();
        }
        self.report_soon(cx);
    }

    /// Looks whose lag has become too large, and whose has recovered; and after whom to ask.
    pub(super) fn on_lag(&mut self, cx: &mut Cx<'_, Self>) {
        let (me, now) = (self.actor.node, cx.now().mono);
        cx.arm(Timer::Lag, LOOK);
        let digest = self.logs.digest(); // Each row is held against it.
        let mut doubted = Vec::new();
        for place in 0..self.replicas.len() {
            let (member, row) = self.replicas.at(place);
            // Who lacks nothing, and was not said to, is asked nothing: most, at most times.
            let is_well = row.is_known_to_hold(digest) && row.lagging.is_none();
            if member == me || is_well {
                continue;
            }
            let Some(lag) = self.lag_of(member, now) else { continue };
            let (warn, calm) = (self.config.lag_warn.is_passed(lag, 1), !self.config.lag_warn.is_passed(lag, 2));
            let paused = self.is_paused(member);
            let is_old = |row: &Row| row.present && !paused && now.since(row.as_of) > DOUBT;
            let lacks = || self.replicas.lag(&self.logs, member, now, true).is_none_or(|open| open.changes > 0);
            let Some(row) = self.replicas.row(member) else { continue };
            if is_old(row) && lacks() {
                doubted.push(member);
            }
            // By knowledge that is newer, or since it is known to hold all there is, whenever that was told.
            let recovered = calm && row.lagging.is_some_and(|since| row.as_of > since || !lacks());
            // Of a life that nobody has compared with yet nothing is known, and by that all of it would be missing.
            let judged = row.compared || (!paused && now.since(row.as_of) > DOUBT);
            let Some(row) = self.replicas.row_mut(member) else { continue };
            if warn && judged && row.lagging.is_none() {
                row.lagging = Some(now);
                reachable!("replication/replica-lags");
                cx.emit(Event::Lagging { member, lag });
            } else if planted!("replication/lag-never-ends") {
            } else if recovered {
                row.lagging = None;
                cx.emit(Event::CaughtUp { member });
            }
        }
        doubted.truncate(MEMBERS_MAX);
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        if let Some(peer) = cx.rng().pick(&peers).filter(|_| !doubted.is_empty()) {
            cx.send(*peer, Message::Tell(doubted));
        }
    }

    /// The lag of a replica.
    pub(super) fn lag_of(&self, member: NodeId, now: Time) -> Option<Lag> {
        self.replicas.lag(&self.logs, member, now, self.is_paused(member))
    }

    /// How a replica stands.
    pub(super) fn state_of(&self, member: NodeId, lag: Lag) -> ReplicationState {
        match self.replicas.row(member) {
            Some(_) if self.is_paused(member) => ReplicationState::Paused,
            Some(row) if !row.present => ReplicationState::Failed,
            Some(row) if !row.compared => ReplicationState::Initializing,
            Some(_) if u128::from(lag.lag_ms) > ACTIVE_WITHIN.as_millis() => ReplicationState::CatchingUp,
            Some(_) => ReplicationState::Active,
            None => ReplicationState::Initializing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replicas::Replicas;
    use super::*;

    quickcheck::quickcheck! {
        fn who_has_a_name_is_found_by_it(boots: Vec<u8>, asked: Vec<u8>) -> bool {
            let id = |n: usize| NodeId::from_u128(n as u128 + 1);
            let mut replicas = Replicas::default();
            let members = boots.iter().enumerate().map(|(n, boot)| (id(n), Boot::new(u64::from(*boot)), true));
            replicas.set_members(Time::ZERO, members);
            let names: Vec<Short> = asked.iter().map(|n| short(id(usize::from(*n)), Boot::new(u64::from(*n % 3)))).collect();
            let naive = replicas.iter().filter(|(_, row)| names.contains(&row.name)).map(|(id, _)| id);
            naive.eq(replicas.named(&names).into_iter().map(|place| replicas.at(place).0))
        }
    }
}
