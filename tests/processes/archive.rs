//! A peer with a live archive, killed at random moments: what a restore from the repository lacks is what came after the archive's
//! last look, and nothing before it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxigdal_ha::backup::{Catalogue, Repository, locate, the_node};
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{Look, Source, Survey};
use oxigdal_ha::types::WallTime;
use serde_json::json;

use crate::harness::{Peer, Place, wait_for};

/// How often the peer is killed. `OXIGDAL_HA_KILLS=60 OXIGDAL_HA_EVERY=10s cargo test --test processes archive:: -- --nocapture` measures.
const KILLS: u64 = 3;
const WRITERS: usize = 3;

fn micros() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// One client: a document of its own, whose value rises. Gives what was acknowledged, and when.
fn write(peer: &Peer, writer: usize, from: u64, stop: &AtomicBool) -> Vec<(u64, u64)> {
    let (mut acknowledged, agent) = (Vec::new(), ureq::agent());
    let token = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
    for value in from.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sent = agent
            .put(format!("http://{}/v1/docs/load/{writer}", peer.place.api))
            .header("Authorization", format!("Bearer {}", token.trim()))
            .send_json(json!({ "value": value }));
        match sent {
            Ok(_) => acknowledged.push((value, micros())),
            Err(ureq::Error::StatusCode(code)) => panic!("refused with {code}"),
            Err(_) => break, // Killed in the middle.
        }
        thread::sleep(Duration::from_millis(3));
    }
    acknowledged
}

/// What a restore of the newest gives of each writer's document, and when the archive had looked at the log for it.
fn restored(dir: &Path, repository: &str) -> (Vec<u64>, u64) {
    let into = dir.join("back");
    let _ = std::fs::remove_dir_all(&into);
    let mut restore = std::process::Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    restore.args(["restore", "--at", "latest", "--repo", repository, "--into"]).arg(&into);
    let done = restore.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(async {
        let opened = Repository::open(locate(repository, false).unwrap(), repository, None).await.unwrap();
        let node = the_node(&opened, None).await.unwrap();
        let catalogue = Catalogue::read(&opened, node).await.unwrap();
        assert_eq!(catalogue.faults().iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
        catalogue.newest(WallTime::from_micros(micros())).unwrap().started.as_micros()
    });
    let source = Source::open(&into).unwrap();
    let survey = Survey::of(&source).unwrap();
    let all = survey.locate(&source, &Target::Latest, false, WallTime::from_micros(micros())).unwrap();
    let docs = Look::at(&source, &survey, &all).unwrap().documents("load/").unwrap();
    let value = |writer: usize| {
        let doc = docs.iter().find(|(doc, _)| doc.as_str() == format!("load/{writer}"));
        doc.map_or(0, |(_, content)| content["value"].as_u64().unwrap())
    };
    ((0..WRITERS).map(value).collect(), seen)
}

fn quantile(sorted: &[u64], hundredths: usize) -> f64 {
    let at = (sorted.len() * hundredths).div_ceil(100).clamp(1, sorted.len()) - 1;
    Duration::from_micros(sorted[at]).as_secs_f64()
}

#[test]
fn what_a_killed_peer_had_before_the_last_look_of_its_archive_is_restored() {
    let kills = std::env::var("OXIGDAL_HA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let every = std::env::var("OXIGDAL_HA_EVERY").unwrap_or_else(|_| "1s".into());
    let window = 2 * u64::try_from(oxigdal_ha::config::span(&every).unwrap().as_millis()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    let repository = repository.to_str().unwrap();
    let place = Place::on_loopback(dir.path(), "victim")
        .with("ARCHIVE__REPOSITORY", repository)
        .with("ARCHIVE__EVERY", &every)
        .with("ARCHIVE__GRACE", "5s");
    let (mut lost, mut unseen) = (Vec::new(), Vec::new());
    for round in 0..kills {
        let peer = place.start(None);
        let from = (round + 1) * 1_000_000;
        let (stop, mut killed) = (AtomicBool::new(false), 0);
        let acknowledged: Vec<Vec<(u64, u64)>> = thread::scope(|scope| {
            let (peer, stop) = (&peer, &stop);
            let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(peer, n, from, stop))).collect();
            if round == 0 {
                wait_for("something is archived", || covered(peer).is_some());
            }
            // Another moment of the archive's period each round.
            thread::sleep(Duration::from_millis(1_500 + round * 739 % window));
            let status = std::process::Command::new("kill").args(["-9", &peer.pid().to_string()]).status().unwrap();
            assert!(status.success());
            killed = micros();
            thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        peer.kill();
        let (values, seen) = restored(dir.path(), repository);
        let mut oldest = killed;
        for (writer, value) in values.iter().enumerate() {
            for (acknowledged, at) in &acknowledged[writer] {
                if acknowledged > value {
                    assert!(
                        *at >= seen,
                        "round {round}: {acknowledged} of {writer} was acknowledged at {at}, seen at {seen}"
                    );
                    oldest = oldest.min(*at);
                }
            }
        }
        lost.push(killed.saturating_sub(oldest));
        unseen.push(killed.saturating_sub(seen));
    }
    // In order: nothing is lost.
    let peer = place.start(None);
    let stop = AtomicBool::new(false);
    let last = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&peer, 0, 1_000_000_000, &stop));
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert_eq!(peer.ask(&["status"])["host"]["archive"]["state"], "current");
    let told = std::process::Command::new("kill").arg(peer.pid().to_string()).status().unwrap();
    assert!(told.success());
    peer.ended();
    assert_eq!(restored(dir.path(), repository).0[0], last.last().unwrap().0);
    lost.sort_unstable();
    unseen.sort_unstable();
    let line = |what: &str, sorted: &[u64]| {
        let [half, most, worst] = [50, 99, 100].map(|at| quantile(sorted, at));
        println!(
            "{what}: p50 {half:.2} s, p99 {most:.2} s, worst {worst:.2} s over {kills} kills, an archive every {every}"
        );
    };
    line("acknowledged and lost", &lost);
    line("since the last look that was archived", &unseen);
}

fn covered(peer: &Peer) -> Option<u64> {
    peer.try_ask(&["status"])?["host"]["archive"]["covered"]["main"].as_u64()
}
