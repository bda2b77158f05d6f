//! To which moment: what somebody asks for, and whether it can be had.
//!
//! **How the two chains are cut.** Every record of either chain carries a stamp of one clock that only rises
//! ([`Own`](crate::node::Own)'s frames). A target becomes one bound on stamps, and both chains are cut at it: what is taken is what
//! the log held at one moment. An LSN and a point name a record of the main chain; its stamp is the bound.
//!
//! **An unreachable target is an error**, before anything is written, and the error lists what is restorable. There is no falling
//! back: who asked for a moment that cannot be had is not given another one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::node::Point;
use crate::types::{Hlc, Lsn, WallTime};

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// All that there is.
    Latest,
    /// The state at a time, by the log's own stamps.
    Time(WallTime),
    /// So long ago.
    Ago(Duration),
    /// A record of the main chain.
    Lsn(Lsn),
    /// A named restore point.
    Point(String),
    /// A backup, by its id: only a repository knows it.
    Backup(String),
    /// A snapshot beside the log, by its id: the moment up to which it goes.
    Snapshot(String),
}

/// A text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no moment: {why}; say `latest`, a time with its zone (2026-11-25T12:00:00Z, 2026-11-25T13:00:00+01:00), how long \
     ago (90s, 10m, 2h, 1d), `lsn:N`, `point:NAME`, `backup:ID` or `snapshot:ID`"
)]
pub struct TargetSyntax {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for Target {
    type Err = TargetSyntax;

    fn from_str(text: &str) -> Result<Self, TargetSyntax> {
        let refuse = |why| TargetSyntax { text: text.to_owned(), why };
        let named = |name: &str| if name.is_empty() { Err(refuse("the name is empty")) } else { Ok(name.to_owned()) };
        match text.split_once(':') {
            Some(("lsn", n)) => {
                let lsn = n.parse().map_err(|_| refuse("an LSN is a number"))?;
                return Ok(Self::Lsn(Lsn::new(lsn)));
            }
            Some(("point", name)) => return named(name).map(Self::Point),
            Some(("backup", name)) => return named(name).map(Self::Backup),
            Some(("snapshot", name)) => return named(name).map(Self::Snapshot),
            _ => {}
        }
        if text == "latest" {
            return Ok(Self::Latest);
        }
        match ago(text) {
            Some(ago) => Ok(Self::Ago(ago)),
            None => time(text).map(Self::Time).map_err(refuse),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Time(at) => Stamp(*at).fmt(f),
            Self::Ago(ago) => {
                let millis = ago.as_millis();
                let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
                let unit_name = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
                let (unit, name) = unit_name.unwrap_or((1, "ms"));
                write!(f, "{}{name} ago", millis / unit)
            }
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Point(name) => write!(f, "point:{name}"),
            Self::Backup(id) => write!(f, "backup:{id}"),
            Self::Snapshot(id) => write!(f, "snapshot:{id}"),
        }
    }
}

/// A time as it can be given back as a target: RFC 3339 with all its microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub WallTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.to_string();
        write!(f, "{}{:03}Z", millis.trim_end_matches('Z'), self.0.as_micros() % 1_000)
    }
}

/// A number and a unit.
fn ago(text: &str) -> Option<Duration> {
    let text = text.strip_suffix(" ago").unwrap_or(text);
    match text.strip_suffix("min") {
        Some(count) => crate::config::span(&format!("{count}m")),
        None => crate::config::span(text),
    }
}

/// RFC 3339, to the microsecond; a zone must be there.
fn time(text: &str) -> Result<WallTime, &'static str> {
    const SHAPE: &str = "it is neither a time nor anything else that is known";
    let digits = |range: std::ops::Range<usize>| -> Result<i64, &'static str> {
        let part = text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).ok_or(SHAPE)?;
        part.parse().map_err(|_| SHAPE)
    };
    let marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    if marks.iter().any(|(at, mark)| text.get(*at..at + 1) != Some(mark))
        || !matches!(text.get(10..11), Some("T" | "t" | " "))
    {
        return Err(SHAPE);
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return Err("there is no such day");
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err("there is no such time of day");
    }
    let (micros, zone) = fraction(text.get(19..).unwrap_or_default())?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    let seconds = u64::try_from(seconds).map_err(|_| "it is before 1970")?;
    Ok(WallTime::from_micros(seconds * 1_000_000 + micros))
}

