//! The disk on real files.

use std::fs;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};

use tempfile::TempDir;

use super::files::Tail;
use super::*;
use crate::node::IoOutcome;
use crate::types::{Chain, DiskFault, DiskFaultKind, Family};

const ONE: SegmentId = SegmentId::new(1);
const TWO: SegmentId = SegmentId::new(2);

fn open(dir: &Path) -> (Disk, Receiver<Input>) {
    let (answers, received) = mpsc::channel();
    let answer = move |input| answers.send(input).unwrap();
    (Disk::open(dir, answer).unwrap(), received)
}

type Answer = Box<dyn Fn(Input)>;

/// A worker that is run by the test: what is in its queue is one group.
fn worker(dir: &Path) -> (Worker<Answer>, Arc<Queue>, Arc<Mutex<Tally>>, Receiver<Input>) {
    let (answers, received) = mpsc::channel();
    let (queue, tally) = (Arc::new(Queue::default()), Arc::new(Mutex::new(Tally::default())));
    let answer: Answer = Box::new(move |input| answers.send(input).unwrap());
    let worker = Worker::new(Files::make(dir).unwrap(), Arc::clone(&queue), Arc::clone(&tally), answer);
    (worker, queue, tally, received)
}

fn persist(id: u64, segment: SegmentId, offset: usize, bytes: &[u8]) -> Request {
    let (id, bytes) = (PersistId::new(id), Bytes::copy_from_slice(bytes));
    Request::Persist { id, segment, offset: offset as u64, bytes }
}

fn io(id: u64, op: Io) -> Request {
    Request::Io { id: IoId::new(id), op }
}

fn done(id: u64) -> Input {
    Input::Persisted { id: PersistId::new(id), result: Ok(()) }
}

/// Ids and kinds of failure, in order.
fn outcomes(answers: &Receiver<Input>) -> Vec<(u64, Option<DiskFaultKind>)> {
    let outcome = |input| match input {
        Input::Persisted { id, result } => (id.value(), result.err().map(|fault| fault.kind)),
        Input::IoDone { id, result } => (id.value(), result.err().map(|fault| fault.kind)),
        other => panic!("a disk does not answer {other:?}"),
    };
    answers.try_iter().map(outcome).collect()
}

fn io_result(answers: &Receiver<Input>) -> Result<IoOutcome, DiskFault> {
    match answers.recv().unwrap() {
        Input::IoDone { result, .. } => result,
        other => panic!("not the answer of an operation: {other:?}"),
    }
}

#[test]
fn what_waits_together_is_synced_once_and_answered_in_order() {
    let dir = TempDir::new().unwrap();
    let (worker, queue, tally, answers) = worker(dir.path());
    (0..500).for_each(|n| queue.push(persist(n as u64, ONE, n * 3, b"abc")).unwrap());
    queue.close();
    worker.run();
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), (0..500).map(done).collect::<Vec<_>>());
    let stats = tally.lock().unwrap().stats();
    assert_eq!((stats.writes, stats.bytes, stats.syncs), (500, 1_500, 1));
    assert_eq!(fs::read(dir.path().join(crate::wal::file_name(ONE))).unwrap(), b"abc".repeat(500));
}

#[test]
fn a_group_over_two_segments_syncs_each_once() {
    let dir = TempDir::new().unwrap();
    let (worker, queue, tally, answers) = worker(dir.path());
    for request in
        [persist(1, ONE, 0, b"a"), persist(2, ONE, 1, b"b"), persist(3, TWO, 0, b"c"), persist(4, TWO, 1, b"d")]
    {
        queue.push(request).unwrap();
    }
    queue.close();
    worker.run();
    assert_eq!(outcomes(&answers), [(1, None), (2, None), (3, None), (4, None)]);
    assert_eq!(tally.lock().unwrap().stats().syncs, 2);
}

