//! Backups, their archive, prune, verify and restore over a store that fails in every way that stores do, by seed. What must hold at
//! the end has the names of the invariants of backups, B1 to B14, and each is judged somewhere:
//!
//! | invariant | | judged in |
//! |---|---|---|
//! | B1 | a manifest names only what is there, and whole | here |
//! | B2 | a backup is a cut: restored, it is what the log held at one moment | here |
//! | B3 | any time and edge restores to the model's state then | here; `pitr.rs`, by the hundred |
//! | B4 | what is said to be restorable is | here |
//! | B5 | a full backup with increments is a full one of the same point | `invariants.rs` |
//! | B6 | prune deletes nothing that is needed, also beside a backup that is being made | here |
//! | B7 | a changed byte or missing object is named | here; every byte in `src/backup/tests/damage.rs` |
//! | B8 | a backup that is broken off harms none before, and is gone on with | here; every operation in `archive.rs` |
//! | B9 | nobody goes on as the actor that was backed up | here |
//! | B10 | a restore that ended anywhere is done by the next | `invariants.rs`; kills of real processes in `kills.rs` |
//! | B11 | a backup does not hold up writers | a measurement, not a test: "Recovery" in `benches/README.md` |
//! | B12 | skewed clocks do not reorder moments | here |
//! | B13 | what an earlier version wrote, encrypted and compressed, is restored | `archive.rs`, the golden repository |
//! | B14 | what a chain would lose is younger than its interval | `invariants.rs` |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use oxigdal_ha::backup::{
    self, Archive, BackupCompression, BackupId, BackupType, Catalogue, Directory, Error, Host as _, Level, Pruning,
    Repository, Retention, Ticked,
};
use oxigdal_ha::recovery::LOG_DIR;
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::types::{Lsn, WallTime};

use super::archive::Bench;
use super::repository::held;
use super::store::Fault;
use super::{Docs, Life, Luck, ME, state_at};

/// Steps of a story.
const STEPS: u64 = 26;
/// Of a thousand operations of the store, so many fail.
const RATE: u64 = 60;

/// What did not hold.
#[derive(Debug)]
struct Broken {
    check: &'static str,
    what: String,
}

fn broken<T>(check: &'static str, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { check, what: what.into() })
}

