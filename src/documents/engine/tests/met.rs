//! What met: the same on every peer whatever came first, told once, settled by people.

use std::collections::BTreeMap;

use super::super::super::{Found, Look, Meeting, OpenConflict, Policy, PolicyHistory, Wrote};
use super::*;
use crate::conflict::{ConflictType, ConflictingValue, Customs, Priorities, Rule};

impl Peer {
    pub(super) fn met(&mut self, look: Look, policies: impl Into<PolicyHistory>) -> Found {
        let task = Task::Met { doc: doc(), command: CommandId::ZERO, look, policies: policies.into() };
        let Done::Met { found, .. } = self.engine.run(task) else { panic!("another answer") };
        found.unwrap()
    }

    pub(super) fn open(&mut self) -> Vec<OpenConflict> {
        let Found::Open(open, false) = self.met(Look::Open, Policies::default()) else { panic!("more") };
        open
    }

    pub(super) fn trail(&mut self) -> Vec<Meeting> {
        let Found::Trail(trail, false) = self.met(Look::Trail, Policies::default()) else { panic!("more") };
        trail
    }

    fn shown(&mut self, policies: &Policies) -> Value {
        let (command, path) = (CommandId::ZERO, String::new());
        let done = self.engine.run(Task::Get { doc: doc(), command, path, policies: policies.clone() });
        let Done::Got { value, .. } = done else { panic!("{done:?}") };
        value.unwrap()
    }

    /// An edit at this second of the writer's clock.
    pub(super) fn at(&mut self, second: u64, edits: Vec<Edit>, policies: &Policies) {
        let batch = vec![Wanted { command: CommandId::ZERO, edits, create: false, at: None }];
        let at = WallTime::from_micros(1_000_000 * second);
        let policies = policies.clone();
        let done = self.engine.run(Task::Edit { doc: doc(), actor: self.actor, at, batch, policies });
        let Done::Edited { change, .. } = done else { panic!("{done:?}") };
        let log = LogId { actor: self.actor, topic: Topic::DOCUMENTS };
        let seq = Seq::new(self.log.len() as u64 + 1);
        self.log.extend(change.map(|change| Arrived { log, seq, change }));
    }
}

fn set(path: &str, value: Value) -> Vec<Edit> {
    vec![Edit::Set { path: path.into(), value }]
}

fn resolve(path: &str, value: Value) -> Edit {
    Edit::Resolve { path: path.into(), value: Some(value), force: true }
}

fn rule(rule: Rule, priorities: &[(u128, i32)]) -> Policies {
    let priorities: Priorities = priorities.iter().map(|(n, p)| (NodeId::from_u128(*n), *p)).collect();
    Policies::new(vec![Policy { prefix: "layers/".into(), path: String::new(), rule, priorities }]).unwrap()
}

#[test]
fn two_who_set_one_place_met_until_somebody_settles_it() {
    let (mut a, mut b) = pair(json!({"name": "Fiji", "pop": 1}));
    assert_eq!((a.open(), a.trail(), a.state().met), (vec![], vec![], Some(false)));
    a.set("pop", json!(2));
    b.set("pop", json!(3));
    let shown = meet(&mut a, &mut b).unwrap();
    let (open, trail) = (a.open(), a.trail());
    assert_eq!((&open, &trail, a.state().met), (&b.open(), &b.trail(), Some(true)));
    let [one] = &open[..] else { panic!("{open:?}") };
    assert_eq!((one.path.as_str(), one.kind, &one.rule), ("/pop", ConflictType::WriteWrite, &Rule::VectorClock));
    let shows: Vec<_> = one.values.iter().filter(|value| value.shows).map(|value| &value.value).collect();
    assert_eq!((one.values.len(), shows), (2, vec![&shown["pop"]]));
    let [meeting] = &trail[..] else { panic!("{trail:?}") };
    let winner = &meeting.sides[meeting.winner.unwrap()];
    assert_eq!(winner.wrote, Wrote::Set { value: shown["pop"].clone() });
    assert_eq!((meeting.path.as_str(), &meeting.settled), ("/pop", &None));
    // Also the value that shows already settles it, once it is written down.
    b.edit([resolve("pop", shown["pop"].clone())]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), shown);
    assert_eq!((a.open(), b.open()), (vec![], vec![]));
    let settled = a.trail().remove(0).settled.unwrap();
    assert_eq!((settled.by.node(), settled.wrote), (Some(b.actor.node), winner.wrote.clone()));
    // And a second time there is nothing to settle.
    let before = b.log.len();
    b.edit([resolve("pop", shown["pop"].clone())]).unwrap();
    assert_eq!(b.log.len(), before);
}

