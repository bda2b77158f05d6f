//! Further issuers: how a member becomes one, what it can do when the founder is gone for good, and what is refused.

use super::*;
use crate::driver::admission::message::ANSWER_MAX;

const DAY: Duration = Duration::from_hours(24);

/// A mesh of a founder and two members, on one clock, with the root key on no peer.
pub(super) struct Mesh {
    pub(super) clock: Clock,
    pub(super) founder: Founder,
    root: RootKey,
    drawer: TempDir,
    pub(super) members: Vec<(TempDir, Admission)>,
}

impl Mesh {
    pub(super) fn new() -> Self {
        let (clock, drawer) = (Clock::start(), tempfile::tempdir().unwrap());
        let founder = founder_at(clock.clone());
        let (root, path) = RootKey::move_to(&founder.dir.path().join(ROOT_FILE), drawer.path()).unwrap();
        assert_eq!(path, drawer.path().join(ROOT_FILE));
        let member = || {
            let (dir, member) = founder.member();
            drop(member);
            let member = Admission::open_at(dir.path(), clock.clone()).unwrap().unwrap();
            with_address(&member);
            (dir, member)
        };
        let members = vec![member(), member()];
        Self { clock, founder, root, drawer, members }
    }

    pub(super) fn member(&self, at: usize) -> &Admission {
        &self.members[at].1
    }

    /// The first member becomes an issuer, over texts as people carry them.
    pub(super) fn second_issuer(&self) -> &Admission {
        let second = self.member(0);
        let request = second.request_office().unwrap().to_string().parse().unwrap();
        let certificate = self.root.sign_at(&request, 60 * DAY, &self.clock).unwrap().to_string();
        second.install(certificate.parse().unwrap()).unwrap();
        second
    }
}

pub(super) fn admits(one: &Admission, other: &Admission) -> Result<(), Refusal> {
    one.check(&hello(other), other.key().public()).map(drop)
}

#[test]
fn a_member_takes_office_with_a_certificate_of_the_root_key_that_is_on_no_peer() {
    let mesh = Mesh::new();
    assert!(!mesh.founder.dir.path().join(ROOT_FILE).exists());
    let second = mesh.second_issuer();
    assert!(second.is_issuer());
    assert_eq!(second.papers().signed_by, second.node(), "it signs its own ticket");
    assert_eq!((admits(&mesh.founder.admission, second), admits(mesh.member(1), second)), (Ok(()), Ok(())));
    let again = Admission::open_at(mesh.members[0].0.path(), mesh.clock.clone()).unwrap().unwrap();
    assert!(again.is_issuer(), "it is one after a restart too");
    let known = mesh.member(1).issuers();
    let expected = [second.node(), mesh.founder.admission.node()].into_iter().collect::<BTreeSet<_>>();
    assert_eq!(known.iter().map(|issuer| issuer.node).collect::<BTreeSet<_>>(), expected);
    assert!(known.iter().all(|issuer| !issuer.here && !issuer.expired && !issuer.revoked), "{known:?}");
}

#[test]
fn when_the_founder_is_gone_for_good_a_second_issuer_keeps_the_mesh_together() {
    let mesh = Mesh::new();
    let second = mesh.second_issuer();
    let third = mesh.member(1);
    assert_eq!(admits(third, second), Ok(()));
    // The founder is not heard of any more, and nobody was awake for a week.
    mesh.clock.advance(8 * DAY);
    assert!(matches!(admits(second, third), Err(Refusal::TicketExpired { .. })));
    assert_eq!((third.papers().standing, third.papers().overdue), (Standing::Expired, true));
    let refused = third.renew(&third.credential(), third.key().public());
    assert_eq!(refused, Err(Refusal::NotAnIssuer), "a member that is no issuer renews nothing");
    second.renew_own(false).unwrap();
    let next = second.renew(&third.credential(), third.key().public()).unwrap();
    third.accept_renewal(next).unwrap();
    assert_eq!((third.papers().standing, third.papers().signed_by), (Standing::Good, second.node()));
    assert_eq!((admits(second, third), admits(third, second)), (Ok(()), Ok(())));
    // New peers join through it, and it does not give away the ids of those whom it has met.
    let dir = tempfile::tempdir().unwrap();
    let fourth = joined(second, dir.path()).unwrap();
    assert_eq!(admits(third, &fourth), Ok(()));
    let thief = stranger(tempfile::tempdir().unwrap().path());
    let invite = second.issue_invite(DAY, "").unwrap();
    let theft = Join { node: third.node(), ..ask(&invite, &thief) };
    assert_eq!(second.redeem(&theft, thief.public()), Err(Refusal::NodeTaken { node: third.node() }));
    // Nor after a restart, since it wrote down whom it had met.
    let second = Admission::open_at(mesh.members[0].0.path(), mesh.clock.clone()).unwrap().unwrap();
    assert_eq!(second.redeem(&theft, thief.public()), Err(Refusal::NodeTaken { node: third.node() }));
}

