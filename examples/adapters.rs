//! The sockets that OxiGDAL's crates already have, filled by a node of the mesh: `cargo run --example adapters`.
//!
//! Three traits of OxiGDAL 0.1.7 have no implementer but a mock, or one within a process. Their shapes are said again here, so that this
//! program needs none of those crates (they bring arrow, sled and an SQL engine); with `async-trait`, as they have them:
//!
//! | trait | from | what fills it |
//! |---|---|---|
//! | `SyncProtocol { push, pull(since), sync, is_connected }` | `oxigdal-edge`, `sync::protocol` | a stream of items |
//! | `PeerDiscovery { discover, register, unregister, health_check }` | `oxigdal-cache-advanced` | the members of the mesh |
//! | `RemoteBackend { push_operation, fetch_updates(since), ping }` | `oxigdal-offline` | documents, one a record |
//!
//! Where theirs take a `chrono` time, a place in what the mesh holds is meant here by it: a cursor, since clocks of small boxes differ.

mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use oxigdal_ha::driver::mesh::Cursor;
use oxigdal_ha::events::{Begin, Cursor as StreamCursor, Gap};
use oxigdal_ha::membership::State;
use oxigdal_ha::{Error, ErrorKind, Mesh, Update};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An item of `oxigdal-edge`: what a small box has to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SyncItem {
    id: String,
    key: String,
    data: Vec<u8>,
    version: u64,
}

/// What came, and what did not: items that have expired before this box asked again. Who is told of a gap has to get the state of things
/// another way, since those items come no more.
#[derive(Debug)]
struct Pulled {
    items: Vec<SyncItem>,
    missed: Vec<Gap>,
    cursor: StreamCursor,
}

/// As in `oxigdal-edge`, but that what is pulled says what is missing.
#[async_trait]
trait SyncProtocol: Send + Sync {
    async fn push(&self, items: Vec<SyncItem>) -> Result<usize, Error>;
    async fn pull(&self, since: Option<StreamCursor>) -> Result<Pulled, Error>;
    async fn sync(&self, items: Vec<SyncItem>) -> Result<Vec<SyncItem>, Error>;
    async fn is_connected(&self) -> bool;
}

/// Items are events of a stream: durable here when `push` returns, and elsewhere when there is a way. So a box may push while it is cut off.
struct MeshSync {
    mesh: Mesh,
    stream: &'static str,
    /// What `sync` has seen.
    seen: Mutex<Option<StreamCursor>>,
}

#[async_trait]
impl SyncProtocol for MeshSync {
    async fn push(&self, items: Vec<SyncItem>) -> Result<usize, Error> {
        let events = items.iter().map(|item| json!(item).to_string().into());
        Ok(self.mesh.append(self.stream, events).await?.events)
    }

    async fn pull(&self, since: Option<StreamCursor>) -> Result<Pulled, Error> {
        let from = since.map_or(Begin::Start, Begin::Cursor);
        let page = self.mesh.read(self.stream, from, 1_000).await?;
        // What others appended that is no item is not ours to read.
        let items = page.events.iter().filter_map(|event| serde_json::from_slice(&event.body).ok());
        Ok(Pulled { items: items.collect(), missed: page.gaps, cursor: page.cursor })
    }

    async fn sync(&self, items: Vec<SyncItem>) -> Result<Vec<SyncItem>, Error> {
        let since = self.seen.lock().expect("nobody panics with it").clone();
        let Pulled { items: pulled, missed, cursor } = self.pull(since).await?;
        for gap in missed {
            eprintln!("items of {} have expired before they were read, up to {}", gap.origin.node, gap.upto);
        }
        *self.seen.lock().expect("nobody panics with it") = Some(cursor);
        if !items.is_empty() {
            self.push(items).await?;
        }
        Ok(pulled)
    }

    async fn is_connected(&self) -> bool {
        self.mesh.members().await.is_ok_and(|members| members.iter().any(|member| member.linked))
    }
}

