//! How the demo is told: a line a step with its figures, for people; a JSON object a step, for programs.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use crate::failure::Result;
use crate::output::{Output, Tone};

/// Width of the column of steps.
const STEP: usize = 9;

/// Where the demo is told.
pub(super) struct Stage {
    output: Output,
    spinner: Option<ProgressBar>,
}

impl Stage {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, spinner: None }
    }

    /// What is shown above everything.
    pub(super) fn title(&self, peers: usize, overlay: impl fmt::Display, folder: impl fmt::Display) -> Result {
        if self.output.json {
            return Ok(());
        }
        let name = self.output.paint(Tone::Bold, "oxigdal-ha demo");
        let about = format!("{peers} real peers on loopback, overlay {overlay}, data below {folder}");
        self.output.line(format_args!("\n  {name}  {}\n", self.output.paint(Tone::Dim, about)))
    }

    /// A step begins.
    pub(super) fn begin(&mut self, what: impl Into<String>) {
        self.clear();
        if self.output.json || !io::stderr().is_terminal() {
            return;
        }
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {spinner:.cyan} {msg:.dim} {elapsed:.dim}");
        spinner.set_style(style.expect("the template is fixed"));
        spinner.set_message(what.into());
        spinner.enable_steady_tick(Duration::from_millis(80));
        self.spinner = Some(spinner);
    }

    /// Nothing is under way.
    pub(super) fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// A step is done: its name, what happened in words, and its figures for programs.
    pub(super) fn done(&mut self, step: &str, words: impl fmt::Display, figures: Value) -> Result {
        self.clear();
        if self.output.json {
            let mut object = Map::from_iter([("step".to_owned(), Value::from(step))]);
            if let Value::Object(figures) = figures {
                object.extend(figures);
            }
            return self.output.line(Value::Object(object));
        }
        let (mark, tone) = match step {
            "cut" => ("✂", Tone::Warn),
            "kill" => ("✖", Tone::Bad),
            _ => ("✔", Tone::Good),
        };
        let label = self.output.paint(Tone::Bold, format_args!("{step:<STEP$}"));
        self.output.line(format_args!("  {} {label} {words}", self.output.paint(tone, mark)))
    }

    /// More of the same step, for people only.
    pub(super) fn more(&self, words: impl fmt::Display) -> Result {
        if self.output.json {
            return Ok(());
        }
        self.output.line(format_args!("    {:STEP$} {}", "", self.output.paint(Tone::Dim, words)))
    }

    /// A line for people only.
    pub(super) fn line(&self, words: impl fmt::Display) -> Result {
        if self.output.json { Ok(()) } else { self.output.line(format!("  {words}").trim_end()) }
    }

    /// What matters in a line.
    pub(super) fn strong(&self, words: impl fmt::Display) -> String {
        self.output.paint(Tone::Name, words)
    }

    pub(super) const fn output(&self) -> Output {
        self.output
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A time as people read it.
pub(super) fn time(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1_000 { format!("{millis} ms") } else { format!("{:.2} s", time.as_secs_f64()) }
}

/// A time for programs.
pub(super) fn ms(time: Duration) -> Value {
    Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
