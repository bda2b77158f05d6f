//! Mutants of changes with checksums that fit, and edits of all kinds: nothing panics the engine, all that it admits loads again
//! as the same, and it refuses nothing that is valid.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, Change, ObjType, ROOT, ScalarValue, TextEncoding};
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::super::change::tamper::chunk;
use super::super::super::{Arrived, Done, Edit, Limits, Policies, Task, Wanted};
use super::super::Engine;
use super::hostile::{actor, actor_id, apply, at_element, body, deliver, doc, own};
use crate::machine::{Rng, mutate};
use crate::types::{Actor, CommandId, LogId, Seq, Topic, WallTime};

/// A history of three writers, concurrent here and there, as plain changes in causal order.
fn history(rng: &mut Rng) -> Vec<Change> {
    let mut docs: Vec<Automerge> = (1..=3)
        .map(|node| Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor_id(node)))
        .collect();
    for step in 0..8 {
        let at = rng.index(3);
        let mut tx = docs[at].transaction();
        for _ in 0..=rng.below(3) {
            random_edit(&mut tx, rng);
        }
        tx.commit_with(CommitOptions::default().with_time(step));
        if rng.below(3) > 0 {
            let other = (at + 1 + rng.index(2)) % 3;
            let changes = docs[at].get_changes(&docs[other].get_heads());
            docs[other].apply_changes(changes).unwrap();
        }
    }
    let (all, rest) = docs.split_first_mut().unwrap();
    rest.iter_mut().for_each(|doc| drop(all.merge(doc).unwrap()));
    all.get_changes(&[])
}

fn random_edit(tx: &mut impl Transactable, rng: &mut Rng) {
    let mut object = (ROOT, ObjType::Map);
    while rng.below(3) > 0 {
        let inner: Vec<_> = tx
            .values(&object.0)
            .filter_map(|(value, id)| match value {
                automerge::Value::Object(kind) => Some((id, kind)),
                automerge::Value::Scalar(_) => None,
            })
            .collect();
        let Some(next) = rng.pick(&inner) else { break };
        object = next.clone();
    }
    let (id, kind) = object;
    let value = match rng.below(5) {
        0 => ScalarValue::Int(-5),
        1 => ScalarValue::Uint(u64::MAX),
        2 => ScalarValue::F64(0.5),
        3 => ScalarValue::Bytes(b"{\"type\":\"Point\"}".to_vec()),
        _ => ScalarValue::Str("text".into()),
    };
    let inner = [ObjType::Map, ObjType::List, ObjType::Text][rng.index(3)];
    if kind == ObjType::Text {
        let at = rng.index(tx.length(&id) + 1);
        let remove = rng.index(tx.length(&id) - at + 1).min(2);
        return tx.splice_text(&id, at, remove as isize, ["", "a", "\u{1F30D}b"][rng.index(3)]).unwrap();
    }
    if kind == ObjType::List {
        let len = tx.length(&id);
        match rng.below(4) {
            0 if len > 0 => tx.delete(&id, rng.index(len)).unwrap(),
            1 if len > 0 => tx.put(&id, rng.index(len), value).unwrap(),
            2 => drop(tx.insert_object(&id, rng.index(len + 1), inner).unwrap()),
            _ => tx.insert(&id, rng.index(len + 1), value).unwrap(),
        }
        return;
    }
    let key = ["a", "b", "c"][rng.index(3)];
    match rng.below(4) {
        0 if tx.get(&id, key).unwrap().is_some() => tx.delete(&id, key).unwrap(),
        1 | 2 => drop(tx.put_object(&id, key, inner).unwrap()),
        _ => tx.put(&id, key, value).unwrap(),
    }
}

/// A few bytes of the body are changed, doubled, left out or another change's, and the checksum is made to fit.
fn mutant(change: &Change, other: &Change, rng: &mut Rng) -> Vec<u8> {
    chunk(1, &mutate::bytes(rng, body(change), body(other)))
}

/// An operation of the change is made to refer elsewhere.
fn misdirected(change: &Change, other: &Change, rng: &mut Rng) -> Vec<u8> {
    let mut expanded = change.decode();
    let id = |rng: &mut Rng| own(1 + rng.below(12), 1 + u128::from(rng.below(4)));
    let at = rng.index(expanded.operations.len().max(1));
    let Some(op) = expanded.operations.get_mut(at) else { return mutant(change, other, rng) };
    match rng.below(8) {
        0 => op.obj = ObjectId::Id(id(rng)),
        1 => op.obj = ObjectId::Root,
        2 => op.pred = vec![id(rng)].into(),
        3 => op.pred = vec![id(rng), id(rng)].into(),
        4 => op.key = at_element(id(rng)),
        5 => op.key = Key::Map("b".into()),
        6 => op.insert = !op.insert,
        _ => {
            op.action = [
                OpType::Delete,
                OpType::Make(ObjType::Map),
                OpType::Make(ObjType::Text),
                OpType::Put(ScalarValue::Null),
                OpType::Put(ScalarValue::Str("c".into())),
            ][rng.index(5)]
            .clone()
        }
    }
    catch_unwind(AssertUnwindSafe(|| Change::from(expanded).raw_bytes().to_vec()))
        .unwrap_or_else(|_| mutant(change, other, rng))
}

