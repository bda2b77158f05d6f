//! The overlay of a running mesh is set at one peer: under load, while another is dead, and against its configuration.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Peer, Place, wait_for};

/// Puts documents at a peer until it is told to stop; gives what was acknowledged.
fn write(peer: &Peer, stop: &AtomicBool) -> Vec<String> {
    let agent = ureq::agent();
    let token = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
    let (name, mut acknowledged) = (&peer.place.name, Vec::new());
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let doc = format!("load/{name}/{n}");
        let put = agent.put(format!("http://{}/v1/docs/{doc}", peer.place.api));
        put.header("Authorization", format!("Bearer {}", token.trim())).send_json(json!({ "n": n })).unwrap();
        acknowledged.push(doc);
    }
    acknowledged
}

fn followed(peer: &Peer) -> Value {
    peer.ask(&["overlay", "show"])["followed"].clone()
}

fn documents(peer: &Peer) -> Vec<String> {
    let listed = peer.run(&["doc", "ls", "load"]);
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_overlay_set_under_load_is_everywhere_also_where_a_peer_was_dead_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| Place::on_loopback(dir.path(), name).with("OVERLAY__KIND", "star");
    let hub = place("hub").start(None);
    let [two, three, four] = ["two", "three", "four"].map(|name| place(name).start(Some(&hub.invite())));
    wait_for("all see all", || [&hub, &two, &three, &four].iter().all(|peer| peer.members("alive") == 4));
    assert_eq!(followed(&two), json!("star"));

    // A member that may not is told who may.
    let refused = two.run(&["overlay", "set", "tree"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    let issuer = hub.ask(&["status"])["node"].as_str().unwrap().to_owned();
    assert!(!refused.status.success() && why.contains("only an issuer") && why.contains(&issuer), "{why}");

    let four = four.kill();
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<String> = thread::scope(|scope| {
        let writers = [&hub, &two, &three].map(|peer| scope.spawn(|| write(peer, &stop)));
        wait_for("the load is on", || documents(&hub).len() > 10);
        let set = hub.ask(&["overlay", "set", "tree:2"])["set"].clone();
        assert_eq!((&set["version"], &set["by"]), (&json!(1), &json!(issuer)), "{set}");
        wait_for("all that live follow", || [&hub, &two, &three].iter().all(|peer| followed(peer) == "tree:2"));
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    // It comes back with its old ideas and a configuration that says so.
    let four = four.start(None);
    // A joiner whose configuration says otherwise is let in, and follows.
    let five = Place::on_loopback(dir.path(), "five").with("OVERLAY__KIND", "mesh").start(Some(&hub.invite()));
    let all = [&hub, &two, &three, &four, &five];
    wait_for("all follow", || all.iter().all(|peer| followed(peer) == "tree:2"));
    wait_for("all hold what was acknowledged", || {
        all.iter().all(|peer| {
            let held = documents(peer);
            acknowledged.iter().all(|doc| held.contains(doc))
        })
    });

    let shown = String::from_utf8(five.run(&["overlay", "show"]).stdout).unwrap();
    assert!(shown.contains("tree:2, version 1, since ") && shown.contains("by hub"), "{shown}");
    let status = String::from_utf8(five.run(&["status"]).stdout).unwrap();
    assert!(status.contains("set for the mesh, version 1, by hub; configured is mesh:8"), "{status}");

    // It is kept: also where nobody else is there to tell.
    let places = [two, three, four, five].map(Peer::kill);
    let hub = hub.kill().start(None);
    assert_eq!(followed(&hub), "tree:2");
    drop(hub);
    let five = places[3].start(None);
    assert_eq!(followed(&five), "tree:2");
}
