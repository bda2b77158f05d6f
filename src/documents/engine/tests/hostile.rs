//! Changes that no correct node makes, with valid checksums: each crafted one is refused for its reason.

use std::num::NonZeroU64;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, Change, ExpandedChange, ObjType, ROOT, ReadDoc, ScalarValue, TextEncoding};
use bytes::Bytes;

use super::super::super::change::tamper::{self, chunk};
use super::super::super::{Arrived, Done, Limits, Task};
use super::super::Engine;
use crate::types::{Actor, DocId, LogId, Mint, NodeId, Seq, Topic};

pub(super) fn doc() -> DocId {
    DocId::parse("d").unwrap()
}

pub(super) fn actor(node: u128) -> Actor {
    Actor { node: NodeId::from_u128(node), mint: Mint::new(1) }
}

pub(super) fn actor_id(node: u128) -> ActorId {
    ActorId::from(actor(node).to_bytes().as_slice())
}

/// What an engine says to changes: how many it applied, and why it refused the others.
pub(super) fn apply(engine: &mut Engine, changes: &[Change]) -> (usize, Vec<String>) {
    let arrived = |change: &Change| Arrived {
        log: LogId {
            actor: Actor::from_bytes(change.actor_id().to_bytes()).unwrap_or_else(|| actor(0)),
            topic: Topic::DOCUMENTS,
        },
        seq: Seq::new(change.seq()),
        change: Bytes::copy_from_slice(change.raw_bytes()),
    };
    deliver(engine, changes.iter().map(arrived).collect())
}

pub(super) fn deliver(engine: &mut Engine, changes: Vec<Arrived>) -> (usize, Vec<String>) {
    let Done::Applied { applied, refused, .. } = engine.run(Task::Apply { doc: doc(), changes }) else { panic!() };
    (applied.len(), refused.into_iter().map(|(_, why)| why).collect())
}

/// A document of two writers with every kind of object, as Automerge makes it.
struct Base {
    merged: Automerge,
    changes: Vec<Change>,
    list: ObjectId,
    element: OpId,
    map: ObjectId,
}

fn op_id(id: &automerge::ObjId) -> OpId {
    let automerge::ObjId::Id(counter, actor, _) = id else { panic!("the root") };
    OpId::new(*counter, actor)
}

impl Base {
    fn new() -> Self {
        let mut merged = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor_id(1));
        let mut tx = merged.transaction();
        let list = tx.put_object(&ROOT, "list", ObjType::List).unwrap();
        let map = tx.put_object(&ROOT, "map", ObjType::Map).unwrap();
        tx.insert(&list, 0, 1_i64).unwrap();
        tx.insert(&list, 1, 2_i64).unwrap();
        tx.put(&map, "x", "old").unwrap();
        tx.commit_with(CommitOptions::default().with_time(1));
        merged.set_actor(actor_id(2));
        let mut tx = merged.transaction();
        tx.put(&map, "x", "new").unwrap();
        tx.delete(&list, 1).unwrap();
        tx.put(&ROOT, "float", 1.5).unwrap();
        tx.commit_with(CommitOptions::default().with_time(2));
        let element = op_id(&merged.get(&list, 0).unwrap().unwrap().1);
        let changes = merged.get_changes(&[]);
        Self { merged, changes, list: ObjectId::Id(op_id(&list)), element, map: ObjectId::Id(op_id(&map)) }
    }

    fn engine(&self) -> Engine {
        let mut engine = Engine::new(Limits::default());
        assert_eq!(apply(&mut engine, &self.changes), (self.changes.len(), Vec::new()));
        engine
    }

    /// A correct change of a third writer: each test spoils one thing in it.
    fn next(&self) -> ExpandedChange {
        let mut merged = self.merged.clone();
        merged.set_actor(actor_id(3));
        let mut tx = merged.transaction();
        tx.put(&ROOT, "key", 1_i64).unwrap();
        tx.commit_with(CommitOptions::default().with_time(3));
        merged.get_last_local_change().unwrap().decode()
    }

    /// What the engine says to the third writer's change when this was done to it.
    fn verdict(&self, spoil: impl FnOnce(&mut ExpandedChange)) -> String {
        let mut next = self.next();
        spoil(&mut next);
        let mut engine = self.engine();
        let before = engine.saved(&doc());
        let (applied, mut refused) = apply(&mut engine, &[Change::from(next)]);
        assert_eq!((applied, refused.len()), (0, 1), "{refused:?}");
        assert_eq!(engine.saved(&doc()), before);
        refused.remove(0)
    }

    fn op_verdict(&self, spoil: impl FnOnce(&mut Op)) -> String {
        self.verdict(|change| spoil(&mut change.operations[0]))
    }
}

