//! What is said of members: checked, merged, and what follows from it.

use super::message::Update;
use super::table::{Change, Slot};
use super::{Event, Membership, Message, Meta, State, Timer, Updates};
use crate::machine::Cx;
use crate::types::{Boot, Incarnation, NodeId, Time};

/// Where an update came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It is news: somebody tells it on.
    News,
    /// It is part of a whole: what was not known here need not be news elsewhere.
    Exchange,
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
    /// Incarnations above this are refused from anybody: their subject could not answer with a higher one (memberlist#358).
    const INCARNATION_MAX: u32 = 1 << 31;
    /// Third parties may not know a member this many incarnations ahead of us.
    const INCARNATION_JUMP_MAX: u32 = 1 << 16;
    /// Nor this many boots.
    const BOOT_JUMP_MAX: u64 = 1 << 32;

    /// Takes in several updates from one peer.
    pub(super) fn learn_all(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, updates: &Updates, source: Source) {
        for update in updates.as_slice() {
            let slot = self.table.slot(update.id);
            if let Err(why) = self.check(from, slot, update) {
                // Who errs once is not heard out.
                return cx.emit(Event::PeerFault { peer: from, why });
            }
            self.learn_of(cx, from, slot, update, source);
        }
    }

    /// Takes in what `from` says of a member, which was checked.
    pub(super) fn learn(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, update: &Update, source: Source) {
        self.learn_of(cx, from, self.table.slot(update.id), update, source);
    }

    /// The same, of the member in this slot, if it is known.
    fn learn_of(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, slot: Option<Slot>, update: &Update, source: Source) {
        if slot == Some(Slot::ME) {
            self.defend(cx, from, update);
        } else if let Some(slot) = slot {
            let entry = self.table.entry(slot);
            if entry.compare(update).any() {
                let before = Before { claim: entry.claim, known: true };
                self.take_in(cx, from, slot, update, &before, source);
            } else if source == Source::News && entry.rank() == update.rank() {
                self.heard_again(slot);
            }
        } else if let Some(slot) = self.meet(cx, from, update) {
            let before = Before { claim: State::Left, known: false };
            self.take_in(cx, from, slot, update, &before, source);
        }
    }

    /// Whether a correct peer may say this.
    fn check(&self, from: NodeId, slot: Option<Slot>, update: &Update) -> Result<(), String> {
        let (id, boot, incarnation) = (update.id, update.boot, update.incarnation);
        let known = slot.map(|slot| &self.table.entry(slot).member).map(|member| (member.boot, member.incarnation));
        let (known_boot, known_incarnation) = known.unwrap_or_default();
        if boot.value().saturating_sub(known_boot.value()) > Self::BOOT_JUMP_MAX {
            return Err(format!("boot {boot} of {id} is too far above {known_boot}"));
        }
        if incarnation.value() > Self::INCARNATION_MAX {
            return Err(format!("incarnation {incarnation} of {id} is above all"));
        }
        let jump = incarnation.value().saturating_sub(known_incarnation.value());
        // The member itself may be any number ahead: it lived on while we did not see it.
        if known.is_some() && boot == known_boot && from != id && jump > Self::INCARNATION_JUMP_MAX {
            return Err(format!("incarnation {incarnation} of {id} is too far above {known_incarnation}"));
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
        let kept = self.kept(update.state);
        if update.state > State::Suspect && u64::from(update.age_s) >= kept.as_secs() {
            return None;
        }
        if self.table.len() >= self.config.members_max && !self.forget(cx) {
            let why = format!("{} is one member more than {}", update.id, self.config.members_max);
            cx.emit(Event::PeerFault { peer: from, why });
            return None;
        }
        Some(self.table.add(update.id, cx.now().mono))
    }

    fn take_in(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: NodeId,
        slot: Slot,
        update: &Update,
        before: &Before,
        source: Source,
    ) {
        let now = cx.now().mono;
        let linked = self.table.entry(slot).linked || (!before.known && self.strangers.remove(&update.id));
        let forget_at = self.forget_at(now, update);
        let accusers = self.table.entry(slot).accusers.as_slice().len();
        let (old_meta, old_boot) = (self.table.entry(slot).member.meta.clone(), self.table.entry(slot).member.boot);
        let change = self.table.amend(slot, now, cx.rng(), |entry| {
            let raised = (update.boot, update.incarnation) > (entry.member.boot, entry.member.incarnation);
            let reborn = update.boot > entry.member.boot;
            let change = entry.merge(update);
            if change.status && before.claim == State::Dead && before.known && !reborn && entry.claim == State::Alive {
                entry.flapped(now);
            }
            entry.linked = linked;
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
        let spreads = source == Source::News || (is_news && (from == update.id || !self.is_fresh(now)));
        if spreads && (change.status || change.described || hastened) {
            self.enqueue(cx, slot);
        }
        self.follow_suspicion(cx, from, slot, before.claim == State::Suspect, change, hastened);
        self.tell(cx, from, slot, before, change, redescribed);
        self.arm_reconnect(cx);
        self.arm_reap(cx);
        if before.known && !before.was_present() && claim == State::Alive && from == update.id {
            // It was cut off: it has missed what we know, and we what it knows.
            self.exchange(cx, from, true);
        }
    }

    /// Tells the host what changed.
    fn tell(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: NodeId,
        slot: Slot,
        before: &Before,
        change: Change,
        redescribed: bool,
    ) {
        let entry = self.table.entry(slot);
        let member = entry.member.id;
        let by = entry.accusers.as_slice().first().copied().unwrap_or(from);
        let by = if entry.accusers.as_slice().contains(&from) { from } else { by };
        let (was_present, present) = (before.was_present(), entry.is_present());
        if present && !was_present {
            cx.emit(Event::Joined { member });
        }
        match entry.claim {
            State::Alive if change.status && was_present && before.claim == State::Suspect => {
                cx.emit(Event::Refuted { member });
            }
            State::Suspect if change.status => cx.emit(Event::Suspected { member, by }),
            State::Dead if change.status && was_present => cx.emit(Event::Died { member, by }),
            State::Left if change.status && was_present => cx.emit(Event::Left { member }),
            _ => {}
        }
        if redescribed && present && was_present {
            cx.emit(Event::Updated { member });
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
            // The accuser has not heard our answer. If it still spreads, it will; else tell this one.
            if update.state != State::Alive && !self.queue.contains(Slot::ME) {
                self.answer_to = Some(from);
            }
            return;
        }
        let same = (update.boot, update.incarnation) == (boot, incarnation);
        if same && update.state == State::Alive {
            return;
        }
        // A later boot than ours was seen: our counter of boots was set back. We go on above it.
        let (boot, incarnation) = if update.boot > boot {
            (update.boot.next(), Incarnation::ZERO)
        } else {
            (boot, update.incarnation.next())
        };
        if update.state != State::Left && same {
            // Somebody found us slow.
            self.health.worse(1);
        }
        self.rise(cx, boot, incarnation);
        self.answer_to = Some(from);
        cx.emit(Event::Defended { incarnation });
    }

    /// Speaks with a higher (boot, incarnation) from now on.
    pub(super) fn rise(&mut self, cx: &mut Cx<'_, Self>, boot: Boot, incarnation: Incarnation) {
        let now = cx.now().mono;
        self.table.amend(Slot::ME, now, cx.rng(), |me| {
            assert!((boot, incarnation) > (me.member.boot, me.member.incarnation), "our own incarnation never falls");
            (me.member.boot, me.member.incarnation) = (boot, incarnation);
            me.described = Some((boot, incarnation));
        });
        self.enqueue(cx, Slot::ME);
    }

    /// Answers an accusation at once if the message itself has no answer that would carry it.
    pub(super) fn answer(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(to) = self.answer_to.take() {
            let update = self.update(Slot::ME, cx.now().mono, true);
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
    fn forget(&mut self, cx: &mut Cx<'_, Self>) -> bool {
        let Some((id, slot, linked)) = self.table.forget() else { return false };
        self.queue.remove(slot);
        if linked {
            self.strangers.insert(id);
        }
        self.arm_reap(cx);
        true
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
            self.forget(cx);
        }
        self.arm_reap(cx);
    }
}