/// As in `oxigdal-cache-advanced`: who may hold a tile.
#[async_trait]
trait PeerDiscovery: Send + Sync {
    async fn discover(&self) -> Result<Vec<(String, String)>, Error>;
    async fn register(&self, service: &str) -> Result<(), Error>;
    async fn unregister(&self, service: &str) -> Result<(), Error>;
    async fn health_check(&self, peer: &str) -> Result<bool, Error>;
}

/// Members are found by membership. What a node offers stands in a document of its own: who is alive and offers something is discovered.
struct MeshPeers(Mesh);

/// Where what a node offers stands.
fn offers_of(node: impl std::fmt::Display) -> String {
    format!("caches/{node}")
}

#[async_trait]
impl PeerDiscovery for MeshPeers {
    async fn discover(&self) -> Result<Vec<(String, String)>, Error> {
        let members = self.0.members().await?;
        let offers = self.0.scan("caches/").collect::<BTreeMap<String, bool>>().await?;
        let serves = |member: &oxigdal_ha::node::MemberStatus| {
            let own = offers.iter().find(|(id, _)| id.as_str() == offers_of(member.node));
            own.is_some_and(|(_, services)| services.values().any(|offered| *offered))
        };
        let alive = members.iter().filter(|member| member.state == State::Alive && serves(member));
        let place = |member: &oxigdal_ha::node::MemberStatus| {
            let address = member.meta.addresses.first().map(ToString::to_string).unwrap_or_default();
            (member.node.to_string(), address)
        };
        Ok(alive.map(place).collect())
    }

    async fn register(&self, service: &str) -> Result<(), Error> {
        // Other services that it has offered before stay.
        let own = offers_of(self.0.id());
        match self.0.set(&own, service, true).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.0.put(&own, &json!({ service: true })).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    async fn unregister(&self, service: &str) -> Result<(), Error> {
        self.0.remove(&offers_of(self.0.id()), service).await.map(drop)
    }

    async fn health_check(&self, peer: &str) -> Result<bool, Error> {
        let members = self.0.members().await?;
        Ok(members.iter().any(|member| member.node.to_string() == peer && member.state == State::Alive))
    }
}

/// As in `oxigdal-offline`, whose futures need not be `Send`.
#[async_trait(?Send)]
trait RemoteBackend {
    async fn push_operation(&self, key: &str, value: Option<Value>) -> Result<(), Error>;
    async fn fetch_updates(&self, since: Option<Cursor>) -> Result<(Vec<(String, Option<Value>)>, Cursor), Error>;
    async fn ping(&self) -> Result<bool, Error>;
}

/// Records are documents: concurrent edits of different fields both survive, without a merger of one's own.
struct MeshRecords {
    mesh: Mesh,
    /// What the last answer told of: who is told of all again, after a gap, has to be told what is gone since.
    told: Mutex<BTreeSet<String>>,
}

impl MeshRecords {
    fn new(mesh: Mesh) -> Self {
        Self { mesh, told: Mutex::new(BTreeSet::new()) }
    }

    /// All records that there are, and those that were told of and are gone.
    async fn all(&self, key: impl Fn(&str) -> String) -> Result<Vec<(String, Option<Value>)>, Error> {
        let records = self.mesh.scan("records/").collect::<Value>().await?;
        let mut all: BTreeMap<_, _> = records.into_iter().map(|(id, value)| (key(id.as_str()), Some(value))).collect();
        for gone in self.told.lock().expect("nobody panics with it").iter() {
            all.entry(gone.clone()).or_insert(None);
        }
        Ok(all.into_iter().collect())
    }
}

#[async_trait(?Send)]
impl RemoteBackend for MeshRecords {
    async fn push_operation(&self, key: &str, value: Option<Value>) -> Result<(), Error> {
        match value {
            Some(value) => self.mesh.put(&format!("records/{key}"), &value).await.map(drop),
            None => self.mesh.delete(&format!("records/{key}")).await.map(drop),
        }
    }