#[test]
fn what_is_written_is_listed_read_and_shortened() {
    let dir = TempDir::new().unwrap();
    let (disk, answers) = open(&dir.path().join("made/on the way"));
    disk.submit(persist(1, ONE, 0, b"hello ")).unwrap();
    disk.submit(persist(2, ONE, 6, b"world")).unwrap();
    disk.submit(persist(3, TWO, 0, &[7; 1_000_000])).unwrap();
    let read = |segment, offset, len| {
        disk.submit(io(9, Io::Read { segment, offset, len })).unwrap();
        io_result(&answers)
    };
    assert_eq!((1..=3).map(|_| answers.recv().unwrap()).collect::<Vec<_>>(), [done(1), done(2), done(3)]);
    assert_eq!(read(ONE, 4, 3), Ok(IoOutcome::Read(Bytes::from_static(b"o w"))));
    assert_eq!(read(ONE, 9, u64::MAX), Ok(IoOutcome::Read(Bytes::from_static(b"ld"))), "fewer if the file ends before");
    assert_eq!(read(ONE, 99, 1), Ok(IoOutcome::Read(Bytes::new())));
    assert_eq!(read(SegmentId::new(3), 0, 1).unwrap_err().kind, DiskFaultKind::Missing);

    let act = |op| {
        disk.submit(io(9, op)).unwrap();
        io_result(&answers)
    };
    assert_eq!(act(Io::List), Ok(IoOutcome::Listed(vec![(ONE, 11), (TWO, 1_000_000)])));
    assert_eq!(act(Io::Truncate { segment: TWO, len: 0 }), Ok(IoOutcome::Truncated));
    assert_eq!(act(Io::Truncate { segment: ONE, len: 5 }), Ok(IoOutcome::Truncated));
    assert_eq!(act(Io::Truncate { segment: ONE, len: 6 }).unwrap_err().kind, DiskFaultKind::Failed, "never longer");
    assert_eq!(act(Io::List), Ok(IoOutcome::Listed(vec![(ONE, 5)])));
    disk.submit(persist(4, ONE, 5, b"!")).unwrap();
    assert_eq!(answers.recv().unwrap(), done(4));
    assert_eq!(read(ONE, 0, 9), Ok(IoOutcome::Read(Bytes::from_static(b"hello!"))));
}

#[test]
fn a_read_sees_the_writes_submitted_before_it() {
    let dir = TempDir::new().unwrap();
    let (worker, queue, _, answers) = worker(dir.path());
    queue.push(persist(1, ONE, 0, b"abc")).unwrap();
    queue.push(io(2, Io::Read { segment: ONE, offset: 0, len: 3 })).unwrap();
    queue.close();
    worker.run();
    let read = Input::IoDone { id: IoId::new(2), result: Ok(IoOutcome::Read(Bytes::from_static(b"abc"))) };
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [read, done(1)]);
}

#[test]
fn a_second_opening_is_refused_with_the_directory_and_the_holder() {
    let dir = TempDir::new().unwrap();
    let (disk, _answers) = open(dir.path());
    let refused = Disk::open(dir.path(), |_| {}).unwrap_err().to_string();
    assert_eq!(refused, format!("{} is in use by process {}", dir.path().display(), std::process::id()));
    drop(disk);
    drop(open(dir.path()));
}

#[test]
fn a_child_that_is_just_being_started_does_not_keep_the_lock() {
    let (dir, children) = (TempDir::new().unwrap(), 200);
    std::thread::scope(|scope| {
        let starts = scope.spawn(move || (0..children).for_each(|_| drop(Command::new("true").output())));
        while !starts.is_finished() {
            drop(open(dir.path()));
        }
    });
}

#[test]
fn a_second_process_is_refused() {
    let dir = TempDir::new().unwrap();
    let (_disk, _answers) = open(dir.path());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "driver::disk::tests::opens_what_it_is_told_to", "--ignored", "--nocapture"]);
    let output = child.env("OXIGDAL_HA_TEST_DIR", dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let refusal = format!("{} is in use by process {}", dir.path().display(), std::process::id());
    assert!(output.status.success() && text.contains(&refusal), "{text}");
}

#[test]
#[ignore = "run in a process of its own by a_second_process_is_refused"]
fn opens_what_it_is_told_to() {
    let dir = std::env::var("OXIGDAL_HA_TEST_DIR").unwrap();
    println!("{}", Disk::open(Path::new(&dir), |_| {}).unwrap_err());
}

