//! `role`: who holds which role, and moving, releasing, pausing and resuming it.

use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::decisions::id_of;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, millis, number};

#[derive(Debug, clap::Args)]
pub(crate) struct Role {
    #[command(subcommand)]
    command: RoleCommand,
}

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
    /// Give a role to a peer, or to the best of the others; asked at the leader
    Move {
        /// Its name
        role: String,
        /// To whom, by name or id
        to: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take a role from its holder; nobody has it until it is moved or resumed
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
    /// Grant it by the rules again
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
    let (target, role, what, to) = match &arguments.command {
        RoleCommand::List { target } => {
            let roles: Vec<Value> = Client::new(target)?.get("/v1/roles", &[])?;
            return list(&roles, output);
        }
        RoleCommand::Show { role, target } => return show(&find(target, role)?, output),
        RoleCommand::History { role, target } => return history(&find(target, role)?, output),
        RoleCommand::Move { role, to, target } => (target, role, "move", to.as_ref()),
        RoleCommand::Release { role, target } => (target, role, "release", None),
        RoleCommand::Pause { role, target } => (target, role, "pause", None),
        RoleCommand::Resume { role, target } => (target, role, "resume", None),
    };
    let client = Client::new(target)?;
    let to = to.map(|name| id_of(&client, name)).transpose()?;
    let what = if what == "move" { json!({ "order": what, "to": to }) } else { json!({ "order": what }) };
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let told: Value = client.send("POST", "/v1/roles", &[], &json!({ "role": role, "what": what, "by": by }))?;
    if output.json {
        return output.value(&told);
    }
    output.line(format_args!("it is decided, under {}", token(&told["token"])))
}

fn find(target: &Target, role: &str) -> Result<Value> {
    let roles: Vec<Value> = Client::new(target)?.get("/v1/roles", &[])?;
    let found = roles.into_iter().find(|it| it["role"] == role);
    found.ok_or_else(|| Failure::new(format_args!("nobody was granted the role {role:?}, as far as this peer knows")))
}

fn token(token: &Value) -> String {
    let part = |name: &str| token[name].as_u64().unwrap_or_default();
    format!("{}.{}.{}", part("epoch"), part("term"), part("index"))
}

fn holder(role: &Value) -> &str {
    let name = role["name"].as_str().filter(|name| !name.is_empty());
    name.or_else(|| role["holder"].as_str()).unwrap_or("nobody")
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
        let state = match (it["paused"] == true, it["state"].as_str()) {
            (true, _) => cell(Tone::Warn, "paused"),
            (false, Some("normal" | "complete")) => cell(Tone::Good, "normal"),
            (false, Some(state)) => cell(Tone::Warn, state),
            (false, None) => cell(Tone::Dim, "-"),
        };
        let reason = it["reason"].as_str().unwrap_or_default();
        let name = cell(Tone::Bold, it["role"].as_str().unwrap_or_default());
        table.add_row([
            name,
            cell(Tone::Name, holder(it)),
            cell(Tone::Dim, reason),
            number(token(&it["token"])),
            state,
        ]);
    }
    output.rows(&table)
}

fn show(role: &Value, output: Output) -> Result {
    if output.json {
        return output.value(role);
    }
    let name = role["role"].as_str().unwrap_or_default();
    output.line(format_args!(
        "{} is held by {}, under {}",
        output.paint(Tone::Bold, name),
        holder(role),
        token(&role["token"])
    ))?;
    output.line(format_args!(
        "because of: {}, by {}",
        role["reason"].as_str().unwrap_or_default(),
        role["by"].as_str().unwrap_or_default()
    ))?;
    let statistics = &role["statistics"];
    let ms = |name: &str| millis(statistics[name].as_u64().unwrap_or_default() / 1_000);
    if statistics["count"].as_u64().unwrap_or_default() > 0 {
        let count = &statistics["count"];
        output.line(format_args!(
            "{count} failovers: the last took {}, {} to {}",
            ms("last_us"),
            ms("min_us"),
            ms("max_us")
        ))?;
    }
    if role["paused"] == true { output.line("it is paused: nothing is done about it") } else { Ok(()) }
}

fn history(role: &Value, output: Output) -> Result {
    if output.json {
        return output.value(&role["history"]);
    }
    let mut table = output.table(&["TOKEN", "REASON", "BY", "HOLDER"]);
    for it in role["history"].as_array().into_iter().flatten() {
        let (reason, by) = (it["turn"]["reason"].as_str(), it["turn"]["by"].as_str());
        let who = it["holder"].as_str().unwrap_or("nobody");
        let reason = cell(Tone::Bold, reason.unwrap_or_default());
        table.add_row([
            number(token(&it["token"])),
            reason,
            cell(Tone::Name, by.unwrap_or_default()),
            cell(Tone::Dim, who),
        ]);
    }
    output.rows(&table)
}
