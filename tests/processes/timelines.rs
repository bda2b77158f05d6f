//! A mesh whose content was ruined goes back to one peer's past: nothing of the old timeline comes back, and every peer has a way on.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use oxigdal_ha::driver::admission::Timeline;
use serde_json::Value;

use crate::harness::{Peer, Place, free_port, wait_for};

fn oxigdal(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oxigdal-ha")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// A command on files, which succeeds; its answer in JSON.
fn done(args: &[&str]) -> Value {
    let output = oxigdal(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One that is refused: the code of its error, and what it says.
fn refused(args: &[&str]) -> (String, String) {
    let output = oxigdal(&[args, &["--json"]].concat());
    assert!(!output.status.success(), "{args:?} was not refused");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let text = |key: &str| error["error"][key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn put(peer: &Peer, doc: &str) {
    let output = peer.run(&["doc", "put", doc, "{\"n\":1}"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn documents(peer: &Peer) -> Vec<String> {
    let listed = peer.run(&["doc", "ls"]);
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn holds(peer: &Peer, docs: &[&str]) -> bool {
    documents(peer) == docs
}

fn timelines(peer: &Peer) -> Value {
    peer.ask(&["status"]).pointer("/network/not_linked/0/timelines").cloned().unwrap_or_default()
}

/// All timelines that a peer is kept apart from, and on which one it is itself.
fn apart_from(peer: &Peer) -> (String, BTreeSet<String>) {
    let status = peer.ask(&["status"]);
    let of = |side: &str| {
        let pairs = status["network"]["not_linked"].as_array().unwrap().iter();
        pairs.filter_map(|one| Some(one.pointer(side)?.as_str()?.to_owned())).collect::<BTreeSet<String>>()
    };
    (of("/timelines/0").into_iter().collect(), of("/timelines/1"))
}

/// The same statement with a signature that nobody has made, well formed.
fn forged(statement: &Path) -> (Vec<u8>, String) {
    let mut bytes = std::fs::read(statement).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let (timeline, _): (Timeline, usize) =
        bincode::decode_from_slice(&bytes, bincode::config::standard()).expect("it is read as before");
    (bytes, timeline.to_string())
}

/// A directory that was lost, and of which key and ticket alone were saved, does not come back on the old timeline.
fn lost_with_its_timeline(b: &Place, repo: &Path, statement: &str) {
    let saved = b.data.with_file_name("b-saved");
    std::fs::create_dir(&saved).unwrap();
    for name in ["identity.key", "ticket"] {
        std::fs::copy(b.data.join(name), saved.join(name)).unwrap();
    }
    for more in [&[][..], &["--accept-older"][..]] {
        let rebuild = [&["rebuild", "--data-dir", text(&saved), "--repo", text(repo)], more].concat();
        let (code, why) = refused(&rebuild);
        assert!(code == "other_timeline" && why.contains("is of timeline 1"), "{code}: {why}");
    }
    let from_mesh = ["rebuild", "--data-dir", text(&saved), "--from-mesh"];
    assert_eq!(refused(&from_mesh).0, "unknown_timeline");
    done(&["timeline", "adopt", "--data-dir", text(&saved), "--statement", statement]);
    done(&from_mesh);
}

#[test]
fn a_ruined_mesh_goes_back_to_one_peers_past_and_nothing_of_the_old_timeline_returns() {
    let dir = tempfile::tempdir().unwrap();
    // On one port for good: others dial it where it was.
    let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let a = Place { listen, ..Place::on_loopback(dir.path(), "a") }.start(None);
    let [b, c] = ["b", "c"].map(|name| Place::on_loopback(dir.path(), name).start(Some(&a.invite())));
    put(&a, "good");
    wait_for("all hold what is good", || holds(&b, &["good"]) && holds(&c, &["good"]));
    assert!(a.run(&["restore-point", "good"]).status.success());
    let repo = dir.path().join("repo");
    let backup =
        |peer: &Place| done(&["backup", "create", "--incremental", "--repo", text(&repo), "--data", text(&peer.data)]);
    backup(&a.place);
    backup(&b.place);
    put(&b, "ruin");
    wait_for("all are ruined", || [&a, &b, &c].iter().all(|peer| holds(peer, &["good", "ruin"])));

    // It takes the root key, and a peer that is stopped.
    let data = a.place.data.clone();
    let begin = ["restore", "--data", text(&data), "--at", "point:good", "--new-timeline"];
    assert_eq!(refused(&begin).0, "no_root_key");
    let other = dir.path().join("other.key");
    let stranger = Place::on_loopback(dir.path(), "stranger").start(None).kill();
    std::fs::copy(stranger.data.join("root.key"), &other).unwrap();
    assert_eq!(refused(&[&begin[..], &["--root-key", text(&other)]].concat()).0, "wrong_root_key");
    let root = data.join("root.key");
    let begin = [&begin[..], &["--root-key", text(&root)]].concat();
    assert_eq!(refused(&begin).0, "in_use");
    let a = a.kill();
    let begun = done(&begin);
    let aside = dir.path().join("a.timeline-0");
    assert_eq!(begun["aside"], text(&aside), "{begun}");
    assert!(aside.join("log").is_dir(), "what was there is kept");

    let kept = backup(&a);
    let chained = (&kept["backup"]["kind"], &kept["backup"]["timeline"], kept["promoted"].is_string());
    assert_eq!(chained, (&"full".into(), &1.into(), true), "it continues none of the old timeline: {kept}");
    let a = a.start(None);
    wait_for("both sides say why", || timelines(&a).is_array() && timelines(&b).is_array() && timelines(&c).is_array());
    let id = begun["timeline"].as_str().unwrap();
    assert_eq!(timelines(&b), serde_json::json!(["0", id]));
    let shown = String::from_utf8(b.run(&["status"]).stdout).unwrap();
    assert!(shown.contains("a new timeline of this mesh has begun") && shown.contains("timeline adopt"), "{shown}");
    assert!(b.log().contains("begun a new timeline"), "{}", b.log());
    assert!(holds(&a, &["good"]), "{:?}", documents(&a));
    // The old mesh goes on serving, and what it says is not heard.
    put(&b, "more-ruin");
    wait_for("the old mesh goes on", || holds(&c, &["good", "more-ruin", "ruin"]));
    put(&a, "new");

    let b = b.kill();
    let adopted = done(&["timeline", "adopt", "--data-dir", text(&b.data)]);
    assert_eq!(adopted["timeline"], id, "{adopted}");
    let again = refused(&["timeline", "adopt", "--data-dir", text(&b.data)]);
    assert_eq!(again.0, "nothing_heard");
    let rebuild = refused(&["rebuild", "--data-dir", text(&b.data), "--repo", text(&repo)]);
    assert_eq!(rebuild.0, "other_timeline", "{rebuild:?}");
    lost_with_its_timeline(&b, &repo, begun["statement"].as_str().unwrap());
    let b = b.start(None);
    wait_for("it gets the new timeline", || holds(&b, &["good", "new"]));
    put(&b, "from-b");
    wait_for("its edits spread", || holds(&a, &["from-b", "good", "new"]));

    // The old log in the new one's place does not start.
    let b = b.kill();
    std::fs::rename(b.data.join("log"), dir.path().join("b-log")).unwrap();
    std::fs::rename(dir.path().join("b.timeline-0/log"), b.data.join("log")).unwrap();
    let (code, log) = b.start_in_vain(None);
    assert!(code != Some(0) && log.contains("the log is of timeline 0"), "{log}");
    assert!(holds(&a, &["from-b", "good", "new"]), "{:?}", documents(&a));
}

/// Begins a timeline from all that a stopped peer holds, signed with this key.
fn begin(place: &Place, root: &Path) -> (String, String) {
    let begun =
        done(&["restore", "--data", text(&place.data), "--at", "latest", "--new-timeline", "--root-key", text(root)]);
    let field = |name: &str| begun[name].as_str().unwrap().to_owned();
    (field("timeline"), field("statement"))
}

#[test]
fn two_timelines_begun_apart_are_told_apart_and_nobody_is_led_over_to_a_forged_one() {
    let dir = tempfile::tempdir().unwrap();
    let on_a_port =
        |name| Place { listen: format!("/ip4/127.0.0.1/tcp/{}", free_port()), ..Place::on_loopback(dir.path(), name) };
    let a = on_a_port("a").start(None);
    let [b, c] = ["b", "c"].map(|name| on_a_port(name).start(Some(&a.invite())));
    put(&a, "good");
    wait_for("all hold it", || [&b, &c].iter().all(|peer| holds(peer, &["good"])));
    let stranger = Place::on_loopback(dir.path(), "stranger").start(None).kill();
    let (_, foreign) = begin(&stranger, &stranger.data.join("root.key"));

    // Two operators, one key, one number.
    let (a, b) = (a.kill(), b.kill());
    let root = a.data.join("root.key");
    let (one, of_one) = begin(&a, &root);
    let (two, of_two) = begin(&b, &root);
    assert!(one != two && one.starts_with("1-") && two.starts_with("1-"), "{one} {two}");
    let (a, b) = (a.start(None), b.start(None));
    put(&a, "of-a");
    put(&b, "of-b");
    put(&c, "of-c");
    let zero = "0".to_owned();
    let kept_apart = |peer: &Peer, here: &String, others: [&String; 2]| {
        apart_from(peer) == (here.clone(), others.into_iter().cloned().collect())
    };
    wait_for("each is told of both others", || {
        kept_apart(&a, &one, [&zero, &two])
            && kept_apart(&b, &two, [&zero, &one])
            && kept_apart(&c, &zero, [&one, &two])
    });
    let told = |peer: &Peer| String::from_utf8(peer.run(&["status"]).stdout).unwrap();
    assert!(told(&a).contains("were begun apart") && told(&c).contains("were begun apart"), "{}", told(&c));
    for (peer, other) in [(&a, "of-a"), (&b, "of-b"), (&c, "of-c")] {
        assert!(holds(peer, &["good", other]), "nothing has crossed: {:?}", documents(peer));
    }

    // Who is on the old one is led over to neither, and to nothing that the root has not signed.
    let c = c.kill();
    let adopt =
        |statement: &str| refused(&["timeline", "adopt", "--data-dir", text(&c.data), "--statement", statement]);
    assert_eq!(refused(&["timeline", "adopt", "--data-dir", text(&c.data)]).0, "forked");
    let (bytes, text_of) = forged(&a.place.data.join("timeline"));
    let (code, why) = adopt(&text_of);
    assert!(code == "forged" && why.contains("not signed by the cluster's root"), "{code}: {why}");
    assert_eq!(adopt(&foreign).0, "forged", "another mesh's root");
    std::fs::copy(a.place.data.join("timeline"), c.data.join("timeline")).unwrap();
    std::fs::write(c.data.join("timeline"), bytes).unwrap();
    let (code, log) = c.start_in_vain(None);
    assert!(code != Some(0) && log.contains("not signed by the cluster's root"), "{log}");
    std::fs::remove_file(c.data.join("timeline")).unwrap();

    // The operator decides for one: who was on none goes over and is linked, who was on the other gives that up.
    let adopted = done(&["timeline", "adopt", "--data-dir", text(&c.data), "--statement", &of_one]);
    assert_eq!(adopted["timeline"], Value::from(one.clone()));
    assert_eq!(adopt(&of_one).0, "there_already");
    assert_eq!(adopt(&of_two).0, "forked");
    let c = c.start(None);
    wait_for("it has what the chosen one has", || holds(&c, &["good", "of-a"]));
    put(&c, "again");
    wait_for("it is linked", || holds(&a, &["again", "good", "of-a"]));
    assert!(holds(&b, &["good", "of-b"]), "{:?}", documents(&b));
    let b = b.kill();
    assert_eq!(refused(&["timeline", "adopt", "--data-dir", text(&b.data)]).0, "forked");
    let adopted = done(&["timeline", "adopt", "--data-dir", text(&b.data), "--other-fork"]);
    assert_eq!(adopted["timeline"], Value::from(one));
    assert!(Path::new(adopted["aside"].as_str().unwrap()).join("log").is_dir(), "{adopted}");
    let b = b.start(None);
    wait_for("all are on one", || [&a, &b, &c].iter().all(|peer| holds(peer, &["again", "good", "of-a"])));
    wait_for("and all linked", || [&a, &b, &c].iter().all(|peer| apart_from(peer).1.is_empty()));
}
