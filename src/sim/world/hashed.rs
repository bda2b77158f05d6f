//! What of inputs and effects goes into the trace.
//!
//! What comes all the time goes in as its parts; what is rare goes in as it prints. Parts are taken out of their places without
//! leaving any away, so that a field which is added later is not forgotten here.

use bytes::Bytes;

use super::super::trace::Trace;
use crate::documents::{self, Arrived, DocState, Done, Orphan};
use crate::node::{Command, Effect, Event, Input, Io, IoOutcome, Outcome};
use crate::types::{DocId, Hlc, LogId, Seq};
use crate::{events, replication};

/// An input that a node handles.
pub(super) fn input(trace: &mut Trace, now: u64, place: u32, input: &Input) {
    match input {
        Input::Wake => trace.event(now, place, 1),
        Input::Received { from, lane, frame } => {
            trace.event(now, place, 2 + (*lane as u8));
            trace.raw(from.as_bytes());
            trace.bytes(4, frame);
        }
        Input::Command { id, command } => {
            trace.event(now, place, 5);
            trace.word(5, id.value());
            match command {
                Command::Documents(_) | Command::Acknowledged { .. } => trace.word(5, 0),
                other => trace.debug(5, other),
            }
        }
        // Results of tasks were hashed when they were made.
        Input::TaskDone { id, .. } => {
            trace.event(now, place, 6);
            trace.word(6, id.value());
        }
        Input::IoDone { id, result: Ok(IoOutcome::Read(bytes)) } => {
            trace.event(now, place, 7);
            trace.word(7, id.value());
            trace.bytes(7, bytes);
        }
        Input::Persisted { id, result: Ok(()) } => {
            trace.event(now, place, 8);
            trace.word(8, id.value());
        }
        other => {
            trace.event(now, place, 9);
            trace.debug(9, other);
        }
    }
}

/// What a node wants done.
pub(super) fn effect(trace: &mut Trace, effect: &Effect) {
    match effect {
        Effect::Send { to, lane, frame } => {
            trace.word(10, *lane as u64);
            trace.raw(to.as_bytes());
            trace.bytes(10, frame);
        }
        Effect::Persist { id, segment, offset, bytes } => {
            trace.word(12, id.value());
            trace.word(12, segment.value());
            trace.word(12, *offset);
            trace.bytes(12, bytes);
        }
        Effect::Io { id, op: Io::Read { segment, offset, len } } => {
            trace.word(27, id.value());
            trace.word(27, segment.value());
            trace.word(27, *offset);
            trace.word(27, *len);
        }
        // Its answer is hashed, and it says everything.
        Effect::Task { id, .. } => trace.word(13, id.value()),
        Effect::Reply {
            id,
            result: Ok(Outcome::Documents(documents::Outcome::Edited { doc, heads, change, stamp })),
        } => {
            trace.word(15, id.value());
            edited(trace, doc, heads, change.as_deref());
            if let Some(documents::Stamp { log, seq, hlc }) = stamp {
                entry(trace, log, *seq);
                stamped(trace, *hlc);
            }
        }
        Effect::Reply {
            id,
            result: Ok(Outcome::Events(events::Outcome::Page(events::Page { events, gaps, cursor, more }))),
        } => {
            trace.word(30, id.value());
            trace.word(30, (events.len() as u64) << 1 | u64::from(*more));
            for events::Item { id, body } in events {
                named(trace, id);
                trace.bytes(30, body);
            }
            trace.text(30, &cursor.to_string());
            trace.debug(30, gaps);
        }
        Effect::Reply {
            id,
            result: Ok(Outcome::Events(events::Outcome::Appended(events::Appended { first, events }))),
        } => {
            trace.word(31, id.value());
            trace.word(31, *events as u64);
            named(trace, first);
        }
        Effect::Notify(Event::Replication(event)) => replicated(trace, event),
        Effect::Notify(Event::Events(events::Event::Appended { stream, first, events })) => {
            trace.word(28, u64::from(*events));
            trace.text(28, stream.as_str());
            named(trace, first);
        }
        Effect::Notify(Event::Documents(documents::Event::Changed { doc, heads, exists, origins })) => {
            trace.word(17, u64::from(*exists));
            trace.text(17, doc.as_str());
            hashes(trace, heads);
            trace.word(17, origins.len() as u64);
            origins.iter().for_each(|actor| trace.raw(&actor.to_bytes()));
        }
        other => trace.debug(14, other),
    }
}

