//! `redirect`: a TCP port that leads to whoever holds a role.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oxigdal_ha::consensus::Token;
use oxigdal_ha::driver::redirect::{self, Carried, Config, Counts, Strategy, Target};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::backup::runtime;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

const AFTER: &str = "\
  oxigdal-ha redirect --listen 127.0.0.1:5432 --port-of db            connections there go to `db` at whoever is primary
  oxigdal-ha redirect --listen :8080 --port-of 80 --role tiles        to port 80 at the holder of the role `tiles`
  oxigdal-ha redirect --listen :8080 --port-of 80 --strategy drain    what is open when the role moves may end by itself

Peers say in `node.services` what there is at their host (`services = [\"db:5432\"]`); a number is a port that is the same everywhere. New connections go
to the new holder at once and wait for it while there is none. An open connection cannot be moved, only ended so that its client comes back:
immediate ends it at once, gradual within --over one after the other, drain lets it end by itself for --over at most.
Give --api several times to go on when one of the peers that are asked is down.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// End open connections at once
    Immediate,
    /// End them one after the other
    Gradual,
    /// Let them end by themselves
    Drain,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Which role to follow
    #[arg(long, value_name = "NAME", default_value = "primary")]
    role: String,
    /// Where to listen; without a host on this machine alone
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// A service that holders name in their `node.services`, or a port
    #[arg(long, value_name = "SERVICE")]
    port_of: String,
    /// What becomes of connections that are open when the role moves
    #[arg(long, value_enum, value_name = "STRATEGY", default_value = "immediate")]
    strategy: Way,
    /// How long gradual and drain take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::args::seconds)]
    over: u64,
    /// How long a new connection waits for a holder
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::args::seconds)]
    wait: u64,
    /// How many connections are carried at once
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,
    /// The local HTTP interfaces of peers; the first that answers is asked
    #[arg(
        long,
        env = "OXIGDAL_HA_API",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4748"
    )]
    api: Vec<String>,
}

/// Between two looks at who holds the role. It costs the asked peer some microseconds, and the clients of a failover this long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After a look that nobody answered.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Who takes longer to say it is not waited for: it may be the one that died.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// What a peer says of a role.
#[derive(Debug, Deserialize)]
struct Held {
    holder: Option<Holder>,
    #[serde(default)]
    token: Option<Token>,
}

