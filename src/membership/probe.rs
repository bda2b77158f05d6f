//! Probes: one a period, in round-robin order (SWIM, section 4.3), with a retry at half the timeout, then through helpers
//! who also say when they have no answer yet (Lifeguard, section 4.1).

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::message::{Message, Reach, Updates};
use super::suspicion::CONFIRMATIONS;
use super::table::Slot;
use super::{Event, Membership, State, Timer};
use crate::machine::Cx;
use crate::types::{Digest, NodeId, Time};

/// A member that was never linked is given this many periods to be linked, from when it was first seen.
const LINK_GRACE_PERIODS: u32 = 5;
/// So often in a row a probe without an echo from anybody, not even from helpers, is put down to our own deafness.
const SILENCES_MAX: u8 = 3;
/// After this many periods without a word from anybody, this node finds itself isolated.
const SILENT_PERIODS: u32 = 3;
/// Expected number of members, beside those whose turn it is, that probe a suspect at once, and in each period until
/// enough agree. Without the latter, one crash in twenty found no witness and took 12 s to see.
const WITNESSES: u64 = 3;
/// So often a probe goes to a member without a link, which should have one.
const FAR_EVERY: u32 = 2;
/// And so often where links are few: those linked with it watch it.
const FAR_EVERY_SPARSE: u32 = 4;
/// Most suspects among which one is sought that still needs a witness.
const SUSPECTS_LOOKED_AT: usize = 16;
/// Most members that wait to be probed out of turn.
const URGENT_MAX: usize = 16;
/// Most probes on behalf of others at a time.
const RELAYS_MAX: usize = 1_024;

/// How far a probe has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Pinged once.
    Direct,
    /// Pinged twice.
    Retried,
    /// Helpers were asked.
    Indirect,
}

/// The probe of this period.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    target: NodeId,
    slot: Slot,
    number: u16,
    sent_at: Time,
    stage: Stage,
    /// Whether it was pinged over a link of ours.
    pinged: bool,
    /// Who was asked to help and said nothing so far.
    waiting: Vec<NodeId>,
    asked: usize,
    /// The strongest that a helper's link said.
    reach: Reach,
}

/// A probe made for another member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    asker: NodeId,
    asked: u16,
    target: NodeId,
    nacked: bool,
}

impl Membership {
    /// The first probe comes at a random moment of the first period, so that members started together do not probe together.
    pub(super) fn start_probing(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let period = u64::try_from(self.config.probe_period.as_nanos()).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(cx.rng().below(period));
        self.number = u16::try_from(cx.rng().below(1 << 16)).expect("below 2^16");
        self.heard_at = now;
        self.period_ends = now + wait;
        self.arm_probe(cx, now + wait);
    }

    fn arm_probe(&mut self, cx: &mut Cx<'_, Self>, at: Time) {
        self.probe_due = at;
        cx.arm(Timer::Probe, at.since(cx.now().mono));
    }