pub(super) fn own(counter: u64, node: u128) -> OpId {
    OpId::new(counter, &actor_id(node))
}

pub(super) fn at_element(id: OpId) -> Key {
    Key::Seq(ElementId::Id(id))
}

#[test]
fn the_change_that_the_others_are_spoiled_from_is_taken() {
    let base = Base::new();
    let mut engine = base.engine();
    assert_eq!(apply(&mut engine, &[Change::from(base.next())]), (1, Vec::new()));
}

#[test]
fn operations_that_refer_to_what_is_not_there_are_refused() {
    let base = Base::new();
    let missing = |op: &mut Op| op.obj = ObjectId::Id(own(99, 1));
    assert_eq!(base.op_verdict(missing), "operation 0: its object does not exist in the change's past");
    let foreign = |op: &mut Op| op.obj = ObjectId::Id(own(1, 77));
    assert_eq!(base.op_verdict(foreign), "operation 0: its object does not exist in the change's past");
    let no_object = |op: &mut Op| op.obj = ObjectId::Id(base.element.clone());
    assert_eq!(base.op_verdict(no_object), "operation 0: its object does not exist in the change's past");
    let itself = |op: &mut Op| op.obj = ObjectId::Id(own(9, 3));
    assert_eq!(base.op_verdict(itself), "operation 0: its object does not exist in the change's past");
    let unknown = |op: &mut Op| op.pred = vec![own(1, 77)].into();
    assert_eq!(base.op_verdict(unknown), "operation 0: it replaces what does not exist in the change's past");
    let later = |op: &mut Op| op.pred = vec![own(2_000, 1)].into();
    assert_eq!(base.op_verdict(later), "operation 0: it replaces what does not exist in the change's past");
    let elsewhere = |op: &mut Op| op.pred = vec![own(1, 1)].into();
    assert_eq!(base.op_verdict(elsewhere), "operation 0: it replaces a value of another place");
    let removal = |op: &mut Op| {
        (op.obj, op.key) = (base.list.clone(), at_element(own(4, 1)));
        op.pred = vec![own(7, 2)].into();
    };
    assert_eq!(base.op_verdict(removal), "operation 0: it replaces what does not exist in the change's past");
    let twice = |op: &mut Op| {
        (op.obj, op.key) = (base.map.clone(), Key::Map("x".into()));
        op.pred = vec![own(5, 1), own(5, 1)].into();
    };
    assert_eq!(base.op_verdict(twice), "operation 0: what it replaces is not in order");
}

