//! Merging, side by side: our engine with its check, Automerge alone, and yrs (the Rust port of Yjs) as a yardstick.
//!
//! The same edits of the same map of 20 keys everywhere: each is one change, and sets one key to a number.

use automerge::{ActorId, Automerge, Change, TextEncoding};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use oxigdal_ha::documents::Engine;
use yrs::updates::decoder::Decode as _;
use yrs::{Doc, Map as _, Transact as _, Update};

use crate::cpu::Cpu;
use crate::documents::{Writer, apply, bytes, doc, engine, history};

/// Changes that are merged, onto a document that had so many before.
const CHANGES: usize = 50;
const BEFORE: [usize; 2] = [100, 1_000];
const KEYS: usize = 20;

/// The document in yrs, and the update of each edit.
fn yrs_history(edits: usize) -> Vec<Vec<u8>> {
    let doc = Doc::with_client_id(1);
    let map = doc.get_or_insert_map("root");
    let mut updates = Vec::with_capacity(edits);
    for edit in 0..edits {
        let mut transaction = doc.transact_mut();
        map.insert(&mut transaction, format!("k{}", edit % KEYS), edit as f64);
        updates.push(transaction.encode_update_v1());
    }
    updates
}

fn yrs_doc(updates: &[Vec<u8>]) -> Doc {
    let doc = Doc::with_client_id(2);
    let mut transaction = doc.transact_mut();
    for update in updates {
        transaction.apply_update(Update::decode_v1(update).unwrap()).unwrap();
    }
    drop(transaction);
    doc
}

fn automerge_doc(changes: &[Change]) -> Automerge {
    let mut doc = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint);
    doc.set_actor(ActorId::from([2; 24]));
    doc.apply_changes(changes.to_vec()).unwrap();
    doc
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let id = doc("merge");
    let mut group = c.benchmark_group("merge 50 changes, one by one");
    group.throughput(Throughput::Elements(CHANGES as u64));
    for before in BEFORE {
        let (mut writer, mut changes) = (Writer::new(1), Vec::new());
        changes.extend(history(&mut writer, &id, before));
        let old = changes.len();
        changes.extend((0..CHANGES).map(|n| writer.set(&id, before + n)));
        let (base, new) = changes.split_at(old);
        let ops = format!("onto {before} ops");
        group.bench_function(BenchmarkId::new("ours, with its check", &ops), |b| {
            let each = |mut engine: Engine| {
                new.iter().for_each(|change| apply(&mut engine, &id, vec![change.clone()]));
                engine
            };
            b.iter_batched(|| engine(&id, base), each, BatchSize::PerIteration);
        });
        let parsed = |changes| bytes(changes).iter().map(|bytes| Change::from_bytes(bytes.to_vec()).unwrap()).collect();
        let (base, raw): (Vec<Change>, _) = (parsed(base), bytes(new));
        group.bench_function(BenchmarkId::new("automerge alone", &ops), |b| {
            let each = |mut doc: Automerge| {
                for bytes in &raw {
                    doc.apply_changes([Change::from_bytes(bytes.to_vec()).unwrap()]).unwrap();
                }
                assert!(!doc.get_heads().is_empty());
                doc
            };
            b.iter_batched(|| automerge_doc(&base), each, BatchSize::PerIteration);
        });
        let updates = yrs_history(before + CHANGES);
        group.bench_function(BenchmarkId::new("yrs", &ops), |b| {
            let each = |doc: Doc| {
                for update in &updates[before..] {
                    doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
                }
                doc
            };
            b.iter_batched(|| yrs_doc(&updates[..before]), each, BatchSize::PerIteration);
        });
    }
    group.finish();
}
