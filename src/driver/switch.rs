//! A data directory gets another log: the old one is put aside, and nothing half done is ever started from.
//!
//! The new log is made whole inside the directory (`next`). Then a file, `switch`, says what is going to happen, and it happens:
//! the old log moves to a directory beside this one, the new one to its place, the timeline's statement is written, the file goes. A
//! peer does not start while the file is there; whoever is killed is called again, and goes on. Keys, ticket and settings stay.
//!
//! A log that holds nothing is not kept: that is one whose directory could be listed, and has nothing in it but its lock. The log's
//! own lock moves with it, so `switch.lock` keeps two commands apart all the while.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::admission::{FileError, Timeline, vault};
use super::disk::{self, Lock, OpenError};
use crate::node::Restored;
use crate::recovery::image::{self, ImageError, Line, Plan, Written};
use crate::recovery::{LOG_DIR, NODE_FILE, SourceError, Upto};
use crate::types::{Hlc, Lsn, NodeId, TimelineId, WallTime};
use crate::wal::{self, Frame};

const JOURNAL: &str = "switch";
const JOURNAL_MAX: usize = 16 << 10;
const NEXT: &str = "next";
const LOCK: &str = "switch.lock";

/// Why a directory did not get another log. It has the old one, unless it is said that the switch is to be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// A peer runs on it, or another command works on it.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// A file of it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system refused.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own words.
        #[source]
        error: io::Error,
    },
    /// The log cannot move: its directory, or the one that it is in, is a mount point.
    #[error(
        "{} cannot be moved to {}, which is another file system: mount the volume one level above the data directory, so that the log \
         and where it is kept are on one file system; nothing was moved", log.display(), aside.display()
    )]
    OtherFileSystem {
        /// The log.
        log: PathBuf,
        /// Where it was to be kept.
        aside: PathBuf,
    },
    /// Another command was broken off while it put another log into the directory.
    #[error("{}: a recovery was broken off before its log was in place: `{command}`", dir.display())]
    Unfinished {
        /// The data directory.
        dir: PathBuf,
        /// The command, as it was called.
        command: String,
    },
    /// The new log could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What is going to happen, on the disk before it does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    aside: PathBuf,
    timeline: Option<String>,
    /// Which command does it.
    by: Call,
}

/// A command that puts another log into a directory. When it is broken off, only the same command finishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// All of it, to be called again.
    pub line: String,
}

/// A data directory that nobody else works on, and that has no switch under way.
#[derive(Debug)]
pub struct Switch {
    dir: PathBuf,
    by: Call,
    finished: Option<Finished>,
    _locks: [Lock; 2],
}

/// A switch that was broken off and is done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// Where what the directory held is, if it held anything.
    pub aside: Option<PathBuf>,
    /// The call that had begun it.
    pub by: Call,
}

/// Keeps all commands away that would put another log into this directory, until the lock is dropped: whoever takes the log has it by
/// then. With it comes the command that was broken off when it had begun to. Nothing of the log is changed.
///
/// # Errors
/// [`SwitchError::Directory`] if a command is at it; what cannot be read.
pub(super) fn keep_away(dir: &Path) -> Result<(Lock, Option<String>), SwitchError> {
    vault::make_dir(dir)?;
    let held = Lock::of(dir, LOCK)?;
    let begun = journal(dir)?.map(|journal| journal.by.line);
    Ok((held, begun))
}

fn journal(dir: &Path) -> Result<Option<Journal>, SwitchError> {
    let path = dir.join(JOURNAL);
    let Some(bytes) = vault::read(&path, JOURNAL_MAX)? else { return Ok(None) };
    let journal = serde_json::from_slice(&bytes).map_err(|error| FileError::content(&path, error.to_string()))?;
    Ok(Some(journal))
}

/// Whether a switch was begun in this directory and not finished.
#[must_use]
pub fn is_unfinished(dir: &Path) -> bool {
    dir.join(JOURNAL).exists()
}