#[test]
fn an_issuer_whose_root_key_is_elsewhere_is_told_in_time_and_renewed_by_request() {
    let mesh = Mesh::new();
    let founder = &mesh.founder.admission;
    assert!(!founder.papers().issuer_ends);
    mesh.clock.advance(61 * DAY);
    founder.renew_own(false).unwrap();
    assert!(founder.papers().issuer_ends, "less than 30 of 90 days are left");
    let certificate = mesh.root.sign_at(&founder.request_office().unwrap(), ISSUER_LIFE, &mesh.clock).unwrap();
    founder.install(certificate).unwrap();
    assert!(!founder.papers().issuer_ends);
    mesh.clock.advance(91 * DAY);
    assert!(!founder.is_issuer(), "it was not renewed again");
    let refused = founder.issue_invite(DAY, "").unwrap_err();
    assert!(matches!(refused, AdmissionError::NotAnIssuer), "{refused}");
}

#[test]
fn requests_and_certificates_that_do_not_hold_are_refused_by_name() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let (member, bystander) = (mesh.member(0), mesh.member(1));
    let request = member.request_office().unwrap();
    // Of another mesh, or for a life that is too long.
    let foreign = other.root.sign(&request, DAY).unwrap_err().to_string();
    assert!(foreign.contains("this root key founded cluster"), "{foreign}");
    assert!(matches!(mesh.root.sign(&request, 400 * DAY), Err(AdmissionError::OfficeLife)));
    // Another member's key in the name of this one: it has seen its ticket, but holds not its transport key.
    let mut forged = bystander.request_office().unwrap();
    forged.forge(&request);
    let refused = mesh.root.sign(&forged, DAY).unwrap_err();
    assert!(matches!(refused, AdmissionError::Refused(Refusal::ForgedRequest)), "{refused}");
    // A certificate for somebody else, or for another key.
    let certificate = mesh.root.sign_at(&request, DAY, &mesh.clock).unwrap();
    let refused = bystander.install(certificate.clone()).unwrap_err();
    assert!(matches!(refused, AdmissionError::OtherHolder { .. }), "{refused}");
    let key_file = mesh.members[0].0.path().join(ISSUER_KEY_FILE);
    let kept = std::fs::read(&key_file).unwrap();
    std::fs::remove_file(&key_file).unwrap();
    assert!(matches!(member.install(certificate.clone()), Err(AdmissionError::OtherKey)));
    SecretKey::open_or_mint(&key_file).unwrap();
    assert!(matches!(member.install(certificate.clone()), Err(AdmissionError::OtherKey)));
    vault::write(&key_file, &kept).unwrap();
    // Signed by another root that claims to be ours.
    let mut forged = certificate.clone();
    forged.body.expires_at = WallTime::from_micros(u64::MAX);
    assert!(matches!(member.install(forged), Err(AdmissionError::Refused(Refusal::ForgedIssuer))));
    // Too old.
    mesh.clock.advance(2 * DAY);
    assert!(matches!(member.install(certificate), Err(AdmissionError::Refused(Refusal::IssuerExpired { .. }))));
    assert!(!member.is_issuer());
}

#[test]
fn requests_and_certificates_survive_the_clipboard_and_nothing_else() {
    let mesh = Mesh::new();
    let request = mesh.member(0).request_office().unwrap();
    let certificate = mesh.root.sign(&request, DAY).unwrap();
    let (request, certificate) = (request.to_string(), certificate.to_string());
    assert!(request.parse::<IssuerRequest>().is_ok() && certificate.parse::<IssuerCertificate>().is_ok());
    assert_eq!(
        certificate.parse::<IssuerRequest>().unwrap_err().to_string(),
        "not an issuer's request: it does not begin with oxhr1"
    );
    for cut in [5, 6, certificate.len() / 2, certificate.len() - 1] {
        let damaged = certificate[..cut].parse::<IssuerCertificate>().unwrap_err();
        assert_eq!(damaged.to_string(), "an issuer's certificate is damaged: copy it again as a whole");
    }
    assert!(request.len().max(certificate.len()) < 1200, "{} and {}", request.len(), certificate.len());
}

