//! The overlay that is set for the whole mesh: an operator's command at one peer, and what a host keeps for its node.

use super::{SECOND, World};
use crate::node::Input;
use crate::overlay::SignedPolicy;
use crate::types::digest64;

/// From the answer of the disk to the node.
const KEEP_NS: u64 = 1_000_000;

impl World<'_> {
    /// An operator sets an overlay, at the first of those peers that runs a node.
    pub(super) fn turn(&mut self, turn: usize) {
        let says = self.mesh.plan.turns[turn].clone();
        let Some(place) = says.peers.iter().copied().find(|place| self.host(*place).node().is_some()) else {
            // Nobody is there to be told: a little later somebody may be.
            _ = self.queue.push(self.mesh.now + SECOND, self.cause, super::Due::Turn { turn });
            return;
        };
        let now = self.mesh.now;
        let host = self.host(place);
        let version = host.policies.next_version().expect("a scenario has few turns");
        let (issued_at, signer) = (host.clock.read(now).wall, host.id);
        let mut signed = SignedPolicy { version, issued_at, signer, policy: says.policy, proof: Vec::new() };
        signed.proof = proof(&signed);
        self.keep_policy(place, now, signed);
    }

    /// A host checks a policy, keeps it on its disk, and tells its node.
    pub(super) fn keep_policy(&mut self, place: u32, at: u64, signed: SignedPolicy) {
        let host = self.host(place);
        if signed.proof != proof(&signed) || !host.policies.merge(signed) {
            return;
        }
        let held = host.policies.iter().cloned().collect();
        self.later(place, at + KEEP_NS, Input::Policies { held });
    }

    /// A node begins: it is told what its host kept.
    pub(super) fn recall_policies(&mut self, place: u32) {
        let held: Vec<SignedPolicy> = self.host(place).policies.iter().cloned().collect();
        if !held.is_empty() {
            self.later(place, self.mesh.now, Input::Policies { held });
        }
    }
}

/// What stands for a signature: nobody but the simulator makes one.
fn proof(signed: &SignedPolicy) -> Vec<u8> {
    let SignedPolicy { version, issued_at, signer, policy, .. } = signed;
    digest64(format!("{version} {issued_at} {signer} {policy}").as_bytes()).to_string().into_bytes()
}
