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
use crate::recoveries::Stopwatch;

const AFTER: &str = "\
The log is read as it is; its peer may be running. DIR2 gets the log and the node's name, and neither key nor ticket, so that no
second peer of one name comes up beside the first by mistake.

  to look at it    oxigdal-ha log inspect DIR2
  to go back       stop the peer, move DIR/log aside, move DIR2/log to its place, start the peer. It goes on as a new writer,
                   and gets back from its neighbours what they hold, which is all that they ever got: what is to be undone for
                   everybody is undone by `oxigdal-ha revert`
  to undo for all  with --new-timeline this past becomes the truth of the mesh, and nothing that came after it comes back: for a mesh
                   whose content was ruined. Stop the peer first. Each other peer is refused, and says so, until it is stopped,
                   `oxigdal-ha timeline adopt` is run there, and it is started again. What was there is kept aside everywhere

A moment that cannot be had is refused with what can; nothing is written then.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The data directory, or the directory of a log's segments
    #[arg(long = "data-dir", alias = "data", value_name = "DIR", default_value = "oxigdal-ha-data", value_hint = ValueHint::DirPath)]
    #[arg(conflicts_with = "repo")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) place: crate::backup::Place,
    #[command(flatten)]
    pub(crate) search: crate::backup::restore::Search,
    /// To when: latest, a time with its zone, how long ago (10m), lsn:N, point:NAME, of a repository backup:ID (the beginning of an id
    /// will do), of a data directory snapshot:ID (see `snapshot list --data-dir DIR`)
    #[arg(long, value_name = "TARGET")]
    pub(crate) at: Target,
    /// Where to put it: a directory that is not there yet, or is empty
    #[arg(long, value_name = "DIR2", required_unless_present_any = ["dry_run", "new_timeline"], value_hint = ValueHint::DirPath)]
    pub(crate) into: Option<PathBuf>,
    /// Make this past the truth of the whole mesh: begin a new timeline. Peers of the old one are refused until they adopt it. Without
    /// --into the data directory itself goes on, and what it held is kept beside it
    #[arg(long)]
    new_timeline: bool,
    /// The key that founded the mesh: it signs the statement that begins a timeline
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "new_timeline")]
    pub(crate) root_key: Option<PathBuf>,
    /// Leave out what stands at the target itself
    #[arg(long)]
    pub(crate) exclusive: bool,
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
    /// At that time there was another log here: this one was put back later.
    older_history: Option<PutBack>,
    beyond: Lost,
    #[serde(skip_serializing_if = "Option::is_none")]
    into: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    took: Took,
}

/// That a log was put back, after the time that was asked for, to a moment before it.
#[derive(Debug, Serialize)]
struct PutBack {
    /// When.
    at: String,
    /// From what.
    from: String,
}

/// Between the moment that a log was restored to and the time of that there was another log: what it held then is not in this one.
fn put_back(survey: &Survey, located: &Located, target: &Target) -> Option<PutBack> {
    let is_time = matches!(target, Target::Time(_) | Target::Ago(_));
    let last = located.last.lsn;
    let mut recoveries = survey.recoveries.iter().filter(|_| is_time);
    let next = recoveries.find(|recovery| recovery.restored.lsn <= last && last < recovery.mark.lsn)?;
    Some(PutBack { at: Stamp(next.mark.at.wall).to_string(), from: next.restored.from.clone() })
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
    if arguments.new_timeline && !arguments.dry_run {
        return crate::timeline::begin(arguments, output);
    }
    if arguments.new_timeline {
        // What would keep it from being done is told before anybody stops a peer for it.
        crate::timeline::check(arguments)?;
    }
    if let Some(into) = &arguments.into {
        oxigdal_ha::backup::check_apart(into).map_err(crate::backup::failed)?;
    }
    if arguments.place.repo.is_some() {
        let Args { place, search, at, exclusive, into, dry_run, .. } = arguments;
        let into = into.as_deref().filter(|_| !dry_run);
        let restore = crate::backup::restore::run(place, search, at, *exclusive, into, output);
        let left = "there is nothing at DIR2 that was not there before: the same command begins anew";
        return crate::backup::until_broken_off(left, output, restore);
    }
    let now = Clock::start().now().wall;
    let began = Instant::now();
    let mut took = Took::default();
    let mut watch = Stopwatch::start("restore", &arguments.at);
    let source = Source::open(&arguments.data).map_err(Failure::new)?;
    let survey = Survey::of(&source).map_err(Failure::new)?;
    took.read_ms = since(began);
    let found = Instant::now();
    let located = survey.locate(&source, &arguments.at, arguments.exclusive, now).map_err(|error| {
        let kind = matches!(error, LocateError::Target(_)).then_some("unreachable");
        Failure::new(error).kind(kind)
    })?;
    took.locate_ms = since(found);
    watch.lap("find");
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
    watch.lap("write");
    took.total_ms = since(began);
    let beyond = side::lost(&source, &survey, &located).map_err(Failure::new)?;
    if let (Some(into), Some(written)) = (into, &written) {
        watch.from(source.dir().display());
        watch.wrote(written.records, written.bytes);
        let (newest, at) = (beyond.to.map_or(located.last.at.wall, |to| to.at.wall), located.last.at.wall);
        watch.lost(Some(newest.as_millis().saturating_sub(at.as_millis())));
        watch.keep(into, None);
    }
    let report = Report {
        node: source.node().to_string(),
        from: source.dir().to_owned(),
        target: arguments.at.to_string(),
        exclusive: arguments.exclusive,
        located,
        older_history: put_back(&survey, &located, &arguments.at),
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
    if let Some(PutBack { at, from }) = &report.older_history {
        output.line(format_args!(
            "{}the log was put back at {at}, from {from}: what it held between is not in it, but in what was kept aside then and in backups",
            label("")
        ))?;
    }
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
