//! A host that drops its last handle, or shuts its node down, has what it had before: no task, thread, socket, file or lock more.
//!
//! A program of its own, since it counts what the whole process has.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use oxigdal_ha::Mesh;
use oxigdal_ha::config::{self, Config, Flags};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// How long what was given free may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sockets, files and threads that this process has.
fn had() -> (BTreeSet<String>, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let target = std::fs::read_link(entry.unwrap().path()).ok()?;
        Some(target.display().to_string()).filter(|name| !name.starts_with("/proc/"))
    });
    // Threads that the runtime keeps for blocking work are the host's.
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|entry| {
        let name = std::fs::read_to_string(entry.as_ref().unwrap().path().join("comm")).unwrap_or_default();
        !name.starts_with("tokio")
    });
    (files.collect(), threads.count())
}

fn config(dir: &Path, name: &str, join: Option<&str>) -> Config {
    let flags = Flags::new()
        .set("test", "node.data-dir", dir.join(name).to_str().unwrap())
        .set("test", "api.listen", "127.0.0.1:0")
        .set("test", "membership.profile", "local")
        .set("test", "voters.found-after", "100ms")
        .set("test", "archive.repository", dir.join("archive").to_str().unwrap())
        .list("test", "network.listen", ["127.0.0.1:0"])
        .list("test", "network.join", join);
    config::parse(None, [], &flags).unwrap()
}

/// Two nodes with all that a node can have: an interface, an archive, a role at work, somebody who watches.
async fn two(dir: &Path) -> [Mesh; 2] {
    let build = |name: &str, join: Option<&str>| {
        // Work that ends only when it is dropped.
        Mesh::builder(config(dir, name, join)).role("export", |_| std::future::pending())
    };
    let first = build("first", None).start().await.unwrap();
    let invite = first.invite(PATIENCE).unwrap();
    let second = build("second", Some(&invite)).start().await.unwrap();
    let mut changes = second.subscribe("");
    first.put("a", &json!({ "n": 1 })).await.unwrap();
    assert!(changes.next().await.is_some());
    while !(first.roles().await.unwrap().iter().any(|role| role.holder.is_some())) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    [first, second]
}

async fn is_as_before(tasks: usize, before: &(BTreeSet<String>, usize), how: &str) {
    let begun = Instant::now();
    loop {
        let (now, alive) = (had(), Handle::current().metrics().num_alive_tasks());
        let more: Vec<_> = now.0.difference(&before.0).cloned().collect();
        if alive <= tasks && more.is_empty() && now.1 <= before.1 {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{how}: {alive} tasks where there were {tasks}; {} threads where there were {}; {more:?}",
            now.1,
            before.1
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_node_that_is_dropped_or_shut_down_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        // What a first start makes for the whole process is not a node's.
        let threads = had().1;
        drop(two(&dir.path().join("warm")).await);
        is_as_before(0, &(had().0, threads), "the first").await;
        let (tasks, before) = (Handle::current().metrics().num_alive_tasks(), had());

        let [first, second] = two(&dir.path().join("dropped")).await;
        assert!(
            Handle::current().metrics().num_alive_tasks() > tasks && had().1 > before.1,
            "there is something to leave"
        );
        drop((first, second));
        is_as_before(tasks, &before, "dropped").await;
        // Its lock is free: it starts again.
        let again = Mesh::builder(config(&dir.path().join("dropped"), "first", None)).start().await.unwrap();
        assert_eq!(again.get_at::<u8>("a", "n").await.unwrap(), Some(1));
        drop(again);

        let [first, second] = two(&dir.path().join("shut")).await;
        first.shutdown(PATIENCE).await;
        second.shutdown(PATIENCE).await;
        // The handles are still there, and hold nothing but memory.
        is_as_before(tasks, &before, "shut down").await;
        assert!(Mesh::running().is_empty());
        drop((first, second));
    });
}
