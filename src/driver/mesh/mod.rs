//! The handle that an OxiGDAL process embeds: [`Mesh`], a node of the mesh inside another program.
//!
//! ```
//! use std::time::Duration;
//! use oxigdal_ha::{Mesh, config::Config};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let data = dir.path().join("node").display().to_string();
//! # std::fs::write(dir.path().join("node.toml"), format!("[node]\ndata-dir = '{data}'\n[api]\nlisten = ''\n[network]\nlisten = ['127.0.0.1:0']\n"))?;
//! # std::env::set_current_dir(dir.path())?;
//! // node.toml, then OXIGDAL_HA_* variables, then what this program sets.
//! let mesh = Mesh::builder(Config::load("node.toml")?)
//!     // Held by one node at a time; the future is dropped when the lease is lost.
//!     .role("export", |lease| async move {
//!         while lease.held() {
//!             println!("writing the published file under token {}", lease.token());
//!             tokio::time::sleep(Duration::from_secs(30)).await;
//!         }
//!         Ok(())
//!     })
//!     .start()
//!     .await?;
//!
//! // Made, or made to read so: of what others wrote at the same time all other places stay.
//! let fiji = serde_json::json!({ "properties": { "name": "Fiji", "pop_est": 889_953 } });
//! mesh.put("layers/countries/FJI", &fiji).await?;
//! let mut changes = mesh.subscribe("layers/countries/");
//! mesh.set("layers/countries/FJI", "properties/pop_est", 889_954).await?;
//! while let Some(update) = changes.next().await {
//!     println!("{update:?}");
//! #     break;
//! }
//! mesh.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! It is a guest in its host: it runs on the tokio runtime that it is started from, installs no subscriber and no signal handler,
//! never exits the process, and several of them may run in one process. When the last clone is dropped, or after
//! [`shutdown`](Mesh::shutdown), no task, thread, socket or lock of it stays. It is a face of [`Peer`], which has what is not
//! here: any command that the node understands.
//!
//! | what | calls |
//! |---|---|
//! | documents | [`put`](Mesh::put), [`get`](Mesh::get), [`set`](Mesh::set), [`insert`](Mesh::insert), [`increment`](Mesh::increment), [`remove`](Mesh::remove), [`splice`](Mesh::splice), [`edit`](Mesh::edit), [`delete`](Mesh::delete), [`scan`](Mesh::scan), [`history`](Mesh::history) |
//! | what met in documents | [`conflicts`](Mesh::conflicts), [`choose`](Mesh::choose), [`standing`](Mesh::standing), [`resolve`](Mesh::resolve), [`resolve_to_removal`](Mesh::resolve_to_removal), [`trail`](Mesh::trail), [`policies`](Mesh::policies), [`set_policy`](Mesh::set_policy), [`remove_policy`](Mesh::remove_policy), [`MeshBuilder::custom`] |
//! | what others change | [`subscribe`](Mesh::subscribe), [`subscribe_from`](Mesh::subscribe_from) |
//! | copies | [`wait_synced`](Mesh::wait_synced), [`replicas`](Mesh::replicas) |
//! | streams of events | [`append`](Mesh::append), [`read`](Mesh::read), [`tail`](Mesh::tail), [`streams`](Mesh::streams) |
//! | members | [`members`](Mesh::members), [`subscribe_members`](Mesh::subscribe_members) |
//! | roles | [`MeshBuilder::role`], [`roles`](Mesh::roles), [`role_watch`](Mesh::role_watch), [`step_down`](Mesh::step_down), [`admits`](Mesh::admits) |
//! | how it is | [`health`](Mesh::health), [`watch_health`](Mesh::watch_health), [`status`](Mesh::status), [`metrics`](Mesh::metrics) |
//! | the past | [`snapshot`](Mesh::snapshot), [`restore_point`](Mesh::restore_point), [`at`](Mesh::at), [`revert`](Mesh::revert), [`backup`](Mesh::backup), [`verify`](Mesh::verify), [`restore`](Mesh::restore) |
//!
//! **Errors** are one type, [`Error`], with a kind for decisions; backups have their own, [`backup::Error`](crate::backup::Error). What
//! a call changed when it failed is said at each.
//!
//! **Invariants.** A write that returned is durable on this node's disk and needs no other node. Nothing here waits for a
//! majority, but orders about roles. Every subscription is bounded, and says how much it lost.

