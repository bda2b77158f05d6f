//! Appends become entries: the first at once, what comes meanwhile together.

use bytes::Bytes;

use super::batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, EVENT_MAX};
use super::{Appended, Error, Event, Events, Id, Name, Outcome, Stamp, Token};
use crate::machine::Cx;
use crate::probe::{planted, sometimes};
use crate::types::{CommandId, DiskFault};

/// Entries of one stream on their way to the disk at most, when there is enough gathered for another.
const PIPELINE_MAX: usize = 4;

/// What a stream has under way.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    events: Vec<Bytes>,
    bytes: usize,
    /// Who waits for how many of them, in order.
    commands: Vec<(CommandId, usize)>,
    /// Entries on their way to the disk.
    entries: usize,
}

/// An entry on its way to the disk.
#[derive(Debug)]
pub(super) struct InFlight {
    stream: Name,
    commands: Vec<(CommandId, usize)>,
    /// Of its events.
    bytes: usize,
    body: Bytes,
}

impl Events {
    pub(super) fn append(
        &mut self,
        cx: &mut Cx<'_, Self>,
        command: CommandId,
        stream: Name,
        events: Vec<Bytes>,
    ) -> Result<(), Error> {
        let bytes = self.admit(&stream, &events)?;
        self.waiting.0 += 1;
        self.waiting.1 += bytes;
        let mut gathering = self.gathering.remove(&stream).unwrap_or_default();
        if gathering.bytes + bytes > BATCH_BYTES_MAX || gathering.events.len() + events.len() > BATCH_EVENTS_MAX {
            self.originate(cx, &stream, &mut gathering);
        }
        gathering.bytes += bytes;
        gathering.commands.push((command, events.len()));
        gathering.events.extend(events);
        let full = gathering.bytes >= self.config.batch_bytes && gathering.entries < PIPELINE_MAX;
        if gathering.entries == 0 || full {
            self.originate(cx, &stream, &mut gathering);
        }
        self.gathering.insert(stream, gathering);
        Ok(())
    }

    /// Checks what is to be appended; gives its length.
    fn admit(&mut self, stream: &Name, events: &[Bytes]) -> Result<usize, Error> {
        let too_large = |what, found, max| Err(Error::TooLarge { stream: stream.clone(), what, found, max });
        let bytes: usize = events.iter().map(Bytes::len).sum();
        if events.is_empty() {
            return Err(Error::Empty { stream: stream.clone() });
        }
        if let Some(large) = events.iter().map(Bytes::len).find(|len| *len > EVENT_MAX) {
            return too_large("the length of an event", large, EVENT_MAX);
        }
        if events.len() > BATCH_EVENTS_MAX {
            return too_large("the number of events", events.len(), BATCH_EVENTS_MAX);
        }
        if bytes > BATCH_BYTES_MAX {
            return too_large("the length of all events", bytes, BATCH_BYTES_MAX);
        }
        let (waiting, waiting_bytes) = self.waiting;
        let (max, max_bytes) = (self.config.waiting_max, self.config.waiting_bytes);
        if waiting >= max {
            return Err(Error::Busy { what: "appends", waiting, max });
        }
        if waiting > 0 && waiting_bytes + bytes > max_bytes {
            return Err(Error::Busy { what: "bytes of events", waiting: waiting_bytes, max: max_bytes });
        }
        if !self.index.makes_room(stream, self.config.streams_max) {
            return Err(Error::TooMany { stream: stream.clone(), max: self.config.streams_max });
        }
        Ok(bytes)
    }

    /// Makes an entry of what was gathered.
    fn originate(&mut self, cx: &mut Cx<'_, Self>, stream: &Name, gathering: &mut Gathering) {
        if gathering.events.is_empty() {
            return;
        }
        let batch = Batch { stream: stream.clone(), events: std::mem::take(&mut gathering.events) };
        let (commands, bytes) = (std::mem::take(&mut gathering.commands), std::mem::take(&mut gathering.bytes));
        let (token, body) = (self.next_token, batch.encode());
        self.next_token = Token(token.0 + 1);
        gathering.entries += 1;
        sometimes!(commands.len() > 1, "events/appends-gathered");
        self.in_flight.insert(token, InFlight { stream: stream.clone(), commands, bytes, body: body.clone() });
        cx.emit(Event::Originate { token, body });
    }

    /// An entry of ours is durable.
    ///
    /// # Panics
    /// When this room never asked for it: a mistake of the wiring.
    pub fn on_originated(&mut self, cx: &mut Cx<'_, Self>, token: Token, stamp: Stamp) {
        let InFlight { stream, commands, bytes, body } = self.landed(token);
        let Stamp { log, seq, hlc, .. } = stamp;
        let taken = self.take_in(stamp, &body);
        let mut index = 0;
        for (command, events) in commands {
            let first = Id { hlc, origin: log.actor, seq, index };
            if !planted!("events/places-not-counted") {
                index += u32::try_from(events).expect("an entry holds fewer");
            }
            self.waiting.0 -= 1;
            cx.emit(Event::Replied { command, result: Ok(Outcome::Appended(Appended { first, events })) });
        }
        self.waiting.1 -= bytes;
        match taken {
            Ok((stream, events)) => self.tell(cx, stamp, stream, events, body),
            // Others made so many streams meanwhile that there is no room for this one. It is durable and spreads.
            Err(why) => cx.emit(Event::Refused { log, seq, why }),
        }
        self.go_on(cx, stream);
    }

    /// An entry of ours could not be made durable.
    ///
    /// # Panics
    /// When this room never asked for it: a mistake of the wiring.
    pub fn on_originate_failed(&mut self, cx: &mut Cx<'_, Self>, token: Token, fault: &DiskFault) {
        let InFlight { stream, commands, bytes, .. } = self.landed(token);
        self.waiting.0 -= commands.len();
        self.waiting.1 -= bytes;
        for (command, _) in commands {
            cx.emit(Event::Replied { command, result: Err(Error::Disk(fault.clone())) });
        }
        self.go_on(cx, stream);
    }

    fn landed(&mut self, token: Token) -> InFlight {
        self.in_flight.remove(&token).expect("the log answers what was asked, once")
    }

    /// What was gathered meanwhile goes next.
    fn go_on(&mut self, cx: &mut Cx<'_, Self>, stream: Name) {
        let Some(mut gathering) = self.gathering.remove(&stream) else { return };
        gathering.entries -= 1;
        if gathering.entries == 0 || gathering.bytes >= self.config.batch_bytes {
            self.originate(cx, &stream, &mut gathering);
        }
        if gathering.entries > 0 {
            self.gathering.insert(stream, gathering);
        }
    }
}
