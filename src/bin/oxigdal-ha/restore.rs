//! `restore`: a log as it was, in a directory of its own.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueHint;
use oxigdal_ha::driver::Clock;
use oxigdal_ha::recovery::side::{self, Lost};
use oxigdal_ha::recovery::target::{Stamp, Target};
use oxigdal_ha::recovery::{LocateError, Located, Source, Survey, image::Written};
use oxigdal_ha::types::{Lsn, WallTime};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, millis};

const AFTER: &str = "\
The log is read as it is; its peer may be running. DIR2 gets the log and the node's name, and neither key nor ticket, so that no
second peer of one name comes up beside the first by mistake.

  to look at it    oxigdal-ha log inspect DIR2
  to go back       stop the peer, move DIR/log aside, move DIR2/log to its place, start the peer. It goes on as a new writer,
                   and gets back from its neighbours what they hold, which is all that they ever got: what is to be undone for
                   everybody is undone by `oxigdal-ha revert`

A moment that cannot be had is refused with what can; nothing is written then.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The data directory, or the directory of a log's segments
    #[arg(long, value_name = "DIR", default_value = "oxigdal-ha-data", value_hint = ValueHint::DirPath, conflicts_with = "repo")]
    data: PathBuf,
    #[command(flatten)]
    place: crate::backup::Place,
    #[command(flatten)]
    search: crate::backup::restore::Search,
    /// To when: latest, a time with its zone, how long ago (10m), lsn:N or point:NAME
    #[arg(long, value_name = "TARGET")]
    at: Target,
    /// Where to put it: a directory that is not there yet, or is empty
    #[arg(long, value_name = "DIR2", required_unless_present = "dry_run", value_hint = ValueHint::DirPath)]
    into: Option<PathBuf>,
    /// Leave out what stands at the target itself
    #[arg(long)]
    exclusive: bool,
    /// Only say what would be restored, and what the log holds beyond it
    #[arg(long)]
    dry_run: bool,
}

/// What was done, and how long it took.
#[derive(Debug, Serialize)]
struct Report {
    node: String,
    from: PathBuf,
    target: String,
    exclusive: bool,
    located: Located,
    beyond: Lost,
    #[serde(skip_serializing_if = "Option::is_none")]
    into: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    took: Took,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Took {
    read_ms: u64,
    locate_ms: u64,
    write_ms: u64,
    total_ms: u64,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    if arguments.place.repo.is_some() {
        let Args { place, search, at, exclusive, into, dry_run, .. } = arguments;
        let into = into.as_deref().filter(|_| !dry_run);
        let restore = crate::backup::restore::run(place, search, at, *exclusive, into, output);
        return crate::backup::runtime()?.block_on(restore);
    }
    let now = Clock::start().now().wall;
    let began = Instant::now();
    let mut took = Took::default();
    let source = Source::open(&arguments.data).map_err(Failure::new)?;
    let survey = Survey::of(&source).map_err(Failure::new)?;
    took.read_ms = since(began);
    let found = Instant::now();
    let located = survey.locate(&source, &arguments.at, arguments.exclusive, now).map_err(|error| {
        let kind = matches!(error, LocateError::Target(_)).then_some("unreachable");
        Failure::new(error).kind(kind)
    })?;
    took.locate_ms = since(found);
    let wrote = Instant::now();
    let into = arguments.into.as_ref().filter(|_| !arguments.dry_run);
    let written = match into {
        Some(into) => {
            let exclusive = if arguments.exclusive { ", exclusive" } else { "" };
            let why = format!("{}{exclusive}", arguments.at);
            Some(side::restore(&source, &survey, &located, into, why, now).map_err(Failure::new)?)
        }
        None => None,
    };
    took.write_ms = since(wrote);
    took.total_ms = since(began);
    let beyond = side::lost(&source, &survey, &located).map_err(Failure::new)?;
    let report = Report {
        node: source.node().to_string(),
        from: source.dir().to_owned(),
        target: arguments.at.to_string(),
        exclusive: arguments.exclusive,
        located,
        beyond,
        into: into.cloned(),
        written,
        took,
    };
    if output.json { output.value(&report) } else { tell(&report, output) }
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn tell(report: &Report, output: Output) -> Result {
    let Report { node, from, located, beyond, written, took, .. } = report;
    let label = |text: &str| output.paint(Tone::Dim, format_args!("{text:<8}"));
    output.line(format_args!("{}{}, node {node}", label("from"), from.display()))?;
    let Located { upto, last } = located;
    let events = if upto.events > Lsn::ZERO { format!(", events up to {}", upto.events) } else { String::new() };
    output.line(format_args!("{}lsn:{} of {}{events}", label("to"), last.lsn, Stamp(last.at.wall)))?;
    output.line(format_args!("{}{}", label("beyond"), beyond_of(beyond, last.at.wall)))?;
    let named: Vec<String> = beyond.documents.iter().take(20).map(ToString::to_string).collect();
    if !named.is_empty() {
        let more = beyond.documents_touched - named.len();
        let more = if more > 0 { format!(" and {more} more (--json names them)") } else { String::new() };
        output.line(format_args!("{}{}{more}", label(""), named.join(", ")))?;
    }
    if let Some(upto) = beyond.expired_upto {
        output
            .line(format_args!("{}events up to record {upto} have expired since and cannot be had back", label("")))?;
    }
    match (written, &report.into) {
        (Some(written), Some(into)) => output.line(format_args!(
            "{}{}: {} records, {} in {} segments",
            label("into"),
            into.display(),
            written.records,
            bytes(written.bytes),
            written.segments
        ))?,
        _ => output.line(format_args!("{}nothing: a dry run", label("into")))?,
    }
    let Took { read_ms, locate_ms, write_ms, total_ms } = *took;
    output.line(format_args!(
        "{}{}: {} to read and check the log, {} to find the moment, {} to write",
        label("took"),
        millis(total_ms),
        millis(read_ms),
        millis(locate_ms),
        millis(write_ms)
    ))
}

pub(crate) fn beyond_of(beyond: &Lost, at: WallTime) -> String {
    let (Some(from), Some(to)) = (beyond.from, beyond.to) else {
        return "nothing: this is all that the log holds".to_owned();
    };
    let span = (to.at.wall.as_micros().saturating_sub(at.as_micros())) / 1_000;
    format!(
        "{} records, {} to {} ({}): {} changes of {} documents, {} batches of events",
        beyond.records,
        Stamp(from.at.wall),
        Stamp(to.at.wall),
        millis(span),
        beyond.changes,
        beyond.documents_touched,
        beyond.batches
    )
}
