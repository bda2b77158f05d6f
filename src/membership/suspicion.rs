//! Suspicion (SWIM, section 4.2) with Lifeguard's LHA-Suspicion: a lone accuser has to wait long, several that agree do
//! not. Every member runs the timer by itself and gives its own verdict: that others hold somebody for dead makes it sure,
//! not certain. Before the verdict it asks the suspect itself once more, so that nobody is talked into burying a member that
//! answers it.

use std::time::Duration;

use super::evidence::{Source, Word};
use super::gossip::ceil_log2;
use super::message::{Accusers, Update};
use super::table::{Change, Slot};
use super::{Grounds, Membership, State, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{NodeId, Time};

/// Accusers beyond the first that make a suspicion as short as it gets (Lifeguard's K).
pub(super) const CONFIRMATIONS: usize = 3;
/// In a sparse mesh a suspicion is as long as if it were confirmed so often at least: about twice the shortest.
const CONFIRMED_SPARSE: usize = 2;
/// The longest suspicion is this many of the shortest (Lifeguard's beta).
const LONGEST: u32 = 6;
/// A suspicion lasts at least this many periods.
const PERIODS_MIN: u32 = 4;
/// News need longer to reach all of a larger mesh: this much for each doubling of its members.
const PER_DOUBLING: Duration = Duration::from_millis(50);
/// log(c + 1) / log(k + 1) in millionths, by k and c: how much of the way from the longest to the shortest suspicion c
/// confirmations of k go.
const SHARES: [[u32; CONFIRMATIONS + 1]; CONFIRMATIONS + 1] = [
    [1_000_000; 4],
    [0, 1_000_000, 1_000_000, 1_000_000],
    [0, 630_930, 1_000_000, 1_000_000],
    [0, 500_000, 792_481, 1_000_000],
];

/// A running suspicion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    started: Time,
    /// When it ends, or would have while this node was isolated.
    deadline: Time,
    /// When the timer fires: for the last call, then at the deadline.
    due: Time,
    /// When the suspect was asked once more.
    called: Option<Time>,
    /// Somebody holds it for dead: it is as sure as confirmations can make it.
    sure: bool,
    /// It would have ended while we were isolated; it begins anew when we are not.
    held: bool,
}

impl Suspicion {
    fn new(now: Time, sure: bool) -> Self {
        Self { started: now, deadline: now, due: now, called: None, sure, held: false }
    }
}

/// How long a suspicion lasts among `members`, with `c` confirmations of `k` possible ones, if none lasts less than `floor`.
pub(super) fn lasts(floor: Duration, members: usize, c: usize, k: usize) -> Duration {
    let shortest = floor + PER_DOUBLING * ceil_log2(members);
    let longest = shortest * LONGEST;
    let share = SHARES[k.min(CONFIRMATIONS)][c.min(CONFIRMATIONS)];
    longest - (longest - shortest) / 1_000 * (share / 1_000) - (longest - shortest) / 1_000_000 * (share % 1_000)
}

impl Membership {
    /// A probe failed.
    pub(super) fn accuse(&mut self, cx: &mut Cx<'_, Self>, slot: Slot, grounds: Grounds) {
        let entry = self.table.entry(slot);
        let update = Update {
            id: entry.member.id,
            boot: entry.member.boot,
            incarnation: if planted!("membership/raises-others") {
                entry.member.incarnation.next()
            } else {
                entry.member.incarnation
            },
            state: State::Suspect,
            accusers: Accusers::from(self.me),
            meta: None,
            age_s: 0,
        };
        let word = Word { from: self.me, source: Source::News, grounds };
        self.learn(cx, word, Some(slot), &update);
        self.tell_accused(cx, update.id);
    }

    /// Begins, hastens or ends a suspicion after a merge.
    pub(super) fn follow_suspicion(
        &mut self,
        cx: &mut Cx<'_, Self>,
        word: Word,
        slot: Slot,
        was_suspect: bool,
        change: Change,
        hastened: bool,
    ) {
        let entry = self.table.entry(slot);
        if entry.claim != State::Suspect {
            if was_suspect && self.suspicions.remove(&slot).is_some() {
                cx.disarm(Timer::Suspicion(self.table.entry(slot).member.id));
            }
        } else if change.status {
            self.suspicions.insert(slot, Suspicion::new(cx.now().mono, false));
            reachable!("membership/suspicion-begins");
            self.schedule(cx, slot);
            self.witness(cx, word.from, slot);
        } else if hastened {
            reachable!("membership/suspicion-hastened");
            self.schedule(cx, slot);
        }
        self.follow_witnesses(cx);
    }

