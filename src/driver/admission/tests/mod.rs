//! Tests of the room: what is let in, what is not, and what survives a crash.

mod fuzz;
mod issuers;
mod overlay;
mod timeline;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::invite::Secret;
use super::message::{Answer, Hello, Join, Request, VERSION};
use super::ticket::TicketBody;
use super::*;
use crate::types::Boot;

struct Founder {
    dir: TempDir,
    admission: Admission,
}

fn founder() -> Founder {
    founder_at(Clock::start())
}

fn founder_at(clock: Clock) -> Founder {
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint_at(dir.path(), clock).unwrap();
    with_address(&admission);
    Founder { dir, admission }
}

fn with_address(admission: &Admission) {
    admission.set_addresses(BTreeSet::from(["/ip4/192.0.2.1/tcp/4747".parse().unwrap()]));
}

impl Founder {
    fn invite(&self) -> Invite {
        self.admission.issue_invite(Duration::from_secs(60), "test").unwrap()
    }

    /// The same directory, opened again: what a kill -9 and a restart leave.
    fn reopened(&self) -> Admission {
        let admission = Admission::open(self.dir.path()).unwrap().expect("it belongs to a mesh");
        with_address(&admission);
        admission
    }

    fn member(&self) -> (TempDir, Admission) {
        let dir = tempfile::tempdir().unwrap();
        let member = joined(&self.admission, dir.path()).unwrap();
        (dir, member)
    }
}

/// A fresh peer with an invite of this issuer's, as the wire would carry it.
fn joined(issuer: &Admission, dir: &Path) -> Result<Admission, AdmissionError> {
    let key = NodeKey::open_or_mint(dir)?;
    let invite = issuer.issue_invite(Duration::from_secs(60), "test")?;
    let joined = issuer.redeem(&ask(&invite, &key), key.public())?;
    Admission::accept(dir, key, &invite, joined)
}

fn stranger(dir: &Path) -> NodeKey {
    NodeKey::open_or_mint(dir).unwrap()
}

fn ask(invite: &Invite, key: &NodeKey) -> Join {
    Join {
        cluster: invite.cluster,
        issuer: invite.issuer,
        secret: invite.secret.clone(),
        node: key.node(),
        terms: Terms::default(),
        timeline: None,
    }
}

fn hello(admission: &Admission) -> Hello {
    admission.hello(Boot::new(1), 0)
}

#[test]
fn members_of_one_mesh_let_each_other_in() {
    let founder = founder();
    let (_dir, member) = founder.member();
    assert_eq!(member.cluster(), founder.admission.cluster());
    let seen = founder.admission.check(&hello(&member), member.key().public()).unwrap();
    assert_eq!((seen.node, seen.name.as_str()), (member.node(), "test"));
    let seen = member.check(&hello(&founder.admission), founder.admission.key().public()).unwrap();
    assert_eq!(seen.node, founder.admission.node());
    assert!(founder.admission.is_issuer() && !member.is_issuer());
}

#[test]
fn a_ticket_is_good_for_its_holder_alone() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let thief = SecretKey::mint().public();
    assert_eq!(founder.admission.check(&hello(&member), thief), Err(Refusal::WrongPeer));
}

#[test]
fn a_forged_ticket_is_refused_whatever_was_forged() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let key = member.key().public();
    let check = |hello: &Hello| founder.admission.check(hello, key);
    let good = hello(&member);
    let mut forged = good.clone();
    forged.credential.ticket.body.name = "root".into();
    assert_eq!(check(&forged), Err(Refusal::ForgedTicket));
    let mut forged = good.clone();
    forged.credential.ticket.body.expires_at = WallTime::from_micros(u64::MAX);
    assert_eq!(check(&forged), Err(Refusal::ForgedTicket));
    let mut forged = good.clone();
    forged.credential.chain.body.expires_at = WallTime::from_micros(u64::MAX);
    assert_eq!(check(&forged), Err(Refusal::ForgedIssuer));
    // An issuer of one's own making, signed by a root of one's own making that claims the cluster's key.
    let (root, issuer) = (SecretKey::mint(), SecretKey::mint());
    let now = founder.admission.now();
    let mut forged = good;
    let chain = IssuerCertificate::sign(&root, issuer.public(), member.node(), now, after(now, ISSUER_LIFE));
    forged.credential.ticket = Ticket::sign(&issuer, forged.credential.ticket.body.clone());
    let root_key = forged.credential.chain.body.root;
    forged.credential.chain = chain.clone();
    assert_eq!(check(&forged), Err(Refusal::WrongCluster { found: chain.cluster() }));
    forged.credential.chain.body.root = root_key;
    assert_eq!(check(&forged), Err(Refusal::ForgedIssuer));
}

