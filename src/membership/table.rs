//! The members known here, with the indexes that keep every input far below O(N): rings to draw from, sums to compare
//! views by, tombstones in the order of their end.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::blocks::Blocks;
use super::ring::Ring;
use super::{Accusers, Described, Grounds, Member, State, Update};
use crate::machine::Rng;
use crate::probe::planted;
use crate::types::{Boot, Digest, Incarnation, NodeId, Time};

/// Number of a member in the table; used again only after it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

impl Slot {
    /// This node itself.
    pub(super) const ME: Self = Self(0);

    #[cfg(test)]
    pub(super) const fn new(raw: u32) -> Self {
        Self(raw)
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// In which list a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In none: this node itself, members that left, free slots.
    Aside,
    /// Present and linked.
    Near,
    /// Present without a link.
    Far,
    /// Dead but linked: it can be told.
    Undead,
    /// Dead.
    Dead,
}

/// One member, and what is remembered beside it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As others may see it.
    pub(super) member: Member,
    /// What the evidence says. `member.state` differs from it only while this node is in doubt of everybody.
    pub(super) claim: State,
    /// Who accuses it.
    pub(super) accusers: Accusers,
    /// Why it is or was suspect, unless it has refuted that.
    pub(super) grounds: Option<Box<Grounds>>,
    /// When it said what `member.meta` holds.
    pub(super) described: Option<(Boot, Incarnation)>,
    /// Whether there is a link.
    pub(super) linked: bool,
    /// Whether a link was lost or could not be made, and nothing was heard of it since.
    pub(super) lost: bool,
    /// Whether there was a link with this life of it: then one can be made.
    pub(super) met: bool,
    /// How often others spoke for it while it was suspect, since it last spoke for itself.
    pub(super) spoken_for: u8,
    /// Round trip of the last answered direct probe.
    pub(super) rtt: Option<Duration>,
    /// When it may be forgotten, if it is dead or has left.
    pub(super) forget_at: Time,
    /// How often it was dead and refuted that, less one for each [`FLAPS_FADE`] without a change, as of `flapped_at`.
    flaps: u32,
    flapped_at: Time,
    meta_len: usize,
    counted_alive: bool,
    place: Place,
    bucket: u8,
    sum: u64,
}

/// After this long one refuted death is forgiven.
const FLAPS_FADE: Duration = Duration::from_secs(120);
/// More refuted deaths than this count no more: a suspicion then lasts eight times as long.
const FLAPS_MAX: u32 = 4;

/// What a merge changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Boot, incarnation or state rose.
    pub(super) status: bool,
    /// The same accusation has more accusers.
    pub(super) accusers: bool,
    /// Its description is newer.
    pub(super) described: bool,
}

impl Change {
    pub(super) fn any(self) -> bool {
        self.status || self.accusers || self.described
    }
}

impl Entry {
    /// An entry that every update about this member raises.
    pub(super) fn blank(id: NodeId, now: Time) -> Self {
        let member = Member {
            id,
            boot: Boot::ZERO,
            incarnation: Incarnation::ZERO,
            state: State::Alive,
            meta: Default::default(),
            since: now,
        };
        Self {
            member,
            claim: State::Alive,
            accusers: Accusers::none(),
            grounds: None,
            described: None,
            linked: false,
            lost: false,
            met: false,
            spoken_for: 0,
            rtt: None,
            forget_at: Time::ZERO,
            flaps: 0,
            flapped_at: Time::ZERO,
            meta_len: 0,
            counted_alive: false,
            place: Place::Aside,
            bucket: u8::try_from(xxh3_64(id.as_bytes()) >> 58).expect("six bits"),
            sum: 0,
        }
    }

    /// What decides between two claims about one member.
    pub(super) fn rank(&self) -> (Boot, Incarnation, State) {
        (self.member.boot, self.member.incarnation, self.claim)
    }

    pub(super) fn is_present(&self) -> bool {
        self.claim <= State::Suspect
    }

    /// What merging would change.
    pub(super) fn compare(&self, update: &Update) -> Change {
        let mut order = update.rank().cmp(&self.rank());
        if planted!("membership/dead-overrides-alive") && update.boot == self.member.boot {
            order = update.state.cmp(&self.claim);
        }
        let described = update.meta.as_ref().map(|described| (described.boot, described.incarnation));
        Change {
            status: order == Ordering::Greater,
            accusers: order == Ordering::Equal && self.accusers.gains(&update.accusers),
            described: described > self.described,
        }
    }

