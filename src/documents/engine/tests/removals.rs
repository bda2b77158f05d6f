//! Removals that met writes: open until somebody settles them, for the removal or for what was written.

use super::super::super::{Found, Look, Meeting, OpenConflict, Standing};
use super::*;
use crate::conflict::ConflictType;

fn settle(path: &str, value: Option<Value>) -> Edit {
    Edit::Resolve { path: path.into(), value, force: true }
}

fn remove(path: &str) -> Edit {
    Edit::Remove { path: path.into() }
}

/// What is open, the same for both: each place with what stands there, the earliest first.
fn open(a: &mut Peer, b: &mut Peer) -> Vec<(String, Vec<String>)> {
    let told = a.open();
    assert_eq!(told, b.open());
    let word = |one: &Standing| {
        let what = match (one.removed, one.lost) {
            (true, _) => "removed".to_owned(),
            (_, true) => "lost".to_owned(),
            _ => one.value.to_string(),
        };
        if one.shows { format!("{what} shows") } else { what }
    };
    let each = |one: OpenConflict| {
        let mut words: Vec<String> = one.values.iter().map(word).collect();
        words.sort();
        assert_eq!(one.kind == ConflictType::DeleteWrite, one.values.iter().any(|value| value.removed));
        (one.path, words)
    };
    told.into_iter().map(each).collect()
}

fn at(path: &str, words: &[&str]) -> (String, Vec<String>) {
    (path.to_owned(), words.iter().map(ToString::to_string).collect())
}

#[test]
fn a_removal_that_met_a_write_is_open_until_it_is_settled_for_one_of_them() {
    for keeps in [true, false] {
        let (mut a, mut b) = pair(json!({"pop": 1, "in": {"x": 1}}));
        a.edit([remove("pop"), remove("in/x")]).unwrap();
        b.set("pop", json!(2));
        b.set("in/x", json!(3));
        meet(&mut a, &mut b).unwrap();
        let removed = a.open()[1].values.iter().find(|one| one.removed).unwrap().by.clone();
        assert_eq!(removed.node(), Some(a.actor.node));
        let both = [at("/in/x", &["3 shows", "removed"]), at("/pop", &["2 shows", "removed"])];
        assert_eq!(open(&mut a, &mut b), both);
        let value = keeps.then(|| json!(2));
        b.edit([settle("pop", value.clone())]).unwrap();
        let shown = meet(&mut a, &mut b).unwrap();
        assert_eq!(shown.get("pop"), value.as_ref());
        assert_eq!(open(&mut a, &mut b), both[..1]);
        // A second time there is nothing to settle.
        let before = b.log.len();
        b.edit([settle("pop", value)]).unwrap();
        assert_eq!(b.log.len(), before);
        let told = |trail: Vec<Meeting>| trail.into_iter().filter(|one| one.path == "/pop").collect::<Vec<_>>();
        let [meeting] = &told(a.trail())[..] else { panic!("{:?}", a.trail()) };
        assert_eq!(meeting.settled.as_ref().map(|side| side.by.node()), Some(Some(b.actor.node)));
    }
}

#[test]
fn who_settle_it_alike_at_once_make_no_conflict_and_who_settle_it_otherwise_make_a_new_one() {
    for value in [Some(json!(2)), None] {
        let (mut a, mut b) = pair(json!({"pop": 1}));
        a.edit([remove("pop")]).unwrap();
        b.set("pop", json!(2));
        meet(&mut a, &mut b).unwrap();
        a.edit([settle("pop", value.clone())]).unwrap();
        b.edit([settle("pop", value.clone())]).unwrap();
        assert_eq!(meet(&mut a, &mut b).unwrap().get("pop"), value.as_ref());
        assert_eq!((open(&mut a, &mut b), a.trail().len()), (vec![], 1));
    }
    let (mut a, mut b) = pair(json!({"pop": 1}));
    a.edit([remove("pop")]).unwrap();
    b.set("pop", json!(2));
    meet(&mut a, &mut b).unwrap();
    a.edit([settle("pop", Some(json!(2)))]).unwrap();
    b.edit([settle("pop", None)]).unwrap();
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/pop", &["2 shows", "removed"])]);
    // Any edit of the place by somebody who has seen both settles it too.
    a.set("pop", json!(4));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), []);
}

