//! Documents whose past is folded say the same as those that keep all of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// A peer that folds as soon as it has so many changes, and what a log would give back to it.
struct Folding {
    peer: Peer,
    disk: Vec<Arrived>,
    rebuilt: usize,
}

impl Folding {
    fn new(node: u128, history: usize) -> Self {
        let mut peer = Peer::new(node);
        peer.engine = Engine::new(Limits { history, ..Limits::default() });
        Self { peer, disk: Vec::new(), rebuilt: 0 }
    }

    fn state(&self) -> DocState {
        self.peer.engine.docs.get(&doc()).map(|held| held.document.state().clone()).unwrap_or_default()
    }

    fn edit(&mut self, edit: Edit) -> Result<(), Error> {
        let before = self.peer.log.len();
        let done = self.peer.edit([edit]);
        self.disk.extend(self.peer.log[before..].iter().cloned());
        done
    }

    /// Takes what the other one has, as the machine would have it done.
    fn take(&mut self, other: &Self) {
        let known: BTreeMap<_, _> = self.disk.iter().map(|arrived| ((arrived.log, arrived.seq), ())).collect();
        let is_new = |arrived: &&Arrived| !known.contains_key(&(arrived.log, arrived.seq));
        let mut changes: Vec<Arrived> = other.disk.iter().filter(is_new).cloned().collect();
        loop {
            let done = self.peer.engine.run(Task::Apply { doc: doc(), changes });
            let Done::Applied { applied, orphans, refused, older, .. } = done else { panic!("{done:?}") };
            assert_eq!((orphans.len(), refused), (0, Vec::new()));
            self.disk.extend(applied);
            if older.is_empty() {
                return;
            }
            self.rebuild();
            changes = older;
        }
    }

    fn rebuild(&mut self) {
        self.rebuilt += 1;
        let before = self.state().heads;
        self.peer.engine.run(Task::Evict { doc: doc() });
        let done = self.peer.engine.run(Task::Restore { doc: doc(), changes: self.disk.clone(), whole: true });
        let Done::Restored { orphans, state, .. } = done else { panic!("{done:?}") };
        assert_eq!((orphans.len(), state.heads, state.folded), (0, before, false));
    }

    fn get(&mut self) -> Result<Value, Error> {
        self.peer.get("")
    }
}

/// What people do to a document, by luck.
fn some_edit(rng: &mut Rng, lists: bool) -> Edit {
    let path = |path: &str| path.to_owned();
    let (key, value) = (format!("k{}", rng.below(5)), json!(rng.below(1_000)));
    match rng.below(if lists { 13 } else { 10 }) {
        9 => Edit::Increment { path: key, by: 1 },
        0..=3 => Edit::Set { path: key, value },
        4 => Edit::Set { path: format!("map/{key}/deep"), value },
        5 => Edit::Set { path: format!("map/{key}"), value: json!({"deep": value, "list": [1, {"x": value}]}) },
        6 => Edit::Remove { path: key },
        7 => Edit::Put { value: json!({"k0": value, "map": {"a": {"b": value}}, "list": [value, [2]], "n": null}) },
        8 => Edit::Delete,
        10 => Edit::Set { path: path("list/-"), value },
        11 => Edit::Remove { path: path("list/0") },
        _ => Edit::Set { path: path("list/0"), value },
    }
}

fn pick(rng: &mut Rng, count: u64) -> usize {
    usize::try_from(rng.below(count)).unwrap()
}

/// Peers that fold at different times, or never, edit at once and meet at random.
fn say_the_same(seed: u64, lists: bool) -> usize {
    let mut rng = Rng::fork(&[7; 32], &format!("{seed}"));
    let mut peers: Vec<Folding> =
        [0, 2, 6].into_iter().zip(1..).map(|(history, node)| Folding::new(node, history)).collect();
    peers.iter_mut().for_each(|folding| folding.peer.engine.worth = 0);
    peers[0].edit(Edit::Put { value: json!({"list": [1, 2], "map": {}}) }).unwrap();
    let mut folded = 0;
    for _ in 0..60 {
        let at = pick(&mut rng, 3);
        // Some edits cannot be made as the document stands.
        drop(peers[at].edit(some_edit(&mut rng, lists)));
        if rng.below(2) == 0 {
            let from = (at + 1 + pick(&mut rng, 2)) % 3;
            let other = std::mem::replace(&mut peers[from], Folding::new(9, 0));
            peers[at].take(&other);
            peers[from] = other;
        }
        folded += usize::from(peers.iter().any(|peer| peer.state().folded));
    }
    // Whoever folds goes on writing what everybody takes.
    for round in 0..2 {
        for at in 0..3 {
            for from in 0..3 {
                let other = std::mem::replace(&mut peers[from], Folding::new(9, 0));
                if from != at {
                    peers[at].take(&other);
                }
                peers[from] = other;
            }
            peers[at]
                .edit(Edit::Put { value: json!({"round": round, "at": at, "list": [3], "map": {"k0": 1}}) })
                .unwrap();
        }
    }
    let last = std::mem::replace(&mut peers[2], Folding::new(9, 0));
    peers.iter_mut().for_each(|peer| peer.take(&last));
    peers[2] = last;
    let same: Vec<_> = peers.iter_mut().map(|peer| (peer.get(), peer.state().heads, peer.state().changes)).collect();
    assert!(same.iter().all(|one| *one == same[0]), "seed {seed}: {same:#?}");
    // And nothing is different for those who read all of it again.
    peers.iter_mut().for_each(Folding::rebuild);
    assert!(peers.iter_mut().all(|peer| peer.get() == same[0].0), "seed {seed}");
    folded
}

