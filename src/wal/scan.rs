//! Reads a log segment by segment, and judges damage.

use bytes::Bytes;

use super::error::{Cut, Damage, Error, Place};
use super::frame::{self, Frame, HEAD, len32};
use super::header::{self, HEADER, Header, Mask, len64};
use super::search;
use crate::probe::{planted, reachable};
use crate::types::{Chain, Hlc, Lsn, NodeId, Position, SegmentId};

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whose log.
    pub node: NodeId,
    /// Its store; none if nothing was ever written.
    pub store: Option<u64>,
    /// The next record.
    pub next: Lsn,
    /// The segment to go on in: a new one if something was cut.
    pub segment: SegmentId,
    /// Its length; 0 if there is no file yet.
    pub offset: u64,
    /// From where on the segments before do not count.
    pub cut: Option<Place>,
    /// The highest stamp found.
    pub last_hlc: Hlc,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where the log goes on.
    pub end: End,
    /// What does not count any more.
    pub cut: Option<Cut>,
}

/// Reads segments in order. A value without IO.
#[derive(Clone, Debug)]
pub struct Scanner {
    end: End,
    /// The segment that must come next.
    expected: SegmentId,
    /// Damage behind which nothing intact was found so far.
    damage: Option<Cut>,
    /// What stands behind this record is not looked at.
    until: Option<Lsn>,
    /// The first segment says itself with which record it begins: those before it are not read.
    joins: bool,
}

