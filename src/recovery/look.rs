//! What a log held at a moment: a node that is booted from frames in memory and answers questions, and of which nobody hears.
//!
//! See [`Alone`]. The log up to the moment must fit into memory.

use std::collections::BTreeMap;

use serde_json::Value;

use super::source::{Source, SourceError};
use super::survey::{Located, Survey};
use crate::membership::Meta;
use crate::node::{Alone, BootError, Command, CommandError, Config, Identity, Outcome, Setup};
use crate::types::{Chain, ClusterId, Digest, DocId, Hlc, Lsn, SegmentId};
use crate::wal::{self, End, Writer};

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// The log could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No node can be made of it.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A question was refused.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// A log at a moment.
#[derive(Debug)]
pub struct Look {
    alone: Alone,
}

impl Look {
    /// The log at a moment.
    ///
    /// # Errors
    /// [`LookError`]: it cannot be read, or a node would not boot from it.
    pub fn at(source: &Source, survey: &Survey, located: &Located) -> Result<Self, LookError> {
        let files = gather(source, survey, located)?;
        let setup = Setup {
            identity: Identity { node: source.node(), cluster: ClusterId::from_bytes([0; 32]) },
            seed: [0; 32],
            meta: Meta::default(),
            config: Config::default(),
            founds: false,
        };
        let (alone, _) = Alone::on(files, setup, located.last.at.wall)?;
        Ok(Self { alone })
    }

    /// Equal on two nodes if and only if they hold the same changes of the same documents.
    #[must_use]
    pub fn content(&self) -> Digest {
        self.alone.node().documents().content()
    }

    /// The documents with this prefix and their contents, in order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn documents(&mut self, prefix: &str) -> Result<BTreeMap<DocId, Value>, LookError> {
        Ok(self.alone.documents(prefix)?)
    }

    /// Asks the node. An edit would be made in memory alone.
    ///
    /// # Errors
    /// The node's own.
    pub fn ask(&mut self, command: Command) -> Result<Outcome, LookError> {
        Ok(self.alone.ask(command)?)
    }
}

/// Both chains up to the moment, in memory.
fn gather(source: &Source, survey: &Survey, located: &Located) -> Result<BTreeMap<SegmentId, Vec<u8>>, LookError> {
    let mut files = BTreeMap::new();
    let begins = survey.begins();
    let later = !survey.trims_after(located.upto.main).is_empty();
    for chain in Chain::ALL {
        let upto = located.upto.of(chain);
        let (segment, next, frames) = match chain {
            Chain::Main => (chain.origin().next(), Lsn::ZERO.next(), source.main(Some(upto))),
            // What expired since is not looked at, as little as the trim that says so.
            Chain::Events if later => continue,
            Chain::Events => (begins.segment, begins.lsn, source.events(begins, Some(upto))),
        };
        let (node, last_hlc) = (source.node(), Hlc::default());
        let end = End { node, store: None, next, segment, offset: 0, cut: None, last_hlc };
        let mut writer = Writer::new(wal::Config::default(), end, source.store());
        for frame in frames {
            let frame = frame?;
            let appended = writer
                .append(frame.kind, frame.hlc, &frame.payload)
                .map_err(|error| SourceError::Log { dir: source.dir().to_owned(), error })?;
            writer.on_persisted(appended.lsn, appended.position);
            files.entry(appended.segment).or_insert_with(Vec::new).extend_from_slice(&appended.bytes);
        }
    }
    Ok(files)
}
