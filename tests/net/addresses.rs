//! Addresses that are not IPv4 numbers: names, and IPv6.

use oxigdal_ha::config::Terms;
use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::network::{Network, NetworkEvent, NetworkSetup, join};
use oxigdal_ha::types::{Address, Boot};
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, Peer};

/// A peer that listens there.
async fn founder(listen: &[&str]) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
    Peer::start(dir, admission, |setup| setup.listen = listen).await
}

fn port(address: &Address) -> &str {
    address.as_str().split('/').skip_while(|part| *part != "tcp").nth(1).unwrap()
}

async fn failure(peer: &mut Peer) -> String {
    peer.until(|event| match event {
        NetworkEvent::DialFailed { why, .. } => Some(why.to_string()),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn names_are_looked_up_at_each_dial() {
    let mut a = founder(&["/ip4/127.0.0.1/tcp/0"]).await;
    let mut b = Peer::joiner(&a).await;
    let port = port(&a.address).to_owned();
    for place in ["dns4/localhost", "dns/localhost"] {
        b.network.dial(a.node(), vec![Address::parse(&format!("/{place}/tcp/{port}")).unwrap()]);
        b.linked(a.node()).await;
        a.linked(b.node()).await;
        assert!(b.network.links()[0].address.contains("localhost"), "{:?}", b.network.links());
        b.network.close(a.node(), "next".into());
        b.unlinked(a.node()).await;
        a.unlinked(b.node()).await;
    }
    // A reserved name, which nobody can ever have (RFC 6761), and a family that the name has not.
    for place in ["dns4/mesh.invalid", "dns6/127.0.0.1"] {
        b.network.dial(a.node(), vec![Address::parse(&format!("/{place}/tcp/{port}")).unwrap()]);
        let why = failure(&mut b).await;
        assert!(why.len() > 20 && why.contains(place), "{why}");
    }
}

#[tokio::test]
async fn a_name_can_be_announced_invited_to_and_stayed_connected_with() {
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    // The port is not known before it is listened on, so a first life finds a free one.
    let first = Peer::start(dir, admission.clone(), |_| {}).await;
    let (listen, name) = (first.address.clone(), format!("/dns4/localhost/tcp/{}", port(&first.address)));
    first.network.shutdown(PATIENCE).await;
    let listen = listen.as_str().split("/p2p/").next().unwrap().parse().unwrap();
    let mut a = Peer::start(first.dir, admission, |setup| {
        setup.listen = vec![listen];
        setup.announce = vec![name.parse().unwrap()];
    })
    .await;
    assert!(a.address.as_str().starts_with(&name), "{}", a.address);
    let (dir, invite) = (tempfile::tempdir().unwrap(), a.admission.issue_invite(PATIENCE, "by name").unwrap());
    let admission = join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap();
    let mut b = Peer::start(dir, admission, |setup| setup.bootstrap = vec![name.parse().unwrap()]).await;
    b.linked(a.node()).await;
    a.linked(b.node()).await;
}

#[tokio::test]
async fn ipv6_is_listened_on_dialled_and_invited_to() {
    let mut a = founder(&["/ip6/::1/tcp/0"]).await;
    assert!(a.address.as_str().starts_with("/ip6/::1/tcp/"), "{}", a.address);
    // The invite names this address and no other.
    let mut b = Peer::joiner(&a).await;
    b.dial(&a);
    b.linked(a.node()).await;
    a.linked(b.node()).await;
    assert!(a.network.links()[0].address.starts_with("/ip6/::1/"), "{:?}", a.network.links());
}

#[tokio::test]
async fn both_families_can_share_a_port_and_either_leads_here() {
    let probe = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let (four, six) = (format!("/ip4/127.0.0.1/tcp/{probe}"), format!("/ip6/::1/tcp/{probe}"));
    let mut a = founder(&[&four, &six]).await;
    for place in [four, six] {
        let mut b = Peer::joiner(&a).await;
        b.network.dial(a.node(), vec![Address::parse(&place).unwrap()]);
        b.linked(a.node()).await;
        a.linked(b.node()).await;
        assert!(b.network.links()[0].address.starts_with(&place), "{:?}", b.network.links());
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_named_with_the_systems_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    // 192.0.2.1 is for documentation (RFC 5737): no machine has it.
    for (address, words) in
        [(taken.as_str(), "already in use"), ("/ip4/192.0.2.1/tcp/1", "annot assign"), ("/udp/1", "")]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = NetworkSetup::new(Admission::open_or_mint(dir.path()).unwrap(), Boot::new(1));
        setup.listen = vec![address.parse().unwrap()];
        let (events, _told) = mpsc::channel(8);
        let told = Network::start(setup, events).unwrap_err().to_string();
        let (place, why) = told.split_once(": ").unwrap();
        assert!(place == format!("cannot listen on {address}") && !why.is_empty() && why.contains(words), "{told}");
    }
    // Another peer's port is not shared with it.
    let a = Peer::founder().await;
    let dir = tempfile::tempdir().unwrap();
    let mut setup = NetworkSetup::new(Admission::open_or_mint(dir.path()).unwrap(), Boot::new(1));
    setup.listen = vec![a.address.as_str().split("/p2p/").next().unwrap().parse().unwrap()];
    let told = Network::start(setup, mpsc::channel(8).0).unwrap_err().to_string();
    assert!(told.contains("already in use"), "{told}");
}
