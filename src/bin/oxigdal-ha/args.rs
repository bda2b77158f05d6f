//! The arguments, as clap reads them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use oxigdal_ha::topology::Policy;

/// What the exit codes mean; shown below the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  not done, or not as it should be: the reason is on standard error
  2  wrong arguments, or a file that cannot be used
  3  no peer answers at --api
  130  interrupted

Start with `oxigdal-ha demo`, which needs nothing, or with `oxigdal-ha run`.";

/// A gossip-based peer-to-peer mesh that keeps documents highly available: edit anywhere, offline too; every peer ends
/// with the same content.
#[derive(Debug, Parser)]
#[command(name = "oxigdal-ha", version, after_help = EXIT_CODES, max_term_width = 110, subcommand_required = true)]
#[command(arg_required_else_help = true, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Answer in JSON
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// When to use colours: auto, always or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Output")]
    #[arg(hide_possible_values = true)]
    pub(crate) color: When,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one peer until it is told to stop
    Run(Box<Run>),
    /// Show a mesh of real peers at work: edit, cut, kill, heal, agree
    Demo(Demo),
    /// Show who is in the mesh
    Members(Members),
    /// Show how a peer stands and what is wrong with it
    Status(Status),
    /// Show how far the other members are behind this peer
    Lag(crate::replication::Lag),
    /// List the replicas of this peer
    Peer(crate::replication::Peer),
    /// Show what replication has sent and taken
    Statistics(crate::replication::Statistics),
    /// Read and edit documents
    Doc(Doc),
    /// Append and read events
    Stream(Stream),
    /// Show the identity in a data directory; look after tickets, issuers and the root key
    Key(Key),
    /// Let peers join
    Invite(Invite),
    /// Expel a node from the mesh for good, or list who is expelled
    Revoke(Revoke),
    /// Show which overlay the mesh has, or set another while it runs
    Overlay(crate::overlay::Args),
    /// Show what met in documents, and settle it
    Conflicts(crate::conflicts::Args),
    /// List entries that were refused, and have them judged again
    Quarantine(crate::quarantine::Args),
    /// Show who leads the voters
    Leader(crate::decisions::Leader),
    /// Show who votes on what is decided for the whole mesh, and change that
    Voters(crate::decisions::Voters),
    /// Show, move, release or pause roles
    Role(crate::roles::Role),
    /// Show what was decided for the whole mesh, or have something decided
    Actions(crate::decisions::Actions),
    /// Name this moment in a peer's log, or list the names
    RestorePoint(crate::restore_point::Args),
    /// Take snapshots of what a peer's log says, or list them
    Snapshot(crate::snapshot::Args),
    /// Take backups, list, verify and prune them
    Backup(Box<crate::backup::Args>),
    /// Put a log as it was into a directory of its own
    Restore(crate::restore::Args),
    /// Give a peer whose data is lost a log again, out of a backup or from its neighbours
    Rebuild(Box<crate::rebuild::Args>),
    /// Keep a directory up to date out of a repository, and make it a peer's when that is needed
    Standby(Box<crate::standby::Args>),
    /// Show what recoveries of a data directory took and lost
    Recoveries(crate::recoveries::Args),
    /// Show which history of the mesh a data directory is of, or go over to a later one
    Timeline(crate::timeline::Args),
    /// Bring documents of a living mesh back to how they were
    Revert(crate::revert::Args),
    /// Lead TCP clients to whoever holds a role, or leads the voters
    Redirect(crate::redirect::Args),
    /// Look into a log's files
    #[command(subcommand)]
    Log(crate::inspect::Command),
    /// Write, check and explain configurations
    #[command(subcommand)]
    Config(Config),
    /// Check and draw topologies
    #[command(subcommand)]
    Topology(Topology),
    /// Run whole meshes under virtual time, with faults, and judge them
    Simulate(crate::simulate::Args),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// Where the peer is that a client command talks to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Peer")]
