//! Two nodes that hold the same logs and not the same documents: what an audit says, and what it costs.

use super::*;
use crate::documents::{Documents, Done, Engine, Task};
use crate::machine::{Op, Rng};
use crate::types::{Actor, Mint, Now};
use crate::wire::{self, Kind};

const VECTOR: Digest = Digest::new(7);

/// Documents of which number `n` has the heads that `heads` says.
fn documents(count: u64, heads: impl Fn(u64) -> u64) -> Documents {
    let actor = Actor { node: NodeId::from_u128(1), mint: Mint::new(1) };
    let mut documents = Documents::new(actor, documents::Config::default());
    let (mut rng, mut ops) = (Rng::fork(&[1; 32], "documents"), Vec::new());
    for n in 0..count {
        let state =
            documents::DocState { heads: [head(heads(n))].into(), exists: true, changes: 1, ..Default::default() };
        let done = Done::Forgotten { doc: doc(n), state };
        documents.on_done(&mut Cx::new(Now::default(), &mut rng, &mut ops), done);
    }
    documents
}

fn doc(n: u64) -> DocId {
    DocId::parse(&format!("layers/countries/{n}")).unwrap()
}

fn head(n: u64) -> [u8; 32] {
    let mut head = [0; 32];
    head[..8].copy_from_slice(&n.to_be_bytes());
    head
}

/// One side: its audits and its documents.
struct Side {
    audit: Audit,
    documents: Documents,
    unrest: Option<&'static str>,
    told: Vec<Event>,
}

impl Side {
    fn new(documents: Documents) -> Self {
        Self { audit: Audit::new(Config::default()), documents, unrest: None, told: Vec::new() }
    }

    fn step(&mut self, step: impl FnOnce(&mut Audit, &mut Cx<'_, Audit>, Sight<'_>)) -> Vec<Message> {
        let (mut rng, mut ops) = (Rng::fork(&[2; 32], "audit"), Vec::new());
        let sight = Sight { documents: self.documents.view(), vector: VECTOR, unrest: self.unrest };
        step(&mut self.audit, &mut Cx::new(Now::default(), &mut rng, &mut ops), sight);
        let mut sent = Vec::new();
        for op in ops {
            match op {
                Op::Send(_, message) => sent.push(message),
                Op::Emit(event) => self.told.push(event),
                _ => {}
            }
        }
        sent
    }
}

/// An audit by the first; how many messages crossed, and how many bytes of frames.
fn run(one: &mut Side, two: &mut Side) -> (usize, usize) {
    let ids = [NodeId::from_u128(1), NodeId::from_u128(2)];
    let mut queue = std::collections::VecDeque::new();
    queue.extend(
        one.step(|audit, cx, sight| audit.on_timer(cx, &ids[1..], sight)).into_iter().map(|message| (1, message)),
    );
    let (mut messages, mut bytes) = (0, 0);
    while let Some((to, message)) = queue.pop_front() {
        messages += 1;
        bytes += wire::seal(Kind::Audit, Lane::Control, &message).len();
        let side = if to == 0 { &mut *one } else { &mut *two };
        let sent = side.step(|audit, cx, sight| audit.on_message(cx, ids[1 - to], message, sight));
        queue.extend(sent.into_iter().map(|message| (1 - to, message)));
    }
    (messages, bytes)
}

#[test]
fn equal_documents_cost_some_bytes() {
    let (mut one, mut two) = (Side::new(documents(100, |n| n)), Side::new(documents(100, |n| n)));
    let (messages, bytes) = run(&mut one, &mut two);
    assert!(messages == 2 && bytes <= 28, "{messages} messages, {bytes} bytes");
    assert_eq!((one.audit.findings().agreed, two.audit.findings().agreed), (1, 1));
}

#[test]
fn one_of_ten_thousand_is_found_in_three_round_trips_and_a_kilobyte() {
    for n in [0, 17, 4_711, 9_999] {
        let mut one = Side::new(documents(10_000, |n| n));
        let mut two = Side::new(documents(10_000, |of| if of == n { 1 << 40 } else { of }));
        let (messages, bytes) = run(&mut one, &mut two);
        println!("document {n}: {messages} messages, {bytes} bytes");
        assert!(messages <= 6 && bytes <= 1_000, "{messages} messages, {bytes} bytes");
        for side in [&one, &two] {
            let [Event::Differs { docs, missing, .. }] = &side.told[..] else { panic!("{:?}", side.told) };
            assert_eq!((&docs[..], &missing[..]), (&[doc(n)][..], &[][..]));
            assert_eq!(side.audit.findings().differing.values().next(), Some(&vec![doc(n)]));
        }
    }
}

#[test]
fn a_document_that_only_one_side_has_is_found_by_both() {
    let (mut one, mut two) = (Side::new(documents(300, |n| n)), Side::new(documents(301, |n| n)));
    run(&mut one, &mut two);
    assert!(
        matches!(&one.told[..], [Event::Differs { docs, missing, .. }] if docs.is_empty() && missing.len() == 1),
        "{:?}",
        one.told
    );
    assert!(
        matches!(&two.told[..], [Event::Differs { docs, missing, .. }] if *docs == [doc(300)] && missing.is_empty()),
        "{:?}",
        two.told
    );
}

