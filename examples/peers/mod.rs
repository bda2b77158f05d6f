//! The real peers of the examples: nodes of one mesh in this process, each with a directory of its own and a free port of this machine.

use std::time::Duration;

use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::membership::State;
use oxigdal_ha::{Error, Mesh, MeshBuilder};

/// Longest wait for what happens by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// They stop when this is dropped, and their directories go.
pub(crate) struct Peers {
    pub(crate) mesh: Vec<Mesh>,
    _home: tempfile::TempDir,
}

/// Starts so many, and waits until each sees all others. The first founds the mesh, and invites the others.
pub(crate) async fn start(
    count: usize,
    build: impl Fn(usize, Config) -> MeshBuilder,
) -> Result<Peers, Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    let mut mesh: Vec<Mesh> = Vec::new();
    for at in 0..count {
        let invite = mesh.first().map(|first| first.invite(PATIENCE)).transpose()?;
        let flags = Flags::new()
            .set("example", "node.name", format!("peer-{}", at + 1))
            .set("example", "node.data-dir", home.path().join(at.to_string()).display().to_string())
            .set("example", "api.listen", "")
            .set("example", "membership.profile", "local")
            // A mesh that lives for a minute need not look at its members for ten seconds before they vote.
            .set("example", "voters.found-after", "100ms")
            .set("example", "voters.stabilization", "1s")
            .list("example", "network.listen", ["127.0.0.1:0"])
            .list("example", "network.join", invite);
        mesh.push(build(at, config::parse(None, [], &flags)?).start().await?);
    }
    for peer in &mesh {
        until("each sees all others", async || {
            let members = peer.members().await?;
            Ok(members.iter().filter(|it| it.state == State::Alive && !it.meta.addresses.is_empty()).count() == count)
        })
        .await?;
    }
    Ok(Peers { mesh, _home: home })
}

/// Waits until something holds.
pub(crate) async fn until(
    what: &str,
    holds: impl AsyncFn() -> Result<bool, Error>,
) -> Result<(), Box<dyn std::error::Error>> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<(), Error>(())
    };
    tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| format!("waited in vain until {what}"))??;
    Ok(())
}
