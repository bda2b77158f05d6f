//! The laws: whatever the order, everybody shows the same.

use quickcheck::{Arbitrary, Gen};

use super::strategies::{CustomMergeResolver, HighestPriorityWins, LastWriteWins, ManualResolver, VectorClockResolver};
use super::*;
use crate::types::{Hlc, NodeId, VectorClock, WallTime};

fn node(n: u8) -> NodeId {
    NodeId::from_u128(u128::from(n))
}

fn at(micros: u64) -> Hlc {
    Hlc { wall: WallTime::from_micros(micros), logical: 0 }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

impl Arbitrary for ConflictingValue {
    /// Few nodes, stamps and bytes, so that ties come often.
    fn arbitrary(g: &mut Gen) -> Self {
        let mut small = |bound: u8| u8::arbitrary(g) % bound;
        let data = [None, bytes("a"), bytes("b")][usize::from(small(3))].clone();
        let clock = (0..4).map(|n| (node(n), u64::from(small(3)))).collect();
        let timestamp = at(u64::from(small(3)));
        Self { node_id: node(small(4)), data, timestamp, vector_clock: clock }
    }
}

/// What a peer holds: some values.
fn register(values: &[ConflictingValue]) -> Register {
    let mut register = Register::new("key");
    for value in values {
        register.merge(&one(value));
    }
    register
}

fn one(value: &ConflictingValue) -> Register {
    Register::with("key", vec![value.clone()])
}

fn priorities() -> Priorities {
    [(node(1), 7), (node(2), 7), (node(3), 1)].into_iter().collect()
}

/// All strategies. The custom one joins what stood, in the order in which it is given.
fn resolvers() -> Vec<Box<dyn ConflictResolver>> {
    let join = |values: &[ConflictingValue]| {
        Some(values.iter().flat_map(|value| value.data.clone().unwrap_or_default()).collect())
    };
    vec![
        Box::new(LastWriteWins::default()),
        Box::new(LastWriteWins::new(priorities())),
        Box::new(VectorClockResolver),
        Box::new(HighestPriorityWins::new(priorities())),
        Box::new(CustomMergeResolver::new("join", join)),
        Box::new(ManualResolver::new()),
    ]
}

/// The values in another order.
fn shuffled(values: &[ConflictingValue], mut seed: u64) -> Vec<ConflictingValue> {
    let mut left = values.to_vec();
    let mut out = Vec::new();
    while !left.is_empty() {
        let len = left.len() as u64;
        out.push(left.swap_remove(usize::try_from(seed % len).unwrap()));
        seed = (seed / len).wrapping_add(0x9e37_79b9);
    }
    out
}

quickcheck::quickcheck! {
    fn merging_is_commutative_associative_and_idempotent(
        a: Vec<ConflictingValue>, b: Vec<ConflictingValue>, c: Vec<ConflictingValue>
    ) -> bool {
        let (a, b, c) = (register(&a), register(&b), register(&c));
        let merged = |a: &Register, b: &Register| {
            let mut both = a.clone();
            both.merge(b);
            both
        };
        merged(&a, &b) == merged(&b, &a)
            && merged(&merged(&a, &b), &c) == merged(&a, &merged(&b, &c))
            && merged(&a, &a) == a
            && a.clone().merge(&a) == Merged::Known
    }

    fn every_merge_order_gives_the_same(values: Vec<ConflictingValue>, seed: u64) -> bool {
        register(&values) == register(&shuffled(&values, seed))
    }

    fn what_is_chosen_does_not_depend_on_the_order(values: Vec<ConflictingValue>, seed: u64) -> bool {
        let Some(conflict) = Conflict::detect("key", &values) else { return true };
        let other = Conflict { values: shuffled(&conflict.values, seed), ..conflict.clone() };
        Conflict::detect("key", &shuffled(&values, seed)).as_ref() == Some(&conflict)
            && resolvers().iter().all(|resolver| resolver.resolve(&conflict) == resolver.resolve(&other))
    }

    fn a_value_that_is_there_twice_changes_nothing(values: Vec<ConflictingValue>) -> bool {
        let twice = [values.clone(), values.clone()].concat();
        Conflict::detect("key", &values) == Conflict::detect("key", &twice)
    }

    fn what_shows_is_one_of_those_that_nobody_superseded(values: Vec<ConflictingValue>) -> bool {
        let Some(conflict) = Conflict::detect("key", &values) else { return true };
        let choosing = resolvers().into_iter().filter(|resolver| !resolver.strategy_name().starts_with("custom:"));
        choosing.into_iter().all(|resolver| {
            let shown = match resolver.resolve(&conflict) {
                Ok(shown) => shown,
                Err(ConflictError::Undecided { meanwhile, .. }) => *meanwhile,
                Err(_) => return false,
            };
            let stands = |value: &&ConflictingValue| !values.iter().any(|other| value.is_superseded_by(other));
            values.iter().filter(stands).any(|value| value.data == shown.resolved_value)
        })
    }

    fn a_resolution_that_is_written_down_ends_the_conflict(values: Vec<ConflictingValue>, by: u8) -> bool {
        let mut register = register(&values);
        let Some(conflict) = register.conflict() else { return true };
        let shown = LastWriteWins::default().resolve(&conflict).unwrap();
        let before = register.clone();
        let written = register.write(node(by % 4), shown.resolved_value, at(9)).clone();
        let attributed = written.node_id == node(by % 4)
            && written.vector_clock.of(node(by % 4)) > shown.vector_clock.of(node(by % 4))
            && before.values().iter().all(|value| value.is_superseded_by(&written));
        let mut back = before;
        back.merge(&register);
        attributed && register.conflict().is_none() && back == register
    }
}

#[test]
fn two_people_who_resolve_alike_at_once_leave_no_conflict() {
    let (mut here, mut there) = (Register::new("key"), Register::new("key"));
    here.write(node(1), bytes("a"), at(1));
    there.write(node(2), bytes("b"), at(1));
    here.merge(&there);
    there.merge(&here);
    here.write(node(1), bytes("both"), at(2));
    there.write(node(2), bytes("both"), at(3));
    here.merge(&there);
    there.merge(&here);
    assert_eq!((&here, here.values().len(), here.conflict()), (&there, 2, None));
}

#[test]
fn equal_clocks_are_equal_and_what_they_carry_is_shown_alike() {
    let clock: VectorClock = [(node(1), 2)].into_iter().collect();
    let value = |data, stamp| ConflictingValue {
        node_id: node(1),
        data: bytes(data),
        timestamp: at(stamp),
        vector_clock: clock.clone(),
    };
    let (a, b) = (value("a", 1), value("b", 1));
    assert!(!a.vector_clock.is_concurrent(&b.vector_clock));
    // A store that was put back used one count twice: both values stand, and everybody shows the same one.
    let shown = |values: &[ConflictingValue]| {
        let conflict = register(values).conflict().expect("they differ");
        LastWriteWins::default().resolve(&conflict).unwrap().resolved_value
    };
    assert_eq!(shown(&[a.clone(), b.clone()]), shown(&[b, a]));
}

#[test]
fn ties_of_equal_stamps_go_to_the_higher_priority_and_never_to_the_holder() {
    let mut here = Register::new("key");
    here.write(node(1), bytes("a"), at(5));
    let mut there = Register::new("key");
    there.write(node(2), bytes("b"), at(5));
    here.merge(&there);
    let conflict = here.conflict().unwrap();
    let shown = |resolver: &dyn ConflictResolver| resolver.resolve(&conflict).unwrap().winner;
    assert_eq!(shown(&LastWriteWins::default()), Some(node(2)));
    assert_eq!(shown(&LastWriteWins::new([(node(1), 1)].into_iter().collect())), Some(node(1)));
    assert_eq!(shown(&HighestPriorityWins::new([(node(1), 1)].into_iter().collect())), Some(node(1)));
    assert_eq!(shown(&VectorClockResolver), Some(node(2)));
}

#[test]
fn a_removal_that_meets_a_write_is_called_so() {
    let mut here = Register::new("key");
    here.write(node(1), bytes("a"), at(1));
    let mut there = here.clone();
    here.write(node(1), None, at(2));
    there.write(node(2), bytes("b"), at(2));
    here.merge(&there);
    let conflict = here.conflict().unwrap();
    assert_eq!((conflict.conflict_type, conflict.values.len()), (ConflictType::DeleteWrite, 2));
    assert_eq!(serde_json::to_value(conflict.conflict_type).unwrap(), conflict.conflict_type.name());
}

#[test]
fn what_a_person_decides_holds_for_that_conflict_only() {
    let mut here = Register::new("key");
    here.write(node(1), bytes("a"), at(1));
    let mut there = Register::new("key");
    there.write(node(2), bytes("b"), at(2));
    here.merge(&there);
    let conflict = here.conflict().unwrap();
    let mut manual = ManualResolver::new();
    let Err(ConflictError::Undecided { meanwhile, .. }) = manual.resolve(&conflict) else { panic!("undecided") };
    assert_eq!((meanwhile.resolved_value, meanwhile.strategy.as_str()), (bytes("b"), "manual"));
    manual.decide(conflict.id, bytes("a"), node(9), at(3)).unwrap();
    let shown = manual.resolve(&conflict).unwrap();
    assert_eq!((shown.resolved_value, shown.winner), (bytes("a"), Some(node(9))));
    // A third value makes it another conflict.
    let mut third = Register::new("key");
    third.write(node(3), bytes("c"), at(1));
    here.merge(&third);
    assert!(matches!(manual.resolve(&here.conflict().unwrap()), Err(ConflictError::Undecided { .. })));
    assert!(manual.forget(conflict.id) && !manual.forget(conflict.id));
}

#[test]
fn rules_are_read_as_they_are_written() {
    for text in ["last-write-wins", "vector-clock", "priority", "manual", "custom:union-2"] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string(), text);
        assert_eq!(serde_json::from_value::<Rule>(serde_json::to_value(&rule).unwrap()).unwrap(), rule);
    }
    for text in ["", "custom:", "custom:a b", "newest", &format!("custom:{}", "x".repeat(Rule::NAME_MAX + 1))] {
        assert!(text.parse::<Rule>().is_err(), "{text:?}");
    }
}

