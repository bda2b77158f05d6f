//! What a worker does with documents, alone and against another.

mod branches;
mod choose;
mod counters;
mod fold;
mod fuzz;
mod hostile;
mod lists;
mod met;
mod removals;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::{Arrived, DocState, Done, Edit, Error, Limits, Policies, Task, Wanted};
use super::Engine;
use crate::machine::Rng;
use crate::types::{Actor, CommandId, DocId, LogId, Mint, NodeId, Seq, Topic, WallTime};

/// A node with an engine, and the log of what it wrote.
struct Peer {
    actor: Actor,
    engine: Engine,
    log: Vec<Arrived>,
}

fn doc() -> DocId {
    DocId::parse("layers/countries/FJI").unwrap()
}

impl Peer {
    fn new(node: u128) -> Self {
        let actor = Actor { node: NodeId::from_u128(node), mint: Mint::new(1) };
        Self { actor, engine: Engine::new(Limits::default()), log: Vec::new() }
    }

    fn commands(&mut self, batch: Vec<(bool, Vec<Edit>)>) -> Vec<Result<(), Error>> {
        let batch = batch
            .into_iter()
            .enumerate()
            .map(|(at, (create, edits))| Wanted { command: CommandId::new(at as u64), edits, create, at: None })
            .collect();
        self.run(batch)
    }

