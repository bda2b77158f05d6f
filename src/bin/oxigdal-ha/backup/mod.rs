//! `backup`: what a log holds, in a repository that outlives the peer.

mod create;
mod list;
mod mesh;
pub(crate) mod progress;
mod prune;
pub(crate) mod restore;
mod roles;
mod schedule;
mod show;
mod verify;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueHint};
use oxigdal_ha::backup::{self, Catalogue, Error, Repository, Secret, Stretch, check_outside, locate, the_node};
use oxigdal_ha::types::NodeId;

use crate::failure::{Code, Failure, Result};
use crate::output::Output;
use progress::Ear;

const AFTER: &str = "\
A repository is a directory, or the bucket of a cloud's store: a path, file:///srv/backups, s3://bucket/prefix,
gs://bucket/prefix, az://container/prefix. Credentials come from the environment, as the clouds' own tools read them
(AWS_ACCESS_KEY_ID, ..).

  oxigdal-ha backup create --full --repo /srv/backups        the peer may be running
  oxigdal-ha backup create --repo /srv/backups               what came since the last one
  oxigdal-ha backup create --mesh --repo s3://bucket/ha      one for the mesh, taken by the peer that is best
  oxigdal-ha restore --repo /srv/backups --at latest --into DIR

With a passphrase or key file given when the repository is made, all that is in it is encrypted. Without them nobody
gets anything back: keep a copy elsewhere.";

/// Where the repository is and how it opens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Repository")]
pub(crate) struct Place {
    /// The repository: a path, or a URL
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::DirPath)]
    pub(crate) repo: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Whose backups; needed if the repository has those of several
    #[arg(long, global = true, value_name = "NODE")]
    pub(crate) node: Option<NodeId>,
}

/// What opens an encrypted repository.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Repository")]
pub(crate) struct KeyArgs {
    /// The file that holds the repository's passphrase; OXIGDAL_HA_PASSPHRASE may hold the passphrase itself
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// A file of 32 random bytes or more that opens the repository
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take a backup; the peer may be running
    Create(create::Args),
    /// List backups
    List,
    /// Show one backup and what it continues
    Show(show::Args),
    /// Look whether everything is there and as it was written
    Verify(verify::Args),
    /// Remove what no rule keeps; without --yes only say what that would be
    Prune(prune::Args),
    /// When the running peer takes backups by itself
    Schedule(schedule::Args),
}

pub(crate) fn run(arguments: Args, output: Output) -> Result<ExitCode> {
    let Args { place, command } = arguments;
    let left = match &command {
        Command::Create(_) => {
            "there is no half backup: what is stored already is taken over when the same command is run again"
        }
        Command::Prune(_) => "what is marked stays so: the same command goes on where this one stopped",
        _ => "nothing was changed: the same command begins anew",
    };
    until_broken_off(left, output, async {
        match command {
            Command::Create(arguments) => create::run(&place, &arguments, output).await,
            Command::List => list::run(&place, output).await,
            Command::Show(arguments) => show::run(&place, &arguments, output).await,
            Command::Verify(arguments) => return verify::run(&place, &arguments, output).await,
            Command::Prune(arguments) => prune::run(&place, &arguments, output).await,
            Command::Schedule(arguments) => schedule::run(&place, &arguments, output),
        }
        .map(|()| ExitCode::SUCCESS)
    })
}

/// Does the work, unless somebody breaks it off: then it is said what is left, and the process ends at once, whatever it is at.
pub(crate) fn until_broken_off<T>(
    left: &'static str,
    output: Output,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let runtime = runtime()?;
    runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let failure = Failure::with(Code::Interrupted, format_args!("broken off; {left}"));
            if std::io::stderr().is_terminal() {
                // A bar may stand in the line.
                let _ = writeln!(std::io::stderr());
            }
            failure.kind(Some("interrupted")).report(output.json, false);
            std::process::exit(i32::from(Code::Interrupted as u8));
        }
    });
    runtime.block_on(work)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))
}

impl Place {
    pub(crate) fn url(&self) -> Result<&str> {
        self.repo
            .as_deref()
            .ok_or_else(|| Failure::usage("no repository is named").hint("give --repo URL; a path will do"))
    }

    /// The repository, which must be there.
    pub(crate) async fn open(&self) -> Result<Repository> {
        let url = self.url()?;
        let secret = self.key.secret()?;
        let opened = Repository::open(locate(url, false).map_err(failed)?, url, secret.as_ref()).await;
        opened.inspect(|repository| warn(&repository.hurt())).map_err(failed)
    }

    /// The repository for backups of this data directory, made if it is not there.
    async fn open_or_make(&self, data: &Path, ear: &Ear) -> Result<Repository> {
        let url = self.url()?;
        let secret = self.key.secret()?;
        check_outside(url, data).map_err(failed)?;
        let location = locate(url, true).map_err(failed)?;
        let opened = Repository::open_or_make(location, url, secret.as_ref(), Stretch::default(), ear).await;
        opened.inspect(|repository| warn(&repository.hurt())).map_err(failed)
    }

