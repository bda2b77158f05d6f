//! Counters: all that is added counts, whoever made the counter and in whatever order changes come.

use super::super::super::{Policy, Wrote};
use super::*;
use crate::conflict::{ConflictType, Priorities, Rule};

fn add(path: &str, by: i64) -> Edit {
    Edit::Increment { path: path.into(), by }
}

impl Peer {
    fn count(&mut self, path: &str, by: i64) {
        self.edit([add(path, by)]).unwrap();
    }

    fn why(&mut self, edit: Edit) -> String {
        let before = self.log.len();
        let error = self.edit([edit]).unwrap_err();
        assert_eq!(self.log.len(), before);
        error.to_string()
    }

    /// What met: its type, the side that won, and what both did.
    fn told(&mut self) -> Vec<(ConflictType, Option<usize>, [Wrote; 2])> {
        self.trail().into_iter().map(|met| (met.kind, met.winner, met.sides.map(|side| side.wrote))).collect()
    }
}

#[test]
fn what_is_added_at_the_same_time_all_counts() {
    let (mut a, mut b) = pair(json!({"name": "Suva"}));
    a.count("visits/today", 3);
    assert_eq!(a.get("").unwrap(), json!({"name": "Suva", "visits": {"today": 3}}));
    b.take(&a);
    a.count("visits/today", 1);
    b.count("visits/today", -5);
    b.count("/visits/today", 10);
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"name": "Suva", "visits": {"today": 9}}));
    assert_eq!(a.get("visits/today").unwrap(), json!(9));
    let edited = Wrote::Edited { what: "counter" };
    let met = (ConflictType::ConcurrentUpdate, None, [edited.clone(), edited]);
    assert_eq!((a.told(), a.open().len()), (vec![met.clone(), met], 0));
    let before = (a.log.len(), json!({"name": "Suva", "visits": {"today": 9}}));
    a.put(before.1);
    a.edit([Edit::Set { path: "visits/today".into(), value: json!(9) }, add("visits/today", 0)]).unwrap();
    assert_eq!(a.log.len(), before.0, "what is there already is not written");
}

#[test]
fn two_who_make_a_counter_at_the_same_time_make_one() {
    let (mut a, mut b) = pair(json!({"kept": 5}));
    for peer in [&mut a, &mut b] {
        // Both make the map on the way too.
        peer.count("made/n", 1);
        peer.count("n", 10);
        peer.count("kept", 1);
    }
    a.count("n", 1);
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"kept": 7, "n": 21, "made": {"n": 2}}));
    assert_eq!((a.open().len(), b.told().len()), (0, 4));
    assert!(b.told().iter().all(|(kind, winner, _)| (*kind, *winner) == (ConflictType::ConcurrentUpdate, None)));
    // Whoever sees both adds once, however often in one change, and so does whoever sees one.
    let mut c = Peer::new(3);
    c.apply(vec![a.log[0].clone()]);
    c.count("n", 1_000);
    a.edit([add("n", 100), add("n", 100), add("made/n", 5), add("kept", 10)]).unwrap();
    b.edit([add("n", 100), Edit::Set { path: "n".into(), value: json!(121) }]).unwrap();
    assert_eq!(b.get("n").unwrap(), json!(121));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"kept": 17, "n": 321, "made": {"n": 7}}));
    a.take(&c);
    b.take(&c);
    assert_eq!(meet(&mut a, &mut b).unwrap()["n"], json!(1_321));
    // A batch that fails half way leaves nothing behind.
    let results = a.commands(vec![
        (false, vec![add("n", 1)]),
        (false, vec![add("n", 1), add("kept", 1), Edit::Remove { path: "missing".into() }]),
        (false, vec![add("n", 1), Edit::Set { path: "n".into(), value: json!(1_323) }]),
    ]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(meet(&mut a, &mut b).unwrap()["n"], json!(1_323));
}

#[test]
fn an_older_version_counts_what_was_there_then() {
    let (mut a, mut b) = pair(json!({}));
    a.count("n", 1);
    b.count("n", 1);
    meet(&mut a, &mut b).unwrap();
    let then = a.state().heads.to_vec();
    b.count("n", 5);
    a.take(&b);
    // Then it was 2, and nobody had added 5 to both.
    a.edit_at(&then, [add("n", 10), Edit::Set { path: "n".into(), value: json!(12) }]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"n": 17}));
}

#[test]
fn a_number_that_is_set_begins_a_counter_anew() {
    let (mut a, mut b) = pair(json!({"n": 1, "text": "x"}));
    a.count("n", 1);
    b.take(&a);
    a.set("n", json!(100));
    b.count("n", 1);
    assert_eq!(meet(&mut a, &mut b).unwrap()["n"], json!(100), "what had not seen it went with the old one");
    let sides = [Wrote::Edited { what: "counter" }, Wrote::Made { what: "counter" }];
    let (kind, winner, mut found) = a.told().remove(0);
    found.sort_by_key(|side| *side == sides[1]);
    assert_eq!((kind, found), (ConflictType::WriteWrite, sides.clone()));
    assert_eq!(a.told()[0].2[winner.unwrap()], sides[1]);
    // Both begin it anew and go on counting.
    a.edit([Edit::Set { path: "n".into(), value: json!(0) }, add("n", 2)]).unwrap();
    b.edit([Edit::Set { path: "n".into(), value: json!(0) }, add("n", 3)]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap()["n"], json!(5));
    // Something else is no counter, and what is removed is gone with what was added meanwhile.
    a.edit([Edit::Remove { path: "n".into() }]).unwrap();
    b.count("n", 3);
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"text": "x"}));
    let (kind, winner, sides) = a.told().remove(0);
    assert_eq!((kind, &sides[winner.unwrap()]), (ConflictType::DeleteWrite, &Wrote::Removed));
    a.count("n", 1);
    a.set("n", json!("many"));
    assert_eq!(
        a.why(add("n", 1)),
        "document layers/countries/FJI, at \"n\": \"n\" is no whole number, and only these are counted on"
    );
}

