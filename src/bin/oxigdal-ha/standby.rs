//! `standby`: a directory that follows a repository, and can become a peer's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;
use oxigdal_ha::backup::standby::{self, Applied, STANDBY_FILE, Standby, StandbyError};
use oxigdal_ha::driver::Clock;
use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::identity::NodeKey;
use oxigdal_ha::driver::switch::{self, Finished, Switch};
use oxigdal_ha::recovery::image::Line;
use oxigdal_ha::recovery::target::Stamp;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::backup::failed;
use crate::backup::progress::Ear;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, millis};
use crate::recoveries::Stopwatch;
use crate::timeline::{busy, called};

const AFTER: &str = "\
  oxigdal-ha standby DIR --repo URL                 apply what came since the last time, once
  oxigdal-ha standby DIR --repo URL --follow        go on until told to stop; it may be killed at any moment
  oxigdal-ha standby DIR --activate                 make DIR a peer's data directory, which `oxigdal-ha run` starts from

Only what is new is read from the repository. To take a lost peer's place DIR needs that peer's identity.key, ticket and (if it had one) timeline, then or
later; where those are lost too, `oxigdal-ha rebuild --join` restores under new ones. What the peer wrote after the newest backup is not
in it (the RPO that is told); its neighbours have that.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The directory; one that is not there is begun
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    #[command(flatten)]
    place: crate::backup::Place,
    /// Go on, and look for what is new again and again
    #[arg(long, conflicts_with = "activate")]
    follow: bool,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::args::seconds)]
    every: u64,
    /// Give up what is there and begin with the newest backup
    #[arg(long, conflicts_with = "activate")]
    afresh: bool,
    /// Make the directory one that a peer can run from
    #[arg(long)]
    activate: bool,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    if arguments.activate {
        let mut watch = Stopwatch::start("standby", "as far as it was");
        let activated = activate(&arguments.dir, &mut watch);
        let ms = watch.elapsed_ms();
        // What was refused before anything was begun is no recovery.
        if arguments.dir.is_dir() && (activated.is_ok() || watch.seconds().contains_key("find")) {
            watch.keep(&arguments.dir, activated.as_ref().err());
        }
        return tell_activated(&activated?, ms, output);
    }
    crate::backup::runtime()?.block_on(follow(arguments, output))
}

async fn follow(arguments: &Args, output: Output) -> Result {
    let dir = &arguments.dir;
    if arguments.place.repo.is_none() {
        return Err(Failure::usage("no repository is named").hint("give --repo URL; a path will do"));
    }
    match standby::check_place(dir) {
        // Of a log it is said below whether it was a standby's; a file that cannot be read is given up with --afresh.
        Err(StandbyError::Taken { .. }) | Ok(()) => {}
        Err(_) if arguments.afresh => {}
        Err(error) => return Err(refused(error)),
    }
    let switch = Switch::begin(dir, called("standby")).map_err(busy)?;
    if switch.finished().is_some() {
        return Err(is_activated(dir));
    }
    if arguments.afresh && Standby::read(dir).map_or(true, |there| there.is_some()) {
        clear(dir)?;
    }
    let listen = |kind| signal(kind).map_err(|error| Failure::new(format_args!("cannot listen to signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut known = None;
    loop {
        match look(arguments, output).await {
            Ok(applied) => {
                let news = known != Some(applied.backup);
                known = Some(applied.backup);
                if news || !arguments.follow {
                    tell(dir, &applied, output)?;
                }
            }
            // A store that is away comes back; what does not continue stays so.
            Err(failure) if arguments.follow && known.is_some() && failure.is_kind("store") => {
                eprintln!("note: {failure}; it is tried again");
            }
            Err(failure) => return Err(failure),
        }
        if !arguments.follow {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(arguments.every.max(1))) => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

async fn look(arguments: &Args, output: Output) -> Result<Applied> {
    let repository = arguments.place.open().await?;
    let mut catalogue = arguments.place.catalogue(&repository).await?;
    let ear = Ear::new(output);
    let applied = standby::follow(&repository, &mut catalogue, &arguments.dir, &ear).await;
    ear.done();
    applied.map_err(refused)
}

fn refused(error: StandbyError) -> Failure {
    let (afresh, kind) = (error.needs_afresh(), kind(&error));
    match error {
        StandbyError::Repository(error) => failed(error),
        error => {
            let failure = Failure::new(&error).kind(Some(kind));
            match error {
                _ if afresh => failure.hint(
                    "what is here is whole and can still be activated; --afresh gives it up and begins with the newest backup",
                ),
                StandbyError::NotOne { .. } => failure.hint("`oxigdal-ha standby DIR --repo URL` begins one"),
                _ => failure,
            }
        }
    }
}

const fn kind(error: &StandbyError) -> &'static str {
    match error {
        StandbyError::Other { .. } => "other",
        StandbyError::OtherTimeline { .. } => "other_timeline",
        StandbyError::Replaced { .. } => "replaced",
        StandbyError::Damaged { .. } | StandbyError::Source(_) => "damaged",
        StandbyError::NotOne { .. } => "no_standby",
        StandbyError::Taken { .. } | StandbyError::NotEmpty { .. } => "not_empty",
        _ => "failed",
    }
}

/// Takes a standby's log away, its file last: whoever is killed before has one that is begun again.
fn clear(dir: &Path) -> Result {
    let log = dir.join(oxigdal_ha::recovery::LOG_DIR);
    for entry in std::fs::read_dir(&log).map_err(|error| Failure::file("list", &log, &error))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "wal") {
            std::fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        }
    }
    let path = dir.join(STANDBY_FILE);
    std::fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))
}