#[test]
fn operations_that_do_not_fit_their_object_are_refused() {
    let base = Base::new();
    let in_list = |op: &mut Op, key: Key, insert: bool| (op.obj, op.key, op.insert) = (base.list.clone(), key, insert);
    let insert_after = |op: &mut Op| in_list(op, at_element(own(99, 1)), true);
    assert_eq!(base.op_verdict(insert_after), "operation 0: its list element does not exist in the change's past");
    let update = |op: &mut Op| in_list(op, at_element(own(99, 1)), false);
    assert_eq!(base.op_verdict(update), "operation 0: its list element does not exist in the change's past");
    let of_map = |op: &mut Op| in_list(op, at_element(own(5, 1)), true);
    assert_eq!(base.op_verdict(of_map), "operation 0: its list element does not exist in the change's past");
    let head = |op: &mut Op| in_list(op, Key::head(), false);
    assert_eq!(base.op_verdict(head), "operation 0: its list element does not exist in the change's past");
    let map_key = |op: &mut Op| op.obj = base.list.clone();
    assert_eq!(base.op_verdict(map_key), "operation 0: its key does not fit the kind of its object");
    let list_key = |op: &mut Op| (op.obj, op.key) = (base.map.clone(), at_element(base.element.clone()));
    assert_eq!(base.op_verdict(list_key), "operation 0: its key does not fit the kind of its object");
    let insert_in_map = |op: &mut Op| op.insert = true;
    assert_eq!(base.op_verdict(insert_in_map), "operation 0: its key does not fit the kind of its object");
    let removal = |op: &mut Op| op.action = OpType::Delete;
    assert_eq!(base.op_verdict(removal), "operation 0: it removes or updates nothing");
    let update_nothing = |op: &mut Op| in_list(op, at_element(base.element.clone()), false);
    assert_eq!(base.op_verdict(update_nothing), "operation 0: it removes or updates nothing");
    let replacing_insert = |op: &mut Op| {
        in_list(op, Key::head(), true);
        op.pred = vec![base.element.clone()].into();
    };
    assert_eq!(
        base.op_verdict(replacing_insert),
        "operation 0: an insertion must set a value in a list and replace none"
    );
}

#[test]
fn changes_out_of_their_writers_order_are_refused() {
    let base = Base::new();
    let next = base.verdict(|change| change.seq = 2);
    assert_eq!(next, "its sequence number is 2, by its writer's changes in its past it is 1");
    let far = base.verdict(|change| change.seq = 1 << 40);
    assert_eq!(far, "its sequence number is 1099511627776, by its writer's changes in its past it is 1");
    let low = base.verdict(|change| change.start_op = NonZeroU64::MIN);
    assert_eq!(low, "its operations start at 1, 9 is next");
    let high = base.verdict(|change| change.start_op = NonZeroU64::new(10).unwrap());
    assert_eq!(high, "its operations start at 10, 9 is next");
    // The first writer's own ids again: a second change of it that starts inside its first one.
    let reused = base.verdict(|change| {
        (change.actor_id, change.seq, change.start_op) = (actor_id(1), 2, NonZeroU64::new(2).unwrap());
    });
    assert_eq!(reused, "its operations start at 2, 9 is next");
    // A second change of the second writer that follows the first writer's only.
    let forgetful = base.verdict(|change| {
        (change.actor_id, change.seq, change.deps) = (actor_id(2), 2, vec![base.changes[0].hash()]);
        change.start_op = NonZeroU64::new(6).unwrap();
    });
    assert_eq!(forgetful, "its sequence number is 2, by its writer's changes in its past it is 1");
}

#[test]
fn two_changes_of_one_number_are_two_branches_wherever_they_arrive() {
    let base = Base::new();
    let mut other = base.next();
    other.time = 99;
    let (one, two) = (Change::from(base.next()), Change::from(other));
    let ends = [[one.clone(), two.clone()], [two, one]].map(|[first, second]| {
        let mut engine = base.engine();
        assert_eq!(apply(&mut engine, &[first]), (1, Vec::new()));
        assert_eq!(apply(&mut engine, &[second]), (1, Vec::new()));
        let loaded = Automerge::load(&engine.saved(&doc())).unwrap();
        (loaded.get_heads(), loaded.get_changes(&[]).len())
    });
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].1, base.changes.len() + 2);
}

