//! Which backups are kept. Pure: backups and a moment in, a verdict with reasons for each out.
//!
//! Each rule keeps the newest backup of each of the last so many hours, days, weeks (from Monday) or months that have
//! one, by the calendar in UTC. What a kept backup continues is kept with it. Backups dated in the future are kept and
//! stand outside the rules: with a wrong clock, or ill will, they would push out the others (restic's documentation,
//! "Security considerations in append-only mode").
//!
//! Ranges of a live archive stand outside the rules too: there are thousands, and each is kept until another one replaces it.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Error;
use super::id::BackupId;
use crate::types::WallTime;

/// How far ahead of now a backup may be dated and still count: clocks differ.
const FUTURE_MICROS: u64 = 3_600_000_000;

/// What to keep. All of it is counted among the backups of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retention {
    /// The last so many.
    pub last: u32,
    /// One for each of so many hours.
    pub hourly: u32,
    /// One for each of so many days.
    pub daily: u32,
    /// One for each of so many weeks.
    pub weekly: u32,
    /// One for each of so many months.
    pub monthly: u32,
}

/// A backup, as far as keeping it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: BackupId,
    pub(super) parent: Option<BackupId>,
    /// When it was finished.
    pub(super) at: WallTime,
    /// It is a range of a live archive.
    pub(super) archive: bool,
    /// And this one stands for it.
    pub(super) replaced_by: Option<BackupId>,
}

/// For each backup that is kept, why.
pub(super) type Kept = BTreeMap<BackupId, BTreeSet<String>>;

impl Retention {
    /// # Errors
    /// [`Error::EmptyPolicy`].
    pub(super) fn judge(&self, backups: &[Candidate], now: WallTime) -> Result<Kept, Error> {
        let mut kept = Kept::new();
        let mut keep = |id, why: String| {
            kept.entry(id).or_default().insert(why);
        };
        if *self == Self::default() {
            return Err(Error::EmptyPolicy);
        }
        let mut past: Vec<&Candidate> = Vec::new();
        for backup in backups {
            if is_future(backup.at, now) {
                keep(backup.id, "dated in the future".into());
            } else if backup.archive {
                if backup.replaced_by.is_none() {
                    keep(backup.id, "archive".into());
                }
            } else {
                past.push(backup);
            }
        }
        past.sort_by_key(|backup| std::cmp::Reverse((backup.at, backup.id)));
        if let Some(newest) = past.first() {
            keep(newest.id, "newest".into());
        }
        for backup in past.iter().take(count(self.last)) {
            keep(backup.id, "last".into());
        }
        for (rule, times, bucket) in [
            ("hourly", self.hourly, hour as fn(WallTime) -> u64),
            ("daily", self.daily, day),
            ("weekly", self.weekly, week),
            ("monthly", self.monthly, month),
        ] {
            let mut seen = BTreeSet::new();
            for backup in &past {
                if seen.len() < count(times) && seen.insert(bucket(backup.at)) {
                    keep(backup.id, rule.into());
                }
            }
        }
        close(backups, &mut kept);
        Ok(kept)
    }
}

/// Keeps what is continued by what is kept.
pub(super) fn close(backups: &[Candidate], kept: &mut Kept) {
    let parents: BTreeMap<BackupId, BackupId> =
        backups.iter().filter_map(|backup| Some((backup.id, backup.parent?))).collect();
    let ids: BTreeSet<BackupId> = backups.iter().map(|backup| backup.id).collect();
    let mut open: Vec<BackupId> = kept.keys().copied().collect();
    while let Some(child) = open.pop() {
        let Some(parent) = parents.get(&child).filter(|parent| ids.contains(parent)) else { continue };
        if !kept.contains_key(parent) {
            open.push(*parent);
        }
        kept.entry(*parent).or_default().insert(format!("continued by {child}"));
    }
}

/// Whether a backup's date cannot be.
pub(super) const fn is_future(at: WallTime, now: WallTime) -> bool {
    at.as_micros() > now.as_micros().saturating_add(FUTURE_MICROS)
}

fn count(rule: u32) -> usize {
    usize::try_from(rule).unwrap_or(usize::MAX)
}

fn hour(at: WallTime) -> u64 {
    at.as_secs() / 3_600
}

fn day(at: WallTime) -> u64 {
    at.as_secs() / 86_400
}

