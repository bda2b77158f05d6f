//! `recoveries`: what recoveries of a data directory took and lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueHint;
use oxigdal_ha::driver::Clock;
use oxigdal_ha::recovery::history::{self, Entry};
use oxigdal_ha::recovery::target::Stamp;

use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, cell, millis, number};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory
    #[arg(long, alias = "data", value_name = "DIR", default_value = "oxigdal-ha-data", value_hint = ValueHint::DirPath)]
    data_dir: PathBuf,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let dir = &arguments.data_dir;
    let entries =
        history::read(dir).map_err(|error| Failure::file("read", &dir.join(history::HISTORY_FILE), &error))?;
    if output.json {
        return output.value(&entries);
    }
    if entries.is_empty() {
        return output.line(format_args!("nothing was recovered in {}", dir.display()));
    }
    let mut table = output.table(&["STARTED", "WHAT", "TARGET", "TOOK", "PHASES", "RECORDS", "BYTES", "LOST", "FROM"]);
    for entry in &entries {
        let phases: Vec<String> = entry.seconds.iter().map(|(name, s)| format!("{name} {}", seconds(*s))).collect();
        let (tone, what) = match &entry.error {
            Some(why) => (Tone::Bad, format!("{} failed: {why}", entry.what)),
            None => (Tone::Good, entry.what.clone()),
        };
        table.add_row([
            cell(Tone::Dim, entry.started.as_str()),
            cell(tone, what),
            cell(Tone::Bold, entry.target.as_str()),
            number(seconds(entry.total())),
            cell(Tone::Dim, phases.join(", ")),
            number(entry.records.to_string()),
            number(bytes(entry.bytes)),
            number(entry.lost_ms.map_or_else(|| "-".to_owned(), millis)),
            cell(Tone::Dim, entry.from.as_str()),
        ]);
    }
    output.rows(&table)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds for people")]
fn seconds(seconds: f64) -> String {
    millis((seconds * 1_000.0) as u64)
}

/// Measures a recovery as it goes on.
pub(crate) struct Stopwatch {
    began: Instant,
    lap: Instant,
    entry: Entry,
}

impl Stopwatch {
    pub(crate) fn start(what: &str, target: impl ToString) -> Self {
        let (now, wall) = (Instant::now(), Clock::start().now().wall);
        let entry = Entry {
            what: what.into(),
            target: target.to_string(),
            started: Stamp(wall).to_string(),
            ..Entry::default()
        };
        Self { began: now, lap: now, entry }
    }

    /// The phase that ends now.
    pub(crate) fn lap(&mut self, phase: &str) {
        let now = Instant::now();
        *self.entry.seconds.entry(phase.to_owned()).or_default() += now.duration_since(self.lap).as_secs_f64();
        self.lap = now;
    }

    pub(crate) fn from(&mut self, from: impl ToString) {
        self.entry.from = from.to_string();
    }

    pub(crate) fn target(&mut self, target: impl ToString) {
        self.entry.target = target.to_string();
    }

    pub(crate) fn wrote(&mut self, records: u64, bytes: u64) {
        (self.entry.records, self.entry.bytes) = (records, bytes);
    }

    pub(crate) fn lost(&mut self, ms: Option<u64>) {
        self.entry.lost_ms = ms;
    }

    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        self.entry.seconds.clone()
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Keeps what was measured in the directory. That it could not be is told, and is no failure of the recovery.
    pub(crate) fn keep(mut self, dir: &Path, failed: Option<&Failure>) {
        self.entry.error = failed.map(ToString::to_string);
        if let Err(error) = history::append(dir, &self.entry) {
            eprintln!("note: what it took was not written to {}: {error}", dir.join(history::HISTORY_FILE).display());
        }
    }
}
