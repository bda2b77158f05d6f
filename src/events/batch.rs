//! What an entry of an origin log holds: some events of one stream, as bytes.
//!
//! One byte of version, then the stream's name, then how many events there are, then each: every text and every event with
//! its length before it, numbers in bincode's variable length. Read without copying: events are slices of the entry.
//!
//! Entries are not compressed. Batches of them are on the wire, where it pays at once; on the disk it would cost each
//! peer the time again for events that were compressed by their makers as a rule, or that live for hours.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Name;

/// The only version there is.
const VERSION: u8 = 1;
/// Largest event, in bytes.
pub const EVENT_MAX: usize = 1 << 20;
/// Most events in one entry.
pub const BATCH_EVENTS_MAX: usize = 1 << 16;
/// Most bytes of events in one entry.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Some events of one stream, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) stream: Name,
    pub(super) events: Vec<Bytes>,
}

/// How many events there are in an entry, and how long they are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) events: u32,
    pub(super) bytes: u32,
}

/// An entry is no batch of events; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Garbled(String);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Batch {
    pub(super) fn encode(&self) -> Bytes {
        let bytes: usize = self.events.iter().map(|event| 5 + event.len()).sum();
        let mut out = BytesMut::with_capacity(16 + self.stream.as_str().len() + bytes);
        out.put_u8(VERSION);
        put_slice(&mut out, self.stream.as_str().as_bytes());
        put_number(&mut out, self.events.len());
        self.events.iter().for_each(|event| put_slice(&mut out, event));
        out.freeze()
    }

    pub(super) fn decode(body: &Bytes) -> Result<Self, Garbled> {
        let mut reader = Reader { body, at: 0 };
        let (stream, count) = reader.head()?;
        // Each event takes a byte at least, so the bytes that are there bound what is allocated.
        let mut events = Vec::with_capacity(count.min(body.len()));
        for _ in 0..count {
            events.push(reader.event()?);
        }
        reader.end()?;
        Ok(Self { stream, events })
    }

    /// Checks an entry and measures it, without keeping its events.
    pub(super) fn measure(body: &Bytes) -> Result<(Name, Extent), Garbled> {
        let mut reader = Reader { body, at: 0 };
        let (stream, count) = reader.head()?;
        let mut bytes = 0;
        for _ in 0..count {
            bytes += reader.span()?.len();
        }
        reader.end()?;
        let narrow = |number: usize| u32::try_from(number).map_err(|_| Garbled(format!("{number} is too many")));
        Ok((stream, Extent { events: narrow(count)?, bytes: narrow(bytes)? }))
    }
}

fn put_slice(out: &mut BytesMut, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.put_slice(bytes);
}

/// As bincode writes a number: one byte up to 250, then a byte that tells the width, and the number, little-endian.
fn put_number(out: &mut BytesMut, number: usize) {
    match (u8::try_from(number), u16::try_from(number), u32::try_from(number)) {
        (Ok(small), ..) if small <= 250 => out.put_u8(small),
        (_, Ok(middle), _) => {
            out.put_u8(251);
            out.put_u16_le(middle);
        }
        (.., Ok(large)) => {
            out.put_u8(252);
            out.put_u32_le(large);
        }
        _ => unreachable!("nothing of a batch is longer than 4 GiB"),
    }
}

struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn head(&mut self) -> Result<(Name, usize), Garbled> {
        match self.take(1)? {
            [VERSION] => {}
            other => return Err(Garbled(format!("a batch of version {}, this program knows {VERSION}", other[0]))),
        }
        let name = self.span()?;
        let text = std::str::from_utf8(&self.body[name]).map_err(|error| Garbled(format!("the stream: {error}")))?;
        let stream = Name::parse(text).map_err(|error| Garbled(error.to_string()))?;
        match self.number()? {
            0 => Err(Garbled("a batch without events".into())),
            count if count > BATCH_EVENTS_MAX => {
                Err(Garbled(format!("{count} events, the limit is {BATCH_EVENTS_MAX}")))
            }
            count => Ok((stream, count)),
        }
    }

    fn event(&mut self) -> Result<Bytes, Garbled> {
        Ok(self.body.slice(self.span()?))
    }

    /// Where the next length and what it measures stand.
    fn span(&mut self) -> Result<std::ops::Range<usize>, Garbled> {
        let len = self.number()?;
        if len > EVENT_MAX {
            return Err(Garbled(format!("an event of {len} bytes, the limit is {EVENT_MAX}")));
        }
        let from = self.at;
        self.take(len)?;
        Ok(from..self.at)
    }

    fn number(&mut self) -> Result<usize, Garbled> {
        Ok(match self.take(1)?[0] {
            251 => usize::from(u16::from_le_bytes(self.array()?)),
            252 => usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
            small if small <= 250 => usize::from(small),
            wide => return Err(Garbled(format!("a number of width {wide} at byte {}", self.at - 1))),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Garbled> {
        let short = || Garbled(format!("it ends at byte {}, in the middle", self.body.len()));
        let taken = self.at.checked_add(len).and_then(|end| self.body.get(self.at..end)).ok_or_else(short)?;
        self.at += len;
        Ok(taken)
    }

    fn end(&self) -> Result<(), Garbled> {
        match self.body.len() - self.at {
            0 => Ok(()),
            left => Err(Garbled(format!("{left} bytes are left over"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(events: &[&'static [u8]]) -> Batch {
        Batch {
            stream: Name::parse("a/b").unwrap(),
            events: events.iter().map(|event| Bytes::from_static(event)).collect(),
        }
    }

    #[test]
    fn golden_bytes() {
        static LONG: [u8; 300] = [7; 300];
        let bytes = batch(&[b"x", b"", &LONG]).encode();
        assert_eq!(&bytes[..12], [1, 3, b'a', b'/', b'b', 3, 1, b'x', 0, 251, 44, 1]);
        assert_eq!(&bytes[12..], LONG);
        assert_eq!(Batch::decode(&bytes), Ok(batch(&[b"x", b"", &LONG])));
        assert_eq!(Batch::measure(&bytes).unwrap().1, Extent { events: 3, bytes: 301 });
    }

    #[test]
    fn what_is_no_batch_is_refused_in_words() {
        for (bytes, why) in [
            (&[][..], "in the middle"),
            (&[2, 1, b'a', 1, 0], "version 2"),
            (&[1, 1, b'?', 1, 0], "not allowed"),
            (&[1, 1, b'a', 0], "without events"),
            (&[1, 1, b'a', 1, 3, 0], "in the middle"),
            (&[1, 1, b'a', 1, 0, 9], "1 bytes are left over"),
            (&[1, 1, b'a', 252, 0, 0, 0, 1], "16777216 events"),
            (&[1, 1, b'a', 1, 252, 0, 0, 0, 1], "16777216 bytes"),
            (&[1, 1, b'a', 253], "width 253"),
        ] {
            let body = Bytes::copy_from_slice(bytes);
            let error = Batch::decode(&body).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(Batch::measure(&body).unwrap_err().to_string(), error);
        }
    }

    quickcheck::quickcheck! {
        fn what_was_written_is_read(events: Vec<Vec<u8>>) -> bool {
            let mut events: Vec<Bytes> = events.into_iter().map(Bytes::from).collect();
            events.push(Bytes::new());
            let batch = Batch { stream: Name::parse("s").unwrap(), events };
            Batch::decode(&batch.encode()) == Ok(batch)
        }

        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) -> bool {
            let body = Bytes::from(bytes);
            Batch::decode(&body).is_ok() == Batch::measure(&body).is_ok()
        }
    }
}
