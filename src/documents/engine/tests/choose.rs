//! Settling by what a change stands for: of any length, as it was seen, and nowhere but where something is open.

use super::super::super::{Found, Look, OpenConflict, Policy, PolicyHistory, Standing};
use super::*;
use crate::conflict::{ConflictType, Rule};

fn choose(path: &str, standing: &Standing, seen: Option<&str>) -> Edit {
    let seen = seen.map(str::to_owned);
    Edit::Choose { path: path.into(), change: standing.by.change.clone(), seen }
}

fn resolve(path: &str, value: Option<Value>) -> Edit {
    Edit::Resolve { path: path.into(), value, force: false }
}

fn only(peer: &mut Peer) -> OpenConflict {
    let [one] = &peer.open()[..] else { panic!("{:?}", peer.open()) };
    one.clone()
}

impl Peer {
    fn standing(&mut self, path: &str, change: &str) -> Result<Value, Error> {
        let (path, change, policies) = (path.into(), change.into(), Policies::default());
        let task = Task::Standing { doc: doc(), command: CommandId::ZERO, path, change, policies };
        let Done::Got { value, .. } = self.engine.run(task) else { panic!("another answer") };
        value
    }
}

#[test]
fn what_was_written_earlier_and_comes_between_shifts_no_choice() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    let mut away = Peer::new(3);
    away.take(&a);
    // Its stamp is before those of the others.
    away.set("v", json!("early"));
    for peer in [&mut a, &mut b] {
        peer.set("w", json!(0));
        peer.set("w", json!(1));
    }
    a.set("v", json!("a"));
    b.set("v", json!("b"));
    meet(&mut a, &mut b).unwrap();
    let shown = a.open().into_iter().find(|one| one.path == "/v").unwrap();
    let wanted = shown.values.last().unwrap().clone();
    assert_eq!(b.open().into_iter().find(|one| one.path == "/v").unwrap(), shown);
    a.take(&away);
    let now = a.open().into_iter().find(|one| one.path == "/v").unwrap();
    assert_eq!((now.values.len(), now.values[2].value == json!("early")), (3, true), "it is the first by its stamp");
    let before = a.log.len();
    let refused = a.edit([choose("v", &wanted, Some(&shown.seen))]);
    assert!(matches!(refused, Err(Error::NotSeen { .. })), "{refused:?}");
    assert_eq!((a.log.len(), now.seen != shown.seen), (before, true), "nothing was settled");
    // With what stands now, and by the change alone, it is the value that was meant.
    let mut other = Peer::new(4);
    other.take(&a);
    other.take(&b);
    other.take(&away);
    other.edit([choose("/v", &wanted, None)]).unwrap();
    a.edit([choose("/v", &wanted, Some(&now.seen))]).unwrap();
    for peer in [&mut a, &mut other] {
        assert_eq!(peer.get("v").unwrap(), wanted.value);
        assert!(peer.open().iter().all(|one| one.path != "/v"));
    }
    let short = Edit::Choose { path: "w".into(), change: wanted.by.change[..4].into(), seen: None };
    assert!(a.edit([short]).is_err(), "four digits name no change");
}

#[test]
fn a_long_value_that_lost_is_read_whole_and_chosen() {
    let (mut a, mut b) = pair(json!({"v": 0, "geometry": null}));
    let long = |n: u32| json!({"type": "LineString", "coordinates": (0..2_000).map(|x| [x, n]).collect::<Vec<_>>()});
    for path in ["v", "geometry"] {
        a.set(path, long(1));
        b.set(path, long(2));
    }
    meet(&mut a, &mut b).unwrap();
    for path in ["/v", "/geometry"] {
        let open = a.open().into_iter().find(|one| one.path == path).unwrap();
        let lost = open.values.iter().find(|one| !one.shows).unwrap();
        assert!(lost.value.is_null() && lost.bytes.is_some(), "{lost:?}");
        let meant = long(if lost.by.node() == Some(a.actor.node) { 1 } else { 2 });
        assert_ne!(a.get(path).unwrap(), meant);
        assert_eq!(a.standing(path, &lost.by.change[..8]).unwrap(), meant);
        b.edit([choose(path, lost, Some(&open.seen))]).unwrap();
        assert_eq!(meet(&mut a, &mut b).unwrap().pointer(path), Some(&meant));
        assert!(matches!(a.standing(path, &lost.by.change), Err(Error::NotOpen { .. })));
        assert!(matches!(a.edit([choose(path, lost, Some(&open.seen))]), Err(Error::NotOpen { .. })));
    }
    assert_eq!(a.open(), []);
}