#[test]
fn another_clusters_ticket_is_refused_by_name() {
    let (here, there) = (founder(), founder());
    let (_dir, member) = there.member();
    let refused = here.admission.check(&hello(&member), member.key().public());
    assert_eq!(refused, Err(Refusal::WrongCluster { found: there.admission.cluster() }));
}

#[test]
fn an_expired_ticket_is_refused_but_buys_a_new_one_from_an_issuer() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let key = member.key().public();
    let mut old = hello(&member).credential;
    let body = TicketBody {
        issued_at: WallTime::EPOCH,
        expires_at: WallTime::from_micros(founder.admission.now().as_micros() - 1_000_000),
        ..old.ticket.body.clone()
    };
    let expired_at = body.expires_at;
    let issuer = SecretKey::open(&founder.dir.path().join(ISSUER_KEY_FILE)).unwrap().unwrap();
    old.ticket = Ticket::sign(&issuer, body);
    let shown = Hello { credential: old.clone(), ..hello(&member) };
    assert_eq!(founder.admission.check(&shown, key), Err(Refusal::TicketExpired { at: expired_at }));
    let next = founder.admission.renew(&old, key).unwrap();
    let shown = Hello { credential: next.clone(), ..hello(&member) };
    assert_eq!(founder.admission.check(&shown, key).unwrap().node, member.node());
    member.accept_renewal(next).unwrap();
    assert_eq!(member.renew(&old, key), Err(Refusal::NotAnIssuer), "a member that is no issuer renews nothing");
    // Too old is too old.
    let body = TicketBody { expires_at: WallTime::from_micros(1), ..old.ticket.body.clone() };
    old.ticket = Ticket::sign(&issuer, body);
    assert_eq!(founder.admission.renew(&old, key), Err(Refusal::TicketExpired { at: WallTime::from_micros(1) }));
}

#[test]
fn an_invite_is_used_once_even_across_a_restart() {
    let founder = founder();
    let invite = founder.invite();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (stranger(one.path()), stranger(two.path()));
    let joined = founder.admission.redeem(&ask(&invite, &first), first.public()).unwrap();
    assert_eq!(founder.admission.redeem(&ask(&invite, &second), second.public()), Err(Refusal::InviteUsed));
    let again = founder.reopened();
    assert_eq!(again.redeem(&ask(&invite, &second), second.public()), Err(Refusal::InviteUsed));
    assert_eq!(again.invites()[0].used_by, Some(first.node()));
    // The one who used it may ask again: the answer may have been lost.
    let second_answer = again.redeem(&ask(&invite, &first), first.public()).unwrap();
    assert_eq!(second_answer.credential.ticket.body.node, joined.credential.ticket.body.node);
    // But not for another node.
    let other = Join { node: NodeId::from_u128(7), ..ask(&invite, &first) };
    assert_eq!(again.redeem(&other, first.public()), Err(Refusal::InviteUsed));
}

#[test]
fn an_invite_is_refused_for_distinct_reasons() {
    let (founder, other) = (founder(), founder());
    let dir = tempfile::tempdir().unwrap();
    let key = stranger(dir.path());
    let redeem = |join: &Join| founder.admission.redeem(join, key.public()).unwrap_err();
    let invite = founder.invite();
    let wrong = Join { cluster: other.admission.cluster(), ..ask(&invite, &key) };
    let why_cluster = redeem(&wrong);
    let unknown = redeem(&Join { secret: Secret::mint(), ..ask(&invite, &key) });
    let elsewhere = redeem(&Join { issuer: other.admission.key().public(), ..ask(&invite, &key) });
    let (_dir, member) = founder.member();
    let not_issuer = member.redeem(&ask(&invite, &key), key.public()).unwrap_err();
    founder.admission.revoke_invite(invite.id()).unwrap();
    let revoked = redeem(&ask(&invite, &key));
    let short = founder.admission.issue_invite(Duration::from_secs(1), "").unwrap();
    let late = short.expires_at;
    let record = founder.admission.state().ledger.invite_mut(short.id()).unwrap().clone();
    let expired = record.check(&short.secret.proof(), key.node(), key.public(), late).unwrap_err();
    let texts = [&why_cluster, &unknown, &elsewhere, &revoked, &expired, &Refusal::InviteUsed].map(ToString::to_string);
    assert_eq!(BTreeSet::from(texts.clone()).len(), 6, "{texts:?}");
    assert_eq!((elsewhere, not_issuer), (Refusal::NotTheIssuer, Refusal::NotTheIssuer));
    assert_eq!(unknown, Refusal::InviteUnknown);
    assert_eq!(expired, Refusal::InviteExpired { at: late });
}

