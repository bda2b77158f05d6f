//! U2: what is recovered of a log is what was written, in order and from the first record on, but what each process had written last
//! and was not answered; then come the records of the start itself, and nothing else. A start may have ended before it was ready: it is a
//! process like others. Judged on the bytes: each record that a scan finds is held against the write that put it there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{AtDisk, Check, Sight, Verdict};
use crate::node::BootReport;
use crate::sim::host::Host;
use crate::types::{Chain, Checksum, DiskFault, DiskFaultKind, Family, Position, SegmentId};
use crate::wal;

/// A write of one record: where it stands, how long it is, and its sum.
type Place = (SegmentId, u64, u64, Checksum);

#[derive(Clone, Copy)]
struct Written {
    place: Place,
    answered: bool,
    /// Which process wrote it: they are counted.
    process: u32,
}

/// The writes to one peer's log, in order.
#[derive(Clone, Default)]
struct Log {
    chains: [Vec<Written>; 2],
    /// How many processes began.
    process: u32,
    /// A fault changed what stands there: nobody knows what is left.
    damaged: bool,
}

/// Holds logs against what was written to them.
pub(super) struct InOrder {
    logs: Vec<Log>,
    /// The same, as it was when an image was taken.
    images: BTreeMap<usize, Log>,
}

impl InOrder {
    pub(super) fn new(peers: usize) -> Self {
        Self { logs: vec![Log::default(); peers], images: BTreeMap::new() }
    }
}

impl Log {
    fn of(&mut self, segment: SegmentId) -> Option<&mut Vec<Written>> {
        (segment.family() != Family::Snapshot).then(|| &mut self.chains[usize::from(segment.chain() == Chain::Events)])
    }

    fn write(&mut self, place: Place) {
        let process = self.process;
        let Some(chain) = self.of(place.0) else { return };
        // Where it goes on nothing was found: what others had written there, unanswered, is gone.
        if chain.last().is_some_and(|last| last.process != process) {
            chain.retain(|write| write.answered || (write.place.0, write.place.1) < (place.0, place.1));
        }
        chain.push(Written { place, answered: false, process });
    }

    fn answered(&mut self, segment: SegmentId, offset: u64, result: &Result<(), DiskFault>) {
        let Some(chain) = self.of(segment) else { return };
        let of = |write: &Written| (write.place.0, write.place.1) == (segment, offset);
        let Some(at) = chain.iter().rposition(of) else { return };
        match result {
            Ok(()) => chain[at].answered = true,
            // Nobody knows what is there of it.
            Err(fault) if fault.kind == DiskFaultKind::Failed => {}
            Err(_) => _ = chain.remove(at),
        }
    }
}

impl Check for InOrder {
    fn id(&self) -> &'static str {
        "U2"
    }

    fn on_disk(&mut self, _: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        let log = &mut self.logs[who as usize];
        match what {
            AtDisk::Starts => log.process += 1,
            AtDisk::Writes { segment, offset, bytes } => {
                let place = (segment, offset, bytes.len() as u64, Checksum::of(bytes));
                log.write(place);
            }
            AtDisk::Answers { segment, offset, result, .. } => log.answered(segment, offset, result),
            AtDisk::Removes { segment } => {
                if let Some(chain) = log.of(segment) {
                    chain.retain(|write| write.place.0 != segment);
                }
            }
            AtDisk::Reads { .. } | AtDisk::Reopens => {}
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.logs[who as usize] = Log::default();
    }

    fn on_damaged(&mut self, who: u32) {
        self.logs[who as usize].damaged = true;
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.images.insert(image, self.logs[who as usize].clone());
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.logs[who as usize] = self.images.remove(&image).unwrap_or_default();
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let (host, log) = (&sight.hosts[who as usize], &mut self.logs[who as usize]);
        let Some(found) = recovered(host) else { return Ok(()) };
        // What a newer version left there is U11's.
        let damaged = std::mem::take(&mut log.damaged) || host.damaged || host.disk.has_newer();
        for (chain, found) in log.chains.iter_mut().zip(found) {
            let process = log.process;
            let verdict = if damaged { Ok(()) } else { compare(chain, process, &found) };
            verdict.map_err(|why| format!("{} {why}", sight.name(who)))?;
            *chain = found.into_iter().map(|place| Written { place, answered: true, process }).collect();
        }
        Ok(())
    }
}

/// Whether these records are what each process had written, but its last ones that were not answered, and all that this one wrote.
fn compare(written: &[Written], now: u32, mut found: &[Place]) -> Verdict {
    let told =
        |(segment, offset, len, _): Place| format!("{len} bytes at byte {offset} of {}", wal::file_name(segment));
    for wrote in written.chunk_by(|one, next| one.process == next.process) {
        let kept = wrote.iter().zip(found).take_while(|(write, found)| write.place == **found).count();
        if let Some(lost) = wrote[kept..].iter().find(|write| write.answered || write.process == now) {
            let instead = found.get(kept).map_or_else(|| "nothing".to_owned(), |place| told(*place));
            return Err(format!("finds {instead} where it had written {}", told(lost.place)));
        }
        found = &found[kept..];
    }
    match found.first() {
        Some(place) => Err(format!("recovers {}, which it never wrote", told(*place))),
        None => Ok(()),
    }
}

/// Where the records of both chains stand that the next start would find, if the log is one.
fn recovered(host: &Host) -> Option<[Vec<Place>; 2]> {
    let main = host.disk.copy(|file| file.family() == Family::Log(Chain::Main));
    let (main, store) = scan(wal::Scanner::new(host.id), main)?;
    let events = host.disk.copy(|file| file.family() == Family::Log(Chain::Events));
    // The start has removed what does not count any more.
    let scanner = events.first_key_value().map(|(first, _)| wal::Scanner::join(host.id, *first, store));
    let events = scanner.map_or(Some(Vec::new()), |scanner| Some(scan(scanner, events)?.0))?;
    Some([main, events])
}

fn scan(mut scanner: wal::Scanner, files: BTreeMap<SegmentId, Vec<u8>>) -> Option<(Vec<Place>, u64)> {
    let mut places = Vec::new();
    for (segment, bytes) in files {
        let bytes = Bytes::from(bytes);
        let mut first = true;
        for frame in scanner.segment(segment, &bytes).ok()? {
            let Position { offset, len, .. } = frame.position;
            // The header of a segment is written with its first record.
            let from = if std::mem::take(&mut first) { 0 } else { offset };
            let to = offset + u64::from(len);
            let written = &bytes[usize::try_from(from).ok()?..usize::try_from(to).ok()?];
            places.push((segment, from, to - from, Checksum::of(written)));
        }
    }
    Some((places, scanner.finish().end.store.unwrap_or_default()))
}
