//! The merge engine: commits, and changes of others with the check of what may be merged.

use std::cell::LazyCell;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use oxigdal_ha::documents::{Arrived, Done, Edit, Engine, Limits, Policies, Task, Wanted};
use oxigdal_ha::types::{Actor, CommandId, DocId, LogId, Mint, NodeId, Seq, Topic, WallTime};
use serde_json::{Value, json};

use crate::cpu::Cpu;

/// Edits that are timed together, on a document that had so many more before.
const EDITS: usize = 50;
const KEYS: usize = 20;
const DOCS: usize = 1_000;
const PART: usize = 8 << 20;
const PARTS: usize = 13;

/// One writer, the engine that it writes with, and its log.
pub(crate) struct Writer {
    actor: Actor,
    engine: Engine,
    written: u64,
}

impl Writer {
    pub(crate) fn new(node: u128) -> Self {
        let actor = Actor { node: NodeId::from_u128(node), mint: Mint::new(1) };
        Self { actor, engine: Engine::new(Limits::default()), written: 0 }
    }

    pub(crate) fn edit(&mut self, doc: &DocId, edit: Edit) -> Arrived {
        let batch = vec![Wanted { command: CommandId::ZERO, edits: vec![edit], create: false, at: None }];
        let at = WallTime::from_micros(1_700_000_000_000_000 + self.written * 1_000);
        let done = self.engine.run(Task::Edit {
            doc: doc.clone(),
            actor: self.actor,
            at,
            batch,
            policies: Policies::default(),
        });
        let Done::Edited { change: Some(change), .. } = done else { panic!("{done:?}") };
        self.written += 1;
        let log = LogId { actor: self.actor, topic: Topic::DOCUMENTS };
        Arrived { log, seq: Seq::new(self.written), change }
    }

    pub(crate) fn set(&mut self, doc: &DocId, number: usize) -> Arrived {
        self.edit(doc, Edit::Set { path: format!("k{}", number % KEYS), value: json!(number) })
    }
}

pub(crate) fn doc(name: &str) -> DocId {
    DocId::parse(name).unwrap()
}

/// A feature's worth of properties.
pub(crate) fn members() -> Value {
    Value::Object((0..KEYS).map(|n| (format!("k{n}"), json!(0))).collect())
}

/// A document of about `ops` operations, as the changes that made it.
pub(crate) fn history(writer: &mut Writer, doc: &DocId, ops: usize) -> Vec<Arrived> {
    let mut changes = vec![writer.edit(doc, Edit::Put { value: members() })];
    changes.extend((KEYS..ops).map(|n| writer.set(doc, n)));
    changes
}

/// An engine that has these changes.
pub(crate) fn engine(doc: &DocId, changes: &[Arrived]) -> Engine {
    let mut engine = Engine::new(Limits::default());
    apply(&mut engine, doc, changes.to_vec());
    engine
}

pub(crate) fn apply(engine: &mut Engine, doc: &DocId, changes: Vec<Arrived>) {
    let count = changes.len();
    let done = engine.run(Task::Apply { doc: doc.clone(), changes });
    assert!(matches!(done, Done::Applied { applied, .. } if applied.len() == count));
}

