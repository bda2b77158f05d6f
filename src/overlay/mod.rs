//! Who exchanges deltas with whom: star, tree and mesh, computed from the membership view and the topology's policy.
//!
//! Every member computes its neighbours by the same pure function ([`topology::graph`](crate::topology::graph)), so nobody
//! coordinates anything and the overlay heals on each membership event. Views that differ for a while only cost duplicates or
//! a detour; anti-entropy (room `replication`) closes what a gap missed.
//!
//! The policy is what the configuration says until somebody who may sets another for the whole mesh: a [`SignedPolicy`], which
//! spreads along the links and counts everywhere, whatever is configured. Peers that have not heard of it are views that differ.
//!
//! This room also wants the links: to every present member while there are few, else to the neighbours and, in a star or
//! tree, to who would be hub or parent next, so that a failover finds a warm link. Who dials follows from the ids, since
//! simultaneous dials leave two connections; failed dials back off with full jitter. The dead are tried again every half
//! minute: a cut looks like a death from both sides, and somebody has to knock.
//!
//! Whoever holds a linked peer for a neighbour tells it so, and both are neighbours until neither holds the other: views that
//! differ leave no edge that only one side knows, nor do links that lose messages (`wish`). A neighbour that cannot be reached is replaced long before its death is
//! certain. See `hold`.
//!
//! **Invariant:** a peer is up as a neighbour if and only if it is linked, and held for one here or there. At rest, when views
//! are equal and links are up, those are the computed neighbours.
//!
//! Left to others: membership gossip and its links' use (`membership`), making and closing links (the driver).

mod config;
mod event;
mod hold;
mod links;
mod message;
mod neighbors;
mod signed;
mod spread;
#[cfg(test)]
mod tests;
mod view;
mod wish;

pub use config::Config;
pub use event::Event;
pub use message::Message;
pub use neighbors::neighbors;
pub use signed::{PROOF_MAX, Policies, SignedPolicy};
use std::collections::{BTreeMap, BTreeSet};
pub use view::View;

use crate::machine::{Cx, Machine, Never};
use crate::membership::{self, Member};
use crate::probe::{planted, reachable};
use crate::topology::{Policy, graph};
use crate::types::{Lane, NodeId, Time};

/// This room's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// It is time to dial this member.
    Dial(NodeId),
    /// The link to this member has lasted.
    Settled(NodeId),
    /// It is time to knock at the dead.
    Dead,
    /// It is time to compute the neighbours anew.
    Compute,
    /// It is time to look who is missing, and who is no longer needed.
    Look,
    /// It is time to compare policies with a peer.
    Retell,
    /// It is time to say again what was not heard.
    Repeat,
}

/// Computes neighbours, asks for links, tells which neighbours are up.
#[derive(Debug)]
pub struct Overlay {
    me: NodeId,
    /// What is followed.
    policy: Policy,
    /// What is followed where no policy was set for the mesh.
    configured: Policy,
    policies: Policies,
    config: Config,
    links: BTreeSet<NodeId>,
    computed: BTreeSet<NodeId>,
    /// When the neighbours were computed, and whether that is to be done again soon.
    computed_at: Time,
    computing: bool,
    up: BTreeSet<NodeId>,
    /// The members to whom a link is wanted, with the attempts that failed since one last settled.
    wanted: BTreeMap<NodeId, u32>,
    knocking: bool,
    /// Computed neighbours and stand-ins without a link, since when.
    missing: BTreeMap<NodeId, Time>,
    /// Who stands in for the missing ones.
    stand_ins: BTreeSet<NodeId>,
    /// Who was computed before, and is held until then.
    former: BTreeMap<NodeId, Time>,
    /// When these are looked at next.
    looks_at: Option<Time>,
    /// Who was told that it is held for a neighbour.
    told: BTreeSet<NodeId>,
    /// How many wishes were said, to whomever.
    wishes: u64,
    /// Who has not said that it heard what it was told last.
    unheard: BTreeMap<NodeId, wish::Unheard>,
    repeating: bool,
    /// Who holds us for one.
    held_by: BTreeSet<NodeId>,
    /// The highest number of a wish that was heard over each link.
    heard: BTreeMap<NodeId, u64>,
    /// To whom links are wanted whatever the overlay is.
    also: BTreeSet<NodeId>,
}

impl Machine for Overlay {
    type Message = Message;
    type Record = Never;
    type Wait = Never;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Message) -> Lane {
        message.lane()
    }
}