#[test]
fn many_that_differ_are_found_in_bounded_messages() {
    let (mut one, mut two) = (Side::new(documents(5_000, |n| n)), Side::new(documents(5_000, |n| n + 1)));
    run(&mut one, &mut two);
    let named = |side: &Side| {
        side.told
            .iter()
            .map(|event| if let Event::Differs { docs, .. } = event { docs.len() } else { 0 })
            .sum::<usize>()
    };
    assert!(named(&one) > 0 && named(&two) > 0);
}

#[test]
fn who_keeps_finding_differences_is_believed_ever_more_seldom() {
    let mut side = Side::new(documents(9, |n| n));
    let from = |n| NodeId::from_u128(n);
    let mut built = |seconds: u64, peer: u128| {
        let about = vec![Leaves { prefix: Prefix::ROOT, leaves: Vec::new() }];
        let now = Now { mono: Time::from_nanos(seconds * 1_000_000_000), ..Now::default() };
        let (mut rng, mut ops) = (Rng::fork(&[2; 32], "audit"), Vec::new());
        let sight = Sight { documents: side.documents.view(), vector: VECTOR, unrest: None };
        let mut cx = Cx::new(now, &mut rng, &mut ops);
        // That all is the same in between changes nothing.
        side.audit.on_message(&mut cx, from(peer), Message::Same, sight);
        let lie = Message::Leaves { vector: VECTOR, about, answer: false };
        side.audit.on_message(&mut cx, from(peer), lie, sight);
        ops.iter().any(|op| matches!(op, Op::Emit(Event::Differs { .. })))
    };
    let day = (10..86_400).step_by(5).filter(|second| built(*second, 2)).count();
    assert!((25..=40).contains(&day), "{day} times in a day");
    assert!(built(86_400, 3), "others are believed as before");
    assert!(built(180_000, 2) && !built(180_009, 2) && built(180_011, 2), "and who was quiet for a day, too");
}

#[test]
fn nothing_is_compared_while_anything_is_under_way() {
    let (mut one, mut two) = (Side::new(documents(9, |n| n)), Side::new(documents(9, |n| n + 1)));
    two.unrest = Some("busy");
    assert_eq!(run(&mut one, &mut two).0, 2);
    assert!(matches!(one.told[..], [Event::Skipped { .. }]));
    one.unrest = Some("busy");
    assert_eq!(run(&mut one, &mut two).0, 0);
    assert_eq!(one.audit.findings().skipped, 2);
}

#[test]
fn what_no_correct_peer_sends_is_not_answered() {
    let mut side = Side::new(documents(9, |n| n));
    let sums = Sums { prefix: Prefix::ROOT, sums: [1; 16] };
    let many = Message::Sums { vector: VECTOR, about: vec![sums; PREFIXES_MAX + 1] };
    assert_eq!(side.step(|audit, cx, sight| audit.on_message(cx, NodeId::from_u128(2), many, sight)), []);
    let (odd, _) = bincode::decode_from_slice::<Prefix, _>(&[1, 40], bincode::config::standard()).unwrap();
    let about = vec![Leaves { prefix: odd, leaves: Vec::new() }];
    let deep = Message::Leaves { vector: VECTOR, about, answer: true };
    assert_eq!(side.step(|audit, cx, sight| audit.on_message(cx, NodeId::from_u128(2), deep, sight)), []);
}

#[test]
fn a_rebuilt_document_has_what_the_log_says_and_what_it_had_besides() {
    use crate::documents::{Arrived, Edit, Limits, Wanted};
    use crate::types::{CommandId, LogId, Seq, Topic, WallTime};
    let actor = |n: u128| Actor { node: NodeId::from_u128(n), mint: Mint::new(1) };
    let mut engines = [Engine::new(Limits::default()), Engine::new(Limits::default())];
    let mut changes = Vec::new();
    for n in 0..4_u64 {
        let value = serde_json::json!({ "n": n });
        let wanted = Wanted { command: CommandId::new(n), edits: vec![Edit::Put { value }], create: false, at: None };
        let task = Task::Edit {
            doc: doc(1),
            actor: actor(1),
            at: WallTime::from_micros(n),
            batch: vec![wanted],
            policies: documents::Policies::default(),
        };
        let Done::Edited { change: Some(change), .. } = engines[0].run(task) else { panic!("no change") };
        let log = LogId { actor: actor(1), topic: Topic::DOCUMENTS };
        changes.push(Arrived { log, seq: Seq::new(n + 1), change });
    }
    let state = |done| if let Done::Applied { state, .. } = done { state } else { panic!("another answer") };
    let whole = state(engines[0].run(Task::Apply { doc: doc(1), changes: Vec::new() }));
    // The other lost the last two. Then its log says all.
    let lost = state(engines[1].run(Task::Apply { doc: doc(1), changes: changes[..2].to_vec() }));
    assert_ne!(lost, whole);
    assert_eq!(state(engines[1].run(Task::Rebuild { doc: doc(1), changes: changes.clone() })), whole);
    // What the log did not say yet when it was read stays.
    assert_eq!(state(engines[1].run(Task::Rebuild { doc: doc(1), changes: changes[..1].to_vec() })), whole);
}
