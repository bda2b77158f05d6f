//! What operators are told of roles and voters: why nobody acts, who is to be asked, and what became of an order.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::harness::{Peer, Place, wait_for};
use super::roles::LEASE_MS;
use super::{decide, id, knows, leader, three, three_with};

/// Three peers whose first role is promoted by this program, so often by itself at most.
fn three_promoted_by(dir: &Path, program: &str, most: &str) -> Vec<Peer> {
    three_with(dir, |_, place| {
        let place = place.with("ROLES__NAMES", "primary").with("ROLES__ON_PROMOTE", program);
        let place = place.with("ROLES__PROMOTIONS_MAX", most).with("ROLES__PROMOTE_LIMIT_MS", "2000");
        place.with("ROLES__LEASE_MS", LEASE_MS)
    })
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn body(peer: &Peer, path: &str) -> Value {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = agent.get(format!("http://{}{path}", peer.place.api)).call().unwrap();
    let (status, mut answer) = (answer.status().as_u16(), answer);
    let mut body: Value = answer.body_mut().read_json().unwrap();
    body["status"] = status.into();
    body
}

/// Whoever leads, and the others.
fn leader_first(mut peers: Vec<Peer>) -> Vec<Peer> {
    let leads = leader(&peers[0]).unwrap();
    let at = peers.iter().position(|peer| id(peer) == leads).unwrap();
    peers.swap(0, at);
    peers
}

#[test]
fn a_role_that_is_held_back_by_the_limit_says_so_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three_promoted_by(dir.path(), "/bin/false", "1");
    let mut at = None;
    wait_for("the limit is reached, and whoever leads says so", || {
        at = peers.iter().position(|peer| {
            peer.try_ask(&["role", "list"]).is_some_and(|told| told[0]["vacancy"]["code"] == "promotions_max")
        });
        at.is_some()
    });
    let leads = &peers[at.unwrap()];
    for args in [&["role", "list"][..], &["role", "show", "primary"], &["role", "history", "primary"], &["status"]] {
        let told = text(&leads.run(args));
        assert!(told.contains("roles.promotions-max") && told.contains("none by itself before 20"), "{told}");
        assert!(told.contains("role resume primary") && told.contains("role move primary PEER"), "{told}");
        assert!(!told.contains("nothing is wrong"), "{told}");
    }
    assert_eq!(leads.run(&["status", "--check"]).status.code(), Some(1));
    for path in ["/primary", "/role/primary"] {
        let told = body(leads, path);
        assert_eq!((&told["status"], &told["code"]), (&503.into(), &"promotions_max".into()), "{told}");
        assert!(told["why"].is_string() && told["cure"].is_string() && told["until"].is_u64(), "{told}");
    }
    // The holder knows of its own that it does not act.
    let holds = leads.ask(&["role", "show", "primary"])["holder"].clone();
    let holder = peers.iter().find(|peer| id(peer) == holds).unwrap();
    assert!(!text(&holder.run(&["status"])).contains("nothing is wrong"));
    // Whom it is moved to does not begin either: that is the end of the order, not that it was decided.
    let to = peers.iter().find(|peer| id(peer) != holds).unwrap();
    let moved = to.run(&["role", "move", "primary", &to.place.name]);
    assert_eq!(moved.status.code(), Some(1), "{moved:?}");
    assert!(text(&moved).contains("it is decided, under") && !text(&moved).contains(" is primary, under"), "{moved:?}");
    assert!(leads.run(&["role", "move", "primary", "--no-wait"]).status.success());
}

#[test]
fn a_holder_that_is_dead_is_told_by_who_knows_no_more_and_by_who_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three_promoted_by(dir.path(), "/bin/true", "100");
    wait_for("somebody is the primary", || body(&peers[0], "/primary")["holder"].is_object());
    peers[0].ask(&["role", "pause", "primary"]);
    let holds = body(&peers[0], "/primary")["holder"]["node"].clone();
    let at = peers.iter().position(|peer| id(peer) == holds).unwrap();
    drop(peers.remove(at));
    let code = |peer: &Peer| body(peer, "/role/primary")["code"].as_str().map(str::to_owned);
    wait_for("the leader says that it is held back, the other whom to ask", || {
        let mut codes: Vec<_> = peers.iter().map(code).collect();
        codes.sort();
        codes == [Some("held".to_owned()), Some("holder_gone".to_owned())]
    });
    let leads = peers.iter().find(|peer| code(peer).as_deref() == Some("held")).unwrap();
    for peer in &peers {
        let told = text(&peer.run(&["status"]));
        let cure =
            if std::ptr::eq(peer, leads) { "role resume primary" } else { &*format!("ask {}", leads.place.name) };
        assert!(told.contains(cure) && !told.contains("nothing is wrong"), "{told}");
    }
}

