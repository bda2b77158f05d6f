//! The first program of the README: a node that writes a document and follows what changes.

use oxigdal_ha::{ErrorKind, Mesh, config::Config};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), oxigdal_ha::Error> {
    let mesh = Mesh::builder(Config::load("node.toml")?)
        .role("export", |lease| async move {
            println!("this node writes the published file, under token {}", lease.token());
            lease.lost().await;
            Ok(())
        })
        .start()
        .await?;
    let fiji = serde_json::json!({ "properties": { "name": "Fiji", "pop_est": 889_953 } });
    mesh.put("layers/countries/FJI", &fiji).await?; // durable here; asks nobody
    match mesh.wait_synced(2, Duration::from_secs(10)).await {
        Ok(holders) => println!("also on the disks of {holders:?}"),
        // Two others are not there, or slow: it is durable here, and goes on spreading.
        Err(error) if error.kind() == ErrorKind::NotReplicated => println!("{error}"),
        Err(error) => return Err(error),
    }
    let mut changes = mesh.subscribe("layers/");
    mesh.set("layers/countries/FJI", "properties/pop_est", 889_954).await?;
    while let Some(update) = changes.next().await {
        println!("{update:?}");
    }
    Ok(())
}
