//! Writers that were put back to an earlier image of themselves and wrote on: both branches are in the document, on every
//! peer alike, whatever was heard first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::super::change::{Change, Hash, Header};
use super::super::super::{Arrived, DocState, Done, Edit, Error, Limits, Policies, Task, Wanted};
use super::super::Engine;
use super::doc;
use crate::machine::Rng;
use crate::types::{Actor, CommandId, LogId, Mint, NodeId, Seq, Topic, WallTime};

/// A node and what it holds, in the order in which it came.
#[derive(Debug)]
struct Writer {
    actor: Actor,
    engine: Engine,
    held: Vec<Arrived>,
}

impl Writer {
    fn new(node: u128) -> Self {
        let actor = Actor { node: NodeId::from_u128(node), mint: Mint::new(1) };
        Self { actor, engine: Engine::new(Limits::default()), held: Vec::new() }
    }

    /// Its store is put back to what it held earlier.
    fn put_back(&mut self, held: Vec<Arrived>) {
        (self.engine, self.held) = (Engine::new(Limits::default()), Vec::new());
        self.take(held);
    }

    fn edit(&mut self, at: u64, edits: Vec<Edit>) -> Result<(), Error> {
        let batch = vec![Wanted { command: CommandId::ZERO, edits, create: false, at: None }];
        let at = WallTime::from_micros(1_000_000 * at);
        let done =
            self.engine.run(Task::Edit { doc: doc(), actor: self.actor, at, batch, policies: Policies::default() });
        let (change, mut results) = match done {
            Done::Edited { change, results, .. } => (change, results),
            Done::Parted { actor, doc } => return Err(Error::Engine { doc, why: format!("{actor:?} parts") }),
            other => panic!("{other:?}"),
        };
        if let Some(change) = change {
            let log = LogId { actor: self.actor, topic: Topic::DOCUMENTS };
            self.held.push(Arrived { log, seq: Seq::new(self.held.len() as u64 + 1), change });
        }
        results.remove(0).1
    }

    fn set(&mut self, at: u64, path: &str, value: Value) -> Result<(), Error> {
        self.edit(at, vec![Edit::Set { path: path.to_owned(), value }])
    }

    /// Applies changes; whatever waits is given again with the next.
    fn take(&mut self, changes: Vec<Arrived>) -> DocState {
        let done = self.engine.run(Task::Apply { doc: doc(), changes });
        let Done::Applied { applied, orphans, refused, state, .. } = done else { panic!("{done:?}") };
        assert_eq!((orphans, refused), (Vec::new(), Vec::new()));
        self.held.extend(applied);
        state
    }

    fn meet(&mut self, other: &mut Self) {
        let (ours, theirs) = (self.held.clone(), other.held.clone());
        assert_eq!(self.take(theirs), other.take(ours));
        assert_eq!(self.content(), other.content());
    }

    fn content(&mut self) -> Value {
        let done = self.engine.run(Task::Get {
            doc: doc(),
            command: CommandId::ZERO,
            path: String::new(),
            policies: Policies::default(),
        });
        let Done::Got { value, .. } = done else { panic!("{done:?}") };
        value.unwrap_or_default()
    }

    fn put(&mut self, value: Value) {
        self.edit(0, vec![Edit::Put { value }]).unwrap();
    }
}

fn hash(arrived: &Arrived) -> Hash {
    Header::read(&arrived.change).unwrap().hash
}

/// A writer and a friend that both hold its first change; then what the writer added is lost to it.
fn put_back() -> (Writer, Writer) {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.put(json!({"name": "Fiji", "list": [1]}));
    b.take(a.held.clone());
    let image = a.held.clone();
    a.set(1, "before", json!(1)).unwrap();
    a.set(2, "list/-", json!(2)).unwrap();
    b.take(a.held.clone());
    a.put_back(image);
    (a, b)
}

