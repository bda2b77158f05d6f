//! `rebuild`: a peer whose data is lost, or may not be used any more, gets a log: out of a backup, or empty for its neighbours to fill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;
use oxigdal_ha::backup::{self, BackupId, Catalogue, Done, Error, Host as _, Repository, the_node};
use oxigdal_ha::config::{self, Flags};

use oxigdal_ha::driver::admission::{Admission, Invite};
use oxigdal_ha::driver::identity::NodeKey;
use oxigdal_ha::driver::network::join;
use oxigdal_ha::driver::switch::{self, Finished, Switch};
use oxigdal_ha::driver::{Clock, PEERS_FILE, remember_issuer};
use oxigdal_ha::recovery::image::Line;
use oxigdal_ha::recovery::target::{Stamp, Target};
use serde_json::{Value, json};

use crate::backup::failed;
use crate::backup::progress::Ear;
use crate::backup::restore::{Search, left_out};
use crate::configuration::environment;
use crate::failure::{Failure, Result};
use crate::invite::given;
use crate::output::{Output, Tone, bytes, millis};
use crate::recoveries::Stopwatch;
use crate::timeline::{busy, called, finished_another};

/// The phase with which a rebuild has begun: it is known out of what.
const FOUND: &str = "find";

/// How long the issuer of an invite is tried.
const JOIN_MAX: Duration = Duration::from_secs(60);

const AFTER: &str = "\
The peer must be stopped. What is in DIR/log is moved to DIR.lost; key, ticket and settings stay. It goes on as a new writer, and its
neighbours give it what came after the backup.

  the log is lost or damaged          oxigdal-ha rebuild --data-dir DIR --repo URL
  the directory is lost, and          put identity.key and ticket into DIR (and timeline, issuer.key, issuer.cert, root.key, if it had
  its keys were saved                 them), then the same
  all is lost                         oxigdal-ha rebuild --data-dir DIR --repo URL --node OLD --join INVITE: the data under a new identity
  the backups are damaged             oxigdal-ha rebuild --data-dir DIR --repo URL --accept-damage: as much as is whole
  there is no backup                  oxigdal-ha rebuild --data-dir DIR --from-mesh
  that, and the mesh is on a later    oxigdal-ha timeline adopt --data-dir DIR --statement TEXT, which begins empty on that one
  timeline, whose file is lost too

Killed at any moment, it is called again. Then: oxigdal-ha run --data-dir DIR";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The peer's data directory
    #[arg(long, alias = "data", value_name = "DIR", default_value = "oxigdal-ha-data", value_hint = ValueHint::DirPath)]
    data_dir: PathBuf,
    #[command(flatten)]
    place: crate::backup::Place,
    /// Take no backup: begin empty, and get everything from the neighbours
    #[arg(long, conflicts_with = "repo")]
    from_mesh: bool,
    /// With --from-mesh, where the directory was lost and holds no `timeline` file: this mesh never began another timeline
    #[arg(long, requires = "from_mesh")]
    first_timeline: bool,
    /// Take an older backup where the newest is damaged, and say which were passed over
    #[arg(long)]
    accept_older: bool,
    /// Where something is damaged, take as much as is whole, out of whichever backup holds most, and say what is left out
    #[arg(long, requires = "repo", conflicts_with = "accept_older")]
    accept_damage: bool,
    /// An invite to its mesh, if the directory holds no key and ticket; @FILE reads it from a file, - from standard input
    #[arg(long, value_name = "INVITE")]
    join: Option<String>,
    /// The peer's settings, for what all members must have alike
    #[arg(long, env = "OXIGDAL_HA_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let target = if arguments.from_mesh { "the mesh" } else { "latest" };
    let mut watch = Stopwatch::start("rebuild", target);
    let rebuilt = crate::backup::runtime()?.block_on(rebuild(arguments, &mut watch, output));
    let ms = watch.elapsed_ms();
    let seconds = watch.seconds();
    // What was refused before anything was begun is none.
    if arguments.data_dir.is_dir() && (rebuilt.is_ok() || seconds.contains_key(FOUND)) {
        watch.keep(&arguments.data_dir, rebuilt.as_ref().err());
    }
    let mut rebuilt = rebuilt?;
    if output.json {
        rebuilt["seconds"] = json!(seconds);
        return output.value(&rebuilt);
    }
    tell(&rebuilt, ms, output)
}

