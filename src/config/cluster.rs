//! What all peers of a mesh must agree on, apart from what is each peer's own.

use crate::topology::Policy;
use crate::types::{Digest, digest64};

/// The shared part of the configuration. Its fingerprint goes with the handshake; a difference is reported there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Who exchanges data with whom.
    pub overlay: Policy,
}

impl Cluster {
    /// Equal on two peers if and only if they agree.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        digest64(format!("oxigdal-ha cluster 1\noverlay={}\n", self.overlay).as_bytes())
    }
}
