//! Elements that are inserted and removed at the same time.

use super::*;

fn insert(path: &str, value: Value) -> Edit {
    Edit::Insert { path: path.into(), value }
}

fn remove(path: &str) -> Edit {
    Edit::Remove { path: path.into() }
}

#[test]
fn what_is_inserted_at_the_same_time_all_stays() {
    let (mut a, mut b) = pair(json!({"list": ["b", "d"], "deep": [[1]]}));
    a.edit([insert("list/0", json!("a")), insert("/list/2", json!("c")), insert("list/-", json!("e"))]).unwrap();
    assert_eq!(a.get("list").unwrap(), json!(["a", "b", "c", "d", "e"]));
    b.edit([insert("list/2", json!({"x": [1]})), insert("deep/0/1", json!(2))]).unwrap();
    let both = meet(&mut a, &mut b).unwrap();
    let list = both["list"].as_array().unwrap();
    assert_eq!((list.len(), &both["deep"]), (6, &json!([[1, 2]])));
    assert!(
        list[..4] == ["a", "b", "c", "d"] && list[4..].contains(&json!("e")) && list[4..].contains(&json!({"x": [1]}))
    );
    // Alike does not mean the same.
    a.edit([insert("deep/0", json!("x"))]).unwrap();
    b.edit([insert("deep/0", json!("x"))]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap()["deep"], json!(["x", "x", [1, 2]]));
}

#[test]
fn a_removal_takes_the_element_that_was_meant_and_what_is_set_there_meanwhile_stays() {
    let (mut a, mut b) = pair(json!({"list": [1, 2, 3, 4]}));
    a.edit([remove("list/1")]).unwrap();
    b.edit([insert("list/0", json!(0)), remove("list/2"), remove("list/2")]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": [0, 1, 4]}));
    a.edit([remove("list/2")]).unwrap();
    b.set("list/2", json!(5));
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"list": [0, 1, 5]}));
    assert_eq!(a.edit([remove("list/3")]), Err(Error::NoSuchPath { doc: doc(), path: "list/3".into() }));
}

#[test]
fn what_cannot_be_inserted_is_refused_with_its_reason() {
    let ring = json!({"type": "LineString", "coordinates": [[0, 0], [2, 2]]});
    let (mut a, _) = pair(json!({"list": [1], "text": "x", "o": {}, "geometry": ring}));
    for (edit, why) in [
        (insert("", json!(1)), "a document is no list"),
        (insert("list/2", json!(1)), "the list has 1 elements"),
        (insert("list/01", json!(1)), "\"01\" is no index of a list"),
        (insert("o/0", json!(1)), "it is no list: \"0\" is set, not inserted"),
        (insert("none/0", json!(1)), "nothing at \"none/0\""),
        (insert("text/0", json!(1)), "nothing at \"text/0\""),
        (insert("geometry/type/0", json!(1)), "it is no list"),
        (insert("geometry/none/0", json!(1)), "nothing at"),
    ] {
        let found = a.edit([edit]).unwrap_err().to_string();
        assert!(found.contains(why), "{found}");
    }
    a.edit([insert("geometry/coordinates/1", json!([1, 1]))]).unwrap();
    assert_eq!(a.get("geometry/coordinates").unwrap(), json!([[0, 0], [1, 1], [2, 2]]));
    let text: Edit = serde_json::from_value(json!({"op": "insert", "path": "/list/-", "value": 2})).unwrap();
    assert_eq!(text, insert("/list/-", json!(2)));
}

quickcheck::quickcheck! {
    fn inserts_converge_at_every_order(seed: u64) -> bool {
        let mut rng = Rng::fork(&[4; 32], &format!("{seed}"));
        let mut peers: Vec<Peer> = (1..=3).map(Peer::new).collect();
        peers[0].put(json!({"list": []}));
        let first = peers[0].log.clone();
        peers[1..].iter_mut().for_each(|peer| _ = peer.apply(first.clone()));
        let (mut inserted, mut removed) = (0, std::collections::BTreeSet::new());
        for n in 0..40_u64 {
            let at = rng.index(3);
            let Ok(Value::Array(list)) = peers[at].get("list") else { panic!("no list") };
            let place = rng.index(list.len() + 1);
            if rng.below(4) == 0 && place < list.len() {
                removed.insert(list[place].as_u64().unwrap());
                peers[at].edit([remove(&format!("list/{place}"))]).unwrap();
            } else {
                inserted += 1;
                peers[at].edit([insert(&format!("list/{place}"), json!(n))]).unwrap();
            }
            if rng.below(3) == 0 {
                let other = peers[rng.index(3)].log.clone();
                peers[at].apply(other);
            }
        }
        let mut all: Vec<Arrived> = peers.iter().flat_map(|peer| peer.log.clone()).collect();
        let lists: Vec<Value> = (10..15)
            .map(|node| {
                rng.shuffle(&mut all);
                let mut fresh = Peer::new(node);
                let (_, orphans, refused, _) = fresh.apply(all.clone());
                assert_eq!((orphans, refused), (0, Vec::new()));
                fresh.get("list").unwrap()
            })
            .collect();
        let list = lists[0].as_array().unwrap();
        // Each stays that nobody removed, once.
        let kept: std::collections::BTreeSet<u64> = list.iter().filter_map(Value::as_u64).collect();
        kept.len() == list.len()
            && list.len() == inserted - removed.len()
            && kept.is_disjoint(&removed)
            && lists.iter().all(|other| *other == lists[0])
    }
}