impl Switch {
    /// Takes the directory for this process alone, made if it is not there, and finishes what a call of the same command had begun.
    ///
    /// # Errors
    /// [`SwitchError`]; [`SwitchError::Unfinished`] if another command was broken off, which is to be called again.
    pub fn begin(dir: &Path, by: Call) -> Result<Self, SwitchError> {
        vault::make_dir(dir)?;
        let whole = Lock::of(dir, LOCK)?;
        if let Some(Journal { by: Call { line: command, .. }, .. }) =
            journal(dir)?.filter(|begun| begun.by.name != by.name)
        {
            return Err(SwitchError::Unfinished { dir: dir.to_owned(), command });
        }
        let log = dir.join(LOG_DIR);
        if is_unfinished(dir) && !log.exists() && dir.join(NEXT).join(LOG_DIR).exists() {
            // Between its two moves: the log that is to come is locked where it is.
            return Self::locked(dir, by, whole, &dir.join(NEXT).join(LOG_DIR));
        }
        vault::make_dir(&log)?;
        Self::locked(dir, by, whole, &log)
    }

    fn locked(dir: &Path, by: Call, whole: Lock, log: &Path) -> Result<Self, SwitchError> {
        let locks = [whole, Lock::take(log)?];
        let mut switch = Self { dir: dir.to_owned(), by, finished: None, _locks: locks };
        switch.finished = switch.go_on()?;
        let next = switch.next();
        if next.exists() {
            fs::remove_dir_all(&next).map_err(|error| fail("remove", &next, error))?;
        }
        Ok(switch)
    }

    /// The earlier switch that was broken off and that [`begin`](Self::begin) has finished.
    #[must_use]
    pub const fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// Whether the directory's log holds no record: a new one, or one that was lost.
    ///
    /// # Errors
    /// [`SwitchError`] when it cannot be listed.
    pub fn has_no_log(&self) -> Result<bool, SwitchError> {
        let log = self.dir.join(LOG_DIR);
        has_segments(&log).map(|has| !has).map_err(|error| fail("list", &log, error))
    }