/// Whether Automerge itself lives with this change: it applies it, and what it saves loads again as the same.
fn is_healthy(past: &[Change], bytes: &[u8]) -> bool {
    let lives = || {
        let change = Change::try_from(bytes).ok()?;
        if Change::from(change.decode()).hash() != change.hash() {
            return None;
        }
        let mut merged = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor_id(0));
        merged.apply_changes(past.to_vec()).ok()?;
        let before = merged.get_heads();
        merged.apply_changes([change]).ok()?;
        let loaded = Automerge::load(&merged.save()).ok()?;
        let same = loaded.get_heads() == merged.get_heads() && loaded.get_changes(&[]) == merged.get_changes(&[]);
        (same && merged.get_heads() != before).then_some(())
    };
    catch_unwind(AssertUnwindSafe(lives)).is_ok_and(|lives| lives.is_some())
}

#[derive(Debug, Default)]
struct Tally {
    admitted: usize,
    /// Of these, beside a change of the same number.
    branches: usize,
    refused: usize,
    /// Admitted, and then the engine failed or what it saved did not load.
    poison: Vec<String>,
    /// Refused, though Automerge lives with it.
    strict: Vec<String>,
}

/// Runs mutants; asks Automerge about one in `ask` of those that were refused, since it panics on many of them.
fn fuzz(cases: usize, ask: usize) -> Tally {
    let mut rng = mutate::luck("changes");
    let mut tally = Tally::default();
    let mut changes = Vec::new();
    for case in 0..cases {
        if case % 20 == 0 {
            changes = history(&mut rng);
        }
        let at = rng.index(changes.len());
        // In a third of the cases the victim is there too: what is taken then is a branch.
        let beside = case % 3 == 0;
        let (past, victim, other) = (&changes[..at + usize::from(beside)], &changes[at], rng.index(changes.len()));
        let make = if case % 2 == 0 { mutant } else { misdirected };
        let bytes = make(victim, &changes[other], &mut rng);
        // A change that was not changed, or is another one of this history, is no mutant.
        if changes.iter().any(|change| change.raw_bytes() == bytes) {
            continue;
        }
        tally.judge(case, past, victim, &bytes, beside, case % ask == 0);
    }
    tally
}

impl Tally {
    fn judge(&mut self, case: usize, past: &[Change], victim: &Change, bytes: &[u8], beside: bool, ask: bool) {
        let writer = Actor::from_bytes(victim.actor_id().to_bytes()).unwrap();
        let mut engine = Engine::new(Limits::default());
        assert_eq!(apply(&mut engine, past), (past.len(), Vec::new()));
        let log = LogId { actor: writer, topic: Topic::DOCUMENTS };
        let change = Bytes::copy_from_slice(bytes);
        let (applied, refused) = deliver(&mut engine, vec![Arrived { log, seq: Seq::new(1_000), change }]);
        if applied == 1 {
            self.admitted += 1;
            self.branches += usize::from(beside);
            let saved = engine.saved(&doc());
            let loads = catch_unwind(|| Automerge::load(&saved).map(|loaded| loaded.get_changes(&[]).len()));
            if !matches!(loads, Ok(Ok(len)) if len == past.len() + 1)
                || !(beside || is_healthy(past, bytes))
                || !rebuilds(&mut engine)
            {
                self.poison.push(format!("case {case}: {bytes:02x?}"));
            }
        } else if let Some(why) = refused.first() {
            self.refused += 1;
            if why.contains("merge engine") {
                self.poison.push(format!("case {case}: {why}"));
            } else if !beside && ask && is_healthy(past, bytes) {
                self.strict.push(why.clone());
            }
        }
    }
}

/// Whether a document that was closed opens again from its changes, and says the same.
fn rebuilds(engine: &mut Engine) -> bool {
    let told = |engine: &mut Engine| match engine.run(Task::Get {
        doc: doc(),
        command: CommandId::new(1),
        path: String::new(),
        policies: Policies::default(),
    }) {
        Done::Got { value, state, .. } => (value.map_err(|error| error.to_string()), state.heads),
        _ => panic!("another answer"),
    };
    let before = told(engine);
    engine.close(&doc());
    before == told(engine)
}

