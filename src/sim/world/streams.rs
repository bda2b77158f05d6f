//! Streams: appends of the plan, and at the end what every peer gives to a reader.

use bytes::Bytes;

use super::super::check::Violation;
use super::super::host::Asked;
use super::super::plan::{Append, Level};
use super::feed::with_level;
use super::{Due, World};
use crate::events::{Begin, Command, Name, Outcome};
use crate::node::{self, CommandError, Input};
use crate::types::{LogId, Topic};

/// Events in one page: few, so that pages are many.
const PAGE: usize = 50;

impl World<'_> {
    pub(super) fn append(&mut self, number: usize) {
        let Append { peer, stream, .. } = self.mesh.plan.appends[number];
        if self.host(peer).node().is_none() {
            self.figures.edits_unasked += 1;
            return;
        }
        self.figures.edits += 1;
        let append = &self.mesh.plan.appends[number];
        let events = (0..append.events).map(|at| body_of(number, at, append.padding)).collect();
        let ack = append.ack;
        self.ask_events(peer, Asked::Append { number }, Command::Append { stream: name_of(stream), events }, ack);
    }

    fn ask_events(&mut self, place: u32, asked: Asked, command: Command, ack: Option<Level>) {
        let (now, cause) = (self.mesh.now, self.cause);
        let host = self.host(place);
        let (id, epoch) = (host.ask(asked), host.epoch);
        let command = with_level(node::Command::Events(command), ack);
        let input = Box::new(Input::Command { id, command });
        self.queue.push(now + 1, cause, Due::Input { host: place, epoch, input });
    }

    pub(super) fn on_append(&mut self, place: u32, number: usize, result: Result<node::Outcome, CommandError>) {
        let (result, copies) = match result {
            Ok(node::Outcome::Copied { outcome, copies }) => (Ok(*outcome), Some(copies)),
            // Durable all the same; where it stands is not told.
            Err(CommandError::NotReplicated { .. }) => return self.figures.uncopied += 1,
            result => (result, None),
        };
        let Ok(node::Outcome::Events(Outcome::Appended(appended))) = result else {
            self.figures.edits_refused += 1;
            return;
        };
        if let Some(copies) = copies {
            let log = LogId { actor: appended.first.origin, topic: Topic::EVENTS };
            self.on_copied(place, None, (log, appended.first.seq), &copies);
        }
        self.figures.acknowledged += 1;
        let verdict = self.checks.on_appended(&super::Sight::new(&self.mesh, self.scenario), place, number, &appended);
        self.judge(verdict);
    }

    /// Reads the next page of a stream of a peer.
    pub(super) fn ask_stream(&mut self, place: u32, stream: u32, from: Begin) {
        let command = Command::Read { stream: name_of(stream), from, limit: PAGE, upto: None };
        self.ask_events(place, Asked::Stream { stream }, command, None);
    }

    pub(super) fn on_stream_page(&mut self, place: u32, stream: u32, result: Result<node::Outcome, CommandError>) {
        let page = match result {
            Ok(node::Outcome::Events(Outcome::Page(page))) => page,
            other => {
                let what = format!("{} answered a reader with {other:?}", self.sight().name(place));
                return self.judge(Err(Violation { check: "S1", what }));
            }
        };
        let Some(pages) = self.content.streams.get_mut(&place) else { return };
        // As a client keeps it: as a text.
        let from = page.cursor.to_string().parse().map(Begin::Cursor);
        let more = page.more;
        pages.push(page);
        match from {
            Ok(from) if more => return self.ask_stream(place, stream, from),
            Ok(_) => {}
            Err(error) => {
                let what = format!("a cursor of {} is none: {error}", self.sight().name(place));
                return self.judge(Err(Violation { check: "S1", what }));
            }
        }
        let pages = std::mem::take(pages);
        let verdict = self.checks.on_stream(&super::Sight::new(&self.mesh, self.scenario), place, stream, &pages);
        self.judge(verdict);
        if self.mesh.plan.appends.iter().any(|append| append.stream > stream) {
            return self.ask_stream(place, stream + 1, Begin::Start);
        }
        self.content.streams.remove(&place);
        self.content.settle();
    }
}

/// The events of an append, told apart by its number and their place in it.
pub(in super::super) fn body_of(number: usize, at: u32, padding: u32) -> Bytes {
    format!("{number}.{at} {}", "x".repeat(padding as usize)).into()
}

fn name_of(stream: u32) -> Name {
    Name::parse(&format!("sim/{stream}")).expect("a number is a segment")
}
