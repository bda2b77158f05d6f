//! Voters whose stores were lost, as a whole or at the end: none votes under the name that it had, each votes again under a new one. And voters whom
//! operators do not want.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Peer, Place, free_port, wait_for};
use crate::{decide, id, knows, leader, three_with};

/// Three voters; one that is gone is soon replaced.
fn three(dir: &Path) -> Vec<Peer> {
    three_with(dir, |_, place| place.with("VOTERS__REPLACE_AFTER", "1s"))
}

/// Whether this node is a member of the group: whether it votes.
fn votes(peer: &Peer, node: &str) -> Option<bool> {
    let told = peer.ask(&["voters", "list"]);
    told["members"].as_array().unwrap().iter().find(|it| it["node"] == node)?["voter"].as_bool()
}

/// One of the last two, which does not lead: its place, and who it was.
fn kill_follower(peers: &mut Vec<Peer>) -> (Place, String) {
    let leads = leader(&peers[0]);
    let at = (1..3).find(|at| leads.as_ref() != Some(&id(&peers[*at]))).unwrap();
    let peer = peers.remove(at);
    let was = id(&peer);
    (peer.kill(), was)
}

/// How often the group changed so far, as a peer wrote it down, and whether some members were learners then.
fn changes(peer: &Peer) -> Vec<bool> {
    let log = peer.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let changes = lines.filter(|line| line["message"] == "who votes has changed");
    changes.map(|line| line["members"].as_u64() > line["voters"].as_u64()).collect()
}

/// It learns first, then it votes, and is needed for a decision.
fn rejoins(mut peers: Vec<Peer>, before: usize, back: &Peer) {
    let node = id(back);
    let learned = || changes(&peers[0])[before..].contains(&true);
    wait_for("it learns, and votes", || {
        learned() && peers.iter().chain([back]).all(|peer| votes(peer, &node) == Some(true))
    });
    drop(peers.remove(0));
    decide(back, "after", "2");
    wait_for("it knows all", || knows(back, "before", "1") && knows(back, "after", "2"));
}

#[test]
fn a_voter_that_was_wiped_learns_before_it_votes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    decide(&peers[0], "before", "1");
    let (place, was) = kill_follower(&mut peers);
    fs::remove_dir_all(&place.data).unwrap();
    let before = changes(&peers[0]).len();
    let back = place.start(Some(&peers[0].invite()));
    assert_ne!(id(&back), was);
    wait_for("who it was votes no more", || votes(&peers[0], &was).is_none());
    rejoins(peers, before, &back);
}

#[test]
fn a_voter_whose_log_is_gone_keeps_its_key_and_not_its_vote() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    decide(&peers[0], "before", "1");
    let (place, was) = kill_follower(&mut peers);
    fs::remove_dir_all(place.data.join("log")).unwrap();
    let before = changes(&peers[0]).len();
    let back = place.start(None);
    assert_eq!(id(&back), was);
    rejoins(peers, before, &back);
}

/// The newest segment of a log, and its end: behind it there is nothing but zeros.
fn newest(log: &Path) -> (PathBuf, usize) {
    let files = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let segment = files.filter(|path| path.extension().is_some_and(|it| it == "wal")).max().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (segment, end)
}

#[test]
fn a_voter_whose_log_was_damaged_at_its_end_votes_under_a_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    decide(&peers[0], "before", "1");
    wait_for("all know it", || peers.iter().all(|peer| knows(peer, "before", "1")));
    let (place, _) = kill_follower(&mut peers);
    let (segment, end) = newest(&place.data.join("log"));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[end - 1] ^= 1;
    fs::write(segment, bytes).unwrap();
    let before = changes(&peers[0]).len();
    let back = place.start(None);
    rejoins(peers, before, &back);
}

