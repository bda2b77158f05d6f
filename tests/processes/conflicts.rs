//! What two peers write apart is seen by people on both, settled by one, and told ever after.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Peer, Place, wait_for};

fn open(peer: &Peer) -> Vec<Value> {
    peer.ask(&["conflicts", "list", "d/"])["open"].as_array().unwrap().clone()
}

fn audit(peer: &Peer) -> Vec<Value> {
    let output = peer.run(&["conflicts", "audit", "d/", "--json"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn shown(peer: &Peer) -> Option<Value> {
    peer.try_ask(&["doc", "get", "d/1"]).map(|answer| answer["value"].clone())
}

/// Two peers that see each other.
fn pair(dir: &std::path::Path) -> (Peer, Peer) {
    let one = Place::on_loopback(dir, "one").start(None);
    let two = Place::on_loopback(dir, "two").start(Some(&one.invite()));
    wait_for("both see both", || one.members("alive") == 2 && two.members("alive") == 2);
    (one, two)
}

#[test]
fn a_conflict_is_seen_settled_and_told_by_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path());
    assert!(one.run(&["doc", "put", "d/1", r#"{"v": 0, "by": "all"}"#]).status.success());
    wait_for("both have it", || shown(&two).is_some());

    // A rule for the mesh, decided once. What is no rule is refused.
    assert_eq!(one.run(&["conflicts", "policy", "set", "d/", "newest"]).status.code(), Some(2));
    wait_for("it is decided", || {
        one.run(&["conflicts", "policy", "set", "d/", "manual", "--priority", "two=3"]).status.success()
    });
    let rule = |peer: &Peer| peer.ask(&["conflicts", "policy", "list"])["policies"][0]["rule"].clone();
    wait_for("both have heard", || rule(&one) == "manual" && rule(&two) == "manual");

    assert!(one.run(&["peer", "pause", "two"]).status.success());
    assert!(one.run(&["doc", "set", "d/1", "v", "1"]).status.success());
    assert!(two.run(&["doc", "set", "d/1", "v", "2"]).status.success());
    assert!(one.run(&["peer", "resume", "two"]).status.success());
    wait_for("both tell of it", || !open(&one).is_empty() && open(&one) == open(&two));
    let met = open(&one);
    assert_eq!((met.len(), &met[0]["path"], &met[0]["rule"]), (1, &json!("/v"), &json!("manual")));
    // The last write shows meanwhile.
    assert_eq!((shown(&one), shown(&two)), (Some(json!({ "v": 2, "by": "all" })), shown(&one)));
    let text = String::from_utf8(two.run(&["conflicts", "show", "d/1"]).stdout).unwrap();
    assert!(text.contains("/v") && text.contains("manual"), "{text}");

    let values = met[0]["values"].as_array().unwrap();
    // They are told latest first, and counted from the oldest. A number alone is refused: it may mean another value by now.
    let other = values.len() - values.iter().position(|value| value["value"] == 1).unwrap();
    let choice = |seen: &str| format!("{other}@{seen}");
    let seen = choice(met[0]["seen"].as_str().unwrap());
    assert!(text.contains(&seen), "{text}");
    for (wrong, code) in [(other.to_string(), 2), (choice("00000000"), 1), (format!("9@{}", &seen[2..]), 2)] {
        let refused = two.run(&["conflicts", "resolve", "d/1", "/v", "--choose", &wrong]);
        assert_eq!(refused.status.code(), Some(code), "{wrong}: {refused:?}");
    }
    assert_eq!(open(&two), met, "nothing was settled");
    let change = values.iter().find(|value| value["value"] == 1).unwrap()["change"].as_str().unwrap();
    let whole = two.run(&["conflicts", "show", "d/1", "/v", "--value", &change[..8]]);
    assert_eq!((whole.status.success(), whole.stdout.trim_ascii()), (true, &b"1"[..]), "{whole:?}");
    let settled = two.run(&["conflicts", "resolve", "d/1", "/v", "--choose", &seen]);
    assert!(settled.status.success(), "{settled:?}");
    wait_for("nothing is open", || open(&one).is_empty() && open(&two).is_empty());
    assert_eq!(shown(&one), Some(json!({ "v": 1, "by": "all" })));
    assert_eq!(two.run(&["conflicts", "show", "d/1"]).status.code(), Some(1));
    assert_eq!(two.run(&["conflicts", "show", "d/1", "--json"]).status.code(), Some(1));
    // Nothing is open: what would overwrite is refused, and what reads so already is settled already.
    let resolve =
        |value: &str, more: &[&str]| two.run(&[&["conflicts", "resolve", "d/1", "v", "--value", value], more].concat());
    let refused = resolve("7", &[]);
    assert_eq!((refused.status.code(), shown(&two)), (Some(1), shown(&one)), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no conflict is open"), "{refused:?}");
    let again = resolve("1", &[]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("settled already"), "{again:?}");
    let trail = audit(&one);
    assert_eq!((trail.len(), &trail), (1, &audit(&two)));
    assert_eq!((&trail[0]["kind"], &trail[0]["settled"]["value"]), (&json!("write-write"), &json!(1)));

    // It is read off the history, so a restart takes nothing of it.
    let two = two.kill().start(None);
    wait_for("it is there again", || shown(&two).is_some());
    assert_eq!(audit(&two), trail);
    assert!(!audit(&two).is_empty());

    // Another rule makes the other side show, and leaves what is told of then.
    assert_eq!((&trail[0]["rule"], &trail[0]["winner"]), (&json!("manual"), &trail[0]["shows"]));
    let won = &trail[0]["winner"];
    assert!(one.run(&["conflicts", "policy", "set", "d/", "priority", "--priority", "one=3"]).status.success());
    wait_for("both have heard", || rule(&one) == "priority" && rule(&two) == "priority");
    for peer in [&one, &two] {
        let now = audit(peer).remove(0);
        assert_eq!((&now["rule"], &now["winner"]), (&json!("manual"), won));
        assert!(now["shows"].is_number() && now["shows"] != *won, "{now}");
    }
    let text = String::from_utf8(two.run(&["conflicts", "audit", "d/"]).stdout).unwrap();
    assert!(text.contains("manual") && text.contains("chose 2"), "{text}");
    assert!(text.contains("write-write") && text.contains("what settled it"), "{text}");
    told_by_name(&one, &two, &text);
    only_policies_that_can_be(&one);
    let none = two.run(&["conflicts", "audit", "d/", "--until", "2020-01-01T00:00:00Z", "--json"]);
    assert_eq!((none.status.success(), none.stdout.len()), (true, 0));
}

/// Who wrote is named, and a part of an id that only one has is taken.
fn told_by_name(one: &Peer, two: &Peer, text: &str) {
    assert!(text.contains("one") && text.contains("two"), "{text}");
    let node = one.ask(&["status"])["node"].as_str().unwrap().to_owned();
    let by = two.run(&["conflicts", "audit", "d/", "--by", &node[node.len() - 8..], "--json"]);
    assert!(by.status.success() && !by.stdout.is_empty(), "{by:?}");
}

/// A function that a peer lacks is warned of; what cannot be a policy is refused.
fn only_policies_that_can_be(one: &Peer) {
    let lacks = one.run(&["conflicts", "policy", "set", "d/", "custom:nope", "--path", "v"]);
    assert!(lacks.status.success() && String::from_utf8_lossy(&lacks.stderr).contains("no function"), "{lacks:?}");
    for wrong in [&["d/", "manual", "--path", "/a~2"][..], &["/d", "manual"], &["d/", "priority"]] {
        let refused = one.run(&[&["conflicts", "policy", "set"], wrong].concat());
        assert!(!refused.status.success(), "{wrong:?}: {refused:?}");
    }
}

#[test]
fn a_removal_that_met_a_write_is_listed_and_settled_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path());
    one.ask(&["doc", "put", "d/1", r#"{"v": 0, "w": 0}"#]);
    wait_for("both have it", || shown(&two).is_some());
    one.ask(&["peer", "pause", "two"]);
    for place in ["v", "w"] {
        one.ask(&["doc", "rm", "d/1", place]);
        two.ask(&["doc", "set", "d/1", place, "2"]);
    }
    one.ask(&["peer", "resume", "two"]);
    wait_for("both tell of both", || open(&one).len() == 2 && open(&one) == open(&two));
    assert!(open(&one).iter().all(|one| one["kind"] == "delete-write"), "{:?}", open(&one));
    let text = String::from_utf8(one.run(&["conflicts", "show", "d/1", "v"]).stdout).unwrap();
    assert!(text.contains("delete-write") && text.contains("removed"), "{text}");

    let number = |path: &str, removed: bool| {
        let all = one.ask(&["conflicts", "show", "d/1", path]);
        let values = all["open"][0]["values"].as_array().unwrap().clone();
        let is = |value: &Value| (value["removed"] == true) == removed;
        let seen = all["open"][0]["seen"].as_str().unwrap();
        format!("{}@{seen}", values.len() - values.iter().position(is).unwrap())
    };
    let choices = [("/v", number("/v", true)), ("/w", number("/w", false))];
    for (path, choice) in choices {
        two.ask(&["conflicts", "resolve", "d/1", path, "--choose", &choice]);
    }
    wait_for("nothing is open", || open(&one).is_empty() && open(&two).is_empty());
    assert_eq!((shown(&one), shown(&two)), (Some(json!({ "w": 2 })), Some(json!({ "w": 2 }))));
    // Once more, and nothing is written.
    assert!(one.ask(&["conflicts", "resolve", "d/1", "/v", "--remove"])["stamp"].is_null());

    // Of a whole document.
    one.ask(&["peer", "pause", "two"]);
    one.ask(&["doc", "rm", "d/1"]);
    two.ask(&["doc", "set", "d/1", "w", "3"]);
    one.ask(&["peer", "resume", "two"]);
    wait_for("both tell of it", || open(&one).len() == 1 && open(&one) == open(&two));
    assert_eq!(open(&one)[0]["path"], "");
    one.ask(&["conflicts", "resolve", "d/1", "", "--remove"]);
    wait_for("it is gone", || open(&two).is_empty() && shown(&two).is_none());
}

#[test]
fn what_is_counted_and_listed_apart_all_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path());
    one.ask(&["doc", "put", "d/1", r#"{"tags": ["b"], "seen": 10}"#]);
    wait_for("both have it", || shown(&two).is_some());

    one.ask(&["peer", "pause", "two"]);
    one.ask(&["doc", "insert", "d/1", "tags/0", "a"]);
    two.ask(&["doc", "insert", "d/1", "tags/-", "c"]);
    for (peer, by) in [(&one, "5"), (&two, "-2"), (&two, "1")] {
        // One that was a number, and one that nobody had made.
        peer.ask(&["doc", "increment", "d/1", "seen", by]);
        peer.ask(&["doc", "increment", "d/1", "visits"]);
    }
    one.ask(&["peer", "resume", "two"]);
    let all = json!({ "tags": ["a", "b", "c"], "seen": 14, "visits": 3 });
    wait_for("all of it stands on both", || [&one, &two].iter().all(|peer| shown(peer).as_ref() == Some(&all)));
    let what = |entry: &Value| entry["kind"] == "concurrent-update";
    assert!(open(&one).is_empty() && !audit(&one).is_empty() && audit(&one).iter().all(what), "{:?}", audit(&one));

    let beyond = one.run(&["doc", "insert", "d/1", "tags/7", "x"]);
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("the list has 3 elements"), "{beyond:?}");
    let no_number = one.run(&["doc", "increment", "d/1", "tags"]);
    assert!(!no_number.status.success(), "{no_number:?}");
    let odd = one.run(&["doc", "ls", "--flagged"]);
    assert!(odd.status.success() && String::from_utf8_lossy(&odd.stderr).contains("nothing odd"), "{odd:?}");
}

#[test]
fn a_watch_marks_where_several_values_stand_and_what_is_odd() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = pair(dir.path());
    one.ask(&["doc", "put", "d/1", r#"{"v": 0, "geometry": null}"#]);
    wait_for("both have it", || shown(&two).is_some());

    let mut watch = two.command(&["doc", "watch", "d/"]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (send, lines) = mpsc::channel();
    let out = BufReader::new(watch.stdout.take().unwrap());
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let next = || lines.recv_timeout(PATIENCE).unwrap();
    // It may not listen yet: what comes before is not shown.
    let mut n = 0;
    wait_for("the watch sees a change", || {
        n += 1;
        two.ask(&["doc", "put", "d/0", &json!({ "n": n }).to_string()]);
        lines.try_recv().is_ok_and(|line| line.starts_with("changed d/0") && !line.contains("several"))
    });

    // Each of them is sound, and both together are no feature.
    one.ask(&["peer", "pause", "two"]);
    one.ask(&["doc", "set", "d/1", "v", "1"]);
    one.ask(&["doc", "set", "d/1", "type", "Feature"]);
    two.ask(&["doc", "set", "d/1", "v", "2"]);
    two.ask(&["doc", "set", "d/1", "geometry", "7"]);
    one.ask(&["peer", "resume", "two"]);
    let mark = ", several values stand in it";
    // The changes may come one by one, each with a line of its own.
    let mut line = next();
    let flag = loop {
        let after = next();
        if line.starts_with("changed d/1") && line.ends_with(mark) && after.starts_with("  ") {
            break after;
        }
        line = after;
    };
    assert!(flag.starts_with("  geojson: ") && flag.contains("an object is expected, found a number"), "{flag}");

    // What is settled and mended is told without marks.
    two.ask(&["conflicts", "resolve", "d/1", "/v", "--value", "2"]);
    two.ask(&["doc", "set", "d/1", "geometry", "null"]);
    two.ask(&["doc", "put", "d/9", "{}"]);
    let mut last = next();
    let before = loop {
        let line = next();
        if line.starts_with("changed d/9") {
            break last;
        }
        last = line;
    };
    assert!(before.starts_with("changed d/1") && !before.contains(mark), "{before}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    drop(lines);
    let _ = reader.join().unwrap();
}
