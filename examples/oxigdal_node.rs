//! Field teams edit one layer while links come and go: four nodes inside one OxiGDAL program, `cargo run --example oxigdal_node`.
//!
//! The 177 countries of Natural Earth, read and validated by OxiGDAL, one document a feature. Links between two pairs of the nodes are
//! cut for real, at the proxies that they dial; both sides go on editing, the same country too. When the links are back all four
//! hold the same, and OxiGDAL finds each feature valid. One of them publishes the layer as a file; it is killed, and another one goes
//! on, under a higher token, so that the first could not write over it.

mod wires;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxigdal_geojson::{Feature, FeatureCollection, GeoJsonReader, GeoJsonWriter, Validator};
use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::consensus::Token;
use oxigdal_ha::{Lease, Mesh, Update};
use serde_json::{Value, json};
use tokio::time::Instant;
use wires::Wires;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// The layer: one document for each feature.
const LAYER: &str = "layers/countries/";
/// Longest wait for what happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many nodes.
const NODES: usize = 4;

/// The published file, and the highest token under which it was written: it refuses whoever shows a lower one.
struct Published {
    path: PathBuf,
    last: Mutex<Option<(usize, Token)>>,
}

impl Published {
    fn write(&self, node: usize, token: Token, features: Vec<Feature>) -> Result<(), String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|(_, highest)| token < highest) {
            return Err(format!("token {token} is not the highest that was seen"));
        }
        *last = Some((node, token));
        let file = std::fs::File::create(&self.path).map_err(|error| error.to_string())?;
        let written = GeoJsonWriter::new(file).write_feature_collection(&FeatureCollection::new(features));
        written.map_err(|error| error.to_string())
    }

    fn last(&self) -> Option<(usize, Token)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node does while it holds the role `export`: writes the layer whenever it changes.
async fn export(node: usize, mesh: Mesh, published: Arc<Published>, lease: Lease) -> Result<(), String> {
    let mut changes = mesh.subscribe(LAYER);
    loop {
        let layer = mesh.scan(LAYER).collect::<Feature>().await.map_err(|error| error.to_string())?;
        let features = layer.into_iter().map(|(_, feature)| feature).collect();
        if !lease.held() {
            return Ok(());
        }
        published.write(node, lease.token(), features)?;
        // What came together is written together.
        tokio::time::sleep(Duration::from_millis(200)).await;
        match changes.next().await {
            Some(Update::Changed(_) | Update::Lost { .. }) => {}
            _ => return Ok(()),
        }
    }
}

fn config(home: &Path, node: usize, wires: &Wires, join: Option<String>) -> Result<Config> {
    let flags = Flags::new()
        .set("example", "node.name", format!("team-{}", node + 1))
        .set("example", "node.data-dir", home.join(node.to_string()).display().to_string())
        .set("example", "api.listen", "")
        .set("example", "membership.profile", "local")
        .set("example", "voters.found-after", "100ms")
        .set("example", "voters.stabilization", "200ms")
        .set("example", "roles.lease-ms", "1000")
        .list("example", "network.listen", [wires.place(node).to_string()])
        .list("example", "network.dial-via", wires.detours(node))
        .list("example", "network.join", join);
    Ok(config::parse(None, [], &flags)?)
}

/// The nodes, each with its work in the role.
async fn start(home: &Path, wires: &Wires, published: &Arc<Published>) -> Result<Vec<Mesh>> {
    let mut nodes: Vec<Mesh> = Vec::new();
    for node in 0..NODES {
        let invite = nodes.first().map(|first| first.invite(PATIENCE)).transpose()?;
        let published = Arc::clone(published);
        let mesh = Mesh::builder(config(home, node, wires, invite)?)
            .role("export", move |lease| {
                let published = Arc::clone(&published);
                async move {
                    let mine = Mesh::running_as(lease.node()).ok_or("this node stops")?;
                    export(node, mine, published, lease).await
                }
            })
            .start()
            .await?;
        nodes.push(mesh);
    }
    Ok(nodes)
}