/// A story that goes on.
struct Story {
    bench: Bench,
    luck: Luck,
    archive: Option<Archive>,
    lives: Vec<String>,
    /// What was in each backup that was said to be made.
    made: BTreeMap<BackupId, (Docs, u64)>,
    last: Option<(Docs, u64)>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new(seed);
        bench.live(3);
        if seed.is_multiple_of(4) {
            bench.store.lie();
        }
        let (archive, lives, made, last) = Default::default();
        Self { bench, luck: Luck(seed ^ 77), archive, lives, made, last }
    }

    fn note(&mut self, id: BackupId, state: (Docs, u64)) {
        self.made.insert(id, state.clone());
        self.last = Some(state);
    }

    async fn archive(&mut self) -> Result<(), Error> {
        if self.archive.is_none() {
            let holder = format!("life-{}", self.lives.len());
            let before: Vec<&str> = self.lives.iter().map(String::as_str).collect();
            let begun = self.bench.archive(&self.bench.data(), &holder, &before).await;
            self.lives.push(holder);
            self.archive = Some(begun?);
        }
        let archive = self.archive.as_mut().expect("it was begun");
        if let Ticked::Shipped(range) = archive.tick(&self.bench.clock).await? {
            let state = self.bench.lived();
            self.note(range.id, state);
        }
        Ok(())
    }

    async fn create(&mut self) -> Result<(), Error> {
        let kind = [BackupType::Full, BackupType::Incremental, BackupType::Differential]
            [usize::try_from(self.luck.below(3)).unwrap()];
        let codec = BackupCompression::ALL[usize::try_from(self.luck.below(4)).unwrap()];
        let bench = &self.bench;
        let repository = bench.open(&bench.store).await?;
        let directory = Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        let made = backup::create(&repository, &directory, kind, codec, &bench.clock).await?;
        let state = self.bench.lived();
        self.note(made.metadata.id, state);
        Ok(())
    }

    async fn prune(&mut self, grace: Duration) -> Result<(), Error> {
        let repository = self.bench.open(&self.bench.store).await?;
        prune(&repository, &self.bench, &BTreeSet::new(), grace).await
    }

    /// A prune without grace while a backup is made: they meet at every operation of the store. Now and then somebody gives up the very
    /// backup that is about to be continued.
    async fn race(&mut self) {
        let gives_up = self.luck.below(2) == 0;
        let slow = if self.luck.below(2) == 0 { 1 } else { 20 };
        let bench = &self.bench;
        let Ok(repository) = bench.open(&bench.store).await else { return };
        let Ok(slower) = bench.open(&bench.store.slower(slow)).await else { return };
        let given_up: BTreeSet<BackupId> = match Catalogue::read(&repository, ME).await {
            Ok(catalogue) if gives_up => {
                catalogue.newest(bench.clock.wall()).map(|newest| newest.id).into_iter().collect()
            }
            _ => BTreeSet::new(),
        };
        let directory = Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        let kind = BackupType::Incremental;
        bench.store.interleave(true);
        let made = backup::create(&slower, &directory, kind, BackupCompression::None, &bench.clock);
        let pruned = async {
            for _ in 0..3 {
                let _ = prune(&repository, bench, &given_up, Duration::ZERO).await;
            }
        };
        let (made, ()) = futures::join!(made, pruned);
        bench.store.interleave(false);
        if !given_up.is_empty() {
            self.last = None;
        }
        if let Ok(made) = made {
            let state = self.bench.lived();
            self.note(made.metadata.id, state);
        }
    }

    async fn step(&mut self) {
        let n = 1 + self.luck.below(3);
        self.bench.live(n);
        self.bench.later(self.luck.below(20_000_000));
        // What fails is tried again by a later step.
        let _ = match self.luck.below(12) {
            0..5 => self.archive().await,
            5 => {
                self.archive = None;
                Ok(())
            }
            6..9 => self.create().await,
            9 | 10 => {
                self.bench.later(61_000_000);
                self.prune(Duration::from_secs(60)).await
            }
            _ => {
                self.race().await;
                Ok(())
            }
        };
    }

    async fn restore(&self, catalogue: &mut Catalogue, target: &Target) -> Result<(Docs, u64, Lsn), Error> {
        let repository = self.bench.open(&self.bench.store).await?;
        let found = backup::find(&repository, catalogue, target, false, &self.bench.clock).await?;
        let into = self.bench.home.path().join("back");
        let done =
            backup::restore_into(&repository, catalogue, &found, "a test".into(), &into, &self.bench.clock).await;
        let held = done.map(|_| held(&into, self.bench.clock.wall()));
        let _ = std::fs::remove_dir_all(&into);
        held.map(|(docs, events)| (docs, events, found.upto.main))
    }

    /// What must hold when the store is well again.
    async fn judge(&mut self) -> Result<(), Broken> {
        let repository = self.bench.open(&self.bench.store).await.unwrap();
        let mut catalogue = Catalogue::read(&repository, ME).await.unwrap();
        if catalogue.backups().count() == 0 {
            return if self.last.is_some() { broken("B8", "all backups are gone") } else { Ok(()) };
        }
        let verified =
            backup::verify(&repository, self.bench.catalogue().await, None, Level::Content, &self.bench.clock).await;
        match verified {
            Ok(verified) if verified.is_good() => {}
            Ok(verified) => return broken("B1", format!("{:?}", verified.faults)),
            Err(error) => return broken("B1", error.to_string()),
        }
        let ids: Vec<BackupId> = catalogue.backups().map(|backup| backup.id).collect();
        let model: Vec<(Docs, u64)> =
            self.bench.life.model.iter().map(|state| (state.docs.clone(), state.events)).collect();
        for id in ids {
            let back = self.restore(&mut catalogue, &Target::Backup(id.to_string())).await;
            let Ok((docs, events, _)) = back else { return broken("B6", format!("{id}: {back:?}")) };
            let good = match self.made.get(&id) {
                Some(state) => *state == (docs, events),
                // Nobody heard that it was made.
                None => model.contains(&(docs, events)),
            };
            if !good {
                return broken("B2", format!("{id} is not what the log was"));
            }
        }
        self.judge_moments(&mut catalogue, &model).await?;
        self.judge_damage(&repository, &catalogue).await?;
        self.judge_identity(&repository, &mut catalogue).await
    }

    async fn judge_moments(&mut self, catalogue: &mut Catalogue, model: &[(Docs, u64)]) -> Result<(), Broken> {
        let latest = self.restore(catalogue, &Target::Latest).await;
        let Ok((docs, events, upto)) = latest else { return broken("B4", format!("{latest:?}")) };
        let at = |state: &(Docs, u64)| model.iter().rposition(|known| known == state);
        let Some(known) = at(&(docs, events)) else { return broken("B2", "the newest is not what the log ever was") };
        if self.last.as_ref().is_some_and(|last| Some(known) < at(last)) {
            return broken("B8", "the newest that was said to be made is not the newest that there is");
        }
        let known_until = catalogue.newest(self.bench.clock.wall()).unwrap().started.as_micros();
        let (first, states) = (self.bench.life.model[0].at, &self.bench.life.model);
        // What came after the newest look with an earlier stamp, since the clock was set back, no backup can know of.
        let behind = states.iter().skip(known + 1).map(|state| state.at - 1).min();
        let end = (known_until - 1).min(behind.unwrap_or(u64::MAX)).min(states.last().unwrap().at);
        let edges = states.iter().map(|state| state.at).filter(|at| *at <= end).step_by(5);
        let luck: Vec<u64> = (0..4).map(|_| first + self.luck.below((end - first).max(1))).collect();
        for at in edges.chain(luck).collect::<BTreeSet<u64>>() {
            let back = self.restore(catalogue, &Target::Time(WallTime::from_micros(at))).await;
            let Ok((docs, events, _)) = back else { return broken("B4", format!("{at}: {back:?}")) };
            let state = state_at(&self.bench.life.model, at, false).unwrap();
            if docs != state.docs {
                let near = self.bench.life.model.iter().filter(|near| near.docs == docs).map(|near| near.at);
                return broken(
                    "B3",
                    format!("documents at {at}: those of {:?}, not of {}", near.collect::<Vec<_>>(), state.at),
                );
            }
            if events != state.events {
                return broken("B2", format!("{events} events at {at}, the log had {}", state.events));
            }
        }
        for lsn in (1..=upto.value()).rev().step_by(4).take(8) {
            let repository = self.bench.open(&self.bench.store).await.unwrap();
            let target = Target::Lsn(Lsn::new(lsn));
            let found = backup::find(&repository, catalogue, &target, false, &self.bench.clock).await;
            match found {
                Ok(found) if found.upto.main == Lsn::new(lsn) => {}
                other => return broken("B12", format!("{target}: {other:?}")),
            }
        }
        Ok(())
    }

    /// An object goes, and another is damaged.
    async fn judge_damage(&mut self, repository: &Repository, catalogue: &Catalogue) -> Result<(), Broken> {
        let objects: Vec<(BackupId, String)> = catalogue
            .backups()
            .flat_map(|backup| backup.objects.iter().map(|object| (backup.id, object.key.clone())))
            .collect();
        let Some((_, name)) = objects.get(usize::try_from(self.luck.below(objects.len().max(1) as u64)).unwrap())
        else {
            return Ok(());
        };
        let path = Path::from(name.as_str());
        let whole = self.bench.inner.get(&path).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        let at = usize::try_from(self.luck.below(flipped.len() as u64)).unwrap();
        flipped[at] ^= 4;
        for bytes in [None, Some(flipped)] {
            match bytes {
                None => self.bench.inner.delete(&path).await.unwrap(),
                Some(bytes) => drop(self.bench.inner.put(&path, bytes.into()).await.unwrap()),
            }
            let found =
                backup::verify(repository, self.bench.catalogue().await, None, Level::Checksums, &self.bench.clock)
                    .await;
            let named = found.is_ok_and(|found| found.faults.iter().any(|fault| fault.object() == Some(name)));
            if !named {
                return broken("B7", format!("{name} is not as it was, and verify does not say so"));
            }
        }
        self.bench.inner.put(&path, whole.into()).await.unwrap();
        Ok(())
    }

    /// Nobody goes on as the actor that was backed up.
    async fn judge_identity(&mut self, repository: &Repository, catalogue: &mut Catalogue) -> Result<(), Broken> {
        let bench = &self.bench;
        let found = backup::find(repository, catalogue, &Target::Latest, false, &bench.clock).await.unwrap();
        let into = bench.home.path().join("again");
        backup::restore_into(repository, catalogue, &found, "a test".into(), &into, &bench.clock).await.unwrap();
        let again = Life::begin(&into.join(LOG_DIR), bench.clock.wall().as_micros(), Vec::new());
        let kept = again.node.actor() == bench.life.node.actor();
        std::fs::remove_dir_all(&into).unwrap();
        if kept {
            return broken("B9", "a restored node goes on as the actor that it was");
        }
        Ok(())
    }
}

