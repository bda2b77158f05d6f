//! What changes: a bounded subscription to documents, which goes on behind a cursor.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::watch;

use super::Mesh;
use super::documents::Document;
use crate::documents;
use crate::driver::history::{History, Mark, Next};
use crate::driver::peer::{Link, Phase};
use crate::error::{Error, ErrorKind};
use crate::node::Event;
use crate::types::{DocId, NodeId, hex};

/// A place in what a node tells. It is good at the same node until that is restarted; 4,096 changes and news of members are kept behind it.
/// Elsewhere, and later, it gives [`Update::Lost`]. As text it may be kept anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Mark);

/// Why a text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no cursor of a subscription")]
pub struct CursorError {
    /// The text.
    pub text: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        text.parse().map(Self).map_err(|_| CursorError { text: text.chars().take(64).collect() })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "update", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Update {
    /// A document changed.
    Changed(Change),
    /// This subscriber was too slow, or came back too late: what it watches should be read again, with [`Mesh::scan`]. What comes next
    /// came after.
    Lost {
        /// How many were missed, of documents of any key; nothing if nobody can tell.
        missed: Option<u64>,
        /// Where it goes on.
        cursor: Cursor,
    },
}

/// A document that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Which.
    pub key: DocId,
    /// Its content as it is when this is given, which may be newer than the change; nothing if it was removed.
    pub value: Option<Value>,
    /// Whose changes made it so.
    pub origins: Vec<NodeId>,
    /// Its causal stamp after the change: hashes of changes that none follows, as hex, sorted. More than one: several nodes had written
    /// at once, and what they wrote is merged. As [`Written::version`](super::Written::version).
    pub version: Vec<String>,
    /// Whether somewhere in it several different values stand, of which one shows, as it is when this is given: `conflicts list` tells
    /// which.
    pub conflict: bool,
    /// What this host's checks find odd in [`value`](Self::value): see [`MeshBuilder::check`](super::MeshBuilder::check).
    pub flags: Vec<String>,
    /// Go on behind this.
    pub cursor: Cursor,
}

impl Change {
    /// The content as this type; nothing if the document was removed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with serde's words.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let value = self.value.as_ref().map(T::deserialize).transpose();
        value.map_err(|error| {
            let why = format!("document {} is not of the type that was asked for: {error}", self.key);
            Error::new(ErrorKind::Invalid, why)
        })
    }
}

/// A subscription. Nothing waits in it: what it has not asked for is kept with the node, up to 4,096 of all that is told. It does not keep the node
/// running.
pub struct Changes {
    link: Link,
    history: Arc<History>,
    at: Mark,
    more: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    prefix: String,
}

impl Mesh {
    /// What changes from now on in documents whose keys begin so, by whomever, in the order in which it becomes visible here. A change
    /// is told once; several of one document that come together may be told as one.
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
    /// use oxigdal_ha::Update;
    ///
    /// let mut changes = mesh.subscribe("layers/");
    /// // Subscribed first, read then: nothing falls between the two.
    /// let layers = mesh.scan("layers/").collect::<serde_json::Value>().await?;
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey" })).await?;
    /// match changes.next().await {
    ///     Some(Update::Changed(change)) => println!("{}: {:?}", change.key, change.value),
    ///     Some(Update::Lost { .. }) => println!("reading {} layers again", layers.len()),
    ///     _ => println!("the node has stopped"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self, prefix: &str) -> Changes {
        let history = self.link().history();
        let at = history.now();
        Changes::new(self.link().clone(), history, at, prefix)
    }

    /// As [`subscribe`](Self::subscribe), behind a change that was seen before.
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
    /// let changes = mesh.subscribe("layers/");
    /// let cursor = changes.cursor().to_string();
    /// drop(changes);
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey" })).await?;
    /// let mut changes = mesh.subscribe_from("layers/", cursor.parse()?);
    /// assert!(matches!(changes.next().await, Some(oxigdal_ha::Update::Changed(_))));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe_from(&self, prefix: &str, cursor: Cursor) -> Changes {
        Changes::new(self.link().clone(), self.link().history(), cursor.0, prefix)
    }
}

impl Changes {
    fn new(link: Link, history: Arc<History>, at: Mark, prefix: &str) -> Self {
        let (more, phase) = (history.watch(), link.phase.clone());
        Self { link, history, at, more, phase, prefix: prefix.to_owned() }
    }

    /// The next one. Nothing when the node has stopped, and before that ended all that it had told. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            // Before looking: what comes in between is seen as a change.
            self.more.mark_unchanged();
            let (told, at) = match self.history.after(self.at) {
                None => {
                    self.wait().await?;
                    continue;
                }
                Some(Next::Missed(missed, at)) => (Some(Update::Lost { missed, cursor: Cursor(at) }), at),
                Some(Next::Event(event, at)) => (self.told(&event, Cursor(at)).await?, at),
            };
            self.at = at;
            if told.is_some() {
                return told;
            }
        }
    }

    /// Where it is: behind all that [`next`](Self::next) gave.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor(self.at)
    }

    /// As a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Update> + Send {
        futures::stream::unfold(self, async |mut changes| changes.next().await.map(|update| (update, changes)))
    }

    /// Until there is more; nothing when the node has stopped.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            more = self.more.changed() => more.ok(),
            // An error means that the loop has gone, which is the same.
            _ = self.phase.wait_for(|phase| *phase == Phase::Stopped) => None,
        }
    }

    /// A document, and whether several values stand in it; nothing where there is none.
    async fn read(&self, doc: &DocId) -> Result<Option<(Document, bool)>, Error> {
        let Some(document) = self.link.document(doc.clone(), String::new()).await? else { return Ok(None) };
        Ok(Some((document, self.link.is_in_conflict(doc).await?)))
    }

    /// What an event says to this subscriber, if anything. Nothing at all when the node has stopped.
    async fn told(&self, event: &Event, cursor: Cursor) -> Option<Option<Update>> {
        let Event::Documents(documents::Event::Changed { doc, heads, origins, .. }) = event else { return Some(None) };
        if !doc.as_str().starts_with(&self.prefix) {
            return Some(None);
        }
        let (value, version, conflict) = match self.read(doc).await {
            Ok(Some((Document { value, version, .. }, conflict))) => (Some(value), version, conflict),
            Ok(None) => {
                let mut version: Vec<String> = heads.iter().map(|head| hex(head)).collect();
                version.sort_unstable();
                (None, version, false)
            }
            Err(error) if error.kind() == ErrorKind::Leaving => return None,
            Err(error) => {
                // Who watches reads it again, and is told why it cannot be read.
                tracing::warn!(%doc, %error, "a document that changed cannot be read");
                return Some(Some(Update::Lost { missed: Some(1), cursor }));
            }
        };
        let origins = origins.iter().map(|actor| actor.node).collect();
        let flags = value.as_ref().map(|value| self.link.flags(doc, value)).unwrap_or_default();
        Some(Some(Update::Changed(Change { key: doc.clone(), value, origins, version, conflict, flags, cursor })))
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("prefix", &self.prefix).field("cursor", &self.cursor()).finish()
    }
}