#[test]
fn a_write_that_is_not_at_the_end_is_refused_and_poisons() {
    let dir = TempDir::new().unwrap();
    let (disk, answers) = open(dir.path());
    disk.submit(persist(1, ONE, 0, b"abc")).unwrap();
    disk.submit(persist(2, ONE, 2, b"x")).unwrap();
    disk.submit(persist(3, ONE, 3, b"y")).unwrap();
    disk.submit(io(4, Io::Truncate { segment: ONE, len: 0 })).unwrap();
    disk.submit(io(5, Io::Read { segment: ONE, offset: 0, len: 9 })).unwrap();
    drop(disk);
    let answers: Vec<_> = answers.try_iter().collect();
    assert_eq!(answers[0], done(1));
    let Input::Persisted { result: Err(fault), .. } = &answers[1] else { panic!("{answers:?}") };
    let file = dir.path().join("0000000000000001.wal");
    let says = format!("write {}: the file is 3 bytes long and the write begins at byte 2", file.display());
    assert_eq!((fault.kind, fault.to_string()), (DiskFaultKind::Failed, says.clone()));
    let Input::Persisted { result: Err(fault), .. } = &answers[2] else { panic!("{answers:?}") };
    assert_eq!(fault.kind, DiskFaultKind::Poisoned);
    assert!(fault.why.contains(&says), "{fault}");
    assert!(matches!(&answers[3], Input::IoDone { result: Err(DiskFault { kind: DiskFaultKind::Poisoned, .. }), .. }));
    assert!(
        matches!(&answers[4], Input::IoDone { result: Ok(IoOutcome::Read(bytes)), .. } if bytes == "abc"),
        "reads go on"
    );

    let (disk, answers) = open(dir.path());
    disk.submit(persist(1, ONE, 3, b"z")).unwrap();
    assert_eq!(answers.recv().unwrap(), done(1), "opened anew, it goes on");
}

#[test]
fn a_segment_that_is_there_is_never_made_again() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(crate::wal::file_name(ONE)), b"precious").unwrap();
    let (disk, answers) = open(dir.path());
    disk.submit(persist(1, ONE, 0, b"x")).unwrap();
    disk.submit(persist(2, ONE, 8, b"x")).unwrap();
    drop(disk);
    assert_eq!(outcomes(&answers), [(1, Some(DiskFaultKind::Failed)), (2, Some(DiskFaultKind::Poisoned))]);
    assert_eq!(fs::read(dir.path().join(crate::wal::file_name(ONE))).unwrap(), b"precious");
}

#[test]
fn a_segment_that_somebody_else_shortened_is_not_written() {
    let dir = TempDir::new().unwrap();
    let (disk, answers) = open(dir.path());
    disk.submit(persist(1, ONE, 0, b"abc")).unwrap();
    assert_eq!(answers.recv().unwrap(), done(1));
    fs::write(dir.path().join(crate::wal::file_name(ONE)), b"a").unwrap();
    disk.submit(persist(2, ONE, 3, b"d")).unwrap();
    drop(disk);
    assert_eq!(outcomes(&answers), [(2, Some(DiskFaultKind::Failed))]);
}

/// A tail on a device file: writes and syncs fail as the device likes.
fn tail_on(device: &str, dir: &Path) -> Tail {
    let file = fs::OpenOptions::new().write(true).open(device).unwrap();
    Tail { segment: ONE, file, path: dir.join(crate::wal::file_name(ONE)), len: 0, fresh: false }
}

#[test]
fn a_failed_sync_answers_nothing_as_done_and_is_not_tried_again() {
    let dir = TempDir::new().unwrap();
    let (mut worker, queue, tally, answers) = worker(dir.path());
    // The null device takes every write and knows no sync.
    worker.tails.insert(Family::Log(Chain::Main), tail_on("/dev/null", dir.path()));
    for request in [persist(1, ONE, 0, b"a"), persist(2, ONE, 1, b"b"), persist(3, TWO, 0, b"c")] {
        queue.push(request).unwrap();
    }
    queue.close();
    worker.run();
    let failed = Some(DiskFaultKind::Failed);
    assert_eq!(outcomes(&answers), [(1, failed), (2, failed), (3, Some(DiskFaultKind::Poisoned))]);
    let stats = tally.lock().unwrap().stats();
    assert_eq!((stats.writes, stats.syncs, stats.poisoned), (0, 1, true));
}