    fn run(&mut self, batch: Vec<Wanted>) -> Vec<Result<(), Error>> {
        let at = WallTime::from_micros(1_000_000 * self.log.len() as u64);
        let done =
            self.engine.run(Task::Edit { doc: doc(), actor: self.actor, at, batch, policies: Policies::default() });
        let Done::Edited { change, results, .. } = done else { panic!("{done:?}") };
        if let Some(change) = change {
            let log = LogId { actor: self.actor, topic: Topic::DOCUMENTS };
            self.log.push(Arrived { log, seq: Seq::new(self.log.len() as u64 + 1), change });
        }
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn edit(&mut self, edits: impl IntoIterator<Item = Edit>) -> Result<(), Error> {
        self.commands(vec![(false, edits.into_iter().collect())]).remove(0)
    }

    fn edit_at(&mut self, heads: &[[u8; 32]], edits: impl IntoIterator<Item = Edit>) -> Result<(), Error> {
        let (edits, at) = (edits.into_iter().collect(), Some(heads.to_vec()));
        self.run(vec![Wanted { command: CommandId::ZERO, edits, create: false, at }]).remove(0)
    }

    fn put(&mut self, value: Value) {
        self.edit([Edit::Put { value }]).unwrap();
    }

    fn set(&mut self, path: &str, value: Value) {
        self.edit([Edit::Set { path: path.into(), value }]).unwrap();
    }

    fn apply(&mut self, changes: Vec<Arrived>) -> (usize, usize, Vec<String>, DocState) {
        let done = self.engine.run(Task::Apply { doc: doc(), changes });
        let Done::Applied { applied, orphans, refused, state, .. } = done else { panic!("{done:?}") };
        (applied.len(), orphans.len(), refused.into_iter().map(|(_, why)| why).collect(), state)
    }

    fn take(&mut self, other: &Self) {
        let (_, orphans, refused, _) = self.apply(other.log.clone());
        assert_eq!((orphans, refused), (0, Vec::new()));
    }

    fn get(&mut self, path: &str) -> Result<Value, Error> {
        let done = self.engine.run(Task::Get {
            doc: doc(),
            command: CommandId::ZERO,
            path: path.into(),
            policies: Policies::default(),
        });
        let Done::Got { value, .. } = done else { panic!("{done:?}") };
        value
    }

    fn state(&mut self) -> DocState {
        self.apply(Vec::new()).3
    }
}

/// Brings two peers to the same, and says what it is.
fn meet(a: &mut Peer, b: &mut Peer) -> Result<Value, Error> {
    a.take(b);
    b.take(a);
    assert_eq!(a.state(), b.state());
    let value = a.get("");
    assert_eq!(value, b.get(""));
    value
}

fn pair(value: Value) -> (Peer, Peer) {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.put(value);
    b.take(&a);
    (a, b)
}

#[test]
fn json_comes_back_as_it_was_put() {
    let value = json!({
        "name": "Fiji", "": "empty key", "ints": [0, -1, i64::MAX, i64::MIN, u64::MAX], "floats": [1.0, -2.5e-300, 1e21],
        "nested": {"list": [[], {}, [null, true, false, "x", {"a": [1, [2, [3]]]}]]}, "text": "Bula – ☀ \u{0}",
        "geometry": {"type": "Point", "coordinates": [177.97, -17.82, 0.1], "extra": {"b": 1, "a": 2}},
        "bbox": [177, -18, -179.5, -16],
    });
    let mut a = Peer::new(1);
    a.put(value.clone());
    assert_eq!(a.get("").unwrap(), value);
    assert_eq!(a.get("/geometry/coordinates/1").unwrap(), json!(-17.82));
    assert_eq!(a.get("ints/4").unwrap(), json!(u64::MAX));
    assert_eq!(a.get("/ints/5"), Err(Error::NoSuchPath { doc: doc(), path: "/ints/5".into() }));
    let mut b = Peer::new(2);
    b.take(&a);
    assert_eq!(b.get("").unwrap(), value);
}

#[test]
fn a_put_writes_only_what_differs() {
    let (mut a, mut b) = pair(json!({"keep": 1, "mine": 1, "yours": 1, "list": [1, 2, {"x": 1, "y": 1}, 4]}));
    a.put(json!({"keep": 1, "mine": 2, "yours": 1, "list": [0, 1, 2, {"x": 1, "y": 1}, 4]}));
    b.put(json!({"keep": 1, "mine": 1, "yours": 2, "list": [1, 2, {"x": 1, "y": 2}, 4, 5]}));
    a.set("list/3/x", json!(2));
    let both = json!({"keep": 1, "mine": 2, "yours": 2, "list": [0, 1, 2, {"x": 2, "y": 2}, 4, 5]});
    assert_eq!(meet(&mut a, &mut b).unwrap(), both);
    let before = a.log.len();
    a.put(both);
    assert_eq!(a.log.len(), before, "a put of what is there is no change");
}

#[test]
fn numbers_keep_their_kind() {
    let (mut a, mut b) = pair(json!({"n": 5}));
    a.put(json!({"n": 5.0}));
    assert!(meet(&mut a, &mut b).unwrap()["n"].is_f64());
}

#[test]
fn half_edited_rings_never_mix() {
    let ring = |x: f64| json!({"type": "Polygon", "coordinates": [[[x, 0.0], [1.0, 0.0], [1.0, 1.0], [x, 0.0]]]});
    let feature = |x: f64| json!({"type": "Feature", "geometry": ring(x), "properties": {"a": 1}});
    let (mut a, mut b) = pair(feature(0.0));
    a.put(feature(0.25));
    b.set("/geometry/coordinates/0/1", json!([9.0, 9.0]));
    let met = meet(&mut a, &mut b).unwrap();
    let mut other = ring(0.0);
    other["coordinates"][0][1] = json!([9.0, 9.0]);
    assert!(met["geometry"] == ring(0.25) || met["geometry"] == other, "{met}");
}

#[test]
fn an_edit_that_had_not_seen_the_deletion_brings_the_document_back() {
    let (mut a, mut b) = pair(json!({"name": "Fiji", "pop": 1}));
    a.edit([Edit::Delete]).unwrap();
    assert_eq!(a.get(""), Err(Error::NotFound { doc: doc() }));
    b.set("pop", json!(2));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "Fiji", "pop": 2}));
    b.edit([Edit::Delete]).unwrap();
    assert_eq!(meet(&mut a, &mut b), Err(Error::NotFound { doc: doc() }));
    a.edit([Edit::Set { path: "pop".into(), value: json!(3) }]).unwrap_err();
    a.put(json!({"name": "Fiji", "pop": 2}));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "Fiji", "pop": 2}), "the same content, put again");
}

#[test]
fn two_deletions_at_the_same_time_are_one() {
    let (mut a, mut b) = pair(json!({"x": 1}));
    a.edit([Edit::Delete]).unwrap();
    b.edit([Edit::Delete]).unwrap();
    assert_eq!(meet(&mut a, &mut b), Err(Error::NotFound { doc: doc() }));
    assert_eq!(a.edit([Edit::Delete]), Err(Error::NotFound { doc: doc() }));
    a.put(json!({}));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({}));
}