fn one_document(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("documents");
    let doc = doc("layers/countries/FJI");
    for ops in [100, 1_000] {
        group.throughput(Throughput::Elements(EDITS as u64));
        let prepared = || {
            let mut writer = Writer::new(1);
            history(&mut writer, &doc, ops);
            writer
        };
        group.bench_function(BenchmarkId::new("50 commits", format!("{ops} ops")), |b| {
            let commit = |mut writer: Writer| {
                (0..EDITS).for_each(|n| drop(writer.set(&doc, ops + n)));
                writer
            };
            b.iter_batched(prepared, commit, BatchSize::PerIteration);
        });
        let mut writer = Writer::new(1);
        let before = history(&mut writer, &doc, ops);
        let after: Vec<Arrived> = (0..EDITS).map(|n| writer.set(&doc, ops + n)).collect();
        group.bench_function(BenchmarkId::new("50 changes, one by one", format!("{ops} ops")), |b| {
            let each = |mut engine: Engine| {
                after.iter().for_each(|change| apply(&mut engine, &doc, vec![change.clone()]));
                engine
            };
            b.iter_batched(|| engine(&doc, &before), each, BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("50 changes at once", format!("{ops} ops")), |b| {
            let all = |mut engine: Engine| {
                apply(&mut engine, &doc, after.clone());
                engine
            };
            b.iter_batched(|| engine(&doc, &before), all, BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("50 changes refused by the check", format!("{ops} ops")), |b| {
            // Another's name in the log: everything is read, nothing is merged.
            let forge = |change: &Arrived| Arrived {
                log: LogId { actor: Writer::new(2).actor, ..change.log },
                ..change.clone()
            };
            let forged: Vec<Arrived> = after.iter().map(forge).collect();
            let mut engine = engine(&doc, &before);
            b.iter(|| engine.run(Task::Apply { doc: doc.clone(), changes: forged.clone() }));
        });
    }
    group.finish();
}

fn many_documents(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("documents");
    let docs: Vec<DocId> = (0..DOCS).map(|n| doc(&format!("d/{n}"))).collect();
    let mut here = Writer::new(1);
    docs.iter().for_each(|doc| drop(here.edit(doc, Edit::Put { value: members() })));
    group.sample_size(20).throughput(Throughput::Elements(DOCS as u64));
    // Each document grows by an operation a round: some tens of rounds, far below what a feature may have.
    let mut round = 0;
    group.bench_function("an edit to each of 1,000 documents", |b| {
        b.iter(|| {
            round += 1;
            docs.iter().map(|doc| here.set(doc, round)).collect::<Vec<_>>()
        });
    });
    group.bench_function("a change of another to each of 1,000 documents", |b| {
        let (mut here, mut there) = (Writer::new(2), Engine::new(Limits::default()));
        docs.iter().for_each(|doc| apply(&mut there, doc, vec![here.edit(doc, Edit::Put { value: members() })]));
        let mut round = 0;
        b.iter_batched(
            || {
                round += 1;
                docs.iter().map(|doc| here.set(doc, round)).collect::<Vec<_>>()
            },
            |changes| docs.iter().zip(changes).for_each(|(doc, change)| apply(&mut there, doc, vec![change])),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn a_large_document(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("documents");
    group.sample_size(10);
    let doc = doc("large");
    // Made when it is asked for: it takes a while.
    let made = LazyCell::new(|| {
        let mut here = Writer::new(1);
        let mut changes = vec![here.edit(&doc, Edit::Put { value: json!({}) })];
        for part in 0..PARTS {
            changes.push(here.edit(&doc, Edit::Set { path: format!("part{part}"), value: json!("x".repeat(PART)) }));
        }
        let small: Vec<Arrived> = (0..EDITS).map(|n| here.set(&doc, n)).collect();
        (changes, small)
    });
    group.throughput(Throughput::Bytes((PARTS * PART) as u64));
    group.bench_function("a document of 104 MiB", |b| b.iter(|| engine(&doc, &made.0)));
    group.throughput(Throughput::Elements(EDITS as u64));
    group.bench_function("50 changes to a document of 104 MiB", |b| {
        let each = |mut engine: Engine| {
            made.1.iter().for_each(|change| apply(&mut engine, &doc, vec![change.clone()]));
            engine
        };
        b.iter_batched(|| engine(&doc, &made.0), each, BatchSize::PerIteration);
    });
    group.finish();
}

/// The bytes of some changes, for engines that know nothing of logs.
pub(crate) fn bytes(changes: &[Arrived]) -> Vec<Bytes> {
    changes.iter().map(|arrived| arrived.change.clone()).collect()
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    one_document(c);
    many_documents(c);
    a_large_document(c);
}
