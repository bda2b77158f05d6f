//! Peers whose configurations differ in what all must have alike: the person who looks finds out why there is no link.

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};

fn not_linked(peer: &Peer) -> Option<Value> {
    peer.ask(&["status"]).pointer("/network/not_linked/0").cloned()
}

fn shown(peer: &Peer, args: &[&str]) -> String {
    String::from_utf8(peer.run(args).stdout).unwrap()
}

#[test]
fn a_peer_with_another_overlay_is_found_in_status_and_members_until_it_is_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let a = Place::on_loopback(dir.path(), "a").with("OVERLAY__KIND", "star").start(None);
    let place = Place::on_loopback(dir.path(), "b");
    let invite = a.invite();
    let (code, log) = place.start_in_vain(Some(&invite));
    let why = "cannot join: the issuer refused: the configurations differ: overlay: mesh:8 here, star there";
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains(why), "{log}");

    // It joins as a star, and is restarted as a mesh.
    let place = place.with("OVERLAY__KIND", "star");
    let b = place.start(Some(&invite));
    wait_for("both are linked", || a.members("alive") == 2 && b.members("alive") == 2);
    b.kill();
    let place = place.with("OVERLAY__KIND", "mesh");
    let b = place.start(Some(&invite));
    wait_for("both say that they differ", || not_linked(&a).is_some() && not_linked(&b).is_some());
    wait_for("a says how", || shown(&a, &["status"]).contains("overlay: star here, mesh:8 there"));
    for (peer, differs) in [(&a, "overlay: star here, mesh:8 there"), (&b, "overlay: mesh:8 here, star there")] {
        for command in ["status", "members"] {
            let text = shown(peer, &[command]);
            assert!(text.contains(differs) || command == "members" && text.contains("failed"), "{text}");
        }
        assert_eq!(peer.run(&["status", "--check"]).status.code(), Some(1));
    }
    let told = not_linked(&b).unwrap();
    assert_eq!((&told["refused"], &told["differs"][0]["here"]), (&true.into(), &"mesh:8".into()), "{told}");
    assert!(b.log().contains("overlay: mesh:8 here, star there"), "{}", b.log());

    b.kill();
    let b = place.with("OVERLAY__KIND", "star").start(Some(&invite));
    wait_for("both are linked again", || a.members("alive") == 2 && b.members("alive") == 2);
    assert_eq!((not_linked(&a), not_linked(&b)), (None, None));
}
