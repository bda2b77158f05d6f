//! `backup create --mesh`: one backup for the whole mesh, taken by whom the voters decide on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::backup::{BackupCompression, BackupType, Job, Share, Takers, Task};
use oxigdal_ha::types::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Place;
use crate::args::Target;
use crate::client::Client;
use crate::decisions::id_of;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, cell, number};
use crate::patience::Patience;

const PATH: &str = "/v1/backups/mesh";
/// How often it is looked how it stands.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Of the mesh")]
pub(super) struct MeshArgs {
    /// Have the mesh decide on one backup, and take it at the peers of --on; they have to reach the repository and its key
    #[arg(long, conflicts_with = "data")]
    pub(super) mesh: bool,
    /// Who takes it: best, all (who is dead, suspect or read-only is named, and left out), primary, or names of peers. What a peer was to take that is gone goes to another one, also where it was named
    #[arg(long, requires = "mesh", value_name = "WHO", value_delimiter = ',', default_value = "best")]
    on: Vec<String>,
    /// Do not wait for the end; the same command with --show tells how it stands
    #[arg(long, requires = "mesh")]
    no_wait: bool,
    /// Show the last one, and ask for none
    #[arg(long, requires = "mesh")]
    show: bool,
    /// Give up the one that goes on, and say so once that is decided
    #[arg(long, requires = "mesh", conflicts_with = "show")]
    cancel: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(
    place: &Place,
    arguments: &MeshArgs,
    (kind, codec): (BackupType, BackupCompression),
    output: Output,
) -> Result {
    let client = Client::new(&arguments.target)?;
    if arguments.show {
        return told(&client.get(PATH, &[])?, None, &client, output);
    }
    if arguments.cancel {
        let job = client.delete(PATH).map_err(|failure: Failure| failure.named(&client))?;
        return cancelled(&job, &client, output);
    }
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::usage(format_args!("{}: {error}", path.display())))
    };
    let file = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
    let url = place.url()?;
    let repository = if url.contains("://") { url.to_owned() } else { absolute(Path::new(url))?.display().to_string() };
    let (key_file, passphrase_file) = (file(&place.key.key_file)?, file(&place.key.passphrase_file)?);
    let task = Task { kind, repository, codec, key_file, passphrase_file };
    let takers = match arguments.on.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["best"] => Takers::Best,
        ["all"] => Takers::All,
        ["primary"] => Takers::Primary,
        ref names => {
            let ids = names.iter().map(|name| id_of(&client, name)?.parse().map_err(Failure::new));
            Takers::These(ids.collect::<Result<_>>()?)
        }
    };
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let wanted = json!({ "task": task, "takers": takers, "by": by });
    let asked: Asked = client.send("POST", PATH, &[], &wanted).map_err(|failure| unanswered(failure, &client))?;
    let Asked { job, left_out } = asked;
    warn(&left_out);
    let job = if arguments.no_wait { job } else { wait(&client, job, output)? };
    told(&job, left_out.as_deref(), &client, output)
}

/// What was asked for, and who takes no share of it though all were to; a peer of an earlier version does not say.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(flatten)]
    job: Job,
    left_out: Option<Vec<LeftOut>>,
}

/// A member that cannot take a backup now.
#[derive(Debug, Deserialize, Serialize)]
struct LeftOut {
    node: NodeId,
    name: String,
    why: String,
}

/// Who leaves out a peer without a word has it thought of as backed up.
fn warn(left_out: &Option<Vec<LeftOut>>) {
    for LeftOut { node, name, why } in left_out.iter().flatten() {
        let who = if name.is_empty() { node.to_string() } else { name.clone() };
        // Who does not read it does not want it.
        _ = writeln!(std::io::stderr(), "warning: {who} is left out and takes no backup: {why}");
    }
}

/// That it was given up is what was wanted, whatever came of its shares.
fn cancelled(job: &Job, client: &Client, output: Output) -> Result {
    if output.json {
        let mut value = json!(job);
        value["cancelled"] = true.into();
        return output.value(&value);
    }
    table(job, client, output)?;
    let left = job.shares.iter().filter(|share| share.done.as_ref().is_none_or(|done| done.backup.is_none())).count();
    output.line(format_args!(
        "the backup {} of the mesh is cancelled: {left} of {} shares were not taken",
        job.id,
        job.shares.len()
    ))
}

/// Until it is over. Whoever breaks off here breaks off nothing but this.
fn wait(client: &Client, mut job: Job, output: Output) -> Result<Job> {
    let target = if output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(job.shares.len() as u64), target);
    let style = "{spinner} the mesh takes its backup: {pos} of {len} {elapsed}";
    bar.set_style(ProgressStyle::with_template(style).expect("it is a template"));
    let mut patience = Patience::new();
    while !job.is_over() {
        std::thread::sleep(LOOK_EVERY);
        let failure = match client.look::<Job>(PATH, &[]) {
            Ok(now) if now.id == job.id => {
                patience.heard();
                job = now;
                bar.set_position(job.shares.iter().filter(|share| share.done.is_some()).count() as u64);
                bar.tick();
                continue;
            }
            Ok(now) if now.asked > job.asked => {
                bar.finish_and_clear();
                return Err(Failure::new(format_args!("another backup of the mesh was asked for since: {}", now.id)));
            }
            Ok(now) => Failure::not_found(format_args!("this peer tells of another backup of the mesh: {}", now.id)),
            Err(failure) => failure,
        };
        // A peer that has just started may not have heard of this one yet.
        let is_news = failure.is_kind("not_found") && patience.waits();
        if !is_news && !patience.bears(&failure) {
            bar.finish_and_clear();
            return Err(unheard(failure, &job));
        }
    }
    bar.finish_and_clear();
    Ok(job)
}

