//! Every byte and every object of a small repository.

use std::collections::BTreeSet;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::super::{Found, find};
use super::*;
use crate::node::Own;
use crate::recovery::target::Target;

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
        // It is there twice: the other copy serves.
        Ok(_) if name.starts_with("repo.") || name.starts_with("keys/") => {}
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
            if !name.starts_with("repo.") && !name.starts_with("keys/") {
                complains(&bench, &name, "missing");
            }
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
    let policy = Retention { last: 1, ..Retention::default() };
    let plan = Pruning::plan(bench.catalogue(), policy, &BTreeSet::new(), DAY, WallTime::EPOCH);
    assert_eq!(plan.unwrap_err().object(), Some(name.as_str()));
}

/// A backup that cannot be mended is given up, and everything goes on without it.
#[test]
fn what_is_damaged_is_not_in_the_way_of_what_is_whole_if_that_is_wanted() {
    let (bench, mut log) = small(None);
    log.grow(1, 1);
    bench.create(&log, BackupType::Full);
    log.grow(1, 1);
    let last = bench.create(&log, BackupType::Incremental);
    let damaged: Vec<_> = objects(&bench).into_iter().filter(|(name, _)| name.starts_with("backups/")).collect();
    for (name, bytes) in &damaged[1..2] {
        put(&bench, name, bytes.slice(1..));
    }
    let (name, _) = &damaged[1];
    let hidden = name.split(['/', '.']).nth(2).unwrap().parse::<BackupId>().unwrap();
    assert_eq!(bench.restore(None, None).unwrap_err().object(), Some(name.as_str()));
    assert_eq!(bench.restore(Some(last.id), None).unwrap(), log.expected(log.upto()), "a named one");
    let mut catalogue = bench.catalogue();
    assert_eq!(catalogue.accept_damage().iter().map(Error::object).collect::<Vec<_>>(), [Some(name.as_str())]);
    assert_eq!(catalogue.newest_or_fault(WallTime::EPOCH).unwrap(), last.id);

    let policy = Retention { last: 1, ..Retention::default() };
    let now = || super::super::Host::wall(&bench.host);
    let prune = |given_up: &[BackupId]| {
        let given_up = given_up.iter().copied().collect();
        let plan = Pruning::plan(bench.catalogue(), policy, &given_up, DAY, now()).unwrap();
        block_on(plan.run(&bench.open(), &bench.host)).unwrap()
    };
    assert_eq!(prune(&[hidden]).marked, 2, "the one before it too: no rule keeps that");
    assert_eq!(prune(&[]).deleted, 0, "grace is not over, and nothing is in the way");
    bench.later(DAY);
    assert_eq!(prune(&[]).deleted, 2);
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn what_is_there_twice_serves_though_one_is_damaged_and_it_is_told() {
    let (bench, log) = small(Some(Secret::KeyFile(vec![1; 40])));
    let twice: Vec<_> = objects(&bench).into_iter().filter(|(name, _)| !name.contains("/0000")).collect();
    let twice: Vec<_> =
        twice.into_iter().filter(|(name, _)| name.starts_with("repo") || name.starts_with("keys")).collect();
    assert_eq!(twice.len(), 4, "{twice:?}");
    for (name, bytes) in &twice {
        put(&bench, name, bytes.slice(1..));
        assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
        let faults = bench.faults(Level::List).unwrap();
        assert_eq!(faults.iter().map(Error::object).collect::<Vec<_>>(), [Some(name.as_str())]);
        block_on(bench.store.delete(&Path::from(name.as_str()))).unwrap();
        assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
        assert_eq!(bench.faults(Level::List).unwrap().len(), 0, "who writes to it has made the copy again");
        let again = objects(&bench).into_iter().find(|(there, _)| there == name);
        assert_eq!(again.as_ref(), Some(&(name.clone(), bytes.clone())));
    }
    // Another repository's, whole in itself, does not pass.
    let (other, _) = small(None);
    let (_, theirs) = objects(&other).into_iter().find(|(name, _)| name == "repo.json").unwrap();
    put(&bench, "repo.copy.json", theirs);
    assert!(bench.faults(Level::List).unwrap()[0].to_string().contains("not the same as its copy"));
    for (name, bytes) in &twice[2..] {
        put(&bench, name, bytes.slice(1..));
    }
    assert!(matches!(bench.try_open(), Err(Error::Damaged { .. })));
}

#[test]
fn a_mark_that_is_about_another_backup_is_a_fault() {
    let (bench, _) = small(None);
    let ids: Vec<BackupId> = bench.catalogue().backups().map(|backup| backup.id).collect();
    bench.later(DAY);
    let tomb = super::super::repository::Tomb { id: ids[0], node: NODE, marked: WallTime::EPOCH };
    let name = super::super::repository::tomb_name(NODE, ids[1]);
    block_on(bench.open().write(&name, &tomb)).unwrap();
    assert!(!bench.catalogue().is_marked(ids[1]));
    assert_eq!(bench.catalogue().faults()[0].object(), Some(name.as_str()));
    assert!(bench.restore(None, None).is_ok(), "marks say nothing of what can be had");
}

/// What is restored where damage is accepted, what is left out, and what was met on the way.
fn around(bench: &Bench, target: &Target) -> Result<(Found, Vec<Frame>, Vec<Error>), Error> {
    let repository = bench.open();
    let mut catalogue = bench.catalogue();
    let mut damage = catalogue.accept_damage();
    loop {
        let done = block_on(async {
            let found = find(&repository, &mut catalogue, target, false, &bench.host).await?;
            let plan = Plan::of(&repository, &catalogue, found.backup)?;
            let (mut reading, mut frames) = (plan.read(found.upto, None).await?, Vec::new());
            while let Some((_, more)) = reading.next(&bench.host).await? {
                frames.extend(more);
            }
            Ok((found, frames))
        });
        match done {
            Ok((found, frames)) => return Ok((found, frames, damage)),
            Err(error) if catalogue.goes_around(&error) => damage.push(error),
            Err(error) => return Err(error),
        }
    }
}

/// Every object in turn is damaged or missing: as much is restored as is whole, and what is left out is exactly the rest.
#[test]
fn around_a_damaged_object_as_much_is_restored_as_is_whole() {
    let (bench, mut log) = (Bench::new(), Log::of(6, 3));
    let take = |log: &mut Log, kind| {
        pointed(log);
        bench.create(log, kind)
    };
    take(&mut log, BackupType::Full);
    for _ in 0..2 {
        log.grow(2, 1);
        take(&mut log, BackupType::Incremental);
    }
    for (name, bytes) in objects(&bench).into_iter().filter(|(name, _)| name.starts_with("data/")) {
        for gone in [false, true] {
            match gone {
                true => block_on(bench.store.delete(&Path::from(name.as_str()))).unwrap(),
                false => put(&bench, &name, bytes.slice(1..)),
            }
            let (found, frames, damage) = match around(&bench, &Target::Latest) {
                Ok(done) => done,
                Err(Error::Target(error)) => {
                    // The very first of the main chain is gone.
                    assert!(name.contains("/00000000-"), "{name}: {error}");
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
            assert_eq!(damage.iter().map(Error::object).collect::<Vec<_>>(), [Some(name.as_str())]);
            assert_eq!(frames, log.expected(found.upto), "{name}");
            let left: Vec<_> = found.left_out.iter().map(|left| (left.chain.into(), left.first, left.last)).collect();
            let less = Chain::ALL.into_iter().filter(|chain| found.upto.of(*chain) < log.upto().of(*chain));
            let less: Vec<_> = less.map(|chain| (chain, found.upto.of(chain).next(), log.upto().of(chain))).collect();
            assert!(left == less && left.len() == 1, "{name}: {left:?}");
        }
        put(&bench, &name, bytes);
    }
    // Another backup that holds it all is taken, and nothing is left out.
    let full = take(&mut log, BackupType::Full);
    let of_full = |name: &str| name.starts_with("data/") && name.contains(&full.id.to_string());
    let (name, bytes) = objects(&bench).into_iter().find(|(name, _)| of_full(name)).unwrap();
    put(&bench, &name, bytes.slice(1..));
    let (found, frames, _) = around(&bench, &Target::Latest).unwrap();
    assert!(found.backup < full.id && found.left_out.is_empty(), "{found:?}");
    assert_eq!(frames, log.expected(log.upto()));
}

/// A log whose main chain is named points: each record one of its number.
pub(super) fn pointed(log: &mut Log) {
    for frame in &mut log.main {
        let (kind, payload) = Own::Point { name: frame.lsn.to_string() }.encode();
        (frame.kind, frame.payload) = (kind, payload.into());
    }
}

fn damage(bench: &Bench, id: BackupId, place: usize) -> (String, Bytes) {
    let name = bench.catalogue().backups[&id].metadata.objects[place].key.clone();
    let (name, bytes) = objects(bench).into_iter().find(|(there, _)| *there == name).unwrap();
    put(bench, &name, bytes.slice(1..));
    (name, bytes)
}

/// A log that was put back keeps its store: what it had abandoned holds more, and is not the newest.
#[test]
fn damage_does_not_bring_back_what_a_log_that_was_put_back_had_abandoned() {
    let (bench, mut log) = (Bench::new(), Log::of(6, 3));
    pointed(&mut log);
    bench.create(&log, BackupType::Full);
    let mut abandoned = log.clone();
    abandoned.grow(14, 2);
    pointed(&mut abandoned);
    let old = bench.create(&abandoned, BackupType::Incremental);
    let old_full = bench.create(&abandoned, BackupType::Full);
    log.grow(3, 4);
    pointed(&mut log);
    for frame in log.main[6..].iter_mut().chain(&mut log.events[3..]) {
        frame.hlc.wall = WallTime::from_micros(frame.hlc.wall.as_micros() + 1_000);
    }
    let new = bench.create(&log, BackupType::Incremental);
    let (given_up, all) = ([old.id, old_full.id].into(), Retention { last: 9, ..Retention::default() });
    let plan = Pruning::plan(bench.catalogue(), all, &given_up, DAY, crate::backup::Host::wall(&bench.host)).unwrap();
    block_on(plan.run(&bench.open(), &bench.host)).unwrap();
    // Records 7 to 9 are damaged: neither these nor others of their numbers are had.
    let whole = damage(&bench, new.id, 0);
    let (found, frames, _) = around(&bench, &Target::Latest).unwrap();
    assert_eq!((found.upto.main, found.older_history), (Lsn::new(6), false), "{found:?}");
    assert_eq!(frames, log.expected(found.upto));
    assert!(found.left_out.iter().any(|left| (left.first, left.last) == (Lsn::new(7), Lsn::new(9))), "{found:?}");
    let point = |name: &str| Target::Point(name.into());
    for target in [Target::Lsn(Lsn::new(7)), point("7"), Target::Lsn(Lsn::new(20)), point("20")] {
        assert!(matches!(around(&bench, &target), Err(Error::Target(_))), "{target}");
    }
    let (found, ..) = around(&bench, &point("6")).unwrap();
    assert_eq!((found.upto.main, found.older_history), (Lsn::new(6), false), "{found:?}");
    put(&bench, &whole.0, whole.1);
    // Only events are: the history is known to its end, and what it does not hold is looked for in the other.
    damage(&bench, new.id, 1);
    let (found, ..) = around(&bench, &point("20")).unwrap();
    assert!(found.older_history && [old.id, old_full.id].contains(&found.backup), "{found:?}");
    let (found, ..) = around(&bench, &point("7")).unwrap();
    assert_eq!((found.at, found.older_history), (log.main[6].hlc, false), "{found:?}");
    assert_eq!(found.left_out.len(), 1, "events of before it are damaged");
}

#[test]
fn of_backups_that_hold_a_moment_one_that_is_whole_is_taken() {
    let (bench, mut log) = (Bench::new(), Log::of(6, 3));
    pointed(&mut log);
    let first = bench.create(&log, BackupType::Full);
    log.grow(3, 4);
    pointed(&mut log);
    let second = bench.create(&log, BackupType::Full);
    damage(&bench, second.id, 1);
    let (found, ..) = around(&bench, &Target::Lsn(Lsn::new(5))).unwrap();
    assert!(found.backup == first.id && found.left_out.is_empty(), "{found:?}");
}

#[test]
fn a_backup_that_is_named_says_what_of_it_is_left_out() {
    let (bench, mut log) = (Bench::new(), Log::of(8, 3));
    pointed(&mut log);
    bench.create(&log, BackupType::Full);
    log.grow(3, 1);
    pointed(&mut log);
    let last = bench.create(&log, BackupType::Incremental);
    damage(&bench, last.id, 0);
    let (found, frames, _) = around(&bench, &Target::Backup(last.id.to_string())).unwrap();
    assert_eq!(frames, log.expected(found.upto));
    let left: Vec<_> = found.left_out.iter().map(|left| (left.chain.into(), left.first, left.last)).collect();
    assert_eq!(left, [(Chain::Main, Lsn::new(9), Lsn::new(11))]);
}