#[test]
fn a_deletion_that_met_an_edit_is_open_until_it_is_settled_for_one_of_them() {
    for keeps in [true, false] {
        let (mut a, mut b) = pair(json!({"pop": 1}));
        a.edit([Edit::Delete]).unwrap();
        b.set("pop", json!(2));
        let whole = meet(&mut a, &mut b).unwrap();
        assert_eq!(open(&mut a, &mut b), [at("", &["removed", "{\"pop\":2} shows"])]);
        let edit = if keeps { settle("", Some(whole.clone())) } else { Edit::Delete };
        let before = a.log.len();
        a.edit([edit]).unwrap();
        assert_eq!(a.log.len(), before + 1);
        assert_eq!(meet(&mut a, &mut b).ok(), keeps.then_some(whole.clone()));
        assert_eq!(open(&mut a, &mut b), []);
        if keeps {
            b.edit([settle("", Some(whole))]).unwrap();
            assert_eq!(b.log.len(), 1);
        }
    }
}

/// A document of which nothing is open is deleted by a deletion only; and a `null` is a value.
#[test]
fn to_settle_nothing_deletes_nothing() {
    let (mut a, mut b) = pair(json!({"pop": 1}));
    assert!(matches!(a.edit([settle("", None)]), Err(Error::NotOpen { .. })));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"pop": 1}));
    a.edit([Edit::Delete]).unwrap();
    b.set("pop", json!(2));
    meet(&mut a, &mut b).unwrap();
    a.edit([settle("", None)]).unwrap();
    assert!(meet(&mut a, &mut b).is_err(), "it is deleted");
    assert_eq!(open(&mut a, &mut b), []);
    for edit in [settle("a", Some(Value::Null)), settle("a", None), settle("a", Some(json!(1)))] {
        let text = serde_json::to_string(&edit).unwrap();
        assert_eq!(serde_json::from_str::<Edit>(&text).unwrap(), edit, "{text}");
    }
    let null = serde_json::from_str::<Edit>(r#"{"op":"resolve","path":"a","value":null}"#).unwrap();
    // Who does not say so overwrites nothing.
    assert_eq!(null, Edit::Resolve { path: "a".into(), value: Some(Value::Null), force: false });
}

#[test]
fn what_was_added_to_a_counter_that_was_removed_is_told_and_settled() {
    for value in [Some(json!(12)), None] {
        let (mut a, mut b) = pair(json!({}));
        a.edit([Edit::Increment { path: "in/n".into(), by: 10 }]).unwrap();
        meet(&mut a, &mut b).unwrap();
        a.edit([remove("in/n")]).unwrap();
        b.edit([Edit::Increment { path: "in/n".into(), by: 2 }]).unwrap();
        assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"in": {}}));
        assert_eq!(open(&mut a, &mut b), [at("/in/n", &["lost", "removed shows"])]);
        b.edit([settle("in/n", value.clone())]).unwrap();
        let shown = meet(&mut a, &mut b).unwrap();
        assert_eq!((shown["in"].get("n"), open(&mut a, &mut b)), (value.as_ref(), vec![]));
    }
}

#[test]
fn an_element_and_a_map_that_were_removed_meanwhile_are_open_too() {
    let (mut a, mut b) = pair(json!({"list": [1, {"x": 1}], "in": 1}));
    // The index of the element is that of today.
    a.edit([remove("list/1/x"), remove("list/0"), remove("in")]).unwrap();
    b.set("list/0", json!(5));
    b.set("list/1/x", json!(6));
    b.edit([Edit::Set { path: "in".into(), value: json!({"y": 7}) }]).unwrap();
    b.edit([Edit::Insert { path: "list/0".into(), value: json!("first") }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    let wanted = [
        at("/in", &["removed", "{\"y\":7} shows"]),
        at("/list/1", &["5 shows", "removed"]),
        at("/list/2/x", &["6 shows", "removed"]),
    ];
    assert_eq!(open(&mut a, &mut b), wanted);
    for (path, value) in [("in", json!({"y": 7})), ("list/1", json!(5)), ("list/2/x", json!(6))] {
        a.edit([settle(path, Some(value))]).unwrap();
    }
    let shown = meet(&mut a, &mut b).unwrap();
    assert_eq!((shown, open(&mut a, &mut b)), (json!({"in": {"y": 7}, "list": ["first", 5, {"x": 6}]}), vec![]));
}

#[test]
fn values_that_met_each_other_and_a_removal_are_one_conflict() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    let mut c = Peer::new(3);
    c.take(&a);
    a.set("v", json!(1));
    b.set("v", json!(2));
    c.edit([remove("v")]).unwrap();
    a.take(&c);
    b.take(&c);
    let shown = meet(&mut a, &mut b).unwrap();
    let mut words = ["1", "2"]
        .map(|n| if shown["v"] == json!(n.parse::<u8>().unwrap()) { format!("{n} shows") } else { n.to_owned() });
    words.sort();
    assert_eq!(open(&mut a, &mut b), [at("/v", &[&words[0], &words[1], "removed"])]);
    // Who saw one of the values only settles nothing between the others.
    c.set("v", json!(9));
    a.take(&c);
    b.take(&c);
    let [(_, words)] = &open(&mut a, &mut b)[..] else { panic!() };
    assert_eq!(words.len(), 3);
    assert!(!words.iter().any(|word| word.starts_with("removed")));
}

#[test]
fn who_removed_before_the_other_wrote_met_nobody() {
    let (mut a, mut b) = pair(json!({"pop": 1}));
    a.edit([remove("pop")]).unwrap();
    b.take(&a);
    b.set("pop", json!(2));
    a.set("name", json!("Fiji"));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), []);
}

