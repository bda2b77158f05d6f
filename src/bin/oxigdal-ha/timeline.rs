//! `restore --new-timeline` and `timeline`: a past becomes the truth of the whole mesh, and peers go over to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueHint};
use oxigdal_ha::backup;
use oxigdal_ha::driver::Clock;
use oxigdal_ha::driver::admission::{Admission, Moment, RootKey, Timeline};
use oxigdal_ha::driver::disk::OpenError;
use oxigdal_ha::driver::identity::NodeKey;
use oxigdal_ha::driver::switch::{self, Call, Finished, Switch};
use oxigdal_ha::recovery::image::{Line, Written};
use oxigdal_ha::recovery::side::{self, How};
use oxigdal_ha::recovery::target::Stamp;
use oxigdal_ha::recovery::{LocateError, Source, Survey};
use oxigdal_ha::types::{Lsn, NodeId, TimelineId};
use oxigdal_ha::wal::Config;
use serde_json::json;

use crate::backup::progress::Ear;
use crate::failure::{Failure, Result};
use crate::invite::given;
use crate::output::{Output, Tone, bytes};
use crate::recoveries::Stopwatch;
use crate::restore;

const AFTER: &str = "\
A timeline is a history of the mesh. `restore --new-timeline` begins one; its peers and those of the old one exchange nothing. To bring
a peer over:

  oxigdal-ha run ...                        it meets a peer of the new timeline, and says that it was refused and why
  (stop it)
  oxigdal-ha timeline adopt --data-dir DIR  what it holds moves to DIR.timeline-N; key, ticket and settings stay
  oxigdal-ha run ...                        it begins empty, and gets everything from peers of the new timeline

A peer that has met none yet is given the statement: `oxigdal-ha timeline show` prints it where the new timeline is.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The peer's data directory
    #[arg(long, alias = "data", global = true, value_name = "DIR", default_value = "oxigdal-ha-data")]
    #[arg(value_hint = ValueHint::DirPath)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the timeline of a data directory, what it has heard of, and the statement to hand on; its peer may run
    Show,
    /// Go over to the later timeline that was heard of, or to the one of a statement; its peer must be stopped
    Adopt {
        /// The statement that begins it, as `timeline show` prints it; @FILE reads it from a file, - from standard input
        #[arg(long, value_name = "TEXT")]
        statement: Option<String>,
        /// Also to another timeline of the same number: two operators have begun one each, and this peer's is given up
        #[arg(long)]
        other_fork: bool,
    },
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let dir = &arguments.data_dir;
    match &arguments.command {
        Command::Show => show(dir, output),
        Command::Adopt { statement, other_fork } => adopt(dir, statement.as_deref(), *other_fork, output),
    }
}

pub(crate) fn member(dir: &Path) -> Result<Admission> {
    let admission = Admission::inspect(dir).map_err(Failure::usage)?;
    admission.ok_or_else(|| {
        Failure::usage(format_args!("{} belongs to no mesh: there is no ticket in it", dir.display()))
            .kind(Some("no_membership"))
            .hint("name the data directory of a peer; identity.key, node-id and ticket make one its peer's")
    })
}

fn show(dir: &Path, output: Output) -> Result {
    let admission = member(dir)?;
    let (here, heard) = (admission.timeline(), admission.heard_timelines());
    if output.json {
        let text = ToString::to_string;
        let (statement, heard): (_, Vec<String>) = (here.as_ref().map(text), heard.iter().map(text).collect());
        let status = admission.papers().timeline;
        return output.value(&json!({ "timeline": status, "statement": statement, "heard": heard }));
    }
    let row = |label: &str, text: String| {
        output.line(format_args!("{} {text}", output.paint(Tone::Dim, format_args!("{label:<10}"))))
    };
    match &here {
        Some(timeline) => {
            row("timeline", told(timeline))?;
            row("statement", timeline.to_string())?;
        }
        None => row("timeline", "0, the first".into())?,
    }
    for one in &heard {
        row("heard of", told(one))?;
        row("statement", one.to_string())?;
    }
    if heard.is_empty() {
        return Ok(());
    }
    row("", "stop the peer and run `oxigdal-ha timeline adopt` to go over to it".into())
}

fn told(timeline: &Timeline) -> String {
    let Moment { node, lsn, at } = timeline.moment();
    format!(
        "{}, begun at {} from timeline {}: lsn:{lsn} ({}) of node {node}",
        timeline.id(),
        timeline.began(),
        timeline.parent(),
        Stamp(at.wall)
    )
}