#[test]
fn a_branch_is_named_only_by_who_knows_of_another_one() {
    let base = Base::new();
    let unknown = "operation 0: it replaces what does not exist in the change's past";
    // The branch of the second writer that begins with its only change, which is no branch.
    let name = [actor(2).to_bytes().as_slice(), &base.changes[1].hash().0].concat();
    let pred = OpId::new(6, &ActorId::from(name.clone()));
    let named = |op: &mut Op| {
        (op.obj, op.key, op.pred) = (base.map.clone(), Key::Map("x".into()), vec![pred.clone()].into());
    };
    assert_eq!(base.op_verdict(named), unknown);
    let mut twin = base.changes[1].decode();
    twin.time = 99;
    let twin = Change::from(twin);
    let mut next = base.next();
    named(&mut next.operations[0]);
    // Nobody who has not heard of the other branch may use the name, whatever else is here.
    let mut engine = base.engine();
    assert_eq!(apply(&mut engine, std::slice::from_ref(&twin)), (1, Vec::new()));
    assert_eq!(apply(&mut engine, &[Change::from(next.clone())]), (0, vec![unknown.to_owned()]));
    next.deps = vec![base.changes[1].hash(), twin.hash()];
    next.deps.sort_unstable();
    assert_eq!(apply(&mut engine, &[Change::from(next.clone())]), (1, Vec::new()));
    // And who has heard of both may not use the plain one.
    next.operations[0].pred = vec![own(6, 2)].into();
    assert_eq!(apply(&mut engine, &[Change::from(next.clone())]), (0, vec![unknown.to_owned()]));
    next.operations[0].pred = vec![OpId::new(6, &ActorId::from(&name[..40]))].into();
    let length = "not in its one canonical encoding: the length of a writer's name".to_owned();
    assert_eq!(apply(&mut engine, &[Change::from(next)]), (0, vec![length]));
}

#[test]
fn changes_outside_the_limits_or_the_vocabulary_are_refused() {
    let base = Base::new();
    let empty = base.verdict(|change| change.operations.clear());
    assert_eq!(empty, "not in its one canonical encoding: a change has operations, or a message that documents use");
    let message = base.verdict(|change| change.message = Some("delete".to_owned()));
    assert_eq!(message, empty);
    let doubled = base.verdict(|change| change.deps = vec![change.deps[0], change.deps[0]]);
    assert_eq!(doubled, "not in its one canonical encoding: the order of the changes that it follows");
    let nobody = base.verdict(|change| change.actor_id = ActorId::from([].as_slice()));
    assert_eq!(nobody, "bytes of a writer's id: 0, the limit is 24");
    let long = base.verdict(|change| change.actor_id = ActorId::from(vec![7; 10_000].as_slice()));
    assert_eq!(long, "bytes of a writer's id: 10000, the limit is 24");
    let extra = base.verdict(|change| change.extra_bytes = vec![1]);
    assert_eq!(extra, "not in its one canonical encoding: bytes after its columns");
    let table = base.op_verdict(|op| op.action = OpType::Make(ObjType::Table));
    assert_eq!(table, "operation 0: its kind is not one that documents use");
    let value = |value: ScalarValue| base.op_verdict(|op| op.action = OpType::Put(value));
    for value in [
        value(ScalarValue::F64(f64::NAN)),
        value(ScalarValue::Timestamp(1)),
        value(ScalarValue::Bytes(b"[1, 2".to_vec())),
        value(ScalarValue::Bytes("[".repeat(40).into_bytes())),
    ] {
        assert_eq!(value, "operation 0: its value is not one of JSON");
    }
    let key = base.op_verdict(|op| op.key = Key::Map("k".repeat(5_000).into()));
    assert_eq!(key, "bytes of a key: 5000, the limit is 4096");
    let wide = base.verdict(|change| {
        change.operations = vec![change.operations[0].clone(); 10_001];
    });
    assert_eq!(wide, "operations: 10001, the limit is 10000");
}

