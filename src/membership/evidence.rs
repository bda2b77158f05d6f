//! What is said of members: checked, merged, and what follows from it.

use super::hearsay::Belief;
use super::message::Update;
use super::table::{Change, Slot};
use super::{Event, Grounds, Membership, Message, Meta, State, Timer, Updates};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Boot, Incarnation, NodeId, Time};

/// Where an update came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It is news: somebody tells it on.
    News,
    /// It is part of a whole: what was not known here need not be news elsewhere.
    Exchange,
}

/// Who says something, where it came from, and what makes of it a suspicion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) from: NodeId,
    pub(super) source: Source,
    pub(super) grounds: Grounds,
}

/// What is compared to see what followed from a merge.
struct Before {
    claim: State,
    known: bool,
}

impl Before {
    fn was_present(&self) -> bool {
        self.known && self.claim <= State::Suspect
    }
}

impl Membership {
    /// Incarnations above this are refused from anybody, so that its subject can always answer with a higher one, or, in the
    /// upper half, with a later boot (memberlist#358). There is no bound on how far one may be ahead: a refutation that had to
    /// outbid a liar was not believed by those who had heard only half of the lies.
    const INCARNATION_MAX: u32 = 1 << 31;
    /// Third parties may not know a member this many boots ahead of us: a store that was wiped counts on from the seconds of
    /// the wall clock.
    const BOOT_JUMP_MAX: u64 = 1 << 32;
    /// Boots above this are refused from anybody, as such incarnations are.
    const BOOT_MAX: u64 = 1 << 63;
    /// A refutation goes to so many at once, at most: twice as many as are linked with everybody by default.
    const REFUTED_TO_MAX: usize = 128;

    /// Takes in several updates from one peer.
    pub(super) fn learn_all(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, updates: &Updates, source: Source) {
        let mut fault = None;
        for update in updates.as_slice() {
            let slot = self.table.slot(update.id);
            match self.check(from, slot, update) {
                Ok(()) => {
                    let grounds = Grounds::Told { from, dead: update.state == State::Dead };
                    self.learn(cx, Word { from, source, grounds }, slot, update);
                }
                // It may have been lied to, and the rest may be about us.
                Err(why) => fault = fault.or(Some(why)),
            }
        }
        if let Some(why) = fault {
            cx.emit(Event::PeerFault { peer: from, why });
        }
    }

    /// Takes in what is said of the member in this slot, if it is known, after it was checked.
    pub(super) fn learn(&mut self, cx: &mut Cx<'_, Self>, word: Word, slot: Option<Slot>, update: &Update) {
        let Some(slot) = slot else {
            if let Some(slot) = self.meet(cx, word.from, update) {
                let before = Before { claim: State::Left, known: false };
                self.take_in(cx, word, slot, update, &before);
            }
            return;
        };
        if slot == Slot::ME {
            return self.defend(cx, word.from, update);
        }
        let entry = self.table.entry(slot);
        if !entry.compare(update).any() {
            return self.came_back(word, slot, update);
        }
        match self.weigh(word.from, slot, update) {
            Belief::Is(update, sure) => {
                let entry = self.table.entry(slot);
                if entry.compare(&update).any() {
                    let before = Before { claim: entry.claim, known: true };
                    self.take_in(cx, word, slot, &update, &before);
                }
                if sure {
                    self.make_sure(cx, slot);
                }
            }
            Belief::Ask => self.ask(cx, slot, update),
        }
    }

    /// Whether a correct peer may say this.
    fn check(&self, from: NodeId, slot: Option<Slot>, update: &Update) -> Result<(), String> {
        let (id, boot, incarnation) = (update.id, update.boot, update.incarnation);
        let known = slot.map_or(Boot::ZERO, |slot| self.table.entry(slot).member.boot);
        let jump = boot.value().saturating_sub(known.value());
        // The member itself may be any number ahead: it lived on while we did not see it. And of ourselves we hear whatever
        // others were made to believe, and rise above it.
        let hearsay = from != id && slot != Some(Slot::ME);
        if boot.value() > Self::BOOT_MAX || (jump > Self::BOOT_JUMP_MAX && hearsay) {
            return Err(format!("boot {boot} of {id} is too far above {known}"));
        }
        if incarnation.value() > Self::INCARNATION_MAX {
            return Err(format!("incarnation {incarnation} of {id} is above all"));
        }
        if update.state == State::Suspect && update.accusers.as_slice().is_empty() {
            return Err(format!("{id} is suspect without an accuser"));
        }
        match &update.meta {
            Some(described) if (described.boot, described.incarnation) > (boot, incarnation) => {
                Err(format!("{id} is described by a later incarnation than its own"))
            }
            Some(described) if described.meta.encoded_len() > Meta::LEN_MAX => {
                Err(format!("{id} is described by {} bytes, more than {}", described.meta.encoded_len(), Meta::LEN_MAX))
            }
            _ => Ok(()),
        }
    }