mod builder;
mod changes;
mod conflicts;
mod documents;
mod keep;
mod members;
mod metrics;
mod roles;
mod running;
mod streams;
mod synced;
mod wellness;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use builder::MeshBuilder;
pub use changes::{Change, Changes, Cursor, CursorError, Update};
pub use conflicts::MetPage;
pub use documents::{Document, Scan, Written};
pub use keep::{BackupPlace, Past};
pub use members::{MemberChange, MemberUpdate, Members};
pub use roles::RoleWatch;
pub use wellness::HealthWatch;

use super::peer::{Link, Peer, Report, Stop};
use super::works::Works;
use crate::config::Config;
use crate::error::Error;
use crate::types::{Address, NodeId};

/// A running node of the mesh. Cheap to clone; when the last clone is dropped the node stops without a goodbye, as if it had crashed.
#[derive(Clone)]
pub struct Mesh {
    held: Arc<Held>,
}

/// What all clones share.
struct Held {
    peer: Peer,
    works: Works,
}

impl Drop for Held {
    fn drop(&mut self) {
        running::forget(self.peer.id());
    }
}

impl Mesh {
    /// Begins to build one. See [`MeshBuilder`].
    pub fn builder(config: Config) -> MeshBuilder {
        MeshBuilder::new(config)
    }

    fn new(peer: Peer, works: Works) -> Self {
        let mesh = Self { held: Arc::new(Held { peer, works }) };
        running::remember(&mesh);
        mesh
    }

    /// The one that runs in this process as this node, if there is one.
    #[must_use]
    pub fn running_as(node: NodeId) -> Option<Self> {
        running::all().into_iter().find(|mesh| mesh.id() == node)
    }

    /// All that run in this process, in the order in which they were started.
    #[must_use]
    pub fn running() -> Vec<Self> {
        running::all()
    }

    /// Who this node is in the mesh: kept in its data directory, and the same after each restart.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.peer().id()
    }

    /// The peer below, for any command that has no call of its own here.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.held.peer
    }

    fn link(&self) -> &Link {
        self.peer().link()
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.peer().data_dir()
    }

    /// Where it listens for other nodes, once the sockets are open.
    #[must_use]
    pub fn listening(&self) -> Vec<Address> {
        self.peer().listening()
    }

    /// An invite for one more node, as text for its `network.join`: good once, within this time.
    ///
    /// ```no_run
    /// # fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let invite = mesh.invite(std::time::Duration::from_secs(3_600))?;
    /// println!("oxigdal-ha run --join {invite}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotAdmitted`](crate::ErrorKind::NotAdmitted): this node is no issuer. Nothing was changed.
    pub fn invite(&self, within: Duration) -> Result<String, Error> {
        Ok(self.peer().admission().issue_invite(within, "embedded")?.to_string())
    }

    /// How the node stands, by its own knowledge: all figures.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// println!("{}", serde_json::json!(mesh.status().await?));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`](crate::ErrorKind::Leaving) when it has stopped.
    pub async fn status(&self) -> Result<Report, Error> {
        self.peer().status().await
    }

    /// Gives up its roles, says goodbye to the mesh, makes what was acknowledged durable and stops. After the deadline it stops all
    /// the same. Other clones of the handle find it stopped.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// println!("{:?}", mesh.shutdown(std::time::Duration::from_secs(5)).await);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> Stop {
        self.peer().clone().shutdown(deadline).await
    }

    /// Waits until it has stopped, for whatever reason.
    pub async fn stopped(&self) -> Stop {
        self.peer().stopped().await
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mesh").field(self.peer()).finish()
    }
}