#[test]
fn a_released_role_is_told_and_stays_paused_when_it_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let peers = leader_first(three_promoted_by(dir.path(), "/bin/true", "100"));
    wait_for("somebody is the primary", || body(&peers[0], "/primary")["holder"].is_object());
    let released = text(&peers[1].run(&["role", "release", "primary"]));
    assert!(released.contains("it is paused, and a move leaves it so"), "{released}");
    for peer in &peers {
        wait_for("all know", || text(&peer.run(&["status"])).contains("nobody is primary: it was released by"));
    }
    let again = peers[0].run(&["role", "release", "primary"]);
    assert!(again.status.success() && text(&again).contains("primary is released already"), "{again:?}");
    // Nobody held it: all the same it is known at any peer that the new holder has begun.
    let moved = peers[2].run(&["role", "move", "primary", &peers[1].place.name]);
    assert!(moved.status.success(), "{moved:?}");
    let words = text(&moved);
    assert!(words.contains(&format!("{} is primary, under", peers[1].place.name)), "{words}");
    assert!(words.contains("it is paused still"), "{words}");
    assert_eq!(body(&peers[1], "/primary")["status"], 200);
    let again = peers[0].run(&["role", "pause", "primary"]);
    assert!(again.status.success() && text(&again).contains("primary is paused already"), "{again:?}");
    assert_eq!(peers[0].ask(&["role", "pause", "primary"])["already"], true);
    let listed = text(&peers[2].run(&["role", "list"]));
    assert!(listed.contains("primary is paused: nothing is done about it"), "{listed}");
    let resumed = peers[2].run(&["role", "resume", "primary"]);
    assert!(resumed.status.success() && text(&resumed).contains("it is decided, under"), "{resumed:?}");
    wait_for("it is known", || peers[2].ask(&["role", "show", "primary"])["paused"] == false);
    let resumed = peers[2].run(&["role", "resume", "primary"]);
    assert!(resumed.status.success() && text(&resumed).contains("primary was not paused"), "{resumed:?}");
    let history = text(&peers[0].run(&["role", "history", "primary"]));
    assert!(
        history.contains("planned moves of these turns: 1") && !history.contains("failovers of these"),
        "{history}"
    );
    let lines: Vec<_> = history.lines().filter(|line| line.starts_with("20")).collect();
    assert!(
        lines.last().unwrap().contains(&peers[1].place.name) && lines.last().unwrap().contains("so far"),
        "{history}"
    );
    assert!(!history.contains(&id(&peers[1])), "{history}");
    // A role's register is no text: it is read, and no byte of it comes to a terminal.
    let tail = text(&peers[0].run(&["actions", "tail"]));
    assert!(!tail.chars().any(|c| c.is_control() && c != '\n'), "{tail:?}");
    assert!(tail.contains("role/primary = ") && tail.contains("(switchover, by "), "{tail}");
}

#[test]
fn a_move_that_is_undone_by_itself_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three_with(dir.path(), |name, place| {
        let place = place.with("ROLES__NAMES", "primary").with("ROLES__FAILBACK_AFTER", "1h");
        place.with("NODE__PRIORITY", if name == "a" { "200" } else { "100" }).with("ROLES__LEASE_MS", LEASE_MS)
    });
    wait_for("who is preferred is the primary", || body(&peers[0], "/primary")["status"] == 200);
    let moved = peers[1].run(&["role", "move", "primary", "b"]);
    let told = "failback: a is preferred, and takes it back once it was well for 60 min; `role pause primary` keeps it";
    assert!(moved.status.success() && text(&moved).contains(told), "{moved:?}");
    let back = peers[1].ask(&["role", "move", "primary", "a"]);
    assert_eq!(back["failback"], Value::Null, "nobody is preferred to it");
    peers[1].ask(&["role", "pause", "primary"]);
    let moved = peers[2].run(&["role", "move", "primary", "c"]);
    assert!(moved.status.success() && !text(&moved).contains("failback"), "it is paused: {moved:?}");
}