    /// Where the image is to be made whose log comes into force.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        self.dir.join(NEXT)
    }

    /// Makes an image that holds nothing but what it is: its peer begins empty, as a new writer.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn make_empty(&self, node: NodeId, line: TimelineId, why: &str, now: WallTime) -> Result<Written, ImageError> {
        empty_image(&self.next(), node, line, why, now)
    }

    /// Puts the image in force: what the directory held until now goes to `aside`, a directory that is not there. Gives it, if there was
    /// anything to keep.
    ///
    /// # Errors
    /// [`SwitchError`]. Once the switch was begun, [`begin`](Self::begin) finishes it.
    pub fn commit(self, aside: &Path, timeline: Option<&Timeline>) -> Result<Option<PathBuf>, SwitchError> {
        let (aside, timeline, by) = (absolute(aside)?, timeline.map(ToString::to_string), self.by.clone());
        let journal = Journal { aside, timeline, by };
        self.say(&journal)?;
        Ok(self.go_on()?.and_then(|finished| finished.aside))
    }

    /// Does what the journal says, from wherever it stopped.
    fn go_on(&self) -> Result<Option<Finished>, SwitchError> {
        let path = self.dir.join(JOURNAL);
        let Some(journal) = journal(&self.dir)? else { return Ok(None) };
        let damaged = |error: String| FileError::content(&path, error);
        let timeline: Option<Timeline> =
            journal.timeline.map(|text| text.parse()).transpose().map_err(|error| damaged(format!("{error}")))?;
        let (log, next) = (self.dir.join(LOG_DIR), self.dir.join(NEXT));
        let (coming, mut aside) = (next.join(LOG_DIR), journal.aside);
        if coming.exists() {
            match holds_anything(&log).map_err(|error| fail("list", &log, error))? {
                Some(true) => aside = self.put_aside(&log, aside, timeline.as_ref(), &journal.by)?,
                Some(false) => remove_empty(&log)?,
                None => {}
            }
            fs::rename(&coming, &log).map_err(|error| fail("move", &coming, error))?;
            sync(&next)?;
            sync(&self.dir)?;
        }
        if let Some(timeline) = &timeline {
            timeline.write(&self.dir)?;
        }
        vault::remove(&path)?;
        if next.exists() {
            fs::remove_dir_all(&next).map_err(|error| fail("remove", &next, error))?;
        }
        let kept = aside.join(LOG_DIR).exists();
        Ok(Some(Finished { aside: Some(aside).filter(|_| kept), by: journal.by }))
    }

    /// Moves the old log, with its owner's name and its timeline, so that it can be looked at and restored from there. Gives where it
    /// is: inside the directory, where that is a mount point.
    fn put_aside(
        &self,
        log: &Path,
        aside: PathBuf,
        timeline: Option<&Timeline>,
        by: &Call,
    ) -> Result<PathBuf, SwitchError> {
        let Err(error) = self.move_to(log, &aside)? else { return Ok(aside) };
        let mut error = fail("move the log to", &aside, error);
        if is_mount(&error) {
            give_up(&aside);
            let inside = self.dir.join(aside.file_name().unwrap_or_else(|| "old".as_ref()));
            let inside = if inside.exists() { beside(&inside, "old") } else { inside };
            let (timeline, by) = (timeline.map(ToString::to_string), by.clone());
            self.say(&Journal { aside: inside.clone(), timeline, by })?;
            match self.move_to(log, &inside)? {
                Ok(()) => return Ok(inside),
                Err(again) => error = fail("move the log to", &inside, again),
            }
            give_up(&inside);
        }
        // Nothing has moved: it is as if nobody had begun.
        vault::remove(&self.dir.join(JOURNAL))?;
        match is_mount(&error) {
            true => Err(SwitchError::OtherFileSystem { log: log.to_owned(), aside }),
            false => Err(error),
        }
    }

    /// What the system says of the move itself is inside.
    fn move_to(&self, log: &Path, aside: &Path) -> Result<io::Result<()>, SwitchError> {
        vault::make_dir(aside)?;
        for name in [NODE_FILE, super::admission::TIMELINE_FILE] {
            if let Some(bytes) = vault::read(&self.dir.join(name), JOURNAL_MAX)? {
                vault::write(&aside.join(name), &bytes)?;
            }
        }
        if let Err(error) = fs::rename(log, aside.join(LOG_DIR)) {
            return Ok(Err(error));
        }
        sync(aside)?;
        sync(&self.dir)?;
        Ok(Ok(()))
    }

    fn say(&self, journal: &Journal) -> Result<(), SwitchError> {
        let bytes = serde_json::to_vec(journal).expect("a path and a text have a form in JSON");
        Ok(vault::write(&self.dir.join(JOURNAL), &bytes)?)
    }
}

/// Takes away what was made for a log that does not come.
fn give_up(aside: &Path) {
    // What is left over is a directory with copies of two small files.
    for name in [NODE_FILE, super::admission::TIMELINE_FILE] {
        let _ = fs::remove_file(aside.join(name));
    }
    let _ = fs::remove_dir(aside);
}

/// Whether a move was refused since something is a mount point: the directory (`EXDEV`), or the log itself (`EBUSY`).
fn is_mount(error: &SwitchError) -> bool {
    use io::ErrorKind::{CrossesDevices, ResourceBusy};
    matches!(error, SwitchError::Io { error, .. } if matches!(error.kind(), CrossesDevices | ResourceBusy))
}