#[test]
fn a_crowd_of_writers_is_bounded_alike_everywhere() {
    let value = |n: u64| {
        let writer = NodeId::from_u128(n.into());
        let clock = [(writer, 1)].into_iter().collect();
        ConflictingValue { node_id: writer, data: bytes("a"), timestamp: at(n), vector_clock: clock }
    };
    let half = |odd: u64| Register::with("key", (0..140).map(|n| value(2 * n + odd)).collect());
    let (mut here, mut there) = (half(0), half(1));
    assert_eq!((here.merge(&half(1)), there.merge(&half(0))), (Merged::Crowded(24), Merged::Crowded(24)));
    assert_eq!((here.values().len(), &here), (Register::VALUES_MAX, &there));
}

/// The three cases in which the register of a neighbouring crate does not converge (oxigdal-sync 0.1.7, `LwwRegister`): it breaks ties
/// by the id of whoever holds the value, merges clocks although values differ, and counts a write for the device whose
/// state was adopted.
mod the_cases_that_did_not_converge {
    use super::*;

    fn written(n: u8, text: &str) -> Register {
        let mut register = Register::new("key");
        register.write(node(n), bytes(text), at(1));
        register
    }

    fn shown(register: &Register) -> Option<Vec<u8>> {
        match register.conflict() {
            Some(conflict) => LastWriteWins::default().resolve(&conflict).unwrap().resolved_value,
            None => register.values().first().and_then(|value| value.data.clone()),
        }
    }