fn tell(rebuilt: &Value, ms: u64, output: Output) -> Result {
    let row = |label: &str, text: String| {
        output.line(format_args!("{}{text}", output.paint(Tone::Dim, format_args!("{label:<8}"))))
    };
    let text = |key: &str| rebuilt[key].as_str().unwrap_or_default().to_owned();
    for one in rebuilt["passed_over"].as_array().into_iter().flatten() {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        output.line(format_args!(
            "{} passed over: {}: {}",
            output.paint(Tone::Warn, "~"),
            text("backup"),
            text("why")
        ))?;
    }
    for what in rebuilt["left_out"].as_array().into_iter().flatten() {
        output.line(format_args!(
            "{} left out: {}",
            output.paint(Tone::Warn, "~"),
            what.as_str().unwrap_or_default()
        ))?;
    }
    row("node", text("node"))?;
    row("from", text("from"))?;
    if let Some(at) = rebuilt["at"].as_str() {
        let number = |key: &str| rebuilt[key].as_u64().unwrap_or_default();
        row("to", format!("lsn:{} of {at}: {} records, {}", number("lsn"), number("records"), bytes(number("bytes"))))?;
    }
    if let Some(aside) = rebuilt["aside"].as_str() {
        row("aside", format!("{aside}: what was there"))?;
    }
    row("took", millis(ms))?;
    let to_whom =
        if rebuilt["knows_peers"] == false { " --join ADDRESS, of any member, since it remembers none" } else { "" };
    row("now", format!("oxigdal-ha run{to_whom}: its neighbours give it what it lacks"))
}

async fn rebuild(arguments: &Args, watch: &mut Stopwatch, output: Output) -> Result<Value> {
    let dir = &arguments.data_dir;
    if !arguments.from_mesh && arguments.place.repo.is_none() {
        return Err(Failure::usage("it is not said out of what to rebuild").hint("--repo URL, or --from-mesh"));
    }
    let (admission, joined) = identity(arguments).await?;
    let by = called("rebuild");
    let switch = Switch::begin(dir, by.clone()).map_err(busy)?;
    finished_another(&switch, &by)?;
    watch.lap("identity");
    if let Some(Finished { aside, .. }) = switch.finished() {
        watch.from("an earlier call that was broken off");
        let from = "an earlier call, whose log was whole: it is in place now";
        return Ok(json!({ "node": admission.node(), "from": from, "aside": aside }));
    }
    let mut rebuilt = if arguments.from_mesh {
        if !joined && !arguments.first_timeline {
            knows_its_timeline(&admission, &switch)?;
        }
        watch.lap(FOUND);
        let (now, why) = (Clock::start().now().wall, "to be filled by the mesh");
        switch.make_empty(admission.node(), admission.timeline_id(), why, now).map_err(Failure::new)?;
        watch.from("nothing");
        json!({ "node": admission.node(), "from": "nothing: the mesh fills it" })
    } else {
        out_of_backup(arguments, &admission, &switch, watch, output).await?
    };
    let aside = switch.commit(&switch::beside(dir, "lost"), None).map_err(Failure::new)?;
    watch.lap("switch");
    rebuilt["aside"] = json!(aside);
    rebuilt["knows_peers"] = json!(dir.join(PEERS_FILE).exists());
    Ok(rebuilt)
}

/// A directory that was lost has lost its timeline too: without one it would begin on the first, and get from whoever is on that still
/// what the others have undone. Where a log is, it and the papers have been together all along.
fn knows_its_timeline(admission: &Admission, switch: &Switch) -> Result {
    if admission.timeline().is_some() || !switch.has_no_log().map_err(Failure::new)? {
        return Ok(());
    }
    let why = "the directory holds no log and no `timeline` file, so nobody knows which timeline of the mesh it was on";
    Err(Failure::new(why).kind(Some("unknown_timeline")).hint(
        "`oxigdal-ha timeline show` at another peer tells which one the mesh is on. If it prints a statement, `oxigdal-ha timeline \
         adopt --statement TEXT` here begins empty on that one; if it is the first, give --first-timeline",
    ))
}