    pub(super) fn on_probe_due(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        if self.watch_lateness(now, self.probe_due) {
            // We slept: whoever was to answer may have. Ask again.
            if let Some(probe) = self.probe.take() {
                self.urge(probe.slot);
            }
        }
        let timeout = self.health.stretch(self.config.probe_timeout);
        match self.probe.as_mut().map(|probe| (probe.stage, probe.sent_at, probe.slot, probe.number)) {
            Some((Stage::Direct, sent_at, slot, number)) => {
                self.set_stage(Stage::Retried);
                self.ping(cx, slot, number);
                self.arm_probe(cx, sent_at + timeout);
            }
            Some((Stage::Retried, ..)) => self.ask_helpers(cx),
            Some((Stage::Indirect, ..)) => {
                self.conclude(cx);
                self.next_probe(cx);
            }
            None => self.next_probe(cx),
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(probe) = &mut self.probe {
            probe.stage = stage;
        }
    }

    /// Notices that a timer fired late, which only a slow host does: for a period from now we blame nobody.
    pub(super) fn watch_lateness(&mut self, now: Time, due: Time) -> bool {
        let late = now.since(due) > self.config.probe_timeout / 2;
        if late {
            if now >= self.steady_at {
                self.health.worse(1);
            }
            self.steady_at = now + self.config.probe_period;
        }
        late
    }

    /// Begins the probe of the next period.
    fn next_probe(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        self.watch_isolation(cx);
        self.period_ends = now + self.health.stretch(self.config.probe_period);
        let Some(slot) = self.next_target(cx) else { return self.arm_probe(cx, self.period_ends) };
        let (target, linked) = (self.table.entry(slot).member.id, self.table.entry(slot).linked);
        let number = self.next_number();
        let (stage, waiting) = (Stage::Direct, Vec::new());
        let reach = Reach::Unlinked;
        self.probe =
            Some(Probe { target, slot, number, sent_at: now, stage, pinged: linked, waiting, asked: 0, reach });
        if linked {
            self.ping(cx, slot, number);
            self.arm_probe(cx, now + self.health.stretch(self.config.probe_timeout) / 2);
        } else {
            self.ask_helpers(cx);
        }
    }

    /// Whoever is urgent, else in turn. Members without a link have a ring of their own, drawn from now and then only, so
    /// that the linked ones are still probed often where links are few.
    fn next_target(&mut self, cx: &mut Cx<'_, Self>) -> Option<Slot> {
        while let Some(slot) = self.urgent.pop_front() {
            if slot != Slot::ME && self.table.entry(slot).is_present() {
                return Some(slot);
            }
        }
        if let Some(slot) = self.unconfirmed(cx) {
            return Some(slot);
        }
        self.turn = self.turn.wrapping_add(1);
        let far_every = if self.is_sparse() { FAR_EVERY_SPARSE } else { FAR_EVERY };
        let far_turn = self.turn.is_multiple_of(far_every) && !self.table.far.is_empty();
        let table = &mut self.table;
        if far_turn || table.near.is_empty() { table.far.draw(cx.rng()) } else { table.near.draw(cx.rng()) }
    }

    /// While a suspicion waits for others to confirm or refute it, a few members of the mesh spend each period on it.
    fn unconfirmed(&self, cx: &mut Cx<'_, Self>) -> Option<Slot> {
        if self.suspicions.is_empty() || cx.rng().below(self.table.present_len() as u64) >= WITNESSES {
            return None;
        }
        let open = |slot: &Slot| {
            let accusers = self.table.entry(*slot).accusers.as_slice();
            accusers.len() <= CONFIRMATIONS && !accusers.contains(&self.me)
        };
        self.suspicions.keys().copied().take(SUSPECTS_LOOKED_AT).find(open)
    }

    /// Whether there are more members than everybody is expected to be linked with.
    pub(super) fn is_sparse(&self) -> bool {
        self.table.present_len() > self.config.full_mesh_max
    }

    fn next_number(&mut self) -> u16 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    fn ping(&mut self, cx: &mut Cx<'_, Self>, slot: Slot, probe: u16) {
        let to = self.table.entry(slot).member.id;
        let gossip = self.piggyback(cx.now().mono, Some(slot));
        cx.send(to, Message::Ping { probe, digest: self.table.digest(), gossip });
    }

    /// A ping whose answer nobody waits for.
    pub(super) fn nudge(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let number = self.next_number();
        self.ping(cx, slot, number);
    }

    fn ask_helpers(&mut self, cx: &mut Cx<'_, Self>) {
        let Some((target, slot, probe)) = self.probe.as_ref().map(|probe| (probe.target, probe.slot, probe.number))
        else {
            return;
        };
        // Who is suspect itself is no help.
        let fit = |helper: Slot| helper != slot && self.table.entry(helper).claim == State::Alive;
        // Without a reason to worry, one that may have a link is enough.
        let entry = self.table.entry(slot);
        let calm = !entry.linked && !entry.lost && entry.claim == State::Alive && self.is_sparse();
        let helpers = self.table.near.sample(cx.rng(), if calm { 1 } else { self.config.helpers }, fit);
        let mut waiting = Vec::with_capacity(helpers.len());
        for slot in helpers {
            let helper = self.table.entry(slot).member.id;
            let gossip = self.piggyback(cx.now().mono, Some(slot));
            cx.send(helper, Message::PingReq { probe, target, gossip });
            waiting.push(helper);
        }
        if let Some(probe) = &mut self.probe {
            probe.stage = Stage::Indirect;
            probe.asked = waiting.len();
            probe.waiting = waiting;
        }
        self.arm_probe(cx, self.period_ends);
    }

    /// The probe was not answered.
    fn conclude(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(probe) = self.probe.take() else { return };
        if self.table.slot(probe.target) != Some(probe.slot) || !self.table.entry(probe.slot).is_present() {
            return;
        }
        let missed = probe.waiting.len();
        let silent = missed > 0 && missed == probe.asked && self.heard_at <= probe.sent_at;
        if silent && self.silences < SILENCES_MAX {
            self.silences += 1;
            return self.health.worse(1);
        }
        self.silences = 0;
        let linked = self.table.entry(probe.slot).linked;
        let alone = usize::from(linked && probe.asked == 0);
        self.health.worse(u8::try_from(missed + alone).unwrap_or(u8::MAX));
        if linked && !probe.pinged {
            // The link came up while helpers without one were asked: its end was asked nothing yet.
            return self.urge(probe.slot);
        }
        if linked || probe.reach != Reach::Unlinked || self.is_expected(cx.now().mono, probe.slot) {
            self.accuse(cx, probe.slot);
        }
    }

    /// Whether a member without a link ought to have one.
    fn is_expected(&self, now: Time, slot: Slot) -> bool {
        let entry = self.table.entry(slot);
        let settled = now.since(entry.member.since) > self.config.probe_period * LINK_GRACE_PERIODS;
        entry.lost || (settled && self.table.present_len() <= self.config.full_mesh_max)
    }

    pub(super) fn on_ping(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, probe: u16, digest: Digest) {
        // The ack carries what an answer to an accusation would.
        self.answer_to = None;
        let slot = self.table.slot(from);
        let gossip = self.piggyback(cx.now().mono, slot);
        cx.send(from, Message::Ack { probe, digest: self.table.digest(), gossip });
        self.compare(cx, from, digest);
        if slot.is_none() {
            self.exchange(cx, from, true);
        }
    }

    pub(super) fn on_ack(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16, digest: Digest) {
        if let Some(probe) = self.probe.take_if(|probe| probe.number == number && probe.target == from) {
            if probe.stage == Stage::Direct {
                self.table.set_rtt(probe.slot, cx.now().mono.since(probe.sent_at));
            }
            self.succeeded(cx);
        } else if let Some(relay) = self.relays.get(&number).copied()
            && relay.target == from
        {
            self.relays.remove(&number);
            cx.disarm(Timer::Relay(number));
            cx.send(relay.asker, Message::Vouch { probe: relay.asked });
        }
        self.compare(cx, from, digest);
    }

    fn succeeded(&mut self, cx: &mut Cx<'_, Self>) {
        self.silences = 0;
        self.health.better();
        self.arm_probe(cx, self.period_ends);
    }

    /// Another member wants to know whether `target` is alive.
    pub(super) fn on_ping_req(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, probe: u16, target: NodeId) {
        if target == self.me {
            return cx.send(from, Message::Vouch { probe });
        }
        let slot = self.table.slot(target);
        let Some(slot) = slot.filter(|slot| self.table.entry(*slot).linked) else {
            let lost = slot.is_some_and(|slot| self.table.entry(slot).lost);
            let reach = if lost { Reach::Lost } else { Reach::Unlinked };
            return cx.send(from, Message::Nack { probe, reach });
        };
        // Who is this busy had better not answer: it then counts as missing.
        if self.relays.len() < RELAYS_MAX {
            let number = self.next_number();
            self.relays.insert(number, Relay { asker: from, asked: probe, target, nacked: false });
            self.ping(cx, slot, number);
            // Lifeguard: at 80 % of the timeout.
            cx.arm(Timer::Relay(number), self.config.probe_timeout / 5 * 4);
        }
    }

    pub(super) fn on_relay_due(&mut self, cx: &mut Cx<'_, Self>, number: u16) {
        let Some(relay) = self.relays.get_mut(&number) else { return };
        if relay.nacked {
            self.relays.remove(&number);
        } else {
            relay.nacked = true;
            cx.send(relay.asker, Message::Nack { probe: relay.asked, reach: Reach::Silent });
            // A late ack is still passed on.
            cx.arm(Timer::Relay(number), self.config.probe_period);
        }
    }

    pub(super) fn on_vouch(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16) {
        let vouched = |probe: &mut Probe| probe.number == number && probe.asked > 0 && probe.target != from;
        if let Some(probe) = self.probe.take_if(vouched) {
            if self.table.slot(probe.target) == Some(probe.slot) {
                self.table.amend(probe.slot, cx.now().mono, cx.rng(), |entry| entry.lost = false);
            }
            self.succeeded(cx);
        }
    }

    pub(super) fn on_nack(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16, reach: Reach) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.number == number) else { return };
        let Some(at) = probe.waiting.iter().position(|helper| *helper == from) else { return };
        probe.waiting.swap_remove(at);
        probe.reach = probe.reach.max(reach);
        // Nobody has a link to it: nothing else will come.
        let hopeless = probe.waiting.is_empty() && probe.reach < Reach::Silent;
        let slot = probe.slot;
        if hopeless && !self.table.entry(slot).linked {
            self.conclude(cx);
            self.arm_probe(cx, self.period_ends);
        }
    }

    /// Probes this member out of turn, at once if no probe is running.
    pub(super) fn probe_soon(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let running = self.probe.as_ref().map(|probe| (probe.slot, probe.stage));
        match running {
            Some((running, stage)) if running == slot => {
                if stage != Stage::Indirect && !self.table.entry(slot).linked {
                    self.ask_helpers(cx);
                }
            }
            Some(_) => self.urge(slot),
            None => {
                self.urge(slot);
                self.next_probe(cx);
            }
        }
    }

    fn urge(&mut self, slot: Slot) {
        if self.urgent.len() < URGENT_MAX && !self.urgent.contains(&slot) {
            self.urgent.push_back(slot);
        }
    }

    /// A few members, chosen by hash so that nobody needs to appoint them, probe a fresh suspect at once: whether it is
    /// alive or not is known sooner.
    pub(super) fn witness(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, slot: Slot) {
        let entry = self.table.entry(slot);
        let draw = xxh3_64_with_seed(
            self.me.as_bytes(),
            xxh3_64_with_seed(entry.member.id.as_bytes(), u64::from(entry.member.incarnation.value())),
        );
        let members = self.table.present_len() as u64;
        if from != self.me && draw / WITNESSES.max(1) < u64::MAX / members.max(1) {
            self.probe_soon(cx, slot);
        }
    }

    /// Without a link, or without a word from anybody for a while, what we think of others is worth nothing.
    fn watch_isolation(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let silent = now.since(self.heard_at) > self.health.stretch(self.config.probe_period) * SILENT_PERIODS;
        if self.links == 0 || silent {
            self.isolated = true;
        }
        if self.links == 0 && !self.doubting && now.since(self.unlinked_at) > self.config.probe_period {
            self.doubting = true;
            for member in self.table.doubt(true, now) {
                cx.emit(Event::Suspected { member, by: self.me });
            }
        }
    }

    /// A link is up or a message came in.
    pub(super) fn end_isolation(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.isolated {
            return;
        }
        self.isolated = false;
        if self.doubting {
            self.doubting = false;
            for member in self.table.doubt(false, cx.now().mono) {
                cx.emit(Event::Refuted { member });
            }
        }
        self.resume_suspicions(cx);
    }

    /// Tells an accused peer so, at once and with nothing asked for in return.
    pub(super) fn tell_accused(&mut self, cx: &mut Cx<'_, Self>, id: NodeId) {
        if let Some(slot) = self.table.slot(id).filter(|slot| self.table.entry(*slot).linked) {
            let gossip = self.piggyback(cx.now().mono, Some(slot));
            if gossip != Updates::default() {
                cx.send(id, Message::Gossip { gossip });
            }
        }
    }
}
