//! Backups of the whole mesh on real processes: decided once, taken once, whoever dies.

use super::harness::wait_for;
use super::{id, leader, take_leader, three};

#[test]
fn a_backup_of_the_mesh_is_taken_by_one_peer_or_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three(dir.path());
    peers[0].ask(&["doc", "put", "notes/a", "{\"x\": 1}"]);
    let repository = dir.path().join("repository").display().to_string();
    let made = peers[1].ask(&["backup", "create", "--mesh", "--full", "--repo", &repository]);
    let shares = made["shares"].as_array().unwrap();
    assert_eq!(shares.len(), 1, "{made}");
    assert!(shares[0]["done"]["backup"].is_string() && shares[0]["done"]["error"].is_null(), "{made}");
    let taken = peers[2].ask(&["backup", "create", "--mesh", "--on", "all", "--repo", &repository]);
    let mut takers: Vec<_> = taken["shares"].as_array().unwrap().iter().map(|share| share["node"].clone()).collect();
    let mut all: Vec<_> = peers.iter().map(|peer| serde_json::Value::from(id(peer))).collect();
    takers.sort_by_key(ToString::to_string);
    all.sort_by_key(ToString::to_string);
    assert_eq!(takers, all);
    let listed = peers[0].run(&["backup", "list", "--repo", &repository, "--node", &id(&peers[0]), "--json"]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let none = peers[1].run(&["backup", "create", "--mesh", "--cancel"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("no backup of the mesh goes on"), "{none:?}");
    // What cannot be reached is told, with whose share it was.
    let output = peers[0].run(&["backup", "create", "--mesh", "--on", "b", "--repo", "/proc/nowhere", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let job: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(job["shares"][0]["node"], id(peers.iter().find(|peer| peer.place.name == "b").unwrap()));
    assert!(job["shares"][0]["done"]["error"].is_string(), "{job}");
}

/// It is there by all that is known when it is named, and stands still: another peer takes it, and whoever gave the order is told.
#[test]
fn a_backup_of_a_named_peer_that_is_gone_is_another_peers_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    let leads = leader(&peers[0]).unwrap();
    let at = peers.iter().position(|peer| id(peer) != leads).unwrap();
    let (gone, repository) = (peers.remove(at), dir.path().join("repository").display().to_string());
    let (name, node) = (gone.place.name.clone(), id(&gone));
    let stopped = std::process::Command::new("kill").args(["-STOP", &gone.pid().to_string()]).status();
    assert!(stopped.unwrap().success());
    let made = peers[0].run(&["backup", "create", "--mesh", "--on", &name, "--repo", &repository]);
    let words = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{made:?}");
    let took = peers
        .iter()
        .find(|peer| words.contains(&format!("{name} was to take it, and was gone: {} took it", peer.place.name)));
    let shown = peers[1].ask(&["backup", "create", "--mesh", "--show"]);
    assert_eq!(
        (&shown["shares"][0]["instead_of"], &shown["shares"][0]["node"]),
        (&node.into(), &id(took.unwrap()).into())
    );
}

#[test]
fn a_backup_outlives_the_leader_and_whoever_was_to_take_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    let first = take_leader(&mut peers);
    let (name, repository) = (first.place.name.clone(), dir.path().join("repository").display().to_string());
    peers[0].ask(&["doc", "put", "notes/a", "{\"x\": 1}"]);
    let job = peers[0].ask(&["backup", "create", "--mesh", "--no-wait", "--on", &name, "--repo", &repository]);
    let gone = id(&first);
    first.kill();
    let show = || peers[0].try_ask(&["backup", "create", "--mesh", "--show"]);
    // Either it was done before the end came, or another one did it.
    wait_for("the backup is taken once", || {
        show().is_some_and(|now| now["id"] == job["id"] && now["shares"][0]["done"]["backup"].is_string())
    });
    let share = show().unwrap()["shares"][0].clone();
    assert_eq!(share["attempt"] == 1, share["node"] == gone.as_str(), "{share}");
    // Whoever named it is told that it was another one.
    let is_passed_on = share["attempt"] != 1;
    assert_eq!(share["instead_of"] == gone.as_str(), is_passed_on, "{share}");
    let shown = peers[0].run(&["backup", "create", "--mesh", "--show"]);
    let words = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(words.contains(&format!("{name} was to take it, and was gone")), is_passed_on, "{words}");
    wait_for("its end is seen", || peers[0].members("dead") == 1);
    let refused = peers[0].run(&["backup", "create", "--mesh", "--on", &name, "--repo", &repository]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains(&format!("{name} cannot take a backup")), "{words}");
    // Where all are to take it, it is told who does not.
    let all = peers[0].run(&["backup", "create", "--mesh", "--on", "all", "--repo", &repository, "--json"]);
    assert!(all.status.success(), "{all:?}");
    let words = String::from_utf8_lossy(&all.stderr).into_owned();
    assert!(words.contains(&format!("warning: {name} is left out and takes no backup: it is dead")), "{words}");
    let job: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!((&job["left_out"][0]["node"], &job["left_out"][0]["name"]), (&gone.clone().into(), &name.into()));
    assert_eq!((job["shares"].as_array().unwrap().len(), job["left_out"].as_array().unwrap().len()), (2, 1), "{job}");
    wait_for("somebody leads", || leader(&peers[0]).is_some_and(|leads| leads != gone));
}

#[test]
fn a_backup_that_is_cancelled_says_so_and_that_is_what_was_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three(dir.path());
    let leads = leader(&peers[0]).unwrap();
    let asked = peers.iter().find(|peer| id(peer) != leads).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (repository, key) = (path("repository"), path("key"));
    // Nobody writes into it: whoever reads the key from it waits.
    assert!(std::process::Command::new("mkfifo").args(["-m", "600", &key]).status().unwrap().success());
    let begin = ["backup", "create", "--mesh", "--on", "all", "--no-wait", "--repo", &repository, "--key-file", &key];
    for _ in 0..3 {
        let begun = asked.ask(&begin);
        assert_eq!(begun["left_out"], serde_json::json!([]), "{begun}");
        let cancelled = asked.run(&["backup", "create", "--mesh", "--cancel"]);
        let words = String::from_utf8_lossy(&cancelled.stdout).into_owned();
        assert!(cancelled.status.success(), "{cancelled:?}");
        assert!(words.contains("is cancelled: 3 of 3 shares were not taken") && !words.contains("goes on"), "{words}");
    }
    asked.ask(&begin);
    let told = asked.ask(&["backup", "create", "--mesh", "--cancel"]);
    assert_eq!(told["cancelled"], true, "{told}");
    assert!(told["shares"].as_array().unwrap().iter().all(|share| share["done"]["error"].is_string()), "{told}");
    let again = asked.run(&["backup", "create", "--mesh", "--cancel"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}
