//! `role`: who holds which role, and moving, releasing, pausing and resuming it.

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
seconds. Exit code 1: it was not decided, or whom it was granted to did not begin, or that is not known there by then.

After `role release` the role is paused, and stays so when it is moved: `role resume` ends that.";

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
    let (target, role, what) = match &arguments.command {
        RoleCommand::List { target } => {
            let roles: Vec<Value> = Client::new(target)?.look("/v1/roles", &[])?;
            return list(&roles, output);
        }
        RoleCommand::Show { role, target } => return show(&find(&Client::new(target)?, role)?, output),
        RoleCommand::History { role, target } => {
            let client = Client::new(target)?;
            return history::tell(&find(&client, role)?, &client, output);
        }
        RoleCommand::Move { role, to, no_wait, target } => {
            let client = Client::new(target)?;
            let to = to.as_ref().map(|name| id_of(&client, name)).transpose()?;
            let told = order(&client, role, &json!({ "order": "move", "to": to }))?;
            return moved(&client, role, told, *no_wait, output);
        }
        RoleCommand::Release { role, target } => (target, role, "release"),
        RoleCommand::Pause { role, target } => (target, role, "pause"),
        RoleCommand::Resume { role, target } => (target, role, "resume"),
    };
    let told = order(&Client::new(target)?, role, &json!({ "order": what }))?;
    if output.json {
        return output.value(&told);
    }
    output.line(format_args!("it is decided, under {}", token(&told["token"])))?;
    if what == "release" {
        output.line(format_args!(
            "nobody is {role} until `role move {role}` or `role resume {role}`; it is paused, and a move leaves it so"
        ))?;
    }
    Ok(())
}

/// Has the voters' leader carry out an order, wherever it is.
fn order(client: &Client, role: &str, what: &Value) -> Result<Value> {
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let told = client.send("POST", "/v1/roles", &[], &json!({ "role": role, "what": what, "by": by }));
    told.map_err(|failure| failure.named(client))
}

/// A move is decided. That is not the end of it: whom the role was granted to may not begin.
fn moved(client: &Client, role: &str, mut told: Value, no_wait: bool, output: Output) -> Result {
    let under = token(&told["token"]);
    if no_wait {
        if output.json {
            return output.value(&told);
        }
        return output.line(format_args!(
            "it is decided, under {under}; `role show {role}` tells whether the new holder has begun, and whether it is paused still"
        ));
    }
    let now = wait::begun(client, role, &told["token"])?;
    if output.json {
        for key in ["holder", "name", "begun", "paused"] {
            told[key] = now[key].clone();
        }
        return output.value(&told);
    }
    output.line(format_args!("{} is {role}, under {under}", holder(&now)))?;
    if now["paused"] == true {
        output.line(format_args!("it is paused still: `role resume {role}` has it granted by the rules again"))?;
    }
    Ok(())
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

fn list(roles: &[Value], output: Output) -> Result {
    if output.json {
        return output.value(&roles);
    }
    if roles.is_empty() {
        return output.line("no role was granted, as far as this peer knows");
    }
    let mut table = output.table(&["ROLE", "HOLDER", "REASON", "TOKEN", "STATE"]);
    for it in roles {
        let (tone, state) = state(it);
        let reason = it["reason"].as_str().unwrap_or_default();
        let name = cell(Tone::Bold, it["role"].as_str().unwrap_or_default());
        table.add_row([
            name,
            cell(Tone::Name, holder(it)),
            cell(Tone::Dim, reason),
            number(token(&it["token"])),
            cell(tone, state),
        ]);
    }
    output.rows(&table)?;
    roles.iter().try_for_each(|it| trouble(it, output))
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
    if role["paused"] == true {
        output.line(format_args!("it is paused: nothing is done about it until `role resume {name}`"))?;
    }
    Ok(())
}
