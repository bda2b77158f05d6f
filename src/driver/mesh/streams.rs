//! Streams of opaque events: sensor readings, audit lines, whatever is appended and never changed.

use bytes::Bytes;

use super::Mesh;
use crate::driver::streams::Tail;
use crate::error::{Error, ErrorKind};
use crate::events::{Appended, Begin, Info, Name, Page};

impl Mesh {
    /// Appends events to a stream, which is made if it is new: in order, and all or none. Durable here when it returns; others follow.
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
    /// use oxigdal_ha::events::Begin;
    ///
    /// let tides = "sensors/harbour/tide";
    /// mesh.append(tides, ["2.41".into(), "2.39".into()]).await?;
    /// let page = mesh.read(tides, Begin::Start, 10).await?;
    /// assert_eq!(page.events[1].body, "2.39");
    /// assert_eq!(mesh.streams("sensors/").await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no name of a stream, or no events; [`ErrorKind::TooLarge`], [`ErrorKind::Busy`], [`ErrorKind::Leaving`]:
    /// nothing was appended. [`ErrorKind::Disk`]: it is not durable, and may be there after a restart or not.
    pub async fn append(&self, stream: &str, events: impl IntoIterator<Item = Bytes>) -> Result<Appended, Error> {
        self.link().append(parse(stream)?, events.into_iter().collect()).await
    }

    /// Reads some events of a stream, `limit` at most: of each origin in its order. A page's cursor is good at any node, and after a restart.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// use oxigdal_ha::events::Begin;
    ///
    /// let page = mesh.read("sensors/roof", Begin::Start, 100).await?;
    /// println!("{} events, and {} gaps of what has expired", page.events.len(), page.gaps.len());
    /// let next = mesh.read("sensors/roof", Begin::Cursor(page.cursor), 100).await?;
    /// # drop(next);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no name of a stream; [`ErrorKind::Disk`], [`ErrorKind::Leaving`].
    pub async fn read(&self, stream: &str, from: Begin, limit: usize) -> Result<Page, Error> {
        self.link().read(parse(stream)?, from, limit).await
    }

    /// Reads the events of a stream as they come, `limit` at a time at most.
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
    /// use oxigdal_ha::events::Begin;
    ///
    /// mesh.append("log", ["started".into()]).await?;
    /// let mut tail = mesh.tail("log", Begin::Start, 10)?;
    /// let page = tail.next().await.expect("it goes on")?;
    /// assert_eq!(page.events[0].body, "started");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no name of a stream.
    pub fn tail(&self, stream: &str, from: Begin, limit: usize) -> Result<Tail, Error> {
        Ok(self.peer().tail(parse(stream)?, from, limit))
    }

    /// The streams whose names begin so.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// for stream in mesh.streams("sensors/").await? {
    ///     println!("{}: {} events", stream.stream, stream.events);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`] when the node has stopped.
    pub async fn streams(&self, prefix: &str) -> Result<Vec<Info>, Error> {
        self.link().streams(prefix.to_owned()).await
    }
}

fn parse(stream: &str) -> Result<Name, Error> {
    Name::parse(stream).map_err(|error| Error::new(ErrorKind::Invalid, error))
}
