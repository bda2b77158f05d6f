//! Frames that say something else than their sender meant: what a peer with bad memory sends, or one that lies at random.
//!
//! The transport's own checksums are passed: a frame is changed before it is sealed, as by its sender. Most of what comes out
//! cannot be read; of the rest each says one thing that was never so.

use bytes::Bytes;

use super::luck::Stream;
use crate::types::digest64;

/// The frame, or now and then another one. Draws are functions of the frame, its way and the time.
pub(super) fn garbled(luck: Stream, way: u64, at: u64, ppm: u64, frame: Bytes) -> Bytes {
    let counter = digest64(&frame).value() ^ at;
    if !luck.chance(way, counter, ppm) || frame.is_empty() {
        return frame;
    }
    let mut bytes = frame.to_vec();
    let draw = |n: u64, bound: usize| {
        let drawn = luck.below(way, counter.wrapping_add(n), bound as u64);
        usize::try_from(drawn).expect("below a usize")
    };
    let place = draw(1, bytes.len());
    let byte = u8::try_from(draw(2, 256)).expect("below 256");
    match draw(3, 5) {
        0 => bytes.truncate(place),
        1 => bytes.insert(place, byte),
        2 => drop(bytes.remove(place)),
        3 => bytes[place] ^= 1 << (byte & 7),
        _ => bytes[place] = byte,
    }
    bytes.into()
}

/// A frame that only the next minor version of the wire knows, now and then: its kind says that others are to skip it.
pub(super) fn unknown(luck: Stream, way: u64, at: u64, ppm: u64, beside: &Bytes) -> Option<Bytes> {
    /// The first kind that nobody has yet, skippable.
    const NEXT_KIND: u8 = 0x80 | 0x7f;
    let counter = digest64(beside).value() ^ at;
    luck.chance(way, counter, ppm).then(|| {
        let payload = luck.bits(way, counter.wrapping_add(1)).to_be_bytes();
        [&[crate::wire::VERSION, NEXT_KIND, 0][..], &payload[..]].concat().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_frames_as_asked_say_something_else() {
        let luck = super::super::luck::Luck::new(1, "x").stream("garble");
        let frame = |n: u64| Bytes::copy_from_slice(&n.to_be_bytes());
        let count = |ppm| (0..1_000).filter(|n| garbled(luck, 3, *n, ppm, frame(*n)) != frame(*n)).count();
        assert_eq!(count(0), 0);
        assert!((200..300).contains(&count(250_000)), "{}", count(250_000));
    }
}
