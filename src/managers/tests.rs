//! A node to ask, for the tests of this room.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::bound::{Bound, Question};
use crate::config::{Flags, parse};
use crate::driver::mesh::Mesh;

/// Longest that a test takes.
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// The interface of a node, with its token.
pub(super) fn api(mesh: &Mesh, dir: &Path) -> Api {
    let token = std::fs::read_to_string(dir.join("api-token")).unwrap();
    Api::at(&mesh.peer().api().unwrap().to_string(), Some(token.trim().to_owned()))
}

/// A node that leads a group of voters of its own, asked in this process and over its interface.
pub(super) async fn both(dir: &Path) -> (Mesh, Bound, Bound) {
    let flags = Flags::new()
        .set("test", "node.data-dir", dir.to_str().unwrap())
        .set("test", "api.listen", "127.0.0.1:0")
        .set("test", "voters.found-after", "50ms")
        .list("test", "network.listen", ["127.0.0.1:0"]);
    let mesh = Mesh::builder(parse(None, [], &flags).unwrap()).start().await.unwrap();
    let here = Bound::to(Some(mesh.id().uuid())).await.unwrap();
    let there = Bound::behind(mesh.id(), api(&mesh, dir));
    while here.ask::<Value>(Question::Voters).await.unwrap()["leader"].is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (mesh, here, there)
}
