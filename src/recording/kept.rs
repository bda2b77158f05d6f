//! Inputs as they are kept.

use std::fmt;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::Mark;
use crate::documents;
use crate::node::{Command, Input, IoOutcome};
use crate::overlay::SignedPolicy;
use crate::types::{
    Address, CommandId, DiskFault, IoId, Lane, NodeId, Now, PersistId, SegmentId, TaskId, Time, WallTime,
};

/// One input, when it came, and what the node wanted done before the next one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Both clocks, in nanoseconds and microseconds.
    at: (u64, u64),
    /// The input; none is the beginning, before any.
    pub input: Option<Kept>,
    /// Of each effect, in order.
    pub effects: Vec<Mark>,
}

impl Entry {
    /// What happened now; no effect is known yet.
    #[must_use]
    pub fn new(now: Now, input: Option<Kept>) -> Self {
        Self { at: (now.mono.as_nanos(), now.wall.as_micros()), input, effects: Vec::new() }
    }

    /// What happened, for people: bytes as their number.
    #[must_use]
    pub fn words(&self) -> String {
        self.input.as_ref().map_or_else(|| "the start".to_owned(), Kept::words)
    }

    /// When.
    #[must_use]
    pub const fn now(&self) -> Now {
        Now { mono: Time::from_nanos(self.at.0), wall: WallTime::from_micros(self.at.1) }
    }
}

/// An [`Input`] as it is kept. What only clients and disks say stands as JSON, so that a person can read it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the input of its name")]
pub enum Kept {
    Wake,
    Received { from: NodeId, sync: bool, frame: Vec<u8> },
    Linked { peer: NodeId },
    Unlinked { peer: NodeId },
    DialFailed { peer: NodeId },
    Listening { addresses: Vec<Address> },
    Persisted { id: PersistId, fault: Option<String> },
    Listed { id: IoId, segments: Vec<(SegmentId, u64)> },
    Read { id: IoId, bytes: Vec<u8> },
    Truncated { id: IoId },
    Reopened { id: IoId },
    IoFailed { id: IoId, fault: String },
    TaskDone { id: TaskId, done: u64 },
    Policies { held: Vec<SignedPolicy> },
    Command { id: CommandId, command: String },
    Packed { id: TaskId, done: u64 },
}

impl Kept {
    /// What is kept of an input.
    #[must_use]
    pub fn of(input: &Input) -> Self {
        match input {
            Input::Wake => Self::Wake,
            Input::Received { from, lane, frame } => {
                Self::Received { from: *from, sync: *lane == Lane::Sync, frame: frame.to_vec() }
            }
            Input::Linked { peer } => Self::Linked { peer: *peer },
            Input::Unlinked { peer } => Self::Unlinked { peer: *peer },
            Input::DialFailed { peer } => Self::DialFailed { peer: *peer },
            Input::Listening { addresses } => Self::Listening { addresses: addresses.clone() },
            Input::Persisted { id, result } => Self::Persisted { id: *id, fault: result.as_ref().err().map(json) },
            Input::IoDone { id, result } => match result {
                Ok(IoOutcome::Listed(segments)) => Self::Listed { id: *id, segments: segments.clone() },
                Ok(IoOutcome::Read(bytes)) => Self::Read { id: *id, bytes: bytes.to_vec() },
                Ok(IoOutcome::Truncated) => Self::Truncated { id: *id },
                Ok(IoOutcome::Reopened) => Self::Reopened { id: *id },
                Err(fault) => Self::IoFailed { id: *id, fault: json(fault) },
            },
            Input::TaskDone { id, done } => Self::TaskDone { id: *id, done: super::digest::of_done(done) },
            Input::Packed { id, bytes } => Self::Packed { id: *id, done: super::digest::of_packed(bytes) },
            Input::Policies { held } => Self::Policies { held: held.clone() },
            Input::Command { id, command } => Self::Command { id: *id, command: json(command) },
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Received { from, sync, frame } => {
                format!("{} bytes from {from} on the {} lane", frame.len(), if *sync { "sync" } else { "control" })
            }
            Self::Read { id, bytes } => format!("{} bytes read, {id}", bytes.len()),
            other => short(other),
        }
    }

    /// The input again; `done` gives a worker's result, `packed` that of a piece of a snapshot.
    pub(super) fn input<E: From<serde_json::Error>>(
        self,
        done: impl FnOnce(TaskId, u64) -> Result<documents::Done, E>,
        packed: impl FnOnce(TaskId, u64) -> Result<Bytes, E>,
    ) -> Result<Input, E> {
        let fault = |text: &str| serde_json::from_str::<DiskFault>(text);
        Ok(match self {
            Self::Wake => Input::Wake,
            Self::Received { from, sync, frame } => {
                let lane = if sync { Lane::Sync } else { Lane::Control };
                Input::Received { from, lane, frame: frame.into() }
            }
            Self::Linked { peer } => Input::Linked { peer },
            Self::Unlinked { peer } => Input::Unlinked { peer },
            Self::DialFailed { peer } => Input::DialFailed { peer },
            Self::Listening { addresses } => Input::Listening { addresses },
            Self::Persisted { id, fault: None } => Input::Persisted { id, result: Ok(()) },
            Self::Persisted { id, fault: Some(text) } => Input::Persisted { id, result: Err(fault(&text)?) },
            Self::Listed { id, segments } => Input::IoDone { id, result: Ok(IoOutcome::Listed(segments)) },
            Self::Read { id, bytes } => Input::IoDone { id, result: Ok(IoOutcome::Read(bytes.into())) },
            Self::Truncated { id } => Input::IoDone { id, result: Ok(IoOutcome::Truncated) },
            Self::Reopened { id } => Input::IoDone { id, result: Ok(IoOutcome::Reopened) },
            Self::IoFailed { id, fault: text } => Input::IoDone { id, result: Err(fault(&text)?) },
            Self::TaskDone { id, done: digest } => Input::TaskDone { id, done: done(id, digest)? },
            Self::Packed { id, done: digest } => Input::Packed { id, bytes: packed(id, digest)? },
            Self::Policies { held } => Input::Policies { held },
            Self::Command { id, command } => Input::Command { id, command: serde_json::from_str::<Command>(&command)? },
        })
    }
}

/// Most characters of what is shown of an input or an effect.
const SHOWN_MAX: usize = 400;

/// As it prints, but not without end.
pub(super) fn short(value: &dyn fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("words of the node's edge are JSON")
}