    /// Somebody holds this suspect for dead.
    pub(super) fn make_sure(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        if let Some(suspicion) = self.suspicions.get_mut(&slot)
            && !std::mem::replace(&mut suspicion.sure, true)
        {
            self.schedule(cx, slot);
        }
    }

    /// Where few are left alive, fewer confirmations can come.
    fn follow_witnesses(&mut self, cx: &mut Cx<'_, Self>) {
        let confirmations = CONFIRMATIONS.min(self.table.alive_len().saturating_sub(1));
        if confirmations != self.confirmations {
            self.confirmations = confirmations;
            let slots: Vec<Slot> = self.suspicions.keys().copied().collect();
            for slot in slots {
                self.schedule(cx, slot);
            }
        }
    }

    /// Computes the end of a suspicion, and arms its timer for that or for the last call before.
    fn schedule(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let entry = self.table.entry(slot);
        let members = self.table.present_len();
        let now = cx.now().mono;
        let confirmed = entry.accusers.as_slice().len().saturating_sub(1);
        // Where links are few, those who could confirm are few.
        let confirmed = if self.is_sparse() { confirmed.max(CONFIRMED_SPARSE) } else { confirmed };
        let floor = self.config.suspicion_floor.max(self.config.probe_period * PERIODS_MIN);
        let floor = floor * entry.patience(now);
        let lasts = |c| lasts(floor, members, c, self.confirmations);
        let (at_best, lasts) = (lasts(CONFIRMATIONS), lasts(confirmed));
        let (timer, linked, answer) = (Timer::Suspicion(entry.member.id), entry.linked, self.timeout());
        let Some(suspicion) = self.suspicions.get_mut(&slot).filter(|suspicion| !suspicion.held) else { return };
        let lasts = if suspicion.sure { at_best } else { lasts };
        suspicion.deadline = suspicion.started + lasts;
        suspicion.due = match suspicion.called {
            Some(at) => suspicion.deadline.max(at + answer),
            // As if it were as sure as can be: a confirmation that comes late then finds it asked already.
            None if linked => suspicion.started + at_best.saturating_sub(answer),
            None => suspicion.deadline,
        };
        let wait = suspicion.due.since(now);
        cx.arm(timer, wait);
    }

    pub(super) fn on_suspicion_due(&mut self, cx: &mut Cx<'_, Self>, id: NodeId) {
        let now = cx.now().mono;
        let Some(slot) = self.table.slot(id) else { return };
        let Some(suspicion) = self.suspicions.get(&slot).copied() else { return };
        self.watch_lateness(now, suspicion.due);
        let trusts = planted!("membership/lone-buries");
        let deaf = now.since(self.heard_at) > 2 * self.config.probe_period && !trusts;
        if self.isolated && !trusts {
            self.hold(slot);
        } else if now < self.steady_at || deaf {
            // We were late, or hear little: the refutation may be waiting in our own inbox.
            let due = now + self.config.probe_period;
            self.suspicions.insert(slot, Suspicion { due, ..suspicion });
            cx.arm(Timer::Suspicion(id), self.config.probe_period);
        } else if self.table.entry(slot).linked && suspicion.called.is_none() {
            self.suspicions.insert(slot, Suspicion { called: Some(now), ..suspicion });
            self.nudge(cx, slot);
            self.schedule(cx, slot);
        } else if now < suspicion.deadline {
            self.schedule(cx, slot);
        } else {
            reachable!("membership/suspicion-ends-in-death");
            let dead = Update { state: State::Dead, meta: None, ..self.update(slot, now, false) };
            let grounds = Grounds::Told { from: self.me, dead: true };
            self.learn(cx, Word { from: self.me, source: Source::News, grounds }, Some(slot), &dead);
        }
    }

    fn hold(&mut self, slot: Slot) {
        if let Some(suspicion) = self.suspicions.get_mut(&slot) {
            suspicion.held = true;
            reachable!("membership/suspicion-held");
        }
    }

    /// We hear others again: they get the whole time to refute what they could not hear before.
    pub(super) fn resume_suspicions(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let held = self.suspicions.iter().filter(|(_, suspicion)| suspicion.held);
        let held: Vec<(Slot, bool)> = held.map(|(slot, suspicion)| (*slot, suspicion.sure)).collect();
        for (slot, sure) in held {
            if !planted!("membership/suspicion-stays-held") {
                self.suspicions.insert(slot, Suspicion::new(now, sure));
            }
            self.schedule(cx, slot);
        }
    }

    /// How long this member has been suspect here.
    pub(super) fn suspected_for(&self, now: Time, slot: Slot) -> Duration {
        self.suspicions.get(&slot).map_or(Duration::ZERO, |suspicion| now.since(suspicion.started))
    }
}