#[test]
fn both_branches_of_a_writer_are_in_the_document() {
    let (mut a, mut b) = put_back();
    a.set(3, "after", json!(2)).unwrap();
    a.set(4, "list/-", json!(3)).unwrap();
    a.meet(&mut b);
    let content = a.content();
    assert_eq!((&content["before"], &content["after"]), (&json!(1), &json!(2)));
    let mut list: Vec<i64> = content["list"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
    list.sort_unstable();
    assert_eq!(list, [1, 2, 3], "both sides' insertions");
}

#[test]
fn who_writes_under_a_name_that_parts_is_told_so_and_goes_on_under_another() {
    let (mut a, mut b) = put_back();
    a.set(3, "after", json!(2)).unwrap();
    a.meet(&mut b);
    let error = a.set(5, "more", json!(1)).unwrap_err();
    assert!(matches!(&error, Error::Engine { why, .. } if why.contains("parts")), "{error}");
    a.actor.mint = Mint::new(2);
    a.set(5, "more", json!(1)).unwrap();
    b.set(6, "theirs", json!(1)).unwrap();
    a.meet(&mut b);
    let content = a.content();
    assert!(["before", "after", "more", "theirs"].iter().all(|key| !content[key].is_null()), "{content}");
}

#[test]
fn what_others_wrote_on_a_branch_before_they_knew_of_the_other_one_means_that_branch() {
    let (mut a, b) = put_back();
    let (mut c, mut d) = (Writer::new(3), Writer::new(4));
    // Both branches make an object of the same counter and name; each has somebody write into its own.
    a.set(3, "object", json!({"of": "a"})).unwrap();
    c.take(a.held.clone());
    c.set(4, "object/c", json!(1)).unwrap();
    d.take(b.held.clone());
    d.set(5, "list/1", json!("two")).unwrap();
    // A third writer knows of both, and refers to both.
    let mut e = Writer::new(5);
    e.take(c.held.clone());
    e.take(d.held.clone());
    e.set(6, "object/e", json!(1)).unwrap();
    e.set(7, "before", json!("e")).unwrap();
    let all = e.held.clone();
    for mut writer in [a, b, c, d] {
        writer.take(all.clone());
        let content = writer.content();
        assert_eq!(
            content,
            json!({"name": "Fiji", "before": "e", "list": [1, "two"], "object": {"of": "a", "c": 1, "e": 1}})
        );
    }
}

#[test]
fn a_document_that_was_made_twice_is_there_once_with_both() {
    let (mut a, mut b) = (Writer::new(1), Writer::new(2));
    a.put(json!({"first": 1, "object": {"x": 1}}));
    b.take(a.held.clone());
    a.put_back(Vec::new());
    a.edit(1, vec![Edit::Put { value: json!({"second": 1, "object": {"y": 1}}) }]).unwrap();
    a.set(2, "object/z", json!(1)).unwrap();
    b.set(2, "object/b", json!(1)).unwrap();
    a.meet(&mut b);
    assert_eq!(a.content(), json!({"first": 1, "second": 1, "object": {"x": 1, "y": 1, "z": 1, "b": 1}}));
}

#[test]
fn three_branches_and_a_branch_of_a_branch() {
    let (mut a, mut b) = put_back();
    let image = a.held.clone();
    let mut all = Vec::new();
    for (n, then) in [(0_u64, 2_u64), (1, 1), (2, 1)] {
        a.put_back(image.clone());
        let mut inner = Vec::new();
        for step in 0..then {
            a.set(10 * n + step, &format!("e{n}{step}"), json!(1)).unwrap();
            inner = if step == 0 { a.held.clone() } else { inner };
        }
        all.extend(a.held.clone());
        if n == 0 {
            a.put_back(inner);
            a.set(99, "inner", json!(1)).unwrap();
            all.extend(a.held.clone());
        }
    }
    b.take(all);
    let content = b.content();
    for key in ["before", "e00", "e01", "inner", "e10", "e20"] {
        assert_eq!(content[key], json!(1), "{key} of {content}");
    }
}

#[test]
fn a_change_in_whose_past_its_own_writer_parts_is_refused() {
    let (mut a, mut b) = put_back();
    a.set(3, "after", json!(2)).unwrap();
    a.meet(&mut b);
    // As only a broken writer would: a change of the old name that follows both branches.
    a.actor.mint = Mint::new(2);
    a.set(4, "x", json!(1)).unwrap();
    let last = automerge::Change::try_from(&a.held.last().unwrap().change[..]).unwrap();
    let mut forged = last.decode();
    (forged.actor_id, forged.seq) = (automerge::ActorId::from(b.held[0].log.actor.to_bytes().as_slice()), 3);
    let change = automerge::Change::from(forged).raw_bytes().to_vec();
    let log = b.held[0].log;
    let arrived = Arrived { log, seq: Seq::new(9), change: change.into() };
    let Done::Applied { refused, .. } = b.engine.run(Task::Apply { doc: doc(), changes: vec![arrived] }) else {
        panic!()
    };
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].1, "follows two changes of its writer that do not follow each other");
}