    /// Makes room for a member that was not known, if it is worth it.
    fn meet(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, update: &Update) -> Option<Slot> {
        if self.forgotten.covers(from, update, cx.now().mono) {
            return None;
        }
        let kept = self.kept(update.state);
        if update.state > State::Suspect && u64::from(update.age_s) >= kept.as_secs() {
            return None;
        }
        if self.table.len() >= self.config.members_max && !self.forget_oldest(cx) {
            let why = format!("{} is one member more than {}", update.id, self.config.members_max);
            cx.emit(Event::PeerFault { peer: from, why });
            return None;
        }
        Some(self.table.add(update.id, cx.now().mono))
    }

    fn take_in(&mut self, cx: &mut Cx<'_, Self>, word: Word, slot: Slot, update: &Update, before: &Before) {
        let (now, from) = (cx.now().mono, word.from);
        let linked = self.is_linked(update.id);
        let forget_at = self.forget_at(now, update);
        let accusers = self.table.entry(slot).accusers.as_slice().len();
        let (old_meta, old_boot) = (self.table.entry(slot).member.meta.clone(), self.table.entry(slot).member.boot);
        let suspected = self.suspected_for(now, slot);
        let change = self.table.amend(slot, now, cx.rng(), |entry| {
            let raised = (update.boot, update.incarnation) > (entry.member.boot, entry.member.incarnation);
            let reborn = update.boot > entry.member.boot;
            if raised && before.known && before.claim == State::Suspect {
                entry.spoken_for = if from == update.id { 0 } else { entry.spoken_for.saturating_add(1) };
            }
            let change = entry.merge(update);
            if change.status {
                let refuted = before.known && before.claim == State::Dead && entry.is_present() && !reborn;
                entry.unstable(now, refuted);
                match entry.claim {
                    State::Suspect => entry.grounds = Some(Box::new(word.grounds)),
                    State::Alive | State::Left => entry.grounds = None,
                    State::Dead => {}
                }
            }
            (entry.linked, entry.met) = (linked, linked || (entry.met && !reborn));
            entry.lost &= !raised;
            if change.status && !entry.is_present() {
                entry.forget_at = forget_at;
            }
            change
        });
        let entry = self.table.entry(slot);
        let hastened = change.accusers && entry.accusers.as_slice().len() > accusers;
        let redescribed = (change.described && *entry.member.meta != *old_meta) || entry.member.boot > old_boot;
        let (claim, present) = (entry.claim, entry.is_present());
        let is_news = before.known || present;
        let spreads = word.source == Source::News || (is_news && (from == update.id || !self.is_fresh(now)));
        if spreads && (change.status || change.described || hastened) {
            self.enqueue(cx, slot, from);
        }
        self.follow_suspicion(cx, word, slot, before.claim == State::Suspect, change, hastened);
        self.tell(cx, word, slot, before, change, suspected);
        if redescribed && present && before.was_present() {
            cx.emit(Event::Updated { member: update.id });
        }
        self.arm_reconnect(cx);
        self.arm_reap(cx);
        if before.known && !before.was_present() && claim == State::Alive && from == update.id {
            // It was cut off: it has missed what we know, and we what it knows.
            reachable!("membership/dead-speaks-again");
            self.reconcile(cx, from);
        }
    }

    /// Tells the host what changed.
    fn tell(
        &self,
        cx: &mut Cx<'_, Self>,
        word: Word,
        slot: Slot,
        before: &Before,
        change: Change,
        suspected: std::time::Duration,
    ) {
        let (entry, from) = (self.table.entry(slot), word.from);
        let (member, accusers) = (entry.member.id, entry.accusers.as_slice());
        let by = accusers.first().copied().filter(|_| !accusers.contains(&from)).unwrap_or(from);
        let (was_present, present) = (before.was_present(), entry.is_present());
        if present && !was_present {
            cx.emit(Event::Joined { member, from });
        }
        match entry.claim {
            State::Alive if change.status && was_present && before.claim == State::Suspect => {
                cx.emit(Event::Refuted { member, from });
            }
            State::Suspect if change.status => cx.emit(Event::Suspected { member, by, grounds: word.grounds }),
            State::Dead if change.status && was_present => cx.emit(Event::Died {
                member,
                by,
                accusers: accusers.to_vec(),
                suspected_ms: u64::try_from(suspected.as_millis()).unwrap_or(u64::MAX),
                health: self.health.score(),
            }),
            State::Left if change.status && was_present => cx.emit(Event::Left { member, from }),
            _ => {}
        }
    }