/// What it acknowledged and lacks it is given again, or it votes under a new name: its log does not tell.
#[test]
fn a_voter_whose_log_was_shortened_by_hand_votes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    decide(&peers[0], "before", "1");
    wait_for("all know it", || peers.iter().all(|peer| knows(peer, "before", "1")));
    let (place, _) = kill_follower(&mut peers);
    let (segment, end) = newest(&place.data.join("log"));
    fs::File::options().write(true).open(segment).unwrap().set_len(end as u64 - 7).unwrap();
    let back = place.start(None);
    let node = id(&back);
    decide(&back, "between", "1");
    wait_for("it votes", || peers.iter().chain([&back]).all(|peer| votes(peer, &node) == Some(true)));
    drop(peers.remove(0));
    decide(&back, "after", "2");
    wait_for("it knows all", || knows(&back, "before", "1") && knows(&back, "after", "2"));
}

/// Power goes while all three write: each has the beginning of a record behind its last one, of which nobody was told.
#[test]
fn a_power_cut_amid_writes_of_all_voters_leaves_the_group_alive() {
    let dir = tempfile::tempdir().unwrap();
    // All are gone at once, so each must be found where it was.
    let at = |_, place| Place { listen: format!("/ip4/127.0.0.1/tcp/{}", free_port()), ..place };
    let peers = three_with(dir.path(), at);
    decide(&peers[0], "before", "1");
    wait_for("all know it", || peers.iter().all(|peer| knows(peer, "before", "1")));
    let places: Vec<Place> = peers.into_iter().map(Peer::kill).collect();
    for place in &places {
        let (segment, end) = newest(&place.data.join("log"));
        let mut bytes = fs::read(&segment).unwrap();
        let some = bytes[end - 40..end - 10].to_vec();
        bytes.truncate(end.next_multiple_of(8));
        bytes.extend(some);
        fs::write(segment, bytes).unwrap();
    }
    let back: Vec<Peer> = places.iter().map(|place| place.start(None)).collect();
    assert!(back.iter().all(|peer| peer.log().contains("torn")), "{}", back[0].log());
    decide(&back[0], "after", "2");
    wait_for("all know it", || back.iter().all(|peer| knows(peer, "before", "1") && knows(peer, "after", "2")));
}

/// The wish is decided: it binds a leader that nobody told of it too, until it is taken back.
#[test]
fn a_voter_that_was_removed_is_not_chosen_again_by_a_later_leader() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three(dir.path());
    let leads = leader(&peers[0]).unwrap();
    let others: Vec<String> = peers.iter().map(id).filter(|node| *node != leads).collect();
    let [barred, heir] = &others[..] else { panic!("three peers") };
    // Any peer takes it, also who is about to lose its vote.
    let told = peers.iter().find(|peer| id(peer) == *barred).unwrap().ask(&["voters", "remove", barred]);
    assert_eq!(told["barred"], serde_json::json!([barred]), "{told}");
    let is_no_voter = || peers.iter().all(|peer| votes(peer, barred).is_none());
    wait_for("it votes no more", is_no_voter);
    let first = peers.iter().find(|peer| id(peer) == leads).unwrap();
    assert!(first.run(&["voters", "add", heir]).status.success());
    // Of two that may vote one does: the wanted one.
    wait_for("the wanted one votes alone", || {
        peers.iter().all(|peer| votes(peer, heir) == Some(true) && votes(peer, &leads).is_none())
    });
    assert!(is_no_voter());
    for peer in &peers {
        let told = peer.ask(&["voters", "list"]);
        assert_eq!((&told["barred"], &told["wanted"]), (&serde_json::json!([barred]), &serde_json::json!([heir])));
    }
    let refused = peers[0].run(&["voters", "clear", &leads]);
    assert_eq!(refused.status.code(), Some(1), "nobody wished anything about it");
    peers[0].ask(&["voters", "clear", barred]);
    wait_for("all three vote again", || peers.iter().all(|peer| votes(peer, barred) == Some(true)));
    decide(&peers[0], "after", "1");
}