/// Nobody knows what the medium holds: room does not help.
#[test]
fn a_failed_sync_is_not_forgotten_by_reopening() {
    let dir = TempDir::new().unwrap();
    let (mut worker, queue, _, answers) = worker(dir.path());
    worker.tails.insert(Family::Log(Chain::Main), tail_on("/dev/null", dir.path()));
    queue.push(persist(1, ONE, 0, b"a")).unwrap();
    queue.push(io(1, Io::Reopen { ends: [(ONE, 0), (SegmentId::new(1 << 63 | 1), 0)], room: 0 })).unwrap();
    queue.close();
    worker.run();
    let all: Vec<Input> = answers.try_iter().collect();
    assert!(all.iter().any(|answer| matches!(answer, Input::IoDone { result: Err(_), .. })), "{all:?}");
}

#[test]
fn a_full_device_is_told_from_other_failures() {
    let dir = TempDir::new().unwrap();
    let (mut worker, queue, _, answers) = worker(dir.path());
    worker.tails.insert(Family::Log(Chain::Main), tail_on("/dev/full", dir.path()));
    queue.push(persist(1, ONE, 0, b"a")).unwrap();
    queue.push(persist(2, ONE, 1, b"b")).unwrap();
    queue.close();
    worker.run();
    assert_eq!(outcomes(&answers), [(1, Some(DiskFaultKind::Full)), (2, Some(DiskFaultKind::Poisoned))]);
}

#[test]
fn a_snapshot_that_cannot_be_written_does_the_log_no_harm() {
    let dir = TempDir::new().unwrap();
    let (mut worker, queue, tally, answers) = worker(dir.path());
    let snapshot = SegmentId::new(1 << 62 | 1);
    let path = dir.path().join(crate::wal::file_name(snapshot));
    worker.tails.insert(Family::Snapshot, Tail { segment: snapshot, path, ..tail_on("/dev/full", dir.path()) });
    let (before, behind) = (persist(1, ONE, 0, b"a"), persist(3, ONE, 1, b"b"));
    for request in [before, persist(2, snapshot, 0, b"s"), behind] {
        queue.push(request).unwrap();
    }
    queue.close();
    worker.run();
    assert_eq!(outcomes(&answers), [(1, None), (2, Some(DiskFaultKind::Full)), (3, None)]);
    assert!(!tally.lock().unwrap().stats().poisoned);
    assert_eq!(fs::read(dir.path().join(crate::wal::file_name(ONE))).unwrap(), b"ab");
}

#[test]
fn what_the_log_writes_behind_a_piece_of_a_snapshot_does_not_wait_for_its_sync() {
    let dir = TempDir::new().unwrap();
    let (worker, queue, _, answers) = worker(dir.path());
    let snapshot = SegmentId::new(1 << 62 | 1);
    for request in [persist(1, ONE, 0, b"a"), persist(2, snapshot, 0, b"s"), persist(3, ONE, 1, b"b")] {
        queue.push(request).unwrap();
    }
    queue.close();
    worker.run();
    assert_eq!(outcomes(&answers), [(1, None), (3, None), (2, None)]);
}

#[test]
fn a_snapshot_is_not_begun_where_there_is_no_room_for_it() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let (worker, queue, tally, answers) = worker(small.0.path());
    let snapshot = SegmentId::new(1 << 62 | 1);
    for request in [persist(1, ONE, 0, b"a"), persist(2, snapshot, 0, b"s"), persist(3, ONE, 1, b"b")] {
        queue.push(request).unwrap();
    }
    queue.close();
    worker.run();
    assert_eq!(outcomes(&answers), [(1, None), (2, Some(DiskFaultKind::Full)), (3, None)]);
    assert!(!small.0.path().join(crate::wal::file_name(snapshot)).exists());
    assert!(!tally.lock().unwrap().stats().poisoned);
}

