//! Work in roles: one node at a time, dropped when the lease is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use oxigdal_ha::consensus::Token;
use oxigdal_ha::driver::{Call, Stop};
use oxigdal_ha::{ErrorKind, Mesh};

use super::{WAIT, bounded, config, nodes, until};

/// Who works, and under which token: what the work of all nodes of a test writes to.
#[derive(Default)]
struct Site {
    at_work: AtomicUsize,
    together: AtomicBool,
    turns: Mutex<Vec<(usize, Token)>>,
}

/// Somebody at work; dropped with the future.
struct Worker(Arc<Site>);

impl Worker {
    fn begin(site: &Arc<Site>, node: usize, token: Token) -> Self {
        if site.at_work.fetch_add(1, Ordering::SeqCst) > 0 {
            site.together.store(true, Ordering::SeqCst);
        }
        site.turns.lock().unwrap().push((node, token));
        Self(Arc::clone(site))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Site {
    fn last(&self) -> Option<(usize, Token)> {
        self.turns.lock().unwrap().last().copied().filter(|_| self.at_work.load(Ordering::SeqCst) > 0)
    }
}

#[test]
fn work_is_dropped_where_its_role_is_lost_before_it_begins_elsewhere_under_a_higher_token() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let site = Arc::new(Site::default());
        let mut mesh = nodes(dir.path(), 3, |at, config| {
            let site = Arc::clone(&site);
            Mesh::builder(config).role("export", move |lease| {
                let site = Arc::clone(&site);
                async move {
                    assert!(lease.held(), "it begins with its lease");
                    let _worker = Worker::begin(&site, at, lease.token());
                    std::future::pending().await
                }
            })
        })
        .await;
        until("somebody works", || async { site.last().is_some() }).await;
        let (holder, token) = site.last().unwrap();
        let mut watch = mesh[(holder + 1) % 3].role_watch("export").unwrap();
        let seen = watch.changed().await.unwrap();
        assert_eq!((seen.holder, seen.token, seen.acts), (Some(mesh[holder].id()), token, false));
        let other = mesh[(holder + 1) % 3].step_down("export").await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::NotFound, "it does not hold it");
        mesh[holder].step_down("export").await.unwrap();
        until("somebody else works", || async { site.last().is_some_and(|(node, _)| node != holder) }).await;
        let (second, higher) = site.last().unwrap();
        assert!(higher > token, "{higher} after {token}");
        let seen = watch.changed().await.unwrap();
        assert!(seen.token > token, "{seen:?}");
        let admitting = &mesh[(second + 1) % 3];
        admitting.admits("export", higher).await.unwrap();
        assert_eq!(admitting.admits("export", token).await.unwrap_err().kind(), ErrorKind::Outdated);
        until("all three vote: the others can decide without the one that goes", || async {
            let mut voters = Vec::new();
            for node in &mesh {
                let told = node.status().await.unwrap().node.coordination.deciders;
                voters.push(told.members.iter().filter(|it| it.voter).count());
            }
            voters == [3, 3, 3]
        })
        .await;
        // A node that goes takes its work with it, and waits for it.
        let going = mesh.remove(second);
        assert_eq!(going.shutdown(WAIT).await, Stop::Left);
        until("the third one works", || async { site.last().is_some_and(|(node, _)| node != second) }).await;
        assert!(!site.together.load(Ordering::SeqCst), "two worked at once: {:?}", site.turns.lock().unwrap());
    });
}

#[test]
fn work_that_fails_or_panics_gives_the_role_away_and_work_that_ends_keeps_it() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let begun: Arc<[AtomicUsize; 3]> = Arc::default();
        let mesh = nodes(dir.path(), 3, |at, config| {
            let begun = Arc::clone(&begun);
            Mesh::builder(config).role("export", move |_| {
                begun[at].fetch_add(1, Ordering::SeqCst);
                assert!(at != 0, "the first node's work panics");
                async move { if at == 1 { Err("the second node's work fails".to_owned()) } else { Ok(()) } }
            })
        })
        .await;
        until("the third one keeps it", || async {
            mesh[2].roles().await.unwrap().iter().any(|role| role.acts) && begun[2].load(Ordering::SeqCst) == 1
        })
        .await;
    });
}

/// In a hook that never ends by itself; to stop it takes until the test says so.
struct Slow(Arc<(Mutex<mpsc::Receiver<()>>, AtomicBool)>);

impl Drop for Slow {
    fn drop(&mut self) {
        let (told, is_stopping) = &*self.0;
        is_stopping.store(true, Ordering::SeqCst);
        // The test says it by dropping the other end.
        let _ = tokio::task::block_in_place(|| told.lock().unwrap().recv());
    }
}

#[test]
fn a_hook_that_does_not_end_is_stopped_and_holds_up_no_other_role() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let (release, told) = mpsc::channel();
        let slow = Arc::new((Mutex::new(told), AtomicBool::default()));
        let ended = Arc::new(AtomicBool::default());
        let mut config = config(dir.path(), "one", None);
        config.roles.failover.promote_limit = Duration::from_millis(200);
        let (in_slow, in_quick) = (Arc::clone(&slow), Arc::clone(&ended));
        let promote = move |call: Call| {
            let held = (call.role.as_str() == "slow").then(|| Slow(Arc::clone(&in_slow)));
            async move { if let Some(_held) = held { std::future::pending().await } else { Ok(()) } }
        };
        let demote = move |call: Call| {
            in_quick.fetch_or(call.role.as_str() == "quick", Ordering::SeqCst);
            async { Ok(()) }
        };
        let builder = Mesh::builder(config).role("slow", |_| std::future::pending());
        let builder = builder.role("quick", |_| std::future::pending());
        let node = builder.hooks(|hooks| hooks.promote(promote).demote(demote)).start().await.unwrap();
        until("the slow hook has had its time", || async { slow.1.load(Ordering::SeqCst) }).await;
        until("the quick role is held", || async { node.step_down("quick").await.is_ok() }).await;
        until("the hook that ends it has run", || async { ended.load(Ordering::SeqCst) }).await;
        drop(release);
    });
}

#[test]
fn a_role_that_cannot_be_is_refused_before_anything_runs() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let builder = Mesh::builder(config(dir.path(), "one", None)).role("Not A Role", |_| async { Ok(()) });
        assert_eq!(builder.start().await.unwrap_err().kind(), ErrorKind::Config);
        assert!(!dir.path().join("one").exists());
    });
}