#[test]
fn a_counter_is_counted_on_within_bounds_and_nothing_else_is() {
    let base = Base::new();
    let value = |op: &mut Op| op.action = OpType::Increment(1);
    assert_eq!(base.op_verdict(value), "operation 0: it removes or updates nothing");
    let found = op_id(&base.merged.get(&ROOT, "float").unwrap().unwrap().1);
    let no_counter = base.op_verdict(|op| {
        (op.action, op.key, op.pred) = (OpType::Increment(1), Key::Map("float".into()), vec![found.clone()].into());
    });
    assert_eq!(no_counter, "operation 0: it increments what is no counter");
    let far = "operation 0: a counter begins or moves further than counters may";
    for number in [(1 << 53) + 1, -(1 << 53) - 1, i64::MIN] {
        assert_eq!(base.op_verdict(|op| op.action = OpType::Put(ScalarValue::counter(number))), far);
    }
    for by in [(1 << 31) + 1, -(1 << 31) - 1, i64::MIN] {
        assert_eq!(base.op_verdict(|op| op.action = OpType::Increment(by)), far);
    }
    // One that is right, and what names an increment as a value.
    let counts = |spoil: &dyn Fn(&mut Vec<Op>)| {
        let mut next = base.next();
        let made = |counter: u64| vec![OpId::new(next.start_op.get() + counter, &next.actor_id)].into();
        let put = Op { action: OpType::Put(ScalarValue::counter(5)), ..next.operations[0].clone() };
        let add = Op { action: OpType::Increment(2), pred: made(0), ..put.clone() };
        let over = Op { action: OpType::Put(ScalarValue::Int(1)), pred: made(1), ..put.clone() };
        let mut ops = vec![put, add, over];
        spoil(&mut ops);
        next.operations = ops;
        apply(&mut base.engine(), &[Change::from(next)])
    };
    assert_eq!(counts(&|ops| drop(ops.pop())), (1, Vec::new()));
    let over = "operation 2: it replaces what does not exist in the change's past".to_owned();
    assert_eq!(counts(&|_| ()), (0, vec![over]));
    let inserted = "operation 1: its key does not fit the kind of its object".to_owned();
    assert_eq!(counts(&|ops| ops[1].insert = true), (0, vec![inserted]));
}

#[test]
fn objects_nest_only_so_deep() {
    let base = Base::new();
    let deep = base.verdict(|change| {
        let make = |n: u64| Op {
            action: OpType::Make(ObjType::Map),
            obj: if n == 0 { ObjectId::Root } else { ObjectId::Id(own(8 + n, 3)) },
            key: Key::Map("k".into()),
            pred: SortedVec::new(),
            insert: false,
        };
        change.operations = (0..64).map(make).collect();
    });
    assert_eq!(deep, "operation 63: objects nest too deeply");
}

pub(super) fn body(change: &Change) -> &[u8] {
    tamper::body(change.raw_bytes())
}

#[test]
fn other_chunks_and_other_encodings_are_refused() {
    let base = Base::new();
    let next = Change::from(base.next());
    let verdict = |bytes: Vec<u8>| {
        let log = LogId { actor: actor(3), topic: Topic::DOCUMENTS };
        let mut engine = base.engine();
        let arrived = Arrived { log, seq: Seq::new(1), change: bytes.into() };
        let (applied, mut refused) = deliver(&mut engine, vec![arrived]);
        assert_eq!((applied, refused.len()), (0, 1));
        refused.remove(0)
    };
    assert_eq!(chunk(1, body(&next)), next.raw_bytes());
    for kind in [0, 2, 3, 9] {
        assert_eq!(verdict(chunk(kind, body(&next))), "not a change: it is a chunk of another kind");
    }
    let mut flipped = next.raw_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(verdict(flipped), "not a change: its checksum fails");
    assert_eq!(verdict(next.raw_bytes()[..50].to_vec()), "not a change: its length is not the one it states");
    assert_eq!(verdict(base.merged.save()), "not a change: it is a chunk of another kind");
    // A run of 2^60 nulls in the first column: it must cost nothing to refuse.
    let mut bomb = body(&next).to_vec();
    let columns = bomb.len() - next.raw_bytes().len().min(40);
    bomb.truncate(columns);
    bomb.extend_from_slice(&[1, 0x42, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    assert!(verdict(chunk(1, &bomb)).starts_with("not a"));
}
