//! Who archives a node, and what becomes of a range that was broken off, or of a log that was put back.

use futures::TryStreamExt as _;
use futures::poll;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload};
use oxigdal_ha::backup::{self, Archive, BackupCompression, BackupType, Error, Host as _, Ticked};
use oxigdal_ha::recovery::LOG_DIR;

use super::archive::{Bench, SECOND, copy_dir};
use super::{Life, ME, bounded};

fn refused(ticked: Result<Ticked, Error>) {
    assert!(matches!(ticked, Err(Error::Claimed { .. })), "{ticked:?}");
}

/// A directory that is a copy of another one, with a life of its own.
fn copied(bench: &mut Bench) -> (std::path::PathBuf, Life) {
    let copy = bench.home.path().join("copy");
    copy_dir(&bench.data(), &copy);
    let mut life = Life::begin(&copy.join(LOG_DIR), bench.life.wall + 1, bench.life.model.clone());
    life.live(&mut bench.luck);
    (copy, life)
}

/// The host ends a tick that takes too long, wherever it is, and asks the same archive again.
#[test]
fn a_range_that_was_broken_off_is_gone_on_with() {
    bounded(async {
        let mut resumed = 0;
        for polls in 0.. {
            let mut bench = Bench::new(11);
            bench.live(20);
            bench.store.interleave(true);
            let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
            let mut done = false;
            {
                let mut tick = Box::pin(archive.tick(&bench.clock));
                for _ in 0..polls * 17 {
                    done = done || poll!(&mut tick).is_ready();
                    if done {
                        break;
                    }
                }
            }
            let ticked = archive.tick(&bench.clock).await.unwrap();
            if let Ticked::Shipped(range) = ticked {
                resumed += range.statistics.resumed_objects;
            }
            let pending: Vec<_> = bench.catalogue().await.pending().collect();
            assert_eq!(pending, [], "broken off after {polls}");
            if done {
                break;
            }
        }
        assert!(resumed > 0);
    });
}

/// Both begin at the same time, and each has left a word: one of them goes on, whatever the order in which they look.
#[test]
fn of_two_that_begin_at_once_one_goes_on() {
    bounded(async {
        let mut both = 0;
        for seed in 20..32 {
            let mut bench = Bench::new(seed);
            bench.live(5);
            let (copy, mut other_life) = copied(&mut bench);
            bench.store.interleave(true);
            let mut mine = bench.archive(&bench.data(), "mine", &[]).await.unwrap();
            let mut theirs = bench.archive(&copy, "theirs", &[]).await.unwrap();
            let (one, other) = tokio::join!(mine.tick(&bench.clock), theirs.tick(&bench.clock));
            both += u32::from(one.is_ok() || other.is_ok());
            let mut went_on = Vec::new();
            for step in 0..12 {
                bench.life.live(&mut bench.luck);
                other_life.live(&mut bench.luck);
                bench.later(11 * SECOND);
                let one = mine.tick(&bench.clock).await.is_ok();
                bench.later(SECOND);
                let other = theirs.tick(&bench.clock).await.is_ok();
                if step >= 2 {
                    went_on.push((one, other));
                }
            }
            assert!(went_on.iter().all(|went| *went == went_on[0] && went.0 != went.1), "{seed}: {went_on:?}");
            bench.is_good("in the end").await;
        }
        assert!(both > 0);
    });
}

/// A range takes so long that another peer takes over meanwhile.
#[test]
fn who_lost_its_claim_while_it_wrote_makes_no_backup() {
    bounded(async {
        let mut bench = Bench::new(12);
        bench.live(20);
        let (copy, _other_life) = copied(&mut bench);
        bench.store.interleave(true);
        let mut mine = bench.archive(&bench.data(), "mine", &[]).await.unwrap();
        let mut theirs = bench.archive(&copy, "theirs", &[]).await.unwrap();
        let clock = backup_clock(&bench);
        let mut tick = Box::pin(mine.tick(&clock));
        while bench.catalogue().await.pending().next().is_none() {
            assert!(poll!(&mut tick).is_pending());
        }
        refused(theirs.tick(&bench.clock).await);
        bench.later(60 * SECOND);
        theirs.tick(&bench.clock).await.unwrap();
        refused(tick.await);
        assert_eq!(bench.catalogue().await.backups().count(), 1);
    });
}

/// A clock that shows what the bench's shows now, for what is under way while that one goes on.
fn backup_clock(bench: &Bench) -> super::repository::Clock {
    let now = bench.clock.0.load(std::sync::atomic::Ordering::Relaxed);
    super::repository::Clock::at(now)
}

/// A copy of a data directory knows the names of its original's lives.
#[test]
fn a_copy_does_not_take_the_archive_from_its_original() {
    bounded(async {
        let mut bench = Bench::new(13);
        bench.live(5);
        let (copy, mut other_life) = copied(&mut bench);
        let mut mine = bench.archive(&bench.data(), "mine", &[]).await.unwrap();
        mine.tick(&bench.clock).await.unwrap();
        let how = bench.how(&copy, "theirs", &["mine"], &[]);
        let mut theirs = Archive::begin(bench.open(&bench.store).await.unwrap(), how, &bench.clock).unwrap();
        let waits =
            |ticked: Result<Ticked, Error>| assert!(matches!(ticked, Err(Error::FormerLife { .. })), "{ticked:?}");
        for _ in 0..20 {
            bench.live(1);
            other_life.live(&mut bench.luck);
            bench.later(5 * SECOND);
            mine.tick(&bench.clock).await.unwrap();
            waits(theirs.tick(&bench.clock).await);
        }
        // The original is gone: it is not waited for as long as for a stranger.
        drop(mine);
        bench.later(12 * SECOND);
        theirs.tick(&bench.clock).await.unwrap();
    });
}