/// Microseconds, and what stands behind them.
fn fraction(rest: &str) -> Result<(u64, &str), &'static str> {
    let Some(tail) = rest.strip_prefix('.') else { return Ok((0, rest)) };
    let zone = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &tail[..tail.len() - zone.len()];
    if digits.is_empty() || digits.len() > 6 {
        return Err("a fraction of a second has one to six digits");
    }
    let micros: u64 = format!("{digits:0<6}").parse().map_err(|_| "a fraction of a second has one to six digits")?;
    Ok((micros, zone))
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Result<i64, &'static str> {
    const NONE: &str = "its zone is missing: end it with Z, or with +HH:MM or -HH:MM";
    if matches!(zone, "Z" | "z") {
        return Ok(0);
    }
    let sign = match zone.get(..1) {
        Some("+") => 1,
        Some("-") => -1,
        _ => return Err(NONE),
    };
    let (hours, minutes) = zone[1..].split_once(':').ok_or(NONE)?;
    let number = |text: &str, most: i64| {
        let number = (text.len() == 2).then(|| text.parse::<i64>().ok()).flatten();
        number.filter(|number| (0..=most).contains(number)).ok_or("there is no such zone")
    };
    Ok(sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970: H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// A record of the main chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its number.
    pub lsn: Lsn,
    /// When it became part of the log.
    pub at: Hlc,
}

/// From where to where one can go back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restorable {
    /// The first record.
    pub oldest: Option<Mark>,
    /// The last.
    pub newest: Option<Mark>,
    /// Up to when it is known that there is nothing else: now, for a log at hand; when the last range was archived, for a
    /// repository.
    pub known_until: WallTime,
    /// Named points, in order of the log.
    pub points: Vec<Point>,
    /// Ids of backups and snapshots.
    pub ids: Vec<String>,
}

impl fmt::Display for Restorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else { return f.write_str("nothing") };
        write!(f, "lsn:{} ({}) to lsn:{} ({})", oldest.lsn, Stamp(oldest.at.wall), newest.lsn, Stamp(newest.at.wall))?;
        for point in &self.points {
            write!(f, ", point:{} (lsn:{}, {})", point.name, point.lsn, Stamp(point.at.wall))?;
        }
        self.ids.iter().try_for_each(|id| write!(f, ", {id}"))
    }
}

/// Where to cut, of what is known to be restorable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nowhere: all that there is.
    Everything,
    /// All records with stamps up to this one, or below it.
    Stamp {
        /// The stamp.
        at: Hlc,
        /// Whether records with this very stamp are taken too.
        inclusive: bool,
    },
    /// The same of the stamp of this record of the main chain.
    Lsn {
        /// The record.
        lsn: Lsn,
        /// Whether it is taken too.
        inclusive: bool,
    },
}

/// Why a target cannot be had. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; restorable is: {restorable}")]
pub struct TargetError {
    /// Why.
    pub why: Unreachable,
    /// What can be had instead.
    pub restorable: Box<Restorable>,
}

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The log is empty.
    #[error("there is no record at all")]
    Nothing,
    /// Nothing is that old.
    #[error("{target} is before the first record")]
    BeforeOldest {
        /// What was asked for.
        target: String,
    },
    /// The first record is to be left out, and it is all that there would be.
    #[error("{target} is the first moment there is, and with --exclusive nothing is before it")]
    NothingBefore {
        /// What was asked for.
        target: String,
    },
    /// It is not there yet, or not known yet.
    #[error("{target} is later than what is known")]
    AfterNewest {
        /// What was asked for.
        target: String,
    },
    /// It has not come yet.
    #[error("{target} is in the future: now is {}", Stamp(*now))]
    Future {
        /// What was asked for.
        target: String,
        /// The wall clock.
        now: WallTime,
    },
    /// There is no such point.
    #[error("there is no restore point {name:?}")]
    UnknownPoint {
        /// The name.
        name: String,
    },
    /// Several points have that name.
    #[error("there are several restore points {name:?}, at {}: name one by its LSN", places(lsns))]
    Ambiguous {
        /// The name.
        name: String,
        /// Where they stand.
        lsns: Vec<Lsn>,
    },
    /// Only a repository has it.
    #[error("{target} is not in this log")]
    Elsewhere {
        /// What was asked for.
        target: String,
    },
    /// There is no such snapshot beside the log.
    #[error("there is no {target} beside this log")]
    UnknownSnapshot {
        /// What was asked for.
        target: String,
    },
    /// It does not say which moment it is of.
    #[error("{target} is not good: {why}")]
    BadSnapshot {
        /// What was asked for.
        target: String,
        /// What is wrong with it.
        why: String,
    },
    /// Repositories hold none.
    #[error("{target} is not known here: a snapshot is beside its peer's log, and no repository holds it")]
    NoSnapshots {
        /// What was asked for.
        target: String,
    },
    /// The log is damaged before that moment, or at it.
    #[error("{target} is behind damage: {damage}")]
    Damaged {
        /// What was asked for.
        target: String,
        /// Where, and what.
        damage: String,
    },
}

fn places(lsns: &[Lsn]) -> String {
    lsns.iter().map(|lsn| format!("lsn:{lsn}")).collect::<Vec<_>>().join(" and ")
}

