//! What a start costs with a snapshot and without, and what of the log it leaves to be read later.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures how long a start takes")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oxigdal_ha::documents::{self, Edit};
use oxigdal_ha::driver::{Peer, ScrubState, ScrubStatus};
use oxigdal_ha::membership::Meta;
use oxigdal_ha::node::{Alone, Command, Config, Identity, Outcome, Setup, SnapshotState};
use oxigdal_ha::types::{ClusterId, DocId, Family, NodeId, SegmentId, WallTime};
use serde_json::json;
use tempfile::TempDir;

use super::{LOG_DIR, LocateError, Luck, Past, Target, Unreachable, bounded, config, doc, lived, until};

type Files = BTreeMap<SegmentId, Vec<u8>>;

fn start(files: Files) -> (Alone, Duration, u64) {
    let setup = Setup {
        identity: Identity { node: NodeId::from_u128(1), cluster: ClusterId::from_bytes([7; 32]) },
        seed: [3; 32],
        meta: Meta::default(),
        config: Config::default(),
        founds: false,
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

/// A peer that was stopped behind a snapshot, with several segments before it.
async fn behind_a_snapshot(dir: &Path) {
    let peer = start_small(dir).await;
    let mut luck = Luck(5);
    for n in 0..12 {
        let letters = (0..24_000).map(|_| char::from(b'!' + u8::try_from(luck.below(90)).expect("it is below")));
        peer.put(doc(n), json!({ "text": letters.collect::<String>() })).await.expect("it is taken");
    }
    let Ok(Outcome::Snapshot(_)) = peer.command(Command::Snapshot).await else { panic!("no snapshot") };
    peer.put(doc(0), json!({ "n": 1 })).await.expect("it is taken");
    peer.halt().await;
}

async fn start_small(dir: &Path) -> Peer {
    let mut config = config(dir, "one", None);
    config.wal.segment_bytes = 32 << 10;
    Peer::start(config).await.expect("it starts")
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(LOG_DIR).join(oxigdal_ha::wal::file_name(SegmentId::new(number)))
}

fn flip(file: &Path, byte: usize) {
    let mut bytes = fs::read(file).expect("it is there");
    bytes[byte] ^= 1;
    fs::write(file, bytes).expect("it is written");
}

async fn scrubbed(peer: &Peer) -> ScrubStatus {
    let scrub = async || peer.status().await.expect("it serves").host.scrub.expect("there is something to read");
    until("it is read", async || scrub().await.state != ScrubState::Running).await;
    scrub().await
}

#[test]
fn a_start_from_a_snapshot_reads_the_rest_afterwards_and_says_what_is_damaged() {
    bounded(async {
        let home = TempDir::new().expect("a directory");
        behind_a_snapshot(home.path()).await;
        let peer = start_small(home.path()).await;
        let sound = scrubbed(&peer).await;
        assert_eq!((sound.state, sound.bytes, sound.damage), (ScrubState::Sound, sound.of_bytes, vec![]));
        assert!(sound.bytes > 128 << 10, "several segments: {}", sound.bytes);
        peer.halt().await;

        // In the middle of one, in the last record of the next, and in a header.
        flip(&segment(home.path(), 2), 1_000);
        let third = segment(home.path(), 3);
        flip(&third, usize::try_from(fs::metadata(&third).expect("it is there").len()).expect("it is small") - 5);
        flip(&segment(home.path(), 5), 20);
        let peer = start_small(home.path()).await;
        let damaged = scrubbed(&peer).await;
        assert_eq!((damaged.state, damaged.bytes, damaged.more), (ScrubState::Damaged, damaged.of_bytes, 0));
        let files: Vec<&str> = damaged.damage.iter().map(|one| one.file.as_str()).collect();
        assert_eq!(files, ["0000000000000002.wal", "0000000000000003.wal", "0000000000000005.wal"], "{damaged:?}");
        assert!(damaged.damage[0].lsn.is_some() && damaged.damage[0].byte < 1_000, "{damaged:?}");
        assert!(damaged.damage[0].what.contains("checksum"), "{damaged:?}");
        assert_eq!(peer.get(doc(0)).await.expect("it is served"), json!({ "n": 1 }));
        peer.halt().await;
    });
}

#[test]
fn a_snapshot_is_a_moment_to_go_back_to() {
    let dir = TempDir::new().expect("a directory");
    let mut life = lived(dir.path(), 80, &mut Luck(23));
    let (mut taken, mut luck) = (Vec::new(), Luck(24));
    for _ in 0..2 {
        // Events behind the last record of the main chain were durable before it was taken, too.
        life.put(&doc(0), json!({ "n": life.wall }));
        (0..taken.len() * 3).for_each(|_| life.append());
        let Outcome::Snapshot(file) = life.ask(Command::Snapshot) else { panic!("no snapshot") };
        let SnapshotState::Good(good) = file.state else { panic!("{file:?}") };
        let state = life.model.last().expect("it lives").clone();
        taken.push((file.id, good, state));
        life.wall += 7_000_000;
        (0..20).for_each(|_| life.live(&mut luck));
    }
    let target = |id: &str| format!("snapshot:{id}").parse::<Target>().expect("it is a target");
    let mut past = Past::of(dir.path(), life.wall + 1_000_000);
    for (id, good, state) in &taken {
        let located = past.locate(&target(&id.to_string()), false).expect("it is there");
        assert_eq!((located.last.lsn, located.last.at, located.upto.main), (good.lsn, good.at, good.lsn));
        assert_eq!(past.seen(located), (state.docs.clone(), state.events), "snapshot {id}");
        let before = past.locate(&target(&id.to_string()), true).expect("it is there");
        assert_eq!(before.upto.main.value() + 1, good.lsn.value(), "without the last record");
    }
    let refused = |past: &Past, id: &str| match past.locate(&target(id), false) {
        Err(LocateError::Target(refused)) => refused,
        other => panic!("{other:?}"),
    };
    let unknown = refused(&past, "99");
    assert!(matches!(unknown.why, Unreachable::UnknownSnapshot { .. }), "{unknown}");
    for (id, good, _) in &taken {
        assert!(unknown.to_string().contains(&format!("snapshot:{id} (lsn:{})", good.lsn)), "{unknown}");
    }
    let (id, good, _) = &taken[0];
    let files = oxigdal_ha::recovery::snapshot::beside(&past.source).expect("it is read");
    flip(&past.source.dir().join(&files[0].file), usize::try_from(good.bytes - 30).expect("it is small"));
    let bad = refused(&past, &id.to_string());
    assert!(matches!(bad.why, Unreachable::BadSnapshot { .. }), "{bad}");
    assert!(!bad.restorable.to_string().contains(&format!("snapshot:{id} ")), "{bad}");
}