#[test]
fn a_word_that_cannot_be_read_is_of_somebody_who_falls_silent() {
    bounded(async {
        let mut bench = Bench::new(14);
        bench.live(5);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        archive.tick(&bench.clock).await.unwrap();
        let id = backup::BackupId::new(oxigdal_ha::types::WallTime::from_micros(super::START + 7_000_000_000), [1; 10]);
        let name = format!("archive/{ME}/{id}.json").into();
        bench.inner.put(&name, PutPayload::from_static(b"not a word")).await.unwrap();
        // Whoever was there before it goes on.
        bench.live(1);
        archive.tick(&bench.clock).await.unwrap();
        drop(archive);
        bench.later(60 * SECOND);
        let mut next = bench.archive(&bench.data(), "two", &["one"]).await.unwrap();
        refused(next.tick(&bench.clock).await);
        bench.later(60 * SECOND);
        next.tick(&bench.clock).await.unwrap();
        assert!(bench.inner.head(&name).await.is_err());
        assert_eq!(bench.restored("back").await, bench.lived());
    });
}

/// The disk is put back to what it was a while ago: the log goes on from there, in the same store.
#[test]
fn a_log_that_was_put_back_is_not_shipped_again_and_again() {
    bounded(async {
        let mut bench = Bench::new(15);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        let image = bench.home.path().join("image");
        let mut model = Vec::new();
        for step in 0..40 {
            bench.live(2);
            bench.later(SECOND);
            archive.tick(&bench.clock).await.unwrap();
            if step == 20 {
                copy_dir(&bench.data(), &image);
                model.clone_from(&bench.life.model);
            }
        }
        archive.end(&bench.clock).await.unwrap();
        drop(archive);
        std::fs::remove_dir_all(bench.data()).unwrap();
        copy_dir(&image, &bench.data());
        bench.later(SECOND);
        bench.life = Life::begin(&bench.data().join(LOG_DIR), bench.life.wall, model);
        let mut archive = bench.archive(&bench.data(), "two", &["one"]).await.unwrap();
        let mut full = 0;
        for _ in 0..12 {
            bench.live(2);
            bench.later(SECOND);
            let ticked = archive.tick(&bench.clock).await.unwrap();
            full += u32::from(matches!(ticked, Ticked::Shipped(range) if range.kind == BackupType::Full));
        }
        assert!(full <= 1, "all of it was shipped {full} times");
        assert_eq!(bench.restored("back").await, bench.lived());
        bench.is_good("two branches").await;
        // What a person takes continues it, too.
        let directory = backup::Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        let repository = bench.open(&bench.store).await.unwrap();
        let codec = BackupCompression::Zstd;
        let made = backup::create(&repository, &directory, BackupType::Incremental, codec, &bench.clock).await.unwrap();
        assert_eq!(made.promoted, None);
    });
}

/// The archive's first range and a full backup by schedule hold the same, and are written at the same time.
#[test]
fn nobody_goes_on_with_what_an_archive_is_writing() {
    bounded(async {
        let mut bench = Bench::new(16);
        bench.live(20);
        bench.store.interleave(true);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        let mut tick = Box::pin(archive.tick(&bench.clock));
        while bench.catalogue().await.pending().next().is_none() {
            assert!(poll!(&mut tick).is_pending());
        }
        let directory = backup::Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        let repository = bench.open(&bench.store).await.unwrap();
        let codec = BackupCompression::Zstd;
        let made = backup::create(&repository, &directory, BackupType::Full, codec, &bench.clock).await.unwrap();
        let Ticked::Shipped(range) = tick.await.unwrap() else { panic!("nothing was shipped") };
        assert_ne!(made.metadata.id, range.id);
        assert!(range.archive && !made.metadata.archive);
        bench.is_good("both").await;
    });
}

/// A share that was unmounted, or a directory that somebody removed: what is written there then is no backup of anything.
#[test]
fn nothing_is_shipped_beside_a_repository_that_is_gone() {
    bounded(async {
        let mut bench = Bench::new(61);
        bench.live(6);
        let mut archive = bench.archive(&bench.data(), "a", &[]).await.unwrap();
        archive.tick(&bench.clock).await.unwrap();
        let named = ["repo.json", "repo.copy.json"].map(Path::from);
        let mut kept = Vec::new();
        for name in &named {
            kept.push(bench.inner.get(name).await.unwrap().bytes().await.unwrap());
            bench.inner.delete(name).await.unwrap();
        }
        let before: Vec<_> = bench.inner.list(None).try_collect().await.unwrap();
        bench.live(6);
        bench.later(60 * SECOND);
        let refused = archive.tick(&bench.clock).await;
        assert!(matches!(refused, Err(Error::NoRepository { .. })), "{refused:?}");
        let after: Vec<_> = bench.inner.list(None).try_collect().await.unwrap();
        assert_eq!(before, after);
        for (name, bytes) in named.iter().zip(kept) {
            bench.inner.put(name, bytes.into()).await.unwrap();
        }
        let ticked = archive.tick(&bench.clock).await.unwrap();
        assert!(matches!(ticked, Ticked::Shipped(_)), "{ticked:?}");
        assert_eq!(bench.restored("back").await, bench.lived());
    });
}