#[test]
fn a_node_id_cannot_be_taken_over_by_a_joiner() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let dir = tempfile::tempdir().unwrap();
    let key = stranger(dir.path());
    for taken in [member.node(), founder.admission.node()] {
        let join = Join { node: taken, ..ask(&founder.invite(), &key) };
        assert_eq!(founder.admission.redeem(&join, key.public()), Err(Refusal::NodeTaken { node: taken }));
    }
    let open = founder.admission.invites().iter().filter(|invite| invite.used_by.is_none()).count();
    assert_eq!(open, 2, "a refused request uses nothing up");
}

#[test]
fn a_joiner_checks_the_issuer_against_the_invite() {
    let (founder, impostor) = (founder(), founder());
    let invite = founder.invite();
    let dir = tempfile::tempdir().unwrap();
    let key = stranger(dir.path());
    let theirs = impostor.invite();
    let joined = impostor.admission.redeem(&ask(&theirs, &key), key.public()).unwrap();
    let refused = Admission::accept(dir.path(), key, &invite, joined).unwrap_err();
    assert!(matches!(refused, AdmissionError::Refused(Refusal::WrongCluster { .. })), "{refused}");
    assert!(Admission::open(dir.path()).unwrap().is_none(), "nothing was written");
}

#[test]
fn a_revocation_holds_across_restarts_and_spreads() {
    let founder = founder();
    let (_one, bad) = founder.member();
    let (dir, other) = founder.member();
    assert!(matches!(other.revoke(bad.node()), Err(AdmissionError::NotAnIssuer)));
    founder.admission.revoke(bad.node()).unwrap();
    founder.admission.revoke(bad.node()).unwrap();
    assert_eq!(founder.admission.revoked().len(), 1);
    let key = bad.key().public();
    let refused = Err(Refusal::Revoked { node: bad.node() });
    assert_eq!(founder.reopened().check(&hello(&bad), key), refused);
    assert_eq!(founder.admission.renew(&hello(&bad).credential, key), Err(Refusal::Revoked { node: bad.node() }));
    assert!(other.check(&hello(&bad), key).is_ok(), "it has not heard of it yet");
    let told = founder.admission.revocations_after(0);
    assert_eq!(other.merge_revocations(told.clone()).unwrap(), told);
    assert_eq!(other.merge_revocations(told).unwrap(), vec![]);
    assert_eq!(other.revoked_digest(), founder.admission.revoked_digest());
    let reopened = Admission::open(dir.path()).unwrap().unwrap();
    assert_eq!(reopened.check(&hello(&bad), key), refused);
    assert!(matches!(founder.admission.revoke(founder.admission.node()), Err(AdmissionError::RevokesItself)));
}

#[test]
fn a_forged_revocation_changes_nothing() {
    let (founder, other) = (founder(), founder());
    let (_dir, member) = founder.member();
    other.admission.revoke(member.node()).unwrap();
    let foreign = other.admission.revocations_after(0);
    assert!(founder.admission.merge_revocations(foreign).is_err());
    let issuer = SecretKey::mint();
    let state = founder.admission.state().credential.chain.clone();
    let forged = Revocation::sign(&issuer, &state, member.node(), WallTime::EPOCH);
    assert!(founder.admission.merge_revocations(vec![forged]).is_err());
    assert_eq!(founder.admission.revoked(), vec![]);
}

#[test]
fn invites_survive_the_clipboard_and_nothing_else() {
    let founder = founder();
    let invite = founder.invite();
    let text = invite.to_string();
    assert!(text.starts_with("oxha1") && text.len() < 300, "{} characters", text.len());
    assert_eq!(text.parse::<Invite>(), Ok(invite.clone()));
    assert_eq!(format!("  {}\n", text.to_uppercase()).parse::<Invite>(), Ok(invite));
    assert_eq!("oxha2abc".parse::<Invite>(), Err(InviteError::Prefix));
    for at in 5..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] = if damaged[at] == b'a' { b'b' } else { b'a' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert_eq!(damaged.parse::<Invite>(), Err(InviteError::Damaged), "{damaged}");
        assert_eq!(text[..at].parse::<Invite>(), Err(InviteError::Damaged));
    }
}

#[test]
fn an_issuer_renews_its_certificate_with_the_root_key() {
    let founder = founder();
    let root = SecretKey::open(&founder.dir.path().join(ROOT_FILE)).unwrap().unwrap();
    let issuer = SecretKey::open(&founder.dir.path().join(ISSUER_KEY_FILE)).unwrap().unwrap();
    let now = founder.admission.now();
    let soon = after(now, Duration::from_secs(3600));
    let old = IssuerCertificate::sign(&root, issuer.public(), founder.admission.node(), WallTime::EPOCH, soon);
    vault::write(&founder.dir.path().join(ISSUER_CERT_FILE), &encode(&old)).unwrap();
    let reopened = founder.reopened();
    assert!(reopened.expires_at() > soon, "certificate and ticket are new");
    assert!(founder.admission.check(&hello(&reopened), reopened.key().public()).is_ok());
}

