//! Which entries there are, by stream and origin: where each stands on the disk, not what it says.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Extent;
use super::{Info, Name};
use crate::probe::{planted, reachable};
use crate::types::{Actor, Hlc, Position, SegmentId, Seq};

/// Gaps that are remembered of one origin at most: beyond, the oldest two become one.
const SKIPS_MAX: usize = 16;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) seq: Seq,
    pub(super) hlc: Hlc,
    pub(super) extent: Extent,
    pub(super) position: Position,
}

/// The entries of one origin in one stream, in order.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) kept: VecDeque<Kept>,
    /// Entries of this stream up to here have expired.
    pub(super) expired: Seq,
}

impl Shelf {
    /// The place of the first entry behind `seq`.
    pub(super) fn behind(&self, seq: Seq) -> usize {
        self.kept.partition_point(|kept| kept.seq <= seq)
    }
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) shelves: BTreeMap<Actor, Shelf>,
    pub(super) entries: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Stream {
    /// The oldest entry and whose it is.
    pub(super) fn oldest(&self) -> Option<(Hlc, Actor)> {
        let fronts = self.shelves.iter().filter_map(|(origin, shelf)| Some((shelf.kept.front()?.hlc, *origin)));
        fronts.min()
    }

    fn newest(&self) -> Option<Hlc> {
        self.shelves.values().filter_map(|shelf| Some(shelf.kept.back()?.hlc)).max()
    }
}

/// What is known of one origin's log.
#[derive(Debug, Default)]
struct Origin {
    /// The last entry that was taken in.
    last: Seq,
    /// Not held: from behind the one up to the other.
    skips: Vec<(Seq, Seq)>,
}

/// What a segment of the log holds of streams.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// Entries that have not expired.
    live: u64,
    /// Bytes of all of them, expired or not.
    bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    streams: BTreeMap<Name, Stream>,
    origins: BTreeMap<Actor, Origin>,
    segments: BTreeMap<SegmentId, Segment>,
    /// The segment that is written to.
    newest: SegmentId,
    entries: u64,
    bytes: u64,
}