#[test]
fn the_trail_tells_the_rule_that_held_when_they_met_and_what_shows_now() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    let none = Policies::default();
    for (second, value) in [(10, 1), (30, 2), (50, 3)] {
        a.at(second, set("v", json!(value)), &none);
        b.at(second - 1, set("v", json!(10 * value)), &none);
        meet(&mut a, &mut b).unwrap();
    }
    let of_b = rule(Rule::Priority, &[(2, 1)]);
    // The first met before anything was decided, the second under the one rule, the third under the other.
    let at = |second: u64| WallTime::from_micros(1_000_000 * second);
    let decided = PolicyHistory::since(rule(Rule::LastWriteWins, &[]), at(20)).then(of_b.clone(), at(40));
    let history = decided.clone().after(&rule(Rule::Manual, &[]));
    let told = |peer: &mut Peer, history: &PolicyHistory| {
        let Found::Trail(trail, false) = peer.met(Look::Trail, history.clone()) else { panic!("more") };
        let who = |meeting: &Meeting, side: Option<usize>| side.and_then(|at| meeting.sides[at].by.node());
        trail
            .iter()
            .map(|one| (one.rule.clone(), who(one, one.winner), who(one, one.shows), one.forgotten))
            .collect::<Vec<_>>()
    };
    let (one, two) = (Some(a.actor.node), Some(b.actor.node));
    let expected = [
        (Some(Rule::Priority), two, two, false),
        (Some(Rule::LastWriteWins), one, two, false),
        (Some(Rule::Manual), one, two, false),
    ];
    assert_eq!(told(&mut a, &history), expected);
    assert_eq!(told(&mut b, &history), expected);
    // A register that forgot what was before says so.
    let short = history.shorter().unwrap();
    let [.., oldest] = &told(&mut a, &short)[..] else { panic!() };
    assert_eq!(oldest, &(Some(Rule::LastWriteWins), one, two, true));
    // Where no moment is known today's rule is all there is.
    assert!(told(&mut a, &of_b.into()).iter().all(|(rule, ..)| *rule == Some(Rule::Priority)));
}

