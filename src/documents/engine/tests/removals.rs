//! Removals that met writes: open until somebody settles them, for the removal or for what was written.

use super::super::super::{Meeting, OpenConflict, Standing};
use super::*;
use crate::conflict::ConflictType;

fn settle(path: &str, value: Option<Value>) -> Edit {
    Edit::Resolve { path: path.into(), value }
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
    assert!(matches!(a.edit([settle("", None)]), Err(Error::Invalid { .. })));
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
    assert_eq!(null, settle("a", Some(Value::Null)));
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