pub(crate) struct Target {
    /// The local HTTP interface of a peer
    #[arg(long, global = true, env = "OXIGDAL_HA_API", default_value = "127.0.0.1:4748", value_name = "HOST:PORT")]
    pub(crate) api: String,
    /// The file that holds the peer's token; changes need it [default: oxigdal-ha-data/api-token]. The variable may hold the token itself
    #[arg(long, global = true, env = "OXIGDAL_HA_TOKEN", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A file of settings; see `config init`
    #[arg(long, env = "OXIGDAL_HA_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// A topology to take region, zone, priority, addresses and overlay from; needs --name, a node of it
    #[arg(long, value_name = "FILE", requires = "name", value_hint = ValueHint::FilePath)]
    pub(crate) topology: Option<PathBuf>,
    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where identity, log and tokens are kept
    #[arg(long, alias = "data", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to listen for peers; may be given more than once
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// What to tell others to dial, if it differs; may be given more than once
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) announce: Vec<String>,
    /// An invite, or the address of a member that knows this peer; may be given more than once. Others on the machine can read
    /// arguments: @FILE reads it from a file, - from standard input, and OXIGDAL_HA_NETWORK__JOIN holds it too
    #[arg(long, value_name = "INVITE|ADDR")]
    pub(crate) join: Vec<String>,
    /// Where to serve the local HTTP interface
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) api: Option<String>,
    /// The overlay: star, mesh, mesh:DEGREE, tree or tree:ARITY. All peers must have the same, until one is set for the whole mesh
    /// with `overlay set`
    #[arg(long)]
    pub(crate) overlay: Option<Policy>,
    /// What to log: error, warn, info, debug, trace, or directives by module
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Write all that enters the node to this new file, so that `simulate replay-inputs` can live its life again. It holds what
    /// clients write
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    /// Ship what is new of the log to this repository of backups, every ten seconds: a path, or a URL; see `backup`
    #[arg(long, value_name = "URL", value_hint = ValueHint::DirPath)]
    pub(crate) archive: Option<String>,
    /// Stop when standard input ends, as it does when whoever started this peer has gone
    #[arg(long)]
    pub(crate) stop_with_stdin: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// How many peers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=16))]
    pub(crate) peers: u8,
    /// The overlay: star, mesh, mesh:DEGREE, tree or tree:ARITY
    #[arg(long, default_value_t = Policy::default())]
    pub(crate) overlay: Policy,
    /// Keep the peers' data and logs, and say where; on a terminal, keep the mesh running until Ctrl-C too
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Members {
    /// Go on showing changes
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: Option<crate::forget::Command>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Exit with 1 when something is wrong
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Doc {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) ack: crate::replication::Ack,
    #[command(subcommand)]
    pub(crate) command: DocCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DocCommand {
    /// Make a document have exactly this content; only what differs is written
    Put {
        /// The document, such as layers/countries/FJI
        id: String,
        /// A JSON object; @FILE reads a file, - or nothing reads standard input
        value: Option<String>,
        /// Fail if the document exists
        #[arg(long)]
        create: bool,
    },
    /// Show a document, or one place in it
    Get {
        /// The document
        id: String,
        /// A JSON Pointer, such as properties/name
        #[arg(default_value = "")]
        path: String,
    },
    /// Set one place in a document, creating objects on the way
    Set {
        /// The document
        id: String,
        /// A JSON Pointer, such as properties/name
        path: String,
        /// JSON; what is no JSON is taken as text
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Take the value as text, whatever it looks like
        #[arg(long)]
        text: bool,
    },
    /// Insert an element into a list
    Insert {
        /// The document
        id: String,
        /// A JSON Pointer that ends with the index before which it goes, or - for the end, such as properties/tags/0
        path: String,
        /// JSON; what is no JSON is taken as text
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Take the value as text, whatever it looks like
        #[arg(long)]
        text: bool,
    },
    /// Add to a counter: what is added at the same time all counts
    Increment {
        /// The document
        id: String,
        /// A JSON Pointer, such as properties/visits; where nothing is, a counter of 0 is made first
        path: String,
        /// How much, up or down
        #[arg(default_value_t = 1, allow_hyphen_values = true)]
        by: i64,
    },
    /// Remove a document, or one place in it
    Rm {
        /// The document
        id: String,
        /// A JSON Pointer; without it the whole document goes
        path: Option<String>,
    },
    /// List documents, in order of id
    Ls {
        /// Only ids that begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// Show the contents too
        #[arg(long)]
        values: bool,
        /// Only those in which the peer's checks find something odd, and what
        #[arg(long)]
        flagged: bool,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show the changes of a document, oldest first
    History {
        /// The document
        id: String,
    },
    /// Show changes as they arrive, until interrupted; also over restarts of the peer
    Watch {
        /// Only documents that begin with this
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Import GeoJSON, one feature a document; run it again to go on where it stopped
    Import {
        /// A GeoJSON file; - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// What the ids of the documents begin with, such as layers/countries
        #[arg(long, default_value = "layers/import")]
        prefix: String,
        /// The property to take ids from where features have none
        #[arg(long, value_name = "PROPERTY")]
        id_property: Option<String>,
    },
    /// Export documents that are features as one GeoJSON feature collection
    Export {
        /// Only ids that begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// Where to write; standard output without it, or for -
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Stream {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) ack: crate::replication::Ack,
    #[command(subcommand)]
    pub(crate) command: StreamCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Append events: each line is one. Done when the last is durable at this peer
    Append {
        /// The stream, such as sensors/harbour/tide; made if it is new
        name: String,
        /// Where the events come from; - for standard input
        #[arg(long, default_value = "-", value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// So many events in one request at most
        #[arg(long, default_value = "1000", value_name = "N")]
        batch: NonZeroUsize,
        /// Take all of the input as one event
        #[arg(long)]
        binary: bool,
    },
    /// Show events, one a line, each origin's in its order
    Tail {
        /// The stream
        name: String,
        /// start, now, or a cursor as --json gives it
        #[arg(long, default_value = "start", value_name = "PLACE")]
        from: String,
        /// Go on as events come, until interrupted
        #[arg(long, short)]
        follow: bool,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Only events that are this old at least, such as 5s: sorted by time if no origin is later than that
        #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "follow")]
        settled: Option<u64>,
    },
    /// List streams
    Ls {
        /// Only names that begin with this
        #[arg(default_value = "")]
        prefix: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The data directory
    #[arg(
        long,
        alias = "data",
        global = true,
        env = "OXIGDAL_HA_NODE__DATA_DIR",
        default_value = "oxigdal-ha-data",
        value_name = "DIR"
    )]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: PathBuf,
    /// Draw the identity if there is none
    #[arg(long)]
    pub(crate) create: bool,
    #[command(subcommand)]
    pub(crate) command: Option<KeyCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make more members issuers, so that the mesh does not depend on one peer
    #[command(after_help = ISSUERS)]
    Issuer {
        #[command(subcommand)]
        command: IssuerCommand,
    },
    /// Look after the key that founded the mesh
    Root {
        #[command(subcommand)]
        command: RootCommand,
    },
    /// Have a running peer's ticket renewed now, or get it a new one for an invite
    Renew {
        #[command(flatten)]
        target: Target,
        /// An invite of any issuer; needed when the issuer of the old ticket was revoked, or the ticket is very old. @FILE reads it
        /// from a file, - from standard input
        #[arg(long)]
        invite: Option<String>,
    },
}

/// How a member becomes an issuer; shown below the help.
const ISSUERS: &str = "\
Tickets live for 7 days and are renewed by any issuer that a peer reaches. The peer that founded the mesh is its first \
issuer; when it is gone for longer than that, nobody is let in any more. To make another member an issuer:

  # at the member, while it runs
  oxigdal-ha key issuer request > request
  # where the root key is; needs no network
  oxigdal-ha key issuer sign request --root-key FILE > certificate
  # at the member again
  oxigdal-ha key issuer install certificate

Neither text is a secret. The root key is needed for nothing else: `oxigdal-ha key root move DIR` takes it off the peer. \
A certificate is good for 90 days; to renew it, do the same again. A founder that has its root key does it by itself.

An issuer that is lost needs no care: others renew its tickets. One whose key may be stolen is expelled with `oxigdal-ha \
revoke --issuer`, and the tickets that it signed with it: their members need new invites, `oxigdal-ha key renew --invite \
INVITE` at each. If there is time, have them change to another issuer before: `oxigdal-ha key renew` at each.";

#[derive(Debug, Subcommand)]
pub(crate) enum IssuerCommand {
    /// Ask to become an issuer, or to go on being one: prints a request
    Request {
        #[command(flatten)]
        target: Target,
    },
    /// Sign a request with the root key: prints a certificate. Needs no peer and no network
    Sign {
        /// The file with the request; - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        request: PathBuf,
        /// The file with the root key [default: root.key in the data directory]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        root_key: Option<PathBuf>,
        /// For how many days the certificate is good
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
    },
    /// Take office with a certificate
    Install {
        #[command(flatten)]
        target: Target,
        /// The file with the certificate; - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        certificate: PathBuf,
    },
    /// List the issuers that a peer knows
    List {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Move the root key to another place, such as a stick that is then locked away
    Move {
        /// A directory, or a file that does not exist yet
        #[arg(value_hint = ValueHint::AnyPath)]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: InviteCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InviteCommand {
    /// Make an invite, which one peer may use once
    Issue {
        /// For whom, in your own words
        #[arg(long, default_value = "")]
        name: String,
        /// How long it is good, such as 30min, 24h or 7d
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = seconds)]
        ttl: u64,
    },
    /// List the invites that this peer made
    List,
    /// Take an invite back that was not used yet
    Revoke {
        /// Its id, as `list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The node's id; without it, who is expelled
    pub(crate) node: Option<String>,
    /// Expel an issuer, and with it the tickets that it signed
    #[arg(long, requires = "node")]
    pub(crate) issuer: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print a file with every setting, its meaning and its default
    Init {
        /// Where to write; standard output without it. An existing file is not touched
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Check a file together with the environment
    Check {
        /// The file
        #[arg(env = "OXIGDAL_HA_CONFIG", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print the settings that count
    Print {
        /// The file
        #[arg(env = "OXIGDAL_HA_CONFIG", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Show where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topology {
    /// Check a file; errors name the place
    Check {
        /// topologies/*.toml
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Draw a file
    Show {
        /// One of topologies/*.toml
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Draw it as SVG into this file too; - for standard output, and no text
        #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
        svg: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Whole seconds of a text such as `30min` or `7d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days > 0) {
        return Ok(u64::from(days) * 86_400);
    }
    let time = oxigdal_ha::topology::duration(text).map_err(|error| error.to_string())?;
    if time.subsec_nanos() == 0 && !time.is_zero() {
        Ok(time.as_secs())
    } else {
        Err(format!("{text:?} is not a whole number of seconds above 0"))
    }
}
