//! From a configuration and what the host does in roles to a running node.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Mesh;
use crate::config::Config;
use crate::conflict::ConflictingValue;
use crate::driver::hooks::Hooks;
use crate::driver::peer::Peer;
use crate::driver::works::Lease;
use crate::error::{Error, ErrorKind};
use crate::roles::{RoleName, RoleNameError};
use crate::types::DocId;

/// What a holder's work has to be dropped in, at least. See [`MeshBuilder::role`].
const END_MIN: Duration = Duration::from_millis(50);

/// How long it is waited for an open socket, and how often it is looked.
const OPEN_MAX: Duration = Duration::from_secs(5);
const OPEN_LOOK: Duration = Duration::from_millis(2);

/// Builds a [`Mesh`]. Nothing runs before [`start`](Self::start).
#[must_use = "nothing runs before it is started"]
pub struct MeshBuilder {
    config: Config,
    hooks: Hooks,
    wrong: Option<RoleNameError>,
}

impl MeshBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self { config, hooks: Hooks::new(), wrong: None }
    }

    /// What this node does while it holds a role. The mesh grants the role to one node at a time, by priority and lag; `work` is called
    /// once for each grant, and its future is dropped when the lease is lost.
    ///
    /// `Ok` keeps the role without doing more. `Err`, or a panic, is logged and gives the role to another node. A role of which
    /// `roles.names` says nothing is added to it. The voters' leader grants the role anew only when the old lease is over and
    /// `roles.hook-limit-ms` has passed, which is raised to 50 ms here so that the old future is dropped before the new one begins; what
    /// the role acts upon should still refuse a lower [`Lease::token`] than it has seen.
    ///
    /// ```no_run
    /// # async fn example(config: oxigdal_ha::config::Config) -> Result<(), oxigdal_ha::Error> {
    /// let mesh = oxigdal_ha::Mesh::builder(config)
    ///     .role("export", |lease| async move {
    ///         println!("this node acts, under token {}", lease.token());
    ///         lease.lost().await;
    ///         Ok(())
    ///     })
    ///     .start()
    ///     .await?;
    /// # drop(mesh);
    /// # Ok(())
    /// # }
    /// ```
    pub fn role<F: Future<Output = Result<(), String>> + Send + 'static>(
        mut self,
        name: &str,
        work: impl Fn(Lease) -> F + Send + Sync + 'static,
    ) -> Self {
        match RoleName::new(name) {
            Ok(role) => {
                if !self.config.roles.roles.contains(&role) {
                    self.config.roles.roles.push(role.clone());
                }
                let limit = &mut self.config.roles.failover.hook_limit;
                *limit = (*limit).max(END_MIN);
                self.hooks = std::mem::take(&mut self.hooks).work(role, work);
            }
            Err(error) => self.wrong = Some(error),
        }
        self
    }

    /// A pure function that looks at documents and says what it finds odd: see [`Checks`](crate::documents::Checks). Subscribers get that
    /// as [`Change::flags`](super::Change::flags), and over HTTP `GET /v1/docs?flagged=true` and `/v1/watch` tell it. It stands in nobody's
    /// way: what was written stays written.
    ///
    /// ```no_run
    /// # async fn start(config: oxigdal_ha::config::Config) -> Result<(), oxigdal_ha::Error> {
    /// use oxigdal_ha::Mesh;
    ///
    /// let depth = |value: &serde_json::Value| value["depth"].as_f64().is_some_and(|depth| depth < 0.0);
    /// let mesh = Mesh::builder(config)
    ///     .check("depth", move |_, value| depth(value).then(|| "above the water".to_owned()).into_iter().collect())
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(mut self, name: &str, check: impl Fn(&DocId, &Value) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.config.documents.checks = std::mem::take(&mut self.config.documents.checks).with(name, check);
        self
    }

    /// A pure function that policies can name as `custom:NAME`: of all values that stand at a place it makes the one that shows, as JSON; where it
    /// makes nothing, or no JSON, the last write shows. All nodes of a mesh must have the same: one that lacks it shows the last write, and says so
    /// in [`Mesh::policies`](super::Mesh::policies).
    ///
    /// ```no_run
    /// # async fn start(config: oxigdal_ha::config::Config) -> Result<(), oxigdal_ha::Error> {
    /// use oxigdal_ha::Mesh;
    ///
    /// let number = |bytes: &Vec<u8>| serde_json::from_slice::<f64>(bytes).ok();
    /// let mesh = Mesh::builder(config)
    ///     .custom("largest", move |values| {
    ///         let numbers = values.iter().filter_map(|value| number(value.data.as_ref()?));
    ///         serde_json::to_vec(&numbers.reduce(f64::max)?).ok()
    ///     })
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn custom(
        mut self,
        name: &str,
        merge: impl Fn(&[ConflictingValue]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.config.documents.customs = std::mem::take(&mut self.config.documents.customs).with(name, merge);
        self
    }

    /// What runs at both ends of every role's turn, beside what was given by [`role`](Self::role).
    pub fn hooks(mut self, change: impl FnOnce(Hooks) -> Hooks) -> Self {
        self.hooks = change(std::mem::take(&mut self.hooks));
        self
    }

    /// Starts the node on the tokio runtime of the caller, and returns when it serves: its log is read, and its sockets are open.
    /// Other nodes need not be there.
    ///
    /// ```no_run
    /// # async fn example(config: oxigdal_ha::config::Config) -> Result<(), oxigdal_ha::Error> {
    /// let mesh = oxigdal_ha::Mesh::builder(config).start().await?;
    /// println!("{} listens at {:?}", mesh.id(), mesh.listening());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Nothing runs then. [`ErrorKind::Config`] for a role's name or a value; [`ErrorKind::InUse`] if another process has the data
    /// directory or an address; [`ErrorKind::Damaged`], [`ErrorKind::Disk`], [`ErrorKind::Network`] and
    /// [`ErrorKind::NotAdmitted`] as they say; the cause is a [`StartError`](crate::driver::StartError).
    pub async fn start(self) -> Result<Mesh, Error> {
        if let Some(error) = self.wrong {
            return Err(Error::new(ErrorKind::Config, error));
        }
        self.config.roles.check().map_err(|error| Error::new(ErrorKind::Config, error))?;
        let works = self.hooks.works().clone();
        let mesh = Mesh::new(Peer::start_with(self.config, self.hooks).await?, works);
        let opening = async {
            while mesh.listening().is_empty() {
                tokio::time::sleep(OPEN_LOOK).await;
            }
        };
        // One that is not open by then may be later: the node serves without it.
        let _ = tokio::time::timeout(OPEN_MAX, opening).await;
        Ok(mesh)
    }
}

impl fmt::Debug for MeshBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshBuilder").field("config", &self.config).field("hooks", &self.hooks).finish_non_exhaustive()
    }
}