    /// The least upper bound of what was known and what is said: a join of two lattices, the claim (the higher rank wins,
    /// accusers of equal ranks unite) and the description (the newer wins). Order, repetition and grouping of updates do
    /// not matter.
    pub(super) fn merge(&mut self, update: &Update) -> Change {
        let change = self.compare(update);
        if change.status {
            (self.member.boot, self.member.incarnation, self.claim) = update.rank();
            self.accusers = update.accusers.clone();
        }
        if change.accusers && !planted!("membership/accusers-not-united") {
            for accuser in update.accusers.as_slice() {
                self.accusers.add(*accuser);
            }
        }
        if let (true, Some(described)) = (change.described, &update.meta) {
            self.describe(described);
        }
        change
    }

    pub(super) fn describe(&mut self, described: &Described) {
        self.described = Some((described.boot, described.incarnation));
        self.meta_len = described.meta.encoded_len();
        self.member.meta = described.meta.clone();
    }

    /// This entry as an update, with the description if `full`.
    pub(super) fn update(&self, now: Time, full: bool, kept: Duration) -> Update {
        let age = if self.is_present() { Duration::ZERO } else { kept.saturating_sub(self.forget_at.since(now)) };
        Update {
            id: self.member.id,
            boot: self.member.boot,
            incarnation: self.member.incarnation,
            state: self.claim,
            accusers: self.accusers.clone(),
            meta: self.described.filter(|_| full).map(|(boot, incarnation)| Described {
                boot,
                incarnation,
                meta: self.member.meta.clone(),
            }),
            age_s: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// Most bytes that its update takes: id, two counters, state, accusers, description, age.
    pub(super) fn cost(&self, full: bool) -> usize {
        let meta = if full && self.described.is_some() { 14 + self.meta_len } else { 0 };
        39 + 16 * self.accusers.as_slice().len() + meta
    }

    /// Its state has changed; `refuted` if it was dead and proved that it was not: it stalls, or its network does. What is
    /// remembered of that fades from the last change on, so that whoever goes on stalling does not go on dying.
    pub(super) fn unstable(&mut self, now: Time, refuted: bool) {
        let flaps = self.flaps_now(now);
        self.flaps = if refuted { (flaps + 1).min(FLAPS_MAX) } else { flaps };
        self.flapped_at = now;
    }

    /// How many times longer a suspicion of it lasts (flap damping): the first refuted death costs nothing, since a cut
    /// makes everybody beyond it look dead once; each one after it doubles.
    pub(super) fn patience(&self, now: Time) -> u32 {
        1 << self.flaps_now(now).saturating_sub(1)
    }

    fn flaps_now(&self, now: Time) -> u32 {
        let faded = now.since(self.flapped_at).as_secs() / FLAPS_FADE.as_secs();
        self.flaps.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX))
    }

    fn rightful_place(&self) -> Place {
        match (self.claim, self.linked) {
            (State::Alive | State::Suspect, true) => Place::Near,
            (State::Alive | State::Suspect, false) => Place::Far,
            (State::Dead, true) => Place::Undead,
            (State::Dead, false) => Place::Dead,
            (State::Left, _) => Place::Aside,
        }
    }

    /// What it adds to the sum of its bucket. Suspicions are left out: they end by themselves. So are the dead: what
    /// remains of them ends at different times at different members.
    fn rightful_sum(&self) -> u64 {
        if !self.is_present() {
            return 0;
        }
        let (described_boot, described_at) = self.described.unwrap_or_default();
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(self.member.id.as_bytes());
        bytes[16..24].copy_from_slice(&self.member.boot.value().to_le_bytes());
        bytes[24..28].copy_from_slice(&self.member.incarnation.value().to_le_bytes());
        bytes[28..36].copy_from_slice(&described_boot.value().to_le_bytes());
        bytes[36..].copy_from_slice(&described_at.value().to_le_bytes());
        xxh3_64(&bytes)
    }
}

/// All members known here.
///
/// **Invariants:** slot 0 is this node; every other entry is in the one ring that its claim and link put it into, or in
/// none if it left; `sums` add up the present entries of each bucket and `total` all of them; `tombs` holds exactly those
/// that are not present; ranks never fall.
#[derive(Clone, Debug)]
pub(super) struct Table {
    index: BTreeMap<NodeId, Slot>,
    entries: Blocks,
    free: Vec<Slot>,
    sums: [u64; 64],
    total: u64,
    alive: usize,
    pub(super) near: Ring,
    pub(super) far: Ring,
    pub(super) undead: Ring,
    tombs: BTreeSet<(Time, Slot)>,
    /// Whether everybody is shown as suspect: this node has no link to tell.
    doubting: bool,
    /// Those in `near` and this node in order of id, and where it stands; computed when it is needed.
    circle: Option<(Vec<Slot>, usize)>,
}

