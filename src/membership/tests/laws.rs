//! The lattice: merging claims about one member is commutative, associative and idempotent, and never lowers anything.

use std::sync::Arc;
use std::time::Duration;

use quickcheck::{Arbitrary, Gen, quickcheck};

use crate::membership::table::Entry;
use crate::membership::{Accusers, Described, Meta, State, Update};
use crate::types::{Boot, Incarnation, NodeId, Time};

const SUBJECT: NodeId = NodeId::from_u128(1);

impl Arbitrary for Update {
    /// Small numbers, so that ranks meet. What a member says of itself is a function of when it says so.
    fn arbitrary(g: &mut Gen) -> Self {
        let small = |g: &mut Gen| u64::arbitrary(g) % 3;
        let (boot, incarnation) = (Boot::new(small(g)), Incarnation::new(small(g).try_into().unwrap()));
        let state = *g.choose(&[State::Alive, State::Suspect, State::Dead, State::Left]).unwrap();
        let mut accusers = Accusers::none();
        if matches!(state, State::Suspect | State::Dead) {
            for _ in 0..=small(g) {
                accusers.add(NodeId::from_u128(u128::from(u8::arbitrary(g) % 8)));
            }
        }
        let meta = bool::arbitrary(g).then(|| {
            let incarnation = Incarnation::new(incarnation.value().saturating_sub(small(g).try_into().unwrap()));
            let meta = Arc::new(Meta { name: format!("{boot} {incarnation}"), ..Meta::default() });
            Described { boot, incarnation, meta }
        });
        Self { id: SUBJECT, boot, incarnation, state, accusers, meta, age_s: 0 }
    }
}

/// What is known after these were said, in this order.
fn known(updates: &[&Update]) -> Update {
    let mut entry = Entry::blank(SUBJECT, Time::ZERO);
    for update in updates {
        entry.merge(update);
    }
    entry.update(Time::ZERO, true, Duration::ZERO)
}

quickcheck! {
    fn merging_is_commutative(a: Update, b: Update) -> bool {
        known(&[&a, &b]) == known(&[&b, &a])
    }

    fn merging_is_associative(a: Update, b: Update, c: Update) -> bool {
        known(&[&a, &known(&[&b, &c])]) == known(&[&known(&[&a, &b]), &c])
    }

    fn merging_is_idempotent(a: Update, b: Update) -> bool {
        known(&[&a, &b, &b, &a]) == known(&[&a, &b])
    }

    fn every_order_of_many_leaves_the_same(updates: Vec<Update>) -> bool {
        let forth: Vec<&Update> = updates.iter().collect();
        let back: Vec<&Update> = updates.iter().rev().collect();
        known(&forth) == known(&back)
    }

    fn merging_never_lowers_anything(a: Update, b: Update) -> bool {
        let (before, after) = (known(&[&a]), known(&[&a, &b]));
        let version = |update: &Update| update.meta.as_ref().map(|described| (described.boot, described.incarnation));
        after.rank() >= before.rank() && after.rank() >= b.rank() && version(&after) >= version(&before)
    }

    fn a_merge_says_what_it_changed(a: Update, b: Update) -> bool {
        let mut entry = Entry::blank(SUBJECT, Time::ZERO);
        entry.merge(&a);
        let before = entry.update(Time::ZERO, true, Duration::ZERO);
        let foreseen = entry.compare(&b);
        let change = entry.merge(&b);
        let changed = entry.update(Time::ZERO, true, Duration::ZERO) != before;
        change == foreseen && change.any() == changed && !entry.compare(&b).any()
    }
}
