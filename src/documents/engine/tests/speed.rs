//! How fast one worker is. Run with `cargo test --release --lib -- --ignored --nocapture how_fast`.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::super::{Arrived, Done, Edit, Limits, Task, Wanted};
use super::super::Engine;
use crate::types::{Actor, CommandId, DocId, LogId, Mint, NodeId, Seq, Topic, WallTime};

const DOCS: usize = 1_000;
const ROUNDS: usize = 80;
const PART: usize = 8 << 20;
const PARTS: usize = 13;

fn writer() -> Actor {
    Actor { node: NodeId::from_u128(1), mint: Mint::new(1) }
}

fn edit(engine: &mut Engine, doc: &DocId, edit: Edit, seq: usize) -> Arrived {
    let batch = vec![Wanted { command: CommandId::ZERO, edits: vec![edit], create: false }];
    let done = engine.run(Task::Edit { doc: doc.clone(), actor: writer(), at: WallTime::EPOCH, batch });
    let Done::Edited { change: Some(change), .. } = done else { panic!("{done:?}") };
    let log = LogId { actor: writer(), topic: Topic::DOCUMENTS };
    Arrived { log, seq: Seq::new(seq as u64), change }
}

/// Applies changes, as many in one task as stated; how long that took.
fn apply(engine: &mut Engine, changes: &[(DocId, Arrived)]) -> Duration {
    let began = Instant::now();
    for (doc, arrived) in changes {
        let done = engine.run(Task::Apply { doc: doc.clone(), changes: vec![arrived.clone()] });
        assert!(matches!(done, Done::Applied { applied, .. } if applied.len() == 1));
    }
    began.elapsed()
}

fn rate(count: usize, took: Duration) -> u128 {
    count as u128 * 1_000_000 / took.as_micros().max(1)
}

#[test]
#[ignore = "a measurement"]
fn how_fast_many_small_documents_are() {
    let docs: Vec<DocId> = (0..DOCS).map(|n| DocId::parse(&format!("d/{n}")).unwrap()).collect();
    let (mut here, mut there) = (Engine::new(Limits::default()), Engine::new(Limits::default()));
    let mut changes = Vec::new();
    let members: serde_json::Map<_, _> = (0..20).map(|n| (format!("k{n}"), json!(0))).collect();
    for (n, doc) in docs.iter().enumerate() {
        let arrived = edit(&mut here, doc, Edit::Put { value: members.clone().into() }, n + 1);
        changes.push((doc.clone(), arrived));
    }
    apply(&mut there, &changes);
    changes.clear();
    let began = Instant::now();
    for round in 0..ROUNDS {
        for doc in &docs {
            let set = Edit::Set { path: format!("k{}", round % 20), value: json!(round + 1) };
            let seq = changes.len() + DOCS + 1;
            changes.push((doc.clone(), edit(&mut here, doc, set, seq)));
        }
    }
    let edits = rate(changes.len(), began.elapsed());
    let applies = rate(changes.len(), apply(&mut there, &changes));
    println!("{DOCS} documents of 20 to {} operations, one thread: {edits} edits/s, {applies} applies/s", 20 + ROUNDS);
}

#[test]
#[ignore = "a measurement"]
fn how_fast_a_document_of_100_mb_is_merged() {
    let doc = DocId::parse("large").unwrap();
    let (mut here, mut there) = (Engine::new(Limits::default()), Engine::new(Limits::default()));
    let mut changes = vec![edit(&mut here, &doc, Edit::Put { value: json!({}) }, 1)];
    for part in 0..PARTS {
        let set = Edit::Set { path: format!("part{part}"), value: json!("x".repeat(PART)) };
        changes.push(edit(&mut here, &doc, set, part + 2));
    }
    let bytes: usize = changes.iter().map(|arrived| arrived.change.len()).sum();
    let began = Instant::now();
    let done = there.run(Task::Apply { doc: doc.clone(), changes: changes.clone() });
    let merged = began.elapsed();
    assert!(matches!(done, Done::Applied { applied, .. } if applied.len() == PARTS + 1));
    let one = edit(&mut here, &doc, Edit::Set { path: "small".into(), value: json!(1) }, PARTS + 2);
    let small = apply(&mut there, &[(doc, one)]);
    println!("a document of {} MB merged in {merged:?}, a small change to it in {small:?}", bytes >> 20);
}