async fn prune(
    repository: &Repository,
    bench: &Bench,
    given_up: &BTreeSet<BackupId>,
    grace: Duration,
) -> Result<(), Error> {
    let catalogue = Catalogue::read(repository, ME).await?;
    let policy = Retention { last: 2, ..Retention::default() };
    let plan = Pruning::plan(catalogue, policy, given_up, grace, bench.clock.wall())?;
    plan.run(repository, &bench.clock).await.map(drop)
}

/// A whole story; gives what the store did.
async fn told(seed: u64) -> Result<BTreeMap<Fault, u64>, Broken> {
    let mut story = Story::new(seed);
    story.bench.store.fail(RATE);
    for _ in 0..STEPS {
        story.step().await;
    }
    let met = story.bench.store.met();
    story.bench.store.fail(0);
    story.judge().await?;
    // And it goes on.
    story.bench.live(2);
    story.archive = None;
    if let Err(error) = story.archive().await {
        return broken("B8", format!("the store is well, and the archive does not go on: {error}"));
    }
    story.judge().await?;
    Ok(met)
}

fn seeds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |seeds| seeds.parse().unwrap())
}

/// `OXIGDAL_HA_FAULT_SEEDS=N` looks at so many seeds.
#[test]
fn a_store_that_fails_in_every_way_costs_no_backup_that_was_made() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut met: BTreeMap<Fault, u64> = BTreeMap::new();
        for seed in 1..=seeds("OXIGDAL_HA_FAULT_SEEDS", 20) {
            match told(seed).await {
                Ok(more) => more.into_iter().for_each(|(fault, count)| *met.entry(fault).or_default() += count),
                Err(broken) => panic!("seed {seed}: {}: {}", broken.check, broken.what),
            }
        }
        assert!(met.len() >= 9, "nearly every fault was met: {met:?}");
    });
}

/// Each planted bug of this room is seen by the invariant that has to see it.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_of_backups_are_killed() {
    use oxigdal_ha::probe::{BUGS, Switched};
    let most = seeds("OXIGDAL_HA_BUG_SEEDS", 60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut survived = Vec::new();
    for bug in BUGS.iter().filter(|bug| bug.room() == "backup") {
        // What else breaks beside it kills nothing.
        let killed = (1..=most).find_map(|seed| {
            let _on = Switched::on(bug);
            let broken = runtime.block_on(told(seed)).err()?;
            bug.caught_by.contains(&broken.check).then_some((seed, broken))
        });
        match killed {
            Some((seed, Broken { check, what })) => println!("{:40} {seed:3} seeds  {check}: {what:.120}", bug.id),
            None => survived.push(bug.id),
        }
    }
    assert!(survived.is_empty(), "not killed by an invariant that is listed: {survived:#?}");
}
