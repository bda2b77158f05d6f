//! What all peers of a mesh must agree on, apart from what is each peer's own.

use super::terms::Terms;
use crate::topology::Policy;
use crate::types::{Digest, digest64};

/// The shared part of the configuration. Its [`Terms`] go with the handshake; peers that differ are not linked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Who exchanges data with whom.
    pub overlay: Policy,
}

impl Cluster {
    /// What this peer tells others when they meet. Whatever all peers must agree on has a line here, named as its section
    /// of the file.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::of([("overlay", self.overlay.to_string())])
    }

    /// Equal on two peers if and only if they agree: for people, who compare it at a glance.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let lines = self.terms().iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>();
        digest64(format!("oxigdal-ha cluster 1\n{lines}").as_bytes())
    }
}
