//! Bytes as hexadecimal digits.

/// Lower-case hexadecimal digits, two a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |digit: u8| char::from(DIGITS[usize::from(digit)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that such digits name, of either case; nothing if there is anything else, or half a byte.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn what_was_written_is_read(bytes: Vec<u8>) -> bool {
            let text = hex(&bytes);
            unhex(&text) == Some(bytes.clone()) && unhex(&text.to_uppercase()) == Some(bytes)
        }
    }

    #[test]
    fn digits_are_two_a_byte_and_nothing_else() {
        assert_eq!(hex(&[0, 0x1f, 0xa0]), "001fa0");
        for text in ["0", "001", "+1", " 1", "0g", "é"] {
            assert_eq!(unhex(text), None, "{text:?}");
        }
    }
}
