//! What a start costs with a snapshot and without.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures how long a start takes")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use oxigdal_ha::documents::{self, Edit};
use oxigdal_ha::membership::Meta;
use oxigdal_ha::node::{Alone, Command, Config, Identity, Outcome, Setup, SnapshotState};
use oxigdal_ha::types::{ClusterId, DocId, Family, NodeId, SegmentId, WallTime};
use serde_json::json;

type Files = BTreeMap<SegmentId, Vec<u8>>;

fn start(files: Files) -> (Alone, Duration, u64) {
    let setup = Setup {
        identity: Identity { node: NodeId::from_u128(1), cluster: ClusterId::from_bytes([7; 32]) },
        seed: [3; 32],
        meta: Meta::default(),
        config: Config::default(),
    };
    let began = Instant::now();
    let (alone, report) = Alone::on(files, setup, WallTime::from_micros(1)).expect("it boots");
    (alone, began.elapsed(), report.records)
}

fn edit(alone: &mut Alone, doc: u64, edit: Edit, create: bool) {
    let doc = DocId::parse(&format!("layers/{doc}")).expect("a path");
    let command = documents::Command::Edit { doc, edits: vec![edit], create };
    alone.ask(Command::Documents(command)).expect("it is taken");
}

/// Prints figures: `cargo test --test recovery_test figures_of_starts -- --ignored --nocapture`.
#[test]
#[ignore = "a minute: prints figures"]
fn figures_of_starts() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (docs, changes) = (number("OXIGDAL_HA_DOCS", 4_000), number("OXIGDAL_HA_CHANGES", 40_000));
    let mut alone = start(Files::new()).0;
    (0..docs).for_each(|doc| edit(&mut alone, doc, Edit::Put { value: json!({"n": 0, "name": "a road"}) }, true));
    for n in docs..changes {
        edit(&mut alone, n * 7_919 % docs, Edit::Set { path: "n".into(), value: json!(n) }, false);
    }
    let began = Instant::now();
    let Ok(Outcome::Snapshot(file)) = alone.ask(Command::Snapshot) else { panic!("no snapshot") };
    let took = began.elapsed();
    let SnapshotState::Good(taken) = file.state else { panic!("{file:?}") };
    edit(&mut alone, 0, Edit::Set { path: "n".into(), value: json!(-1) }, false);
    let with = alone.files().clone();
    let without: Files =
        with.iter().filter(|(file, _)| file.family() != Family::Snapshot).map(|(k, v)| (*k, v.clone())).collect();
    let log: usize = without.values().map(Vec::len).sum();
    let (mut whole, whole_took, read) = start(without);
    let (mut behind, behind_took, tail) = start(with);
    assert_eq!(whole.node().documents().content(), behind.node().documents().content());
    assert_eq!(whole.documents("layers/1").expect("read"), behind.documents("layers/1").expect("read"));
    println!(
        "{changes} changes of {docs} documents, a log of {log} bytes; a snapshot of {} bytes, taken in {took:?}",
        taken.bytes
    );
    println!(
        "start from the log: {read} records in {whole_took:?}; with the snapshot: {tail} records in {behind_took:?}"
    );
    println!("ratio {:.1}", whole_took.as_secs_f64() / behind_took.as_secs_f64());
}
