//! `role`: who holds which role, and moving, releasing, pausing and resuming it.

mod failback;
mod history;
mod wait;

use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::decisions::{id_of, token};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

#[derive(Debug, clap::Args)]
pub(crate) struct Role {
    #[command(subcommand)]
    command: RoleCommand,
}

const MOVE: &str = "\
The order may be given at any peer. It is waited for as long as hooks that begin the work may run (`roles.promote-limit-ms` of the asked peer), and five \
seconds. Exit code 1: it was not decided, or whom it was granted to did not begin, or that is not known there by then. Where the asked peer is gone for \
five seconds meanwhile the exit code is 3, and the hint says what is decided, under which token, and what to ask another peer.

Where `roles.failback-after` is set, a peer of higher priority takes the role back after that time: `role pause` keeps it where it is.

After `role release` the role is paused, and stays so when it is moved: `role resume` ends that.

Any peer that may hold a role is given it, also one whose own `[roles] names` lack it. Which hooks run there is of that peer's own configuration.";

#[derive(Debug, clap::Subcommand)]
enum RoleCommand {
    /// Show all roles and who holds them
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Show one role
    Show {
        /// Its name
        role: String,
        #[command(flatten)]
        target: Target,
    },
    /// Give a role to a peer, or to the best of the others, and wait until that one has begun
    #[command(after_help = MOVE)]
    Move {
        /// Its name
        role: String,
        /// To whom, by name or id
        to: Option<String>,
        /// Do not wait until the new holder has begun
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Take a role from its holder, and pause it: nobody has it until it is moved or resumed. A move alone leaves it paused
    Release {
        /// Its name
        role: String,
        #[command(flatten)]
        target: Target,
    },
    /// Leave a role where it is, whatever happens to its holder
    Pause {
        /// Its name
        role: String,
        #[command(flatten)]
        target: Target,
    },
    /// Grant it by the rules again, after a pause, a release, or as many promotions as there may be
    Resume {
        /// Its name
        role: String,
        #[command(flatten)]
        target: Target,
    },
    /// Show who held a role, and why
    History {
        /// Its name
        role: String,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn role(arguments: &Role, output: Output) -> Result {
    match &arguments.command {
        RoleCommand::List { target } => {
            let roles: Vec<Value> = Client::new(target)?.look("/v1/roles", &[])?;
            list(&roles, output)
        }
        RoleCommand::Show { role, target } => show(&find(&Client::new(target)?, role)?, output),
        RoleCommand::History { role, target } => {
            let client = Client::new(target)?;
            history::tell(&find(&client, role)?, &client, output)
        }
        RoleCommand::Move { role, to, no_wait, target } => {
            let client = Client::new(target)?;
            let to = to.as_ref().map(|name| id_of(&client, name)).transpose()?;
            // How long hooks may run: when the order is decided this peer may be gone.
            let before = find(&client, role).unwrap_or_default();
            let failback = |holder: &Value| failback::by(&client, role, holder);
            let told = match order(&client, role, &json!({ "order": "move", "to": to })) {
                Ok(told) => told,
                Err(failure) => already(&client, role, to.as_deref(), failure)?,
            };
            match no_wait {
                true => ordered(role, told, &failback(&to.into()), output),
                false => moved(role, wait::begun(&client, role, &told["token"], &before)?, told, &failback, output),
            }
        }
        RoleCommand::Pause { role, target } => pause(&Client::new(target)?, role, output),
        RoleCommand::Resume { role, target } => resume(&Client::new(target)?, role, output),
        RoleCommand::Release { role, target } => release(&Client::new(target)?, role, output),
    }
}

fn decided(told: &Value, output: Output) -> Result {
    output.line(format_args!("it is decided, under {}", token(&told["token"])))
}

/// What is paused is not paused again, and that is what was wanted.
fn pause(client: &Client, role: &str, output: Output) -> Result {
    let told = match order(client, role, &json!({ "order": "pause" })) {
        Ok(told) => told,
        Err(failure) if is_so(client, role, &failure, |now| now["paused"] == true) => {
            json!({ "role": role, "paused": true, "already": true })
        }
        Err(failure) => return Err(failure),
    };
    match (output.json, told["already"] == true) {
        (true, _) => output.value(&told),
        (false, true) => output.line(format_args!("{role} is paused already; `role resume {role}` ends that")),
        (false, false) => decided(&told, output),
    }
}

/// What nobody holds, and nobody is to hold, is released.
fn release(client: &Client, role: &str, output: Output) -> Result {
    let is_released = |now: &Value| now["paused"] == true && now["holder"].is_null();
    let told = match order(client, role, &json!({ "order": "release" })) {
        Ok(told) => told,
        Err(failure) if is_so(client, role, &failure, is_released) => {
            json!({ "role": role, "paused": true, "holder": null, "already": true })
        }
        Err(failure) => return Err(failure),
    };
    if output.json {
        return output.value(&told);
    }
    if told["already"] == true {
        output.line(format_args!("{role} is released already"))?;
    } else {
        decided(&told, output)?;
    }
    output.line(format_args!(
        "nobody is {role} until `role move {role}` or `role resume {role}`; it is paused, and a move leaves it so"
    ))
}

fn is_already(failure: &Failure) -> bool {
    failure.to_string().contains("it is so already")
}

/// Whether an order was refused because there is nothing to do. Whoever decides says so: what this peer knows may be of before.
fn is_so(client: &Client, role: &str, failure: &Failure, wanted: impl Fn(&Value) -> bool) -> bool {
    let is_known = || find(client, role).is_ok_and(|now| wanted(&now));
    !failure.is_passing() && (is_already(failure) || is_known())
}

/// Also where it was not paused there is something to decide: promotions count anew.
fn resume(client: &Client, role: &str, output: Output) -> Result {
    let was_free = find(client, role).is_ok_and(|before| before["paused"] == false);
    let mut told = order(client, role, &json!({ "order": "resume" }))?;
    if output.json {
        told["already"] = was_free.into();
        return output.value(&told);
    }
    if !was_free {
        return decided(&told, output);
    }
    output.line(format_args!(
        "{role} was not paused; that promotions are counted anew for their limit is decided, under {}",
        token(&told["token"])
    ))
}

/// Has the voters' leader carry out an order, wherever it is.
fn order(client: &Client, role: &str, what: &Value) -> Result<Value> {
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let told = client.send("POST", "/v1/roles", &[], &json!({ "role": role, "what": what, "by": by }));
    told.map_err(|failure: Failure| match failure.is_unknown() {
        true => failure.hint(format!(
            "it may be decided all the same: another peer knows, `oxigdal-ha role show {role} --api HOST:PORT`"
        )),
        false => failure.named(client),
    })
}

/// Who is asked to take a role holds it: what an order whose answer was lost meets when it is given again.
fn already(client: &Client, role: &str, to: Option<&str>, failure: Failure) -> Result<Value> {
    let is_held = |now: &Value| to.is_some() && now["holder"].as_str() == to;
    match find(client, role) {
        Ok(now) if is_already(&failure) && is_held(&now) => {
            Ok(json!({ "role": role, "token": now["token"], "already": true }))
        }
        _ => Err(failure),
    }
}

/// A move is decided, and whoever ordered it does not wait for more.
fn ordered(role: &str, mut told: Value, failback: &Value, output: Output) -> Result {
    if output.json {
        told["failback"] = failback.clone();
        return output.value(&told);
    }
    output.line(format_args!(
        "it is decided, under {}; `role show {role}` tells whether the new holder has begun, and whether it is paused still",
        token(&told["token"])
    ))?;
    failback::tell(role, failback, output)
}

/// A move is decided, and whom the role was granted to has begun.
fn moved(role: &str, now: Value, mut told: Value, failback: &dyn Fn(&Value) -> Value, output: Output) -> Result {
    let is_paused = now["paused"] == true;
    let failback = if is_paused { Value::Null } else { failback(&now["holder"]) };
    if output.json {
        for key in ["holder", "name", "begun", "paused"] {
            told[key] = now[key].clone();
        }
        told["failback"] = failback;
        return output.value(&told);
    }
    output.line(format_args!("{} is {role}, under {}", holder(&now), token(&told["token"])))?;
    if is_paused {
        output.line(format_args!("it is paused still: `role resume {role}` has it granted by the rules again"))?;
    }
    failback::tell(role, &failback, output)
}

/// A role, or why nobody has it.
fn find(client: &Client, role: &str) -> Result<Value> {
    let roles: Vec<Value> = client.look("/v1/roles", &[])?;
    if let Some(found) = roles.into_iter().find(|it| it["role"] == role) {
        return Ok(found);
    }
    let status: Value = client.look("/v1/status", &[])?;
    let vacancy = status["vacancies"].as_array().into_iter().flatten().find(|it| it["role"] == role);
    let words = format!("nobody was granted the role {role:?}, as far as this peer knows");
    let why = vacancy.and_then(|it| it["why"].as_str()).unwrap_or(&words);
    let failure = Failure::not_found(why);
    Err(match vacancy.and_then(|it| it["cure"].as_str()) {
        Some(cure) => failure.hint(cure),
        None => failure,
    })
}

fn holder(role: &Value) -> &str {
    let name = role["name"].as_str().filter(|name| !name.is_empty());
    name.or_else(|| role["holder"].as_str()).unwrap_or("nobody")
}

/// Where a role stands, in a word, and how that is to be seen.
fn state(role: &Value) -> (Tone, String) {
    let vacancy = role["vacancy"]["code"].as_str().map(|code| code.replace('_', " "));
    match (vacancy, role["paused"] == true, role["state"].as_str()) {
        (Some(code), ..) => (Tone::Bad, code),
        (None, true, _) => (Tone::Warn, "paused".to_owned()),
        (None, false, Some("normal" | "complete")) => (Tone::Good, "normal".to_owned()),
        (None, false, Some(state)) => (Tone::Warn, state.to_owned()),
        (None, false, None) => (Tone::Dim, "-".to_owned()),
    }
}

/// Why nobody acts, and what to do.
fn trouble(role: &Value, output: Output) -> Result {
    let Some(why) = role["vacancy"]["why"].as_str() else { return Ok(()) };
    let cure = role["vacancy"]["cure"].as_str().unwrap_or_default();
    output.line(format_args!("{} {why}\n  {}", output.paint(Tone::Bad, "!"), output.paint(Tone::Dim, cure)))
}

/// That nothing is done about a role, and what ends that.
fn paused(role: &Value, output: Output) -> Result {
    if role["paused"] != true {
        return Ok(());
    }
    let name = role["role"].as_str().unwrap_or_default();
    output.line(format_args!("{name} is paused: nothing is done about it until `role resume {name}`"))
}

fn list(roles: &[Value], output: Output) -> Result {
    if output.json {
        return output.value(&roles);
    }
    if roles.is_empty() {
        return output.line("no role was granted, as far as this peer knows");
    }
    let mut table = output.table(&["ROLE", "HOLDER", "TOKEN", "STATE", "BECAUSE"]);
    for it in roles {
        let (tone, state) = state(it);
        let reason = it["reason"].as_str().unwrap_or_default();
        let name = cell(Tone::Bold, it["role"].as_str().unwrap_or_default());
        table.add_row([
            name,
            cell(Tone::Name, holder(it)),
            number(token(&it["token"])),
            cell(tone, state),
            cell(Tone::Dim, history::briefly(reason)),
        ]);
    }
    output.rows(&table)?;
    roles.iter().try_for_each(|it| trouble(it, output).and_then(|()| paused(it, output)))
}

fn show(role: &Value, output: Output) -> Result {
    if output.json {
        return output.value(role);
    }
    let name = role["role"].as_str().unwrap_or_default();
    output.line(format_args!(
        "{} is held by {}, under {}, since {}",
        output.paint(Tone::Bold, name),
        holder(role),
        token(&role["token"]),
        history::stamp(&role["since"])
    ))?;
    let by = crate::decisions::plain(role["by"].as_str().unwrap_or_default());
    output
        .line(format_args!("because of: {}, by {by}", history::reason(role["reason"].as_str().unwrap_or_default())))?;
    let (tone, state) = state(role);
    let state = if state == "-" { "known to the voters' leader only" } else { &*state };
    let lease = match role["lease"].as_str() {
        Some("runs") => "; its lease runs",
        Some("over") => "; its lease is over",
        Some(_) => "; it has no lease yet",
        None => "",
    };
    output.line(format_args!("state: {}{lease}", output.paint(tone, state)))?;
    if let Some(all) = history::figures(&role["statistics"]) {
        output.line(format_args!("changes of holder, failovers and planned moves together: {all}"))?;
    }
    trouble(role, output)?;
    paused(role, output)
}
