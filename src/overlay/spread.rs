//! How the mesh's own policy spreads: told to each linked peer at once, and to whoever is linked later; what a peer tells goes
//! to the host first, which checks and keeps it.
//!
//! What a link loses is made good: now and then a peer is told a digest of what is held here, and who holds something else
//! answers with all of it. There are few policies, one for each issuer that ever set one.

use super::signed::SignedPolicy;
use super::{Event, Message, Overlay, PROOF_MAX, Timer};
use crate::machine::Cx;
use crate::membership;
use crate::topology::Policy;
use crate::types::{Digest, NodeId};

impl Overlay {
    /// The host says which policies hold: those that it has checked and keeps. The highest of them is followed; without any,
    /// what is configured is.
    pub fn on_policies(&mut self, cx: &mut Cx<'_, Self>, held: Vec<SignedPolicy>, members: membership::View<'_>) {
        let policy = self.hold_policies(cx, held);
        self.set_policy(cx, policy, members);
    }

    /// Keeps them, tells what is new, and gives what is in force.
    pub(super) fn hold_policies(&mut self, cx: &mut Cx<'_, Self>, held: Vec<SignedPolicy>) -> Policy {
        let before = std::mem::replace(&mut self.policies, held.into_iter().collect());
        for policy in self.policies.iter().filter(|policy| before.of(policy.signer) != Some(policy)) {
            for peer in &self.links {
                cx.send(*peer, Message::Policy(policy.clone()));
            }
        }
        if before.is_empty() && !self.policies.is_empty() {
            self.retell_later(cx);
        }
        let in_force = self.policies.in_force();
        if let Some(policy) = in_force.filter(|policy| before.in_force() != Some(policy)) {
            cx.emit(Event::PolicyInForce { policy: policy.clone() });
        }
        in_force.map_or(self.configured, |policy| policy.policy)
    }

    /// A peer tells a policy: news for the host, or old, and then it is told better.
    pub(super) fn on_policy(&self, cx: &mut Cx<'_, Self>, peer: NodeId, policy: SignedPolicy) {
        if self.policies.takes(&policy) {
            if policy.proof.len() <= PROOF_MAX {
                cx.emit(Event::PolicyTold { peer, policy });
            }
        } else if let Some(held) = self.policies.of(policy.signer).filter(|held| **held != policy) {
            cx.send(peer, Message::Policy(held.clone()));
        }
    }

    /// Tells a peer all that is held here.
    pub(super) fn tell_policies(&self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        for policy in self.policies.iter() {
            cx.send(peer, Message::Policy(policy.clone()));
        }
    }

    /// Looks whether some peer holds something else.
    pub(super) fn retell(&self, cx: &mut Cx<'_, Self>) {
        if self.policies.is_empty() {
            return;
        }
        let links = u64::try_from(self.links.len()).unwrap_or(u64::MAX);
        if links > 0 {
            let at = usize::try_from(cx.rng().below(links)).expect("below the number of links");
            let peer = self.links.iter().nth(at).expect("below the number of links");
            cx.send(*peer, Message::Policies { digest: self.policies.digest(), asks: true });
        }
        self.retell_later(cx);
    }

    /// A peer compares. Who holds less than we do may hold what we do not.
    pub(super) fn on_digest(&self, cx: &mut Cx<'_, Self>, peer: NodeId, theirs: Digest, asks: bool) {
        let digest = self.policies.digest();
        if digest != theirs {
            self.tell_policies(cx, peer);
            if asks {
                cx.send(peer, Message::Policies { digest, asks: false });
            }
        }
    }

    fn retell_later(&self, cx: &mut Cx<'_, Self>) {
        cx.arm(Timer::Retell, self.config.retell);
    }
}
