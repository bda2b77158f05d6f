//! What met in documents, for an embedding program: what stands at once, what met before, who settles it, and by which rules.

use serde::Serialize;
use serde_json::Value;

use super::documents::json;
use super::{Mesh, Written};
use crate::documents::{Command, Edit, Look, Meeting, OpenConflict, Outcome, Policy, Standing, Wish};
use crate::driver::policies;
use crate::error::Error;
use crate::node::{self, PoliciesStatus};
use crate::types::DocId;

/// Documents that are looked at for one page.
const PAGE: usize = 100;

/// A page of what met: that of up to 100 documents, in order of their ids.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetPage<T> {
    /// What met.
    pub met: Vec<T>,
    /// Documents of which more met than is told.
    pub cut: Vec<DocId>,
    /// Behind which document the next page begins, if there is one.
    pub next: Option<DocId>,
}

impl Mesh {
    /// Places where several values stand, or a removal beside what others wrote, since their writers had not seen each other's, in documents
    /// whose keys begin so and come after `after`. Which of them shows is decided by the [`policies`](Self::policies); all stay until somebody writes the place having seen them:
    /// [`choose`](Self::choose), [`resolve`](Self::resolve), or any edit of it. So a program that always takes the latest, be it a value of any
    /// length or a removal:
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
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// use oxigdal_ha::ErrorKind;
    ///
    /// let mut after = None;
    /// loop {
    ///     let page = mesh.conflicts("layers/", after).await?;
    ///     for open in &page.met {
    ///         // What is lost went with what was removed, and cannot be chosen.
    ///         let Some(latest) = open.values.iter().find(|standing| !standing.lost) else { continue };
    ///         match mesh.choose(open, latest).await {
    ///             // Something else has come, or somebody has settled it: it is looked at again.
    ///             Err(error) if matches!(error.kind(), ErrorKind::Outdated | ErrorKind::NotOpen) => {}
    ///             done => _ = done?,
    ///         }
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     after = Some(next);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) where too much waits, [`ErrorKind::Leaving`](crate::ErrorKind::Leaving) when the node has stopped.
    pub async fn conflicts(&self, prefix: &str, after: Option<DocId>) -> Result<MetPage<OpenConflict>, Error> {
        let (met, _, cut, next) = self.met(prefix, after, Look::Open, Wish::default()).await?;
        Ok(MetPage { met, cut, next })
    }

    /// The audit trail: what met in documents whose keys begin so, of each the newest first, by which rule what showed, and who settled it. It is
    /// read off the documents' histories, so it is the same on all nodes that hold the same, and outlives restarts and recoveries.
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
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// let page = mesh.trail("layers/", None, oxigdal_ha::documents::Wish::default()).await?;
    /// for met in &page.met {
    ///     println!("{} {}: {:?}, settled by {:?}", met.doc, met.path, met.kind, met.settled);
    /// }
    /// assert!(page.met.is_empty(), "nobody else writes here");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`conflicts`](Self::conflicts).
    pub async fn trail(&self, prefix: &str, after: Option<DocId>, wish: Wish) -> Result<MetPage<Meeting>, Error> {
        let (_, met, cut, next) = self.met(prefix, after, Look::Trail, wish).await?;
        Ok(MetPage { met, cut, next })
    }

    async fn met(
        &self,
        prefix: &str,
        after: Option<DocId>,
        look: Look,
        wish: Wish,
    ) -> Result<(Vec<OpenConflict>, Vec<Meeting>, Vec<DocId>, Option<DocId>), Error> {
        let command = Command::Met { prefix: prefix.to_owned(), after, limit: PAGE, look, wish };
        match self.link().documents(command).await? {
            Outcome::Met { open, trail, cut, next, .. } => Ok((open, trail, cut, next)),
            other => unreachable!("what met was answered by {other:?}"),
        }
    }

    /// Settles a place by what stands there: a value, however long, or a removal. It supersedes all that [`conflicts`](Self::conflicts) told of it,
    /// and nothing else: where something else stands by now nothing is done.
    ///
    /// ```no_run
    /// # async fn choose(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// for open in &mesh.conflicts("layers/", None).await?.met {
    ///     if let Some(wanted) = open.values.iter().find(|standing| standing.bytes.is_some()) {
    ///         println!("{}", mesh.standing(open, wanted).await?);
    ///         mesh.choose(open, wanted).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Outdated`](crate::ErrorKind::Outdated): something else stands there than was told;
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen): nothing is open there any more;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): it is [`lost`](Standing::lost); else as [`set`](Self::set).
    pub async fn choose(&self, open: &OpenConflict, standing: &Standing) -> Result<Written, Error> {
        let (path, change, seen) = (open.path.clone(), standing.by.change.clone(), Some(open.seen.clone()));
        self.edit(open.doc.as_str(), vec![Edit::Choose { path, change, seen }]).await
    }

    /// The value of a standing in whole, also one that is told by its length alone.
    ///
    /// # Errors
    /// As [`choose`](Self::choose), also for a removal, which has no value; [`ErrorKind::Disk`](crate::ErrorKind::Disk) when the document
    /// cannot be read back from the log.
    pub async fn standing(&self, open: &OpenConflict, standing: &Standing) -> Result<Value, Error> {
        let (doc, path, change) = (open.doc.clone(), open.path.clone(), standing.by.change.clone());
        match self.link().documents(Command::Standing { doc, path, change }).await? {
            Outcome::Value { value, .. } => Ok(value),
            other => unreachable!("a value that stands was answered by {other:?}"),
        }
    }

    /// Settles a place: this value supersedes all that stand there on this node, seen or not, also if it is the one that shows already. It is a
    /// change as any other, with this node as its writer; who settle alike at once make no conflict. To settle by what stands there, which may
    /// be told by its length alone, [`choose`](Self::choose).
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
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// // Where nothing else stands there is nothing to settle: that would be `set`.
    /// let refused = mesh.resolve("layers/relief", "style", "colour").await.unwrap_err();
    /// assert_eq!(refused.kind(), oxigdal_ha::ErrorKind::NotOpen);
    /// let written = mesh.resolve("layers/relief", "style", "grey").await?;
    /// assert!(written.stamp.is_none(), "it is settled so already");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`](crate::ErrorKind::NotOpen): nothing is open there, and it reads otherwise; else as [`set`](Self::set).
    pub async fn resolve<T: Serialize>(&self, key: &str, path: &str, value: T) -> Result<Written, Error> {
        let value = Some(json(key, &value)?);
        self.edit(key, vec![Edit::Resolve { path: path.to_owned(), value, force: false }]).await
    }

    /// Settles a place to the removal that met what others wrote there: nothing is left there of what this node knows. With an empty path, that
    /// the whole document is deleted. Where nothing stands and nothing is open, nothing is written; where something stands and nothing is open
    /// there is nothing to settle: that would be [`remove`](Self::remove).
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
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// let refused = mesh.resolve_to_removal("layers/relief", "style").await.unwrap_err();
    /// assert_eq!(refused.kind(), oxigdal_ha::ErrorKind::NotOpen);
    /// mesh.remove("layers/relief", "style").await?;
    /// assert!(mesh.resolve_to_removal("layers/relief", "style").await?.stamp.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_to_removal(&self, key: &str, path: &str) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Resolve { path: path.to_owned(), value: None, force: false }]).await
    }

    /// By which rules it is decided what shows where several values stand, and since when.
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
    /// let status = mesh.policies().await?;
    /// assert!(status.policies.is_empty(), "what was written with more knowledge shows");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`](crate::ErrorKind::Leaving) when the node has stopped.
    pub async fn policies(&self) -> Result<PoliciesStatus, Error> {
        match self.link().command(node::Command::Policies).await? {
            node::Outcome::Policies(status) => Ok(*status),
            other => unreachable!("a question about policies was answered by {other:?}"),
        }
    }

    /// Has a policy decided for the whole mesh, in place of the one for the same prefix and path. Gives all that hold then. It changes what is
    /// shown, and writes nothing into documents.
    ///
    /// ```no_run
    /// # async fn last_write_wins(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// use oxigdal_ha::conflict::Rule;
    /// use oxigdal_ha::documents::Policy;
    ///
    /// mesh.set_policy(Policy { prefix: "layers/".into(), rule: Rule::LastWriteWins, ..Policy::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NoQuorum`](crate::ErrorKind::NoQuorum) where no majority of the voters is in reach,
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if it was lost before the answer;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a path that is no JSON Pointer, a prefix that no document can have, priorities that
    /// the rule does not ask for or lacks, and where there are too many.
    pub async fn set_policy(&self, policy: Policy) -> Result<Vec<Policy>, Error> {
        policies::set(self.link(), policy).await
    }

    /// Has the policy for this prefix and path taken away. Gives all that are left.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let left = mesh.remove_policy("layers/", "").await?;
    /// println!("{} are left", left.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none; else as [`set_policy`](Self::set_policy).
    pub async fn remove_policy(&self, prefix: &str, path: &str) -> Result<Vec<Policy>, Error> {
        policies::remove(self.link(), prefix, path).await
    }
}
