//! What of the invariants of backups is judged of a chain as a whole: B5, B10 and B14. The others are in `faults.rs`, whose table says
//! where each is.

use std::sync::Arc;
use std::time::Duration;

use oxigdal_ha::backup::{
    self, BackupCompression, BackupId, BackupType, Created, Directory, Error, Host as _, Outcome, Plan, Schedule,
};
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::wal::Frame;

use super::archive::{Bench, SECOND};
use super::repository::held;
use super::store::Faulty;
use super::{ME, bounded};

async fn create(bench: &Bench, kind: BackupType, codec: BackupCompression) -> Created {
    let repository = bench.open(&bench.store).await.unwrap();
    let directory = Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
    backup::create(&repository, &directory, kind, codec, &bench.clock).await.unwrap()
}

/// Every record that a restore of it writes.
async fn records(bench: &Bench, id: BackupId) -> Vec<Frame> {
    let (repository, catalogue) = (bench.open(&bench.store).await.unwrap(), bench.catalogue().await);
    let plan = Plan::of(&repository, &catalogue, id).unwrap();
    let (mut frames, mut reading) = (Vec::new(), plan.read(plan.all(), None).await.unwrap());
    while let Some((_, more)) = reading.next(&bench.clock).await.unwrap() {
        frames.extend(more);
    }
    frames
}

/// B5: a full backup and what continues it is, record by record, a full one of the same point.
#[test]
fn a_full_backup_with_increments_is_a_full_one_of_the_same_point() {
    bounded(async {
        for (seed, codec) in (80..).zip(BackupCompression::ALL) {
            let mut bench = Bench::new(seed);
            bench.live(6);
            create(&bench, BackupType::Full, codec).await;
            for kind in
                [BackupType::Incremental, BackupType::Incremental, BackupType::Differential, BackupType::Incremental]
            {
                bench.live(5);
                bench.later(SECOND);
                let chained = create(&bench, kind, codec).await.metadata;
                bench.later(SECOND);
                let whole = create(&bench, BackupType::Full, codec).await.metadata;
                assert_eq!(chained.kind, kind);
                let same = records(&bench, chained.id).await == records(&bench, whole.id).await;
                assert!(same, "{codec:?}, {kind}: {} is not what {} is", chained.id, whole.id);
                bench.live(1);
                create(&bench, BackupType::Incremental, codec).await;
            }
        }
    });
}

/// B10: a restore that ended at any operation of the store is done by the same call again, and one that is done is not done over.
#[test]
fn a_restore_that_ended_anywhere_is_done_by_the_next() {
    bounded(async {
        let mut bench = Bench::new(90);
        for kind in [BackupType::Full, BackupType::Incremental, BackupType::Incremental] {
            bench.live(5);
            bench.later(SECOND);
            create(&bench, kind, BackupCompression::Zstd).await;
        }
        let restore = async |store: &Faulty, into: &std::path::Path| -> Result<(), Error> {
            let repository = bench.open(store).await?;
            let mut catalogue = backup::Catalogue::read(&repository, ME).await?;
            let found = backup::find(&repository, &mut catalogue, &Target::Latest, false, &bench.clock).await?;
            backup::restore_into(&repository, &catalogue, &found, "a test".into(), into, &bench.clock).await.map(drop)
        };
        for operations in 0.. {
            let into = bench.home.path().join(format!("back-{operations}"));
            let dying = Faulty::over(Arc::clone(&bench.inner), operations);
            dying.die_after(operations, operations % 2 == 0);
            let done = restore(&dying, &into).await.is_ok();
            let again = restore(&bench.store, &into).await;
            assert_eq!(again.is_err(), done, "after {operations}: {again:?}");
            assert_eq!(held(&into, bench.clock.wall()), bench.lived(), "after {operations}");
            if done {
                break;
            }
        }
    });
}

/// B14: of what a scheduled chain would lose at any moment nothing is older than the schedule's interval, the spread of its runs and the
/// time between two looks.
#[test]
fn what_a_scheduled_chain_would_lose_is_younger_than_its_interval() {
    bounded(async {
        let mut bench = Bench::new(91);
        bench.live(1);
        let schedule: Schedule = "often kind=incremental every=1m repository=/y".parse().unwrap();
        let (every, glance, since) = (60 * SECOND, 5 * SECOND, bench.clock.wall());
        let (mut last, mut worst, mut newest) = (None::<Outcome>, 0, None);
        for _ in 0..120 {
            if schedule.is_due(last.as_ref(), since, 7, bench.clock.wall()) {
                let mut outcome = Outcome::begun(&schedule.name, bench.clock.wall());
                newest = Some((
                    create(&bench, schedule.kind, schedule.codec).await.metadata.id,
                    bench.clock.wall(),
                    bench.lived(),
                ));
                (outcome.ok, outcome.finished) = (true, bench.clock.wall());
                last = Some(outcome);
            }
            bench.live(1);
            bench.later(glance);
            let (_, seen, _) = newest.as_ref().unwrap();
            worst = worst.max(bench.clock.wall().as_micros() - seen.as_micros());
        }
        assert!(worst > every / 2 && worst <= every + every / 10 + 2 * glance, "{:?}", Duration::from_micros(worst));
        let (id, _, lived) = newest.unwrap();
        assert_eq!(bench.catalogue().await.backups().last().unwrap().id, id);
        assert_eq!(bench.restored("back").await, lived);
    });
}