#[test]
fn a_counter_beside_another_value_is_a_conflict_that_adding_to_it_settles() {
    let (mut a, mut b) = pair(json!({}));
    a.set("n", json!("none"));
    b.count("n", 1);
    b.count("n", 1);
    let shown = meet(&mut a, &mut b).unwrap()["n"].clone();
    assert_eq!(a.open().len(), 1);
    let policies = |priority| {
        let priorities: Priorities = [(NodeId::from_u128(priority), 1)].into_iter().collect();
        Policies::new(vec![Policy { prefix: String::new(), path: String::new(), rule: Rule::Priority, priorities }])
            .unwrap()
    };
    for (node, value) in [(1, json!("none")), (2, json!(2))] {
        let (command, path) = (CommandId::ZERO, "n".to_owned());
        let done = a.engine.run(Task::Get { doc: doc(), command, path, policies: policies(node) });
        assert!(matches!(done, Done::Got { value: Ok(found), .. } if found == value));
    }
    for (kind, winner, sides) in a.told() {
        assert_eq!(kind, ConflictType::WriteWrite);
        let won = match &sides[winner.unwrap()] {
            Wrote::Set { value } => value.clone(),
            _ => json!(2),
        };
        assert_eq!(won, shown);
    }
    b.set("n", json!(7));
    b.count("n", 1);
    assert_eq!((meet(&mut a, &mut b).unwrap(), a.open().len()), (json!({"n": 8}), 0));
}

#[test]
fn what_cannot_be_counted_is_refused_with_its_reason() {
    let geometry = json!({"type": "Point", "coordinates": [1, 2]});
    let value = json!({"f": 1.5, "o": {}, "far": u64::MAX, "list": [4, "x"], "geometry": geometry, "nothing": null});
    let (mut a, mut b) = pair(value);
    for (edit, why) in [
        (add("", 1), "a document is no counter"),
        (add("f", 1), "\"f\" is no whole number"),
        (add("o", 1), "\"o\" is no number"),
        (add("far", 1), "a counter begins with 9007199254740992 at most"),
        (add("list/1", 1), "\"1\" is no whole number"),
        (add("list/2", 1), "nothing at \"list/2\""),
        (add("list/-", 1), "\"-\" is no index"),
        (add("geometry/coordinates/0", 1), "stored as one"),
        (add("f/x", 1), "\"f\" is not an object"),
        (add("n", (1 << 31) + 1), "a counter moves by 2147483648 at most at a time, not by 2147483649"),
        (add("n", i64::MIN), "at most at a time"),
    ] {
        let found = a.why(edit);
        assert!(found.contains(why), "{found}");
    }
    a.edit([add("list/0", 1), add("nothing", 1), add("n", 1 << 31), add("zero", 0)]).unwrap();
    b.take(&a);
    a.count("list/0", 10);
    b.count("list/0", 100);
    b.set("list/1", json!("y"));
    let both = meet(&mut a, &mut b).unwrap();
    assert_eq!((&both["list"], &both["nothing"], &both["zero"]), (&json!([115, "y"]), &json!(1), &json!(0)));
    assert!(a.why(add("n/x", 1)).contains("\"n\" is not an object"));
    a.set("n", json!(i64::MAX));
    assert_eq!(a.get("n").unwrap(), json!(i64::MAX), "what is too large for a counter is set");
    let text: Edit = serde_json::from_value(json!({"op": "increment", "path": "/zero"})).unwrap();
    assert_eq!(text, add("/zero", 1));
}

quickcheck::quickcheck! {
    fn increments_commute_and_sum(seed: u64) -> bool {
        let mut rng = Rng::fork(&[3; 32], &format!("{seed}"));
        let mut peers: Vec<Peer> = (1..=3).map(Peer::new).collect();
        peers[0].put(json!({"kept": 5, "list": [1]}));
        let first = peers[0].log.clone();
        let places = ["n", "in/n", "kept", "list/0"];
        let mut sums = [0, 0, 5, 1];
        peers[1..].iter_mut().for_each(|peer| _ = peer.apply(first.clone()));
        let mut folding = Engine::new(Limits { history: 2, ..Limits::default() });
        folding.worth = 0;
        peers[2].engine = folding;
        peers[2].apply(first);
        for _ in 0..40 {
            let (at, place) = (rng.index(3), rng.index(4));
            let by = i64::try_from(rng.below(9)).unwrap() - 4;
            sums[place] += by;
            peers[at].count(places[place], by);
            if rng.below(3) == 0 {
                let other = peers[rng.index(3)].log.clone();
                let done = peers[at].engine.run(Task::Apply { doc: doc(), changes: other });
                let Done::Applied { refused, older, .. } = done else { panic!("{done:?}") };
                assert_eq!(refused, vec![]);
                if !older.is_empty() {
                    let all = peers.iter().flat_map(|peer| peer.log.clone()).collect();
                    peers[at].engine.run(Task::Rebuild { doc: doc(), changes: all });
                }
            }
        }
        let mut all: Vec<Arrived> = peers.iter().flat_map(|peer| peer.log.clone()).collect();
        (0..5).all(|node| {
            rng.shuffle(&mut all);
            let mut fresh = Peer::new(10 + node);
            let (_, orphans, refused, _) = fresh.apply(all.clone());
            assert_eq!((orphans, refused), (0, Vec::new()));
            let found = places.map(|place| fresh.get(place).ok().and_then(|value| value.as_i64()).unwrap_or_default());
            assert_eq!(found, sums);
            true
        })
    }
}