#[test]
fn an_empty_document_exists() {
    let (mut a, mut b) = pair(json!({}));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({}));
    let results = a.commands(vec![(true, vec![Edit::Put { value: json!({"x": 1}) }])]);
    assert_eq!(results[0], Err(Error::Exists { doc: doc() }));
}

#[test]
fn a_command_fails_as_a_whole_and_alone() {
    let mut a = Peer::new(1);
    a.put(json!({"n": 0}));
    let set = |path: &str, value| Edit::Set { path: path.into(), value };
    let results = a.commands(vec![
        (false, vec![set("a", json!(1))]),
        (false, vec![set("b", json!(1)), Edit::Remove { path: "missing".into() }]),
        (false, vec![set("n/x", json!(1))]),
        (false, vec![set("c/d/e", json!([1])), set("c/d/e/-", json!(2)), set("c/d/e/0", json!(0))]),
        (false, vec![Edit::Delete]),
        (false, vec![set("after", json!(1))]),
    ]);
    let went: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(went, [true, false, false, true], "a deletion and what follows it are asked again");
    assert_eq!(a.get("").unwrap(), json!({"n": 0, "a": 1, "c": {"d": {"e": [0, 2]}}}));
    assert_eq!(a.log.len(), 2);
}

#[test]
fn what_does_not_fit_beside_others_goes_alone() {
    let mut a = Peer::new(1);
    a.put(json!({}));
    let many = |n: usize| Edit::Set { path: format!("list-{n}"), value: json!(vec![n; 6_000]) };
    let went = a.commands(vec![(false, vec![many(1)]), (false, vec![many(2)])]);
    assert_eq!(went, [Ok(())], "the other one is asked again");
    assert_eq!(a.edit([many(2)]), Ok(()));
}

