//! What others may read of the overlay.

use std::collections::BTreeSet;

use super::{Overlay, Policies};
use crate::topology::Policy;
use crate::types::NodeId;

/// The neighbourhood as it is and as it should be. Reading changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) overlay: &'a Overlay,
}

impl<'a> View<'a> {
    /// With whom deltas are exchanged: linked, and held for a neighbour here or there.
    #[must_use]
    pub fn neighbors(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.up
    }

    /// With whom deltas would be exchanged if all links were up.
    #[must_use]
    pub fn computed(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.computed
    }

    /// Who stands in for computed neighbours that cannot be reached.
    #[must_use]
    pub fn stand_ins(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.stand_ins
    }

    /// To whom there is a link.
    #[must_use]
    pub fn links(&self) -> &'a BTreeSet<NodeId> {
        &self.overlay.links
    }

    /// The rule by which neighbours are computed where none was set for the mesh.
    #[must_use]
    pub fn configured(&self) -> Policy {
        self.overlay.configured
    }

    /// What was set for the mesh, if anything was.
    #[must_use]
    pub fn policies(&self) -> &'a Policies {
        &self.overlay.policies
    }

    /// The rule by which neighbours are computed.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.overlay.policy
    }

    /// `star`, `mesh` or `tree`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.overlay.policy.kind()
    }
}
