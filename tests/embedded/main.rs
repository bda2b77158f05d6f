//! Programs that embed nodes: what they call, and what they may rely on. Real sockets on loopback, real logs on disk.
//!
//! Every test starts its own nodes in its own directories and ends within [`LIMIT`].

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod calls;
mod managers;
mod roles;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use oxigdal_ha::Mesh;
use oxigdal_ha::config::{self, Config, Flags};

/// Longest life of one test.
const LIMIT: Duration = Duration::from_secs(240);
/// Longest wait for something that happens by itself.
const WAIT: Duration = Duration::from_secs(120);

/// Runs one test on a runtime of its own, bounded in time.
fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test took too long") });
    runtime.shutdown_background();
}

fn config(dir: &Path, name: &str, join: Option<&str>) -> Config {
    let flags = Flags::new()
        .set("test", "node.name", name)
        .set("test", "node.data-dir", dir.join(name).to_str().unwrap())
        .set("test", "api.listen", "")
        .set("test", "membership.profile", "local")
        .set("test", "voters.found-after", "100ms")
        .set("test", "voters.stabilization", "1s")
        // No test is about how short a lease can be, and machines are shared.
        .set("test", "roles.lease-ms", "3000")
        .set("test", "roles.promotion-ms", "10000")
        .set("test", "roles.promotions-max", "100")
        .list("test", "network.listen", ["127.0.0.1:0"])
        .list("test", "network.join", join);
    config::parse(None, [], &flags).unwrap()
}

/// So many nodes in this process, each built by `build`: the first founds the mesh, the others come by invite.
async fn nodes(dir: &Path, count: usize, build: impl Fn(usize, Config) -> oxigdal_ha::MeshBuilder) -> Vec<Mesh> {
    let mut nodes: Vec<Mesh> = Vec::new();
    for at in 0..count {
        let invite = nodes.first().map(|first| first.invite(LIMIT).unwrap());
        nodes.push(build(at, config(dir, &format!("node-{at}"), invite.as_deref())).start().await.unwrap());
    }
    nodes
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
