//! The same tests over QUIC, and how both transports stand to each other.

use std::time::Instant;

use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::types::Address;

use crate::harness::{Peer, listening};

/// Each runs as it stands, only that its peers listen elsewhere.
macro_rules! over_quic {
    ($($test:ident: $body:path,)*) => {$(
        #[test]
        fn $test() {
            listening("/ip4/127.0.0.1/udp/0/quic-v1", $body);
        }
    )*};
}

over_quic! {
    frames: crate::frames_cross_both_lanes_whole_and_in_order,
    a_clean_stop: crate::a_clean_stop_is_told_and_what_waited_arrives,
    simultaneous_dials: crate::simultaneous_dials_leave_one_link_a_hundred_times,
    invites: crate::an_invite_joins_once_and_each_refusal_says_why,
    differences: crate::members_whose_configurations_differ_are_not_linked_and_both_say_what_differs,
    differing_joiners: crate::a_joiner_with_another_configuration_is_told_and_keeps_its_invite,
    revocation: crate::revocation_closes_connections_everywhere_and_for_good,
    bootstrap: crate::bootstrap_addresses_are_tried_until_somebody_is_there,
    a_mesh_of_eight: crate::a_mesh_of_eight_connects_every_pair_once,
    a_second_issuer: crate::issuers::the_founder_is_gone_for_good_and_a_second_issuer_keeps_the_mesh_together,
    a_new_issuer: crate::issuers::a_new_issuer_is_known_at_once_and_renews_where_it_is_asked,
    a_revoked_issuer: crate::issuers::a_revoked_issuers_members_are_out_until_another_issuer_invites_them,
}

#[test]
#[ignore = "prints figures"]
fn a_round_trip_on_one_thread() {
    listening("/ip4/127.0.0.1/udp/0/quic-v1", crate::measures::a_round_trip_on_the_control_lane_on_one_thread);
}

#[test]
#[ignore = "prints figures"]
fn from_dial_to_link() {
    listening("/ip4/127.0.0.1/udp/0/quic-v1", crate::measures::from_dial_to_link);
}

#[tokio::test]
async fn tcp_is_preferred_and_quic_serves_where_it_does_not_get_through() {
    let both = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"].map(|at| at.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let mut a = Peer::start(dir, admission, |setup| setup.listen = both.to_vec()).await;
    let mut b = Peer::joiner(&a).await;
    let other = a.next_address().await;
    let (tcp, quic) =
        if other.as_str().contains("quic") { (a.address.clone(), other) } else { (other, a.address.clone()) };
    let over = |peer: &Peer| peer.network.links()[0].address.clone();
    b.network.dial(a.node(), vec![quic.clone(), tcp.clone()]);
    b.linked(a.node()).await;
    assert!(over(&b).contains("/tcp/"), "{}", over(&b));
    a.linked(b.node()).await;
    b.network.close(a.node(), "next".into());
    b.unlinked(a.node()).await;
    a.unlinked(b.node()).await;
    // Nobody answers on TCP.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = Address::parse(&format!("/ip4/127.0.0.1/tcp/{closed}/p2p/{}", a.admission.peer_id())).unwrap();
    let began = Instant::now();
    b.network.dial(a.node(), vec![quic, dead]);
    b.linked(a.node()).await;
    a.linked(b.node()).await;
    assert!(over(&b).contains("/quic-v1"), "{}", over(&b));
    println!("linked over QUIC after {:?}", began.elapsed());
}