impl Restorable {
    /// Where to cut for this target. `exclusive` leaves out what stands at the target itself: the record, the point's own record, or
    /// records of that very time.
    ///
    /// # Errors
    /// [`TargetError`], with all that is restorable.
    pub fn bound(&self, target: &Target, exclusive: bool, now: WallTime) -> Result<Bound, TargetError> {
        self.try_bound(target, !exclusive, now).map_err(|why| self.refuse(why))
    }

    /// An error that lists what is restorable.
    #[must_use]
    pub fn refuse(&self, why: Unreachable) -> TargetError {
        TargetError { why, restorable: Box::new(self.clone()) }
    }

    fn try_bound(&self, target: &Target, inclusive: bool, now: WallTime) -> Result<Bound, Unreachable> {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else { return Err(Unreachable::Nothing) };
        let said = || target.to_string();
        let at_record = |lsn: Lsn| match () {
            () if lsn < oldest.lsn => Err(Unreachable::BeforeOldest { target: said() }),
            () if lsn == oldest.lsn && !inclusive => Err(Unreachable::NothingBefore { target: said() }),
            () if lsn > newest.lsn => Err(Unreachable::AfterNewest { target: said() }),
            () => Ok(Bound::Lsn { lsn, inclusive }),
        };
        let at_time = |wall: WallTime| {
            let at = Hlc { wall, logical: if inclusive { u32::MAX } else { 0 } };
            match () {
                () if wall > now => Err(Unreachable::Future { target: said(), now }),
                () if wall > self.known_until => Err(Unreachable::AfterNewest { target: said() }),
                () if !inclusive && wall == oldest.at.wall => Err(Unreachable::NothingBefore { target: said() }),
                () if at < oldest.at => Err(Unreachable::BeforeOldest { target: said() }),
                () => Ok(Bound::Stamp { at, inclusive }),
            }
        };
        match target {
            Target::Latest if inclusive => Ok(Bound::Everything),
            Target::Latest => at_record(newest.lsn),
            Target::Time(wall) => at_time(*wall),
            Target::Ago(ago) => {
                let micros = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
                at_time(WallTime::from_micros(now.as_micros().saturating_sub(micros)))
            }
            Target::Lsn(lsn) => at_record(*lsn),
            Target::Point(name) => {
                let found: Vec<Lsn> =
                    self.points.iter().filter(|point| point.name == *name).map(|point| point.lsn).collect();
                match found[..] {
                    [] => Err(Unreachable::UnknownPoint { name: name.clone() }),
                    [lsn] => at_record(lsn),
                    _ => Err(Unreachable::Ambiguous { name: name.clone(), lsns: found }),
                }
            }
            Target::Backup(_) => Err(Unreachable::Elsewhere { target: said() }),
            // Whoever looks at a log's directory makes a record of it first.
            Target::Snapshot(_) => Err(Unreachable::NoSnapshots { target: said() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Target, TargetSyntax> {
        text.parse()
    }

    fn at(micros: u64) -> WallTime {
        WallTime::from_micros(micros)
    }

    fn mark(lsn: u64, micros: u64) -> Mark {
        Mark { lsn: Lsn::new(lsn), at: Hlc { wall: at(micros), logical: 3 } }
    }

    fn point(name: &str, lsn: u64) -> Point {
        Point { name: name.into(), lsn: Lsn::new(lsn), at: mark(lsn, 500).at }
    }

    fn restorable() -> Restorable {
        Restorable {
            oldest: Some(mark(1, 100)),
            newest: Some(mark(9, 900)),
            known_until: at(950),
            points: vec![point("noon", 5), point("twice", 6), point("twice", 7)],
            ids: vec!["backup:b1".into()],
        }
    }

    #[test]
    fn targets_are_read_as_people_write_them() {
        let lsn = |n| Ok(Target::Lsn(Lsn::new(n)));
        assert_eq!([parsed("latest"), parsed("lsn:7")], [Ok(Target::Latest), lsn(7)]);
        assert_eq!(parsed("point:noon"), Ok(Target::Point("noon".into())));
        assert_eq!([parsed("10m"), parsed("10m ago")], [600, 600].map(|s| Ok(Target::Ago(Duration::from_secs(s)))));
        assert_eq!(parsed("1500ms"), Ok(Target::Ago(Duration::from_millis(1_500))));
        let said = ["2h", "90m", "1d", "61s", "1500ms", "0s"].map(|text| parsed(text).unwrap().to_string());
        assert_eq!(said, ["2h ago", "90m ago", "1d ago", "61s ago", "1500ms ago", "0ms ago"]);
        let time = |micros| Ok(Target::Time(at(micros)));
        assert_eq!(parsed("2000-02-29T00:00:00.123Z"), time(951_782_400_123_000));
        assert_eq!(parsed("2026-11-23T04:41:01+02:00"), time(1_795_401_661_000_000));
        assert_eq!(parsed("2026-11-22 22:11:01.000001-04:30"), time(1_795_401_661_000_001));
        assert_eq!(parsed("1970-01-01T00:00:00z"), time(0));
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_reason() {
        let why = |text: &str| parsed(text).unwrap_err().why;
        assert!(why("2026-11-23T04:41:01").contains("zone is missing"));
        assert!(why("2026-11-23T04:41:01+25:00").contains("no such zone"));
        assert!(why("2025-02-29T00:00:00Z").contains("no such day"));
        assert!(why("2025-02-28T24:00:00Z").contains("no such time"));
        assert!(why("1969-12-31T23:59:59Z").contains("before 1970"));
        assert!(why("2025-02-28T00:00:00.1234567Z").contains("six digits"));
        assert!(why("lsn:x").contains("number") && why("point:").contains("empty"));
        for text in ["", "now", "5", "5y", "99999999999999999999s", "2026-1-1T00:00:00Z", "é026-11-23T04:41:01Z", "lsn"]
        {
            assert!(why(text).contains("neither"), "{text}");
        }
    }

    quickcheck::quickcheck! {
        fn a_time_that_is_shown_is_read_back(micros: u64) -> bool {
            let wall = at(micros % 250_000_000_000_000_000);
            parsed(&Stamp(wall).to_string()) == Ok(Target::Time(wall))
        }

        fn no_text_makes_it_panic(text: String) -> bool {
            let _ = parsed(&text);
            true
        }
    }

    #[test]
    fn a_target_becomes_a_bound_on_stamps() {
        let bound = |text: &str, exclusive| restorable().bound(&parsed(text).unwrap(), exclusive, at(1_000)).unwrap();
        let lsn = |n, inclusive| Bound::Lsn { lsn: Lsn::new(n), inclusive };
        assert_eq!([bound("latest", false), bound("latest", true)], [Bound::Everything, lsn(9, false)]);
        assert_eq!([bound("lsn:1", false), bound("lsn:9", true)], [lsn(1, true), lsn(9, false)]);
        assert_eq!([bound("point:noon", false), bound("point:noon", true)], [lsn(5, true), lsn(5, false)]);
        let exclusive = restorable().bound(&Target::Time(at(500)), true, at(1_000)).unwrap();
        assert_eq!(exclusive, Bound::Stamp { at: Hlc { wall: at(500), logical: 0 }, inclusive: false });
        let inclusive = restorable().bound(&Target::Time(at(100)), false, at(1_000)).unwrap();
        assert_eq!(inclusive, Bound::Stamp { at: Hlc { wall: at(100), logical: u32::MAX }, inclusive: true });
    }

    #[test]
    fn an_unreachable_target_is_refused_and_what_is_restorable_is_listed() {
        let why = |target: Target, exclusive| {
            let refused = restorable().bound(&target, exclusive, at(1_000)).unwrap_err();
            assert!(
                refused.to_string().contains("restorable is: lsn:1 (1970-01-01T00:00:00.000100Z) to lsn:9"),
                "{refused}"
            );
            assert!(refused.to_string().ends_with("backup:b1"), "{refused}");
            refused.why
        };
        use Unreachable as U;
        let (lsn, time) = (|n| Target::Lsn(Lsn::new(n)), |n| Target::Time(at(n)));
        assert!(matches!(why(lsn(0), false), U::BeforeOldest { .. }));
        assert!(matches!(why(lsn(1), true), U::NothingBefore { .. }));
        assert!(!why(lsn(1), true).to_string().contains("before the first"));
        assert!(matches!(why(lsn(10), false), U::AfterNewest { .. }));
        assert!(matches!(why(lsn(10), true), U::AfterNewest { .. }), "not the one before it instead");
        assert!(matches!(why(time(99), false), U::BeforeOldest { .. }));
        assert!(matches!(why(time(100), true), U::NothingBefore { .. }));
        assert!(matches!(why(time(1_001), false), U::Future { .. }));
        assert!(matches!(why(time(951), false), U::AfterNewest { .. }), "nobody knows what came then");
        assert!(matches!(why(Target::Ago(Duration::from_secs(9)), false), U::BeforeOldest { .. }));
        assert!(matches!(why(Target::Point("dawn".into()), false), U::UnknownPoint { .. }));
        let twice = why(Target::Point("twice".into()), false);
        assert!(twice.to_string().contains("lsn:6 and lsn:7"), "{twice}");
        assert!(matches!(why(Target::Backup("b".into()), false), U::Elsewhere { .. }));
        assert!(matches!(why(Target::Snapshot("1".into()), false), U::NoSnapshots { .. }));
        let empty = Restorable::default().bound(&Target::Latest, false, at(1)).unwrap_err();
        assert_eq!(empty.why, U::Nothing);
    }
}
