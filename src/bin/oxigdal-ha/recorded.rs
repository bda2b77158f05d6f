//! `simulate replay-inputs`: the recorded life of a real peer, lived again.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::recording::{Entry, ReadError, Reader, ReplayError, Replayed, replay};

use crate::failure::{Failure, Result};
use crate::output::{self, Output, Tone};

/// It is another life.
const DIFFERS: u8 = 1;
/// The file cannot be used.
const BAD_FILE: u8 = 4;

#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// A file of `run --record`.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Show every input with the effects that followed.
    #[arg(long)]
    trace: bool,
}

pub(crate) fn replay_inputs(args: &Args, output: Output) -> Result<ExitCode> {
    match lived_again(args, output) {
        Ok(replayed) => {
            tell(&replayed, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ (ReplayError::Read(_) | ReplayError::Input(_))) => Ok(failed(&args.file, &error, BAD_FILE, output)),
        Err(error) => Ok(failed(&args.file, &error, DIFFERS, output)),
    }
}

fn lived_again(args: &Args, output: Output) -> std::result::Result<Replayed, ReplayError> {
    let file = File::open(&args.file).map_err(ReadError::from)?;
    let len = file.metadata().map_err(ReadError::from)?.len();
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if output.json || args.trace || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta} left").expect("a template"));
    let mut reader = Reader::begin(BufReader::new(Counted { file, bar: bar.clone() }))?;
    let replayed = replay(&mut reader, |at, entry| {
        if args.trace {
            // Who stops reading, as `head` does, wants no more.
            let _ = output.line(shown(at, entry));
        }
    });
    bar.finish_and_clear();
    replayed
}

/// A file that moves the bar as it is read.
struct Counted {
    file: File,
    bar: ProgressBar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

fn shown(at: u64, entry: &Entry) -> String {
    let effects: Vec<String> = entry.effects.iter().map(|mark| mark.kind().to_owned()).collect();
    let arrow = if effects.is_empty() { String::new() } else { format!(" -> {}", effects.join(", ")) };
    format!("{at:>8} {:>14?} {}{arrow}", entry.now().mono, entry.words())
}

fn tell(replayed: &Replayed, output: Output) -> Result {
    if output.json {
        return output.value(replayed);
    }
    let Replayed { node, build, inputs, effects, tasks, lived_ms, ended, .. } = replayed;
    let same = output.paint(Tone::Good, "the same");
    output.line(format_args!(
        "{same}: {effects} effects of {inputs} inputs and {tasks} tasks, {} of the life of {node}, recorded by {build}",
        output::millis(*lived_ms),
    ))?;
    if !*ended {
        output.line("the recording has no end: its peer was killed, or its disk was full or too slow; the last moments are not in it")?;
    }
    Ok(())
}

fn failed(file: &Path, error: &ReplayError, code: u8, output: Output) -> ExitCode {
    let failure = Failure::new(format_args!("{}: {error}", file.display()));
    failure.report(output.json, io::stderr().is_terminal() && output.colour);
    ExitCode::from(code)
}