#[test]
fn a_member_that_stands_in_twins_is_settled_in_both() {
    let (mut a, mut b) = pair(json!({}));
    a.set("properties/pop", json!(1));
    b.set("properties/name", json!("Fiji"));
    meet(&mut a, &mut b).unwrap();
    a.edit([remove("properties/pop")]).unwrap();
    b.set("properties/pop", json!(2));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/properties/pop", &["2 shows", "removed"])]);
    a.edit([settle("properties/pop", None)]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"properties": {"name": "Fiji"}}));
    assert_eq!(open(&mut a, &mut b), []);
}

#[test]
fn a_document_with_an_open_removal_is_not_folded_until_it_is_settled() {
    let (mut a, mut b) = pair(json!({"pop": 1, "name": "Fiji"}));
    a.edit([remove("pop")]).unwrap();
    b.set("pop", json!(2));
    meet(&mut a, &mut b).unwrap();
    a.engine = Engine::new(Limits { history: 8, ..Limits::default() });
    a.engine.worth = 0;
    a.apply(a.log.clone());
    a.apply(b.log.clone());
    let write = |a: &mut Peer, b: &mut Peer, from: u64| {
        for n in from..from + 40 {
            a.set("name", json!(n));
            b.take(a);
        }
    };
    write(&mut a, &mut b, 0);
    assert!(!a.state().folded);
    assert_eq!(open(&mut a, &mut b), [at("/pop", &["2 shows", "removed"])]);
    b.edit([settle("pop", Some(json!(2)))]).unwrap();
    a.apply(b.log.split_off(1));
    write(&mut a, &mut b, 40);
    assert!(a.state().folded);
    assert_eq!(open(&mut a, &mut b), []);
    // What was made in the folded past is a place as well.
    a.edit([remove("pop")]).unwrap();
    b.set("pop", json!(3));
    let news = b.log.split_off(1);
    a.apply(news);
    b.take(&a);
    assert_eq!(open(&mut a, &mut b), [at("/pop", &["3 shows", "removed"])]);
}

/// Two who removed and wrote one place inside of an object, and have met.
fn inside() -> (Peer, Peer) {
    let (mut a, mut b) = pair(json!({"in": {"x": 1, "y": 1}, "name": "Fiji"}));
    a.edit([remove("in/x")]).unwrap();
    b.set("in/x", json!(3));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/in/x", &["3 shows", "removed"])]);
    (a, b)
}

fn is_unsettled(peer: &mut Peer) -> bool {
    peer.engine.docs.get_mut(&doc()).unwrap().document.is_unsettled()
}

#[test]
fn who_takes_away_what_holds_it_knowing_all_of_it_settles_it_and_it_is_folded_again() {
    let set = |path: &str, value: Value| Edit::Set { path: path.into(), value };
    for edit in [remove("in"), set("in", json!(5)), set("in", json!([])), settle("in", None), Edit::Delete] {
        let (mut a, mut b) = inside();
        b.edit([edit.clone()]).unwrap();
        if edit == Edit::Delete {
            b.put(json!({"in": {"x": 3}}));
        }
        meet(&mut a, &mut b).unwrap();
        assert_eq!((is_unsettled(&mut a), open(&mut a, &mut b)), (false, vec![]), "{edit:?}");
        let of_both = a.trail().into_iter().find(|one| one.path == "/in/x").unwrap();
        assert_eq!(of_both.settled.map(|side| side.by.node()), Some(Some(b.actor.node)), "{edit:?}");
        a.engine = Engine::new(Limits { history: 8, ..Limits::default() });
        a.engine.worth = 0;
        a.apply(a.log.clone());
        a.apply(b.log.clone());
        (0..40).for_each(|n| a.set("name", json!(n)));
        assert!(a.state().folded, "{edit:?}");
    }
}