#[test]
fn a_revoked_issuer_takes_its_tickets_with_it_and_a_new_invite_brings_its_members_back() {
    let mesh = Mesh::new();
    let (founder, second) = (&mesh.founder.admission, mesh.second_issuer());
    let dir = tempfile::tempdir().unwrap();
    let member = joined(second, dir.path()).unwrap();
    assert_eq!(admits(founder, &member), Ok(()));
    founder.revoke(second.node()).unwrap();
    let refusal = Refusal::IssuerRevoked { holder: second.node() };
    assert_eq!(admits(founder, &member), Err(refusal.clone()));
    assert_eq!(founder.renew(&member.credential(), member.key().public()), Err(refusal.clone()));
    // The member has not heard of it; the refusal proves it.
    assert_eq!(member.papers().standing, Standing::Good);
    let proof = founder.proof(&refusal);
    assert!(Answer::Refused(refusal, proof.clone()).to_bytes().len() < ANSWER_MAX / 100);
    member.merge_revocations(proof).unwrap();
    assert_eq!((member.papers().standing, member.needs_invite()), (Standing::IssuerRevoked, true));
    let invite = mesh.founder.invite();
    let given = founder.redeem(&ask(&invite, member.key()), member.key().public()).unwrap();
    member.accept_again(&invite, given).unwrap();
    assert_eq!((member.papers().standing, member.needs_invite()), (Standing::Good, false));
    assert_eq!(admits(founder, &member), Ok(()));
    // The revoked one is out, with its office.
    second.merge_revocations(founder.revocations_after(0)).unwrap();
    assert_eq!(second.papers().standing, Standing::Revoked);
    let certificate = mesh.root.sign(&second.request_office().unwrap(), DAY).unwrap();
    assert!(matches!(second.install(certificate), Err(AdmissionError::Refused(Refusal::Revoked { .. }))));
}

#[test]
fn an_earlier_ticket_that_is_sent_again_makes_nobody_older() {
    let mesh = Mesh::new();
    let (founder, member) = (&mesh.founder.admission, mesh.member(0));
    let old = member.credential();
    mesh.clock.advance(4 * DAY);
    member.accept_renewal(founder.renew(&old, member.key().public()).unwrap()).unwrap();
    assert!(matches!(member.accept_renewal(old.clone()), Err(AdmissionError::OldTicket)));
    assert!(member.credential().expires_at() > old.expires_at());
}

#[test]
fn issuers_are_told_on_and_only_what_the_root_has_signed() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let second = mesh.second_issuer();
    let third = mesh.member(1);
    let (told, _) = second.issuers_after(0);
    third.hear_of_issuers(&told).unwrap();
    assert!(third.knows_as_issuer(second.node()));
    assert_eq!(third.issuers_after(third.issuers_after(0).1).0, vec![], "what was told is not told again");
    let foreign = other.second_issuer().issuers_after(0).0;
    assert!(matches!(third.hear_of_issuers(&foreign), Err(Refusal::WrongCluster { .. })));
    assert_eq!(third.issuers().len(), 2);
}

#[test]
fn a_certificate_that_would_not_be_kept_is_not_even_checked() {
    let mesh = Mesh::new();
    let second = mesh.second_issuer();
    let third = mesh.member(1);
    let (told, _) = second.issuers_after(0);
    third.hear_of_issuers(&told).unwrap();
    let known = told.iter().find(|one| one.body.holder == second.node()).unwrap();
    // The same claim, signed by nobody: it costs nothing. One that says more is looked at, and is the peer's fault.
    let mut forged = known.clone();
    forged.body.key = third.key().public();
    assert_eq!(third.hear_of_issuers(&vec![forged.clone(); 1_000]), Ok(()));
    forged.body.expires_at = after(forged.body.expires_at, DAY);
    assert_eq!(third.hear_of_issuers(&[forged]), Err(Refusal::ForgedIssuer));
    assert_eq!(third.issuers_after(third.issuers_after(0).1).0, vec![]);
}

#[test]
fn the_root_key_is_moved_whole_and_overwrites_nothing() {
    let mesh = Mesh::new();
    let key = mesh.drawer.path().join(ROOT_FILE);
    let taken = mesh.drawer.path().join("taken");
    std::fs::write(&taken, "x").unwrap();
    assert!(RootKey::move_to(&key, &taken).is_err());
    assert!(key.exists() && std::fs::read(&taken).unwrap() == b"x");
    // A medium without modes is read all the same, and said to be open.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let root = RootKey::open(&key).unwrap();
    assert_eq!((root.is_exposed(), root.cluster()), (true, mesh.founder.admission.cluster()));
    let missing = RootKey::open(&mesh.drawer.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: No such file"), "{missing}");
}