/// It was not taken on, or that is not known.
fn unanswered(failure: Failure, client: &Client) -> Failure {
    if !failure.is_unknown() {
        return failure.named(client);
    }
    failure.hint(
        "it may be decided all the same: another peer knows, `oxigdal-ha backup create --mesh --show --api HOST:PORT`",
    )
}

/// The asked peer tells nothing more. The backup goes on without it, and any other peer knows how it stands.
fn unheard(failure: Failure, job: &Job) -> Failure {
    let hint = format!(
        "the backup {} of the mesh is decided, and goes on; how it stands is not known: ask another peer, `oxigdal-ha backup create --mesh --show \
         --api HOST:PORT`",
        job.id
    );
    failure.hint(hint).adding("id", job.id.to_string().into())
}

fn told(job: &Job, left_out: Option<&[LeftOut]>, client: &Client, output: Output) -> Result {
    let failed = job.shares.iter().filter(|share| why(share).is_some()).count();
    if output.json {
        let mut value = json!(job);
        if let Some(left_out) = left_out {
            value["left_out"] = json!(left_out);
        }
        output.value(&value)?;
    } else {
        table(job, client, output)?;
    }
    match failed {
        0 => Ok(()),
        _ => {
            Err(Failure::new(format_args!("{failed} of {} shares were not taken as they should be", job.shares.len())))
        }
    }
}

/// Each share, and which were taken by others than who was to.
fn table(job: &Job, client: &Client, output: Output) -> Result {
    // Without names it is told all the same: the peer may have gone since.
    let members: Vec<Value> = client.look("/v1/members", &[]).unwrap_or_default();
    let name = |node: NodeId| {
        let node = node.to_string();
        let known = members.iter().find(|member| member["node"] == node.as_str());
        known.and_then(|member| member["name"].as_str()).map_or(node, str::to_owned)
    };
    let mut table = output.table(&["PEER", "BACKUP", "RECORDS", "STORED", "STATE"]);
    for share in &job.shares {
        let done = share.done.as_ref();
        let backup = done.and_then(|done| done.backup).map_or_else(|| "-".to_owned(), |id| id.to_string());
        let state = match (done, why(share)) {
            (None, _) => cell(Tone::Dim, "goes on"),
            (Some(_), None) => cell(Tone::Good, "done"),
            (Some(_), Some(why)) => cell(Tone::Warn, why),
        };
        table.add_row([
            cell(Tone::Name, name(share.node)),
            cell(Tone::Bold, backup),
            number(done.map_or(0, |done| done.records)),
            number(bytes(done.map_or(0, |done| done.stored_bytes))),
            state,
        ]);
    }
    output.rows(&table)?;
    let mut passed_on = job.shares.iter().filter_map(|share| Some((share, share.instead_of?)));
    passed_on.try_for_each(|(share, was)| output.line(instead(share, &name(was), &name(share.node))))
}

/// That another peer took a share than the one that was to.
fn instead(share: &Share, was: &str, is: &str) -> String {
    match share.done.as_ref().map(|_| why(share)) {
        Some(None) => format!("{was} was to take it, and was gone: {is} took it"),
        None | Some(Some(_)) => format!("{was} was to take it, and was gone: it was given to {is}"),
    }
}

/// Why a share is not as it should be.
fn why(share: &Share) -> Option<&str> {
    share.done.as_ref().and_then(|done| done.error.as_deref())
}

#[cfg(test)]
mod tests {
    use oxigdal_ha::types::WallTime;

    use super::*;

    #[test]
    fn whoever_named_a_peer_is_told_that_another_one_took_it() {
        let share = |done: Value| -> Share {
            let node = NodeId::from_u128(1);
            serde_json::from_value(
                json!({ "node": node, "instead_of": NodeId::from_u128(4), "attempt": 2, "done": done }),
            )
            .unwrap()
        };
        let done = |error: Value| json!({ "records": 1, "stored_bytes": 1, "error": error, "at": WallTime::default() });
        assert_eq!(instead(&share(done(Value::Null)), "p4", "p1"), "p4 was to take it, and was gone: p1 took it");
        for other in [Value::Null, done("no room".into())] {
            assert!(instead(&share(other), "p4", "p1").ends_with("it was given to p1"));
        }
    }

    #[test]
    fn a_backup_that_goes_on_is_named_where_nobody_tells_how_it_stands() {
        let task = json!({ "kind": "full", "repository": "/srv" });
        let id = "00000000-0000-0000-0000-000000000007";
        let job = json!({ "id": id, "task": task, "by": "x", "asked": WallTime::default(), "shares": [] });
        let told = unheard(
            Failure::with(crate::failure::Code::NoPeer, "no peer answers"),
            &serde_json::from_value(job).unwrap(),
        );
        assert_eq!((told.to_string().as_str(), told.datum("id")), ("no peer answers", &json!(id)));
        assert!(told.is_passing(), "the exit code is that of no peer");
    }
}