/// The one timeline that was heard of.
fn heard(admission: &Admission) -> Result<Timeline> {
    match admission.heard_timelines().as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new("this peer has heard of no other timeline").kind(Some("nothing_heard")).hint(
            "run it where it reaches a peer of the new one, or give --statement: `timeline show` prints it there",
        )),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id().to_string()).collect();
            let why = format!("timelines {} were begun apart from each other", ids.join(" and "));
            Err(Failure::new(why)
                .kind(Some("forked"))
                .hint("decide which one counts, and give its statement with --statement: `timeline show` prints them"))
        }
    }
}

/// The statement that is meant, if it leads on from here.
fn chosen(admission: &Admission, statement: Option<&str>, other_fork: bool) -> Result<Timeline> {
    let timeline: Timeline = match statement {
        Some(text) => given(text, "statement")?.trim().parse().map_err(Failure::usage)?,
        None => heard(admission)?,
    };
    timeline.verify(admission.cluster()).map_err(|error| Failure::new(error).kind(Some("forged")))?;
    let (here, there) = (admission.timeline_id(), timeline.id());
    if here == there {
        return Err(Failure::new(format_args!("this peer is on timeline {here} already")).kind(Some("there_already")));
    }
    if there.number < here.number {
        let why = format_args!("timeline {there} is older than {here}, which this peer is on: there is no way back");
        return Err(Failure::new(why).kind(Some("older")));
    }
    if there.number == here.number && !other_fork {
        let why = format!("timelines {here}, which this peer is on, and {there} were begun apart from each other");
        return Err(Failure::new(why).kind(Some("forked")).hint(
            "decide which one counts; --other-fork gives up this peer's for the other, and keeps its data aside",
        ));
    }
    Ok(timeline)
}

fn adopt(dir: &Path, statement: Option<&str>, other_fork: bool, output: Output) -> Result {
    member(dir)?;
    let by = called("timeline adopt");
    let switch = Switch::begin(dir, by.clone()).map_err(busy)?;
    finished_another(&switch, &by)?;
    if let Some(Finished { aside, .. }) = switch.finished() {
        return adopted(&member(dir)?, aside.as_deref(), output);
    }
    let mut watch = Stopwatch::start("adopt", "the new timeline");
    let admission = member(dir)?;
    let timeline = chosen(&admission, statement, other_fork)?;
    let now = Clock::start().now().wall;
    let why = "it adopted this timeline and began empty";
    switch.make_empty(admission.node(), timeline.id(), why, now).map_err(Failure::new)?;
    let aside = switch::beside(dir, &format!("timeline-{}", admission.timeline_id()));
    let aside = switch.commit(&aside, Some(&timeline)).map_err(Failure::new)?;
    watch.lap("switch");
    watch.target(format!("timeline {}", timeline.id()));
    watch.from("the mesh");
    watch.keep(dir, None);
    adopted(&member(dir)?, aside.as_deref(), output)
}

fn adopted(admission: &Admission, aside: Option<&Path>, output: Output) -> Result {
    let id = admission.timeline_id();
    if output.json {
        return output.value(&json!({ "timeline": id, "aside": aside }));
    }
    output.line(format_args!("this peer is on timeline {}", output.paint(Tone::Good, id)))?;
    if let Some(aside) = aside {
        output.line(format_args!("what it held is in {}; `oxigdal-ha restore --data` reads it", aside.display()))?;
    }
    output.line("start it: it gets everything from peers of that timeline")
}

/// This call, to be repeated if it is broken off. What was used up, as invites are, is left out, and in which form it answers.
pub(crate) fn called(name: &str) -> Call {
    let mut words = vec!["oxigdal-ha".to_owned()];
    let mut arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = arguments.next() {
        if word == "--join" {
            arguments.next();
        } else if !word.starts_with("--join=") && word != "--json" {
            words.push(quoted(&word));
        }
    }
    Call { name: name.to_owned(), line: words.join(" ") }
}

