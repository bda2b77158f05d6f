//! Names of backups: a time and chance, as text that sorts by time (a ULID: <https://github.com/ulid/spec>).

use std::fmt;
use std::str::FromStr;

use crate::types::WallTime;

/// Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of an id: 130 bits, of which the first two are zero.
const LEN: usize = 26;

/// Names one backup: 48 bits of milliseconds since 1970 and 80 random bits. Its order is the order of time, as the
/// writers' clocks told it; what continues what is said by manifests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(u128);

/// The text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a backup: 26 digits, such as 01KAY5M3XH7W9VQZ2T4S8R6P0N")]
pub struct BackupIdError(String);

impl BackupId {
    /// Of this moment and these random bytes.
    #[must_use]
    pub fn new(now: WallTime, random: [u8; 10]) -> Self {
        let low = random.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        Self(u128::from(now.as_millis() & 0xffff_ffff_ffff) << 80 | low)
    }

    /// When it was drawn, in whole milliseconds.
    #[must_use]
    pub fn time(self) -> WallTime {
        let millis = u64::try_from(self.0 >> 80).expect("48 bits");
        WallTime::from_micros(millis * 1_000)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |at: usize| {
            let five = (self.0 >> (5 * (LEN - 1 - at))) & 31;
            char::from(DIGITS[usize::try_from(five).expect("five bits")])
        };
        f.pad(&(0..LEN).map(digit).collect::<String>())
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    /// Only what this program would write: one id has one name.
    fn from_str(text: &str) -> Result<Self, BackupIdError> {
        let bad = || BackupIdError(text.chars().take(64).collect());
        let bytes = text.as_bytes();
        if bytes.len() != LEN || bytes[0] > b'7' {
            return Err(bad());
        }
        bytes
            .iter()
            .try_fold(0_u128, |sum, byte| {
                let digit = DIGITS.iter().position(|digit| digit == byte).ok_or_else(bad)?;
                Ok(sum << 5 | digit as u128)
            })
            .map(Self)
    }
}

impl serde::Serialize for BackupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for BackupId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn an_id_is_a_ulid() {
        // The example of the specification: 1469918176385 ms.
        let id: BackupId = "01ARYZ6S41TSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(id.time(), WallTime::from_micros(1_469_918_176_385_000));
        for bad in [
            "",
            "01ARYZ6S41TSV4RRFFQ69G5FA",
            "81ARYZ6S41TSV4RRFFQ69G5FAV",
            "01aRYZ6S41TSV4RRFFQ69G5FAV",
            "U1ARYZ6S41TSV4RRFFQ69G5FAV",
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    quickcheck! {
        fn names_sort_as_times_do(a: (u32, u64), b: (u32, u64)) -> bool {
            let id = |(secs, luck): (u32, u64)| {
                let [a, b, c, d, e, f, g, h] = luck.to_be_bytes();
                BackupId::new(WallTime::from_micros(u64::from(secs) * 1_000_000), [a, b, c, d, e, f, g, h, 0, 1])
            };
            let (one, two) = (id(a), id(b));
            one.to_string().parse() == Ok(one) && (one < two) == (one.to_string() < two.to_string())
        }
    }
}