#[test]
fn a_feature_keeps_a_geometry_that_an_import_takes() {
    let mut a = Peer::new(1);
    let point = json!({"type": "Point", "coordinates": [1, 2]});
    a.put(json!({"type": "Feature", "geometry": point, "properties": null}));
    let set = |path: &str, value: Value| Edit::Set { path: path.into(), value };
    let half = json!({"type": "Feature", "geometry": {"type": "Point"}, "properties": null});
    for (edit, why) in [
        (
            set("geometry", json!({"type": "Point", "coordinates": [1]})),
            "/geometry/coordinates: a position has at least 2",
        ),
        (set("geometry/coordinates", json!([])), "/geometry/coordinates: a position has at least 2 numbers"),
        (set("geometry", json!(7)), "/geometry: an object is expected, found a number"),
        (Edit::Put { value: half }, "/geometry: the member \"coordinates\" is missing"),
        (Edit::Remove { path: "geometry".into() }, "a feature has a geometry; it may be null"),
    ] {
        let Err(Error::Invalid { why: found, .. }) = a.edit([edit]) else { panic!("{why}") };
        assert!(found.starts_with(why), "{found}");
    }
    assert_eq!(a.get("geometry").unwrap(), point);
    a.edit([set("geometry/coordinates/0", json!(3)), set("geometry", json!(null)), set("name", json!("x"))]).unwrap();
    // What is no feature may have anything there.
    a.put(json!({"geometry": 7}));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_before_it_is_written() {
    let mut a = Peer::new(1);
    a.put(json!({}));
    let deep = (0..80).fold(json!(1), |value, _| json!({"x": value}));
    assert!(matches!(a.edit([Edit::Put { value: deep }]), Err(Error::Invalid { .. })));
    let wide = Value::Array((0..20_000).map(Value::from).collect());
    assert!(matches!(a.edit([Edit::Put { value: json!({"x": wide}) }]), Err(Error::TooLarge { .. })));
    let long = "x".repeat(2 << 20);
    a.put(json!({"one large value": long}));
    let two = json!({"a": "x".repeat(2 << 20), "b": "y".repeat(2 << 20)});
    assert!(matches!(a.edit([Edit::Put { value: two }]), Err(Error::TooLarge { .. })));
    assert_eq!(a.get("").unwrap()["one large value"], json!(long), "what was not admitted is not there");
    a.put(json!({"x": 1}));
    let mut b = Peer::new(2);
    b.take(&a);
    assert_eq!(b.get("").unwrap(), json!({"x": 1}));
}

#[test]
fn changes_are_applied_in_any_order_and_orphans_are_handed_back() {
    let (mut a, mut b) = pair(json!({"n": 0}));
    a.set("n", json!(1));
    b.take(&a);
    b.set("n", json!(2));
    let mut c = Peer::new(3);
    let (applied, orphans, ..) = c.apply(b.log.clone());
    assert_eq!((applied, orphans), (0, 1));
    assert_eq!(c.state(), DocState::default());
    let mut all = b.log.clone();
    all.extend(a.log.iter().rev().cloned());
    all.extend(b.log.clone());
    assert_eq!(c.apply(all).0, 3);
    assert_eq!(c.get("").unwrap(), json!({"n": 2}));
    assert_eq!(c.state(), b.state());
    automerge::Automerge::load(&c.engine.saved(&doc())).unwrap();
}

#[test]
fn a_forgotten_change_leaves_no_trace() {
    let mut a = Peer::new(1);
    a.put(json!({"n": 0}));
    let before = a.state();
    a.set("n", json!(1));
    let change = a.log.pop().unwrap();
    let hash = super::super::change::Change::read(&change.change).unwrap().hash;
    let done = a.engine.run(Task::Forget { doc: doc(), change: hash });
    assert_eq!(done, Done::Forgotten { doc: doc(), state: before });
    assert_eq!(a.get("").unwrap(), json!({"n": 0}));
    a.set("n", json!(2));
    let mut b = Peer::new(2);
    b.take(&a);
    assert_eq!(b.get("").unwrap(), json!({"n": 2}));
}

/// What Automerge is given late is not taken in for good before: nothing else suffers if it refuses some of it.
#[test]
fn an_admitted_change_that_cannot_be_merged_leaves_again_and_is_named() {
    for reads in [false, true] {
        let (mut a, mut b) = (Peer::new(1), Peer::new(2));
        a.put(json!({"n": 1}));
        b.take(&a);
        a.set("n", json!(2));
        b.apply(vec![a.log[1].clone()]);
        b.engine.docs.get_mut(&doc()).unwrap().document.spoil();
        if reads {
            assert_eq!(b.get("n"), Ok(json!(1)));
        } else {
            b.set("m", json!(3));
        }
        let (applied, _, refused, state) = b.apply(Vec::new());
        assert_eq!((applied, refused.len(), state.changes), (0, 1, if reads { 1 } else { 2 }));
        // It is told once, and what comes is taken as ever.
        let (applied, _, refused, state) = b.apply(vec![a.log[1].clone()]);
        assert_eq!((applied, refused.len(), state.changes), (1, 0, if reads { 2 } else { 3 }));
        assert_eq!(b.get("n"), Ok(json!(2)));
    }
}

#[test]
fn closed_documents_open_again_with_what_they_had() {
    let mut engine = Engine::new(Limits { open_docs: 2, open_ops: 1_000, history: 0 });
    let actor = Actor { node: NodeId::from_u128(1), mint: Mint::new(1) };
    let ids: Vec<_> = (0..5).map(|n| DocId::parse(&format!("d/{n}")).unwrap()).collect();
    for round in 0..3 {
        for id in &ids {
            let edits = vec![Edit::Put { value: json!({"round": round, "id": id.as_str()}) }];
            let batch = vec![Wanted { command: CommandId::ZERO, edits, create: false, at: None }];
            engine.run(Task::Edit {
                doc: id.clone(),
                actor,
                at: WallTime::EPOCH,
                batch,
                policies: Policies::default(),
            });
        }
    }
    for id in &ids {
        let done = engine.run(Task::Get {
            doc: id.clone(),
            command: CommandId::ZERO,
            path: String::new(),
            policies: Policies::default(),
        });
        let Done::Got { value, state, .. } = done else { panic!("{done:?}") };
        assert_eq!(value.unwrap(), json!({"round": 2, "id": id.as_str()}));
        assert_eq!(state.changes, 3);
    }
    assert_eq!(engine.opened.len(), 2);
}

fn splice(at: usize, remove: usize, insert: &str) -> Edit {
    Edit::Splice { path: "text".into(), at, remove, insert: insert.into() }
}

#[test]
fn a_text_that_two_write_at_the_same_time_keeps_what_both_wrote() {
    let (mut a, mut b) = pair(json!({"text": "Lau Levu"}));
    a.edit([splice(3, 1, "toka, ")]).unwrap();
    let both = meet(&mut a, &mut b).unwrap();
    assert_eq!(both, json!({"text": "Lautoka, Levu"}));
    a.edit([splice(0, 0, "\u{1F30D} "), splice(2, 0, "Fiji: ")]).unwrap();
    b.edit([splice(9, 4, "Viti Levu")]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"text": "\u{1F30D} Fiji: Lautoka, Viti Levu"}));
    // To set it is to change what differs.
    a.set("text", json!("\u{1F30D} Fiji: Suva, Viti Levu"));
    b.edit([splice(26, 0, "!")]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"text": "\u{1F30D} Fiji: Suva, Viti Levu!"}));
    let error = a.edit([splice(3, 100, "")]).unwrap_err();
    assert!(error.to_string().contains("the text has 24 characters, not 100 behind the first 3"), "{error}");
    a.put(json!({"text": {"a": 1}}));
    assert!(a.edit([splice(0, 0, "x")]).unwrap_err().to_string().contains("\"text\" is no text"));
}