#[test]
fn who_is_to_be_asked_is_told_by_name_and_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let peers = leader_first(three(dir.path()));
    let name = &peers[0].place.name;
    let refused = peers[1].run(&["voters", "transfer"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let words = text(&refused);
    assert!(words.contains(&format!("{name} leads the voters")) && !words.contains("try again"), "{words}");
    let refused = peers[1].run(&["voters", "transfer", "--json"]);
    let told: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(
        (&told["error"]["code"], &told["error"]["leader"]["name"]),
        (&"not_leader".into(), &name.as_str().into())
    );
    assert_eq!(told["error"]["leader"]["node"], id(&peers[0]), "{told}");
    let itself = peers[0].run(&["voters", "transfer", name]);
    assert!(itself.status.success() && text(&itself).contains(&format!("{name} leads already")), "{itself:?}");
    // Who has just become a voter may not have been heard yet: that is refused, and certain.
    let mut told = None;
    wait_for("the lead is handed over", || {
        told = peers[0].try_ask(&["voters", "transfer", &peers[2].place.name]);
        told.is_some()
    });
    let told = told.unwrap();
    assert_eq!(told["to"], id(&peers[2]), "{told}");
    assert_eq!(told["handed_over"] == true, told["leader"] == told["to"], "what is said is what is seen: {told}");
    for args in [&["voters", "add", "nobody"][..], &["role", "show", "nothing"], &["role", "pause", "nothing"]] {
        let refused = peers[1].run(&[args, &["--json"]].concat());
        let told: Value = serde_json::from_slice(&refused.stderr).unwrap();
        assert_eq!(told["error"]["code"], "not_found", "{told}");
    }
    let made = decide(&peers[1], "note", "line\n1.1.1  forged = \u{1b}[31m");
    let number = made["request"].as_str().unwrap().split_once('.').unwrap().1;
    assert_eq!(number.len(), 32, "{made}");
    // Under the name of a request that is decided, nothing else is.
    let name = made["request"].as_str().unwrap();
    for peer in &peers {
        wait_for("the decision is known", || knows(peer, "note", "line\n1.1.1  forged = \u{1b}[31m"));
        let other = peer.run(&["actions", "set", "another", "1", "--request", name]);
        assert!(
            other.status.code() == Some(1) && text(&other).contains("belongs to another request, about \"note\""),
            "{other:?}"
        );
        let again = peer.run(&["actions", "set", "note", "line\n1.1.1  forged = \u{1b}[31m", "--request", name]);
        assert!(again.status.success(), "{again:?}");
    }
    let tail = text(&peers[0].run(&["actions", "tail"]));
    assert!(tail.contains("note = line\\n1.1.1  forged = \\u{1b}[31m"), "{tail}");
    let lines = peers[0].run(&["actions", "tail", "--json"]).stdout;
    let mut all = serde_json::Deserializer::from_slice(&lines).into_iter::<Value>().map(Result::unwrap);
    assert!(all.all(|it| it["epoch"].is_u64() || it["gap"] == true));
    // One of three voters is gone: that is seen, and that no other may be.
    let (mut peers, gone) = (peers, "c");
    let at = peers.iter().position(|peer| peer.place.name == gone).unwrap();
    drop(peers.remove(at));
    wait_for("it is told who is not there", || {
        let told = text(&peers[0].run(&["voters", "list"]));
        told.contains("Not there: c: none of those that are left may be lost")
    });
}

#[test]
fn where_nobody_leads_every_peer_says_so_and_who_has_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three_promoted_by(dir.path(), "/bin/true", "100");
    let place = Place::on_loopback(dir.path(), "d").with("NODE__OBSERVER", "true").with("ROLES__NAMES", "primary");
    let observer = place.with("ROLES__LEASE_MS", LEASE_MS).start(Some(&peers[0].invite()));
    wait_for("who does not vote knows who leads", || {
        leader(&observer).is_some() && leader(&observer) == leader(&peers[0])
    });
    let holds = body(&peers[0], "/primary")["holder"]["node"].clone();
    let at = peers.iter().position(|peer| id(peer) == holds).unwrap();
    let holder = peers.remove(at);
    let gone: Vec<_> = peers.iter().map(|peer| peer.place.name.clone()).collect();
    peers.into_iter().for_each(|peer| _ = peer.kill());
    for peer in [&observer, &holder] {
        wait_for("it says that nobody leads, and what helps", || {
            let told = text(&peer.run(&["status"]));
            let named = told.contains(&format!("bring back {}, {}", gone[0], gone[1]))
                || told.contains(&format!("bring back {}, {}", gone[1], gone[0]));
            told.contains("degraded") && named
        });
        let told = text(&peer.run(&["role", "list"]));
        assert!(told.contains("nobody leads the voters"), "{told}");
    }
}