#[test]
fn who_settle_alike_at_once_and_who_write_alike_make_no_conflict() {
    let (mut a, mut b) = pair(json!({"pop": 1}));
    a.set("pop", json!(2));
    b.set("pop", json!(2));
    meet(&mut a, &mut b).unwrap();
    assert_eq!((a.open(), a.trail()), (vec![], vec![]));
    a.set("pop", json!(3));
    b.set("pop", json!(4));
    meet(&mut a, &mut b).unwrap();
    a.edit([resolve("pop", json!(5))]).unwrap();
    b.edit([resolve("pop", json!(5))]).unwrap();
    assert_eq!(meet(&mut a, &mut b).unwrap(), json!({"pop": 5}));
    assert_eq!((a.open(), a.trail().len()), (vec![], 1));
    // Who settle otherwise have met again.
    a.edit([resolve("pop", json!(6))]).unwrap();
    b.edit([Edit::Resolve { path: "pop".into(), value: Some(json!(7)), force: true }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    assert_eq!((a.open().len(), a.trail().len()), (1, 2));
}

#[test]
fn what_stands_in_twin_maps_met_too_and_is_settled_in_all_of_them() {
    let (mut a, mut b) = pair(json!({}));
    a.set("properties/by", json!("a"));
    b.set("properties/by", json!("b"));
    meet(&mut a, &mut b).unwrap();
    let open = a.open();
    assert_eq!(open.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/properties/by"]);
    assert_eq!((&open, a.trail().len()), (&b.open(), 1));
    // Who sets it as of old has seen both: nothing stands beside that, though one of the objects holds its old value.
    a.set("properties/by", json!("c"));
    assert_eq!((meet(&mut a, &mut b).unwrap(), b.open()), (json!({"properties": {"by": "c"}}), vec![]));
    let (mut a, mut b) = pair(json!({}));
    a.set("properties/by", json!("a"));
    b.set("properties/by", json!("b"));
    meet(&mut a, &mut b).unwrap();
    a.edit([resolve("properties/by", json!("a"))]).unwrap();
    assert_eq!((meet(&mut a, &mut b).unwrap(), b.open()), (json!({"properties": {"by": "a"}}), vec![]));
}

#[test]
fn removals_lists_texts_and_deletions_are_told_as_what_they_are() {
    let (mut a, mut b) = pair(json!({"pop": 1, "list": [1], "text": "", "twice": 1}));
    a.edit([Edit::Splice { path: "text".into(), at: 0, remove: 0, insert: "x".into() }]).unwrap();
    meet(&mut a, &mut b).unwrap();
    a.edit([Edit::Remove { path: "pop".into() }, Edit::Remove { path: "twice".into() }]).unwrap();
    a.edit([Edit::Set { path: "list/-".into(), value: json!(2) }]).unwrap();
    a.edit([Edit::Splice { path: "text".into(), at: 0, remove: 0, insert: "a".into() }]).unwrap();
    b.set("pop", json!(2));
    b.edit([Edit::Remove { path: "twice".into() }, Edit::Set { path: "list/-".into(), value: json!(3) }]).unwrap();
    b.edit([Edit::Splice { path: "text".into(), at: 1, remove: 0, insert: "b".into() }]).unwrap();
    let shown = meet(&mut a, &mut b).unwrap();
    assert_eq!((&shown["pop"], &shown["text"]), (&json!(2), &json!("axb")));
    // Of what all stays nothing is open; the removal is.
    let open: Vec<_> = a.open().into_iter().map(|one| (one.path, one.kind)).collect();
    assert_eq!((open, a.trail()), (vec![("/pop".to_owned(), ConflictType::DeleteWrite)], b.trail()));
    let kinds: BTreeMap<String, ConflictType> = a.trail().into_iter().map(|met| (met.path, met.kind)).collect();
    let (update, delete) = (ConflictType::ConcurrentUpdate, ConflictType::DeleteWrite);
    assert_eq!(
        kinds,
        [("/list", update), ("/pop", delete), ("/text", update)].map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    a.edit([Edit::Delete]).unwrap();
    b.set("pop", json!(5));
    assert_eq!(meet(&mut a, &mut b).unwrap()["pop"], 5);
    let newest = &a.trail()[0];
    assert_eq!((newest.path.as_str(), newest.kind), ("", ConflictType::DeleteWrite));
    assert_eq!(newest.sides[newest.winner.unwrap()].wrote, Wrote::Wrote);
}

#[test]
fn each_rule_shows_its_own_value_and_what_is_written_supersedes_all() {
    let none = Policies::default();
    let (mut a, mut b) = pair(json!({"v": 0}));
    // The writer with the lower id is later, and counts for more.
    a.at(50, set("v", json!("a")), &none);
    b.at(10, set("other", json!(1)), &none);
    b.at(40, set("v", json!("b")), &none);
    assert_eq!(meet(&mut a, &mut b).unwrap()["v"], "b");
    let join = |values: &[ConflictingValue]| {
        let texts: Vec<Value> =
            values.iter().map(|value| serde_json::from_slice(value.data.as_ref().unwrap()).unwrap()).collect();
        Some(serde_json::to_vec(&texts).unwrap())
    };
    let customs = Customs::new().with("join", join).with("fails", |_| panic!("no"));
    for peer in [&mut a, &mut b] {
        peer.engine = std::mem::replace(&mut peer.engine, Engine::new(Limits::default())).with_customs(customs.clone());
    }
    let custom = |name: &str| rule(Rule::Custom(name.into()), &[]);
    for (policies, wanted) in [
        (rule(Rule::LastWriteWins, &[]), json!("a")),
        (rule(Rule::VectorClock, &[]), json!("b")),
        (rule(Rule::Priority, &[(2, 1)]), json!("b")),
        (rule(Rule::Priority, &[(1, 1), (2, -1)]), json!("a")),
        (rule(Rule::Manual, &[]), json!("a")),
        (custom("join"), json!(["b", "a"])),
        (custom("fails"), json!("a")),
        (custom("unknown"), json!("a")),
    ] {
        assert_eq!((&a.shown(&policies)["v"], &b.shown(&policies)["v"]), (&wanted, &wanted), "{policies:?}");
        let Found::Open(open, _) = a.met(Look::Open, policies.clone()) else { panic!() };
        assert_eq!(open[0].rule, policies.all()[0].rule);
        let shows: Vec<_> = open[0].values.iter().filter(|value| value.shows).map(|value| &value.value).collect();
        assert!(shows == [&wanted] || wanted.is_array() && shows.is_empty());
    }
    // Whoever puts what shows writes nothing; whoever writes the hidden value has it shown, under each rule.
    let policies = rule(Rule::LastWriteWins, &[]);
    let (before, shown) = (a.log.len(), a.shown(&policies));
    a.at(60, vec![Edit::Put { value: shown }], &policies);
    assert_eq!(a.log.len(), before);
    a.at(60, set("v", json!("b")), &policies);
    b.take(&a);
    assert_eq!((&b.shown(&policies)["v"], &b.shown(&none)["v"], b.open()), (&json!("b"), &json!("b"), vec![]));
}

#[test]
fn what_settled_a_meeting_is_found_behind_many_writes_that_settled_nothing() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    a.engine = Engine::new(Limits { history: 0, ..Limits::default() });
    a.apply(a.log.clone());
    b.set("v", json!("b"));
    for n in 1..=300 {
        a.set("v", json!(n));
    }
    meet(&mut a, &mut b).unwrap();
    b.edit([resolve("v", json!("both"))]).unwrap();
    meet(&mut a, &mut b).unwrap();
    // Of each write 256 earlier ones are looked at, so the last of them are not told.
    let Found::Trail(trail, true) = a.met(Look::Trail, Policies::default()) else { panic!("all of it") };
    assert_eq!(trail.len(), 256);
    let of = |met: &Meeting| met.settled.as_ref().map(|side| side.wrote.clone());
    assert!(trail.iter().all(|met| of(met) == Some(Wrote::Set { value: json!("both") })));
}

#[test]
fn a_late_clock_does_not_win_over_what_its_writer_had_seen() {
    let policies = rule(Rule::LastWriteWins, &[]);
    let (mut a, mut b) = pair(json!({"v": 0}));
    a.at(1_000, set("properties/v", json!("a")), &policies);
    b.take(&a);
    // Its clock is far behind, and it writes into a twin.
    b.at(1, set("properties/v", json!("b")), &policies);
    a.take(&b);
    assert_eq!((&a.shown(&policies)["properties"], a.open()), (&json!({"v": "b"}), vec![]));
    let mut c = Peer::new(3);
    c.take(&a);
    c.take(&b);
    assert_eq!(c.shown(&policies), a.shown(&policies));
}

/// Some edit of a few places, of which each is written by many.
fn some_edit(rng: &mut Rng) -> Edit {
    let path = ["a", "b", "in/c", "in/d", "list/0", "in"][rng.index(6)].to_owned();
    match rng.index(14) {
        13 => Edit::Remove { path },
        12 => Edit::Resolve { path, value: None, force: true },
        11 => Edit::Insert { path: "list/0".into(), value: json!(rng.index(9)) },
        9 | 10 => Edit::Increment { path, by: 1 },
        0 => Edit::Remove { path },
        1 => Edit::Set { path: "list/-".into(), value: json!(rng.index(9)) },
        2 => Edit::Splice { path: "text".into(), at: 0, remove: 0, insert: "x".into() },
        3 => Edit::Resolve { path, value: Some(json!(rng.index(4))), force: true },
        4 => Edit::Set { path: "in".into(), value: json!({"c": rng.index(3)}) },
        5 => Edit::Set { path: "list".into(), value: json!([rng.index(3)]) },
        _ => Edit::Set { path, value: json!(rng.index(4)) },
    }
}

fn all_policies() -> Vec<Policies> {
    let merged = Policy {
        prefix: String::new(),
        path: "/in".into(),
        rule: Rule::Custom("sum".into()),
        priorities: Priorities::default(),
    };
    vec![
        Policies::default(),
        rule(Rule::LastWriteWins, &[(2, 1)]),
        rule(Rule::Priority, &[(1, 1), (3, 1)]),
        rule(Rule::Manual, &[]),
        Policies::new(vec![merged]).unwrap(),
    ]
}

fn sum(values: &[ConflictingValue]) -> Option<Vec<u8>> {
    let data = |value: &ConflictingValue| value.data.clone().unwrap_or_default();
    let text: Vec<_> = values.iter().map(|value| format!("{:?} {:?}", data(value), value.vector_clock)).collect();
    serde_json::to_vec(&text).ok()
}

/// Three writers, each of whom edits under some policy and hears of the others now and then; and all that they wrote.
fn history(rng: &mut Rng, edits: usize) -> Vec<Arrived> {
    let customs = Customs::new().with("sum", sum);
    let mut peers: Vec<Peer> = (1..=3).map(Peer::new).collect();
    for peer in &mut peers {
        peer.engine = Engine::new(Limits::default()).with_customs(customs.clone());
    }
    peers[0].put(json!({"a": 0, "b": 0, "list": [0, 1], "text": ""}));
    let first = peers[0].log.clone();
    peers[1..].iter_mut().for_each(|peer| _ = peer.apply(first.clone()));
    let policies = all_policies();
    for _ in 0..edits {
        let at = rng.index(3);
        if rng.index(4) == 0 {
            let other = peers[rng.index(3)].log.clone();
            peers[at].apply(other);
        }
        let (second, edit) = (rng.below(20), some_edit(rng));
        // An edit of what is not there is none.
        peers[at].at(second, vec![edit], &policies[rng.index(policies.len())]);
    }
    let mut all: Vec<Arrived> = peers.iter().flat_map(|peer| peer.log.clone()).collect();
    for last in 0..all.len() {
        let other = rng.index(last + 1);
        all.swap(last, other);
    }
    all
}

/// What a peer says that was given these changes, some at a time.
fn says(changes: &[Arrived], rng: &mut Rng, limits: Limits) -> Vec<String> {
    let mut peer = Peer::new(9);
    peer.engine = Engine::new(limits).with_customs(Customs::new().with("sum", sum));
    let mut left = changes.to_vec();
    while !left.is_empty() {
        let count = 1 + rng.index(left.len());
        let some: Vec<Arrived> = left.drain(..count).collect();
        // What waits for others is given again.
        let done = peer.engine.run(Task::Apply { doc: doc(), changes: some });
        let Done::Applied { orphans, refused, .. } = done else { panic!("{done:?}") };
        assert_eq!(refused, vec![]);
        left.extend(orphans.into_iter().map(|orphan| orphan.arrived));
        if rng.index(3) == 0 {
            peer.engine.close(&doc());
        }
    }
    let folded = peer.state().folded;
    // Nothing is open unseen.
    let Found::Open(open, _) = peer.met(Look::Open, Policies::default()) else { panic!() };
    let told = open.iter().any(|one| one.kind == ConflictType::DeleteWrite);
    assert_eq!(peer.engine.docs.get_mut(&doc()).unwrap().document.is_unsettled(), told, "{open:?}");
    let mut says = Vec::new();
    for policies in all_policies() {
        says.push(format!("{} {:?}", peer.shown(&policies), peer.met(Look::Open, policies.clone())));
        if !folded {
            says.push(format!("{:?}", peer.met(Look::Trail, policies.clone())));
        }
    }
    // And with policies that changed while they wrote.
    let changed = all_policies()
        .into_iter()
        .zip(1..)
        .fold(PolicyHistory::default(), |all, (policies, n)| all.then(policies, WallTime::from_micros(4_000_000 * n)));
    if !folded {
        says.push(format!("{:?}", peer.met(Look::Trail, changed)));
    }
    if folded { says.into_iter().collect() } else { says }
}

#[test]
fn whatever_comes_first_everybody_shows_and_tells_the_same() {
    let mut rng = Rng::fork(&[5; 32], "met");
    let (mut met, mut open) = (0, 0);
    for _ in 0..60 {
        let mut changes = history(&mut rng, 14);
        let first = says(&changes, &mut rng, Limits::default());
        for _ in 0..3 {
            changes.reverse();
            let at = rng.index(changes.len());
            changes.rotate_left(at);
            assert_eq!(says(&changes, &mut rng, Limits::default()), first);
        }
        met += usize::from(first[1] != "Trail([], false)");
        open += usize::from(!first[0].ends_with("Open([], false)"));
    }
    assert!(met > 50 && open > 30, "{met} of 60 met, {open} are open");
}

#[test]
fn a_folded_past_changes_nothing_that_shows() {
    let mut rng = Rng::fork(&[6; 32], "met");
    let mut some = 0;
    for _ in 0..20 {
        // Long agreement, then some that meet.
        let mut peers = [Peer::new(1), Peer::new(2)];
        peers[0].put(json!({"a": 0, "b": 0, "in": {"c": 0}, "list": [{"e": 0}]}));
        for n in 0..30_u64 {
            let value = json!(n);
            peers[0].at(rng.below(90), set(["a", "b", "in/c", "list/0/e"][rng.index(4)], value), &Policies::default());
        }
        let [a, b] = &mut peers;
        b.take(a);
        for _ in 0..4 {
            let path = ["a", "b", "in/c", "in/d", "list/0/e", "list/0"][rng.index(6)];
            let some = |rng: &mut Rng| match rng.index(3) {
                0 => vec![Edit::Remove { path: path.into() }],
                _ => set(path, json!(rng.index(99))),
            };
            a.at(rng.below(9), some(&mut rng), &Policies::default());
            b.at(rng.below(9), some(&mut rng), &Policies::default());
        }
        let changes: Vec<Arrived> = [&a.log[..], &b.log[..]].concat();
        let says = |history: usize| {
            let mut peer = Peer::new(9);
            peer.engine =
                Engine::new(Limits { history, ..Limits::default() }).with_customs(Customs::new().with("sum", sum));
            // In order, so that the past is folded before the rest comes.
            peer.engine.worth = 0;
            for change in &changes {
                peer.apply(vec![change.clone()]);
            }
            let all = all_policies();
            let said: Vec<_> = all.iter().map(|one| (peer.shown(one), peer.met(Look::Open, one.clone()))).collect();
            (said, peer.state().folded, peer.state().met)
        };
        let (whole, folded) = (says(0), says(8));
        assert_eq!((whole.0, whole.2), (folded.0, folded.2));
        some += usize::from(folded.1 && !whole.1);
    }
    assert!(some > 10, "{some} of 20 were folded");
}

#[test]
fn what_is_told_is_bounded_and_says_so() {
    let (mut a, mut b) = pair(json!({"v": 0}));
    for n in 0..60 {
        a.set("v", json!(n));
        b.set("v", json!(1_000 + n));
    }
    meet(&mut a, &mut b).unwrap();
    let Found::Trail(trail, more) = a.met(Look::Trail, Policies::default()) else { panic!() };
    assert!(more && trail.len() <= 1_000, "{}", trail.len());
    assert_eq!(Found::Trail(trail, more), b.met(Look::Trail, Policies::default()));
    let long = "x".repeat(5_000);
    a.set("v", json!(long));
    b.set("v", json!("short"));
    meet(&mut a, &mut b).unwrap();
    let values = a.open().remove(0).values;
    assert!(values.iter().any(|value| value.bytes == Some(5_002) && value.value.is_null()));
}