#[test]
fn no_mutant_of_a_change_panics_the_engine_or_poisons_a_document() {
    let cases = mutate::cases(3_000, 200);
    let tally = fuzz(cases, 20);
    assert_eq!(tally.poison, Vec::<String>::new());
    let Tally { admitted, branches, refused, .. } = tally;
    mutate::report("changes", &format!("{admitted} admitted, of these {branches} branches; {refused} refused"));
    assert!(admitted > cases / 40 && branches > cases / 100 && refused > cases / 2, "{tally:?}");
    // What documents do not use is refused although Automerge lives with it; nothing else is.
    let vocabulary = [
        "kind is not one",
        "value is not one",
        "canonical encoding",
        "does not fit the kind of its object",
        "owner",
        "writer's id",
        "removes or updates nothing",
        "a text is made of characters",
        // Automerge lets a writer leave numbers out; none that we know does, and a leap would use them up.
        "its operations start at",
    ];
    let other = tally.strict.iter().filter(|why| !vocabulary.iter().any(|word| why.contains(word)));
    assert_eq!(other.collect::<Vec<_>>(), Vec::<&String>::new());
}

/// JSON that a client may send: nested, odd, with keys that look like paths.
fn value(rng: &mut Rng, depth: u64) -> Value {
    let key = |rng: &mut Rng| ["a", "b", "", "0", "a/b", "\u{0}", "~1", "type", "coordinates"][rng.index(9)].to_owned();
    match rng.below(if depth == 0 { 7 } else { 10 }) {
        0 => Value::Null,
        1 => json!(rng.below(2) == 0),
        2 => json!(rng.bits()),
        3 => json!(-(i64::try_from(rng.below(1 << 40)).unwrap())),
        4 => json!(f64::from_bits(rng.bits())),
        5 => json!("x".repeat(rng.index(40))),
        6 => json!({"type": "Point", "coordinates": [0.5, 1, [2, [3]]]}),
        7 | 8 => (0..rng.below(4)).map(|_| (key(rng), value(rng, depth - 1))).collect(),
        _ => (0..rng.below(4)).map(|_| value(rng, depth - 1)).collect(),
    }
}

fn edits(rng: &mut Rng) -> Vec<Edit> {
    let path = |rng: &mut Rng| {
        let odd = ["0", "1", "-", "", "a~1b", "~", "geometry", "99999999999999999999"];
        let step = |rng: &mut Rng| if rng.below(4) > 0 { ["a", "b"][rng.index(2)] } else { odd[rng.index(8)] };
        (0..=rng.below(2)).map(|_| step(rng)).collect::<Vec<_>>().join("/")
    };
    (0..=rng.below(2))
        .map(|_| match rng.below(12) {
            0..3 => {
                Edit::Put { value: json!({"a": {"a": value(rng, 2)}, "b": [value(rng, 2), 1], "c": value(rng, 4)}) }
            }
            3 => Edit::Delete,
            4 | 5 => Edit::Remove { path: path(rng) },
            6 => {
                let insert = ["", "a", "\u{1F30D}b", "Lautoka"][rng.index(4)].to_owned();
                Edit::Splice { path: path(rng), at: rng.index(4), remove: rng.index(3), insert }
            }
            7 => Edit::Increment { path: path(rng), by: 3 - i64::try_from(rng.below(7)).unwrap() },
            8 => Edit::Insert { path: path(rng), value: value(rng, 3) },
            _ => Edit::Set { path: path(rng), value: value(rng, 3) },
        })
        .collect()
}

#[test]
fn whatever_clients_ask_for_others_admit_it_and_it_loads_again() {
    let (mut rng, cases, mut made) = (mutate::luck("edits"), mutate::cases(1_000, 50), 0);
    let mut engines = [Engine::new(Limits::default()), Engine::new(Limits::default())];
    for case in 0..cases {
        if case % 50 == 0 {
            engines = [Engine::new(Limits::default()), Engine::new(Limits::default())];
        }
        let at = rng.index(2);
        let wanted = |rng: &mut Rng, n| Wanted {
            command: CommandId::new(n),
            edits: edits(rng),
            create: rng.below(8) == 0,
            at: None,
        };
        let batch = (0..=rng.below(2)).map(|n| wanted(&mut rng, n)).collect();
        let writer = actor(if at == 0 { 1 } else { 2 });
        let task = Task::Edit {
            doc: doc(),
            actor: writer,
            at: WallTime::from_micros(rng.below(1 << 60)),
            batch,
            policies: Policies::default(),
        };
        let Done::Edited { change, .. } = engines[at].run(task) else { panic!("another answer") };
        let Some(change) = change else { continue };
        made += 1;
        let log = LogId { actor: writer, topic: Topic::DOCUMENTS };
        let arrived = Arrived { log, seq: Seq::new(case as u64 + 1), change };
        assert_eq!(deliver(&mut engines[1 - at], vec![arrived]), (1, Vec::new()), "case {case}");
        let [one, two] = engines.each_mut().map(|engine| {
            assert!(rebuilds(engine), "case {case}");
            Automerge::load(&engine.saved(&doc())).unwrap().get_heads()
        });
        assert_eq!(one, two, "case {case}");
    }
    mutate::report("edits", &format!("{made} of {cases} made a change"));
    assert!(made > cases / 4, "{made} of {cases}");
}