#[test]
fn what_went_with_what_held_it_is_told_where_that_stood_until_somebody_settles_it() {
    for value in [Some(json!({"x": 3})), None] {
        let (mut a, mut b) = pair(json!({"in": {"x": 1, "y": 1}, "name": "Fiji"}));
        let mut c = Peer::new(3);
        a.edit([remove("in/x")]).unwrap();
        c.take(&a);
        c.edit([remove("in")]).unwrap();
        b.set("in/x", json!(3));
        b.take(&a);
        a.take(&c);
        b.take(&c);
        assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "Fiji"}));
        let wanted = [at("/in", &["lost", "removed shows", "removed shows"])];
        assert_eq!(open(&mut a, &mut b), wanted);
        // Who makes it anew without having seen what went settles nothing; then the place itself can be read again.
        c.edit([Edit::Set { path: "in/y".into(), value: json!(2) }]).unwrap();
        a.take(&c);
        b.take(&c);
        assert_eq!(open(&mut a, &mut b), [at("/in/x", &["lost", "removed shows", "removed shows"])]);
        c.edit([remove("in")]).unwrap();
        a.take(&c);
        b.take(&c);
        assert_eq!(open(&mut a, &mut b), wanted);
        b.edit([settle("in", value.clone())]).unwrap();
        let shown = meet(&mut a, &mut b).unwrap();
        assert_eq!((shown.get("in"), open(&mut a, &mut b)), (value.as_ref(), vec![]));
        assert!(!is_unsettled(&mut a));
        // A second time there is nothing to settle.
        let before = b.log.len();
        b.edit([settle("in", value)]).unwrap();
        assert_eq!(b.log.len(), before);
    }
}