#[test]
fn an_edit_of_an_older_version_is_merged_as_if_it_had_been_made_elsewhere() {
    let (mut a, mut b) = pair(json!({"n": 1}));
    b.edit([splice(0, 0, "one")]).unwrap();
    a.take(&b);
    let before = a.state().heads.to_vec();
    b.edit([splice(0, 3, "two and "), Edit::Set { path: "n".into(), value: json!(2) }]).unwrap();
    a.take(&b);
    // As a saw it, so b's edit is concurrent: both insertions are there.
    a.edit_at(&before, [splice(3, 0, " more"), Edit::Set { path: "m".into(), value: json!(3) }]).unwrap();
    let alone = {
        let mut c = Peer::new(9);
        assert_eq!(c.apply([a.log.clone(), b.log.clone()].concat()).1, 0);
        c.get("").unwrap()
    };
    assert_eq!(meet(&mut a, &mut b).unwrap(), alone);
    assert_eq!(alone, json!({"text": "two and  more", "n": 2, "m": 3}));
    assert_eq!(a.state().heads.len(), 2);
    // Its own changes follow each other.
    assert_eq!(a.edit_at(&before, [splice(0, 0, "x")]), Err(Error::Outdated { doc: doc() }));
    let unseen = a.edit_at(&[[7; 32]], [splice(0, 0, "x")]);
    assert_eq!(unseen, Err(Error::Unseen { doc: doc(), head: "07".repeat(32) }));
    let newest = a.state().heads.to_vec();
    a.edit_at(&newest, [Edit::Delete]).unwrap();
    assert_eq!(b.edit_at(&before, [Edit::Delete]).unwrap_err(), Error::Outdated { doc: doc() });
}

#[test]
fn nobody_writes_in_anothers_name() {
    let (a, mut b) = (pair(json!({"n": 0})).0, Peer::new(2));
    let mut forged = a.log.clone();
    forged[0].log.actor = b.actor;
    assert_eq!(b.apply(forged).2.len(), 1);
    let garbage = Arrived { change: Bytes::from_static(b"\x85oJ\x83garbage"), ..a.log[0].clone() };
    assert_eq!(b.apply(vec![garbage]).2.len(), 1);
}

/// A random edit of a small vocabulary, so that writers meet.
fn random_edit(rng: &mut Rng) -> Edit {
    let value = match rng.below(6) {
        0 => json!({"x": rng.below(9), "y": [1, 2]}),
        1 => json!([rng.below(9), {"z": 1}, "text"]),
        2 => json!({"type": "Point", "coordinates": [rng.below(9), 0.5]}),
        3 => json!(null),
        _ => json!(rng.below(9)),
    };
    let path = ["a", "b", "a/x", "b/0", "b/-", "c/d/e", "a/coordinates/0"][rng.index(7)].to_owned();
    match rng.below(12) {
        0 => Edit::Delete,
        1 | 2 => Edit::Put { value: json!({"a": value, "b": [rng.below(3), 2, 3], "k": rng.below(9)}) },
        3 => Edit::Remove { path },
        6 => Edit::Insert { path, value },
        4 | 5 => Edit::Increment { path, by: 1 + i64::try_from(rng.below(3)).unwrap() },
        _ => Edit::Set { path, value },
    }
}