#[test]
fn a_removal_is_chosen_and_what_is_lost_is_not() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    a.edit([Edit::Increment { path: "n".into(), by: 1 }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    a.edit([Edit::Remove { path: "v".into() }]).unwrap();
    a.edit([Edit::Remove { path: "n".into() }]).unwrap();
    b.set("v", json!(1));
    b.edit([Edit::Increment { path: "n".into(), by: 1 }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    let [n, v] = &a.open()[..] else { panic!("{:?}", a.open()) };
    let lost = n.values.iter().find(|one| one.lost).unwrap();
    let before = a.log.len();
    assert!(matches!(a.edit([choose("n", lost, Some(&n.seen))]), Err(Error::Invalid { .. })));
    assert_eq!(a.log.len(), before, "no null was written");
    let removed = |open: &OpenConflict| open.values.iter().find(|one| one.removed).unwrap().clone();
    assert!(matches!(a.standing("v", &removed(v).by.change), Err(Error::Invalid { .. })));
    a.edit([choose("v", &removed(v), Some(&v.seen)), choose("n", &removed(n), Some(&n.seen))]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({}));
    assert_eq!((a.open(), b.open()), (vec![], vec![]));
}

#[test]
fn a_document_that_was_deleted_meanwhile_is_kept_or_not_by_choice() {
    for keeps in [true, false] {
        let (mut a, mut b) = pair(json!({"v": 0}));
        a.edit([Edit::Delete]).unwrap();
        b.set("v", json!(1));
        meet(&mut a, &mut b).unwrap();
        let open = only(&mut b);
        assert_eq!((open.path.as_str(), open.kind), ("", ConflictType::DeleteWrite));
        let wanted = open.values.iter().find(|one| one.removed != keeps).unwrap();
        assert!(matches!(b.edit([choose("", wanted, Some("00000000"))]), Err(Error::NotSeen { .. })));
        b.edit([choose("", wanted, Some(&open.seen))]).unwrap();
        let shown = meet(&mut a, &mut b);
        assert_eq!(shown.ok(), keeps.then(|| json!({"v": 1})));
        let (before, again) = (a.log.len(), a.edit([resolve("", None)]));
        assert_eq!((again.is_ok(), a.log.len()), (!keeps, before), "it is deleted already, or nothing is open");
        assert_eq!((a.open(), b.open()), (vec![], vec![]));
    }
}

#[test]
fn nothing_is_settled_where_nothing_is_open() {
    let (mut a, mut b) = pair(json!({"v": 0, "in": {"x": 1}, "l": [1]}));
    for (path, value) in
        [("v", Some(json!(1))), ("v", None), ("in", Some(json!({}))), ("l/0", None), ("", Some(json!({})))]
    {
        let before = (a.log.len(), a.get("").unwrap());
        let refused = a.edit([resolve(path, value.clone())]);
        assert!(matches!(refused, Err(Error::NotOpen { .. })), "{path} {value:?}: {refused:?}");
        assert_eq!((a.log.len(), a.get("").unwrap()), before);
    }
    // What reads so already is settled already.
    let all = a.get("").unwrap();
    for (path, value) in [("v", Some(json!(0))), ("none", None), ("in", Some(json!({"x": 1}))), ("", Some(all))] {
        let before = a.log.len();
        a.edit([resolve(path, value)]).unwrap();
        assert_eq!(a.log.len(), before, "{path}");
    }
    // Two who settle alike at once, on one peer and in one batch: the second finds it settled. Who would have it otherwise is told.
    a.set("v", json!(1));
    b.set("v", json!(2));
    meet(&mut a, &mut b).unwrap();
    let settle = |value: i32| (false, vec![resolve("v", Some(json!(value)))]);
    let results = a.commands(vec![settle(1), settle(1), settle(2)]);
    assert!(matches!(&results[..], [Ok(()), Ok(()), Err(Error::NotOpen { .. })]), "{results:?}");
    assert_eq!(a.get("v").unwrap(), json!(1));
    // Who means to overwrite says so.
    a.edit([Edit::Resolve { path: "v".into(), value: Some(json!(5)), force: true }]).unwrap();
    assert_eq!(a.get("v").unwrap(), json!(5));
}

/// Documents ask by the index; so does the trail, or it would tell another rule and another winner.
#[test]
fn the_trail_asks_for_an_element_of_a_list_as_documents_do() {
    let (mut a, mut b) = pair(json!({"l": ["x", "y"]}));
    let none = Policies::default();
    a.at(10, vec![Edit::Set { path: "l/1".into(), value: json!("a") }], &none);
    b.at(20, vec![Edit::Set { path: "l/1".into(), value: json!("b") }], &none);
    a.edit([Edit::Insert { path: "l/0".into(), value: json!("new") }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    let priorities = [(a.actor.node, 1)].into_iter().collect();
    let policy = Policy { prefix: "layers/".into(), path: "/l/2".into(), rule: Rule::Priority, priorities };
    let policies = Policies::new(vec![policy]).unwrap();
    for peer in [&mut a, &mut b] {
        let Found::Open(open, false) = peer.met(Look::Open, policies.clone()) else { panic!("more") };
        let Found::Trail(trail, false) = peer.met(Look::Trail, policies.clone()) else { panic!("more") };
        let one = trail.iter().find(|one| one.kind == ConflictType::WriteWrite).unwrap();
        assert_eq!((one.stands_at.as_deref(), open[0].path.as_str()), (Some("/l/2"), "/l/2"));
        assert!(one.path.starts_with("/l/@"), "{}", one.path);
        let shown = open[0].values.iter().find(|one| one.shows).unwrap();
        let told = &one.sides[one.shows.unwrap()];
        assert_eq!((&one.rule, &open[0].rule), (&Some(Rule::Priority), &Rule::Priority));
        assert_eq!(told.by, shown.by, "the winner that documents show");
    }
    // Of an element that is gone the place is told by its insertion alone.
    a.edit([Edit::Remove { path: "l/2".into() }]).unwrap();
    assert!(a.trail().iter().filter(|one| one.path.contains('@')).all(|one| one.stands_at.is_none()));
}

/// No set that is remembered concerns the document; those that are forgotten may have.
#[test]
fn what_is_forgotten_is_said_also_where_nothing_remembered_concerns_the_document() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    a.set("v", json!(1));
    b.set("v", json!(2));
    meet(&mut a, &mut b).unwrap();
    let elsewhere = |rule| Policies::new(vec![Policy { prefix: "x".into(), rule, ..Policy::default() }]).unwrap();
    let at = |second: u64| WallTime::from_micros(1_000_000 * second);
    let history = PolicyHistory::since(elsewhere(Rule::Manual), at(100)).then(elsewhere(Rule::LastWriteWins), at(200));
    let Found::Trail(trail, _) = a.met(Look::Trail, history) else { panic!() };
    assert!(trail[0].forgotten, "{trail:?}");
}
