//! What marks a document for those who watch: whether several values stand in it, and what checks find odd.
//!
//! Both are asked when somebody is told of the document, and are as it is then.

use serde_json::Value;

use super::peer::Link;
use crate::documents::{Command, Outcome};
use crate::error::{Error, ErrorKind};
use crate::types::DocId;

impl Link {
    /// Whether somewhere in a document several different values stand; not where there is none. A document in which no two changes stand
    /// side by side costs no look into it.
    ///
    /// # Errors
    /// As any read: the node has stopped, or the document cannot be read back.
    pub(super) async fn is_in_conflict(&self, doc: &DocId) -> Result<bool, Error> {
        match self.documents(Command::Open { doc: doc.clone() }).await {
            Ok(Outcome::Met { open, .. }) => Ok(!open.is_empty()),
            Ok(other) => unreachable!("what stands was answered by {other:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What this host's checks find odd in a document's content.
    pub(super) fn flags(&self, doc: &DocId, value: &Value) -> Vec<String> {
        self.facts.checks.flags(doc, value)
    }

    /// Both, of a document that is there; nothing where it cannot be told whether several values stand.
    pub(super) async fn marks(&self, doc: &DocId) -> (Option<bool>, Vec<String>) {
        match self.try_marks(doc).await {
            Ok((conflict, flags)) => (Some(conflict), flags),
            Err(error) => {
                tracing::warn!(%doc, %error, "a document that changed cannot be read");
                (None, Vec::new())
            }
        }
    }

    async fn try_marks(&self, doc: &DocId) -> Result<(bool, Vec<String>), Error> {
        let conflict = self.is_in_conflict(doc).await?;
        if self.facts.checks.is_empty() {
            return Ok((conflict, Vec::new()));
        }
        match self.documents(Command::Get { doc: doc.clone(), path: String::new() }).await {
            Ok(Outcome::Value { value, .. }) => Ok((conflict, self.flags(doc, &value))),
            Ok(other) => unreachable!("a Get was answered by {other:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((false, Vec::new())),
            Err(error) => Err(error),
        }
    }
}
