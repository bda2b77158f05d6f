//! The peer that founded the mesh is lost for good: another member has become an issuer in time, by the commands that the
//! help shows.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Peer, Place, wait_for};

/// What a client command of a peer prints.
fn printed(peer: &Peer, args: &[&str]) -> String {
    let output = peer.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A command that needs no peer: its output, and what it says to the person.
fn offline(dir: &Path, args: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    let output = command.args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    (out, err)
}

#[test]
fn a_second_issuer_admits_peers_when_the_founder_is_killed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let founder = Place::on_loopback(dir.path(), "founder").start(None);
    let second = Place::on_loopback(dir.path(), "second").start(Some(&founder.invite()));
    let fourth = Place::on_loopback(dir.path(), "fourth").start(Some(&founder.invite()));
    wait_for("all are linked", || second.members("alive") == 3);
    std::fs::create_dir(at("stick")).unwrap();
    let (moved, _) = offline(dir.path(), &["key", "root", "move", "stick", "--data-dir", "founder"]);
    assert!(moved.starts_with("the root key is now stick/root.key"), "{moved}");
    assert!(!at("founder").join("root.key").exists());

    std::fs::write(at("request"), printed(&second, &["key", "issuer", "request"])).unwrap();
    let sign = ["key", "issuer", "sign", "request", "--root-key", "stick/root.key", "--days", "30"];
    let (certificate, told) = offline(dir.path(), &sign);
    assert!(told.starts_with("signed: ") && told.contains("becomes an issuer for 30 days"), "{told}");
    std::fs::write(at("certificate"), certificate).unwrap();
    let refused = founder.run(&["key", "issuer", "install", at("certificate").to_str().unwrap()]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && why.contains("the certificate is for node "), "{why}");
    let installed = printed(&second, &["key", "issuer", "install", at("certificate").to_str().unwrap()]);
    assert!(installed.starts_with("this peer is an issuer until "), "{installed}");
    wait_for("the founder knows it", || printed(&founder, &["key", "issuer", "list"]).matches("good").count() == 2);

    // An issuer is not expelled by a slip of the hand.
    let node = founder.ask(&["status"])["node"].as_str().unwrap().to_owned();
    let spared = String::from_utf8(second.run(&["revoke", &node]).stderr).unwrap();
    assert!(spared.contains("is an issuer: its tickets") && spared.contains("--issuer"), "{spared}");

    founder.kill();
    let third = Place::on_loopback(dir.path(), "third").start(Some(&second.invite()));
    wait_for("the new peer is linked", || third.members("alive") == 3);
    let renewed = third.ask(&["key", "renew"]);
    assert_eq!(renewed["signed_by"], second.ask(&["status"])["node"]);
    let papers = third.ask(&["status"])["admission"].clone();
    assert_eq!((&papers["standing"], &papers["overdue"]), (&json!("good"), &json!(false)), "{papers}");

    // It turns out that the founder was stolen. Whose ticket it signed is out, says so, and comes back with an invite.
    printed(&second, &["revoke", &node, "--issuer"]);
    wait_for("the fourth knows", || printed(&fourth, &["status"]).contains("its ticket is worthless"));
    wait_for("nobody is linked with it", || second.ask(&["status"])["network"]["links"].as_array().unwrap().len() == 1);
    let back = fourth.ask(&["key", "renew", "--invite", &second.invite()]);
    assert_eq!(back["signed_by"], second.ask(&["status"])["node"]);
    wait_for("it is linked again", || second.ask(&["status"])["network"]["links"].as_array().unwrap().len() == 2);
}
