//! What others may read of membership.

use std::time::Duration;

use super::{Grounds, Member, Membership};
use crate::types::{Digest, NodeId};

/// The mesh as this node sees it. Reading changes nothing.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) membership: &'a Membership,
}

impl<'a> View<'a> {
    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.membership.me
    }

    /// What is known of a member; this node itself included.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&'a Member> {
        self.membership.table.find(id).map(|entry| &entry.member)
    }

    /// All that are known, itself and the dead included, in order of id.
    pub fn members(&self) -> impl Iterator<Item = &'a Member> + use<'a> {
        self.membership.table.entries().map(|entry| &entry.member)
    }

    /// All that are alive or only suspected, itself included, in order of id.
    pub fn present(&self) -> impl Iterator<Item = &'a Member> + use<'a> {
        self.members().filter(|member| member.is_present())
    }

    /// How many are present, itself included.
    #[must_use]
    pub fn present_len(&self) -> usize {
        self.membership.table.present_len()
    }

    /// Round trip of the last answered direct probe of this member.
    #[must_use]
    pub fn rtt(&self, id: NodeId) -> Option<Duration> {
        self.membership.table.find(id).and_then(|entry| entry.rtt)
    }

    /// Who accuses this member, if it is suspect or dead.
    #[must_use]
    pub fn accusers(&self, id: NodeId) -> &'a [NodeId] {
        self.membership.table.find(id).map_or(&[], |entry| entry.accusers.as_slice())
    }

    /// Why this member is suspect, or was before it was declared dead.
    #[must_use]
    pub fn grounds(&self, id: NodeId) -> Option<Grounds> {
        self.membership.table.find(id).and_then(|entry| entry.grounds.as_deref().copied())
    }

    /// Equal on two nodes if they agree on who is present, in which life, at which incarnation.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.membership.table.digest()
    }

    /// How unwell this node finds itself: 0 is well, 8 the worst (Lifeguard's local health multiplier).
    #[must_use]
    pub fn health(&self) -> u8 {
        self.membership.health.score()
    }

    /// Whether this node has no link, or has heard nobody for some periods: it then declares nobody dead.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.membership.isolated
    }

    /// News that wait to be told.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.membership.queue.len()
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members()).finish()
    }
}
