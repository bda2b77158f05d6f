//! Checks and keeps the policies that peers tell, off the loop: signatures take time, and the disk takes more.

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use super::admission::Admission;
use crate::overlay::SignedPolicy;
use crate::types::NodeId;

/// Policies that wait to be checked at most. What does not fit is told again.
const WAITING_MAX: usize = 64;

/// What is kept of the policies that were set for the mesh.
pub(super) struct Keeper {
    admission: Admission,
    offers: mpsc::Sender<(NodeId, SignedPolicy)>,
    changes: watch::Receiver<u64>,
}

impl Keeper {
    /// Runs until it is dropped.
    pub(super) fn start(admission: Admission) -> Self {
        let changes = admission.watch_policies();
        let (offers, offered) = mpsc::channel(WAITING_MAX);
        tokio::spawn(keep(admission.clone(), offered));
        Self { admission, offers, changes }
    }

    /// A peer tells a policy. Never waits.
    pub(super) fn offer(&self, from: NodeId, policy: SignedPolicy) {
        if self.offers.try_send((from, policy)).is_err() {
            tracing::debug!(%from, "a policy of the mesh must wait: many are being checked");
        }
    }

    /// The policies that count.
    pub(super) fn held(&self) -> Vec<SignedPolicy> {
        self.admission.policies().iter().cloned().collect()
    }

    /// The policies that count, when that has changed. Cancelling loses nothing.
    pub(super) async fn changed(&mut self) -> Vec<SignedPolicy> {
        if self.changes.changed().await.is_err() {
            unreachable!("the admission is held here");
        }
        self.held()
    }
}

async fn keep(admission: Admission, mut offered: mpsc::Receiver<(NodeId, SignedPolicy)>) {
    while let Some((from, policy)) = offered.recv().await {
        let (admission, signer) = (admission.clone(), policy.signer);
        match spawn_blocking(move || admission.keep_policy(policy)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%from, %signer, %error, "a policy of the mesh was not taken in"),
            Err(error) => tracing::error!(%error, "checking a policy of the mesh was broken off"),
        }
    }
}
