//! Reading: the shelves of a stream's origins are merged by stamp, and the bodies fetched from the cache or the disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;

use super::batch::{Batch, Garbled};
use super::cursor::Mark;
use super::index::{Kept, Shelf};
use super::{Begin, Cursor, Error, Event, Events, Gap, Id, Item, Name, Outcome, Page, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Actor, CommandId, DiskFault, DiskFaultKind, Hlc, LogId, Seq, Topic, WallTime};

/// A page whose bodies are fetched.
#[derive(Debug)]
pub(super) struct Reading {
    command: CommandId,
    plan: Vec<Planned>,
    bodies: Vec<Option<Bytes>>,
    unanswered: usize,
    failed: Option<DiskFault>,
    page: Page,
}

/// What is read of an entry.
#[derive(Clone, Copy, Debug)]
struct Planned {
    origin: Actor,
    kept: Kept,
    skip: u32,
    take: u32,
}

impl Events {
    /// Begins to read a page. Gives it at once if nothing has to be fetched from the disk.
    pub(super) fn read(
        &mut self,
        cx: &mut Cx<'_, Self>,
        command: CommandId,
        name: &Name,
        from: Begin,
        limit: usize,
        upto: Option<WallTime>,
    ) -> Result<Option<Page>, Error> {
        let cursor = match from {
            Begin::Start => Cursor::start(),
            Begin::Cursor(cursor) => cursor,
            Begin::Now => return Ok(Some(Page { cursor: self.end(name), ..Page::empty() })),
        };
        if self.readings.len() >= self.config.reads_max {
            let (waiting, max) = (self.readings.len(), self.config.reads_max);
            return Err(Error::Busy { what: "reads", waiting, max });
        }
        let (plan, page) = self.plan(name, cursor, limit, upto);
        let log = |origin| LogId { actor: origin, topic: Topic::EVENTS };
        let bodies: Vec<Option<Bytes>> =
            plan.iter().map(|planned| self.cache.get(&(log(planned.origin), planned.kept.seq)).cloned()).collect();
        let unanswered = bodies.iter().filter(|body| body.is_none()).count();
        let reading = Reading { command, plan, bodies, unanswered, failed: None, page };
        if unanswered == 0 {
            return reading.finish().map(Some);
        }
        self.next_reading += 1;
        reachable!("events/page-read-from-disk");
        for (at, planned) in reading.plan.iter().enumerate().filter(|(at, _)| reading.bodies[*at].is_none()) {
            cx.read(planned.kept.position, Wait { read: self.next_reading, at });
        }
        self.readings.insert(self.next_reading, reading);
        Ok(None)
    }

    /// Behind everything that is held here.
    fn end(&self, name: &Name) -> Cursor {
        let mut cursor = Cursor::start();
        let origins = self.index.stream(name).into_iter().flat_map(|stream| stream.shelves.keys());
        origins.for_each(|origin| cursor.set(*origin, Mark { seq: self.index.last(*origin), within: 0 }));
        cursor
    }