impl Index {
    pub(super) fn stream(&self, name: &Name) -> Option<&Stream> {
        self.streams.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.streams.keys()
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes on the disk of all entries whose segments are there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn events(&self) -> u64 {
        self.streams.values().map(|stream| stream.events).sum()
    }

    /// The last entry of this origin that was taken in.
    pub(super) fn last(&self, origin: Actor) -> Seq {
        self.origins.get(&origin).map_or(Seq::ZERO, |origin| origin.last)
    }

    pub(super) fn skips(&self, origin: Actor) -> &[(Seq, Seq)] {
        self.origins.get(&origin).map_or(&[], |origin| &origin.skips)
    }

    /// Notes that an entry was seen, whatever it holds.
    pub(super) fn raise(&mut self, origin: Actor, seq: Seq, segment: SegmentId) {
        let origin = self.origins.entry(origin).or_default();
        origin.last = seq.max(origin.last);
        self.newest = segment.max(self.newest);
    }

    pub(super) fn skip(&mut self, origin: Actor, after: Seq, upto: Seq) {
        let origin = self.origins.entry(origin).or_default();
        origin.last = upto.max(origin.last);
        match origin.skips.last_mut() {
            Some((_, last)) if *last >= after => *last = upto.max(*last),
            _ => origin.skips.push((after, upto)),
        }
        if origin.skips.len() > SKIPS_MAX {
            let (after, _) = origin.skips.remove(0);
            origin.skips[0].0 = after;
        }
    }

    /// Whether the stream is there or may be made. Streams that are empty make room.
    pub(super) fn makes_room(&mut self, name: &Name, max: usize) -> bool {
        if self.streams.contains_key(name) || self.streams.len() < max {
            return true;
        }
        self.streams.retain(|_, stream| stream.entries > 0);
        self.streams.len() < max
    }

    pub(super) fn insert(&mut self, name: &Name, origin: Actor, kept: Kept) {
        if !self.streams.contains_key(name) {
            self.streams.insert(name.clone(), Stream::default());
        }
        let stream = self.streams.get_mut(name).expect("it was just made");
        stream.entries += 1;
        stream.events += u64::from(kept.extent.events);
        stream.bytes += u64::from(kept.extent.bytes);
        stream.shelves.entry(origin).or_default().kept.push_back(kept);
        let segment = self.segments.entry(kept.position.segment).or_default();
        segment.live += 1;
        segment.bytes += u64::from(kept.position.len);
        self.entries += 1;
        self.bytes += u64::from(kept.position.len);
    }

    /// The oldest entry of a stream expires.
    pub(super) fn pop_oldest(&mut self, name: &Name) {
        let Some((stream, (_, origin))) =
            self.streams.get_mut(name).and_then(|stream| stream.oldest().map(|oldest| (stream, oldest)))
        else {
            return;
        };
        let Some(shelf) = stream.shelves.get_mut(&origin) else { return };
        reachable!("events/entry-expires");
        if let Some(kept) = shelf.kept.pop_front() {
            shelf.expired = if planted!("events/expiry-untold") { shelf.expired } else { kept.seq };
            let gone = [kept];
            Self::count_off(stream, &mut self.segments, &mut self.entries, &gone);
        }
    }

    fn count_off(stream: &mut Stream, segments: &mut BTreeMap<SegmentId, Segment>, entries: &mut u64, gone: &[Kept]) {
        for kept in gone {
            stream.entries -= 1;
            stream.events -= u64::from(kept.extent.events);
            stream.bytes -= u64::from(kept.extent.bytes);
            *entries -= 1;
            if let Some(segment) = segments.get_mut(&kept.position.segment) {
                segment.live -= 1;
            }
        }
    }

    /// The oldest segment that holds anything, unless it is the one that is written to.
    pub(super) fn oldest_segment(&self) -> Option<SegmentId> {
        let (oldest, _) = self.segments.first_key_value()?;
        (*oldest < self.newest).then_some(*oldest)
    }

    /// Everything up to the end of this segment expires.
    pub(super) fn expire_segment(&mut self, segment: SegmentId) {
        for stream in self.streams.values_mut() {
            let mut shelves = std::mem::take(&mut stream.shelves);
            for shelf in shelves.values_mut() {
                let inside = shelf.kept.iter().rposition(|kept| kept.position.segment <= segment);
                let gone: Vec<Kept> = shelf.kept.drain(..inside.map_or(0, |at| at + 1)).collect();
                shelf.expired = gone.last().map_or(shelf.expired, |kept| kept.seq);
                Self::count_off(stream, &mut self.segments, &mut self.entries, &gone);
            }
            stream.shelves = shelves;
        }
    }

    /// Forgets the segments at the beginning in which nothing lives. Gives the first that is still wanted, if any was
    /// forgotten.
    pub(super) fn free(&mut self) -> Option<SegmentId> {
        let mut before = None;
        while let Some((segment, says)) = self.segments.first_key_value().map(|(segment, says)| (*segment, *says))
            && says.live == 0
            && segment < self.newest
        {
            self.segments.remove(&segment);
            self.bytes -= says.bytes;
            reachable!("events/segment-freed");
            before = Some(self.segments.keys().next().copied().unwrap_or(self.newest));
            if planted!("events/frees-one-segment-more") {
                before = before.map(SegmentId::next).filter(|before| *before <= self.newest);
            }
        }
        before
    }

    pub(super) fn give_way(&mut self, origin: Actor, from: Seq) {
        for stream in self.streams.values_mut() {
            let Some(mut shelf) = stream.shelves.remove(&origin) else { continue };
            let at = shelf.kept.partition_point(|kept| kept.seq < from);
            let gone: Vec<Kept> = shelf.kept.split_off(at).into();
            Self::count_off(stream, &mut self.segments, &mut self.entries, &gone);
            stream.shelves.insert(origin, shelf);
        }
        if let Some(origin) = self.origins.get_mut(&origin)
            && origin.last >= from
        {
            origin.last = Seq::new(from.value().saturating_sub(1));
        }
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Info> {
        let wanted = self.streams.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        wanted
            .map(|(name, stream)| Info {
                stream: name.clone(),
                events: stream.events,
                bytes: stream.bytes,
                entries: stream.entries,
                first: stream.oldest().map(|(hlc, _)| hlc.wall),
                last: stream.newest().map(|hlc| hlc.wall),
                origins: stream.shelves.keys().copied().collect(),
            })
            .collect()
    }
}