#[derive(Debug, Deserialize)]
struct Holder {
    node: String,
    name: String,
    addresses: Vec<String>,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    port: u16,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let address = place(&arguments.listen)?;
    let clients =
        arguments.api.iter().map(|api| Client::new(&crate::args::Target { api: api.clone(), token_file: None }));
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let over = Duration::from_secs(arguments.over);
    let config = Config {
        strategy: match arguments.strategy {
            Way::Immediate => Strategy::Immediate,
            Way::Gradual => Strategy::Gradual(over),
            Way::Drain => Strategy::Drain(over),
        },
        wait: Duration::from_secs(arguments.wait),
        connections_max: arguments.connections_max as usize,
    };
    let counts = Arc::new(Counts::default());
    let (sender, receiver) = watch::channel(None);
    let follower = Follower {
        clients,
        role: arguments.role.clone(),
        service: arguments.port_of.clone(),
        output,
        counts: Arc::clone(&counts),
        known: None,
        token: None,
        trouble: None,
    };
    // Asked once before anything listens: a role that there is not, or no peer to ask, is told at once.
    follower.look()?;
    runtime()?.block_on(async {
        let failed = |error| Failure::new(format_args!("cannot listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tell(
            output,
            "listening",
            &format!("listening on {address}, for {}", arguments.role),
            &json!({ "address": address }),
        )?;
        std::thread::spawn(move || follower.follow(&sender));
        redirect::serve(listener, receiver, config, Arc::clone(&counts), stopped()?).await.map_err(failed)
    })?;
    let Carried { accepted, moved, drained, unserved, .. } = counts.read();
    let words =
        format!("stopped: {accepted} connections, {moved} moved, {drained} drained, {unserved} without a holder");
    tell(output, "stopped", &words, &json!({ "connections": counts.read() }))
}

fn stopped() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).map_err(|error| Failure::new(format_args!("cannot listen to signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// `:PORT` is of this machine alone.
fn place(text: &str) -> Result<SocketAddr> {
    let whole =
        if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    whole.parse().map_err(|_| Failure::usage(format_args!("--listen {text:?} is not ADDRESS:PORT")))
}

struct Follower {
    clients: Vec<Client>,
    role: String,
    service: String,
    output: Output,
    counts: Arc<Counts>,
    known: Option<Target>,
    token: Option<Token>,
    trouble: Option<String>,
}

impl Follower {
    /// Until nobody wants to know any more.
    fn follow(mut self, targets: &watch::Sender<Option<Target>>) {
        while !targets.is_closed() {
            let looked = self.look().and_then(|held| Ok((held.token, self.target(&held)?)));
            let pause = match looked {
                Ok((token, (target, name))) => {
                    (self.token, self.trouble) = (token, None);
                    if target != self.known {
                        self.moved(target.as_ref(), &name);
                        self.known.clone_from(&target);
                        targets.send_replace(target);
                    }
                    LOOK_EVERY
                }
                // What was known stays so: whom to ask is gone, not who holds the role.
                Err(failure) => {
                    let told = failure.to_string();
                    if self.trouble.as_ref() != Some(&told) {
                        eprintln!("note: {told}");
                        self.trouble = Some(told);
                    }
                    LOOK_AGAIN
                }
            };
            std::thread::sleep(pause);
        }
    }

    /// What the first peer that answers says.
    fn look(&self) -> Result<Held> {
        let mut last = None;
        for client in &self.clients {
            match client.probe::<Held>(&format!("/role/{}", self.role), LOOK_MAX) {
                // A peer that is cut off knows an older grant than was known already.
                Ok(held) if held.token < self.token => {}
                Ok(held) => return Ok(held),
                Err(failure) => last = last.or(Some(failure)),
            }
        }
        Err(last.unwrap_or_else(|| {
            Failure::new(format_args!("nobody who answers knows as much of {} as was known", self.role))
        }))
    }

    /// Where that is, and what it is called.
    fn target(&self, held: &Held) -> Result<(Option<Target>, String)> {
        let Some(holder) = &held.holder else { return Ok((None, String::new())) };
        let named = || holder.services.iter().find(|service| service.name == self.service).map(|service| service.port);
        let port = self.service.parse().ok().or_else(named).ok_or_else(|| {
            Failure::new(format_args!("{} holds {} and names no service {:?}", holder.name, self.role, self.service))
                .hint("it belongs into `node.services` of its configuration, as NAME:PORT")
        })?;
        let places = holder.addresses.iter().filter_map(|address| Some((host(address)?, port))).collect();
        let words = held.token.as_ref().map_or_else(String::new, |token| format!(" ({token})"));
        Ok((Some(Target { holder: holder.node.clone(), places }), format!("{}{words}", holder.name)))
    }

    fn moved(&self, target: Option<&Target>, name: &str) {
        let connections = self.counts.read();
        let words = match target {
            Some(_) => format!(
                "{} is held by {}; {} connections are open",
                self.role,
                self.output.paint(Tone::Name, name),
                connections.open
            ),
            None => format!("nobody holds {}; {} connections are open", self.role, connections.open),
        };
        let value = json!({ "holder": target.map(|target| &target.holder), "connections": connections });
        // Whoever does not read it does not want it.
        _ = tell(self.output, "holder", &words, &value);
    }
}

/// One line, for people or for programs.
fn tell(output: Output, event: &str, words: &str, value: &serde_json::Value) -> Result {
    if output.json {
        let mut value = value.clone();
        value["event"] = event.into();
        return output.value(&value);
    }
    output.line(words)
}

/// The host of a multiaddr.
fn host(address: &str) -> Option<String> {
    let mut parts = address.split('/').skip(1);
    match (parts.next()?, parts.next()?) {
        ("ip4" | "ip6" | "dns" | "dns4" | "dns6", host) => Some(host.to_owned()),
        _ => None,
    }
}
