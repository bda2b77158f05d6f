//! Probes: one a period, in round-robin order (SWIM, section 4.3), with a retry at half the timeout, then through helpers
//! who also say when they have no answer yet (Lifeguard, section 4.1).
//!
//! Where everybody is linked with everybody, all take the same step around the circle of ids in each period, which the wall
//! clock counts: so each member is probed once a period, not once on average, and a silent crash is met within two periods
//! instead of five (99th percentile). Clocks and views that differ only bring chance back; the rounds stay whole.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::message::{Message, Reach};
use super::suspicion::CONFIRMATIONS;
use super::table::Slot;
use super::{Grounds, Membership, State, Timer, Unanswered};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{Digest, NodeId, Time};

/// A member that was never linked is given this many periods to be linked, from when it was first seen.
const LINK_GRACE_PERIODS: u32 = 5;
/// So often in a row a probe without an echo from anybody, not even from helpers, is put down to our own deafness.
const SILENCES_MAX: u8 = 3;
/// Expected number of members, beside those whose turn it is, that probe a suspect at once, and in each period until
/// enough agree. Without the latter, one crash in twenty found no witness and took 12 s to see.
const WITNESSES: u64 = 3;
/// So often a probe goes to a member without a link, which should have one.
const FAR_EVERY: u32 = 2;
/// Most suspects among which one is sought that still needs a witness.
const SUSPECTS_LOOKED_AT: usize = 16;
/// Most members that wait to be probed out of turn.
const URGENT_MAX: usize = 16;

/// How far a probe has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Pinged once.
    Direct,
    /// Pinged twice.
    Retried,
    /// Helpers were asked.
    Indirect,
    /// A link is being made for it.
    Sought,
    /// The verdict was given before the period ended; a late answer still tells how long answers take.
    Concluded,
}

/// The probe of this period.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    target: NodeId,
    slot: Slot,
    /// Of the first ping, and what helpers answer to.
    number: u16,
    began: Time,
    /// Number and time of the second ping: which one was answered says how long the answer took (P. Karn, C. Partridge,
    /// "Improving Round-Trip Time Estimates in Reliable Transport Protocols", 1987).
    again: Option<(u16, Time)>,
    stage: Stage,
    /// Who was asked to help and said nothing so far.
    waiting: Vec<NodeId>,
    /// The strongest that a helper's link said.
    reach: Reach,
    /// What was tried, and what came of it.
    tried: Unanswered,
    /// Whether a link was sought for it.
    sought: bool,
}

