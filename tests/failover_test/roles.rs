//! Roles on real processes: one holder at a time, programs at both ends of a turn, clients that are led to it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::harness::{Peer, Place, free_port, wait_for};
use super::{id, leader, redirect, redirect_by, says, service, three_with};

/// No test is about how short a lease can be, and machines are shared: a peer that is not scheduled for so long loses its role, and is right to.
pub(super) const LEASE_MS: &str = "3000";

/// Three peers with a primary, whose programs note what they are told.
fn three(dir: &Path, services: impl Fn(&'static str) -> String) -> Vec<Peer> {
    let note = |name: &str| format!(r#"["/bin/sh", "-c", "cat >> {}"]"#, notes(dir, name).display());
    let peers = three_with(dir, |name, place| {
        place
            .with("NODE__SERVICES", &services(name))
            .with("ROLES__NAMES", "primary")
            .with("ROLES__PROMOTIONS_MAX", "100")
            .with("ROLES__LEASE_MS", LEASE_MS)
            .with("ROLES__ON_PROMOTE", &note(name))
            .with("ROLES__ON_DEMOTE", &note(name))
            .with("ROLES__HOOK_LIMIT_MS", "5000")
    });
    wait_for("one is the primary, and all know", || {
        let known: Vec<_> = peers.iter().map(holder).collect();
        known[0].is_some() && known.iter().all(|it| *it == known[0])
    });
    peers
}

fn notes(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(format!("{name}.notes"))
}

/// What the programs of a peer were told: the event and the token's place.
fn noted(dir: &Path, name: &str) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(notes(dir, name)).unwrap_or_default();
    let calls = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok);
    calls.map(|call| (call["event"].as_str().unwrap().to_owned(), call["token"]["index"].as_u64().unwrap())).collect()
}

fn role(peer: &Peer) -> Option<Value> {
    let roles = peer.try_ask(&["role", "list"])?;
    roles.as_array().unwrap().iter().find(|role| role["role"] == "primary").cloned()
}

pub(super) fn holder(peer: &Peer) -> Option<String> {
    role(peer)?["holder"].as_str().map(str::to_owned)
}

fn index(peer: &Peer) -> u64 {
    role(peer).unwrap()["token"]["index"].as_u64().unwrap()
}

/// What a load balancer that asks for the primary is answered.
fn answers(peer: &Peer) -> u16 {
    answers_at(peer, "/primary")
}

fn answers_at(peer: &Peer, path: &str) -> u16 {
    match ureq::get(format!("http://{}{path}", peer.place.api)).call() {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(code)) => code,
        Err(error) => panic!("{error}"),
    }
}

/// What whoever is acted upon under a token says.
fn admits(peer: &Peer, index: u64) -> u16 {
    let token = serde_json::json!({ "epoch": 1, "term": role(peer).unwrap()["token"]["term"], "index": index });
    let secret = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
    let answer = ureq::post(format!("http://{}/v1/roles/admit", peer.place.api))
        .header("authorization", format!("Bearer {}", secret.trim()))
        .send_json(serde_json::json!({ "role": "primary", "token": token }));
    match answer {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(code)) => code,
        Err(error) => panic!("{error}"),
    }
}

/// Takes whoever is the primary out of the peers.
fn take_primary(peers: &mut Vec<Peer>) -> Peer {
    let holds = holder(&peers[0]).unwrap();
    let at = peers.iter().position(|peer| id(peer) == holds).unwrap();
    peers.remove(at)
}

#[test]
fn a_killed_primary_is_replaced_and_ends_its_old_work_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path(), |_| String::new());
    let primary = take_primary(&mut peers);
    let (was, name, first) = (id(&primary), primary.place.name.clone(), index(&primary));
    wait_for("its program began the work", || noted(dir.path(), &name) == [("promote".into(), first)]);
    wait_for("load balancers find it", || answers(&primary) == 200 && answers(&peers[0]) == 503);
    let place = primary.kill();
    wait_for("somebody else is the primary", || holder(&peers[0]).is_some_and(|holds| holds != was));
    let second = index(&peers[0]);
    assert!(second > first);
    wait_for("the one that is acts", || peers.iter().filter(|peer| answers(peer) == 200).count() == 1);
    // Whoever is acted upon refuses what the old one would do, under any term.
    assert!(peers.iter().all(|peer| (admits(peer, second), admits(peer, first)) == (200, 409)));
    let back = place.start(None);
    // What a life before had begun is ended, under the token that it had.
    wait_for("the old work is ended", || noted(dir.path(), &name).last() == Some(&("demote".into(), first)));
    wait_for("it knows who is", || holder(&back) == holder(&peers[0]));
    assert_eq!(answers(&back), 503);
}