impl Overlay {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(me: NodeId, policy: Policy, config: Config) -> Self {
        Self {
            me,
            policy,
            configured: policy,
            policies: Policies::default(),
            config,
            links: BTreeSet::new(),
            computed: BTreeSet::new(),
            computed_at: Time::ZERO,
            computing: false,
            up: BTreeSet::new(),
            wanted: BTreeMap::new(),
            knocking: false,
            missing: BTreeMap::new(),
            stand_ins: BTreeSet::new(),
            former: BTreeMap::new(),
            looks_at: None,
            told: BTreeSet::new(),
            wishes: 0,
            unheard: BTreeMap::new(),
            repeating: false,
            held_by: BTreeSet::new(),
            heard: BTreeMap::new(),
            also: BTreeSet::new(),
        }
    }

    /// The membership changed.
    pub fn on_membership(&mut self, cx: &mut Cx<'_, Self>, members: membership::View<'_>) {
        if !self.computes_later(cx, members.present_len()) {
            self.compute(cx, &members.members().collect::<Vec<_>>());
        }
    }

    /// Links to these are wanted too, neighbours or not.
    pub fn want_also(&mut self, cx: &mut Cx<'_, Self>, nodes: BTreeSet<NodeId>, members: membership::View<'_>) {
        if std::mem::replace(&mut self.also, nodes.clone()) != nodes {
            let members: Vec<&Member> = members.members().collect();
            let seats = neighbors::seats(members.iter().copied());
            if seats.len() > self.config.links_max + 1 {
                self.want(cx, &members, &seats);
            }
        }
    }

    /// Computes neighbours by another rule from now on.
    fn set_policy(&mut self, cx: &mut Cx<'_, Self>, policy: Policy, members: membership::View<'_>) {
        self.follow(cx, policy, &members.members().collect::<Vec<_>>());
    }

    /// A peer speaks.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message) {
        match message {
            Message::Wish { number, holds } => self.on_wish(cx, from, number, holds),
            Message::Policy(policy) => self.on_policy(cx, from, policy),
            Message::Policies { digest, asks } => self.on_digest(cx, from, digest, asks),
            Message::Heard { number } => self.on_heard(from, number),
        }
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
        let all = || members.members().collect::<Vec<_>>();
        match timer {
            Timer::Dial(peer) => self.dial(cx, peer, members.member(peer)),
            Timer::Settled(peer) => self.settle(peer),
            Timer::Dead => self.knock(cx, &all()),
            Timer::Compute => self.compute(cx, &all()),
            Timer::Look => self.look(cx, &all()),
            Timer::Retell => self.retell(cx),
            Timer::Repeat => self.repeat(cx),
        }
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { overlay: self }
    }

    /// Whether there are so many that the neighbours must stay for a while as they were computed.
    fn computes_later(&mut self, cx: &mut Cx<'_, Self>, present: usize) -> bool {
        if self.computing || present <= self.config.links_max + 1 {
            return self.computing;
        }
        let pause = self.config.compute_spacing * u32::try_from(present).unwrap_or(u32::MAX);
        let rest = pause.saturating_sub(cx.now().mono.since(self.computed_at));
        self.computing = !rest.is_zero();
        if self.computing {
            cx.arm(Timer::Compute, rest);
        }
        self.computing
    }

    fn follow(&mut self, cx: &mut Cx<'_, Self>, policy: Policy, members: &[&Member]) {
        if std::mem::replace(&mut self.policy, policy) != policy {
            reachable!("overlay/policy-changes");
            self.compute(cx, members);
        }
    }

    fn compute(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        self.computed_at = cx.now().mono;
        if std::mem::take(&mut self.computing) {
            cx.disarm(Timer::Compute);
        }
        let seats = neighbors::seats(members.iter().copied());
        self.hold_computed(cx, graph::neighbors(&seats, self.policy, self.me));
        self.review(cx, &seats);
        self.want(cx, members, &seats);
        self.tell(cx);
        self.mind_the_dead(cx, members);
    }

    /// Looks who is missing, who could stand in, and who is no longer needed.
    fn look(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        self.looks_at = None;
        let seats = neighbors::seats(members.iter().copied());
        self.review(cx, &seats);
        self.want(cx, members, &seats);
        self.tell(cx);
    }

    fn link(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.links.insert(peer) {
            cx.disarm(Timer::Dial(peer));
            if let Some(failures) = self.wanted.get_mut(&peer) {
                // Until it has settled: a link that flaps is dialled as rarely as one that cannot be made.
                *failures = failures.saturating_add(1);
                cx.arm(Timer::Settled(peer), self.config.settled);
            }
            self.on_reached(cx, peer);
            self.tell(cx);
            if !planted!("overlay/policy-untold-to-the-late") {
                self.tell_policies(cx, peer);
            }
        }
    }

    fn unlink(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        if self.links.remove(&peer) {
            cx.disarm(Timer::Settled(peer));
            self.on_missed(cx, peer);
            self.tell(cx);
            self.seek(cx, peer, member);
        }
    }
}