/// A file system of one megabyte, unmounted at the end.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_keeps_what_was_whole_and_goes_on_when_opened_anew() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let dir = small.0.path().join("wal");
    let part = vec![5; 300_000];
    let (disk, answers) = open(&dir);
    (0..4).for_each(|n| disk.submit(persist(n as u64, ONE, n * part.len(), &part)).unwrap());
    disk.submit(persist(4, ONE, 4 * part.len(), b"x")).unwrap();
    drop(disk);
    let (full, poisoned) = (Some(DiskFaultKind::Full), Some(DiskFaultKind::Poisoned));
    assert_eq!(outcomes(&answers), [(0, None), (1, None), (2, None), (3, full), (4, poisoned)]);
    let file = dir.join(crate::wal::file_name(ONE));
    assert_eq!(fs::metadata(&file).unwrap().len(), 900_000, "the half write is taken back");

    let (disk, answers) = open(&dir);
    disk.submit(persist(5, ONE, 900_000, b"small enough")).unwrap();
    disk.submit(persist(6, TWO, 0, &part)).unwrap();
    drop(disk);
    assert_eq!(outcomes(&answers), [(5, None), (6, full)]);
    assert!(!dir.join(crate::wal::file_name(TWO)).exists(), "no empty segment stays behind");
}

#[test]
fn a_full_disk_that_has_room_again_takes_writes_behind_what_is_durable() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let (dir, ballast) = (small.0.path().join("wal"), small.0.path().join("ballast"));
    fs::write(&ballast, vec![7; 600_000]).unwrap();
    let (disk, answers) = open(&dir);
    let events = SegmentId::new(1 << 63 | 1);
    let reopen = |id| io(id, Io::Reopen { ends: [(ONE, 300_000), (events, 0)], room: 400_000 });
    let part = vec![5; 300_000];
    (0..3).for_each(|n| disk.submit(persist(n as u64, ONE, n * part.len(), &part)).unwrap());
    disk.submit(persist(3, TWO, 0, b"x")).unwrap();
    disk.submit(reopen(1)).unwrap();
    let answer = || answers.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    let mut seen: Vec<Input> = (0..5).map(|_| answer()).collect();
    assert!(
        matches!(&seen[4], Input::IoDone { result: Err(fault), .. } if fault.kind == DiskFaultKind::Full),
        "{seen:?}"
    );
    fs::remove_file(&ballast).unwrap();
    disk.submit(reopen(2)).unwrap();
    disk.submit(persist(4, ONE, 300_000, &part)).unwrap();
    seen.extend((0..2).map(|_| answer()));
    assert!(matches!(&seen[5], Input::IoDone { result: Ok(IoOutcome::Reopened), .. }), "{seen:?}");
    assert!(matches!(&seen[6], Input::Persisted { result: Ok(()), .. }), "{seen:?}");
    assert!(!disk.stats().poisoned);
    drop(disk);
    assert_eq!(fs::metadata(dir.join(crate::wal::file_name(ONE))).unwrap().len(), 600_000);
    assert!(!dir.join(crate::wal::file_name(TWO)).exists());
}

#[test]
fn a_full_queue_gives_the_request_back() {
    let queue = Queue::default();
    (0..QUEUE_MAX as u64).for_each(|n| queue.push(persist(n, ONE, 0, b"")).unwrap());
    let refused = queue.push(persist(7, ONE, 0, b"")).unwrap_err();
    assert_eq!(refused, SubmitError::Full { request: persist(7, ONE, 0, b""), requests: QUEUE_MAX, bytes: 0 });
    assert_eq!(queue.take().len(), QUEUE_MAX);
    assert!(queue.push(persist(7, ONE, 0, b"")).is_err(), "taken is not answered");
    queue.answered(QUEUE_MAX, 0);
    queue.push(persist(8, ONE, 0, &vec![0; BYTES_MAX + 1])).unwrap();
    assert!(matches!(queue.push(persist(9, ONE, 0, b"x")), Err(SubmitError::Full { requests: 1, .. })));
    queue.close();
    assert_eq!(queue.push(persist(9, ONE, 0, b"x")), Err(SubmitError::Closed(persist(9, ONE, 0, b"x"))));
}

#[test]
fn a_file_that_only_looks_like_a_segment_is_not_passed_over() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("1.wal"), b"").unwrap();
    let refused = Disk::open(dir.path(), |_| {}).unwrap_err().to_string();
    assert!(refused.contains("1.wal is not the name of a segment"), "{refused}");
}

#[test]
fn the_directory_and_its_files_are_their_owners() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let (disk, answers) = open(&dir.path().join("wal"));
    disk.submit(persist(1, ONE, 0, b"x")).unwrap();
    assert_eq!(answers.recv().unwrap(), done(1));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path().join("wal")), 0o700);
    assert_eq!(mode(dir.path().join("wal").join(crate::wal::file_name(ONE))), 0o600);
}