    /// What there is of the node that is meant.
    pub(crate) async fn catalogue(&self, repository: &Repository) -> Result<Catalogue> {
        let node = the_node(repository, self.node).await.map_err(failed)?;
        Catalogue::read(repository, node).await.map_err(failed)
    }
}

impl KeyArgs {
    fn secret(&self) -> Result<Option<Secret>> {
        let secret = Secret::given(self.key_file.as_deref(), self.passphrase_file.as_deref());
        secret.map_err(|error| match error {
            Error::Secret { .. } => Failure::usage(error),
            error => failed(error),
        })
    }
}

/// Says on standard error what is damaged and not in the way.
fn warn(damage: &[Error]) {
    for error in damage {
        // Who does not read it does not want it.
        let _ = writeln!(std::io::stderr(), "warning: {error}");
    }
}

/// What went wrong, with what to do about it.
pub(crate) fn failed(error: Error) -> Failure {
    let (failure, kind) = (Failure::new(&error), kind(&error));
    let failure = failure.kind(Some(kind));
    match error {
        Error::NoRepository { .. } => failure.hint("`oxigdal-ha backup create --repo URL` makes one"),
        Error::Missing { .. } | Error::Damaged { .. } | Error::Gap { .. } => failure.hint(
            "`oxigdal-ha backup verify` says what is whole; `restore --backup ID` looks in one that is, `restore --accept-damage` in \
             all that are. A backup that cannot be mended is given up by `backup prune --give-up ID`; a `backup create --full` stands alone",
        ),
        Error::Going { .. } => failure.hint("`oxigdal-ha backup list` and `backup verify` say whether it is"),
        Error::Store { what, ref name, ref error } if is_forbidden(error) => {
            failure.hint(format!(
                "this user may not {what} {name} in the repository: look at the owner and the permissions of it and of what it is in, or at \
                 the rights of the credentials"
            ))
        }
        Error::Store { what: "read", name, .. } if name.starts_with("data/") => failure.hint(
            "look whether the store is reachable, and whether this file alone cannot be read: then move it away, as a missing one it can be \
             gone around with --accept-damage",
        ),
        Error::Store { .. } => failure.hint("the store itself refused, or is away: look whether it is reachable and has room, and try again"),
        Error::Source(ref cause) if error.is_log_damaged() => {
            tracing::debug!(%cause, "no backup is taken of a damaged log");
            failure.kind(Some("log_damaged")).hint(DAMAGED_LOG)
        }
        Error::Branches { .. } => failure.hint(
            "`--backup ID` restores from the one that you name; `oxigdal-ha backup prune --keep-last N --give-up ID --yes` gives the other up, and then \
             `latest` means the one that is left",
        ),
        Error::ManyBackups { .. } => Failure::usage(&error),
        Error::NoKey => failure.hint("--passphrase-file, OXIGDAL_HA_PASSPHRASE or --key-file"),
        Error::ManyNodes { .. } => failure.hint("--node NODE"),
        _ => failure,
    }
}

/// What to do about a log that is damaged in its middle.
const DAMAGED_LOG: &str = "no backup is taken of a damaged log. Neighbours hold the same entries: stop the peer, then `oxigdal-ha rebuild --repo \
                           URL` with the last whole backup, or `rebuild --from-mesh`; the damaged log is kept aside, and `oxigdal-ha restore --data-dir \
                           DIR --at lsn:N` gets what is intact before the damage";

/// A log that cannot be read for a backup.
pub(crate) fn unreadable(error: oxigdal_ha::recovery::SourceError) -> Failure {
    failed(Error::Source(error.into()))
}

fn is_forbidden(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if one.downcast_ref().is_some_and(|io: &std::io::Error| io.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = one.source();
    }
    matches!(error, E::PermissionDenied { .. } | E::Unauthenticated { .. })
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::NoRepository { .. } => "no_repository",
        Error::Missing { .. } => "missing",
        Error::Damaged { .. } | Error::Gap { .. } | Error::Chain { .. } => "damaged",
        Error::NoKey | Error::WrongKey { .. } => "key",
        Error::Target(_) | Error::OutOfRange { .. } | Error::NoBackup { .. } | Error::Ambiguous { .. } => "unreachable",
        Error::Branches { .. } => "branches",
        Error::Conflict { .. } | Error::Marked { .. } | Error::Going { .. } => "conflict",
        Error::Store { .. } => "store",
        _ => "failed",
    }
}

/// How long ago, in words of one unit.
fn ago(then: oxigdal_ha::types::WallTime, now: oxigdal_ha::types::WallTime) -> String {
    let millis = now.as_millis().saturating_sub(then.as_millis());
    crate::output::millis(millis)
}

/// The newest backup, or the one with this id; the beginning of an id will do.
fn chosen(catalogue: &Catalogue, wanted: Option<&str>, ear: &Ear) -> Result<backup::BackupId> {
    let none = |wanted: String| failed(Error::NoBackup { wanted });
    match wanted {
        None => {
            let newest = catalogue.newest(backup::Host::wall(ear)).map(|backup| backup.id);
            newest.ok_or_else(|| none(format!("of node {}", catalogue.node)))
        }
        Some(text) => catalogue.named(text).map_err(failed),
    }
}
