//! Contexts of zstd that are used again: to make one costs more than to compress a small payload, since it asks the processor what
//! it can, which below a hypervisor takes tens of microseconds.
//!
//! One of each kind a thread, whatever machine asks. Nothing of one payload is left for the next, so bytes are the same as from
//! a new context.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

/// Longer payloads get a context of their own: what is kept takes no more memory than these need.
const KEPT_MAX: usize = 128 << 10;

thread_local! {
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a payload.
pub(super) fn pack(payload: &[u8], level: i32) -> io::Result<Vec<u8>> {
    if payload.len() > KEPT_MAX {
        return zstd::bulk::compress(payload, level);
    }
    PACKER.with_borrow_mut(|kept| {
        let mut packer = kept.take().map_or_else(|| Compressor::new(level), Ok)?;
        packer.set_compression_level(level)?;
        let packed = packer.compress(payload)?;
        *kept = Some(packer);
        Ok(packed)
    })
}

/// The payload again, which has so many bytes at most.
pub(super) fn unpack(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    UNPACKER.with_borrow_mut(|kept| {
        // One that failed is not kept.
        let mut unpacker = kept.take().map_or_else(Decompressor::new, Ok)?;
        let plain = unpacker.decompress(packed, len)?;
        *kept = Some(unpacker);
        Ok(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn a_context_that_is_used_again_gives_the_bytes_of_a_new_one(payloads: Vec<(Vec<u8>, bool)>) -> bool {
            payloads.iter().all(|(payload, garbage)| {
                let payload = payload.repeat(7);
                let level = i32::try_from(payload.len() % 3).unwrap() + 1;
                let packed = pack(&payload, level).unwrap();
                // What cannot be unpacked must not harm what comes next.
                let refused = !garbage || unpack(&packed[..packed.len() - 1], payload.len()).is_err();
                refused
                    && packed == zstd::bulk::compress(&payload, level).unwrap()
                    && unpack(&packed, payload.len()).unwrap() == payload
            })
        }
    }
}
