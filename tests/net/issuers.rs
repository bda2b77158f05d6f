//! Further issuers over the wire: the founder is gone for good, or an issuer turns out to be a thief's. Days pass on a clock
//! that the tests advance.

use std::time::Duration;

use oxigdal_ha::config::Terms;
use oxigdal_ha::driver::Clock;
use oxigdal_ha::driver::admission::{Admission, RootKey, Standing};
use oxigdal_ha::driver::network::{NetworkEvent, join, rejoin};
use oxigdal_ha::types::Boot;
use tempfile::TempDir;

use crate::harness::{PATIENCE, Peer, eventually};

const DAY: Duration = Duration::from_hours(24);

/// A mesh on one clock; its root key lies in a drawer.
struct Mesh {
    clock: Clock,
    root: RootKey,
    founder: Peer,
    boot: u64,
}

impl Mesh {
    async fn found() -> Self {
        let (clock, dir, drawer) = (Clock::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let admission = Admission::open_or_mint_at(dir.path(), clock.clone()).unwrap();
        let (root, _) = RootKey::move_to(&dir.path().join("root.key"), drawer.path()).unwrap();
        let founder = Peer::start(dir, admission, |_| {}).await;
        Self { clock, root, founder, boot: 1 }
    }

    /// A fresh peer with an invite of `issuer`'s.
    async fn join(&mut self, issuer: &Peer) -> Peer {
        let dir = tempfile::tempdir().unwrap();
        drop(issuer.admit(dir.path()).await);
        self.run(dir).await
    }

    /// A peer of this directory, in its next life.
    async fn run(&mut self, dir: TempDir) -> Peer {
        let admission = Admission::open_at(dir.path(), self.clock.clone()).unwrap().unwrap();
        self.boot += 1;
        let boot = Boot::new(self.boot);
        Peer::start(dir, admission, |setup| setup.boot = boot).await
    }

    async fn restart(&mut self, peer: Peer) -> Peer {
        peer.network.shutdown(PATIENCE).await;
        drop((peer.network, peer.admission));
        self.run(peer.dir).await
    }

    fn make_issuer(&self, peer: &Peer) {
        let request = peer.admission.request_office().unwrap();
        peer.admission.install(self.root.sign_at(&request, 60 * DAY, &self.clock).unwrap()).unwrap();
    }
}

async fn link(a: &mut Peer, b: &mut Peer) {
    a.dial(b);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
}

async fn refused(peer: &mut Peer) -> String {
    peer.until(|event| match event {
        NetworkEvent::DialFailed { why, .. } => Some(why.to_string()),
        _ => None,
    })
    .await
}

#[tokio::test]
pub(crate) async fn the_founder_is_gone_for_good_and_a_second_issuer_keeps_the_mesh_together() {
    let mut mesh = Mesh::found().await;
    let founder = std::mem::replace(&mut mesh.founder, Peer::founder().await);
    let (second, third) = (mesh.join(&founder).await, mesh.join(&founder).await);
    let fourth = mesh.join(&founder).await;
    mesh.make_issuer(&second);
    founder.network.shutdown(PATIENCE).await;
    drop(founder);
    mesh.clock.advance(8 * DAY);
    let (mut second, mut third) = (mesh.restart(second).await, mesh.restart(third).await);
    let mut fourth = mesh.restart(fourth).await;
    assert_eq!(third.admission.papers().standing, Standing::Expired);

    // Without an issuer nobody is let in.
    third.dial(&fourth);
    assert!(refused(&mut third).await.starts_with("the peer refused: the ticket expired at "));
    // One is renewed when it dials the issuer, the other when the issuer dials it.
    link(&mut third, &mut second).await;
    link(&mut second, &mut fourth).await;
    for renewed in [&third, &fourth] {
        let papers = renewed.admission.papers();
        assert_eq!((papers.standing, papers.signed_by), (Standing::Good, second.node()));
    }
    link(&mut third, &mut fourth).await;
    // New peers join through it.
    let mut fifth = mesh.join(&second).await;
    link(&mut fifth, &mut third).await;
}

#[tokio::test]
pub(crate) async fn a_new_issuer_is_known_at_once_and_renews_where_it_is_asked() {
    let mut mesh = Mesh::found().await;
    let mut founder = std::mem::replace(&mut mesh.founder, Peer::founder().await);
    let (mut second, mut third) = (mesh.join(&founder).await, mesh.join(&founder).await);
    link(&mut third, &mut second).await;
    link(&mut third, &mut founder).await;
    assert_eq!(third.admission.papers().signed_by, founder.node());
    mesh.make_issuer(&second);
    eventually("the third knows both issuers", || third.admission.issuers().len() == 2).await;
    // Before its time, on request: at another issuer than the one that signed it.
    let until = third.admission.renew_now(PATIENCE).await.unwrap();
    assert_eq!((third.admission.papers().signed_by, until), (second.node(), third.admission.expires_at()));
    // At its time, when it is linked with an issuer.
    let before = third.admission.expires_at();
    mesh.clock.advance(4 * DAY);
    third.network.close(second.node(), "test".into());
    third.unlinked(second.node()).await;
    link(&mut third, &mut second).await;
    eventually("the ticket is renewed", || third.admission.expires_at() > before).await;
}

#[tokio::test]
pub(crate) async fn a_revoked_issuers_members_are_out_until_another_issuer_invites_them() {
    let mut mesh = Mesh::found().await;
    let mut founder = std::mem::replace(&mut mesh.founder, Peer::founder().await);
    let mut stolen = mesh.join(&founder).await;
    mesh.make_issuer(&stolen);
    let mut member = mesh.join(&stolen).await;
    let mut away = mesh.join(&stolen).await;
    link(&mut stolen, &mut founder).await;
    link(&mut member, &mut founder).await;
    founder.admission.revoke(stolen.node()).unwrap();
    let node = member.node();
    assert_eq!(founder.unlinked(node).await, "closed here: the issuer of its ticket is revoked");
    // Whoever was away has not heard of it, and learns it with the refusal.
    assert_eq!(away.admission.papers().standing, Standing::Good);
    away.dial(&founder);
    let why =
        format!("the peer refused: the issuer on node {} is revoked, and with it the tickets it signed", stolen.node());
    assert_eq!(refused(&mut away).await, why);
    assert_eq!(away.admission.papers().standing, Standing::IssuerRevoked);
    assert!(away.admission.renew_now(Duration::from_millis(50)).await.is_err());
    // A new invite brings them back as who they were: while they run, and at a start.
    let invite = founder.admission.issue_invite(DAY, "back").unwrap();
    rejoin(&away.admission, &invite, PATIENCE).await.unwrap();
    link(&mut away, &mut founder).await;
    eventually("the member has heard of it", || {
        member.admission.papers().standing == Standing::IssuerRevoked || {
            member.dial(&founder);
            false
        }
    })
    .await;
    let invite = founder.admission.issue_invite(DAY, "back").unwrap();
    let Peer { dir, network, .. } = member;
    network.shutdown(PATIENCE).await;
    let joined = join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap();
    assert_eq!((joined.node(), joined.papers().standing), (node, Standing::Good));
    drop(joined);
    let mut member = mesh.run(dir).await;
    link(&mut member, &mut founder).await;
}