quickcheck::quickcheck! {
    fn folding_changes_nothing_that_is_said(seed: u64) -> bool {
        say_the_same(seed, seed.is_multiple_of(2));
        true
    }
}

#[test]
fn documents_are_folded_most_of_the_time() {
    let folded: usize = (0..10).map(|seed| say_the_same(seed, false)).sum();
    assert!(folded > 200, "{folded} of 600");
}

/// One writer, so that there is a pivot everywhere.
fn written(history: usize, edits: u32) -> Folding {
    let mut one = Folding::new(1, history);
    one.edit(Edit::Put {
        value: json!({"a": {"b": [1, {"c": null}]}, "geometry": {"type": "Point", "coordinates": [1, 2]}}),
    })
    .unwrap();
    (0..edits).for_each(|n| one.edit(Edit::Set { path: "a/n".into(), value: json!(n) }).unwrap());
    one
}

#[test]
fn a_folded_document_takes_the_memory_of_its_state_and_its_newest_changes() {
    let (whole, mut folded) = (written(0, 400), written(32, 400));
    assert!(!whole.state().folded && folded.state().folded);
    assert_eq!((whole.state().heads, whole.state().changes), (folded.state().heads, folded.state().changes));
    let (was, is) = (whole.state().bytes, folded.state().bytes);
    assert!(is * 4 < was, "{is} bytes of {was}");
    folded.rebuild();
    assert_eq!(folded.state().bytes, was);
}

#[test]
fn whoever_folds_at_a_change_makes_the_same_bytes() {
    let base = |folding: &Folding| {
        let held = folding.peer.engine.docs.get(&doc()).unwrap();
        held.document.base().map(|base| (base.pivot, base.change.clone()))
    };
    let at_once = written(32, 31);
    let (mut others, mut twice) = (Folding::new(2, 32), written(8, 0));
    others.take(&at_once);
    assert_eq!(base(&others), base(&at_once));
    // Folded before, at another change.
    (0..200).for_each(|n| twice.edit(Edit::Set { path: "a/n".into(), value: json!(n) }).unwrap());
    let (pivot, bytes) = base(&twice).unwrap();
    let mut anew = Folding::new(3, 0);
    anew.take(&twice);
    let hashes: Vec<_> = anew.peer.engine.docs.get(&doc()).unwrap().document.hashes();
    let at = hashes.iter().position(|hash| *hash == pivot).unwrap();
    anew.disk.truncate(at + 1);
    let mut short = Folding::new(4, 0);
    short.take(&anew);
    assert_eq!(short.peer.engine.docs.get_mut(&doc()).unwrap().document.fold_here().unwrap(), bytes);
}

#[test]
fn what_follows_no_more_than_the_folded_past_needs_all_of_it() {
    let (mut one, mut other) = (written(0, 2), Folding::new(2, 0));
    other.take(&one);
    other.edit(Edit::Set { path: "late".into(), value: json!(true) }).unwrap();
    one.peer.engine.limits.history = 8;
    (0..20).for_each(|n| one.edit(Edit::Set { path: "a/n".into(), value: json!(n) }).unwrap());
    assert!(one.state().folded);
    one.take(&other);
    assert_eq!(one.rebuilt, 1);
    other.take(&one);
    assert_eq!((one.get(), one.state().heads), (other.get(), other.state().heads));
    assert_eq!(one.get().unwrap()["late"], json!(true));
}

#[test]
fn what_has_several_values_is_not_folded() {
    let (mut one, mut other) = (written(8, 1), Folding::new(2, 0));
    other.take(&one);
    one.edit(Edit::Set { path: "k".into(), value: json!(1) }).unwrap();
    other.edit(Edit::Set { path: "k".into(), value: json!(2) }).unwrap();
    one.take(&other);
    (0..20).for_each(|n| one.edit(Edit::Set { path: "a/n".into(), value: json!(n) }).unwrap());
    assert!(!one.state().folded);
    one.edit(Edit::Set { path: "k".into(), value: json!(3) }).unwrap();
    (0..40).for_each(|n| one.edit(Edit::Set { path: "a/n".into(), value: json!(n) }).unwrap());
    assert!(one.state().folded);
    other.take(&one);
    assert_eq!(one.get(), other.get());
}

#[test]
fn a_document_that_folded_more_than_was_read_is_not_built_from_that() {
    let mut a = Folding::new(1, 4);
    a.edit(Edit::Put { value: json!({"n": 0}) }).unwrap();
    let read = a.disk.clone();
    for n in 1..40 {
        a.edit(Edit::Set { path: "n".into(), value: json!(n) }).unwrap();
    }
    let before = a.state();
    assert!(before.folded);
    // The log was read before the edits came; what it says and what is not folded is not all.
    a.peer.engine.run(Task::Rebuild { doc: doc(), changes: read });
    assert_eq!(a.state().heads, before.heads);
    let all = a.disk.clone();
    a.peer.engine.run(Task::Rebuild { doc: doc(), changes: all });
    assert_eq!((a.state().heads, a.peer.get("n").unwrap()), (before.heads, json!(39)));
}
