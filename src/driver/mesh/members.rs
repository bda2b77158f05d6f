//! Who is in the mesh, and who comes and goes.

use std::fmt;

use serde::Serialize;

use super::Mesh;
use crate::driver::peer::{Events, Link};
use crate::error::Error;
use crate::membership;
use crate::node::{Event, MemberStatus};
use crate::types::NodeId;

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberChange {
    /// It is new, or back.
    Joined,
    /// It does not answer; perhaps it is only slow.
    Suspected,
    /// It was suspected, and answered.
    Recovered,
    /// It is taken for dead.
    Failed,
    /// It said goodbye.
    Left,
    /// It says something else of itself: its address, its load, its services.
    Updated,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "update", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemberUpdate {
    /// Something became of a member.
    Changed {
        /// Who.
        node: NodeId,
        /// What.
        change: MemberChange,
        /// As it stands when this is given; nothing if it was forgotten since.
        member: Option<Box<MemberStatus>>,
    },
    /// This subscriber was too slow: who is there should be read again, with [`Mesh::members`].
    Lost {
        /// How many events were missed, of any kind.
        missed: u64,
    },
}

/// A subscription to news of members, see [`Mesh::subscribe_members`].
pub struct Members {
    link: Link,
    events: Events,
}

impl Mesh {
    /// The members that this node knows, itself included, in order of id: state, round trip, region, zone, addresses, services.
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
    /// let members = mesh.members().await?;
    /// assert_eq!((members.len(), members[0].node), (1, mesh.id()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`](crate::ErrorKind::Leaving) when the node has stopped.
    pub async fn members(&self) -> Result<Vec<MemberStatus>, Error> {
        Ok(self.status().await?.node.members)
    }

    /// What becomes of members from now on, as this node sees it. Bounded: who is 4,096 events behind is told how many were lost.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let mut members = mesh.subscribe_members();
    /// while let Some(update) = members.next().await {
    ///     println!("{update:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe_members(&self) -> Members {
        Members { link: self.link().clone(), events: self.link().events() }
    }
}

impl Members {
    /// The next one; nothing when the node has stopped. Cancelling it may lose one.
    pub async fn next(&mut self) -> Option<MemberUpdate> {
        loop {
            let (node, change) = match self.events.next().await? {
                Err(missed) => return Some(MemberUpdate::Lost { missed }),
                Ok(event) => match change(&event) {
                    Some(told) => told,
                    None => continue,
                },
            };
            let members = self.link.report().await.map(|report| report.node.members).unwrap_or_default();
            let member = members.into_iter().find(|member| member.node == node).map(Box::new);
            return Some(MemberUpdate::Changed { node, change, member });
        }
    }
}

fn change(event: &Event) -> Option<(NodeId, MemberChange)> {
    use membership::Event as E;
    let Event::Membership(event) = event else { return None };
    Some(match event {
        E::Joined { member, .. } => (*member, MemberChange::Joined),
        E::Suspected { member, .. } => (*member, MemberChange::Suspected),
        E::Refuted { member, .. } => (*member, MemberChange::Recovered),
        E::Died { member, .. } => (*member, MemberChange::Failed),
        E::Left { member, .. } => (*member, MemberChange::Left),
        E::Updated { member } => (*member, MemberChange::Updated),
        _ => return None,
    })
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}
