//! `leader`, `voters` and `actions`: who decides in the mesh, and what was decided.

use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// How often `actions tail --follow` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Characters of an id that name a member at least.
const SHORT_MIN: usize = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Leader {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn leader(arguments: &Leader, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let voters: Value = client.get("/v1/voters", &[])?;
    let told: Value = client.get("/v1/leader", &[])?;
    if output.json {
        return output.value(&told);
    }
    match told["leader"].as_str() {
        Some(node) => {
            let (name, term) = (name_of(&voters, node), &told["term"]);
            output.line(format_args!(
                "{} leads, in term {term}  {}",
                output.paint(Tone::Bold, name),
                output.paint(Tone::Dim, node)
            ))
        }
        None => Err(Failure::new("nobody leads the voters, as far as this peer knows")),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Voters {
    #[command(subcommand)]
    command: VotersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum VotersCommand {
    /// Show who votes, and how many may be lost
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Have a member vote: if there is no place, in place of a voter whom nobody wants
    Add {
        /// Its name or id
        node: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take a peer's vote away, and do not choose it again
    Remove {
        /// Its name or id
        node: String,
        #[command(flatten)]
        target: Target,
    },
    /// Wish nothing about a peer any more: the rules choose again
    Clear {
        /// Its name or id
        node: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have somebody else lead
    Transfer {
        /// Its name or id; by default whoever is first in rank
        node: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn voters(arguments: &Voters, output: Output) -> Result {
    let (target, op, node) = match &arguments.command {
        VotersCommand::List { target } => return list(&Client::new(target)?.get("/v1/voters", &[])?, output),
        VotersCommand::Add { node, target } => (target, "add", Some(node)),
        VotersCommand::Remove { node, target } => (target, "remove", Some(node)),
        VotersCommand::Clear { node, target } => (target, "clear", Some(node)),
        VotersCommand::Transfer { node, target } => (target, "transfer", node.as_ref()),
    };
    let client = Client::new(target)?;
    let node = node.map(|name| id_of(&client, name)).transpose()?;
    let change = match op {
        "transfer" => json!({ "op": op, "to": node }),
        op => json!({ "op": op, "node": node }),
    };
    let told: Value = client.send("POST", "/v1/voters", &[], &change)?;
    list(&told, output)?;
    if op == "add" && !output.json {
        output.line(
            "it votes once it holds the log and was there for a while (voters.stabilization); `voters list` shows it",
        )?;
    }
    Ok(())
}

/// The id of a member by its name; an id is one, and so is its beginning or end where only one member's has it.
pub(crate) fn id_of(client: &Client, name: &str) -> Result<String> {
    let members: Vec<Value> = client.get("/v1/members", &[])?;
    let is_meant = |member: &&Value| member["node"] == name || member["name"] == name;
    let mut found: Vec<&Value> = members.iter().filter(is_meant).collect();
    if found.is_empty() && name.len() >= SHORT_MIN {
        let has = |member: &&Value| {
            member["node"].as_str().is_some_and(|node| node.starts_with(name) || node.ends_with(name))
        };
        found = members.iter().filter(has).collect();
    }
    match found[..] {
        [one] => Ok(one["node"].as_str().unwrap_or_default().to_owned()),
        // Who is gone from the members can be named by its id.
        [] if name.parse::<uuid::Uuid>().is_ok() => Ok(name.to_owned()),
        [] => Err(Failure::new(format_args!("there is no member {name:?}"))),
        _ => Err(Failure::new(format_args!(
            "{} members are called {name:?}, or have ids with it: give the whole id",
            found.len()
        ))),
    }
}

fn name_of<'a>(voters: &'a Value, node: &'a str) -> &'a str {
    let members = voters["members"].as_array().into_iter().flatten();
    let name = members.filter(|it| it["node"] == node).find_map(|it| it["name"].as_str());
    name.filter(|name| !name.is_empty()).unwrap_or(node)
}

fn list(voters: &Value, output: Output) -> Result {
    if output.json {
        return output.value(voters);
    }
    let members = voters["members"].as_array().map_or(&[][..], Vec::as_slice);
    if members.is_empty() {
        return output.line("this peer knows of no voters");
    }
    let mut table = output.table(&["NAME", "VOTE", "PRIORITY", "HOLDS", "NODE"]);
    for it in members {
        let node = it["node"].as_str().unwrap_or_default();
        let vote = match (voters["leader"] == it["node"], it["voter"] == true) {
            (true, _) => cell(Tone::Good, "leads"),
            (false, true) => cell(Tone::Name, "votes"),
            (false, false) => cell(Tone::Dim, "learns"),
        };
        let holds = it["holds"].as_u64().map_or_else(|| "-".to_owned(), |index| index.to_string());
        table.add_row([
            cell(Tone::Bold, name_of(voters, node)),
            vote,
            number(&it["priority"]),
            number(holds),
            cell(Tone::Dim, node),
        ]);
    }
    output.rows(&table)?;
    let (quorum, tolerates) = (&voters["quorum"], &voters["tolerates"]);
    output.line(format_args!("{quorum} of them decide; {tolerates} may be lost"))?;
    for (wish, what) in [("wanted", "wanted, before all others"), ("barred", "not to be chosen")] {
        for node in voters[wish].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output.line(format_args!("{what}: {}", name_of(voters, node)))?;
        }
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Actions {
    #[command(subcommand)]
    command: ActionsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ActionsCommand {
    /// Show what was decided
    Tail {
        /// Only what was decided behind this place
        #[arg(long, default_value_t)]
        after: u64,
        /// Go on as more is decided
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Have a register set
    Set {
        /// Its name
        register: String,
        /// What it is to hold; none removes it
        value: Option<String>,
        /// The request as which it was asked before
        #[arg(long)]
        request: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn actions(arguments: &Actions, output: Output) -> Result {
    match &arguments.command {
        ActionsCommand::Tail { after, follow, target } => tail(&Client::new(target)?, *after, *follow, output),
        ActionsCommand::Set { register, value, request, target } => {
            let wanted = json!({ "register": register, "value": value, "request": request });
            let made: Value = Client::new(target)?.send("POST", "/v1/actions", &[], &wanted)?;
            if output.json {
                return output.value(&made);
            }
            let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
            output.line(format_args!("{}: {}", text("token"), text("outcome")))
        }
    }
}

fn tail(client: &Client, mut after: u64, follow: bool, output: Output) -> Result {
    loop {
        let page: Value = client.get("/v1/actions", &[("after", &after.to_string())])?;
        if page["gap"] == true && !output.json {
            output.line(output.paint(Tone::Warn, format_args!("what was decided before is not kept here any more")))?;
        }
        let decisions = page["decisions"].as_array().map_or(&[][..], Vec::as_slice);
        for it in decisions {
            if output.json {
                output.value(it)?;
                continue;
            }
            let text = |key: &str| it[key].as_str().unwrap_or("-").to_owned();
            let what = match it["voters"].as_array() {
                Some(voters) => format!("{} vote from here on", voters.len()),
                None => format!("{} = {}", text("register"), text("value")),
            };
            output.line(format_args!("{:>8}  term {:<4} {what}", it["index"], it["term"]))?;
        }
        let upto = page["upto"].as_u64().unwrap_or(after);
        let more = upto > after;
        after = upto;
        if !more && !follow {
            return Ok(());
        }
        if !more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
