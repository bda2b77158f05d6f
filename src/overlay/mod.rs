//! Who exchanges deltas with whom: star, tree and full mesh, computed from the membership view and the topology's policy.
//!
//! Every member computes its neighbours by the same pure function ([`neighbors()`]), so nobody coordinates anything and the
//! overlay heals on each membership event. Views that differ for a while only cost duplicates or a detour; anti-entropy
//! (room `replication`) closes what a gap missed.
//!
//! This room also wants the links: to every present member while there are few, else to the neighbours and, in a star, to
//! the next hub, so that a failover finds a warm link. Who dials follows from the ids, since simultaneous dials leave two
//! connections; failed dials back off with full jitter. The dead are tried again every half minute: a cut looks like a death
//! from both sides, and somebody has to knock.
//!
//! **Invariant:** a peer is up as a neighbour if and only if it is linked and computed to be one.
//!
//! Left to others: membership gossip and its links' use (`membership`), making and closing links (the driver).

mod config;
mod event;
mod neighbors;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use config::Config;
pub use event::Event;
pub use neighbors::neighbors;

use crate::machine::{Cx, Machine, Never};
use crate::membership::{self, Member, State};
use crate::topology::Policy;
use crate::types::{Lane, NodeId};

/// This room's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// It is time to dial this member.
    Dial(NodeId),
    /// The link to this member has lasted.
    Settled(NodeId),
    /// It is time to knock at the dead.
    Dead,
}

/// Computes neighbours, asks for links, tells which neighbours are up.
#[derive(Debug)]
pub struct Overlay {
    me: NodeId,
    policy: Policy,
    config: Config,
    links: BTreeSet<NodeId>,
    computed: BTreeSet<NodeId>,
    up: BTreeSet<NodeId>,
    /// The members to whom a link is wanted, with the attempts that failed since one last settled.
    wanted: BTreeMap<NodeId, u32>,
    knocking: bool,
}

/// What others may read of the overlay.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    overlay: &'a Overlay,
}

impl<'a> View<'a> {
    /// With whom deltas are exchanged: linked, and a neighbour by the policy.
    #[must_use]
    pub fn neighbors(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.up
    }

    /// With whom deltas would be exchanged if all links were up.
    #[must_use]
    pub fn computed(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.computed
    }

    /// To whom there is a link.
    #[must_use]
    pub fn links(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.links
    }

    /// `star`, `mesh` or `tree`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.overlay.policy.kind()
    }
}

impl Machine for Overlay {
    type Message = Never;
    type Record = Never;
    type Wait = Never;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Never) -> Lane {
        match *message {}
    }
}

impl Overlay {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(me: NodeId, policy: Policy, config: Config) -> Self {
        Self {
            me,
            policy,
            config,
            links: BTreeSet::new(),
            computed: BTreeSet::new(),
            up: BTreeSet::new(),
            wanted: BTreeMap::new(),
            knocking: false,
        }
    }

    /// The membership changed.
    pub fn on_membership(&mut self, cx: &mut Cx<'_, Self>, members: membership::View<'_>) {
        self.on_members(cx, &members.members().collect::<Vec<_>>());
    }

