//! How the mesh's own policy spreads: told to each linked peer at once, and to whoever is linked later; what a peer tells goes
//! to the host first, which checks and keeps it.
//!
//! What a link loses is made good: now and then a peer is told a digest of what is held here, and who holds something else
//! answers with all of it. There are few policies, one for each issuer that ever set one.

use super::signed::SignedPolicy;
use super::{Event, Message, Overlay, PROOF_MAX, Timer};
use crate::machine::Cx;
use crate::membership;
use crate::probe::{planted, reachable};
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
            reachable!("overlay/old-policy-is-answered");
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
        if self.policies.is_empty() || planted!("overlay/policy-untold-to-the-late") {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Op;
    use crate::machine::testkit::step;
    use crate::overlay::Config;
    use crate::types::WallTime;

    const ME: NodeId = NodeId::from_u128(50);

    fn id(n: u8) -> NodeId {
        NodeId::from_u128(u128::from(n))
    }

    fn signed(version: u64, signer: u8, policy: Policy) -> SignedPolicy {
        SignedPolicy { version, issued_at: WallTime::EPOCH, signer: id(signer), policy, proof: vec![7] }
    }

    /// Linked with 1 and 2, a star by configuration.
    fn overlay() -> Overlay {
        let mut overlay = Overlay::new(ME, Policy::Star, Config::default());
        for peer in [1, 2] {
            step(|cx| overlay.link(cx, id(peer)));
        }
        overlay
    }

    fn told(peer: u8, policy: &SignedPolicy) -> Op<Overlay> {
        Op::Send(id(peer), Message::Policy(policy.clone()))
    }

    fn said(of: impl FnOnce(&mut Cx<'_, Overlay>)) -> Vec<Op<Overlay>> {
        step(of).into_iter().filter(|op| matches!(op, Op::Send(..) | Op::Emit(_))).collect()
    }

    #[test]
    fn a_policy_is_followed_and_told_when_the_host_keeps_it_and_not_before() {
        let (mut overlay, set) = (overlay(), signed(1, 9, Policy::Tree { arity: 2 }));
        let ops = said(|cx| overlay.on_policy(cx, id(1), set.clone()));
        assert_eq!(ops, [Op::Emit(Event::PolicyTold { peer: id(1), policy: set.clone() })]);
        assert!(overlay.policies.is_empty());
        let mut policy = Policy::Star;
        let ops = said(|cx| policy = overlay.hold_policies(cx, vec![set.clone()]));
        assert_eq!(policy, set.policy);
        assert_eq!(ops, [told(1, &set), told(2, &set), Op::Emit(Event::PolicyInForce { policy: set.clone() })]);
        assert_eq!(said(|cx| _ = overlay.hold_policies(cx, vec![set.clone()])), [], "no news");
        assert_eq!(said(|cx| overlay.link(cx, id(3))), [told(3, &set)], "whoever was away is told");
    }

    #[test]
    fn who_tells_an_old_policy_is_told_the_new_one_and_what_is_known_is_nothing() {
        let mut overlay = overlay();
        let (old, new) = (signed(1, 9, Policy::Star), signed(2, 9, Policy::Tree { arity: 2 }));
        step(|cx| _ = overlay.hold_policies(cx, vec![new.clone()]));
        assert_eq!(said(|cx| overlay.on_policy(cx, id(1), old)), [told(1, &new)]);
        assert_eq!(said(|cx| overlay.on_policy(cx, id(1), new)), []);
        let long = SignedPolicy { proof: vec![0; PROOF_MAX + 1], ..signed(3, 9, Policy::Star) };
        assert_eq!(said(|cx| overlay.on_policy(cx, id(1), long)), []);
    }

    #[test]
    fn when_a_signer_counts_no_more_the_next_highest_does_and_then_the_configuration() {
        let mut overlay = overlay();
        let (one, two) = (signed(1, 8, Policy::Tree { arity: 2 }), signed(2, 9, Policy::Tree { arity: 3 }));
        let mut follow = |held: &[&SignedPolicy]| {
            let mut policy = None;
            step(|cx| policy = Some(overlay.hold_policies(cx, held.iter().copied().cloned().collect())));
            policy.unwrap()
        };
        assert_eq!([follow(&[&one, &two]), follow(&[&one]), follow(&[])], [two.policy, one.policy, Policy::Star]);
    }

    #[test]
    fn what_was_lost_is_found_by_comparing_whoever_has_less() {
        let (mut full, empty, set) = (overlay(), overlay(), signed(1, 9, Policy::Tree { arity: 2 }));
        step(|cx| _ = full.hold_policies(cx, vec![set.clone()]));
        let digest = |overlay: &Overlay| overlay.policies.digest();
        let asked = said(|cx| full.retell(cx));
        let [Op::Send(_, Message::Policies { digest: sent, asks: true })] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(*sent, digest(&full));
        let answer = said(|cx| empty.on_digest(cx, id(1), digest(&full), true));
        assert_eq!(answer, [Op::Send(id(1), Message::Policies { digest: digest(&empty), asks: false })]);
        assert_eq!(said(|cx| full.on_digest(cx, id(1), digest(&empty), false)), [told(1, &set)]);
        assert_eq!(said(|cx| full.on_digest(cx, id(1), digest(&full), true)), [], "equal: nothing is said");
        assert_eq!(step(|cx| empty.retell(cx)), [], "a mesh without a policy pays nothing");
    }
}