fn tell(dir: &Path, applied: &Applied, output: Output) -> Result {
    let now = Clock::start().now().wall;
    let rpo = now.as_millis().saturating_sub(applied.seen.as_millis());
    if output.json {
        return output.value(&json!({ "dir": dir, "applied": applied, "rpo_ms": rpo }));
    }
    let Applied { backup, upto, at, records, stored_bytes, .. } = applied;
    output.line(format_args!(
        "{} is up to backup {}: lsn:{} of {}, events up to {}; {records} new records, {} read; RPO {}",
        dir.display(),
        output.paint(Tone::Name, backup),
        upto.main,
        Stamp(at.wall),
        upto.events,
        bytes(*stored_bytes),
        millis(rpo)
    ))
}

fn is_activated(dir: &Path) -> Failure {
    Failure::new(format_args!("{} is no standby any more: it was activated", dir.display()))
        .kind(Some("activated"))
        .hint("`oxigdal-ha run` starts from it; another standby needs a directory of its own")
}

fn activate(dir: &Path, watch: &mut Stopwatch) -> Result<Value> {
    let standby = Standby::read(dir).map_err(refused)?;
    let standby = standby.ok_or_else(|| refused(StandbyError::NotOne { dir: dir.to_owned() }))?;
    let switch = Switch::begin(dir, called("standby --activate")).map_err(busy)?;
    let done = matches!(switch.finished(), Some(Finished { .. })) || !standby.is_own_log(dir).map_err(refused)?;
    Admission::mend_node(dir).map_err(Failure::usage)?;
    let admission = Admission::inspect(dir).map_err(Failure::usage)?;
    let key = NodeKey::open(dir).map_err(Failure::usage)?;
    let node = key.as_ref().map_or(standby.node, NodeKey::node);
    let line = Line::Kept(admission.as_ref().map(Admission::timeline_id));
    watch.from(format!("backup {}", standby.backup));
    let now = Clock::start().now().wall;
    watch.lost(Some(now.as_millis().saturating_sub(standby.seen.as_millis())));
    watch.target(format!("lsn:{}", standby.upto().main));
    watch.lap("find");
    let aside = switch::beside(dir, "standby");
    if !done {
        let written = standby.image(dir, &switch.next(), node, line, now).map_err(refused)?;
        watch.wrote(written.records, written.bytes);
        watch.lap("write");
        let aside = switch.commit(&aside, None).map_err(Failure::new)?;
        if let Some(aside) = aside {
            // Everything in it is in the new log, and in the repository.
            std::fs::remove_dir_all(&aside).map_err(|error| Failure::file("remove", &aside, &error))?;
        }
    }
    NodeKey::mend(dir, node).map_err(Failure::new)?;
    let path = dir.join(STANDBY_FILE);
    std::fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
    watch.lap("switch");
    let rpo = now.as_millis().saturating_sub(standby.seen.as_millis());
    Ok(json!({
        "dir": dir, "node": node, "backup": standby.backup, "upto": standby.upto(), "at": Stamp(standby.at.wall).to_string(),
        "rpo_ms": rpo, "has_papers": admission.is_some(),
    }))
}

fn tell_activated(activated: &Value, ms: u64, output: Output) -> Result {
    if output.json {
        return output.value(activated);
    }
    let text = |key: &str| activated[key].as_str().unwrap_or_default();
    output.line(format_args!(
        "{} is a data directory of node {}: lsn:{} of {}; took {}",
        text("dir"),
        text("node"),
        activated["upto"]["main"],
        text("at"),
        millis(ms)
    ))?;
    let rpo = activated["rpo_ms"].as_u64().unwrap_or_default();
    output.line(format_args!("what came within the last {} is at its neighbours, if they have it", millis(rpo)))?;
    if activated["has_papers"] == true {
        return output.line("oxigdal-ha run starts it");
    }
    output.line("put the peer's identity.key and ticket into it, and timeline if it had that file; then oxigdal-ha run starts it")
}
