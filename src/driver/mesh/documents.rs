//! Documents: what people and programs edit, read and written through serde.

use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Mesh;
use crate::documents::{ChangeInfo, Command, Edit, Listed, Outcome, Stamp};
use crate::driver::peer::Link;
use crate::error::{Error, ErrorKind};
use crate::types::DocId;

/// Documents that are read at a time.
const PAGE: usize = 256;

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Written {
    /// Which document.
    pub key: DocId,
    /// The version that it has with this write: hashes of changes that none follows yet, as hex, sorted. Equal on two nodes if and only if
    /// they hold the same document.
    pub version: Vec<String>,
    /// Where and when the change was made; nothing if the document was so already and nothing was written.
    pub stamp: Option<Stamp>,
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Document {
    /// Which.
    pub key: DocId,
    /// Its content: a JSON object.
    pub value: Value,
    /// The version that was read, as [`Written::version`].
    pub version: Vec<String>,
}

impl Document {
    /// Its content as this type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with serde's words.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.value).map_err(|error| unreadable(&self.key, &error))
    }
}

impl Mesh {
    /// Makes a document have exactly this content: what serde makes a JSON object of. Only what differs is written, so that what
    /// others write at the same time elsewhere in it survives. Durable here when it returns; others follow.
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
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Layer {
    ///     path: String,
    ///     style: String,
    /// }
    /// let layer = Layer { path: "/data/relief.tif".into(), style: "grey".into() };
    /// mesh.put("layers/relief", &layer).await?;
    /// assert_eq!(mesh.get::<Layer>("layers/relief").await?, Some(layer));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the key is no path of a document, or the content no JSON object; [`ErrorKind::TooLarge`],
    /// [`ErrorKind::Busy`], [`ErrorKind::Leaving`]: nothing was changed. [`ErrorKind::Disk`]: it is not durable, and may be there after a
    /// restart or not.
    pub async fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Put { value: json(key, value)? }]).await
    }

    /// As [`put`](Self::put), but only where there is no such document yet.
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
    /// mesh.create("layers/relief", &serde_json::json!({})).await?;
    /// let again = mesh.create("layers/relief", &serde_json::json!({})).await;
    /// assert_eq!(again.unwrap_err().kind(), oxigdal_ha::ErrorKind::Exists);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Exists`], else as [`put`](Self::put).
    pub async fn create<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Written, Error> {
        self.write(key, vec![Edit::Put { value: json(key, value)? }], true).await
    }

    /// Reads a document; nothing where there is none.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let fiji: Option<serde_json::Value> = mesh.get("layers/countries/FJI").await?;
    /// println!("{fiji:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the key is no path of a document, or the content is not of this type; else as [`document`](Self::document).
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.document(key).await?.map(|document| document.parse()).transpose()
    }

    /// Reads one place of a document, such as `properties/pop_est`, a JSON Pointer (RFC 6901) of which the leading slash may be left out;
    /// nothing where there is none.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// let people: Option<u64> = mesh.get_at("layers/countries/FJI", "properties/pop_est").await?;
    /// println!("{people:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_at<T: DeserializeOwned>(&self, key: &str, path: &str) -> Result<Option<T>, Error> {
        let document = self.link().document(parse(key)?, path.to_owned()).await?;
        document.map(|document| document.parse()).transpose()
    }

    /// Reads a document with the version that it has; nothing where there is none.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// if let Some(document) = mesh.document("layers/countries/FJI").await? {
    ///     println!("{} at {:?}", document.parse::<serde_json::Value>()?, document.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`] when the node has stopped, [`ErrorKind::Disk`] when the document cannot be read back from the log.
    pub async fn document(&self, key: &str) -> Result<Option<Document>, Error> {
        self.link().document(parse(key)?, String::new()).await
    }

    /// Sets one place of a document that is there, and makes the objects on the way where they are not. The path is a
    /// JSON Pointer (RFC 6901) of which the leading slash may be left out; in a list a number names an element that is there, and `-` the place behind the last one.
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
    /// mesh.set("layers/relief", "legend/title", "Heights").await?;
    /// mesh.set("layers/relief", "tiles/-", "b").await?;
    /// let title: Option<String> = mesh.get_at("layers/relief", "legend/title").await?;
    /// assert_eq!(title.as_deref(), Some("Heights"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such document: the first [`put`](Self::put) makes it; else as [`put`](Self::put).
    pub async fn set<T: Serialize>(&self, key: &str, path: &str, value: T) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Set { path: path.to_owned(), value: json(key, &value)? }]).await
    }

    /// Inserts an element into a list: the path ends with the index before which it goes, or with `-` for the end. What several insert at
    /// the same time all stays.
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
    /// mesh.insert("layers/relief", "tiles/0", "Z/12/4032/2204").await?;
    /// let tiles: Option<Vec<String>> = mesh.get_at("layers/relief", "tiles").await?;
    /// assert_eq!(tiles.unwrap(), ["Z/12/4032/2204", "a"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such list, [`ErrorKind::Invalid`] if it is shorter; else as [`set`](Self::set).
    pub async fn insert<T: Serialize>(&self, key: &str, path: &str, value: T) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Insert { path: path.to_owned(), value: json(key, &value)? }]).await
    }

    /// Adds to a counter, up or down, 2^31 at most: what is added at the same time all counts. One that is not there is made and begins
    /// with 0; a whole number that was set becomes one. It reads as a number. To [`set`](Self::set) it is to begin it anew: what others
    /// add without having seen that is not counted.
    ///
    /// An answer that was lost may be of an increment that is durable: whoever asks again may count twice.
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
    /// mesh.increment("layers/relief", "usage/downloads", 1).await?;
    /// mesh.increment("layers/relief", "usage/downloads", 2).await?;
    /// let downloads: Option<i64> = mesh.get_at("layers/relief", "usage/downloads").await?;
    /// assert_eq!(downloads, Some(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if what is there is no whole number; else as [`set`](Self::set).
    pub async fn increment(&self, key: &str, path: &str, by: i64) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Increment { path: path.to_owned(), by }]).await
    }

    /// Removes one place of a document: of a list the element that has this index.
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
    /// mesh.remove("layers/relief", "style").await?;
    /// assert_eq!(mesh.get_at::<String>("layers/relief", "style").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is nothing there, else as [`put`](Self::put).
    pub async fn remove(&self, key: &str, path: &str) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Remove { path: path.to_owned() }]).await
    }

    /// Changes a part of a text that people write together: before the character `at`, counted in Unicode code points from 0, `remove`
    /// characters go and `insert` comes. What several write at once at different places all stays.
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
    /// mesh.splice("layers/relief", "style", 4, 0, "scale").await?;
    /// let style: Option<String> = mesh.get_at("layers/relief", "style").await?;
    /// assert_eq!(style.as_deref(), Some("greyscale"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the text is shorter, or what is there is no text; else as [`set`](Self::set).
    pub async fn splice(
        &self,
        key: &str,
        path: &str,
        at: usize,
        remove: usize,
        insert: &str,
    ) -> Result<Written, Error> {
        let (path, insert) = (path.to_owned(), insert.to_owned());
        self.edit(key, vec![Edit::Splice { path, at, remove, insert }]).await
    }

    /// Makes several edits of one document: all or none, in this order, as one change. One that is not there yet is made by an
    /// [`Edit::Put`] in front.
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
    /// use oxigdal_ha::documents::Edit;
    /// use serde_json::json;
    ///
    /// let put = Edit::Put { value: json!({ "style": "grey" }) };
    /// let count = Edit::Increment { path: "seen".into(), by: 1 };
    /// let written = mesh.edit("layers/relief", vec![put, count]).await?;
    /// assert!(written.stamp.is_some());
    /// assert_eq!(mesh.get("layers/relief").await?, Some(json!({ "style": "grey", "seen": 1 })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn edit(&self, key: &str, edits: Vec<Edit>) -> Result<Written, Error> {
        self.write(key, edits, false).await
    }

    /// Removes a document: its content goes, its history stays. Somebody's edit that had not seen this brings it back whole.
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
    /// mesh.delete("layers/relief").await?;
    /// assert_eq!(mesh.get::<serde_json::Value>("layers/relief").await?, None);
    /// assert_eq!(mesh.history("layers/relief").await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, else as [`put`](Self::put).
    pub async fn delete(&self, key: &str) -> Result<Written, Error> {
        self.edit(key, vec![Edit::Delete]).await
    }

    async fn write(&self, key: &str, edits: Vec<Edit>, create: bool) -> Result<Written, Error> {
        let doc = parse(key)?;
        match self.link().documents(Command::Edit { doc, edits, create }).await? {
            Outcome::Edited { doc, heads, stamp, .. } => Ok(Written { key: doc, version: heads, stamp }),
            other => unreachable!("an edit was answered by {other:?}"),
        }
    }

    /// All documents whose keys begin so, in order of key, read as they are asked for. One that changes meanwhile is given as it is when
    /// its turn comes.
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
    /// mesh.put("layers/a", &serde_json::json!({ "name": "a" })).await?;
    /// mesh.put("other/b", &serde_json::json!({ "name": "b" })).await?;
    /// let mut scan = mesh.scan("layers/");
    /// while let Some(document) = scan.next().await? {
    ///     println!("{}: {}", document.key, document.value["name"]);
    /// }
    /// assert_eq!(mesh.scan("").collect::<serde_json::Value>().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scan(&self, prefix: &str) -> Scan {
        Scan { link: self.link().clone(), prefix: prefix.to_owned(), read: VecDeque::new(), after: None, more: true }
    }

    /// The changes of a document, the oldest first.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// for change in mesh.history("layers/countries/FJI").await? {
    ///     println!("{} by {:?}, {} operations", change.hash, change.actor, change.ops);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, else as [`document`](Self::document).
    pub async fn history(&self, key: &str) -> Result<Vec<ChangeInfo>, Error> {
        match self.link().documents(Command::History { doc: parse(key)? }).await? {
            Outcome::History { changes, .. } => Ok(changes),
            other => unreachable!("a question for a history was answered by {other:?}"),
        }
    }
}