#[test]
fn who_is_cut_off_is_no_replica_that_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path(), |_| String::new());
    drop(take_primary(&mut peers));
    let (last, other) = (peers.remove(0), peers.remove(0));
    drop(other);
    // It holds all that it was ever told, and cannot know of more.
    wait_for("it says that it cannot know", || answers_at(&last, "/replica?max_behind=1000") == 503);
    wait_for("its role is over", || answers_at(&last, "/replica") == 200);
}

#[test]
fn a_role_moves_by_order_of_any_peer_and_goes_with_who_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path(), |_| String::new());
    let primary = take_primary(&mut peers);
    let (to, asked) = (id(&peers[0]), &peers[1]);
    let decided = asked.ask(&["role", "move", "primary", &to]);
    let token = decided["token"]["index"].as_u64().unwrap();
    let first = noted(dir.path(), &primary.place.name)[0].1;
    wait_for("it is there", || holder(asked).as_ref() == Some(&to));
    wait_for("the old one ended its work", || {
        noted(dir.path(), &primary.place.name) == [("promote".into(), first), ("demote".into(), first)]
    });
    wait_for("the new one began", || noted(dir.path(), &peers[0].place.name) == [("promote".into(), token)]);
    // The same order again, as after an answer that was lost.
    let again = asked.ask(&["role", "move", "primary", &to]);
    assert_eq!((&again["already"], &again["token"]["index"]), (&true.into(), &token.into()), "{again}");
    // It is told to stop: its work is ended before it goes, and somebody else has begun.
    let goes = peers.remove(0);
    let name = goes.place.name.clone();
    let (code, log) = goes.told_to_stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(noted(dir.path(), &name), [("promote".into(), token), ("demote".into(), token)], "{log}");
    wait_for("somebody else is", || holder(&primary).is_some_and(|holds| holds != to));
    let history = peers[0].ask(&["role", "history", "primary"]);
    let turns = history["turns"].as_array().unwrap();
    assert!(turns.iter().any(|turn| turn["reason"] == "switchover" || turn["reason"] == "first"), "{history}");
    // The present turn is the last one, and has no end.
    let (last, before) = turns.split_last().unwrap();
    assert_eq!((&last["holder"], &last["until"]), (&role(&peers[0]).unwrap()["holder"], &Value::Null), "{history}");
    assert!(!before.is_empty() && before.iter().all(|turn| turn["until"].is_u64()), "{history}");
    assert!(history["statistics"]["count"].as_u64() >= Some(1), "{history}");
}

/// While the lead is handed over nothing is decided: the role goes first.
#[test]
fn who_leads_and_is_the_primary_hands_over_both_when_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path(), |_| String::new());
    let leader = leader(&peers[0]).unwrap();
    if holder(&peers[0]).as_ref() != Some(&leader) {
        peers[0].ask(&["role", "move", "primary", &leader]);
    }
    wait_for("who leads is the primary", || peers.iter().all(|peer| holder(peer).as_ref() == Some(&leader)));
    let goes = take_primary(&mut peers);
    wait_for("its work began", || answers(&goes) == 200);
    let term = goes.ask(&["voters", "list"])["term"].clone();
    let (code, log) = goes.told_to_stop();
    assert_eq!(code, Some(0), "{log}");
    wait_for("somebody else is", || peers.iter().filter(|peer| answers(peer) == 200).count() == 1);
    let next = role(&peers[0]).unwrap();
    // Whoever went decided it still, in its own term.
    assert_eq!((&next["reason"], &next["token"]["term"]), (&"released".into(), &term), "{log}");
    // That it has begun is known at all peers, whoever leads by then: clients are led to it.
    wait_for("all know that it has begun", || {
        peers.iter().all(|peer| role(peer).is_some_and(|it| it["begun"] == true))
    });
}

#[test]
fn clients_are_led_to_the_primary() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path(), |name| format!("who:{}", service(name)));
    let primary = take_primary(&mut peers);
    let name = primary.place.name.clone();
    let redirect = redirect(&["--role", "primary"], peers.iter().chain([&primary]));
    let mut first = redirect.connect();
    assert_eq!(says(&mut first), Some(name.clone()));
    primary.kill();
    wait_for("the old connection is over", || says(&mut first).is_none());
    let is = says(&mut redirect.connect()).unwrap();
    assert_ne!(is, name);
    assert!(peers.iter().any(|peer| peer.place.name == is));
}

