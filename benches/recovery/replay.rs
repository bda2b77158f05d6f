//! A million changes of documents: how long they take to be scanned and verified, and until a peer serves them again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use oxigdal_ha::documents;
use oxigdal_ha::node::{Command, Outcome};
use oxigdal_ha::recovery::{LOG_DIR, Source, Survey};
use tokio::runtime::Runtime;

use crate::content::{EDITED, each, edit, size};
use crate::{Plan, median, peer};

pub(crate) fn run(runtime: &Runtime, plan: Plan) {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let peer = Arc::new(peer(dir.path()).await);
        let next = Arc::new(AtomicU64::new(0));
        each(&peer, &next, plan.changes, |peer, n| async move { edit(&peer, n, EDITED).await }).await;
        drop(Arc::into_inner(peer).unwrap().halt().await);
    });
    let (made, bytes) = (began.elapsed().as_secs_f64(), size(dir.path()));
    println!("  {} changes made and durable in {made:.1} s; {:.0} MB of log", plan.changes, bytes as f64 / 1e6);
    let scans = (0..plan.rounds).map(|_| {
        let (began, cpu) = (Instant::now(), cpu_time::ProcessTime::now());
        let survey = Survey::of(&Source::open(&dir.path().join(LOG_DIR)).unwrap()).unwrap();
        assert!(survey.is_sound());
        (began.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64())
    });
    let (walls, cpus): (Vec<f64>, Vec<f64>) = scans.unzip();
    println!("  scanned and verified in {:.2} s ({:.2} s of a core)", median(walls), median(cpus));
    for _ in 0..plan.rounds {
        serve(runtime, dir.path(), plan);
    }
}

/// A start, from nothing in memory to a peer that answers for every document.
fn serve(runtime: &Runtime, dir: &std::path::Path, plan: Plan) {
    runtime.block_on(async {
        let (began, cpu) = (Instant::now(), cpu_time::ProcessTime::now());
        let peer = peer(dir).await;
        let serving = began.elapsed().as_secs_f64();
        let doc = "layers/buildings/5-0".parse().unwrap();
        peer.get(doc).await.unwrap();
        let read = began.elapsed().as_secs_f64();
        // It is answered when every document is there.
        let scan = documents::Command::Scan { prefix: String::new(), after: None, limit: 1, values: false };
        let outcome = peer.command(Command::Documents(scan)).await.unwrap();
        assert!(matches!(outcome, Outcome::Documents(_)), "{outcome:?}");
        let all = began.elapsed().as_secs_f64();
        println!(
            "  serves after {serving:.2} s, a read after {read:.2} s, all documents after {all:.2} s ({:.2} s of a core, {:.0} changes/s)",
            cpu.elapsed().as_secs_f64(),
            plan.changes as f64 / all,
        );
        drop(peer.halt().await);
    });
}
