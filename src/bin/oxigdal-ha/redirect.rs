//! `redirect`: a TCP port that leads to whoever holds a role, or leads the voters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use oxigdal_ha::driver::redirect::{self, Carried, Config, Counts, Strategy, Target};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::backup::runtime;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

const AFTER: &str = "\
  oxigdal-ha redirect --listen 127.0.0.1:5432 --port-of db            connections there go to `db` at whoever is the primary
  oxigdal-ha redirect --listen :8080 --port-of 80 --strategy drain    to port 80; what is open when the role moves may end by itself

Roles are those of `[roles] names`; `leader` is whoever leads the voters. Of what peers say the
latest decision counts, so a holder that is cut off is followed until one of those that are asked knows the next: name peers of several places.
What must not be written twice needs the role's fencing token.

Peers say in `node.services` what there is at their host (`services = [\"db:5432\"]`); a number is a port that is the same everywhere. New connections go
to the new holder at once and wait for it while there is none. An open connection cannot be moved, only ended so that its client comes back:
immediate ends it at once, gradual within --over one after the other, drain lets it end by itself for --over at most.
Give --api several times to go on when one of the peers that are asked is down or cut off.

A role that nobody has held yet is waited for where a peer that is asked names it in `[roles] names`. What a holder's service refuses is told
on standard error once, and counted (`refused`). A holder's place that is --listen itself is never connected to.";

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
    /// Which role to follow; `leader`: whoever leads the voters
    #[arg(long, value_name = "NAME", default_value = "primary")]
    role: String,
    /// Where to listen; without a host on this machine alone
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// A service that holders name in their `node.services`, or a port
    #[arg(long, value_name = "SERVICE", value_parser = service)]
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
    /// The HTTP interfaces of peers; the first that answers is asked, the others now and then
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
/// Between two questions to the others, who may know of a later holder.
const OTHERS_EVERY: Duration = Duration::from_millis(100);
/// After a look that nobody answered.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between two notes that as many connections are open as may be.
const FULL_EVERY: Duration = Duration::from_secs(60);
/// Who takes longer to say it is not waited for: it may be the one that died.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Whom a peer follows.
#[derive(Debug, Deserialize)]
struct Led {
    leader: Option<String>,
    epoch: u64,
    term: u64,
}

#[derive(Debug, Deserialize)]
struct Member {
    node: String,
    name: String,
    addresses: Vec<String>,
    #[serde(default)]
    services: Vec<Service>,
}