    /// A link is up.
    pub fn on_linked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, _members: membership::View<'_>) {
        self.link(cx, peer);
    }

    /// A link is gone.
    pub fn on_unlinked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, members: membership::View<'_>) {
        self.unlink(cx, peer, members.member(peer));
    }

    /// A dial came to nothing.
    pub fn on_dial_failed(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.links.contains(&peer) {
            return; // The other side's dial was faster.
        }
        if let Some(failures) = self.wanted.get_mut(&peer) {
            *failures = failures.saturating_add(1);
            self.back_off(cx, peer);
        }
    }

    /// A timer fires.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer, members: membership::View<'_>) {
        match timer {
            Timer::Dial(peer) => self.dial(cx, peer, members.member(peer)),
            Timer::Settled(peer) => self.settle(peer),
            Timer::Dead => self.knock(cx, &members.members().collect::<Vec<_>>()),
        }
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { overlay: self }
    }

    fn on_members(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        self.computed = neighbors(members.iter().copied(), self.policy, self.me);
        let wanted = self.wants(members);
        let given_up: Vec<NodeId> = self.wanted.keys().filter(|peer| !wanted.contains(peer)).copied().collect();
        for peer in given_up {
            self.wanted.remove(&peer);
            cx.disarm(Timer::Dial(peer));
            cx.disarm(Timer::Settled(peer));
        }
        for member in members.iter().filter(|member| wanted.contains(&member.id)) {
            if let Entry::Vacant(new) = self.wanted.entry(member.id) {
                new.insert(0);
                self.seek(cx, member.id, Some(member));
            }
        }
        self.tell(cx);
        if !self.knocking && members.iter().any(|member| self.is_lost(member)) {
            self.knock_later(cx);
        }
    }

    /// To whom links are wanted.
    fn wants(&self, members: &[&Member]) -> BTreeSet<NodeId> {
        let others = || members.iter().filter(|member| member.is_present() && member.id != self.me);
        // One more than the limit settles the question, however many there are.
        if others().take(self.config.links_max + 1).count() <= self.config.links_max {
            return others().map(|member| member.id).collect();
        }
        let mut wanted = self.computed.clone();
        if self.policy == Policy::Star {
            wanted.extend(neighbors::succession(members.iter().copied()).into_iter().flatten());
            wanted.remove(&self.me);
        }
        wanted
    }

    fn link(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.links.insert(peer) {
            cx.disarm(Timer::Dial(peer));
            if let Some(failures) = self.wanted.get_mut(&peer) {
                // Until it has settled: a link that flaps is dialled as rarely as one that cannot be made.
                *failures = failures.saturating_add(1);
                cx.arm(Timer::Settled(peer), self.config.settled);
            }
            self.tell(cx);
        }
    }

    fn unlink(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        if self.links.remove(&peer) {
            cx.disarm(Timer::Settled(peer));
            self.tell(cx);
            self.seek(cx, peer, member);
        }
    }

    /// Begins to make a wanted link: at once if nothing failed lately and the dial is ours to make.
    fn seek(&self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        if self.links.contains(&peer) {
            return;
        }
        match self.wanted.get(&peer) {
            None => {}
            Some(0) if self.me < peer => self.dial(cx, peer, member),
            Some(0) => cx.arm(Timer::Dial(peer), self.config.courtesy),
            Some(_) => self.back_off(cx, peer),
        }
    }

    fn back_off(&self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let failures = self.wanted.get(&peer).copied().unwrap_or_default();
        let doubled = self.config.backoff.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let wait = below(cx, doubled.min(self.config.backoff_max));
        cx.arm(Timer::Dial(peer), wait);
    }

    /// Asks for a link, unless it was made or given up meanwhile.
    fn dial(&self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        let Some(member) = member else { return };
        if self.wanted.contains_key(&peer) && !self.links.contains(&peer) {
            cx.emit(Event::Dial { peer, addresses: member.meta.addresses.clone() });
        }
    }

    fn settle(&mut self, peer: NodeId) {
        if let Some(failures) = self.wanted.get_mut(&peer) {
            *failures = 0;
        }
    }

    fn is_lost(&self, member: &Member) -> bool {
        member.state == State::Dead && !self.links.contains(&member.id) && member.id != self.me
    }

    /// Tries the dead again, a bounded number of them.
    fn knock(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        self.knocking = false;
        let mut lost: Vec<&Member> = members.iter().copied().filter(|member| self.is_lost(member)).collect();
        if lost.is_empty() {
            return;
        }
        cx.rng().shuffle(&mut lost);
        for member in lost.into_iter().take(self.config.redial_dead_max) {
            cx.emit(Event::Dial { peer: member.id, addresses: member.meta.addresses.clone() });
        }
        self.knock_later(cx);
    }

    fn knock_later(&mut self, cx: &mut Cx<'_, Self>) {
        self.knocking = true;
        let jitter = below(cx, self.config.redial_dead / 2);
        cx.arm(Timer::Dead, self.config.redial_dead * 3 / 4 + jitter);
    }

    /// Tells who came up and who went down since the last time.
    fn tell(&mut self, cx: &mut Cx<'_, Self>) {
        let up: BTreeSet<NodeId> = self.computed.intersection(&self.links).copied().collect();
        for peer in self.up.difference(&up) {
            cx.emit(Event::NeighborDown { peer: *peer });
        }
        for peer in up.difference(&self.up) {
            cx.emit(Event::NeighborUp { peer: *peer });
        }
        self.up = up;
    }
}

/// A uniform duration below `bound`.
fn below(cx: &mut Cx<'_, Overlay>, bound: Duration) -> Duration {
    Duration::from_nanos(cx.rng().below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
}