#[test]
fn nobody_is_led_to_a_holder_that_has_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let may = dir.path().join("may-begin");
    std::fs::write(&may, "").unwrap();
    let program = format!(r#"["/bin/sh", "-c", "until [ -e {} ]; do sleep 0.05; done"]"#, may.display());
    let peers = three_with(dir.path(), |name, place| {
        let place = place.with("NODE__SERVICES", &format!("who:{}", service(name))).with("ROLES__NAMES", "primary");
        let place = place.with("ROLES__ON_PROMOTE", &program).with("ROLES__PROMOTE_LIMIT_MS", "60000");
        place.with("ROLES__LEASE_MS", LEASE_MS)
    });
    wait_for("somebody is the primary", || peers.iter().any(|peer| answers(peer) == 200));
    let to = peers.iter().find(|peer| Some(id(peer)) != holder(&peers[0])).unwrap();
    std::fs::remove_file(&may).unwrap();
    peers[0].ask(&["role", "move", "primary", &to.place.name, "--no-wait"]);
    wait_for("it may act", || role(to).unwrap()["acts"] == true);
    let role = role(to).unwrap();
    assert_eq!((&role["begun"], &role["vacancy"]["code"]), (&false.into(), &"not_begun".into()), "{role}");
    wait_for("nobody else is", || peers.iter().all(|peer| answers(peer) == 503));
    let words = String::from_utf8(to.run(&["status"]).stdout).unwrap();
    assert!(words.contains("what begins its work runs"), "{words}");
    // By the word of a peer that does not know of its own whether it has begun, too.
    let other = peers.iter().find(|peer| id(peer) != id(to) && leader(peer) != Some(id(peer))).unwrap();
    let redirects = [redirect(&["--role", "primary"], &peers), redirect(&["--role", "primary"], [other])];
    let mut clients = redirects.each_ref().map(super::Redirect::connect);
    for early in &mut clients {
        early.get_mut().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert_eq!(says(early), None);
    }
    std::fs::write(&may, "").unwrap();
    for early in &mut clients {
        early.get_mut().set_read_timeout(None).unwrap();
        let mut line = String::new();
        early.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), to.place.name);
    }
    assert_eq!(answers(to), 200);
}

#[test]
fn a_holder_that_votes_no_more_keeps_its_role_and_what_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three(dir.path(), |_| String::new());
    let at = index(&peers[0]);
    let holds = holder(&peers[0]).unwrap();
    let (primary, other) = (peers.iter().find(|peer| id(peer) == holds), peers.iter().find(|peer| id(peer) != holds));
    let (primary, other) = (primary.unwrap(), other.unwrap());
    wait_for("its work began", || answers(primary) == 200);
    // Somebody takes its place: it goes at once.
    let place = Place::on_loopback(dir.path(), "d").with("VOTERS__STABILIZATION", "300ms");
    let stands_in = place.start(Some(&peers[0].invite()));
    wait_for("it is known", || primary.members("alive") == 4 && stands_in.members("alive") == 4);
    other.ask(&["voters", "remove", &primary.place.name]);
    wait_for("it votes no more, and says so", || {
        let told = primary.ask(&["voters", "list"]);
        let members = told["members"].as_array().unwrap();
        // From the moment on at which it is told that it was removed it knows what it knew.
        assert!(!members.is_empty(), "{told}");
        told["standing"] == "outsider" && members.iter().all(|it| it["node"] != holds.as_str())
    });
    wait_for("it knows who leads", || leader(primary).is_some() && leader(primary) == leader(other));
    assert_eq!((answers(primary), index(primary), index(other)), (200, at, at));
}

/// Two peers that never hear of each other stand for the sides of a cut: each says that it is the primary, one by a later decision.
#[test]
fn of_peers_that_are_cut_off_from_each_other_the_later_decision_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let alone = |name: &'static str| {
        let place = Place::on_loopback(dir.path(), name).with("VOTERS__FOUND_AFTER", "200ms");
        let place = place.with("NODE__SERVICES", &format!("who:{}", service(name))).with("ROLES__NAMES", "primary");
        let peer = place.with("ROLES__LEASE_MS", LEASE_MS).start(None);
        wait_for("it is the primary", || holder(&peer) == Some(id(&peer)));
        peer
    };
    let (early, late) = (alone("early"), alone("late"));
    let token = |peer: &Peer| {
        let token = role(peer)?["token"].clone();
        Some((token["term"].as_u64()?, token["index"].as_u64()?))
    };
    // Each life leads in a term of its own, and grants anew.
    let before = token(&early);
    let late = late.kill();
    let first = redirect_by(&["--role", "primary"], [&*late.api]);
    let mut client = first.connect();
    let late = late.start(None);
    wait_for("it was granted later", || token(&late) > before && holder(&late) == Some(id(&late)));
    let redirect = redirect(&["--role", "primary"], [&early, &late]);
    wait_for("clients are led to the later one", || says(&mut redirect.connect()).as_deref() == Some("late"));
    assert_eq!(token(&early), before);
    assert_eq!(says(&mut client).as_deref(), Some("late"), "who came before the peer waited for it");
}