/// Where what a directory holds is kept when it gets another log: `DIR.NAME` beside it, with a number behind if that is taken.
#[must_use]
pub fn beside(dir: &Path, name: &str) -> PathBuf {
    let of = |suffix: String| {
        let mut path = dir.components().as_path().as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    let names = std::iter::once(of(format!(".{name}"))).chain((2..).map(|nth| of(format!(".{name}.{nth}"))));
    names.into_iter().find(|path| !path.exists()).expect("there is a number that is not taken")
}

/// A log that is empty and says of which timeline it is.
fn empty_image(to: &Path, node: NodeId, line: TimelineId, why: &str, now: WallTime) -> Result<Written, ImageError> {
    let (from, lsn, at) = ("nothing".to_owned(), Lsn::ZERO, Hlc::default());
    let restored = Restored { from, lsn, at, timeline: 0, fork: 0, why: why.to_owned() };
    let (wal, upto, later) = (wal::Config::default(), Upto::default(), Vec::new());
    let plan = Plan { node, wal, upto, later, restored, line: Line::New(line), now };
    let none = || std::iter::empty::<Result<Frame, SourceError>>();
    image::write(to, &plan, none(), none())
}

/// The first start of a peer that joined a later timeline: its log says so before it holds anything. Whoever calls it holds the
/// directory's lock.
///
/// # Errors
/// [`SwitchError`]; the log is empty still.
pub(super) fn mark_first(dir: &Path, node: NodeId, line: TimelineId, now: WallTime) -> Result<(), SwitchError> {
    let log = dir.join(LOG_DIR);
    if line == TimelineId::FIRST || has_segments(&log).map_err(|error| fail("list", &log, error))? {
        return Ok(());
    }
    let next = dir.join(NEXT);
    if next.exists() {
        fs::remove_dir_all(&next).map_err(|error| fail("remove", &next, error))?;
    }
    empty_image(&next, node, line, "it joined this timeline", now)?;
    let made = fs::read_dir(next.join(LOG_DIR)).map_err(|error| fail("list", &next, error))?;
    for entry in made {
        // One record is in one segment.
        let from = entry.map_err(|error| fail("list", &next, error))?.path();
        let to = log.join(from.file_name().unwrap_or_default());
        fs::rename(&from, &to).map_err(|error| fail("move", &from, error))?;
    }
    sync(&log)?;
    fs::remove_dir_all(&next).map_err(|error| fail("remove", &next, error))
}

/// Whether there is anything of a log. One that cannot be listed is not one that is empty.
pub(super) fn has_segments(log: &Path) -> io::Result<bool> {
    Ok(any(log, |file| file.path().extension().is_some_and(|end| end == "wal"))?.unwrap_or(false))
}

/// Whether the directory of a log holds more than its lock; nothing if there is none.
fn holds_anything(log: &Path) -> io::Result<Option<bool>> {
    any(log, |file| file.file_name() != disk::LOCK_FILE)
}

fn any(dir: &Path, is: impl Fn(&fs::DirEntry) -> bool) -> io::Result<Option<bool>> {
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        files => files?,
    };
    for file in files {
        if is(&file?) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Removes the directory of a log that has nothing in it but its lock. The system refuses if somebody has put something there since.
fn remove_empty(log: &Path) -> Result<(), SwitchError> {
    match fs::remove_file(log.join(disk::LOCK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail("remove the lock of", log, error)),
        _ => {}
    }
    fs::remove_dir(log).map_err(|error| fail("remove", log, error))
}

fn absolute(path: &Path) -> Result<PathBuf, SwitchError> {
    std::path::absolute(path).map_err(|error| fail("find", path, error))
}

fn sync(dir: &Path) -> Result<(), SwitchError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| fail("sync", dir, error))
}

