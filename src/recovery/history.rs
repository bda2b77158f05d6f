//! What recoveries of a data directory took: a line of JSON each, in its file `recoveries.jsonl`, measured when it was done.
//!
//! **RPO** is how much was lost: from the moment that was had back to the newest one that was known. **RTO** is how long it took: the
//! seconds of each phase, and, added by the next start, until the peer served and until it had caught up with its neighbours.
//!
//! A line is appended in one write and synced. A line that was torn is passed over by readers. The file keeps the last
//! [`ENTRIES_MAX`] of them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file in a data directory.
pub const HISTORY_FILE: &str = "recoveries.jsonl";

/// Recoveries that are kept, the last ones.
pub const ENTRIES_MAX: usize = 1_000;

/// Longest text of an entry, in bytes; what is longer is cut.
const TEXT_MAX: usize = 1_024;

/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// From so many bytes on the file is looked at for what may go.
const BYTES_TRIM: u64 = 1 << 20;

/// One recovery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `restore`, `new-timeline`, `adopt`, `rebuild`, `standby`, or `run`: the first start behind one of these.
    pub what: String,
    /// To which moment.
    pub target: String,
    /// From what.
    pub from: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Seconds of each phase.
    pub seconds: BTreeMap<String, f64>,
    /// Bytes that were written.
    pub bytes: u64,
    /// Records that were written.
    pub records: u64,
    /// Milliseconds from the moment that was had back to the newest one that was known; nothing if none was known.
    pub lost_ms: Option<u64>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Entry {
    /// All phases together, in seconds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.seconds.values().sum()
    }

    fn cut(mut self) -> Self {
        let texts = [&mut self.what, &mut self.target, &mut self.from];
        for text in texts.into_iter().chain(self.error.as_mut()) {
            if text.len() > TEXT_MAX {
                let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
                text.truncate(end);
            }
        }
        self
    }
}

/// Writes an entry behind the others, durably.
///
/// # Errors
/// What the system refuses; the others are as they were.
pub fn append(dir: &Path, entry: &Entry) -> io::Result<()> {
    let path = dir.join(HISTORY_FILE);
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
    let len = file.metadata()?.len();
    let mut line = serde_json::to_string(&entry.clone().cut())?;
    line.push('\n');
    if len > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // A line that was torn must not take this one along.
            line.insert(0, '\n');
        }
    }
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    if len > BYTES_TRIM { trim(dir) } else { Ok(()) }
}

/// All that are kept, the oldest first.
///
/// # Errors
/// What the system refuses.
pub fn read(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut text = Vec::new();
    match File::open(dir.join(HISTORY_FILE)) {
        Ok(file) => file.take(BYTES_MAX).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = String::from_utf8_lossy(&text);
    let mut entries: Vec<Entry> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    entries.drain(..entries.len().saturating_sub(ENTRIES_MAX));
    Ok(entries)
}

fn trim(dir: &Path) -> io::Result<()> {
    let entries = read(dir)?;
    let kept = &entries[entries.len().saturating_sub(ENTRIES_MAX / 2)..];
    let mut lines = Vec::new();
    for entry in kept {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    let (path, new) = (dir.join(HISTORY_FILE), dir.join(format!("{HISTORY_FILE}.new")));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&lines)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize) -> Entry {
        let seconds = BTreeMap::from([("find".to_owned(), 0.5), ("write".to_owned(), 1.0)]);
        Entry { what: "rebuild".into(), target: n.to_string(), seconds, lost_ms: Some(7), ..Entry::default() }
    }

    #[test]
    fn entries_come_back_in_order_and_a_torn_line_takes_none_along() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        append(dir.path(), &entry(1)).unwrap();
        let path = dir.path().join(HISTORY_FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..9]].concat()).unwrap();
        append(dir.path(), &entry(2)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [entry(1), entry(2)]);
        assert!((entry(1).total() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_file_is_bounded_and_keeps_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let long = Entry { error: Some("ä".repeat(5_000)), ..entry(0) };
        let line = serde_json::to_string(&long.clone().cut()).unwrap();
        assert!(line.len() < 2_048, "{}", line.len());
        let text = format!("{line}\n").repeat(2_000);
        fs::write(dir.path().join(HISTORY_FILE), text).unwrap();
        append(dir.path(), &entry(2)).unwrap();
        assert!(fs::metadata(dir.path().join(HISTORY_FILE)).unwrap().len() < BYTES_TRIM);
        let kept = read(dir.path()).unwrap();
        assert_eq!((kept.len(), kept.last()), (ENTRIES_MAX / 2, Some(&entry(2))));
    }
}
