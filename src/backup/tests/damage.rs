//! Every byte and every object of a small repository.

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::*;

/// A full backup and one that continues it, small enough to damage each byte of.
fn small(secret: Option<Secret>) -> (Bench, Log) {
    let bench = Bench { secret, ..Bench::new() };
    let mut log = Log::of(6, 3);
    bench.create(&log, BackupType::Full);
    log.grow(2, 1);
    bench.create(&log, BackupType::Incremental);
    (bench, log)
}

fn objects(bench: &Bench) -> Vec<(String, Bytes)> {
    let store = bench.open().store;
    let names = block_on(store.list("")).unwrap();
    names
        .into_iter()
        .map(|object| (object.name.clone(), block_on(store.read(&object.name, u64::MAX, "")).unwrap()))
        .collect()
}

fn put(bench: &Bench, name: &str, bytes: Bytes) {
    block_on(bench.store.put(&Path::from(name), bytes.into())).unwrap();
}

/// Verifying and restoring must both complain about this object.
fn complains(bench: &Bench, name: &str, what: &str) {
    complains_at(bench, &[Level::Checksums, Level::Content], name, what);
}

fn complains_at(bench: &Bench, levels: &[Level], name: &str, what: &str) {
    let named = |error: &Error| error.object() == Some(name);
    for level in levels.iter().copied() {
        match bench.faults(level) {
            Ok(faults) => assert!(faults.iter().any(named), "{name}, {what}: verify finds {faults:?}"),
            Err(error) => assert!(named(&error), "{name}, {what}: {error}"),
        }
    }
    match bench.restore(None, None) {
        Ok(_) => panic!("{name}, {what}: it was restored"),
        Err(error) => assert!(named(&error), "{name}, {what}: {error}"),
    }
}

#[test]
fn each_changed_byte_is_found_by_verify_and_by_restore() {
    let (bench, log) = small(None);
    for (name, bytes) in objects(&bench) {
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << (at % 8);
            put(&bench, &name, bad.into());
            // What reads less closely must see it too.
            complains_at(&bench, &[Level::Checksums], &name, &format!("byte {at}"));
        }
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            put(&bench, &name, bytes.slice(..len));
            complains(&bench, &name, &format!("cut to {len} bytes"));
        }
        put(&bench, &name, bytes);
    }
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
}

#[test]
fn each_missing_object_is_found_by_verify_and_by_restore() {
    for secret in [None, Some(Secret::KeyFile(vec![1; 40]))] {
        let (bench, log) = small(secret);
        for (name, bytes) in objects(&bench) {
            block_on(bench.store.delete(&Path::from(name.as_str()))).unwrap();
            complains(&bench, &name, "missing");
            put(&bench, &name, bytes);
        }
        assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
    }
}

#[test]
fn objects_that_change_places_are_found() {
    for secret in [None, Some(Secret::KeyFile(vec![1; 40]))] {
        let (bench, _) = small(secret);
        let data: Vec<(String, Bytes)> =
            objects(&bench).into_iter().filter(|(name, _)| name.starts_with("data/")).collect();
        for (at, (name, bytes)) in data.iter().enumerate() {
            put(&bench, name, data[(at + 1) % data.len()].1.clone());
            complains(&bench, name, "another one's content");
            put(&bench, name, bytes.clone());
        }
    }
}

#[test]
fn a_manifest_that_another_hand_wrote_is_refused_in_an_encrypted_repository() {
    let (bench, _) = small(Some(Secret::KeyFile(vec![1; 40])));
    let (name, bytes) = objects(&bench).into_iter().rfind(|(name, _)| name.starts_with("backups/")).unwrap();
    let mut metadata: BackupMetadata = super::super::sealed::open(&name, &bytes, None).unwrap();
    metadata.mesh = Some("forged".into());
    put(&bench, &name, super::super::sealed::seal(&metadata, None).into());
    assert!(bench.restore(None, None).unwrap_err().to_string().contains("holder of the repository's key"));
}

#[test]
fn nothing_is_pruned_where_a_manifest_cannot_be_read() {
    let (bench, mut log) = small(None);
    log.grow(1, 1);
    bench.create(&log, BackupType::Full);
    let (name, bytes) = objects(&bench).into_iter().find(|(name, _)| name.starts_with("backups/")).unwrap();
    put(&bench, &name, bytes.slice(1..));
    let plan = Pruning::plan(bench.catalogue(), Retention { last: 1, ..Retention::default() }, DAY, WallTime::EPOCH);
    assert_eq!(plan.unwrap_err().object(), Some(name.as_str()));
}