/// What a peer knows of a role.
#[derive(Debug, Deserialize)]
struct Held {
    role: String,
    holder: Option<String>,
    token: Token,
    /// Whether the holder has begun: its promotion hooks are done. Where the peer that was asked does not know, another one may, and all know
    /// as soon as it is written down.
    begun: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Token {
    epoch: u64,
    term: u64,
    index: u64,
}

/// Epoch, term and, of roles, the place of the decision: of two answers the one with the higher is the later.
type Since = (u64, u64, u64);

/// What was asked for.
struct Found {
    since: Since,
    place: Place,
    begun: bool,
    /// What its holder is called.
    name: String,
}

/// Where a role is.
enum Place {
    At(Target),
    /// Its holder gave it up.
    Nowhere,
    /// Voters seek a leader.
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    port: u16,
}

/// A service's name, or a port that there can be.
fn service(text: &str) -> std::result::Result<String, String> {
    match text.parse::<u64>() {
        Ok(port) if !(1..=u64::from(u16::MAX)).contains(&port) => {
            Err(format!("{text} is no port: they go from 1 to {}", u16::MAX))
        }
        _ if text.is_empty() => Err("a service has a name, or is a port".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let address = place(&arguments.listen)?;
    let clients =
        arguments.api.iter().map(|api| Client::new(&crate::args::Target { api: api.clone(), token_file: None }));
    let clients: Arc<[Client]> = clients.collect::<Result<_>>()?;
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
    let heard = Arc::new(Mutex::new((0, 0, 0)));
    let others = Others { clients: clients.clone(), role: arguments.role.clone(), heard: Arc::downgrade(&heard) };
    let follower = Follower {
        clients,
        heard,
        role: arguments.role.clone(),
        service: arguments.port_of.clone(),
        output,
        counts: Arc::clone(&counts),
        known: None,
        name: String::new(),
        since: (0, 0, 0),
        trouble: None,
        notes: Notes { connections_max: arguments.connections_max, refused: None, full: None, filled: 0 },
    };
    follower.check()?;
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
        std::thread::spawn(move || others.listen());
        std::thread::spawn(move || follower.follow(&sender));
        redirect::serve(listener, receiver, config, Arc::clone(&counts), stopped()?).await.map_err(failed)
    })?;
    let Carried { accepted, moved, drained, unserved, refused, .. } = counts.read();
    let words = format!(
        "stopped: {accepted} connections, {moved} moved, {drained} drained, {unserved} without a holder, {refused} refused by a holder's service"
    );
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

/// Not a role, but whoever leads the voters.
const LEADER: &str = "leader";

/// Who holds the role, as this peer knows it, by which decision, and whether it has begun.
fn held(client: &Client, role: &str) -> Result<(Option<String>, Since, bool)> {
    if role == LEADER {
        let Led { leader, epoch, term } = client.probe("/v1/leader", LOOK_MAX)?;
        return Ok((leader, (epoch, term, 0), true));
    }
    let roles: Vec<Held> = client.probe("/v1/roles", LOOK_MAX)?;
    let held = roles.into_iter().find(|held| held.role == role).ok_or_else(|| {
        Failure::not_found(format_args!("nobody was granted the role {role:?}, as far as this peer knows"))
            .hint("roles are named in `[roles] names` of the configuration; `oxigdal-ha role list` shows them")
    })?;
    let Token { epoch, term, index } = held.token;
    let begun = held.holder.is_none() || held.begun == Some(true);
    Ok((held.holder, (epoch, term, index), begun))
}

/// Asks all peers in turn. The one that is followed may be cut off, with a holder that is no longer it; and one that is dead must not hold
/// up the looks at the others.
struct Others {
    clients: Arc<[Client]>,
    role: String,
    heard: Weak<Mutex<Since>>,
}

impl Others {
    /// Until nobody wants to know any more.
    fn listen(self) {
        for client in self.clients.iter().cycle() {
            let since = held(client, &self.role).map_or_else(|_| Since::default(), |(_, since, _)| since);
            let Some(heard) = self.heard.upgrade() else { return };
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            *heard = since.max(*heard);
            drop(heard);
            std::thread::sleep(OTHERS_EVERY);
        }
    }
}

struct Follower {
    clients: Arc<[Client]>,
    /// The latest decision that any of them knows.
    heard: Arc<Mutex<Since>>,
    role: String,
    service: String,
    output: Output,
    counts: Arc<Counts>,
    known: Option<Target>,
    /// What the holder is called that was known last.
    name: String,
    since: Since,
    trouble: Option<String>,
    notes: Notes,
}

/// What is told to people as it comes up, once.
struct Notes {
    connections_max: u32,
    /// The holder of which it is told that it takes nothing.
    refused: Option<String>,
    /// When it was told last that no more connections are accepted.
    full: Option<Instant>,
    filled: u64,
}

impl Notes {
    /// Looks what there is to tell.
    fn look(&mut self, counts: &Counts, role: &str, (holder, name): (Option<&str>, &str)) {
        // Another holder may have taken over since it was tried.
        let trouble = counts.trouble().filter(|trouble| Some(&*trouble.holder) == holder);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.refused.as_ref() != Some(&trouble.holder)) {
            eprintln!("note: {name} is {role}, but {}", trouble.why);
        }
        self.refused = trouble.map(|trouble| trouble.holder);
        let filled = counts.filled();
        if filled > self.filled && self.full.is_none_or(|told| told.elapsed() >= FULL_EVERY) {
            self.full = Some(Instant::now());
            eprintln!(
                "note: {} connections are open, and no more are accepted until one ends (--connections-max)",
                self.connections_max
            );
        }
        self.filled = filled;
    }
}

impl Follower {
    /// Asks once, before anything listens: a role or a service that there is not is told at once. Peers that are not there yet may come, and a role
    /// that one of them has configured will be granted.
    fn check(&self) -> Result {
        match self.look() {
            Err(failure) if failure.is_kind("not_found") && self.is_configured() => Ok(()),
            Err(failure) if !failure.is_passing() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Whether a peer that is asked names the role in its configuration.
    fn is_configured(&self) -> bool {
        self.clients.iter().any(|client| {
            let status: Value = client.look("/v1/status", &[]).unwrap_or_default();
            let names = status.pointer("/host/roles/names").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|name| *name == self.role.as_str()))
        })
    }

