//! Who may set the overlay of the mesh, and who may not.

use super::issuers::Mesh;
use super::*;
use crate::config::Terms;
use crate::overlay::SignedPolicy;
use crate::topology::Policy;

const TREE: Policy = Policy::Tree { arity: 3 };

fn followed(admission: &Admission) -> Option<(u64, Policy)> {
    admission.policies().in_force().map(|set| (set.version, set.policy))
}

fn refused(admission: &Admission, set: SignedPolicy) -> Refusal {
    let before = admission.policies();
    let AdmissionError::Refused(why) = admission.keep_policy(set).unwrap_err() else { panic!("refused otherwise") };
    assert_eq!(admission.policies(), before);
    why
}

#[test]
fn an_issuer_sets_the_overlay_and_every_peer_can_check_and_keeps_it() {
    let mesh = Mesh::new();
    let set = mesh.founder.admission.set_overlay(TREE).unwrap();
    assert_eq!((set.version, set.signer), (1, mesh.founder.admission.node()));
    assert!(mesh.member(0).keep_policy(set.clone()).unwrap());
    assert!(!mesh.member(0).keep_policy(set).unwrap(), "told again");
    // As after kill -9, on both.
    assert_eq!(followed(&mesh.founder.reopened()), Some((1, TREE)));
    let again = Admission::open_at(mesh.members[0].0.path(), mesh.clock.clone()).unwrap().unwrap();
    assert_eq!(followed(&again), Some((1, TREE)));
    // The next one counts one above what is known, whoever sets it.
    let second = mesh.second_issuer();
    assert_eq!(second.set_overlay(Policy::Star).unwrap().version, 2);
}

#[test]
fn a_member_cannot_set_or_change_or_forge_an_overlay() {
    let mesh = Mesh::new();
    let (founder, member, other) = (&mesh.founder.admission, mesh.member(0), mesh.member(1));
    assert!(matches!(member.set_overlay(TREE), Err(AdmissionError::NotAnIssuer)));
    let set = founder.set_overlay(TREE).unwrap();
    let changed = |change: fn(&mut SignedPolicy)| {
        let mut changed = set.clone();
        change(&mut changed);
        refused(other, changed)
    };
    assert_eq!(changed(|set| set.version = 9), Refusal::ForgedPolicy);
    assert_eq!(changed(|set| set.policy = Policy::Star), Refusal::ForgedPolicy);
    assert_eq!(changed(|set| set.issued_at = WallTime::from_micros(1)), Refusal::ForgedPolicy);
    assert_eq!(changed(|set| set.signer = NodeId::from_u128(1)), Refusal::Malformed);
    assert_eq!(changed(|set| set.proof.clear()), Refusal::Malformed);
    assert_eq!(changed(|set| set.proof.push(0)), Refusal::Malformed);
    // An issuer of another mesh.
    let stranger = founder_at(mesh.clock.clone());
    let foreign = stranger.admission.set_overlay(TREE).unwrap();
    assert!(matches!(refused(other, foreign), Refusal::WrongCluster { .. }));
    // An old one is not news.
    other.keep_policy(set.clone()).unwrap();
    let newer = founder.set_overlay(Policy::Star).unwrap();
    other.keep_policy(newer).unwrap();
    assert!(!other.keep_policy(set).unwrap());
    assert_eq!(followed(other), Some((2, Policy::Star)));
}

#[test]
fn what_a_revoked_issuer_signed_does_not_count_and_the_mesh_stays_as_it_is() {
    let mesh = Mesh::new();
    let (founder, second, member) = (&mesh.founder.admission, mesh.second_issuer(), mesh.member(1));
    let theirs = second.set_overlay(TREE).unwrap();
    for peer in [founder, member] {
        peer.keep_policy(theirs.clone()).unwrap();
    }
    founder.revoke(second.node()).unwrap();
    let anew = founder.policies().in_force().cloned().unwrap();
    assert_eq!((anew.version, anew.policy, anew.signer), (2, TREE, founder.node()));
    // The member hears of the revocation first: what is configured counts, until it hears the rest.
    member.merge_revocations(founder.revocations_after(0)).unwrap();
    assert_eq!(followed(member), None);
    assert_eq!(member.void_policy().map(|void| void.signer), Some(second.node()));
    member.keep_policy(anew).unwrap();
    assert_eq!(followed(member), Some((2, TREE)));
    // Whoever has the key of the revoked one can sign on, for nothing.
    let thief = second.set_overlay(Policy::Star).unwrap();
    assert_eq!(refused(member, thief), Refusal::IssuerRevoked { holder: second.node() });
}

#[test]
fn a_signer_that_uses_up_the_versions_is_revoked_and_the_mesh_goes_on() {
    let mesh = Mesh::new();
    let (founder, second) = (&mesh.founder.admission, mesh.second_issuer());
    let mut set = second.set_overlay(TREE).unwrap();
    set.version = u64::MAX;
    // As its key would sign it.
    let forged = second.sign_policy(set);
    founder.keep_policy(forged).unwrap();
    assert!(matches!(founder.set_overlay(Policy::Star), Err(AdmissionError::NoVersion)));
    founder.revoke(second.node()).unwrap();
    assert_eq!(followed(founder), Some((1, TREE)));
}

#[test]
fn where_an_overlay_was_set_the_configured_one_keeps_nobody_out() {
    let mesh = Mesh::new();
    let (founder, member) = (&mesh.founder.admission, mesh.member(0));
    let terms = |overlay: &str| {
        let flags = crate::config::Flags::new().set("test", "overlay.kind", overlay);
        crate::config::parse(None, [], &flags).unwrap().cluster.terms()
    };
    founder.set_terms(terms("star"));
    member.set_terms(terms("tree"));
    assert!(!founder.differences(&hello(member)).is_empty());
    founder.set_overlay(TREE).unwrap();
    // On both ends, though only one of them knows.
    assert!(founder.differences(&hello(member)).is_empty());
    assert!(member.differences(&hello(founder)).is_empty());
    assert_ne!(member.terms(), Terms::default(), "a peer that has not heard of it compares with its like");
}

#[test]
fn a_file_that_says_what_nobody_signed_is_refused_at_the_start() {
    let mesh = Mesh::new();
    mesh.founder.admission.set_overlay(TREE).unwrap();
    let path = mesh.founder.dir.path().join(OVERLAY_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1] ^= 1;
    vault::write(&path, &bytes).unwrap();
    let error = Admission::open(mesh.founder.dir.path()).unwrap_err().to_string();
    assert!(error.contains("overlay") && error.contains("not signed"), "{error}");
}