/// What was finished was begun by a call like this one, with other words: what this one asks for was not done.
pub(crate) fn finished_another(switch: &Switch, by: &Call) -> Result {
    let Some(Finished { aside, by: begun }) = switch.finished().filter(|finished| finished.by != *by) else {
        return Ok(());
    };
    let aside = aside.iter().map(|aside| format!("; what was there is in {}", aside.display())).collect::<String>();
    let why =
        format!("an earlier recovery that was broken off is finished now, and not this one: `{}`{aside}", begun.line);
    Err(Failure::new(why)
        .kind(Some("finished"))
        .hint("look at `oxigdal-ha timeline show` before going on; then this call again, if it is still wanted"))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

pub(crate) fn busy(error: switch::SwitchError) -> Failure {
    let failure = Failure::new(&error);
    match error {
        switch::SwitchError::Directory(OpenError::Locked { .. }) => {
            failure.kind(Some("in_use")).hint("stop the peer that runs on it first")
        }
        switch::SwitchError::Unfinished { .. } => failure
            .kind(Some("unfinished"))
            .hint("call that command again: it goes on from where it stopped. Then this one, if it is still wanted"),
        _ => failure,
    }
}

/// Whether a timeline could be begun from this directory with this key.
pub(crate) fn check(arguments: &restore::Args) -> Result<(Admission, RootKey)> {
    let admission = member(&arguments.data)?;
    let file = arguments.root_key.as_ref().ok_or_else(|| {
        Failure::usage("a new timeline is signed by the key that founded the mesh, and none is given")
            .kind(Some("no_root_key"))
            .hint("give --root-key FILE: it was drawn as root.key by the peer that founded the mesh")
    })?;
    let root = RootKey::open(file).map_err(|error| {
        Failure::usage(error)
            .kind(Some("no_root_key"))
            .hint("the root key was drawn as root.key by the peer that founded the mesh; `key root move` may have taken it elsewhere")
    })?;
    if root.cluster() != admission.cluster() {
        let (root, cluster) = (root.cluster(), admission.cluster());
        return Err(Failure::usage(oxigdal_ha::driver::admission::AdmissionError::NotTheRoot { root, cluster })
            .kind(Some("wrong_root_key")));
    }
    Ok((admission, root))
}

/// What became the truth.
struct Begun {
    timeline: Timeline,
    /// None if an earlier call had written it.
    written: Option<Written>,
    dir: PathBuf,
    aside: Option<PathBuf>,
}

/// `restore --new-timeline`.
pub(crate) fn begin(arguments: &restore::Args, output: Output) -> Result {
    let (admission, root) = check(arguments)?;
    let mut watch = Stopwatch::start("new-timeline", &arguments.at);
    let begun = match &arguments.into {
        None => in_place(arguments, &admission, &root, output)?,
        Some(into) => beside(arguments, &admission, &root, into, output)?,
    };
    let Begun { timeline, written, dir, aside } = begun;
    watch.lap("find, write and switch");
    watch.from(arguments.place.repo.clone().unwrap_or_else(|| arguments.data.display().to_string()));
    watch.wrote(written.map_or(0, |written| written.records), written.map_or(0, |written| written.bytes));
    let lost = timeline.began().as_millis().saturating_sub(timeline.moment().at.wall.as_millis());
    watch.lost(Some(lost));
    watch.keep(&dir, None);
    if output.json {
        return output.value(&json!({
            "timeline": timeline.id(), "parent": timeline.parent(), "moment": timeline.moment(), "statement": timeline.to_string(),
            "written": written, "into": dir, "aside": aside,
        }));
    }
    let row = |label: &str, text: String| {
        output.line(format_args!("{}{text}", output.paint(Tone::Dim, format_args!("{label:<10}"))))
    };
    row("timeline", told(&timeline))?;
    row(
        "into",
        match written {
            Some(written) => format!("{}: {} records, {}", dir.display(), written.records, bytes(written.bytes)),
            None => {
                format!("{}: an earlier call had written it, and was broken off; it is in place now", dir.display())
            }
        },
    )?;
    if let Some(aside) = aside {
        row("aside", format!("{}: all that was there", aside.display()))?;
    }
    row("statement", timeline.to_string())?;
    let others = "Each other one: stop it, `oxigdal-ha timeline adopt`, start it; until then it is refused";
    row(
        "now",
        match &arguments.into {
            None => format!("start this peer. {others}"),
            // Two directories of one identity would be two peers of one name.
            Some(_) => format!(
                "look at it; nobody's key or ticket is in it. To begin with it: stop the peer, move identity.key, ticket and, if it has \
             them, issuer.key, issuer.cert, root.key and revoked into it, and start the peer from it. {others}"
            ),
        },
    )
}

/// The data directory goes on, and what it held is put aside.
fn in_place(arguments: &restore::Args, admission: &Admission, root: &RootKey, output: Output) -> Result<Begun> {
    let dir = &arguments.data;
    let by = called("restore --new-timeline");
    let switch = Switch::begin(dir, by.clone()).map_err(busy)?;
    if let Some(Finished { aside, .. }) = switch.finished().filter(|finished| finished.by == by) {
        let timeline = member(dir)?.timeline();
        let timeline =
            timeline.ok_or_else(|| Failure::new("the switch is done, and the directory names no timeline"))?;
        return Ok(Begun { timeline, written: None, dir: dir.clone(), aside: aside.clone() });
    }
    finished_another(&switch, &by)?;
    let parent = admission.timeline_id();
    let (timeline, written) = make(arguments, admission, root, &switch, output)?;
    let aside = switch::beside(dir, &format!("timeline-{parent}"));
    let aside = switch.commit(&aside, Some(&timeline)).map_err(Failure::new)?;
    Ok(Begun { timeline, written: Some(written), dir: dir.clone(), aside })
}

/// A directory of its own, without anything by which a peer could start from it: it appears whole or not at all.
fn beside(
    arguments: &restore::Args,
    admission: &Admission,
    root: &RootKey,
    into: &Path,
    output: Output,
) -> Result<Begun> {
    let taken = match fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Failure::file("list", into, &error)),
    };
    let name = into.file_name().filter(|_| !taken).ok_or_else(|| {
        Failure::new(format_args!("{} is not empty: a log is restored into a directory of its own", into.display()))
    })?;
    let making = into.with_file_name(format!(".{}.making", name.to_string_lossy()));
    match fs::remove_dir_all(&making) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::file("remove", &making, &error)),
        _ => {}
    }
    let switch = Switch::begin(&making, called("restore --new-timeline")).map_err(busy)?;
    NodeKey::mend(&making, admission.node()).map_err(Failure::new)?;
    let (timeline, written) = make(arguments, admission, root, &switch, output)?;
    switch.commit(&switch::beside(&making, "none"), Some(&timeline)).map_err(Failure::new)?;
    fs::rename(&making, into).map_err(|error| Failure::file("move to its place", &making, &error))?;
    Ok(Begun { timeline, written: Some(written), dir: into.to_owned(), aside: None })
}

