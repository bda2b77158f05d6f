//! The host of a backup: clock, luck, and progress: a bar with rate and time left on a terminal, JSON lines for
//! programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::backup::{Host, Phase, Progress};
use oxigdal_ha::driver::{Clock, life};
use oxigdal_ha::types::WallTime;

use crate::output::Output;

/// How often a program hears how far it is.
const LINES_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Ear {
    clock: Clock,
    json: bool,
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
        // Lines are for programs that asked for JSON and are not looked at by people.
        let json = output.json && !io::stderr().is_terminal();
        Self { clock: Clock::start(), json, bar, began: Instant::now(), told: Mutex::new(None) }
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// At most one line a second.
    fn line(&self, progress: &Progress) {
        let Ok(mut told) = self.told.lock() else { return };
        if told.is_some_and(|told| told.elapsed() < LINES_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = progress.done as f64 / seconds;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let left = progress.total.map(|total| (total.saturating_sub(progress.done)) as f64 / rate.max(1.0));
        let line = serde_json::json!({
            "progress": progress,
            "bytes_per_second": rate.round(),
            "seconds_left": left.map(f64::round),
        });
        // Who does not read it does not want it.
        let _ = writeln!(io::stderr(), "{line}");
    }
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
        if self.json {
            return self.line(progress);
        }
        if let (Some(total), None) = (progress.total.filter(|total| *total > 0), self.bar.length()) {
            self.bar.set_length(total);
            let template = "{msg} {wide_bar} {bytes} of {total_bytes} at {bytes_per_sec}, {eta} left";
            self.bar.set_style(ProgressStyle::with_template(template).expect("a template"));
        }
        let what = match progress.phase {
            Phase::BackUp => "backing up",
            Phase::Restore => "restoring",
            Phase::Verify => "verifying",
            Phase::Prune => "removing",
        };
        self.bar.set_message(what);
        self.bar.set_position(progress.done);
    }
}