    async fn fetch_updates(&self, since: Option<Cursor>) -> Result<(Vec<(String, Option<Value>)>, Cursor), Error> {
        let key = |key: &str| key.strip_prefix("records/").unwrap_or(key).to_owned();
        let mut changes = match since {
            Some(cursor) => self.mesh.subscribe_from("records/", cursor),
            None => self.mesh.subscribe("records/"),
        };
        let mut updates = Vec::new();
        let mut all = since.is_none();
        // What is there already comes at once.
        while let Ok(Some(update)) = tokio::time::timeout(Duration::from_millis(100), changes.next()).await {
            match update {
                Update::Changed(change) => updates.push((key(change.key.as_str()), change.value)),
                Update::Lost { .. } => all = true,
                _ => {}
            }
        }
        if all {
            updates = self.all(key).await?;
        }
        let mut told = self.told.lock().expect("nobody panics with it");
        for (key, value) in &updates {
            _ = if value.is_some() { told.insert(key.clone()) } else { told.remove(key) };
        }
        drop(told);
        Ok((updates, changes.cursor()))
    }

    async fn ping(&self) -> Result<bool, Error> {
        Ok(self.mesh.health().await.ready)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let peers = peers::start(2, |_, config| Mesh::builder(config)).await?;
    let (here, there) = (peers.mesh[0].clone(), peers.mesh[1].clone());

    let sync = |mesh: &Mesh| MeshSync { mesh: mesh.clone(), stream: "edge/items", seen: Mutex::new(None) };
    let (edge, site) = (sync(&here), sync(&there));
    let item = SyncItem { id: "1".into(), key: "roof/temperature".into(), data: b"21.5".to_vec(), version: 1 };
    edge.push(vec![item.clone()]).await?;
    here.wait_synced(1, peers::PATIENCE).await?;
    assert_eq!(site.sync(Vec::new()).await?, std::slice::from_ref(&item), "it is on the other node's disk");
    assert!(site.sync(Vec::new()).await?.is_empty() && site.is_connected().await, "and comes once");
    println!("SyncProtocol: {} of {:?} crossed", item.key, item.data);

    let (cache, other) = (MeshPeers(here.clone()), MeshPeers(there.clone()));
    cache.register("tiles").await?;
    peers::until("who offers something is found there", async || Ok(!other.discover().await?.is_empty())).await?;
    let found = other.discover().await?;
    assert!(found.len() == 1 && found[0].0 == here.id().to_string(), "who offers nothing is not: {found:?}");
    assert!(other.health_check(&here.id().to_string()).await?);
    assert!(!other.health_check("nobody").await?);
    cache.register("fonts").await?;
    cache.unregister("tiles").await?;
    assert_eq!(cache.discover().await?.len(), 1, "it offers fonts still");
    cache.unregister("fonts").await?;
    peers::until("nobody offers anything", async || Ok(other.discover().await?.is_empty())).await?;
    println!("PeerDiscovery: found at {}", found[0].1);

    let (records, backend) = (MeshRecords::new(here.clone()), MeshRecords::new(there.clone()));
    let (_, cursor) = backend.fetch_updates(None).await?;
    records.push_operation("parcel-7", Some(json!({ "owner": "A", "area": 120 }))).await?;
    here.wait_synced(1, peers::PATIENCE).await?;
    let updates = async || backend.fetch_updates(Some(cursor)).await;
    peers::until("the record is visible there", async || Ok(!updates().await?.0.is_empty())).await?;
    let (updates, _) = updates().await?;
    assert_eq!(updates, [("parcel-7".to_owned(), Some(json!({ "owner": "A", "area": 120 })))]);
    println!("RemoteBackend: {} came as {:?}", updates[0].0, updates[0].1);
    // A gap in which a record was deleted: who asks for all again is told that it is gone.
    records.push_operation("parcel-7", None).await?;
    peers::until("it is gone there", async || Ok(there.get::<Value>("records/parcel-7").await?.is_none())).await?;
    let (updates, _) = backend.fetch_updates(None).await?;
    assert_eq!(updates, [("parcel-7".to_owned(), None)]);
    assert!(backend.ping().await?);
    Ok(())
}
