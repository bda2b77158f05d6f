//! Roles that one node holds at a time: who holds them, waiting for a change, giving one up, and looking at a token.

use std::fmt;

use super::Mesh;
use crate::consensus::Token;
use crate::driver::peer::{Events, Link};
use crate::driver::works;
use crate::error::{Error, ErrorKind};
use crate::node::{Command, Event, Outcome, RoleOrder, RoleStatus};
use crate::roles::{OrderWhat, RoleName};
use crate::types::NodeId;

impl Mesh {
    /// The roles that were granted, with their holders and tokens, as this node knows them.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// for role in mesh.roles().await? {
    ///     println!("{}: {:?} under token {}", role.role, role.holder, role.token);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`] when the node has stopped.
    pub async fn roles(&self) -> Result<Vec<RoleStatus>, Error> {
        self.link().roles().await
    }

    /// Who holds a role, and who does from now on. Clients of a role follow it so.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let mut watch = mesh.role_watch("export")?;
    /// while let Some(role) = watch.changed().await {
    ///     println!("{role:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no name of a role.
    pub fn role_watch(&self, role: &str) -> Result<RoleWatch, Error> {
        Ok(RoleWatch { link: self.link().clone(), events: self.link().events(), role: parse(role)?, last: None })
    }

    /// Gives a role to another node, if this one holds it: its work is dropped, and this node is passed over for ten seconds. It needs
    /// no majority to give it up, only to grant it anew.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// mesh.step_down("export").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: this node does not hold it. Nothing was changed.
    pub async fn step_down(&self, role: &str) -> Result<(), Error> {
        let role = parse(role)?;
        // What is decided may not be known here yet when the lease is.
        let token = match self.held.works.held(&role) {
            Some(token) => Some(token),
            None => self.link().roles().await?.into_iter().find(|it| it.role == role && it.acts).map(|it| it.token),
        };
        let why = format!("this node does not hold the role {role}");
        let token = token.ok_or_else(|| Error::new(ErrorKind::NotFound, why))?;
        works::give_up(self.link(), role, token).await;
        Ok(())
    }

    /// Moves a role to a node, or to the best of the others, wherever it is held. Returns when that is decided; the new holder begins when
    /// the old one has ended.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let other = mesh.members().await?.iter().map(|member| member.node).find(|node| *node != mesh.id());
    /// println!("granted under {}", mesh.move_role("export", other).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotLeader`], [`ErrorKind::NoQuorum`], [`ErrorKind::Busy`], [`ErrorKind::NotFound`]: nothing was decided.
    /// [`ErrorKind::Invalid`]: that node may not hold it. [`ErrorKind::OutcomeUnknown`]: [`roles`](Self::roles) will tell.
    pub async fn move_role(&self, role: &str, to: Option<NodeId>) -> Result<Token, Error> {
        let order = RoleOrder { role: parse(role)?, what: OrderWhat::Move { to }, by: "embedded".to_owned() };
        match self.peer().command(Command::OrderRole(order)).await? {
            Outcome::RoleOrdered { token } => Ok(token),
            other => unreachable!("an order about a role was answered by {other:?}"),
        }
    }

    /// Whether what is acted upon here under this token is to be done: it is not if a higher one was ever seen here, also before a restart.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// # let token = mesh.roles().await?[0].token;
    /// // What a store does before it takes a write of whoever shows this token.
    /// match mesh.admits("export", token).await {
    ///     Err(error) if error.kind() == oxigdal_ha::ErrorKind::Outdated => println!("somebody newer holds it"),
    ///     done => done?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Outdated`]: the role was granted anew, and whoever shows this token holds it no more. [`ErrorKind::Disk`]: the
    /// token could not be written down, so it does not count.
    pub async fn admits(&self, role: &str, token: Token) -> Result<(), Error> {
        self.peer().command(Command::AdmitRole { role: parse(role)?, token }).await.map(drop)
    }
}

/// Who holds a role, as it changes. It does not keep the node running.
pub struct RoleWatch {
    link: Link,
    events: Events,
    role: RoleName,
    last: Option<(Option<NodeId>, Token, bool)>,
}

impl RoleWatch {
    /// At once how it is, where it was ever granted; then when holder or token differ from what was given last, or this node begins or ends to
    /// act in it. Nothing when the node has stopped. What changes twice in between is given once.
    pub async fn changed(&mut self) -> Option<RoleStatus> {
        loop {
            let status = self.link.roles().await.ok()?.into_iter().find(|status| status.role == self.role);
            if let Some(status) = status {
                let now = Some((status.holder, status.token, status.acts));
                if std::mem::replace(&mut self.last, now) != now {
                    return Some(status);
                }
            }
            // Who was too slow for what is told looks again, which is all that it would say.
            while let Ok(event) = self.events.next().await? {
                if matches!(*event, Event::Roles(_) | Event::Consensus(_)) {
                    break;
                }
            }
        }
    }
}

impl fmt::Debug for RoleWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleWatch").field("role", &self.role).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) async fn roles(&self) -> Result<Vec<RoleStatus>, Error> {
        match self.command(Command::Roles).await? {
            Outcome::Roles(roles) => Ok(roles),
            other => unreachable!("a question about roles was answered by {other:?}"),
        }
    }
}

fn parse(role: &str) -> Result<RoleName, Error> {
    RoleName::new(role).map_err(|error| Error::new(ErrorKind::Invalid, error))
}
