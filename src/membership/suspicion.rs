//! Suspicion (SWIM, section 4.2) with Lifeguard's LHA-Suspicion: a lone accuser has to wait long, several that agree do
//! not. Every member runs the timer by itself; none needs to be told of a death to see it.

use std::time::Duration;

use super::evidence::Source;
use super::gossip::ceil_log2;
use super::message::{Accusers, Update};
use super::table::{Change, Slot};
use super::{Membership, State, Timer};
use crate::machine::Cx;
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
const PER_DOUBLING: Duration = Duration::from_millis(100);
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
    deadline: Time,
    /// It would have ended while we were isolated; it begins anew when we are not.
    held: bool,
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
    pub(super) fn accuse(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let entry = self.table.entry(slot);
        let update = Update {
            id: entry.member.id,
            boot: entry.member.boot,
            incarnation: entry.member.incarnation,
            state: State::Suspect,
            accusers: Accusers::from(self.me),
            meta: None,
            age_s: 0,
        };
        self.learn(cx, self.me, &update, Source::News);
        self.tell_accused(cx, update.id);
    }

    /// Begins, hastens or ends a suspicion after a merge.
    pub(super) fn follow_suspicion(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: NodeId,
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
            let now = cx.now().mono;
            self.suspicions.insert(slot, Suspicion { started: now, deadline: now, held: false });
            self.schedule(cx, slot);
            self.witness(cx, from, slot);
        } else if hastened {
            self.schedule(cx, slot);
        }
        self.follow_witnesses(cx);
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

    /// Computes the end of a suspicion and arms its timer.
    fn schedule(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let entry = self.table.entry(slot);
        let members = self.table.present_len();
        let confirmed = entry.accusers.as_slice().len().saturating_sub(1);
        // Where links are few, those who could confirm are few.
        let confirmed = if self.is_sparse() { confirmed.max(CONFIRMED_SPARSE) } else { confirmed };
        let floor = self.config.suspicion_floor.max(self.config.probe_period * PERIODS_MIN);
        let floor = floor * entry.patience(cx.now().mono);
        let lasts = lasts(floor, members, confirmed, self.confirmations);
        let timer = Timer::Suspicion(entry.member.id);
        if let Some(suspicion) = self.suspicions.get_mut(&slot)
            && !suspicion.held
        {
            suspicion.deadline = suspicion.started + lasts;
            cx.arm(timer, suspicion.deadline.since(cx.now().mono));
        }
    }

    pub(super) fn on_suspicion_due(&mut self, cx: &mut Cx<'_, Self>, id: NodeId) {
        let now = cx.now().mono;
        let Some(slot) = self.table.slot(id) else { return };
        let Some(suspicion) = self.suspicions.get(&slot).copied() else { return };
        self.watch_lateness(now, suspicion.deadline);
        if self.isolated {
            self.hold(slot);
        } else if now < self.steady_at || now.since(self.heard_at) > 2 * self.config.probe_period {
            // We were late, or hear little: the refutation may be waiting in our own inbox.
            let deadline = now + self.config.probe_period;
            self.suspicions.insert(slot, Suspicion { deadline, ..suspicion });
            cx.arm(Timer::Suspicion(id), self.config.probe_period);
        } else {
            let dead = Update { state: State::Dead, meta: None, ..self.update(slot, now, false) };
            self.learn(cx, self.me, &dead, Source::News);
        }
    }

    fn hold(&mut self, slot: Slot) {
        if let Some(suspicion) = self.suspicions.get_mut(&slot) {
            suspicion.held = true;
        }
    }

    /// We hear others again: they get the whole time to refute what they could not hear before.
    pub(super) fn resume_suspicions(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let held: Vec<Slot> = self.suspicions.iter().filter(|(_, s)| s.held).map(|(slot, _)| *slot).collect();
        for slot in held {
            self.suspicions.insert(slot, Suspicion { started: now, deadline: now, held: false });
            self.schedule(cx, slot);
        }
    }
}