quickcheck::quickcheck! {
    fn peers_that_have_the_same_changes_have_the_same_document(seed: u8) -> bool {
        let mut rng = Rng::fork(&[seed; 32], "edits");
        let mut peers: Vec<Peer> = (1..=3).map(Peer::new).collect();
        for _ in 0..40 {
            let at = rng.index(3);
            let _ = peers[at].edit([random_edit(&mut rng)]);
            if rng.below(3) == 0 {
                let other = peers[(at + 1) % 3].log.clone();
                peers[at].apply(other);
            }
        }
        let mut all: Vec<Arrived> = peers.iter().flat_map(|peer| peer.log.clone()).collect();
        let outcomes = peers.iter_mut().map(|peer| {
            rng.shuffle(&mut all);
            let (_, orphans, refused, state) = peer.apply(all.clone());
            assert_eq!((orphans, refused), (0, Vec::new()));
            (state, peer.get(""))
        });
        let outcomes: Vec<_> = outcomes.collect();
        outcomes.iter().all(|outcome| *outcome == outcomes[0])
    }
}

#[test]
fn an_object_that_both_made_is_one_object() {
    let (mut a, mut b) = pair(json!({"name": "x"}));
    a.set("by/deep/a", json!(1));
    b.set("by/deep/b", json!(2));
    a.set("by/both", json!("a"));
    b.set("by/both", json!("b"));
    let value = meet(&mut a, &mut b).unwrap();
    let both = value["by"]["both"].clone();
    assert!(both == json!("a") || both == json!("b"));
    assert_eq!(value, json!({"name": "x", "by": {"both": both, "deep": {"a": 1, "b": 2}}}));

    // A later edit shows, wherever it was made; a removal removes it from both objects.
    a.set("by/both", json!("later"));
    a.edit([Edit::Remove { path: "by/deep/b".into() }]).unwrap();
    let value = meet(&mut a, &mut b).unwrap();
    assert_eq!(value["by"], json!({"both": "later", "deep": {"a": 1}}));
    b.put(json!({"name": "x", "by": {"deep": {"c": 3}}}));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "x", "by": {"deep": {"c": 3}}}));
}

/// Each of two objects has a value of its own at one place, and the older object has the newer value. Setting what is hidden
/// in the other one is an edit: it was taken for a repetition.
#[test]
fn a_value_that_is_hidden_in_a_twin_can_be_set_again() {
    let kinds =
        [[json!(1), json!(2)], [json!([0.5]), json!([1.5])], [json!({"type": "Point"}), json!({"type": "Line"})]];
    for [shown, hidden] in kinds {
        for a_is_newer in [true, false] {
            let (mut a, mut b) = pair(json!({}));
            let (newer, older) = if a_is_newer { (&mut a, &mut b) } else { (&mut b, &mut a) };
            older.set("m/coordinates", hidden.clone());
            newer.set("m/coordinates", json!("for the time being"));
            newer.set("m/coordinates", shown.clone());
            assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"m": {"coordinates": shown}}));
            a.set("m/coordinates", hidden.clone());
            assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"m": {"coordinates": hidden}}));
        }
    }
}

#[test]
fn a_document_that_both_put_is_one_document() {
    let (mut a, mut b) = (Peer::new(1), Peer::new(2));
    a.put(json!({"properties": {"from": "a", "a": 1}}));
    b.put(json!({"properties": {"from": "b", "b": 2}}));
    let value = meet(&mut a, &mut b).unwrap();
    assert_eq!((&value["properties"]["a"], &value["properties"]["b"]), (&json!(1), &json!(2)));
}

quickcheck::quickcheck! {
    /// Whatever two peers set and remove under the same places before they meet, both read the same, and a later edit shows.
    fn twins_read_the_same_on_both_sides(edits: Vec<(bool, u8, u8, bool)>) -> bool {
        let (mut a, mut b) = pair(json!({}));
        for (side, place, value, meets) in edits.into_iter().take(24) {
            let peer = if side { &mut a } else { &mut b };
            let path = ["m/x", "m/y", "m/n/x", "m/n/y", "m/n/o/x"][usize::from(place % 5)].to_owned();
            if value % 4 == 0 {
                let _ = peer.edit([Edit::Remove { path }]);
            } else {
                peer.set(&path, json!(value));
                assert_eq!(peer.get(&path), Ok(json!(value)), "an edit shows where it was made");
            }
            if meets {
                meet(&mut a, &mut b).unwrap();
            }
        }
        meet(&mut a, &mut b).is_ok()
    }
}
