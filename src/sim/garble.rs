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

/// A frame that only the next version knows, now and then, as [`wire`](crate::wire) lets it send: of a kind that asks to be skipped,
/// and behind that whatever it likes.
pub(super) fn unknown(luck: Stream, way: u64, at: u64, ppm: u64, beside: &Bytes) -> Option<Bytes> {
    /// The first kind that nobody has yet, skippable, and how many there are.
    const NEXT_KINDS: (u8, u64) = (0x87, 0x79);
    const CODINGS: u64 = 4;
    let counter = digest64(beside).value() ^ at;
    let draw = |n: u64, bound: u64| luck.below(way, counter.wrapping_add(n), bound);
    luck.chance(way, counter, ppm).then(|| {
        let byte = |drawn: u64| u8::try_from(drawn).expect("below 256");
        let head = [crate::wire::VERSION, NEXT_KINDS.0 + byte(draw(1, NEXT_KINDS.1)), byte(draw(2, CODINGS))];
        let payload = luck.bits(way, counter.wrapping_add(3)).to_be_bytes().repeat(usize::from(byte(draw(4, 16))));
        [&head[..], &payload].concat().into()
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
