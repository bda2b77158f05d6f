//! Histories of backups, growth, expiry, prune and time: whatever is listed restores to what the log was.

use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Grow(u8, u8),
    Expire(u8),
    /// The log loses its end and goes on differently.
    Rewind(u8),
    Create(u8, u8),
    Prune(u8),
    Wait(u8),
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let small = |g: &mut Gen| u8::arbitrary(g) % 12;
        match u8::arbitrary(g) % 10 {
            0..3 => Self::Grow(small(g), small(g)),
            3 => Self::Expire(small(g)),
            4 if u8::arbitrary(g).is_multiple_of(4) => Self::Rewind(small(g)),
            4..7 => Self::Create(small(g), small(g)),
            7 => Self::Prune(small(g)),
            _ => Self::Wait(small(g)),
        }
    }
}

#[test]
fn whatever_is_listed_restores_to_what_the_log_was() {
    fn law(steps: Vec<Step>) -> bool {
        let bench = Bench::new();
        let mut log = Log::of(1, 0);
        let mut models: BTreeMap<BackupId, Log> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Grow(main, events) => log.grow(usize::from(main), usize::from(events)),
                Step::Expire(more) => log.expired = (log.expired + usize::from(more)).min(log.events.len()),
                Step::Rewind(by) => {
                    let len = log.main.len().saturating_sub(usize::from(by)).max(1);
                    log.main.truncate(len);
                    log.main.push(Frame { kind: by, ..frame(Chain::Main, len, "another branch") });
                }
                Step::Create(kind, codec) => {
                    let codec = BackupCompression::ALL[usize::from(codec % 4)];
                    let made = bench.try_create(&log, KINDS[usize::from(kind % 3)], codec).unwrap();
                    // Nothing new: what is there already stands for it, though more may have expired since.
                    models.entry(made.metadata.id).or_insert_with(|| log.clone());
                }
                Step::Prune(last) => {
                    bench.open();
                    bench.prune(Retention { last: u32::from(last % 3) + 1, daily: 1, ..Retention::default() });
                }
                Step::Wait(hours) => bench.later(Duration::from_secs(u64::from(hours) * 4 * 3_600)),
            }
        }
        bench.open();
        let catalogue = bench.catalogue();
        let whole = catalogue.backups().all(|backup| {
            let model = &models[&backup.id];
            bench.restore(Some(backup.id), None).unwrap() == model.expected(model.upto())
        });
        let some_left = models.is_empty() || catalogue.backups().count() > 0;
        // That a rewind left another history is said, and is no damage.
        let is_damage = |fault: &Error| !matches!(fault, Error::Branches { .. });
        whole && some_left && (models.is_empty() || !bench.faults(Level::Content).unwrap().iter().any(is_damage))
    }
    // Each is a long story.
    QuickCheck::new().tests(25).quickcheck(law as fn(Vec<Step>) -> bool);
}
