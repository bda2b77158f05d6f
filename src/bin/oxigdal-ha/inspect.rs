//! `log inspect`: what a log directory holds, and what is wrong with it. Reads files only; a peer may be running on them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueHint};
use oxigdal_ha::recovery::target::{Mark, Stamp};
use oxigdal_ha::recovery::{Source, Survey};

use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, cell, number};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show segments, records and restore points of a log, and name what is damaged
    #[command(
        after_help = "The log may be that of a running peer: nothing is changed and nothing is locked.\n\nExit code 1: it is damaged."
    )]
    Inspect {
        /// A data directory, or the directory of a log's segments
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

pub(crate) fn run(command: &Command, output: Output) -> Result<ExitCode> {
    let Command::Inspect { dir } = command;
    let survey = Source::open(dir).and_then(|source| Survey::of(&source)).map_err(Failure::new)?;
    let told = if output.json { output.value(&survey) } else { tell(&survey, output) };
    Failure::unless_gone(told, u8::from(!survey.is_sound()))
}

fn tell(survey: &Survey, output: Output) -> Result {
    output.line(format_args!("{}: the log of node {}", survey.dir.display(), survey.node))?;
    let mut table = output.table(&["SEGMENT", "CHAIN", "BYTES", "RECORDS", "LSN", "FROM", "TO"]);
    for segment in &survey.segments {
        let lsn = |mark: Option<Mark>| mark.map_or_else(|| "-".to_owned(), |mark| mark.lsn.to_string());
        let at = |mark: Option<Mark>| mark.map_or_else(|| "-".to_owned(), |mark| Stamp(mark.at.wall).to_string());
        table.add_row([
            cell(Tone::Name, &segment.file),
            cell(Tone::Dim, segment.chain),
            number(bytes(segment.bytes)),
            number(segment.records),
            number(format_args!("{}..{}", lsn(segment.first), lsn(segment.last))),
            cell(Tone::Dim, at(segment.first)),
            cell(Tone::Dim, at(segment.last)),
        ]);
    }
    output.rows(&table)?;
    let kinds: Vec<String> = survey.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    output.line(format_args!("records: {}", kinds.join(", ")))?;
    for point in &survey.points {
        output.line(format_args!("point {}: lsn:{}, {}", point.name, point.lsn, Stamp(point.at.wall)))?;
    }
    for recovery in &survey.recoveries {
        let restored = &recovery.restored;
        output.line(format_args!(
            "restored at lsn:{} from {}: its lsn:{} of {} ({})",
            recovery.mark.lsn,
            restored.from,
            restored.lsn,
            Stamp(restored.at.wall),
            restored.why
        ))?;
    }
    for found in &survey.damage {
        let (tone, what) = if found.last_write {
            (Tone::Warn, "the next start cuts this, and goes on as a new actor")
        } else {
            (Tone::Bad, "no peer starts from this log")
        };
        output.line(format_args!("{}: {}; {what}", output.paint(tone, "damaged"), found.what))?;
    }
    if survey.is_sound() { output.line("nothing is damaged") } else { Ok(()) }
}
