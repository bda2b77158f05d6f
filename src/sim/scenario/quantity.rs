//! Numbers as people write them, every one with its unit; durations and shares as in topology files. Read into integers:
//! no float reaches the simulation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;

use crate::topology;

/// A duration in nanoseconds: `10s`, `1.5ms`, `2min`, `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) u64);

/// A share in parts per million, at most all: `5%`, `100ppm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share(pub(crate) u64);

/// How often, as the time from one to the next: `20/s`, `3/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds from one to the next; at least 1.
    pub(crate) every_ns: u64,
}

/// Bytes: `512B`, `64KiB`, `10MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const PER: &[(&str, u64)] = &[("s", 1_000_000_000), ("min", 60_000_000_000), ("h", 3_600_000_000_000)];
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let span = topology::duration(text).map_err(|error| error.to_string())?;
        u64::try_from(span.as_nanos()).map(Self).map_err(|_| format!("{text:?} is too long"))
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        topology::ppm(text).map(|ppm| Self(u64::from(ppm.value()))).map_err(|error| error.to_string())
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('/').and_then(|(count, per)| {
            let (_, per_ns) = PER.iter().find(|(name, _)| *name == per)?;
            per_ns.checked_div(count.parse().ok()?).filter(|every_ns| *every_ns > 0)
        });
        read.map(|every_ns| Self { every_ns })
            .ok_or_else(|| format!("{text:?} is not a rate such as \"20/s\" or \"3/min\""))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = SIZES.iter().find_map(|(unit, factor)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(*factor)
        });
        read.map(Self).ok_or_else(|| format!("{text:?} is not a size such as \"64KiB\""))
    }
}

macro_rules! from_text {
    ($($name:ident)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
from_text! { Span Share Rate Size }

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units_into_integers() {
        assert_eq!("1.5ms".parse(), Ok(Span(1_500_000)));
        assert_eq!("0.01%".parse(), Ok(Share(100)));
        assert_eq!("20/s".parse(), Ok(Rate { every_ns: 50_000_000 }));
        assert_eq!("30/min".parse(), Ok(Rate { every_ns: 2_000_000_000 }));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert_eq!("7B".parse(), Ok(Size(7)));
    }

    #[test]
    fn what_has_no_unit_or_no_sense_is_refused() {
        for bad in ["", "10", "s", "-1s", "1e3s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
        for bad in ["101%", "5", "%", "0/s", "5/x", "-1/s", "/s"] {
            assert!(bad.parse::<Share>().is_err() && bad.parse::<Rate>().is_err(), "{bad:?}");
        }
        for bad in ["KiB", "1.5KiB", "99999999999GiB", "5"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }
}