/// An element that was removed has no place any more: nothing can be written there, and nothing is told.
#[test]
fn what_was_in_an_element_that_is_no_more_is_not_open() {
    let (mut a, mut b) = pair(json!({"list": [{"x": 1}, 2]}));
    let mut c = Peer::new(3);
    a.edit([remove("list/0/x")]).unwrap();
    c.take(&a);
    c.edit([remove("list/0")]).unwrap();
    b.set("list/0/x", json!(3));
    b.take(&a);
    a.take(&c);
    b.take(&c);
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": [2]}));
    assert_eq!((open(&mut a, &mut b), is_unsettled(&mut a)), (vec![], false));
    // A counter in it neither.
    let (mut a, mut b) = pair(json!({"list": [1]}));
    a.edit([Edit::Increment { path: "list/0".into(), by: 1 }]).unwrap();
    b.take(&a);
    a.edit([remove("list/0")]).unwrap();
    b.edit([Edit::Increment { path: "list/0".into(), by: 1 }]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": []}));
    assert_eq!((open(&mut a, &mut b), is_unsettled(&mut a)), (vec![], false));
    // But where the element has another value now it is told there.
    let (mut a, mut b) = pair(json!({"list": [{"x": 1}, 2]}));
    a.edit([remove("list/0/x")]).unwrap();
    c = Peer::new(3);
    c.take(&a);
    c.set("list/0", json!(7));
    b.set("list/0/x", json!(3));
    b.take(&a);
    a.take(&c);
    b.take(&c);
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/list/0", &["7 shows", "lost", "removed"])]);
    b.edit([settle("list/0", Some(json!(7)))]).unwrap();
    meet(&mut a, &mut b).unwrap();
    assert_eq!((open(&mut a, &mut b), is_unsettled(&mut a)), (vec![], false));
}

/// What is settled is asked for by its place, not by walking what is told.
#[test]
fn also_what_is_open_behind_the_first_thousand_can_be_settled() {
    let all: serde_json::Map<String, Value> = (0..1_500).map(|n| (format!("k{n:04}"), json!(0))).collect();
    let (mut a, mut b) = pair(Value::Object(all.clone()));
    a.edit(all.keys().map(|key| remove(key))).unwrap();
    b.edit(all.keys().map(|key| Edit::Set { path: key.clone(), value: json!(1) })).unwrap();
    meet(&mut a, &mut b).unwrap();
    let Found::Open(told, true) = a.met(Look::Open, Policies::default()) else { panic!("all of it") };
    assert_eq!((told.len(), told[999].path.as_str()), (1_000, "/k0999"));
    for (key, value) in [("k1499", Some(json!(1))), ("k1498", None)] {
        let before = b.log.len();
        b.edit([settle(key, value.clone())]).unwrap();
        assert_eq!(b.log.len(), before + 1, "{key}");
        assert_eq!(meet(&mut a, &mut b).unwrap().get(key), value.as_ref());
        b.edit([settle(key, value)]).unwrap();
        assert_eq!(b.log.len(), before + 1, "{key} is settled");
    }
}

/// An addition is not told as lost because the counter was made long before it.
#[test]
fn what_was_added_behind_many_additions_is_lost_only_if_its_counter_is() {
    let (mut a, mut b) = pair(json!({"n": 1}));
    for peer in [&mut a, &mut b] {
        peer.engine = Engine::new(Limits { history: 0, ..Limits::default() });
    }
    a.apply(a.log.clone());
    b.take(&a);
    a.edit([remove("n")]).unwrap();
    // It made a counter that the other one had not seen.
    for _ in 0..300 {
        b.edit([Edit::Increment { path: "n".into(), by: 1 }]).unwrap();
    }
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"n": 301}));
    assert_eq!(open(&mut a, &mut b), [at("/n", &["301 shows", "removed"])]);
    let newest = a.met(Look::Trail, Policies::default());
    let Found::Trail(trail, _) = newest else { panic!() };
    assert!(trail.iter().all(|one| one.winner.is_some_and(|side| one.sides[side].by.node() == Some(b.actor.node))));
    // And one that was seen is lost.
    a.edit([settle("n", Some(json!(301)))]).unwrap();
    a.edit([Edit::Increment { path: "n".into(), by: 1 }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    for _ in 0..300 {
        b.edit([Edit::Increment { path: "n".into(), by: 1 }]).unwrap();
    }
    a.edit([remove("n")]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({}));
    assert_eq!(open(&mut a, &mut b), [at("/n", &["lost", "removed shows"])]);
}

/// Commands that become one change do not hide each other's places.
#[test]
fn who_settle_in_one_change_settle_what_they_mean() {
    let (mut a, mut b) = pair(json!({"list": [1, 2], "v": 1}));
    a.edit([remove("list/1"), remove("v")]).unwrap();
    b.set("list/1", json!(5));
    b.set("v", json!(5));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/list/1", &["5 shows", "removed"]), at("/v", &["5 shows", "removed"])]);
    // What comes before it in the list moves it.
    let insert = Edit::Insert { path: "list/0".into(), value: json!(0) };
    let keep = settle("list/2", Some(json!(5)));
    // The second who settles a place finds it settled.
    let other = settle("v", Some(json!(6)));
    let batch =
        vec![(false, vec![insert]), (false, vec![keep]), (false, vec![settle("v", None)]), (false, vec![other])];
    let results = a.commands(batch);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false], "{results:?}");
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": [0, 1, 5]}));
    assert_eq!(open(&mut a, &mut b), []);
}

/// A `null` in a list is written anew as well: what repeats the only value there would be no operation.
#[test]
fn an_element_is_settled_for_whatever_value_stands_there() {
    for value in [Value::Null, json!(true), json!(5)] {
        let (mut a, mut b) = pair(json!({"list": [1]}));
        a.edit([remove("list/0")]).unwrap();
        b.set("list/0", value.clone());
        meet(&mut a, &mut b).unwrap();
        let mut words = [format!("{value} shows"), "removed".to_owned()];
        words.sort();
        assert_eq!(open(&mut a, &mut b), [at("/list/0", &[&words[0], &words[1]])]);
        a.edit([settle("list/0", Some(value.clone()))]).unwrap();
        assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": [value]}));
        assert_eq!((open(&mut a, &mut b), is_unsettled(&mut a)), (vec![], false));
    }
}