fn fail(what: &'static str, path: &Path, error: io::Error) -> SwitchError {
    SwitchError::Io { what, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::line_of;

    fn begun(dir: &Path) -> Option<String> {
        keep_away(dir).unwrap().1
    }

    const NODE: NodeId = NodeId::from_u128(7);
    const OLD: TimelineId = TimelineId { number: 1, fork: 5 };
    const NEW: TimelineId = TimelineId { number: 1, fork: 9 };

    /// A directory whose log is of one timeline, and where the image of another is made and not in force yet.
    fn made(home: &Path) -> (PathBuf, PathBuf) {
        let (dir, aside) = (home.join("data"), home.join("data.old"));
        let begun = Switch::begin(&dir, call("rebuild")).unwrap();
        begun.make_empty(NODE, OLD, "the old one", WallTime::EPOCH).unwrap();
        assert_eq!(begun.commit(&aside, None).unwrap(), None, "there was nothing to keep");
        let begun = Switch::begin(&dir, call("rebuild")).unwrap();
        begun.make_empty(NODE, NEW, "the new one", WallTime::EPOCH).unwrap();
        (dir, aside)
    }

    fn call(name: &str) -> Call {
        Call { name: name.into(), line: format!("oxigdal-ha {name} --data-dir data") }
    }

    fn journal(dir: &Path, aside: &Path) {
        let journal = Journal { aside: aside.to_owned(), timeline: None, by: call("rebuild") };
        vault::write(&dir.join(JOURNAL), &serde_json::to_vec(&journal).unwrap()).unwrap();
    }

    fn lines(dir: &Path, aside: &Path) -> [Option<TimelineId>; 2] {
        [dir, aside].map(|dir| line_of(dir).unwrap())
    }

    #[test]
    fn a_switch_that_was_broken_off_anywhere_is_finished_by_the_next_and_never_started_from() {
        for moves in 0..3 {
            let home = tempfile::tempdir().unwrap();
            let (dir, aside) = made(home.path());
            journal(&dir, &aside);
            assert!(is_unfinished(&dir));
            if moves > 0 {
                vault::make_dir(&aside).unwrap();
                fs::rename(dir.join(LOG_DIR), aside.join(LOG_DIR)).unwrap();
            }
            if moves > 1 {
                fs::rename(dir.join(NEXT).join(LOG_DIR), dir.join(LOG_DIR)).unwrap();
            }
            let switch = Switch::begin(&dir, call("rebuild")).unwrap();
            assert_eq!(
                switch.finished(),
                Some(&Finished { aside: Some(aside.clone()), by: call("rebuild") }),
                "{moves}"
            );
            assert_eq!(lines(&dir, &aside), [Some(NEW), Some(OLD)], "{moves}");
            assert!(!is_unfinished(&dir) && !dir.join(NEXT).exists());
            drop(switch);
            assert_eq!(Switch::begin(&dir, call("rebuild")).unwrap().finished(), None);
        }
    }

    #[test]
    fn a_switch_that_was_broken_off_names_its_command_and_no_other_finishes_it() {
        let home = tempfile::tempdir().unwrap();
        let (dir, aside) = made(home.path());
        assert_eq!(begun(&dir), None);
        journal(&dir, &aside);
        let refused = Switch::begin(&dir, call("timeline adopt")).unwrap_err();
        let SwitchError::Unfinished { command, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*command, call("rebuild").line);
        assert!(refused.to_string().contains("`oxigdal-ha rebuild --data-dir data`"), "{refused}");
        assert_eq!(begun(&dir).as_ref(), Some(command));
        assert!(dir.join(NEXT).exists() && !aside.exists(), "nothing was done");
        // Not while the command is at it.
        let held = Lock::of(&dir, LOCK).unwrap();
        assert!(matches!(keep_away(&dir), Err(SwitchError::Directory(OpenError::Locked { .. }))));
        drop(held);
        assert!(Switch::begin(&dir, call("rebuild")).unwrap().finished().is_some());
        assert_eq!(begun(&dir), None);
    }

    #[test]
    fn an_image_that_was_never_put_in_force_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (dir, aside) = made(home.path());
        assert_eq!(Switch::begin(&dir, call("rebuild")).unwrap().finished(), None);
        assert!(!dir.join(NEXT).exists());
        assert_eq!(lines(&dir, &aside), [Some(OLD), None]);
    }

    #[test]
    fn one_at_a_time_works_on_a_directory_and_nothing_kept_is_written_over() {
        let home = tempfile::tempdir().unwrap();
        let (dir, aside) = made(home.path());
        let held = Switch::begin(&dir, call("rebuild")).unwrap();
        let other = Switch::begin(&dir, call("rebuild")).unwrap_err();
        assert!(matches!(other, SwitchError::Directory(OpenError::Locked { .. })), "{other}");
        drop(held);
        assert_eq!(beside(&dir, "old"), aside);
        vault::make_dir(&aside).unwrap();
        assert_eq!(beside(&dir, "old"), home.path().join("data.old.2"));
    }

    #[test]
    fn a_log_of_which_nobody_knows_what_it_holds_is_never_deleted() {
        let home = tempfile::tempdir().unwrap();
        let (dir, aside) = made(home.path());
        let log = dir.join(LOG_DIR);
        // What is left of one, without a segment.
        for file in fs::read_dir(&log).unwrap().flatten() {
            if file.path().extension().is_some_and(|end| end == "wal") {
                fs::rename(file.path(), log.join("left")).unwrap();
            }
        }
        journal(&dir, &aside);
        let begun = Switch::begin(&dir, call("rebuild")).unwrap();
        assert_eq!(begun.finished(), Some(&Finished { aside: Some(aside.clone()), by: call("rebuild") }));
        assert!(aside.join(LOG_DIR).join("left").exists());
        assert_eq!(line_of(&dir).unwrap(), Some(NEW));
        // One that cannot be listed is not one without segments.
        fs::write(home.path().join("file"), b"").unwrap();
        assert!(has_segments(&home.path().join("file")).is_err());
        assert!(!has_segments(&home.path().join("none")).unwrap());
    }

    #[test]
    fn between_its_moves_a_switch_is_of_one_command_alone() {
        let home = tempfile::tempdir().unwrap();
        let (dir, aside) = made(home.path());
        let held = Switch::begin(&dir, call("rebuild")).unwrap();
        held.make_empty(NODE, NEW, "the new one", WallTime::EPOCH).unwrap();
        journal(&dir, &aside);
        // As it is between the moves: the log's own lock went aside with it.
        vault::make_dir(&aside).unwrap();
        fs::rename(dir.join(LOG_DIR), aside.join(LOG_DIR)).unwrap();
        for _ in 0..2 {
            let other = Switch::begin(&dir, call("rebuild")).unwrap_err();
            assert!(matches!(other, SwitchError::Directory(OpenError::Locked { .. })), "{other}");
            // And behind the second one.
            let _ = fs::rename(dir.join(NEXT).join(LOG_DIR), dir.join(LOG_DIR));
        }
        drop(held);
        assert!(Switch::begin(&dir, call("rebuild")).unwrap().finished().is_some());
    }

    /// Another file system than that of temporary files, where there is one.
    #[cfg(target_os = "linux")]
    #[test]
    fn where_the_directory_is_a_mount_point_the_old_log_stays_inside() {
        use std::os::unix::fs::MetadataExt as _;
        let home = tempfile::tempdir().unwrap();
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            println!("skipped: there is no other file system");
            return;
        };
        if fs::metadata(other.path()).unwrap().dev() == fs::metadata(home.path()).unwrap().dev() {
            println!("skipped: there is no other file system");
            return;
        }
        let (dir, _) = made(home.path());
        let switch = Switch::begin(&dir, call("rebuild")).unwrap();
        switch.make_empty(NODE, NEW, "the new one", WallTime::EPOCH).unwrap();
        let aside = switch.commit(&other.path().join("data.old"), None).unwrap().unwrap();
        assert_eq!(aside, dir.join("data.old"));
        assert_eq!(lines(&dir, &aside), [Some(NEW), Some(OLD)]);
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing is left there");
    }
}