impl Probe {
    fn sent_at(&self, number: u16) -> Option<Time> {
        match self.again {
            Some((again, at)) if again == number => Some(at),
            _ => (self.number == number).then_some(self.began),
        }
    }
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
            if let Some(probe) = self.probe.take().filter(|probe| probe.stage != Stage::Concluded) {
                self.urge(probe.slot);
            }
        }
        match self.probe.as_ref().map(|probe| probe.stage) {
            Some(Stage::Direct) => self.retry(cx),
            Some(Stage::Retried) => self.ask_helpers(cx),
            Some(Stage::Indirect | Stage::Sought) => {
                self.conclude(cx);
                if now < self.period_ends { self.arm_probe(cx, self.period_ends) } else { self.next_probe(cx) }
            }
            Some(Stage::Concluded) | None => self.next_probe(cx),
        }
    }

    /// How long a ping may take: as measured, stretched by how unwell we are.
    fn patience(&self) -> Duration {
        self.health.stretch(self.timeout())
    }

    /// How long a ping may take.
    pub(super) fn timeout(&self) -> Duration {
        self.pace.timeout(self.config.probe_timeout)
    }

    fn retry(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, number, timeout) = (cx.now().mono, self.next_number(), self.patience());
        let Some(probe) = &mut self.probe else { return };
        (probe.stage, probe.again) = (Stage::Retried, Some((number, now)));
        probe.tried.pings += 1;
        let (slot, due) = (probe.slot, probe.began + timeout);
        self.ping(cx, slot, number);
        self.arm_probe(cx, due);
    }

    /// The link to this member ended as announced, and with it what was asked over it: if a probe was, it comes again at once.
    pub(super) fn begin_anew(&mut self, slot: Slot) {
        let lost = |probe: &mut Probe| probe.slot == slot && probe.stage != Stage::Concluded && probe.tried.pings > 0;
        if self.probe.take_if(lost).is_some() {
            self.urge(slot);
        }
    }

    /// Begins the probe of the next period.
    fn next_probe(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        self.watch_isolation(cx);
        self.period_ends = now + self.health.stretch(self.config.probe_period);
        self.probe = None;
        let Some(slot) = self.next_target(cx) else { return self.arm_probe(cx, self.period_ends) };
        let entry = self.table.entry(slot);
        let (target, linked, calm) = (entry.member.id, entry.linked, entry.claim == State::Alive && !entry.lost);
        let sought = !linked && self.is_sparse() && self.config.pool_max > 0;
        let number = self.next_number();
        self.probe = Some(Probe {
            target,
            slot,
            number,
            began: now,
            again: None,
            stage: if sought { Stage::Sought } else { Stage::Direct },
            waiting: Vec::new(),
            reach: Reach::Unlinked,
            tried: Unanswered { pings: u8::from(linked), ..Unanswered::default() },
            sought,
        });
        if linked {
            self.ping(cx, slot, number);
            return self.arm_probe(cx, now + self.patience() / 2);
        }
        if sought {
            self.seek(cx, slot);
        }
        if sought && calm {
            // Without a reason to worry, a link that comes up says enough.
            self.arm_probe(cx, self.period_ends);
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
        let far_every = if self.is_sparse() { self.config.far_every.max(1) } else { FAR_EVERY };
        let far_turn = self.turn.is_multiple_of(far_every) && !self.table.far.is_empty();
        if far_turn || self.table.near.is_empty() {
            return self.table.far.draw(cx.rng());
        }
        let period = self.config.probe_period.as_micros().max(1);
        let step = u64::try_from(u128::from(cx.now().wall.as_micros()) / period).unwrap_or(u64::MAX);
        if self.table.far.is_empty()
            && let Some(slot) = self.table.partner(step)
            && self.table.near.take(slot, cx.rng())
        {
            return Some(slot);
        }
        self.table.near.draw(cx.rng())
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

    pub(super) fn next_number(&mut self) -> u16 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    pub(super) fn ping(&mut self, cx: &mut Cx<'_, Self>, slot: Slot, probe: u16) {
        let to = self.table.entry(slot).member.id;
        let gossip = self.piggyback(cx.now().mono, to, Some(slot));
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
        reachable!("membership/helpers-asked");
        // Who is suspect itself is no help.
        let fit = |helper: Slot| helper != slot && self.table.entry(helper).claim == State::Alive;
        let helpers = self.table.near.sample(cx.rng(), self.config.helpers, fit);
        let mut waiting = Vec::with_capacity(helpers.len());
        for slot in helpers {
            let helper = self.table.entry(slot).member.id;
            let gossip = self.piggyback(cx.now().mono, helper, Some(slot));
            cx.send(helper, Message::PingReq { probe, target, gossip });
            waiting.push(helper);
        }
        if let Some(probe) = &mut self.probe {
            probe.stage = Stage::Indirect;
            probe.tried.helpers = u8::try_from(waiting.len()).unwrap_or(u8::MAX);
            probe.waiting = waiting;
        }
        self.arm_probe(cx, self.period_ends);
    }

    /// The probe was not answered.
    fn conclude(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(probe) = &mut self.probe else { return };
        probe.stage = Stage::Concluded;
        let (slot, target, tried, began) = (probe.slot, probe.target, probe.tried, probe.began);
        let (missed, reach, sought) = (probe.waiting.len(), probe.reach, probe.sought);
        if self.table.slot(target) != Some(slot) || !self.table.entry(slot).is_present() {
            return;
        }
        let silent = missed > 0 && missed == usize::from(tried.helpers) && self.heard_at <= began;
        if silent && self.silences < SILENCES_MAX {
            self.silences += 1;
            return self.health.worse(1);
        }
        self.silences = 0;
        let entry = self.table.entry(slot);
        let (linked, suspect) = (entry.linked, entry.claim == State::Suspect);
        let alone = usize::from(linked && tried.helpers == 0);
        self.health.worse(u8::try_from(missed + alone).unwrap_or(u8::MAX));
        reachable!("membership/probe-fails");
        if linked && tried.pings == 0 {
            // The link came up while helpers without one were asked: its end was asked nothing yet.
            return self.urge(slot);
        }
        let unreachable = sought && suspect;
        let now = cx.now().mono;
        if linked || reach != Reach::Unlinked || unreachable || self.is_expected(now, slot) {
            let waited_ms = u32::try_from(now.since(began).as_millis()).unwrap_or(u32::MAX);
            let tried = Unanswered { waited_ms, health: self.health.score(), ..tried };
            self.accuse(cx, slot, Grounds::Unanswered(tried));
        }
    }

    /// Whether a member without a link ought to have one.
    fn is_expected(&self, now: Time, slot: Slot) -> bool {
        let entry = self.table.entry(slot);
        let settled = now.since(entry.member.since) > self.config.probe_period * LINK_GRACE_PERIODS;
        entry.lost || (settled && self.table.present_len() <= self.config.full_mesh_max)
    }

    pub(super) fn on_ping(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, probe: u16, digest: Digest) {
        let slot = self.table.slot(from);
        let gossip = self.piggyback(cx.now().mono, from, slot);
        cx.send(from, Message::Ack { probe, digest: self.table.digest(), gossip });
        self.compare(cx, from, digest);
        match slot {
            Some(slot) => self.table.heard(slot),
            None => self.ask_who(cx, from),
        }
    }

    pub(super) fn on_ack(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16, digest: Digest) {
        let answered = self.probe.as_ref().filter(|probe| probe.target == from);
        if let Some((slot, stage, sent_at)) =
            answered.and_then(|probe| Some((probe.slot, probe.stage, probe.sent_at(number)?)))
        {
            let round_trip = cx.now().mono.since(sent_at);
            self.pace.saw(round_trip);
            if self.table.slot(from) == Some(slot) {
                self.table.set_rtt(slot, round_trip);
                self.table.heard(slot);
            }
            self.probe = None;
            if stage != Stage::Concluded {
                self.succeeded(cx);
            }
        } else {
            self.vouch(cx, from, number);
        }
        self.compare(cx, from, digest);
    }

    fn succeeded(&mut self, cx: &mut Cx<'_, Self>) {
        self.silences = 0;
        self.health.better();
        self.arm_probe(cx, self.period_ends);
    }

    /// A link to this member is up, which shows as much as an answer would.
    pub(super) fn reached(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        if self.probe.take_if(|probe| probe.slot == slot && probe.sought && probe.stage != Stage::Concluded).is_some() {
            self.succeeded(cx);
            self.nudge(cx, slot);
        }
    }

    /// A link to this member cannot be made: if that was its probe, it has failed.
    pub(super) fn not_reached(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        if self.probe.as_ref().is_some_and(|probe| probe.slot == slot && probe.stage == Stage::Sought) {
            self.conclude(cx);
            self.arm_probe(cx, self.period_ends);
        }
    }

    pub(super) fn on_vouch(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16) {
        let vouched = |probe: &mut Probe| {
            probe.number == number && probe.stage == Stage::Indirect && probe.tried.helpers > 0 && probe.target != from
        };
        if let Some(probe) = self.probe.take_if(vouched) {
            reachable!("membership/helper-vouches");
            if self.table.slot(probe.target) == Some(probe.slot) {
                self.table.amend(probe.slot, cx.now().mono, cx.rng(), |entry| entry.lost = false);
            }
            self.succeeded(cx);
        }
    }

    pub(super) fn on_nack(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16, reach: Reach) {
        let (half, now) = (self.health.stretch(self.config.probe_period) / 2, cx.now().mono);
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.number == number) else { return };
        let Some(at) = probe.waiting.iter().position(|helper| *helper == from) else { return };
        probe.waiting.swap_remove(at);
        probe.reach = probe.reach.max(reach);
        match reach {
            Reach::Silent => probe.tried.silent += 1,
            Reach::Lost => probe.tried.lost += 1,
            Reach::Unlinked => probe.tried.unlinked += 1,
        }
        if !probe.waiting.is_empty() || probe.stage != Stage::Indirect {
            return;
        }
        // Nothing else will come, but perhaps the link that was sought.
        let (slot, due) = (probe.slot, probe.began + half);
        if probe.tried.pings > 0 || probe.reach == Reach::Silent {
            // It was pinged: half a period in all is its due. A host that is busy for less is no news.
            self.arm_probe(cx, due.max(now).min(self.period_ends));
        } else if !self.table.entry(slot).linked && (!probe.sought || probe.reach == Reach::Lost) {
            self.conclude(cx);
            self.arm_probe(cx, self.period_ends);
        }
    }

    /// Probes this member out of turn, at once if no probe is running.
    pub(super) fn probe_soon(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let running = self.probe.as_ref().map(|probe| (probe.slot, probe.stage));
        match running {
            Some((running, stage)) if running == slot => {
                if matches!(stage, Stage::Direct | Stage::Retried) && !self.table.entry(slot).linked {
                    self.ask_helpers(cx);
                }
            }
            Some((_, Stage::Concluded)) | None => {
                self.urge(slot);
                self.next_probe(cx);
            }
            Some(_) => self.urge(slot),
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
}
