//! The host of a backup: clock, luck, and progress: a bar with rate and time left on a terminal, JSON lines for
//! programs, and for a log that people read later a plain line from time to time.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::backup::{Host, Phase, Progress};
use oxigdal_ha::driver::{Clock, life};
use oxigdal_ha::types::WallTime;

use crate::output::{Output, bytes, millis};

/// How often a program hears how far it is.
const LINES_EVERY: Duration = Duration::from_secs(1);
/// How often a log does. What is done sooner needs no line.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Who hears how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Somebody at a terminal: a bar, or nothing where the answer is JSON.
    Terminal,
    /// A program, in JSON.
    Program,
    /// A log.
    Log,
}

pub(crate) struct Ear {
    clock: Clock,
    to: Told,
    bar: ProgressBar,
    began: Instant,
    told: Mutex<Option<Instant>>,
}

impl Ear {
    pub(crate) fn new(output: Output) -> Self {
        let bar = if output.json || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        bar.set_style(ProgressStyle::with_template("{msg} {bytes} at {bytes_per_sec}").expect("a template"));
        let to = match (io::stderr().is_terminal(), output.json) {
            (true, _) => Told::Terminal,
            (false, true) => Told::Program,
            (false, false) => Told::Log,
        };
        let told = Mutex::new((to == Told::Log).then(Instant::now));
        Self { clock: Clock::start(), to, bar, began: Instant::now(), told }
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A line, if it is time for one.
    fn line(&self, progress: &Progress) {
        let every = if self.to == Told::Log { PLAIN_EVERY } else { LINES_EVERY };
        let Ok(mut told) = self.told.lock() else { return };
        if told.is_some_and(|told| told.elapsed() < every) {
            return;
        }
        *told = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = progress.done as f64 / seconds;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let left = progress.total.map(|total| (total.saturating_sub(progress.done)) as f64 / rate.max(1.0));
        let line = match self.to {
            Told::Log => plain(progress, rate, left),
            _ => serde_json::json!({
                "progress": progress,
                "bytes_per_second": rate.round(),
                "seconds_left": left.map(f64::round),
            })
            .to_string(),
        };
        // Who does not read it does not want it.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

const fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::BackUp => "backing up",
        Phase::Restore => "restoring",
        Phase::Verify => "verifying",
        Phase::Prune => "removing",
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]
fn plain(progress: &Progress, rate: f64, left: Option<f64>) -> String {
    let of = progress.total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
    let left = left.map(|left| format!(", {} left", millis((left * 1_000.0) as u64))).unwrap_or_default();
    format!("{}: {}{of} at {}/s{left}", doing(progress.phase), bytes(progress.done), bytes(rate as u64))
}

impl Host for Ear {
    fn wall(&self) -> WallTime {
        self.clock.now().wall
    }

    fn random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a system without entropy cannot name or encrypt anything");
    }

    fn life(&self) -> String {
        life::name().to_owned()
    }

    fn has_ended(&self, life: &str) -> bool {
        life::has_ended(life)
    }

    fn progress(&self, progress: &Progress) {
        if self.to != Told::Terminal {
            return self.line(progress);
        }
        if let (Some(total), None) = (progress.total.filter(|total| *total > 0), self.bar.length()) {
            self.bar.set_length(total);
            let template = "{msg} {wide_bar} {bytes} of {total_bytes} at {bytes_per_sec}, {eta} left";
            self.bar.set_style(ProgressStyle::with_template(template).expect("a template"));
        }
        self.bar.set_message(doing(progress.phase));
        self.bar.set_position(progress.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_how_far_it_is_in_plain_words() {
        let mut progress = Progress { phase: Phase::BackUp, done: 3_000_000, total: None, objects: 1, records: 9 };
        assert_eq!(plain(&progress, 1e6, None), "backing up: 3.0 MB at 1.0 MB/s");
        progress.total = Some(33_000_000);
        assert_eq!(plain(&progress, 1e6, Some(30.0)), "backing up: 3.0 MB of 33.0 MB at 1.0 MB/s, 30.0 s left");
    }
}
