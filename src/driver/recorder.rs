//! Writes down what enters the node and a digest of what comes out, on a thread of its own.
//!
//! The loop never waits for it: where the disk takes less than the mesh gives, the recording ends, loudly, and the peer goes
//! on. What was written before is good up to its last whole block; a block is at most a tenth of a second old.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::node::{Effect, Input};
use crate::recording::{Entry, Header, Kept, Mark, Writer};
use crate::types::Now;

/// Entries that wait for the disk at most.
const WAITING_MAX: usize = 8_192;
/// Their bytes at most.
const WAITING_BYTES: usize = 64 << 20;
/// A recording ends when it takes more than this many bytes.
const FILE_MAX: u64 = 8 << 30;
/// An entry is in the file after at most so long.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// A recording, for whoever asks how the peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// Into which file.
    pub path: PathBuf,
    /// Why it ended while the peer goes on; none while it is being written.
    pub ended: Option<String>,
}

/// What became of it: shared with the threads that write and that tell.
#[derive(Debug)]
pub(super) struct Fate {
    path: PathBuf,
    ended: OnceLock<String>,
}

impl Fate {
    pub(super) fn told(&self) -> Recording {
        Recording { path: self.path.clone(), ended: self.ended.get().cloned() }
    }

    /// Only the first reason counts.
    fn end(&self, why: &str) {
        tracing::error!(path = %self.path.display(), %why, "the recording ends");
        let _ = self.ended.set(why.to_owned());
    }
}

/// The loop's end of it. Without a file it does nothing.
pub(super) struct Recorder {
    to: Option<Thread>,
    /// The input that is being handled.
    open: Option<Entry>,
}

struct Thread {
    fate: Arc<Fate>,
    entries: SyncSender<Entry>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// One that records nothing.
    pub(super) const fn none() -> Self {
        Self { to: None, open: None }
    }

    /// Begins a file, which must not exist yet. Only its owner can read it: it holds what clients wrote.
    pub(super) fn begin(path: &Path, header: &Header, now: Now) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let writer = Writer::begin(BufWriter::new(file), header)?;
        let (entries, waits) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let fate = Arc::new(Fate { path: path.to_owned(), ended: OnceLock::new() });
        let thread = thread::Builder::new().name("mesh-recorder".into()).spawn({
            let (waiting, fate) = (Arc::clone(&waiting), Arc::clone(&fate));
            move || write(writer, &waits, &waiting, &fate)
        })?;
        tracing::info!(path = %path.display(), "recording");
        let to = Some(Thread { fate, entries, waiting, thread });
        Ok(Self { to, open: Some(Entry::new(now, None)) })
    }

    /// What becomes of it, if there is one.
    pub(super) fn fate(&self) -> Option<Arc<Fate>> {
        self.to.as_ref().map(|to| Arc::clone(&to.fate))
    }

    /// An input is about to be handled.
    pub(super) fn input(&mut self, now: Now, input: &Input) {
        if self.to.is_some() {
            self.close();
            self.open = Some(Entry::new(now, Some(Kept::of(input))));
        }
    }

    /// What the node wants done about it.
    pub(super) fn effect(&mut self, effect: &Effect) {
        if let Some(entry) = &mut self.open {
            entry.effects.push(Mark::of(effect));
        }
    }

    /// Hands over what is open.
    fn close(&mut self) {
        let (Some(entry), Some(to)) = (self.open.take(), &self.to) else { return };
        let bytes = size(&entry);
        let waits = to.waiting.fetch_add(bytes, Ordering::Relaxed);
        let sent = if waits > WAITING_BYTES { Err(TrySendError::Full(entry)) } else { to.entries.try_send(entry) };
        if let Err(error) = sent {
            if let TrySendError::Full(_) = error {
                to.fate.end("its disk is too slow");
            }
            // Otherwise the thread has told why it ended.
            (self.to, self.open) = (None, None);
        }
    }

    /// Writes what is there, and waits for it.
    pub(super) fn end(mut self) {
        self.close();
        if let Some(Thread { entries, thread, .. }) = self.to {
            drop(entries);
            // Its panic was told on its way.
            let _ = thread.join();
        }
    }
}

/// About how many bytes an entry holds on to.
fn size(entry: &Entry) -> usize {
    let input = match &entry.input {
        Some(Kept::Received { frame: bytes, .. } | Kept::Read { bytes, .. }) => bytes.len(),
        Some(Kept::Command { command, .. }) => command.len(),
        _ => 0,
    };
    size_of::<Entry>() + input + entry.effects.len() * size_of::<Mark>()
}

fn write(mut writer: Writer<BufWriter<File>>, waits: &Receiver<Entry>, waiting: &AtomicUsize, fate: &Fate) {
    match write_all(&mut writer, waits, waiting) {
        Ok(()) => tracing::info!(path = %fate.path.display(), bytes = writer.written(), "the recording is whole"),
        Err(why) => fate.end(&why.to_string()),
    }
}

fn write_all(writer: &mut Writer<BufWriter<File>>, waits: &Receiver<Entry>, waiting: &AtomicUsize) -> io::Result<()> {
    let mut flush_at = Instant::now() + FLUSH_EVERY;
    loop {
        match waits.recv_timeout(flush_at.saturating_duration_since(Instant::now())) {
            Ok(entry) => {
                waiting.fetch_sub(size(&entry), Ordering::Relaxed);
                writer.add(&entry)?;
            }
            Err(RecvTimeoutError::Disconnected) => return writer.finish(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if flush_at <= Instant::now() {
            writer.flush()?;
            flush_at = Instant::now() + FLUSH_EVERY;
        }
        if writer.written() > FILE_MAX {
            return Err(io::Error::other(format!("it has more than {FILE_MAX} bytes")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_why_a_recording_ended_the_first_reason_is_told() {
        let fate = Fate { path: "x.rec".into(), ended: OnceLock::new() };
        assert_eq!(fate.told(), Recording { path: "x.rec".into(), ended: None });
        fate.end("its disk is too slow");
        fate.end("nobody reads on");
        assert_eq!(fate.told().ended.as_deref(), Some("its disk is too slow"));
    }
}