async fn until(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<Duration> {
    let begun = Instant::now();
    while !holds().await? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited in vain until {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(begun.elapsed())
}

/// Whether all hold the same documents, so many.
async fn agree(nodes: &[Mesh], documents: usize) -> Result<bool> {
    let mut contents = Vec::new();
    for node in nodes {
        let status = node.status().await?.node;
        contents.push((status.documents, status.content));
    }
    Ok(contents.iter().all(|content| *content == contents[0] && content.0 == documents))
}

/// How many other nodes this one is linked with.
async fn links(node: &Mesh) -> Result<usize> {
    Ok(node.members().await?.iter().filter(|member| member.linked).count())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(story());
    runtime.shutdown_background();
    done
}

async fn story() -> Result<()> {
    let home = tempfile::tempdir()?;
    let published = Arc::new(Published { path: home.path().join("countries.geojson"), last: Mutex::new(None) });
    let wires = Wires::open(NODES).await?;
    let mut nodes = start(home.path(), &wires, &published).await?;
    until("all are linked with all", async || {
        for node in &nodes {
            if links(node).await? != NODES - 1 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await?;

    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/naturalearth_lowres.geojson");
    let countries =
        GeoJsonReader::new(std::io::BufReader::new(std::fs::File::open(data)?)).read_feature_collection()?;
    let count = countries.features.len();
    for feature in &countries.features {
        let id = feature.id.as_ref().ok_or("a country without an id")?.as_string();
        nodes[0].put(&format!("{LAYER}{id}"), feature).await?;
    }
    let holders = nodes[0].wait_synced(3, PATIENCE).await?;
    println!("{count} countries, read and validated by OxiGDAL, are on {} nodes", 1 + holders.len());
    until("somebody publishes", async || Ok(published.last().is_some())).await?;

    wires.cut(|from, to| (from < 2) != (to < 2));
    until("the cut is seen", async || Ok(links(&nodes[0]).await? == 1 && links(&nodes[3]).await? == 1)).await?;
    let fiji = format!("{LAYER}FJI");
    nodes[0].set(&fiji, "properties/pop_est", 926_276).await?;
    nodes[2].set(&fiji, "properties/name", "Viti").await?;
    let [left, right] =
        [nodes[1].get_at::<String>(&fiji, "properties/name").await?, nodes[3].get_at(&fiji, "properties/name").await?];
    println!("cut in two: both sides edit Fiji, and call it {left:?} and {right:?}");

    wires.heal();
    let healed = until("all agree", async || agree(&nodes, count).await).await?;
    for node in &nodes {
        let merged: Value = node.get(&fiji).await?.ok_or("Fiji is gone")?;
        assert_eq!(merged["properties"]["pop_est"], json!(926_276), "one side's edit is there");
        assert_eq!(merged["properties"]["name"], json!("Viti"), "and the other's");
        let features: Vec<(_, Feature)> = node.scan(LAYER).collect().await?;
        features.iter().try_for_each(|(_, feature)| Validator::new().validate_feature(feature))?;
    }
    println!("healed: all four hold the same {count} valid features after {healed:?}, with both edits");

    let (holder, token) = published.last().ok_or("nobody published")?;
    let killed = nodes.remove(holder);
    let stop = killed.peer().clone().halt().await;
    drop(killed);
    let moved =
        until("another node publishes", async || Ok(published.last().is_some_and(|(_, now)| now > token))).await?;
    let (next, higher) = published.last().ok_or("nobody published")?;
    println!(
        "team-{} is killed ({stop:?}): team-{} publishes {moved:?} later, token {higher} after {token}",
        holder + 1,
        next + 1
    );
    let late = published.write(holder, token, Vec::new()).expect_err("a lower token is refused");
    println!("the one that was killed writes too late: {late}");

    let mut reader = GeoJsonReader::new(std::io::BufReader::new(std::fs::File::open(&published.path)?));
    assert_eq!(reader.read_feature_collection()?.features.len(), count, "the published file is whole");
    println!("{} has {count} features", published.path.display());
    for node in nodes {
        node.shutdown(Duration::from_secs(5)).await;
    }
    Ok(())
}