    /// Somebody speaks of us. Only we raise our incarnation (SWIM, section 4.2), and we do whenever somebody claims what
    /// is not so.
    fn defend(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, update: &Update) {
        if self.leaving {
            return;
        }
        let me = self.table.me();
        let (boot, incarnation) = (me.member.boot, me.member.incarnation);
        if (update.boot, update.incarnation) < (boot, incarnation) {
            // The accuser has not heard our answer, or not from us.
            if update.state != State::Alive {
                self.answer_to = Some(from);
            }
            return;
        }
        let same = (update.boot, update.incarnation) == (boot, incarnation);
        if same && update.state == State::Alive {
            return;
        }
        if planted!("membership/no-refutation") {
            return;
        }
        // A later boot than ours was seen: our counter of boots was set back. We go on above it.
        // And before our incarnations are used up, by somebody who keeps claiming high ones, we begin anew.
        let (boot, incarnation) = if update.boot > boot || update.incarnation.value() > Self::INCARNATION_MAX / 2 {
            (update.boot.next(), Incarnation::ZERO)
        } else {
            (boot, update.incarnation.next())
        };
        if update.state != State::Left && same {
            // Somebody found us slow.
            self.health.worse(1);
        }
        self.rise(cx, boot, incarnation);
        reachable!("membership/accusation-refuted");
        self.answer_to = Some(from);
        if update.state != State::Alive {
            self.refute(cx, from);
        }
        cx.emit(Event::Defended { incarnation, from });
    }

    /// Refutes an accusation to those linked with us, in our own words, not again within a period. Who stalls again soon has no
    /// time for word of mouth: others would miss it, or have believed it too often. `from` is answered anyway.
    fn refute(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        let now = cx.now().mono;
        if self.refuted_at.is_some_and(|at| now.since(at) < self.config.probe_period) {
            return;
        }
        self.refuted_at = Some(now);
        let gossip = Updates(vec![self.update(Slot::ME, now, true)]);
        for slot in self.table.near.sample(cx.rng(), Self::REFUTED_TO_MAX, |_| true) {
            let to = self.table.entry(slot).member.id;
            if to != from {
                cx.send(to, Message::Gossip { gossip: gossip.clone() });
            }
        }
    }

    /// Speaks with a higher (boot, incarnation) from now on.
    pub(super) fn rise(&mut self, cx: &mut Cx<'_, Self>, boot: Boot, incarnation: Incarnation) {
        let now = cx.now().mono;
        self.table.amend(Slot::ME, now, cx.rng(), |me| {
            assert!((boot, incarnation) > (me.member.boot, me.member.incarnation), "our own incarnation never falls");
            (me.member.boot, me.member.incarnation) = (boot, incarnation);
            me.described = Some((boot, incarnation));
        });
        self.enqueue(cx, Slot::ME, self.me);
    }

    /// Answers an accusation at once if the message itself has no answer that would carry it; not everybody who repeats it.
    pub(super) fn answer(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, me) = (cx.now().mono, &self.table.me().member);
        let said = (me.boot, me.incarnation);
        if let Some(to) = self.answer_to.take()
            && let Some(link) = self.links.get_mut(&to)
            && link.answered.is_none_or(|(at, before)| before < said || now.since(at) >= self.config.probe_period)
        {
            link.answered = Some((now, said));
            let update = self.update(Slot::ME, now, true);
            cx.send(to, Message::Gossip { gossip: Updates(vec![update]) });
        }
    }

    /// How long a member in this state is remembered.
    pub(super) fn kept(&self, state: State) -> std::time::Duration {
        if state == State::Left { self.config.left_kept } else { self.config.dead_kept }
    }

    fn forget_at(&self, now: Time, update: &Update) -> Time {
        let kept = self.kept(update.state);
        let age = std::time::Duration::from_secs(u64::from(update.age_s)).min(kept);
        now + (kept - age)
    }

    /// Forgets the oldest tombstone, if there is any.
    fn forget_oldest(&mut self, cx: &mut Cx<'_, Self>) -> bool {
        let Some(slot) = self.table.forget() else { return false };
        self.drop_slot(cx, slot);
        true
    }

    /// Drops what was to be told or asked of a member that is forgotten.
    pub(super) fn drop_slot(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        self.queue.remove(slot);
        self.sightings.remove(&slot);
        self.arm_reap(cx);
    }

    fn arm_reap(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(at) = self.table.forget_at() else { return };
        if self.reap_at.is_none_or(|armed| at < armed) {
            self.reap_at = Some(at);
            cx.arm(Timer::Reap, at.since(cx.now().mono));
        }
    }

    pub(super) fn on_reap_due(&mut self, cx: &mut Cx<'_, Self>) {
        self.reap_at = None;
        while self.table.forget_at().is_some_and(|at| at <= cx.now().mono) {
            self.forget_oldest(cx);
        }
        self.arm_reap(cx);
    }
}