/// Who the peer is: as its keys say, or whom the invite makes it, just now.
async fn identity(arguments: &Args) -> Result<(Admission, bool)> {
    let dir = &arguments.data_dir;
    Admission::mend_node(dir).map_err(Failure::usage)?;
    if let Some(admission) = Admission::inspect(dir).map_err(Failure::usage)? {
        return Ok((admission, false));
    }
    let Some(text) = &arguments.join else {
        let why = format_args!("{} holds no key and ticket, so it is nobody's directory", dir.display());
        return Err(Failure::usage(why).kind(Some("no_membership")).hint(
            "put the identity.key and ticket that were saved into it, or give --join INVITE (`oxigdal-ha invite issue` at an issuer)",
        ));
    };
    let named = NodeKey::open(dir).map_err(Failure::usage)?.is_none() && dir.join("node-id").exists();
    if named || dir.join("log").exists() {
        let why = format_args!("{} holds what a peer or a restore has left, and no ticket", dir.display());
        return Err(Failure::usage(why).kind(Some("not_empty")).hint(
            "with an invite the data comes under a new identity: name a directory that is not there yet, or is empty",
        ));
    }
    let invite: Invite = given(text, "invite")?.trim().parse().map_err(Failure::usage)?;
    let settings = config::load(arguments.config.as_deref(), environment(), &Flags::new()).map_err(Failure::usage)?;
    let joined = join(dir, &invite, settings.cluster.terms(), JOIN_MAX).await;
    let joined = joined.map_err(|error| Failure::new(format_args!("cannot join: {error}")))?;
    remember_issuer(dir, &joined, &invite, Clock::start().now().wall);
    Ok((joined, true))
}

async fn out_of_backup(
    arguments: &Args,
    admission: &Admission,
    switch: &Switch,
    watch: &mut Stopwatch,
    output: Output,
) -> Result<Value> {
    let repository = arguments.place.open().await?;
    // Whoever kept its name is meant, if there is something of it.
    let own = backup::nodes(&repository).await.map_err(failed)?.contains(&admission.node()).then(|| admission.node());
    let node = the_node(&repository, arguments.place.node.or(own)).await.map_err(failed)?;
    let catalogue = Catalogue::read(&repository, node).await.map_err(failed)?;
    no_later_timeline(&repository, &catalogue, admission).await?;
    watch.lap(FOUND);
    let ear = Ear::new(output);
    if arguments.accept_damage {
        return around_damage(&repository, catalogue, admission, switch, watch, &ear).await;
    }
    let mut passed_over = Vec::new();
    for fault in catalogue.faults() {
        pass_over(arguments, &catalogue, None, fault.to_string(), failed_of(fault), &mut passed_over)?;
    }
    let newest = catalogue.backups().map(|backup| backup.main.stamp.wall).max();
    let ids: Vec<BackupId> = catalogue.backups().rev().map(|backup| backup.id).collect();
    for id in ids {
        let line = catalogue.backups().find(|backup| backup.id == id).map_or(0, |backup| backup.timeline);
        if line != admission.timeline_id().number {
            let why = format!("backup {id} is of timeline {line}, and this peer of {}", admission.timeline_id());
            let failure = Failure::new(&why).kind(Some("other_timeline"));
            pass_over(arguments, &catalogue, Some(id), why, failure, &mut passed_over)?;
            continue;
        }
        match restore(&repository, id, node, admission, &switch.next(), &ear).await {
            Ok((found, done)) => {
                ear.done();
                watch.lap("fetch and write");
                watch.from(format!("{}, backup {id}", repository.at()));
                watch.target(format!("backup:{id}"));
                watch.wrote(done.written.records, done.written.bytes);
                watch.lost(newest.map(|newest| newest.as_millis().saturating_sub(found.at.wall.as_millis())));
                return Ok(json!({
                    "node": admission.node(), "from": format!("{}, backup {id} of node {node}", repository.at()), "backup": id,
                    "lsn": found.upto.main, "at": Stamp(found.at.wall).to_string(), "records": done.written.records,
                    "bytes": done.written.bytes, "passed_over": passed_over,
                }));
            }
            Err(error) => {
                let why = error.to_string();
                let failure = failed(error);
                pass_over(arguments, &catalogue, Some(id), why, failure, &mut passed_over)?;
            }
        }
    }
    ear.done();
    let why = format_args!("no backup of node {node} in {} could be used", repository.at());
    let each: Vec<String> = passed_over.iter().filter_map(|one| one["why"].as_str().map(str::to_owned)).collect();
    Err(Failure::new(why).kind(Some("no_backup")).hint(match each.is_empty() {
        true => "`backup list` shows whose backups there are; --node names one; --from-mesh needs none".to_owned(),
        false => format!("{}; --from-mesh needs none", each.join("; ")),
    }))
}