/// A prime above any number of members: its multiples, modulo that number, go through all remainders.
const STRIDE: u64 = (1 << 31) - 1;

impl Table {
    pub(super) fn new(id: NodeId, boot: Boot, described: &Described) -> Self {
        let mut me = Entry::blank(id, Time::ZERO);
        me.member.boot = boot;
        me.describe(described);
        me.sum = me.rightful_sum();
        me.counted_alive = true;
        let mut sums = [0; 64];
        sums[usize::from(me.bucket)] = me.sum;
        let (mut entries, total) = (Blocks::default(), me.sum);
        entries.push(me);
        Self {
            index: BTreeMap::from([(id, Slot::ME)]),
            total,
            entries,
            free: Vec::new(),
            sums,
            alive: 1,
            near: Ring::default(),
            far: Ring::default(),
            undead: Ring::default(),
            tombs: BTreeSet::new(),
            doubting: false,
            circle: None,
        }
    }

    pub(super) fn slot(&self, id: NodeId) -> Option<Slot> {
        self.index.get(&id).copied()
    }

    pub(super) fn find(&self, id: NodeId) -> Option<&Entry> {
        self.slot(id).map(|slot| self.entry(slot))
    }

    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        &self.entries[slot.index()]
    }

    pub(super) fn me(&self) -> &Entry {
        self.entry(Slot::ME)
    }

    /// For what no index depends on.
    pub(super) fn set_rtt(&mut self, slot: Slot, rtt: Duration) {
        self.entries[slot.index()].rtt = Some(rtt);
    }

    /// It spoke for itself.
    pub(super) fn heard(&mut self, slot: Slot) {
        if self.entry(slot).spoken_for > 0 {
            self.entries[slot.index()].spoken_for = 0;
        }
    }

    /// Whom to probe in this step of all: the member so many places ahead on the circle of ids. Members with equal views
    /// each take another one, and in as many steps as there are others each takes all of them.
    pub(super) fn partner(&mut self, step: u64) -> Option<Slot> {
        let others = u64::try_from(self.near.len()).ok().filter(|others| *others > 0)?;
        let ahead = 1 + (step % others) * (STRIDE % others) % others;
        if self.circle.is_none() {
            let linked = |slot: &Slot| *slot == Slot::ME || self.entry(*slot).place == Place::Near;
            let circle: Vec<Slot> = self.index.values().copied().filter(linked).collect();
            let at = circle.iter().position(|slot| *slot == Slot::ME)?;
            self.circle = Some((circle, at));
        }
        let (circle, at) = self.circle.as_ref()?;
        let ahead = usize::try_from(ahead).expect("at most as many as there are");
        Some(circle[(at + ahead) % circle.len()]).filter(|slot| *slot != Slot::ME)
    }

    /// In order of id.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.index.values().map(|slot| self.entry(*slot))
    }

    /// Those of the buckets in `mask`, in order of id.
    pub(super) fn in_buckets(&self, mask: u64) -> impl Iterator<Item = &Entry> {
        self.entries().filter(move |entry| mask >> entry.bucket & 1 == 1)
    }

    /// Known, itself and the dead included.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Present, itself included.
    pub(super) fn present_len(&self) -> usize {
        self.near.len() + self.far.len() + usize::from(self.me().is_present())
    }

    /// Present and not suspected, itself included.
    pub(super) fn alive_len(&self) -> usize {
        self.alive
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::new(self.total)
    }

    pub(super) fn sums(&self) -> &[u64; 64] {
        &self.sums
    }

    /// Makes room for a member that was not known. The caller amends it next.
    pub(super) fn add(&mut self, id: NodeId, now: Time) -> Slot {
        let entry = Entry::blank(id, now);
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[slot.index()] = entry;
            slot
        } else {
            let slot = Slot(u32::try_from(self.entries.len()).expect("members_max is far below"));
            self.entries.push(entry);
            slot
        };
        let before = self.index.insert(id, slot);
        debug_assert!(before.is_none(), "a member is added once");
        slot
    }

    /// Changes an entry and puts it where it then belongs.
    pub(super) fn amend<R>(&mut self, slot: Slot, now: Time, rng: &mut Rng, change: impl FnOnce(&mut Entry) -> R) -> R {
        let entry = &mut self.entries[slot.index()];
        let (was_place, was_sum, was_tomb, was_alive) = (entry.place, entry.sum, entry.forget_at, entry.counted_alive);
        let result = change(entry);
        entry.sum = entry.rightful_sum();
        entry.place = if slot == Slot::ME { Place::Aside } else { entry.rightful_place() };
        Self::show(entry, slot, self.doubting, now);
        if entry.is_present() {
            entry.forget_at = Time::ZERO;
        }
        let (place, sum, bucket, tomb) = (entry.place, entry.sum, usize::from(entry.bucket), entry.forget_at);
        entry.counted_alive = entry.claim == State::Alive;
        self.alive = self.alive + usize::from(entry.counted_alive) - usize::from(was_alive);
        let delta = sum.wrapping_sub(was_sum);
        self.sums[bucket] = self.sums[bucket].wrapping_add(delta);
        self.total = self.total.wrapping_add(delta);
        if was_place != place {
            if was_place == Place::Near || place == Place::Near {
                self.circle = None;
            }
            if let Some(ring) = self.ring(was_place) {
                ring.remove(slot);
            }
            if let Some(ring) = self.ring(place) {
                ring.add(slot, rng);
            }
        }
        if was_tomb != tomb {
            self.tombs.remove(&(was_tomb, slot));
            if tomb != Time::ZERO {
                self.tombs.insert((tomb, slot));
            }
        }
        result
    }

    /// When the next tombstone ends.
    pub(super) fn forget_at(&self) -> Option<Time> {
        self.tombs.first().map(|(at, _)| *at)
    }

    /// Forgets the tombstone that ends first. Whose it was.
    pub(super) fn forget(&mut self) -> Option<Slot> {
        let (_, slot) = self.tombs.first().copied()?;
        self.forget_one(slot);
        Some(slot)
    }

    /// Forgets this tombstone.
    pub(super) fn forget_one(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        let (id, place, at) = (entry.member.id, entry.place, entry.forget_at);
        self.tombs.remove(&(at, slot));
        entry.place = Place::Aside;
        self.circle = None;
        if let Some(ring) = self.ring(place) {
            ring.remove(slot);
        }
        self.index.remove(&id);
        self.free.push(slot);
    }

    /// Shows everybody as suspect, or as what the evidence says. Who changed.
    pub(super) fn doubt(&mut self, doubting: bool, now: Time) -> Vec<NodeId> {
        self.doubting = doubting;
        let mut changed = Vec::new();
        for slot in self.index.values() {
            let entry = &mut self.entries[slot.index()];
            if Self::show(entry, *slot, doubting, now) {
                changed.push(entry.member.id);
            }
        }
        changed
    }

    fn show(entry: &mut Entry, slot: Slot, doubting: bool, now: Time) -> bool {
        let doubted = doubting && slot != Slot::ME && entry.claim == State::Alive;
        let state = if doubted { State::Suspect } else { entry.claim };
        let changed = entry.member.state != state;
        if changed {
            entry.member.state = state;
            entry.member.since = now;
        }
        changed
    }

    fn ring(&mut self, place: Place) -> Option<&mut Ring> {
        match place {
            Place::Near => Some(&mut self.near),
            Place::Far => Some(&mut self.far),
            Place::Undead => Some(&mut self.undead),
            Place::Dead | Place::Aside => None,
        }
    }

    /// The same view as this member has it; most of it is shared until either changes.
    #[cfg(test)]
    pub(super) fn seen_by(&self, id: NodeId) -> Self {
        let mut table = self.clone();
        let slot = table.index[&id];
        let (mine, its) = (table.entry(Slot::ME).clone(), table.entry(slot).clone());
        table.index.insert(mine.member.id, slot);
        table.index.insert(id, Slot::ME);
        table.entries[Slot::ME.index()] = Entry { place: mine.place, ..its.clone() };
        if slot != Slot::ME {
            table.entries[slot.index()] = Entry { place: its.place, ..mine };
        }
        table
    }

    /// Recomputes what is kept up to date step by step.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut sums = [0_u64; 64];
        let (mut near, mut far, mut undead, mut tombs, mut alive) = (0, 0, 0, 0, 0);
        for (id, slot) in &self.index {
            let entry = self.entry(*slot);
            assert_eq!(entry.member.id, *id);
            let sum = &mut sums[usize::from(entry.bucket)];
            *sum = sum.wrapping_add(entry.rightful_sum());
            let place = if *slot == Slot::ME { Place::Aside } else { entry.rightful_place() };
            assert_eq!(entry.place, place, "{id:?}");
            near += usize::from(place == Place::Near);
            far += usize::from(place == Place::Far);
            undead += usize::from(place == Place::Undead);
            tombs += usize::from(!entry.is_present());
            alive += usize::from(entry.claim == State::Alive);
        }
        assert_eq!(sums, self.sums);
        assert_eq!(self.total, sums.iter().fold(0, |sum, part| part.wrapping_add(sum)));
        let found = (self.near.len(), self.far.len(), self.undead.len(), self.tombs.len(), self.alive);
        assert_eq!(found, (near, far, undead, tombs, alive));
    }
}