/// 1970 began on a Thursday.
fn week(at: WallTime) -> u64 {
    (day(at) + 3) / 7
}

/// The first seven letters of a date name its month.
fn month(at: WallTime) -> u64 {
    at.to_string()
        .get(..7)
        .unwrap_or_default()
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;
    /// 2026-11-25T12:00:00Z, a Wednesday.
    const NOW: u64 = 1_795_608_000;

    fn at(secs: u64) -> WallTime {
        WallTime::from_micros(secs * 1_000_000)
    }

    fn full(secs: u64) -> Candidate {
        Candidate {
            id: BackupId::new(at(secs), [0; 10]),
            parent: None,
            at: at(secs),
            archive: false,
            replaced_by: None,
        }
    }

    fn ages(kept: &Kept, backups: &[Candidate]) -> Vec<u64> {
        let kept = backups.iter().filter(|backup| kept.contains_key(&backup.id));
        kept.map(|backup| (NOW - backup.at.as_secs()) / HOUR).collect()
    }

    #[test]
    fn rules_go_by_the_calendar_in_utc() {
        assert_eq!(at(NOW).to_string(), "2026-11-25T12:00:00.000Z");
        let hourly: Vec<Candidate> = (0..24 * 70).map(|age| full(NOW - age * HOUR)).collect();
        let keep = |policy: Retention| ages(&policy.judge(&hourly, at(NOW)).unwrap(), &hourly);
        let none = Retention::default();
        assert_eq!(keep(Retention { last: 3, ..none }), [0, 1, 2]);
        assert_eq!(keep(Retention { hourly: 2, ..none }), [0, 1]);
        // 23:00 of the days before.
        assert_eq!(keep(Retention { daily: 3, ..none }), [0, 13, 37]);
        // Sunday 23:00: two days and thirteen hours ago.
        assert_eq!(keep(Retention { weekly: 3, ..none }), [0, 61, 61 + 168]);
        // 31 October and 30 September, 23:00.
        assert_eq!(keep(Retention { monthly: 3, ..none }), [0, 24 * 24 + 13, (24 + 31) * 24 + 13]);
        assert!(matches!(none.judge(&hourly, at(NOW)), Err(Error::EmptyPolicy)));
    }

    #[test]
    fn a_wrong_clock_pushes_nothing_out() {
        let mut backups: Vec<Candidate> = (0..3).map(|age| full(NOW - age * DAY)).collect();
        let policy = Retention { daily: 3, ..Retention::default() };
        let before = policy.judge(&backups, at(NOW)).unwrap();
        backups.extend((1..50).map(|ahead| full(NOW + ahead * DAY)));
        let after = policy.judge(&backups, at(NOW)).unwrap();
        assert!(before.keys().all(|id| after[id].contains("daily")));
        assert_eq!(after.values().filter(|why| why.contains("dated in the future")).count(), 49);
    }

    quickcheck! {
        /// A chain is never broken, something is always left, and more rules never keep less.
        fn laws(shape: Vec<(u32, u8)>, last: u8, hourly: u8, daily: u8, more: u8) -> bool {
            let mut backups: Vec<Candidate> = Vec::new();
            for (gap, up) in shape {
                let before = backups.last().map_or(NOW - 900 * DAY, |backup| backup.at.as_secs());
                let up = usize::from(up % 4).checked_sub(1);
                let parent = up.and_then(|up| backups.len().checked_sub(1 + up)).map(|at| backups[at].id);
                backups.push(Candidate { parent, ..full(before + u64::from(gap % 200_000) + 1) });
            }
            let (last, hourly, daily) = (u32::from(last % 4), u32::from(hourly % 5), u32::from(daily % 6));
            let narrow = Retention { last, hourly, daily, weekly: 1, monthly: 0 };
            let wide = Retention { last: narrow.last + u32::from(more), monthly: 2, ..narrow };
            let (kept, wider) = (narrow.judge(&backups, at(NOW)).unwrap(), wide.judge(&backups, at(NOW)).unwrap());
            let kept_too = |parent: BackupId| kept.contains_key(&parent);
            let has_its_parent = |backup: &Candidate| backup.parent.is_none_or(kept_too);
            let closed = backups.iter().filter(|backup| kept_too(backup.id)).all(has_its_parent);
            closed && kept.is_empty() == backups.is_empty() && kept.keys().all(|id| wider.contains_key(id))
        }
    }
}