/// Out of whichever backup holds most that is whole.
async fn around_damage(
    repository: &Repository,
    mut catalogue: Catalogue,
    admission: &Admission,
    switch: &Switch,
    watch: &mut Stopwatch,
    ear: &Ear,
) -> Result<Value> {
    let newest = catalogue.backups().map(|backup| backup.main.stamp.wall).max();
    let here = admission.timeline_id();
    let work = async |catalogue: &Catalogue, found: &backup::Found| {
        let line = catalogue.backups().find(|backup| backup.id == found.backup).map_or(0, |backup| backup.timeline);
        if line != here.number {
            let why = format_args!("backup {} is of timeline {line}, and this peer of {here}", found.backup);
            return Ok(Err(Failure::new(why).kind(Some("other_timeline"))));
        }
        let whose = (admission.node(), Line::Kept(Some(here)));
        let why = format!("rebuilt from backup:{} at {}", found.backup, Stamp(ear.wall()));
        let done = backup::restore_as(repository, catalogue, found, whose, why, &switch.next(), ear).await?;
        Ok(Ok(done.written))
    };
    let search = Search::around_damage();
    let made = search.find_for(repository, &mut catalogue, (&Target::Latest, false), ear, work).await;
    ear.done();
    let (found, written, damage) = made?;
    let written = written?;
    watch.lap("fetch and write");
    watch.from(format!("{}, backup {}", repository.at(), found.backup));
    watch.target(format!("backup:{}", found.backup));
    watch.wrote(written.records, written.bytes);
    watch.lost(newest.map(|newest| newest.as_millis().saturating_sub(found.at.wall.as_millis())));
    Ok(json!({
        "node": admission.node(), "from": format!("{}, backup {} of node {}", repository.at(), found.backup, catalogue.node),
        "backup": found.backup, "lsn": found.upto.main, "at": Stamp(found.at.wall).to_string(), "records": written.records,
        "bytes": written.bytes, "damage": damage.iter().map(Error::to_string).collect::<Vec<_>>(), "left_out": left_out(&found),
    }))
}

/// The papers may be older than what the mesh has done since. Its later timeline is never passed over: what is older is undone.
async fn no_later_timeline(repository: &Repository, own: &Catalogue, admission: &Admission) -> Result {
    let (here, mesh) = (admission.timeline_id(), admission.cluster().to_string());
    let later = |catalogue: &Catalogue| {
        let ours = |backup: &&backup::BackupMetadata| backup.mesh.as_ref().is_none_or(|of| *of == mesh);
        let lines = catalogue.backups().filter(ours).map(|backup| (backup.timeline, backup.id, backup.node));
        lines.max().filter(|(line, ..)| *line > here.number)
    };
    let mut found = later(own);
    for node in backup::nodes(repository).await.map_err(failed)? {
        if found.is_none() && node != own.node {
            found = later(&Catalogue::read(repository, node).await.map_err(failed)?);
        }
    }
    let Some((line, id, node)) = found else { return Ok(()) };
    let why =
        format_args!("backup {id} of node {node} is of timeline {line}, and this peer's papers are of timeline {here}");
    Err(Failure::new(why).kind(Some("other_timeline")).hint(
        "the mesh went over to a later timeline, and what is older is undone: `oxigdal-ha timeline show` at a peer of it prints its \
         statement; `oxigdal-ha timeline adopt --statement TEXT` here, then rebuild again",
    ))
}

fn failed_of(fault: &Error) -> Failure {
    Failure::new(fault).kind(Some("damaged"))
}

/// A backup cannot be used: never passed over in silence, and only if that was allowed.
fn pass_over(
    arguments: &Args,
    catalogue: &Catalogue,
    id: Option<BackupId>,
    why: String,
    failure: Failure,
    passed_over: &mut Vec<Value>,
) -> Result {
    if !arguments.accept_older {
        let older = catalogue.backups().rev().find(|backup| id.is_none_or(|id| backup.id < id));
        let hint = match older {
            Some(older) => format!(
                "--accept-damage takes what is whole, of whichever holds most; --accept-older an older one: the next is backup:{} of {}; --from-mesh takes none",
                older.id,
                Stamp(older.started)
            ),
            None => "there is no older one. --accept-damage takes what is whole of it; --from-mesh takes none and has the neighbours give \
                     everything"
                .to_owned(),
        };
        return Err(failure.hint(hint));
    }
    passed_over.push(json!({ "backup": id, "why": why }));
    Ok(())
}

async fn restore(
    repository: &Repository,
    id: BackupId,
    node: oxigdal_ha::types::NodeId,
    admission: &Admission,
    into: &Path,
    ear: &Ear,
) -> std::result::Result<(backup::Found, Done), Error> {
    // Read anew: whoever looks for a moment takes its faults out.
    let mut catalogue = Catalogue::read(repository, node).await?;
    let found = backup::find(repository, &mut catalogue, &Target::Backup(id.to_string()), false, ear).await?;
    let whose = (admission.node(), Line::Kept(Some(admission.timeline_id())));
    let why = format!("rebuilt from backup:{id} at {}", Stamp(ear.wall()));
    let done = backup::restore_as(repository, &catalogue, &found, whose, why, into, ear).await?;
    Ok((found, done))
}
