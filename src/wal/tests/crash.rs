//! Crashes: what a power cut may leave of writes that were not synced, and cuts that are cut themselves.

use quickcheck::{Arbitrary, Gen, TestResult};

use super::*;
use crate::types::Position;

/// What happens to a log.
#[derive(Clone, Debug)]
enum Op {
    /// A record of this length is handed to the disk.
    Append(u8, u16),
    /// The disk answers everything that it was handed.
    Sync,
    /// The power fails: of what was not synced, these sectors are lost, and the file ends so many bytes early.
    PowerCut { lost: u64, early: u16 },
    /// The process dies: of the last write so many bytes are missing.
    Kill { early: u16 },
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 10 {
            0..=4 => Self::Append(u8::arbitrary(g), u16::arbitrary(g) % 1_500),
            5..=6 => Self::Sync,
            7 => Self::PowerCut { lost: u64::arbitrary(g), early: 0 },
            8 => Self::PowerCut { lost: u64::arbitrary(g) & u64::arbitrary(g), early: u16::arbitrary(g) % 3_000 },
            _ => Self::Kill { early: u16::arbitrary(g) % 100 },
        }
    }
}

/// A node's log on a disk that keeps what was synced and no promise about the rest.
struct Model {
    files: BTreeMap<SegmentId, Vec<u8>>,
    /// Length of the last segment when it was last synced.
    synced: usize,
    writer: Writer,
    /// What was appended, as far as no crash took it.
    records: Vec<(u8, Vec<u8>)>,
    /// How many of them were answered.
    answered: usize,
    /// The number and the place of the last one.
    last: Option<(Lsn, Position)>,
    /// To be done once a record is durable behind the cut.
    truncation: Option<(SegmentId, u64)>,
    cuts: usize,
}

const SEGMENT: u64 = 3_000;

impl Model {
    fn new() -> Self {
        let writer = Writer::new(Config { segment_bytes: SEGMENT }, Scanner::new(ME).finish().end, STORE);
        let (files, records) = (BTreeMap::new(), Vec::new());
        Self { files, synced: 0, writer, records, answered: 0, last: None, truncation: None, cuts: 0 }
    }

    fn append(&mut self, kind: u8, len: u16) {
        // Zeros are what a lost sector looks like, so records hold many.
        let payload: Vec<u8> = (0..len).map(|n| if n % 700 < 600 { 0 } else { kind }).collect();
        let appended = self.writer.append(kind, Hlc::default(), &payload).unwrap();
        if appended.offset == 0 {
            self.synced = 0; // A segment is durable before the next one's file is made.
        }
        let file = self.files.entry(appended.segment).or_default();
        assert_eq!(file.len() as u64, appended.offset);
        file.extend_from_slice(&appended.bytes);
        self.records.push((kind, payload));
        self.last = Some((appended.lsn, appended.position));
    }

    fn sync(&mut self) {
        self.synced = self.files.last_key_value().map_or(0, |(_, file)| file.len());
        if self.records.len() > self.answered {
            let (lsn, position) = self.last.expect("a record was appended");
            self.writer.on_persisted(lsn, position);
            self.answered = self.records.len();
            if let Some((segment, len)) = self.truncation.take() {
                self.files.get_mut(&segment).unwrap().truncate(usize::try_from(len).unwrap());
            }
        }
    }

    fn power_cut(&mut self, lost: u64, early: u16) {
        let Some(mut last) = self.files.last_entry() else { return };
        let (file, synced) = (last.get_mut(), self.synced);
        for from in (synced..file.len()).filter(|byte| lost >> (byte / 512 % 64) & 1 == 1) {
            file[from] = 0;
        }
        file.truncate(file.len().saturating_sub(usize::from(early)).max(synced));
        if file.is_empty() && lost & 1 == 1 {
            last.remove(); // The directory entry was lost as well.
        }
    }

    fn kill(&mut self, early: u16) {
        if let Some((_, file)) = self.files.iter_mut().next_back() {
            file.truncate(file.len().saturating_sub(usize::from(early)).max(self.synced));
        }
    }

    /// What the next boot finds must be a beginning of what was appended, and hold all that was answered.
    fn boot(&mut self) -> Result<(), String> {
        let (frames, scanned) = scan(&self.files).map_err(|error| error.to_string())?;
        let found: Vec<_> = frames.into_iter().map(|frame| (frame.kind, frame.payload.to_vec())).collect();
        if !self.records.starts_with(&found) || found.len() < self.answered {
            return Err(format!("{} of {} records, {} answered", found.len(), self.records.len(), self.answered));
        }
        if found.len() < self.records.len() && scanned.cut.is_none() && self.answered == self.records.len() {
            return Err("loss without a report".into());
        }
        if scanned.cut.as_ref().is_some_and(|cut| !cut.looks_torn) {
            return Err("what was never written looks like what was damaged later".into());
        }
        self.cuts += usize::from(scanned.cut.is_some());
        self.truncation = scanned.cut.as_ref().and_then(Cut::truncation);
        self.writer = Writer::new(Config { segment_bytes: SEGMENT }, scanned.end, !STORE);
        // The disk's opening syncs the last segment.
        self.synced = self.files.last_key_value().map_or(0, |(_, file)| file.len());
        self.answered = found.len();
        self.records = found;
        Ok(())
    }

    fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            match *op {
                Op::Append(kind, len) => self.append(kind, len),
                Op::Sync => self.sync(),
                Op::PowerCut { lost, early } => self.power_cut(lost, early),
                Op::Kill { early } => self.kill(early),
            }
            if matches!(op, Op::PowerCut { .. } | Op::Kill { .. }) {
                self.boot()?;
            }
        }
        self.boot()
    }
}

quickcheck::quickcheck! {
    fn what_was_answered_survives_every_crash_and_the_log_goes_on(ops: Vec<Op>) -> TestResult {
        match Model::new().run(&ops) {
            Ok(()) => TestResult::passed(),
            Err(why) => TestResult::error(why),
        }
    }
}

#[test]
fn a_cut_becomes_durable_with_the_first_record_behind_it() {
    let (log, _) = Log::of(u64::MAX, &[b"kept".to_vec(), b"damaged".to_vec()]);
    let mut files = log.files.clone();
    *files.get_mut(&ONE).unwrap().last_mut().unwrap() ^= 1;
    let (_, scanned) = scan(&files).unwrap();
    let first = scanned.cut.clone().unwrap();
    let mut writer = Writer::new(Config::default(), scanned.end, 0);
    let minted = writer.append(9, Hlc::default(), b"a new actor").unwrap();
    let two = SegmentId::new(2);
    assert_eq!((minted.segment, minted.offset, minted.lsn), (two, 0, Lsn::new(2)));
    for len in 0..=minted.bytes.len() {
        files.insert(two, minted.bytes[..len].to_vec());
        let (frames, scanned) = scan(&files).unwrap();
        match len {
            _ if len == minted.bytes.len() => assert_eq!((frames.len(), scanned.cut), (2, None)),
            // The header is there and the record is not: the first cut is settled, and the second takes its place.
            80.. => assert_eq!(scanned.cut.unwrap().at, Place { segment: two, offset: 80 }),
            _ => {
                let cut = scanned.cut.unwrap();
                assert_eq!((cut.at, cut.lost_bytes), (first.at, first.lost_bytes + len as u64));
            }
        }
    }
    let (segment, len) = first.truncation().unwrap();
    files.get_mut(&segment).unwrap().truncate(usize::try_from(len).unwrap());
    let (frames, scanned) = scan(&files).unwrap();
    assert_eq!((frames.len(), scanned.cut), (2, None), "shortened or not, it reads the same");
}

/// Records written together, not yet answered when the power failed; the second loses the sectors in the middle of it.
fn group_with_a_lost_sector(answered: bool) -> Result<(Vec<Frame>, Scanned), Error> {
    let mut log = Log::default();
    let mut writer = Writer::new(Config::default(), Scanner::new(ME).finish().end, STORE);
    for payload in [[1; 400].as_slice(), &[2; 2_000], &[3; 10], &[4; 10]] {
        log.append(&mut writer, 0, payload);
        if answered {
            let last = &log.records.last().unwrap().0;
            writer.on_persisted(last.lsn, last.position);
        }
    }
    log.files.get_mut(&ONE).unwrap()[1_024..1_536].fill(0);
    scan(&log.files)
}

#[test]
fn a_sector_that_was_never_written_is_told_from_one_that_was_lost_later() {
    let (frames, scanned) = group_with_a_lost_sector(false).unwrap();
    let cut = scanned.cut.unwrap();
    assert_eq!((frames.len(), cut.lsn, cut.dropped), (1, Lsn::new(2), 2));
    assert!(cut.to_string().ends_with("with 2 intact records that were not acknowledged"), "{cut}");
    let refused = group_with_a_lost_sector(true).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { intact_lsn, .. } if intact_lsn == Lsn::new(3)), "{refused}");
}

#[test]
fn power_cuts_are_exercised() {
    // The law above would hold of a model in which nothing is ever lost.
    let ops = [Op::Append(1, 1_400), Op::Append(2, 900), Op::PowerCut { lost: 0b10, early: 0 }];
    let mut model = Model::new();
    model.run(&ops).unwrap();
    assert_eq!((model.cuts, model.records.len()), (2, 0), "nothing was written behind the cut, so it is found again");
}
