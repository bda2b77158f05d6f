//! Reads a log segment by segment, and judges damage.

use bytes::Bytes;

use super::error::{Cut, Damage, Error, Place};
use super::frame::{self, Frame, HEAD, len32};
use super::header::{self, HEADER, Header, Mask, len64};
use super::search;
use crate::types::{Hlc, Lsn, NodeId, Position, SegmentId};

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whose log.
    pub node: NodeId,
    /// Its store; none if nothing was ever written.
    pub store: Option<u64>,
    /// The next record.
    pub next: Lsn,
    /// The segment to go on in.
    pub segment: SegmentId,
    /// Its length, after the cut if there is one; 0 if there is no file yet.
    pub offset: u64,
    /// The highest stamp found.
    pub last_hlc: Hlc,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where the log goes on.
    pub end: End,
    /// What has to be cut before it does.
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
}

impl Scanner {
    /// Nothing read so far of the log of this node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        let (next, segment) = (Lsn::ZERO.next(), SegmentId::ZERO.next());
        let end = End { node, store: None, next, segment, offset: 0, last_hlc: Hlc::default() };
        Self { end, expected: segment, damage: None }
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
        if self.damage.is_some() {
            self.on_segment_behind(segment, bytes)?;
            return Ok(Vec::new());
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
        Scanned { end: self.end, cut: self.damage }
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
        while at < bytes.len() {
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
            return self.on_segment_behind(segment, bytes);
        }
        let at = Place { segment, offset: offset as u64 };
        let lost_bytes = len64(bytes) - at.offset;
        let mut cut = Cut { at, lsn: self.end.next, what, lost_bytes, dropped: 0, behind: Vec::new() };
        self.end.segment = segment;
        self.end.offset = at.offset;
        let mut from = offset;
        while let Some(intact) = self.intact(bytes, from, &cut)? {
            let torn = search::lost_a_sector(bytes, offset, intact.offset) && intact.head.synced < cut.lsn;
            if !torn {
                return Err(cut.refused(Place { segment, offset: intact.offset as u64 }, intact.head.lsn));
            }
            cut.dropped += 1;
            from = intact.offset + intact.head.frame_len();
        }
        self.damage = Some(cut);
        Ok(())
    }

    /// A segment behind damage: it holds nothing intact, or the log is refused.
    fn on_segment_behind(&mut self, segment: SegmentId, bytes: &Bytes) -> Result<(), Error> {
        let mut cut = self.damage.take().expect("called behind damage");
        if let Some(intact) = self.intact(bytes, 0, &cut)? {
            return Err(cut.refused(Place { segment, offset: intact.offset as u64 }, intact.head.lsn));
        }
        cut.lost_bytes += len64(bytes);
        cut.behind.push(segment);
        self.damage = Some(cut);
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
