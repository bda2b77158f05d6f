//! Takes bytes from the front: plain ones and LEB128 numbers, each in its shortest form.

use super::Refusal;

const SHORTEST: Refusal = Refusal::Encoding("a number is not in its shortest form");
const ENDS: Refusal = Refusal::NotAChange("it ends too early");

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    /// As [`take`](Self::take), of a length that stands before it.
    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], Refusal> {
        let len = usize::try_from(self.unsigned()?).map_err(|_| ENDS)?;
        self.take(len).ok_or(ENDS)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Refusal> {
        std::str::from_utf8(self.prefixed()?).map_err(|_| Refusal::NotAChange("a text is not UTF-8"))
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Refusal> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(SHORTEST);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(SHORTEST) } else { Ok(value) };
            }
        }
        Err(SHORTEST)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Refusal> {
        let (mut value, mut before) = (0_i64, 0_u8);
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = i64::from(byte & 0x7f);
            if shift == 63 && bits != 0 && bits != 0x7f {
                return Err(SHORTEST);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // The last byte may not merely repeat the sign that the byte before it already has.
                let repeats = (byte == 0 && before & 0x40 == 0) || (byte == 0x7f && before & 0x40 != 0);
                if shift > 0 && repeats {
                    return Err(SHORTEST);
                }
                let negative = byte & 0x40 != 0 && shift < 57;
                return Ok(if negative { value | -1 << (shift + 7) } else { value });
            }
            before = byte;
        }
        Err(SHORTEST)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        let [byte, rest @ ..] = self.bytes else { return Err(ENDS) };
        self.bytes = rest;
        Ok(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_shortest_form_only() {
        let unsigned = |bytes: &[u8]| Reader::new(bytes).unsigned().ok();
        let signed = |bytes: &[u8]| Reader::new(bytes).signed().ok();
        assert_eq!(unsigned(&[0xe5, 0x8e, 0x26]), Some(624_485));
        assert_eq!(unsigned(&[0x80, 0x00]), None);
        assert_eq!(unsigned(&[0xff; 10]), None);
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some(u64::MAX));
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(signed(&[0x7f]), Some(-1));
        assert_eq!(signed(&[0xff, 0x7f]), None);
        assert_eq!(signed(&[0x40]), Some(-64));
        assert_eq!(signed(&[0xc0, 0x00]), Some(64));
        assert_eq!(signed(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f]), Some(i64::MIN));
        assert_eq!(signed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]), Some(i64::MAX));
        assert_eq!(signed(&[]), None);
    }
}