/// Makes the log of the new timeline, from the peer's own log or from a repository.
fn make(
    arguments: &restore::Args,
    admission: &Admission,
    root: &RootKey,
    switch: &Switch,
    output: Output,
) -> Result<(Timeline, Written)> {
    let now = Clock::start().now().wall;
    let exclusive = if arguments.exclusive { ", exclusive" } else { "" };
    let why = format!("{}{exclusive}, as a new timeline", arguments.at);
    let begin = |node: NodeId, lsn: Lsn, at| {
        let moment = Moment { node, lsn, at };
        root.begin_timeline(admission.cluster(), admission.timeline_id(), moment, now).map_err(Failure::new)
    };
    let Some(repo) = &arguments.place.repo else {
        let source = Source::open(&arguments.data).map_err(Failure::new)?;
        let survey = Survey::of(&source).map_err(Failure::new)?;
        same_line(survey.line(), admission.timeline_id())?;
        let located = survey.locate(&source, &arguments.at, arguments.exclusive, now).map_err(|error| {
            let kind = matches!(error, LocateError::Target(_)).then_some("unreachable");
            Failure::new(error).kind(kind)
        })?;
        let timeline = begin(source.node(), located.last.lsn, located.last.at)?;
        let how = How { line: timeline.id(), why, wal: Config::default(), now };
        let written = side::restore_as(&source, &survey, &located, &switch.next(), how);
        return Ok((timeline, written.map_err(Failure::new)?));
    };
    crate::backup::runtime()?.block_on(async {
        let repository = arguments.place.open().await?;
        let mut catalogue = arguments.place.catalogue(&repository).await?;
        let ear = Ear::new(output);
        let why = format!("{why}, out of {repo}");
        let work = async |catalogue: &backup::Catalogue, found: &backup::Found| {
            let timeline = match begin(catalogue.node, found.upto.main, found.at) {
                Ok(timeline) => timeline,
                Err(failure) => return Ok(Err(failure)),
            };
            let whose = (admission.node(), Line::New(timeline.id()));
            let done =
                backup::restore_as(&repository, catalogue, found, whose, why.clone(), &switch.next(), &ear).await?;
            Ok(Ok((timeline, done.written)))
        };
        let wanted = (&arguments.at, arguments.exclusive);
        let found = arguments.search.find_for(&repository, &mut catalogue, wanted, &ear, work).await;
        ear.done();
        let (found, made, _) = found?;
        for what in crate::backup::restore::left_out(&found) {
            eprintln!("warning: left out: {what}");
        }
        made
    })
}

fn same_line(log: TimelineId, papers: TimelineId) -> Result {
    if log == papers {
        return Ok(());
    }
    let why = format_args!("the log is of timeline {log}, and the directory's papers are of timeline {papers}");
    Err(Failure::new(why).kind(Some("other_timeline")))
}
