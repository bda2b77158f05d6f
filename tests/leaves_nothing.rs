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

/// Threads of the process and not of a node: those that the runtime keeps for blocking work, and the one that tells libp2p the time.
const OF_THE_PROCESS: [&str; 2] = ["tokio", "futures-timer"];

/// Sockets, files and threads that this process has.
fn had() -> BTreeSet<String> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let target = std::fs::read_link(entry.unwrap().path()).ok()?;
        Some(target.display().to_string()).filter(|name| !name.starts_with("/proc/"))
    });
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        // One that has just ended has no name any more.
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let of_a_node = !OF_THE_PROCESS.iter().any(|other| name.starts_with(other));
        of_a_node.then(|| format!("thread {} {}", entry.file_name().display(), name.trim()))
    });
    files.chain(threads).collect()
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

async fn is_as_before(tasks: usize, before: &BTreeSet<String>, how: &str) {
    let begun = Instant::now();
    loop {
        let (now, alive) = (had(), Handle::current().metrics().num_alive_tasks());
        let more: Vec<_> = now.difference(before).collect();
        if alive <= tasks && more.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{how}: {alive} tasks where there were {tasks}; {more:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_node_that_is_dropped_or_shut_down_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (tasks, before) = (Handle::current().metrics().num_alive_tasks(), had());
        let [first, second] = two(&dir.path().join("dropped")).await;
        let more: Vec<_> = had().difference(&before).cloned().collect();
        assert!(Handle::current().metrics().num_alive_tasks() > tasks, "there are tasks to leave");
        for kind in ["socket:", "thread ", "/"] {
            assert!(more.iter().any(|name| name.starts_with(kind)), "there is something to leave: {more:?}");
        }
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
