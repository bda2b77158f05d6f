//! `simulate minimize`: a failing run made smaller, and kept as a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::sim::{self, NotShrunk, Outcome, Progress, Shrunk, Size};
use serde_json::json;

use super::stop::{self, Stop};
use super::tell::is_same;
use super::{bad_file, read, read_with_text, seed_of};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

#[derive(ClapArgs, Debug)]
pub(super) struct Minimize {
    /// A scenario, or a repro file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The seed that fails; a repro file has its own.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Then the best so far is written. Ctrl-C does the same.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = stop::duration)]
    time_budget: Duration,
    /// Where to write; by default regressions/NAME-INVARIANT-SEED.toml beside the scenario.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Minimize, output: Output) -> Result<ExitCode> {
    let (scenario, text) = match read_with_text(&args.file) {
        Ok(read) => read,
        Err(failure) => return Ok(bad_file(&failure, output)),
    };
    let stop = Stop::within(Some(args.time_budget))?;
    let bar = bar(output);
    let mut watch = |progress: Progress| {
        let Progress { runs, size, phase } = progress;
        bar.set_message(format!("{runs} runs, taking away {phase}: {}", told(size)));
        bar.tick();
    };
    let seed = seed_of([&scenario], args.seed, output);
    let small = match sim::shrink(&scenario, &text, seed, &mut watch, &|| stop.now()) {
        Ok(small) => small,
        Err(why) => {
            bar.finish_and_clear();
            return Err(Failure::new(&why).hint(match why {
                NotShrunk::Passes(_) => "`simulate run FILE --seeds 1..1000` finds seeds that fail",
                NotShrunk::NoTime => "give it more: --time-budget 10m",
            }));
        }
    };
    bar.finish_and_clear();
    let key = small.outcome.judgement.key().unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file, scenario.name(), &key, small.outcome.seed));
    if scenario.repro().is_none() && is_same(&args.file, &out) {
        return Err(Failure::usage(format_args!("{} would be written over", out.display())));
    }
    let before = kept(&out, &key).filter(|size| size.pieces() < small.after.pieces());
    if before.is_none() {
        write(&out, &small.text)?;
    }
    tell(&small, &out, before, output)?;
    Ok(ExitCode::SUCCESS)
}

fn bar(output: Output) -> ProgressBar {
    let target = if output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}").expect("the template is fixed");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// Where a repro file belongs: with the others. One of a repro file takes its place beside it.
fn beside(file: &Path, name: &str, key: &str, seed: u64) -> PathBuf {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let folder = if folder.ends_with("regressions") { folder.to_owned() } else { folder.join("regressions") };
    let ending = format!("-{}-{seed}", key.to_lowercase());
    folder.join(format!("{}{ending}.toml", name.strip_suffix(&ending).unwrap_or(name)))
}

/// The size of the run that a file holds, if it breaks the same.
fn kept(file: &Path, key: &str) -> Option<Size> {
    let scenario = read(file).ok().filter(|scenario| scenario.broke() == Some(key))?;
    sim::size(&scenario, 0)
}

fn write(out: &Path, text: &str) -> Result {
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("make", folder, &error))?;
    }
    std::fs::write(out, text).map_err(|error| Failure::file("write", out, &error))
}

fn tell(small: &Shrunk, out: &Path, kept: Option<Size>, output: Output) -> Result {
    let Shrunk { outcome, before, after, runs, minimal, .. } = small;
    if output.json {
        let file = out.display().to_string();
        let what = outcome.judgement.key();
        return output.value(&json!({
            "file": file, "what": what, "before": before, "after": after, "runs": runs, "minimal": minimal,
            "kept": kept,
        }));
    }
    output.line(format_args!("before: {}", told(*before)))?;
    output.line(output.paint(Tone::Bold, format_args!("after:  {}", told(*after))))?;
    let how = if *minimal { "none of it can be spared" } else { "time was over: more might be spared" };
    output.line(format_args!("{runs} runs; {how}"))?;
    output.line(output.paint(Tone::Bad, format_args!("FAIL {}", outcome.judgement)))?;
    if let Some(size) = kept {
        let what = told(size);
        return output
            .line(format_args!("{} is smaller, with {what}: it is left as it was; --out FILE", out.display()));
    }
    let written = Outcome { file: out.display().to_string(), explicit: true, ..outcome.clone() };
    output.line(format_args!("written to {}; {}", out.display(), written.command("explain")))
}

pub(super) fn told(size: Size) -> String {
    let Size { faults, turns, edits, appends, proposals, peers } = size;
    let parts = [
        (faults, "fault"),
        (turns, "turn"),
        (edits, "edit"),
        (appends, "append"),
        (proposals, "proposal"),
        (peers, "peer"),
    ];
    let some: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if some.is_empty() { "nothing".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repro_file_stands_with_the_others_and_keeps_its_name() {
        let of = |file: &str, name: &str| beside(Path::new(file), name, "M2", 7).display().to_string();
        assert_eq!(of("simulations/garbled.toml", "garbled"), "simulations/regressions/garbled-m2-7.toml");
        assert_eq!(of("x/regressions/garbled-m2-7.toml", "garbled-m2-7"), "x/regressions/garbled-m2-7.toml");
        assert_eq!(of("garbled.toml", "garbled"), "regressions/garbled-m2-7.toml");
    }
}