    #[test]
    fn three_replicas_and_two_concurrent_writes_show_one_value_after_everybody_merged_everybody() {
        let mut peers = [written(1, "from-1"), written(2, "from-2"), Register::new("key")];
        // One round in the order that kept them apart for ever.
        for into in 0..3 {
            for from in 0..3 {
                let other = peers[from].clone();
                peers[into].merge(&other);
            }
        }
        assert_eq!(peers.each_ref().map(shown), [bytes("from-2"), bytes("from-2"), bytes("from-2")]);
        // And nothing is left to say.
        let (first, rest) = peers.split_first_mut().unwrap();
        assert!(rest.iter_mut().all(|peer| peer.merge(first) == Merged::Known));
    }

    #[test]
    fn three_writers_and_six_merge_orders_give_one_result() {
        let writers = [written(1, "w1"), written(2, "w2"), written(3, "w3")];
        for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut register = writers[a].clone();
            register.merge(&writers[b]);
            register.merge(&writers[c]);
            assert_eq!(shown(&register), bytes("w3"), "{a}{b}{c}");
        }
    }

    #[test]
    fn who_adopts_a_value_and_writes_counts_its_own_write() {
        let mut one = written(1, "first");
        let mut two = Register::new("key");
        two.merge(&one);
        let of_two = two.write(node(2), bytes("of two"), at(2)).clone();
        assert_eq!((of_two.vector_clock.of(node(1)), of_two.vector_clock.of(node(2))), (1, 1));
        let of_one = one.write(node(1), bytes("of one"), at(3)).clone();
        // So a write that device 1 makes at the same time is concurrent and not equal, and both show the same.
        assert!(of_one.vector_clock.is_concurrent(&of_two.vector_clock));
        let (before_one, before_two) = (one.clone(), two.clone());
        one.merge(&before_two);
        two.merge(&before_one);
        assert_eq!((shown(&one), shown(&two)), (bytes("of one"), bytes("of one")));
    }
}