/// Three peers of which the first is preferred and promoted by this program; whoever else holds the role in the end.
fn three_where_a_is_promoted_by(dir: &Path, program: &str) -> Vec<Peer> {
    let peers = three_with(dir, |name, place| {
        let place =
            place.with("ROLES__NAMES", "primary").with("NODE__PRIORITY", if name == "a" { "200" } else { "100" });
        let program = if name == "a" { program } else { "/bin/true" };
        let place = place.with("ROLES__ON_PROMOTE", program).with("ROLES__PROMOTE_LIMIT_MS", "500");
        place.with("ROLES__LEASE_MS", LEASE_MS)
    });
    let a = id(&peers[0]);
    wait_for("another one is the primary, and has begun", || {
        peers[1..].iter().any(|peer| answers(peer) == 200) && holder(&peers[1]).is_some_and(|holds| holds != a)
    });
    assert_eq!(answers(&peers[0]), 503);
    peers
}

#[test]
fn a_program_that_fails_gives_the_role_to_another_peer() {
    let dir = tempfile::tempdir().unwrap();
    three_where_a_is_promoted_by(dir.path(), "/bin/false");
}

/// It is stopped at its limit, not waited for.
#[test]
fn a_program_that_blocks_is_stopped_and_gives_the_role_to_another_peer() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let blocks = format!(r#"["/bin/sh", "-c", "echo $$ > {}; exec sleep 3600"]"#, pid.display());
    let _peers = three_where_a_is_promoted_by(dir.path(), &blocks);
    let begun = std::fs::read_to_string(&pid).unwrap();
    let process = Path::new("/proc").join(begun.trim());
    wait_for("the program is gone", || !process.exists());
}

/// The example of a load balancer, before peers on this machine.
#[test]
fn haproxy_follows_the_primary() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        return println!("skipped: there is no haproxy here");
    }
    let dir = tempfile::tempdir().unwrap();
    let ports: Vec<_> = ["a", "b", "c"].map(|name| (name, service(name))).into();
    let port_of = |name: &str| ports.iter().find(|(of, _)| *of == name).unwrap().1;
    let mut peers = three(dir.path(), |_| String::new());
    let (writes, reads) = (free_port(), free_port());
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/haproxy.cfg")).unwrap();
    let servers = |name: &str| {
        let server = |peer: &Peer| {
            let api = peer.place.api.rsplit(':').next().unwrap();
            format!("    server {0} 127.0.0.1:{1} check port {api}\n", peer.place.name, port_of(&peer.place.name))
        };
        assert!(example.contains(&format!("backend {name}")));
        peers.iter().map(server).collect::<String>()
    };
    let mut text = String::new();
    let mut section = "";
    for line in example.lines().filter(|line| !line.trim_start().starts_with("server ")) {
        section = line.strip_prefix("backend ").unwrap_or(section);
        let line =
            line.replace(":8080", &format!("127.0.0.1:{writes}")).replace(":8090", &format!("127.0.0.1:{reads}"));
        text.push_str(&line);
        text.push('\n');
        if line.contains("expect status") {
            text.push_str(&servers(section));
        }
    }
    let file = dir.path().join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let proxy = Command::new("haproxy").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _proxy = Ends(proxy.unwrap());
    let asked = |port: u16| {
        let mut client = BufReader::new(TcpStream::connect(("127.0.0.1", port)).ok()?);
        says(&mut client)
    };
    let primary = take_primary(&mut peers);
    let was = primary.place.name.clone();
    wait_for("writes come to the primary, reads to others", || {
        asked(writes).as_ref() == Some(&was) && asked(reads).is_some_and(|name| name != was)
    });
    primary.kill();
    wait_for("writes come to whoever is the primary then", || asked(writes).is_some_and(|name| name != was));
    let is = asked(writes).unwrap();
    assert_eq!(holder(&peers[0]), peers.iter().find(|peer| peer.place.name == is).map(id));
}

/// A program that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