    /// Which entries make up the page, in order.
    fn plan(&self, name: &Name, cursor: Cursor, limit: usize, upto: Option<WallTime>) -> (Vec<Planned>, Page) {
        let mut page = Page { cursor, ..Page::empty() };
        let mut left = limit.clamp(1, self.config.page_max);
        let (mut plan, mut bytes) = (Vec::new(), 0);
        // Origins that this reader knows and of whom nothing is left here.
        let stream = self.index.stream(name);
        let gone = |origin: &Actor| stream.is_none_or(|stream| !stream.shelves.contains_key(origin));
        let gone: Vec<Actor> = page.cursor.0.keys().copied().filter(gone).collect();
        for origin in gone {
            self.advance(origin, &Shelf::default(), &mut page);
        }
        let Some(stream) = stream else { return (plan, page) };
        let mut next: BinaryHeap<Reverse<(Hlc, Actor, usize)>> = BinaryHeap::new();
        let fits = |kept: &Kept| upto.is_none_or(|upto| kept.hlc.wall <= upto);
        for (origin, shelf) in &stream.shelves {
            let at = self.advance(*origin, shelf, &mut page);
            next.extend(shelf.kept.get(at).filter(|kept| fits(kept)).map(|kept| Reverse((kept.hlc, *origin, at))));
        }
        while let Some(Reverse((_, origin, at))) = next.pop() {
            let shelf = &stream.shelves[&origin];
            let kept = shelf.kept[at];
            let length = kept.extent.bytes as usize;
            if left == 0 || (bytes + length > self.config.page_bytes && bytes > 0) {
                page.more = true;
                break;
            }
            bytes += length.max(1);
            let mark = page.cursor.of(origin);
            let skip = if mark.seq.next() == kept.seq { mark.within } else { 0 }.min(kept.extent.events);
            let take = (kept.extent.events - skip).min(u32::try_from(left).unwrap_or(u32::MAX));
            plan.push(Planned { origin, kept, skip, take });
            left -= take as usize;
            if skip + take < kept.extent.events {
                reachable!("events/page-ends-within-an-entry");
                let before = Seq::new(kept.seq.value() - 1);
                page.cursor.set(
                    origin,
                    Mark {
                        seq: before,
                        within: if planted!("events/cursor-forgets-half-an-entry") { 0 } else { skip + take },
                    },
                );
                page.more = true;
                break;
            }
            page.cursor.set(origin, Mark { seq: kept.seq, within: 0 });
            let at = self.advance(origin, shelf, &mut page);
            next.extend(shelf.kept.get(at).filter(|kept| fits(kept)).map(|kept| Reverse((kept.hlc, origin, at))));
        }
        (plan, page)
    }

    /// The next entry of a shelf behind the cursor. What is missing before it is told, and passed.
    fn advance(&self, origin: Actor, shelf: &Shelf, page: &mut Page) -> usize {
        let mut seq = page.cursor.of(origin).seq;
        let mut pass = |seq: &mut Seq, upto: Seq| {
            page.gaps.push(Gap { origin, after: *seq, upto });
            reachable!("events/gap-told");
            page.cursor.set(origin, Mark { seq: upto, within: 0 });
            *seq = upto;
        };
        if shelf.expired > seq {
            pass(&mut seq, shelf.expired);
        }
        for (after, upto) in self.index.skips(origin) {
            let kept_before = shelf.kept.get(shelf.behind(seq)).is_some_and(|kept| kept.seq <= *after);
            if *upto > seq && !kept_before {
                pass(&mut seq, *upto);
            }
        }
        shelf.behind(seq)
    }

    /// The disk answers.
    pub fn on_read(&mut self, cx: &mut Cx<'_, Self>, wait: Wait, result: Result<Bytes, DiskFault>) {
        let Some(reading) = self.readings.get_mut(&wait.read) else { return };
        reading.unanswered -= 1;
        match result {
            Ok(body) => reading.bodies[wait.at] = Some(body),
            Err(fault) => reading.failed = Some(fault),
        }
        if reading.unanswered > 0 {
            return;
        }
        let Some(reading) = self.readings.remove(&wait.read) else { return };
        let command = reading.command;
        cx.emit(Event::Replied { command, result: reading.finish().map(Outcome::Page) });
    }
}

impl Page {
    fn empty() -> Self {
        Self { events: Vec::new(), gaps: Vec::new(), cursor: Cursor::start(), more: false }
    }
}

impl Reading {
    fn finish(self) -> Result<Page, Error> {
        if let Some(fault) = self.failed {
            return Err(Error::Disk(fault));
        }
        let mut page = self.page;
        for (planned, body) in self.plan.iter().zip(self.bodies) {
            let Planned { origin, kept, skip, take } = *planned;
            let garbled = |why: Garbled| DiskFault {
                kind: DiskFaultKind::Failed,
                what: format!("reading entry {} of a stream", kept.seq).into(),
                why: why.to_string().into(),
            };
            let batch = Batch::decode(&body.expect("all were answered")).map_err(garbled)?;
            let wanted = (0..).zip(batch.events).skip(skip as usize).take(take as usize);
            let id = |index| Id { hlc: kept.hlc, origin, seq: kept.seq, index };
            page.events.extend(wanted.map(|(index, body)| Item { id: id(index), body }));
        }
        Ok(page)
    }
}
