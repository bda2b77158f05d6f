//! Quantities as people write them: a number and its unit, `"0.4ms"`, `"1Gbit"`, `"100ppm"`. All arithmetic is in
//! integers, so that a text means the same on every machine.

use std::time::Duration;

use super::Ppm;

/// Why a text is not a quantity. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// It does not begin with a decimal number.
    #[error("{text:?} does not begin with a number; expected one with a unit, such as {example:?}")]
    Number {
        /// The text.
        text: String,
        /// A text that would do.
        example: &'static str,
    },
    /// The unit is missing or unknown.
    #[error("{text:?} has no known unit; expected one of {units}")]
    Unit {
        /// The text.
        text: String,
        /// The known units.
        units: String,
    },
    /// The value cannot be kept exactly.
    #[error("{text:?} is {how}; the range is {range}")]
    Range {
        /// The text.
        text: String,
        /// `too large` or `too fine`.
        how: &'static str,
        /// What can be kept.
        range: &'static str,
    },
}

/// A unit and how many of the smallest unit it is.
type Unit = (&'static str, u64);

struct Kind {
    units: &'static [Unit],
    max: u64,
    example: &'static str,
    range: &'static str,
}

const TIME: Kind = Kind {
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    max: 1_000 * 3_600_000_000_000,
    example: "0.4ms",
    range: "0ns to 1000h",
};

const RATE: Kind = Kind {
    units: &[("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000), ("Tbit", 1_000_000_000_000)],
    max: 1_000_000_000_000_000,
    example: "1Gbit",
    range: "0bit to 1000Tbit",
};

const SHARE: Kind =
    Kind { units: &[("ppm", 1), ("%", 10_000)], max: 1_000_000, example: "100ppm", range: "0ppm to 100%" };

/// A length of time: `"250us"`, `"0.4ms"`, `"1.5s"`, `"2min"`, `"1h"`.
///
/// # Errors
/// [`QuantityError`] when the text is not a number with one of these units, or not a whole number of nanoseconds.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    TIME.read(text).map(Duration::from_nanos)
}

/// A bandwidth in bits a second: `"64kbit"`, `"200Mbit"`, `"1Gbit"`.
///
/// # Errors
/// [`QuantityError`] when the text is not a number with one of these units, or not a whole number of bits.
pub fn bandwidth(text: &str) -> Result<u64, QuantityError> {
    RATE.read(text)
}

/// A share of all: `"100ppm"`, `"0.5%"`.
///
/// # Errors
/// [`QuantityError`] when the text is not a number with one of these units, above one, or finer than a part in a million.
pub fn ppm(text: &str) -> Result<Ppm, QuantityError> {
    SHARE.read(text).map(|value| Ppm::new(u32::try_from(value).expect("at most a million")).expect("at most a million"))
}

impl Kind {
    fn read(&self, text: &str) -> Result<u64, QuantityError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError::Number { text: text.into(), example: self.example });
        }
        let Some((_, scale)) = self.units.iter().find(|(name, _)| *name == unit.trim_start()) else {
            let units = self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(QuantityError::Unit { text: text.into(), units });
        };
        self.scaled(text, whole, fraction.trim_end_matches('0'), *scale)
    }

    fn scaled(&self, text: &str, whole: &str, fraction: &str, scale: u64) -> Result<u64, QuantityError> {
        let out = |how| QuantityError::Range { text: text.into(), how, range: self.range };
        let whole: u64 = whole.parse().map_err(|_| out("too large"))?;
        let whole = whole.checked_mul(scale).filter(|value| *value <= self.max).ok_or_else(|| out("too large"))?;
        let mut value = whole;
        let mut step = scale;
        for digit in fraction.bytes() {
            if !step.is_multiple_of(10) {
                return Err(out("too fine"));
            }
            step /= 10;
            value += step * u64::from(digit - b'0');
        }
        if value <= self.max { Ok(value) } else { Err(out("too large")) }
    }
}