/// Documents as they are read, see [`Mesh::scan`]. It holds 256 of them at most, and does not keep the node running.
#[derive(Debug)]
pub struct Scan {
    link: Link,
    prefix: String,
    read: VecDeque<Document>,
    after: Option<DocId>,
    more: bool,
}

impl Scan {
    /// The next one; nothing behind the last.
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`] when the node has stopped; the scan may be asked again.
    pub async fn next(&mut self) -> Result<Option<Document>, Error> {
        while self.read.is_empty() && self.more {
            self.page().await?;
        }
        Ok(self.read.pop_front())
    }

    /// What is left of it, as this type: all in memory.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`ErrorKind::Invalid`] if one is not of this type.
    pub async fn collect<T: DeserializeOwned>(mut self) -> Result<Vec<(DocId, T)>, Error> {
        let mut all = Vec::new();
        while let Some(document) = self.next().await? {
            let value = document.parse()?;
            all.push((document.key, value));
        }
        Ok(all)
    }

    async fn page(&mut self) -> Result<(), Error> {
        let (prefix, after) = (self.prefix.clone(), self.after.clone());
        match self.link.documents(Command::Scan { prefix, after, limit: PAGE, values: true }).await? {
            Outcome::Page { docs, more } => {
                self.more = more;
                if let Some(last) = docs.last() {
                    self.after = Some(last.doc.clone());
                }
                let document = |Listed { doc, heads, value }: Listed| {
                    value.map(|value| Document { key: doc, value, version: heads })
                };
                self.read.extend(docs.into_iter().filter_map(document));
                Ok(())
            }
            other => unreachable!("a scan was answered by {other:?}"),
        }
    }
}

impl Link {
    /// A document, or one place of it; nothing where there is none.
    pub(super) async fn document(&self, doc: DocId, path: String) -> Result<Option<Document>, Error> {
        match self.documents(Command::Get { doc, path }).await {
            Ok(Outcome::Value { doc, value, heads }) => Ok(Some(Document { key: doc, value, version: heads })),
            Ok(other) => unreachable!("a Get was answered by {other:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A key, checked.
fn parse(key: &str) -> Result<DocId, Error> {
    DocId::parse(key).map_err(|error| Error::new(ErrorKind::Invalid, error))
}

pub(super) fn json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Value, Error> {
    let invalid = |error: serde_json::Error| format!("document {key}: it cannot be written as JSON: {error}");
    serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::Invalid, invalid(error)))
}

fn unreadable(key: &DocId, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("document {key} is not of the type that was asked for: {error}"))
}