    /// Until nobody wants to know any more.
    fn follow(mut self, targets: &watch::Sender<Option<Target>>) {
        while !targets.is_closed() {
            let pause = match self.look() {
                Ok(found) => {
                    (self.since, self.trouble) = (found.since, None);
                    self.take(targets, found);
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
            let holder = self.known.as_ref().map(|target| &*target.holder);
            self.notes.look(&self.counts, &self.role, (holder, &self.name));
            std::thread::sleep(pause);
        }
    }

    /// Has connections led to where the role is now.
    fn take(&mut self, targets: &watch::Sender<Option<Target>>, found: Found) {
        let target = match found.place {
            Place::At(target) => Some(target),
            Place::Nowhere => None,
            // The old one may well be it again: nothing is ended for that.
            Place::Unknown => return,
        };
        if self.known == target {
            return;
        }
        match &target {
            Some(target) => {
                self.moved(target, &found.name);
                self.name = found.name;
            }
            None if found.name.is_empty() => {
                _ = tell(self.output, "vacant", &format!("nobody is {}", self.role), &json!({ "holder": null }));
            }
            None => {
                let words = format!("{} was granted {}, and has not begun", found.name, self.role);
                _ = tell(self.output, "vacant", &words, &json!({ "holder": null, "granted": found.name }));
            }
        }
        self.known.clone_from(&target);
        targets.send_replace(target);
    }

    /// What the first peer says that knows at least as much as was known, and whether the holder has begun; if none knows that, the first.
    fn look(&self) -> Result<Found> {
        let (mut last, known) = (None, self.since.max(*self.heard.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut unsure: Option<Found> = None;
        for client in self.clients.iter() {
            match self.ask(client) {
                // A peer that is cut off knows an older holder.
                Ok(found) if found.since < known.max(unsure.as_ref().map_or(known, |it| it.since)) => {}
                Ok(found) if found.begun => return Ok(found),
                Ok(found) if unsure.as_ref().is_none_or(|it| it.since < found.since) => unsure = Some(found),
                Ok(_) => {}
                Err(failure) => last = last.or(Some(failure)),
            }
        }
        match unsure {
            // Nobody is led to a holder that has not begun.
            Some(found) => Ok(Found { place: Place::Nowhere, ..found }),
            None => Err(last.unwrap_or_else(|| Failure::new("nobody who answers knows as late a holder as was known"))),
        }
    }

    fn ask(&self, client: &Client) -> Result<Found> {
        let (holder, since, begun) = held(client, &self.role)?;
        let nobody = if self.role == LEADER { Place::Unknown } else { Place::Nowhere };
        self.find(client, holder, (since, begun), nobody)
    }

    /// Where the holder's service is.
    fn find(
        &self,
        client: &Client,
        holder: Option<String>,
        (since, begun): (Since, bool),
        nobody: Place,
    ) -> Result<Found> {
        let Some(holder) = holder else { return Ok(Found { since, place: nobody, begun, name: String::new() }) };
        if since <= self.since
            && let Some(known) = self.known.as_ref().filter(|known| known.holder == holder)
        {
            // It was led there already: whether it has begun is no question any more.
            return Ok(Found { since, place: Place::At(known.clone()), begun: true, name: String::new() });
        }
        let members: Vec<Member> = client.probe("/v1/members", LOOK_MAX)?;
        let unknown = || Failure::new(format_args!("{holder} is {}, and no member that is known here", self.role));
        let member = members.into_iter().find(|member| member.node == holder).ok_or_else(unknown)?;
        let named = || member.services.iter().find(|service| service.name == self.service).map(|service| service.port);
        let port = self.service.parse().ok().or_else(named).ok_or_else(|| {
            Failure::new(format_args!("{} is {} and names no service {:?}", member.name, self.role, self.service))
                .hint("it belongs into `node.services` of its configuration, as NAME:PORT")
        })?;
        let places = member.addresses.iter().filter_map(|address| Some((host(address)?, port))).collect();
        Ok(Found { since, place: Place::At(Target { holder, places }), begun, name: member.name })
    }

    fn moved(&self, target: &Target, name: &str) {
        let connections = self.counts.read();
        let name = self.output.paint(Tone::Name, name);
        let words = format!("{name} is {}; {} connections are open", self.role, connections.open);
        let value = json!({ "holder": target.holder, "connections": connections });
        // Whoever does not read it does not want it.
        _ = tell(self.output, "holder", &words, &value);
    }
}

/// One line, for people or for programs.
fn tell(output: Output, event: &str, words: &str, value: &Value) -> Result {
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