#[test]
fn the_bytes_that_are_signed_do_not_change() {
    let key = |byte| PublicKeyFor(byte).key();
    let body = TicketBody {
        cluster: ClusterId::from_bytes([1; 32]),
        key: key(2),
        node: NodeId::from_u128(3),
        roles: Roles::MEMBER,
        serial: 4,
        name: "n".into(),
        issued_at: WallTime::from_micros(5),
        expires_at: WallTime::from_micros(6),
    };
    let expected = [&[1; 32][..], &[2; 32], &[0; 15], &[3, 1, 4, 1, b'n', 5, 6]].concat();
    assert_eq!(encode(&body), expected);
    let signed = Ticket::sign(&SecretKey::mint(), body.clone());
    assert_eq!(signed.body, body);
}

struct PublicKeyFor(u8);

impl PublicKeyFor {
    fn key(&self) -> PublicKey {
        bincode::decode_from_slice(&[self.0; 32], bincode::config::standard()).unwrap().0
    }
}

#[test]
fn messages_of_another_version_are_refused_by_number() {
    let founder = founder();
    let bytes = Request::Hello(hello(&founder.admission)).to_bytes();
    assert_eq!(Request::from_bytes(&bytes), Ok(Request::Hello(hello(&founder.admission))));
    let mut newer = bytes.clone();
    newer[0] = 9;
    assert_eq!(Request::from_bytes(&newer), Err(Refusal::Version { found: 9 }));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Request::from_bytes(&longer), Err(Refusal::Malformed));
    assert_eq!(Request::from_bytes(&bytes[..bytes.len() - 1]), Err(Refusal::Malformed));
    assert_eq!(Request::from_bytes(&vec![1; 5000]), Err(Refusal::Malformed));
    assert!(bytes.len() < 1024, "{} bytes", bytes.len());
}

#[test]
fn damaged_files_are_named_and_never_replaced() {
    let founder = founder();
    for file in [TICKET_FILE, INVITES_FILE, REVOKED_FILE, ISSUER_CERT_FILE, ISSUER_KEY_FILE] {
        let path = founder.dir.path().join(file);
        let good = std::fs::read(&path).ok();
        vault::write(&path, b"\xff\xff\xff\xff").unwrap();
        let error = Admission::open_or_mint(founder.dir.path()).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"\xff\xff\xff\xff");
        match good {
            Some(good) => vault::write(&path, &good).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(founder.reopened().cluster(), founder.admission.cluster());
}

quickcheck::quickcheck! {
    fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>) -> bool {
        let mut versioned = vec![u8::try_from(VERSION).unwrap()];
        versioned.extend(&bytes);
        let config = bincode::config::standard().with_limit::<4096>();
        _ = bincode::decode_from_slice::<(IssuerRequest, IssuerCertificate), _>(&bytes, config);
        _ = (Request::from_bytes(&versioned), Answer::from_bytes(&versioned), Ledger::from_bytes(&bytes));
        // Some of them are requests, such as one that is all zeros behind its version.
        _ = Request::from_bytes(&bytes);
        true
    }
}

/// Every file with its content and the time of its last change.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut all: Vec<_> = files
        .map(|path| (path.clone(), std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn looking_writes_nothing_also_where_a_renewal_is_due() {
    let founder = founder();
    founder.admission.age_ticket_of(&founder.admission);
    vault::write(&founder.dir.path().join(TICKET_FILE), &founder.admission.credential().to_bytes()).unwrap();
    let before = everything(founder.dir.path());
    let looked = Admission::inspect(founder.dir.path()).unwrap().unwrap();
    assert!(looked.due_for_renewal().is_some());
    assert_eq!(everything(founder.dir.path()), before);
    Admission::open(founder.dir.path()).unwrap();
    assert_ne!(everything(founder.dir.path()), before, "a peer that starts renews it");
    let empty = tempfile::tempdir().unwrap();
    assert!(Admission::inspect(empty.path()).unwrap().is_none() && everything(empty.path()).is_empty());
}

#[test]
fn a_damaged_ticket_of_ones_own_and_a_root_key_that_lies_open_are_refused_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let founder = founder();
    let path = founder.dir.path().join(TICKET_FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    vault::write(&path, &damaged).unwrap();
    let refused = |founder: &Founder| Admission::open(founder.dir.path()).unwrap_err().to_string();
    assert!(refused(&founder).contains("damaged: the ticket is not signed by its issuer"), "{}", refused(&founder));
    vault::write(&path, &whole).unwrap();
    let root = founder.dir.path().join(ROOT_FILE);
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o644)).unwrap();
    let why = refused(&founder);
    assert!(why.contains("root.key") && why.contains("mode 644") && why.contains("chmod 600"), "{why}");
}