/// What a mesh of writers of whom some are put back comes to: each that finds itself parted goes on under a new name.
struct Story {
    writers: Vec<Writer>,
    images: BTreeMap<usize, Vec<Arrived>>,
    edits: u64,
    /// Which edit is in which change.
    made: BTreeMap<Hash, u64>,
}

impl Story {
    fn tell(steps: &[(u8, u8, u8)]) -> Self {
        let writers = (1..=4).map(Writer::new).collect();
        let mut story = Self { writers, images: BTreeMap::new(), edits: 0, made: BTreeMap::new() };
        story.writers[0].put(json!({"list": [], "object": {}}));
        let first = story.writers[0].held.clone();
        story.writers[1..].iter_mut().for_each(|writer| _ = writer.take(first.clone()));
        for (what, who, whom) in steps {
            let (who, whom) = (usize::from(*who) % 4, usize::from(*whom) % 4);
            match what % 8 {
                0 => _ = story.images.insert(who, story.writers[who].held.clone()),
                1 => {
                    if let Some(image) = story.images.get(&who).cloned() {
                        story.writers[who].put_back(image);
                    }
                }
                2 | 3 if who != whom => {
                    let theirs = story.writers[whom].held.clone();
                    story.writers[who].take(theirs);
                }
                _ => story.edit(who, what / 8),
            }
        }
        story
    }

    fn edit(&mut self, who: usize, how: u8) {
        self.edits += 1;
        let (n, writer) = (self.edits, &mut self.writers[who]);
        let own = Edit::Set { path: format!("e{n}"), value: json!(n) };
        let path = ["shared", "object/shared", "list/-", "list/0", "made/inner"][usize::from(how) % 5];
        let edits = vec![own, Edit::Set { path: path.to_owned(), value: json!(n) }];
        if writer.edit(n, edits.clone()).is_err() {
            writer.actor.mint = Mint::new(100 + n);
            // A path may not fit any more: it is the edit's own place that matters.
            let made = writer.edit(n, edits.clone()).or_else(|_| writer.edit(n, edits[..1].to_vec()));
            made.unwrap();
        }
        self.made.insert(hash(writer.held.last().unwrap()), n);
    }
}

quickcheck::quickcheck! {
    fn whatever_was_heard_first_all_hold_the_same_and_nothing_is_lost(steps: Vec<(u8, u8, u8)>, seed: u8) -> bool {
        let story = Story::tell(&steps);
        let mut all: BTreeMap<Hash, Arrived> = BTreeMap::new();
        for arrived in story.writers.iter().flat_map(|writer| &writer.held) {
            all.insert(hash(arrived), arrived.clone());
        }
        let mut rng = Rng::fork(&[seed; 32], "order");
        let mut ends = Vec::new();
        // The writers themselves, and newcomers that hear of it in some order, as the pool of orphans would let it in.
        for mut writer in story.writers.into_iter().chain((8..11).map(Writer::new)) {
            let mut waiting: Vec<Arrived> = all.values().cloned().collect();
            rng.shuffle(&mut waiting);
            while !waiting.is_empty() {
                let here: BTreeSet<Hash> = writer.held.iter().map(hash).collect();
                let follows = |arrived: &Arrived| Change::read(&arrived.change).unwrap().deps.iter().all(|dep| here.contains(dep));
                let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(follows);
                writer.take(ready);
                waiting = later;
            }
            ends.push((writer.take(Vec::new()), writer.content()));
        }
        let (state, content) = &ends[0];
        let held = story.made.iter().filter(|(hash, _)| all.contains_key(*hash));
        ends.iter().all(|end| (&end.0, &end.1) == (state, content))
            && state.changes == all.len()
            && held.into_iter().all(|(_, n)| content[format!("e{n}")] == json!(n))
    }
}
