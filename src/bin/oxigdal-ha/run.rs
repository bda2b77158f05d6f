//! `run`: one peer, from its settings to its goodbye.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use oxigdal_ha::config::{self, Config, Flags, LogFormat};
use oxigdal_ha::documents::Checks;
use oxigdal_ha::driver::admission::{Invite, Refusal};
use oxigdal_ha::driver::network::JoinError;
use oxigdal_ha::driver::{ArchiveState, ArchiveStatus, Peer, StartError, Stop};
use oxigdal_ha::topology::{Policy, Role};
use oxigdal_ha::{Error, ErrorKind};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::Run;
use crate::configuration::environment;
use crate::failure::{Failure, Result};
use crate::invite::given;
use crate::output::{Output, Tone};
use crate::topology;

/// How long a goodbye may take before the peer stops without.
const GOODBYE_MAX: Duration = Duration::from_secs(10);
/// How long the peer's sockets may take to open before their addresses are shown without being known.
const LISTEN_MAX: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &Run, output: Output) -> Result {
    let config =
        config::load(arguments.config.as_deref(), environment(), &flags(arguments)?).map_err(Failure::usage)?;
    log_to_stderr(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let result = runtime.block_on(serve(config, arguments.stop_with_stdin, output));
    // Whoever still reads standard input would wait for ever.
    runtime.shutdown_background();
    result
}

/// The arguments as settings; what the topology says first, so that single arguments win over it.
fn flags(arguments: &Run) -> Result<Flags> {
    let mut flags = Flags::new();
    if let (Some(file), Some(name)) = (&arguments.topology, &arguments.name) {
        let topology = topology::read(file)?;
        let node = topology.node(name).ok_or_else(|| {
            let names: Vec<&str> = topology.nodes().iter().take(20).map(|node| node.name.as_str()).collect();
            Failure::usage(format_args!("{} has no node {name:?}", file.display()))
                .hint(format!("its nodes are {}", names.join(", ")))
        })?;
        let text = |flags: Flags, key: &str, value: &Option<String>| match value {
            Some(value) => flags.set("--topology", key, value),
            None => flags,
        };
        flags = text(flags, "node.region", &node.region);
        flags = text(flags, "node.zone", &node.zone);
        flags = flags.set("--topology", "node.priority", node.priority.to_string());
        flags = flags.set("--topology", "node.observer", (node.role == Role::Observer).to_string());
        if !node.addresses.is_empty() {
            flags = flags.list("--topology", "network.listen", node.addresses.iter().map(|address| address.as_str()));
        }
        flags = overlay(flags, "--topology", topology.overlay());
    }
    for (flag, key, value) in [
        ("--name", "node.name", arguments.name.clone()),
        ("--data-dir", "node.data-dir", arguments.data_dir.as_ref().map(|dir| dir.display().to_string())),
        ("--record", "node.record", arguments.record.as_ref().map(|file| file.display().to_string())),
        ("--api", "api.listen", arguments.api.clone()),
        ("--archive", "archive.repository", arguments.archive.clone()),
        ("--log-level", "log.level", arguments.log_level.clone()),
    ] {
        flags = value.into_iter().fold(flags, |flags, value| flags.set(flag, key, value));
    }
    let join = arguments.join.iter().map(|entry| given(entry, "invite")).collect::<Result<Vec<_>>>()?;
    for (flag, key, values) in [
        ("--listen", "network.listen", &arguments.listen),
        ("--announce", "network.announce", &arguments.announce),
        ("--join", "network.join", &join),
    ] {
        flags = if values.is_empty() { flags } else { flags.list(flag, key, values) };
    }
    Ok(arguments.overlay.into_iter().fold(flags, |flags, policy| overlay(flags, "--overlay", policy)))
}

fn overlay(flags: Flags, flag: &str, policy: Policy) -> Flags {
    let flags = flags.set(flag, "overlay.kind", policy.kind());
    match policy.parameter() {
        Some(("degree", degree)) => flags.set(flag, "overlay.degree", degree.to_string()),
        Some((_, arity)) => flags.set(flag, "overlay.arity", arity.to_string()),
        None => flags,
    }
}

/// Standard error, where a line that cannot be written is lost, and nothing else: who read it may be gone, its disk may be full. The
/// subscriber would tell of the failure on standard error, and panic.
struct Lossy;

impl io::Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text for people, JSON for machines; on standard error, since standard output belongs to answers.
fn log_to_stderr(config: &Config) -> Result {
    let filter = filter(&config.log.level)
        .map_err(|why| Failure::usage(format_args!("`log.level` = {:?}: {why}", config.log.level)))?;
    let people = match config.log.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lossy);
    if people {
        builder.with_ansi(io::stderr().is_terminal()).with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}

/// A level is for this program; libraries then tell what is wrong, and nothing else. Directives say all themselves.
fn filter(level: &str) -> std::result::Result<EnvFilter, String> {
    let directives = match level {
        "off" | "error" => level.to_owned(),
        "warn" | "info" | "debug" | "trace" => format!("warn,oxigdal_ha={level}"),
        // A lone word would be taken for a module, and silence everything.
        word if !word.contains(['=', ',']) => {
            return Err(
                "expected error, warn, info, debug, trace, or directives such as oxigdal_ha::driver=debug".into()
            );
        }
        directives => directives.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|error| error.to_string())
}

async fn serve(mut config: Config, stop_with_stdin: bool, output: Output) -> Result {
    config.documents.checks = Checks::new().with_geojson();
    let mut told = Told::listen(stop_with_stdin)?;
    let join = config.network.join.clone();
    let peer = tokio::select! {
        peer = Peer::start(config) => peer.map_err(|error| refused(error.into(), &join))?,
        why = told.next() => {
            tracing::info!(why, "stopped before it was up");
            return Ok(());
        }
    };
    announce(&peer, output).await?;
    let stop = tokio::select! {
        stop = peer.stopped() => stop,
        why = told.next() => {
            tracing::info!(why, "leaving the mesh");
            tokio::select! {
                stop = peer.clone().shutdown(GOODBYE_MAX) => stop,
                why = told.next() => {
                    tracing::warn!(why, "stopping without a goodbye");
                    peer.clone().halt().await
                }
            }
        }
    };
    let archive = peer.archived().await.filter(|archive| archive.failures > 0);
    if let Some(ArchiveStatus { repository, last_error, .. }) = &archive {
        let why = last_error.as_deref().unwrap_or_default();
        tracing::warn!(%repository, why, "what was written last is not in the archive");
    }
    match (stop, archive) {
        (Stop::Failed(why), _) => Err(Failure::new(format_args!("the peer could not go on: {why}"))),
        (_, Some(archive)) if archive.state == ArchiveState::LogDamaged => Err(unarchived(&archive)),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// It has stopped in order, and what its log holds behind some damage is in no archive and never will be.
fn unarchived(archive: &ArchiveStatus) -> Failure {
    let why = archive.last_error.as_deref().unwrap_or_default();
    Failure::new(format_args!("the peer has stopped in order, but its archive {} is not complete: {why}", archive.repository))
        .kind(Some("log_damaged"))
        .hint(format!(
            "what stands behind the damage is not in the archive and does not come into it. Neighbours hold the same entries: \
             `oxigdal-ha rebuild {} has them give what is missing; the damaged log is kept aside",
            match &archive.covered {
                Some(_) => format!("--repo {}` takes what is in the archive and", archive.repository),
                None => "--from-mesh`".to_owned(),
            }
        ))
}

/// Why it did not start, with what to do where that is known.
fn refused(error: Error, join: &[String]) -> Failure {
    let failure = Failure::new(&error);
    match error.kind() {
        ErrorKind::Config => Failure::usage(&error),
        ErrorKind::Damaged if matches!(error.cause().downcast_ref(), Some(StartError::Boot(_))) => failure.hint(
            "nothing was changed. If other peers hold this mesh's documents, `oxigdal-ha rebuild --from-mesh` has them give all of it; \
             with a backup, `oxigdal-ha rebuild --repo URL`. Both keep the damaged log aside: what is intact before the damage is in it \
             still",
        ),
        ErrorKind::Damaged if matches!(error.cause().downcast_ref(), Some(StartError::Unfinished { .. })) => failure
            .kind(Some("unfinished"))
            .hint("call that command again: it goes on from where it stopped"),
        ErrorKind::Damaged if matches!(error.cause().downcast_ref(), Some(StartError::OtherTimeline { .. })) => failure
            .kind(Some("other_timeline"))
            .hint(
                "`oxigdal-ha timeline show` says which timeline the papers are of. `oxigdal-ha rebuild` gets the peer a log of that one, \
                 out of a backup or, with --from-mesh, from its neighbours; what is there is kept aside",
            ),
        ErrorKind::Damaged if matches!(error.cause().downcast_ref(), Some(StartError::TicketGone { .. })) => failure.hint(
            "a restored directory is to be looked at: nobody's key is in it. With the peer's identity.key and ticket in it, it starts. \
             For a lost peer there is `oxigdal-ha rebuild`: out of a backup, under its own keys or, with --join, under new ones",
        ),
        ErrorKind::Damaged if matches!(error.cause().downcast_ref(), Some(StartError::Standby { .. })) => {
            failure.kind(Some("standby")).hint("`oxigdal-ha standby DIR --activate` makes it a peer's data directory")
        }
        ErrorKind::NotAdmitted if is_refused(&error, |why| matches!(why, Refusal::NodeTaken { .. })) => failure.hint(
            "the node id in the data directory is another peer's, as in a restored directory, and its key is not there: put that \
             peer's identity.key and ticket into it, or have `oxigdal-ha rebuild --join` restore the data under a new identity. The \
             invite is good still",
        ),
        ErrorKind::NotAdmitted if is_refused(&error, is_about_timelines) => failure.kind(Some("other_timeline")).hint(
            "the log that is in the data directory is of another history of the mesh than the issuer: join with an empty directory, or \
             with one that `oxigdal-ha rebuild` makes of a backup of that timeline. The invite is good still",
        ),
        ErrorKind::InUse => {
            failure.hint("does another peer run here? Give this one its own --data-dir, --listen and --api")
        }
        ErrorKind::Network if !join.is_empty() => failure
            .hint("does the peer that made the invite run, and is one of the addresses in it within reach from here?"),
        ErrorKind::NotAdmitted if !join.iter().any(|entry| Invite::looks_like(entry)) => failure.hint(
            "get an invite from a member of that mesh with `oxigdal-ha invite issue` there, and give it to --join; \
             the first peer of a mesh starts without --join",
        ),
        ErrorKind::NotAdmitted => failure
            .hint("an invite is good once and for a limited time: ask for a new one with `oxigdal-ha invite issue`"),
        _ => failure,
    }
}

/// Whether the log that is brought along is the reason.
fn is_about_timelines(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::OtherTimeline { .. } | Refusal::ForkedTimeline { .. })
}

/// Whether the issuer refused, and for such a reason.
fn is_refused(error: &Error, so: impl Fn(&Refusal) -> bool) -> bool {
    matches!(error.cause().downcast_ref(), Some(StartError::Join(JoinError::Refused(refusal))) if so(refusal))
}

/// Says where the peer is, and how others come to it.
async fn announce(peer: &Peer, output: Output) -> Result {
    let opened = tokio::time::timeout(LISTEN_MAX, async {
        while peer.listening().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // A peer that listens nowhere yet still serves; it goes on trying.
    let _ = opened.await;
    let listen = peer.listening();
    let (api, token) = (peer.api(), peer.data_dir().join("api-token"));
    if output.json {
        let addresses: Vec<&str> = listen.iter().map(|address| address.as_str()).collect();
        return output.value(&json!({ "node": peer.id(), "listen": addresses, "api": api, "token_file": token }));
    }
    let row = |label: &str, value: String| {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<8}"))))
    };
    row("node", output.paint(Tone::Bold, peer.id()))?;
    for address in &listen {
        row("peers", address.to_string())?;
    }
    let Some(api) = api else { return Ok(()) };
    row("api", format!("http://{api}"))?;
    row("token", token.display().to_string())?;
    if !peer.admission().is_issuer() {
        return Ok(());
    }
    let mut client = String::new();
    if api.to_string() != "127.0.0.1:4748" {
        client += &format!(" --api {api}");
    }
    if token != std::path::Path::new("oxigdal-ha-data/api-token") {
        client += &format!(" --token-file {}", token.display());
    }
    row("invite", output.paint(Tone::Name, format_args!("oxigdal-ha invite issue{client}")))
}

/// Everything that tells a peer to stop.
struct Told {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// Unless whoever started this peer has it ignored, as `nohup` does.
    hangup: Option<tokio::signal::unix::Signal>,
    stdin: tokio::sync::watch::Receiver<bool>,
}

impl Told {
    fn listen(stop_with_stdin: bool) -> Result<Self> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new(format_args!("cannot listen to signals: {error}")));
        let (ended, stdin) = tokio::sync::watch::channel(false);
        if stop_with_stdin {
            std::thread::spawn(move || {
                // Whatever comes is of no interest; an error is an end too.
                let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
                ended.send_replace(true);
            });
        }
        let hangup = if ignores_hangup() { None } else { Some(listen(SignalKind::hangup())?) };
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup, stdin })
    }

    /// Waits for the next one and says which it was.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            Some(()) = hung_up(&mut self.hangup) => "SIGHUP",
            // Once: after that, or without `--stop-with-stdin`, nobody sends any more.
            Ok(()) = self.stdin.changed() => "the end of standard input",
        }
    }
}

async fn hung_up(hangup: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    hangup.as_mut()?.recv().await
}

/// Whether this process was started with SIGHUP ignored: listening to it would undo that.
pub(crate) fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