impl Scanner {
    /// Nothing read so far of the log of this node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self::at(node, Chain::Main.origin().next(), Lsn::ZERO.next(), None)
    }

    /// Nothing read so far of a chain that begins with this segment and this record: what was before was removed. If the
    /// store is known from the other chain, this one must be of it too.
    #[must_use]
    pub fn at(node: NodeId, first: SegmentId, next: Lsn, store: Option<u64>) -> Self {
        let end = End { node, store, next, segment: first, offset: 0, cut: None, last_hlc: Hlc::default() };
        Self { end, expected: first, damage: None, until: None, joins: false }
    }

    /// Nothing read so far of a log of this store that is read from this segment on: of those before it is known what they say.
    #[must_use]
    pub fn join(node: NodeId, segment: SegmentId, store: u64) -> Self {
        Self { joins: true, ..Self::at(node, segment, Lsn::ZERO, Some(store)) }
    }

    /// Looks at nothing behind this record, be it damaged or whole: for whoever wants the log as it was then. A log that ends
    /// before it is read to its end.
    #[must_use]
    pub fn until(self, last: Lsn) -> Self {
        Self { until: Some(last), ..self }
    }

    /// The record that comes next.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.end.next
    }

    /// Reads the whole of the next segment. The records come in order; they are good even if a later one is damaged.
    ///
    /// # Errors
    /// Why the log is refused. The scanner is not to be used any more; nothing was changed.
    pub fn segment(&mut self, segment: SegmentId, bytes: &Bytes) -> Result<Vec<Frame>, Error> {
        if segment != self.expected {
            return Err(Error::MissingSegment { expected: self.expected, found: segment });
        }
        self.expected = segment.next();
        let header = match Header::read(segment, bytes)? {
            header::Read::Header(header) => header,
            header::Read::Damaged(what) => {
                self.on_damage(segment, bytes, 0, what)?;
                return Ok(Vec::new());
            }
        };
        self.check(segment, &header)?;
        self.end.store = Some(header.store);
        // An earlier boot judged this damage, and went on here.
        self.damage.take_if(|cut| header.cut.is_some_and(|from| from <= cut.at));
        if self.damage.is_some() {
            self.on_segment_behind(segment, bytes, false)?;
            return Ok(Vec::new());
        }
        if std::mem::take(&mut self.joins) {
            self.end.next = header.first;
        }
        if header.first != self.end.next {
            return Err(self.misplaced(Place { segment, offset: 48 }, header.first));
        }
        self.end.segment = segment;
        self.frames(segment, bytes, Mask::of(header.store))
    }

    /// The end of the log.
    #[must_use]
    pub fn finish(self) -> Scanned {
        let Self { mut end, expected, damage, .. } = self;
        if let Some(cut) = damage.as_ref().filter(|_| !planted!("wal/goes-on-over-a-cut")) {
            (end.segment, end.offset, end.cut) = (expected, 0, Some(cut.at));
        }
        Scanned { end, cut: damage }
    }

    fn check(&self, segment: SegmentId, header: &Header) -> Result<(), Error> {
        if header.node != self.end.node {
            return Err(Error::ForeignNode { segment, expected: self.end.node, found: header.node });
        }
        if header.segment != segment {
            return Err(Error::Misnamed { segment, found: header.segment });
        }
        match self.end.store {
            Some(expected) if expected != header.store => {
                Err(Error::ForeignStore { segment, expected, found: header.store })
            }
            _ => Ok(()),
        }
    }

    fn frames(&mut self, segment: SegmentId, bytes: &Bytes, mask: Mask) -> Result<Vec<Frame>, Error> {
        let mut frames = Vec::new();
        let mut at = HEADER;
        if bytes.len() == HEADER {
            // A header is written together with a record.
            self.on_damage(segment, bytes, HEADER, Damage::Short { need: HEAD as u64, have: 0 })?;
        }
        while at < bytes.len() && self.until.is_none_or(|last| self.end.next <= last) {
            let place = Place { segment, offset: at as u64 };
            let head = match frame::read(bytes, at, mask) {
                frame::Read::Frame(head) => head,
                frame::Read::Unknown => return Err(Error::FutureRecord { at: place, lsn: self.end.next }),
                frame::Read::Damaged(what) => {
                    self.on_damage(segment, bytes, at, what)?;
                    return Ok(frames);
                }
            };
            if head.lsn != self.end.next {
                return Err(self.misplaced(place, head.lsn));
            }
            let position = Position { segment, offset: place.offset, len: len32(head.frame_len()) };
            frames.push(Frame::of(&head, position, bytes.slice(at + HEAD..at + HEAD + head.len)));
            self.end.next = head.lsn.next();
            self.end.last_hlc = self.end.last_hlc.max(head.hlc);
            at += head.frame_len();
        }
        self.end.offset = at as u64;
        Ok(frames)
    }

    fn misplaced(&self, at: Place, found: Lsn) -> Error {
        let expected = self.end.next;
        if found > expected {
            Error::LsnGap { at, expected, found }
        } else {
            Error::LsnRepeated { at, expected, found }
        }
    }

    /// Something is wrong at `offset`: looks for intact records behind it.
    fn on_damage(&mut self, segment: SegmentId, bytes: &Bytes, offset: usize, what: Damage) -> Result<(), Error> {
        if self.damage.is_some() {
            return self.on_segment_behind(segment, bytes, true);
        }
        if planted!("wal/torn-end-is-no-damage") && matches!(what, Damage::Short { .. }) {
            return Ok(());
        }
        let at = Place { segment, offset: offset as u64 };
        let lost_bytes = len64(bytes) - at.offset;
        let looks_torn = matches!(what, Damage::Short { .. } | Damage::Zeros { .. })
            || search::lost_a_sector(bytes, offset, bytes.len());
        let mut cut = Cut { at, lsn: self.end.next, what, looks_torn, lost_bytes, dropped: 0, behind: Vec::new() };
        self.judge(segment, bytes, &mut cut, offset, true)?;
        self.damage = Some(cut);
        Ok(())
    }

    /// A segment behind damage. Its file was made when the damaged one was durable, so intact records prove that the damage
    /// is none of a torn write; unless its header is lost too, which might have said that they stand behind a cut.
    fn on_segment_behind(&mut self, segment: SegmentId, bytes: &Bytes, header_lost: bool) -> Result<(), Error> {
        let mut cut = self.damage.take().expect("called behind damage");
        self.judge(segment, bytes, &mut cut, 0, header_lost)?;
        cut.lost_bytes += len64(bytes);
        cut.behind.push(segment);
        self.damage = Some(cut);
        Ok(())
    }

    /// Refuses the log if an intact record stands behind the damage, at or behind `offset`. Not if it `may_be_torn`, a
    /// sector from there on looks never written, and the record says itself that the damaged one was not known to be
    /// durable: then a power cut took the one and left the other.
    fn judge(
        &self,
        segment: SegmentId,
        bytes: &Bytes,
        cut: &mut Cut,
        offset: usize,
        may_be_torn: bool,
    ) -> Result<(), Error> {
        let mut from = offset;
        while let Some(intact) = self.intact(bytes, from, cut)? {
            let torn = intact.head.synced < cut.lsn && search::lost_a_sector(bytes, offset, intact.offset);
            if !(may_be_torn && torn) {
                return Err(cut.refused(Place { segment, offset: intact.offset as u64 }, intact.head.lsn));
            }
            cut.dropped += 1;
            reachable!("wal/torn-among-later-writes");
            from = intact.offset + intact.head.frame_len();
        }
        Ok(())
    }

    fn intact(&self, bytes: &Bytes, from: usize, cut: &Cut) -> Result<Option<search::Intact>, Error> {
        // No frame is shorter than its head, which bounds how many records may stand between the damage and here.
        let most = cut.lsn.value() + cut.lost_bytes / HEAD as u64;
        match self.end.store {
            Some(store) => Ok(search::intact(bytes, from, most, Mask::of(store))),
            None => search::intact_unmasked(bytes, from, most).map_err(|summed| Error::Unjudged {
                at: cut.at,
                what: cut.what,
                summed,
            }),
        }
    }
}

impl Cut {
    fn refused(&self, intact: Place, intact_lsn: Lsn) -> Error {
        Error::Corrupt { at: self.at, lsn: self.lsn, what: self.what, intact, intact_lsn }
    }
}