fn edited(trace: &mut Trace, doc: &DocId, heads: &[String], change: Option<&str>) {
    trace.text(15, doc.as_str());
    trace.word(15, heads.len() as u64);
    heads.iter().for_each(|head| trace.text(15, head));
    trace.text(15, change.unwrap_or_default());
}

fn replicated(trace: &mut Trace, event: &replication::Event) {
    use replication::Event as E;
    match event {
        E::Originated { token, log, seq, hlc, body } => {
            trace.word(18, *token);
            delivered(trace, log, *seq, *hlc, body);
        }
        E::Delivered { log, seq, hlc, body } => {
            trace.word(19, 0);
            delivered(trace, log, *seq, *hlc, body);
        }
        other => trace.debug(14, other),
    }
}

fn delivered(trace: &mut Trace, log: &LogId, seq: Seq, hlc: Hlc, body: &Bytes) {
    entry(trace, log, seq);
    stamped(trace, hlc);
    trace.bytes(19, body);
}

/// What a worker answers.
pub(super) fn done(trace: &mut Trace, done: &Done) {
    match done {
        Done::Edited { doc, change, results, state } if results.iter().all(|(_, result)| result.is_ok()) => {
            trace.word(21, results.len() as u64);
            results.iter().for_each(|(command, _)| trace.word(21, command.value()));
            trace.bytes(21, change.as_ref().unwrap_or(&Bytes::new()));
            stands(trace, doc, state);
        }
        Done::Applied { doc, applied, orphans, refused, known, older, state } if refused.is_empty() => {
            for changes in [applied, older] {
                trace.word(22, changes.len() as u64);
                changes.iter().for_each(|change| arrived(trace, change));
            }
            trace.word(22, orphans.len() as u64);
            for Orphan { arrived: change, missing } in orphans {
                arrived(trace, change);
                hashes(trace, missing);
            }
            trace.word(22, known.len() as u64);
            known.iter().for_each(|(log, seq)| entry(trace, log, *seq));
            stands(trace, doc, state);
        }
        other => trace.debug(20, other),
    }
}

fn arrived(trace: &mut Trace, change: &Arrived) {
    let Arrived { log, seq, change } = change;
    entry(trace, log, *seq);
    trace.bytes(22, change);
}

fn stands(trace: &mut Trace, doc: &DocId, state: &DocState) {
    // Whether something met follows from the changes.
    let DocState { heads, exists, changes, bytes, folded, met: _ } = state;
    trace.text(23, doc.as_str());
    hashes(trace, heads);
    trace.word(23, *changes as u64);
    trace.word(23, (*bytes as u64) << 2 | u64::from(*exists) << 1 | u64::from(*folded));
}

fn hashes(trace: &mut Trace, hashes: &[[u8; 32]]) {
    trace.word(24, hashes.len() as u64);
    trace.raw(hashes.as_flattened());
}

fn entry(trace: &mut Trace, log: &LogId, seq: Seq) {
    let LogId { actor, topic } = log;
    trace.raw(&actor.to_bytes());
    trace.word(25, u64::from(topic.value()));
    trace.word(25, seq.value());
}

fn named(trace: &mut Trace, event: &events::Id) {
    let events::Id { hlc, origin, seq, index } = event;
    stamped(trace, *hlc);
    trace.raw(&origin.to_bytes());
    trace.word(29, seq.value());
    trace.word(29, u64::from(*index));
}

fn stamped(trace: &mut Trace, hlc: Hlc) {
    let Hlc { wall, logical } = hlc;
    trace.word(26, wall.as_micros());
    trace.word(26, u64::from(logical));
}