/// Of more that stand beside each other than are looked at, a removal is among those that are; and what is told is said to be cut.
#[test]
fn the_only_removal_beside_very_many_writes_is_told() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    b.edit([remove("v")]).unwrap();
    let others = (3..3 + 260).map(|node| {
        let mut other = Peer::new(node);
        other.take(&a);
        // The second is stamped a second after the removal.
        other.set("v", json!(node.to_string()));
        other.set("v", json!(format!("{node} again")));
        other.log
    });
    let logs: Vec<_> = others.flatten().collect();
    a.take(&b);
    a.apply(logs);
    let Found::Open(told, more) = a.met(Look::Open, Policies::default()) else { panic!() };
    let [OpenConflict { path, values, .. }] = &told[..] else { panic!("{} places", told.len()) };
    assert_eq!((path.as_str(), values.iter().filter(|one| one.removed).count(), more), ("/v", 1, true));
    assert!(is_unsettled(&mut a));
}

/// Who settles a version settles what is open there, whatever came meanwhile; and that is told beside it.
#[test]
fn what_is_open_at_a_version_is_settled_there() {
    let (mut a, mut b) = pair(json!({"v": 1}));
    a.edit([remove("v")]).unwrap();
    b.set("v", json!(3));
    meet(&mut a, &mut b).unwrap();
    let then = a.state().heads;
    // The other one settles it for the removal, and the choice here has not seen that.
    b.edit([remove("v")]).unwrap();
    a.take(&b);
    assert_eq!(open(&mut a, &mut b), []);
    a.edit_at(&then, [settle("v", Some(json!(3)))]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"v": 3}));
    assert_eq!(open(&mut a, &mut b), [at("/v", &["3 shows", "removed"])]);
    // A second time there is nothing to settle at a version at which nothing is open.
    a.edit([settle("v", Some(json!(3)))]).unwrap();
    let (then, before) = (a.state().heads, a.log.len());
    b.take(&a);
    b.edit([remove("v")]).unwrap();
    a.take(&b);
    a.edit_at(&then, [settle("v", Some(json!(3)))]).unwrap();
    assert_eq!(a.log.len(), before);
}

/// The place is the one that could be read at that version, though what holds it was removed since.
#[test]
fn a_place_that_is_gone_since_is_settled_at_the_version_that_had_it() {
    let (mut a, mut b) = inside();
    let then = a.state().heads;
    b.edit([remove("in")]).unwrap();
    a.take(&b);
    let before = a.log.len();
    a.edit_at(&then, [settle("in/x", Some(json!(3)))]).unwrap();
    assert_eq!(a.log.len(), before + 1);
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "Fiji"}));
}

/// That a document stays is said by a change of that version, also where there is nothing to write.
#[test]
fn a_deletion_is_settled_at_the_version_that_had_it() {
    for again in [false, true] {
        let (mut a, mut b) = pair(json!({"pop": 1}));
        a.edit([Edit::Delete]).unwrap();
        b.set("pop", json!(2));
        let whole = meet(&mut a, &mut b).unwrap();
        let then = a.state().heads;
        let meanwhile = if again { Edit::Delete } else { Edit::Set { path: "name".into(), value: json!("Fiji") } };
        b.edit([meanwhile]).unwrap();
        a.take(&b);
        let before = a.log.len();
        a.edit_at(&then, [settle("", Some(whole.clone()))]).unwrap();
        assert_eq!(a.log.len(), before + 1);
        let shown = meet(&mut a, &mut b).unwrap();
        let open = open(&mut a, &mut b);
        match again {
            true => assert_eq!((shown, open), (whole, vec![at("", &["removed", "{\"pop\":2} shows"])])),
            false => assert_eq!((shown, open), (json!({"pop": 2, "name": "Fiji"}), vec![])),
        }
        // It is a change like any other: the writer goes on behind it.
        a.set("pop", json!(5));
        assert_eq!(meet(&mut a, &mut b).unwrap()["pop"], json!(5));
    }
}

/// What took away a holder before the place was written is no matter of it, however often that was.
#[test]
fn what_is_told_is_not_cut_for_what_its_writers_had_seen() {
    let (mut a, mut b) = pair(json!({}));
    for peer in [&mut a, &mut b] {
        peer.engine = Engine::new(Limits { history: 0, ..Limits::default() });
    }
    a.apply(a.log.clone());
    for n in 0..150 {
        a.set("q", json!(n));
        a.set("q", json!({"x": n}));
    }
    b.take(&a);
    a.edit([remove("q/x")]).unwrap();
    b.set("q/x", json!(3));
    meet(&mut a, &mut b).unwrap();
    assert_eq!(open(&mut a, &mut b), [at("/q/x", &["3 shows", "removed"])]);
    let Found::Open(_, more) = a.met(Look::Open, Policies::default()) else { panic!() };
    assert!(!more);
}
