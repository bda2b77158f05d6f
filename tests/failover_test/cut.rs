//! Five peers in network namespaces of their own; whoever leads loses its cable. Needs root and `ip netns`; says so and passes where they are missing.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};
use crate::lab::Lab;
use crate::{decide, id, knows, leader, refused_for_want_of_a_majority, voters};

const PEERS: usize = 5;

fn start(lab: &Lab, dir: &Path) -> Vec<Peer> {
    let place = |n: usize| {
        let listen = format!("/ip4/{}/tcp/4747", lab.ip4(n));
        let place = Place { listen, ..Place::in_namespace(dir, &format!("n{n}"), lab.host(n)) };
        let place = place.with("VOTERS__STABILIZATION", "300ms").with("VOTERS__FOUND_AFTER", "200ms");
        place.with("VOTERS__REPLACE_AFTER", "1h")
    };
    let first = place(1).start(None);
    let invites: Vec<String> = (2..=PEERS).map(|_| first.invite()).collect();
    let mut peers = vec![first];
    peers.extend((2..).zip(&invites).map(|(n, invite)| place(n).start(Some(invite))));
    wait_for("three vote, and all five know it", || {
        peers.iter().all(|peer| peer.members("alive") == PEERS && voters(peer) == 3)
    });
    peers
}

/// What was decided about registers, in its order.
fn history(peer: &Peer) -> Vec<Value> {
    let output = peer.run(&["actions", "tail", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let all = serde_json::Deserializer::from_str(&lines).into_iter::<Value>().map(Result::unwrap);
    all.filter(|it| it["register"].is_string()).collect()
}

fn content(peer: &Peer) -> String {
    peer.ask(&["status"])["content"].to_string()
}

fn are_one(peers: &[Peer]) -> bool {
    let (first, documents) = (history(&peers[0]), content(&peers[0]));
    peers.iter().all(|peer| history(peer) == first && content(peer) == documents)
}

#[test]
fn a_leader_that_is_cut_off_gives_up_and_there_is_one_history_after_the_heal() {
    let Some(lab) = Lab::build("lead", &[1; PEERS]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let peers = start(&lab, dir.path());
    decide(&peers[0], "before", "1");
    peers[0].ask(&["doc", "put", "notes/both", "{\"here\": 0}"]);
    wait_for("all hold the same", || are_one(&peers));
    let leads = leader(&peers[0]);
    let cut = peers.iter().position(|peer| leads.as_ref() == Some(&id(peer))).unwrap();
    let (alone, other) = (&peers[cut], &peers[(cut + 1) % PEERS]);

    lab.cable(cut + 1, "down");
    wait_for("it says that nothing is decided there", || refused_for_want_of_a_majority(alone, "alone"));
    assert_ne!(leader(alone), leads, "it does not lead any more");
    assert_ne!(alone.ask(&["status"])["coordination"]["level"], "full");
    decide(other, "after", "2");
    assert!(leader(other) != leads && knows(other, "before", "1"));
    for (peer, name) in [(alone, "alone"), (other, "others")] {
        peer.ask(&["doc", "set", "notes/both", name, "1"]);
        peer.ask(&["doc", "put", &format!("notes/{name}"), "{}"]);
    }
    assert!(refused_for_want_of_a_majority(alone, "alone"), "still");
    assert!(!knows(alone, "after", "2"));
    lab.cable(cut + 1, "up");

    wait_for("all hold the same again", || are_one(&peers) && knows(alone, "after", "2"));
    decide(alone, "together", "3");
    wait_for("all know it", || are_one(&peers) && knows(alone, "together", "3"));
    let registers: Vec<Value> = history(alone).into_iter().map(|it| it["register"].clone()).collect();
    assert!(!registers.contains(&"alone".into()), "what was refused is not done later: {registers:?}");
    let document = alone.ask(&["doc", "get", "notes/both"]).to_string();
    assert!(["here", "alone", "others"].iter().all(|name| document.contains(name)), "{document}");
}
