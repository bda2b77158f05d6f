//! `leader`, `voters` and `actions`: who decides in the mesh, and what was decided.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// How often `actions tail --follow` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For so long, and so often, it is looked who leads after the lead was to be handed over. `leader` tells it later, too.
const HANDED_WITHIN: Duration = Duration::from_secs(3);
const HANDED_EVERY: Duration = Duration::from_millis(50);

/// Characters of an id that name a member at least.
const SHORT_MIN: usize = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Leader {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn leader(arguments: &Leader, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let voters: Value = client.look("/v1/voters", &[])?;
    let told: Value = client.look("/v1/leader", &[])?;
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
        None if told["standing"] == "halted" => {
            let words = "who leads the voters this peer does not know: its disk takes no writes, and it votes no more";
            Err(Failure::not_found(words).hint("ask another peer; `status` says what its disk lacks"))
        }
        None => Err(Failure::not_found("nobody leads the voters, as far as this peer knows")),
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
    /// Have somebody else lead; asked at the leader's own --api, see `leader`
    Transfer {
        /// Its name or id; by default whoever is first in rank
        node: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) fn voters(arguments: &Voters, output: Output) -> Result {
    let (target, op, node) = match &arguments.command {
        VotersCommand::List { target } => {
            let client = Client::new(target)?;
            return list(&client.look("/v1/voters", &[])?, &client, output);
        }
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
    let told = client.send("POST", "/v1/voters", &[], &change);
    let told: Value =
        told.map_err(|failure| if op == "transfer" { elsewhere(failure) } else { failure.named(&client) })?;
    if op == "transfer" {
        return transferred(told, node.as_deref(), &client, output);
    }
    list(&told, &client, output)?;
    if op == "add" && !output.json {
        output.line(
            "it votes once it holds the log and was there for a while (voters.stabilization); `voters list` shows it",
        )?;
    }
    Ok(())
}

/// Who leads once the lead was handed over, as far as that is seen in time.
fn transferred(told: Value, to: Option<&str>, client: &Client, output: Output) -> Result {
    let was = told["leader"].clone();
    let is_already = to.is_some() && was.as_str() == to;
    let now = if is_already { told } else { handed_over(client, &was).unwrap_or(told) };
    let leads = now["leader"].as_str().filter(|leads| was != **leads);
    let is_done = leads.is_some() && (to.is_none() || leads == to);
    if output.json {
        let mut value = now.clone();
        value["to"] = to.or(leads).into();
        value["handed_over"] = is_done.into();
        if is_already {
            value["already"] = true.into();
        }
        return output.value(&value);
    }
    list(&now, client, output)?;
    match (is_already, leads, to) {
        (true, ..) => output.line(format_args!("{} leads already", name_of(&now, to.unwrap_or_default()))),
        (false, Some(leads), _) if is_done => {
            output.line(format_args!("the lead is handed over: {} leads", name_of(&now, leads)))
        }
        (false, _, Some(to)) => output.line(format_args!(
            "the lead is being handed over to {}; `leader` shows whether it has it",
            name_of(&now, to)
        )),
        (false, _, None) => output.line("the lead is being handed over; `leader` shows to whom"),
    }
}

/// The voters as the asked peer knows them when another one leads.
fn handed_over(client: &Client, was: &Value) -> Option<Value> {
    let begun = Instant::now();
    while begun.elapsed() < HANDED_WITHIN {
        let seen: Option<Value> = client.look("/v1/voters", &[]).ok();
        if let Some(now) = seen.filter(|now| now["leader"].is_string() && now["leader"] != *was) {
            return Some(now);
        }
        std::thread::sleep(HANDED_EVERY);
    }
    None
}

/// Only who leads can hand the lead over: a peer that does not says who does. Interfaces of other peers are not known to any.
fn elsewhere(failure: Failure) -> Failure {
    if !failure.is_kind("not_leader") {
        return failure;
    }
    let leader = failure.datum("leader");
    let name = leader["name"].as_str().filter(|name| !name.is_empty()).or_else(|| leader["node"].as_str());
    let Some(name) = name else {
        return failure.saying("nobody leads the voters, as far as this peer knows").hint("try again shortly");
    };
    let words = format!("{name} leads the voters, and only it can hand the lead over");
    let hint = format!("ask there: the same command with the --api and --token-file of {name}");
    failure.saying(words).hint(hint)
}

impl Failure {
    /// With members called by their names; where they cannot be had, the ids stay.
    pub(crate) fn named(self, client: &Client) -> Self {
        let members: Vec<Value> = client.look("/v1/members", &[]).unwrap_or_default();
        self.naming(&members)
    }
}

/// The id of a member by its name; an id is one, and so is its beginning or end where only one member's has it.
pub(crate) fn id_of(client: &Client, name: &str) -> Result<String> {
    let members: Vec<Value> = client.look("/v1/members", &[])?;
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
        [] => Err(Failure::not_found(format_args!("there is no member {name:?}"))),
        _ => Err(Failure::usage(format_args!(
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

/// Who is wanted or not to be chosen, by name: most of those who are not to be chosen are no voters, nor learners.
fn wishes(voters: &Value, known: &[Value]) -> Vec<String> {
    let mut told = Vec::new();
    for (wish, what) in [("wanted", "wanted, before all others"), ("barred", "not to be chosen")] {
        for node in voters[wish].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let member = known.iter().find(|it| it["node"] == node).and_then(|it| it["name"].as_str());
            let name = member.filter(|name| !name.is_empty()).unwrap_or_else(|| name_of(voters, node));
            told.push(format!("{what}: {name}"));
        }
    }
    told
}

fn list(voters: &Value, client: &Client, output: Output) -> Result {
    if output.json {
        return output.value(voters);
    }
    let members = voters["members"].as_array().map_or(&[][..], Vec::as_slice);
    if members.is_empty() {
        return output.line("this peer knows of no voters");
    }
    let mut table = output.table(&["NAME", "VOTE", "THERE", "PRIORITY", "HOLDS", "NODE"]);
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
            match standing(it) {
                "yes" => cell(Tone::Good, "yes"),
                other => cell(Tone::Bad, other),
            },
            number(priority(it)),
            number(holds),
            cell(Tone::Dim, node),
        ]);
    }
    output.rows(&table)?;
    output.line(losses(voters))?;
    let is_wished = |key: &str| voters[key].as_array().is_some_and(|wishes| !wishes.is_empty());
    let asks = is_wished("wanted") || is_wished("barred");
    let known: Vec<Value> = if asks { client.look("/v1/members", &[]).unwrap_or_default() } else { Vec::new() };
    wishes(voters, &known).iter().try_for_each(|wish| output.line(wish))
}

/// What a voter or learner wishes, and as what it is elected where that is something else: the voters keep what it was when it joined them.
/// They have room for 255, so of who is no member that may be more.
fn priority(member: &Value) -> String {
    let wish = member["priority"].as_u64().unwrap_or_default();
    match member["ranks_as"].as_u64() {
        Some(255) if member["state"].is_null() => "255 or more".to_owned(),
        Some(kept) if kept != wish.min(255) => format!("{wish} (elected as {kept})"),
        _ => wish.to_string(),
    }
}

/// How a voter or learner stands, as the asked peer sees it.
fn standing(member: &Value) -> &str {
    match (member["there"] == true, member["state"].as_str()) {
        (true, _) => "yes",
        (false, Some("alive")) => "unlinked",
        (false, Some(state)) => state,
        (false, None) => "unknown",
    }
}

/// How many may be lost, of all voters and of those that are there.
fn losses(voters: &Value) -> String {
    let count = |key: &str| voters[key].as_u64().unwrap_or_default();
    let (quorum, tolerates) = (count("quorum"), count("tolerates"));
    let members = voters["members"].as_array().map_or(&[][..], Vec::as_slice);
    let votes: Vec<&Value> = members.iter().filter(|it| it["voter"] == true).collect();
    let name = |it: &&&Value| name_of(voters, it["node"].as_str().unwrap_or_default()).to_owned();
    let away: Vec<String> = votes.iter().filter(|it| it["there"] != true).map(|it| name(&it)).collect();
    let words = format!("{quorum} of {} voters decide; {tolerates} may be lost", votes.len());
    if away.is_empty() {
        return words;
    }
    let left = match (count("there") >= quorum, count("tolerates_now")) {
        (false, _) => "nothing can be decided as this peer sees it".to_owned(),
        (true, 0) => "none of those that are left may be lost".to_owned(),
        (true, more) => format!("{more} of those that are left may be lost"),
    };
    format!("{words}. Not there: {}: {left}", away.join(", "))
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
            let client = Client::new(target)?;
            let made = client.send("POST", "/v1/actions", &[], &wanted);
            let made: Value = made.map_err(|failure| failure.named(&client))?;
            if output.json {
                return output.value(&made);
            }
            let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
            output.line(format_args!("{}: {}", text("token"), text("outcome")))
        }
    }
}

/// What a decision says, in one line: nobody who has something decided writes other lines here, or what a terminal obeys.
fn decided(decision: &Value) -> String {
    if let Some(voters) = decision["voters"].as_array() {
        return format!("{} vote from here on", voters.len());
    }
    let register = plain(decision["register"].as_str().unwrap_or_default());
    let grant = &decision["grant"];
    if grant.is_object() {
        let text = |key: &str| plain(grant[key].as_str().unwrap_or_default());
        let who = grant["name"].as_str().map_or_else(|| "nobody".to_owned(), plain);
        let paused = if grant["paused"] == true { "; paused" } else { "" };
        let what = if grant["goes_on"] == true { "goes on" } else { &*text("reason") };
        return format!("{register} = {who} ({what}, by {}{paused})", text("by"));
    }
    match (decision["value"].as_str(), decision["bytes"].as_u64()) {
        (Some(value), _) => format!("{register} = {}", plain(value)),
        (None, Some(bytes)) => format!("{register} = {bytes} bytes that are no text"),
        (None, None) => format!("{register} is removed"),
    }
}

/// Text of others, with all escaped that is not simply seen.
pub(crate) fn plain(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' => told.push(c),
            _ => told.extend(c.escape_debug()),
        }
    }
    told
}

/// A decision's token, or its place.
pub(crate) fn token(token: &Value) -> String {
    let part = |name: &str| token[name].as_u64().unwrap_or_default();
    format!("{}.{}.{}", part("epoch"), part("term"), part("index"))
}

fn tail(client: &Client, mut after: u64, follow: bool, output: Output) -> Result {
    loop {
        let page: Value = client.look("/v1/actions", &[("after", &after.to_string())])?;
        if page["gap"] == true {
            let words = "what was decided before is not kept here any more";
            match output.json {
                true => output.value(&json!({ "gap": true, "why": words }))?,
                false => output.line(output.paint(Tone::Warn, words))?,
            }
        }
        let decisions = page["decisions"].as_array().map_or(&[][..], Vec::as_slice);
        for it in decisions {
            if output.json {
                output.value(it)?;
                continue;
            }
            output.line(format_args!("{:>12}  {}", token(it), decided(it)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_one_line_that_a_terminal_only_shows() {
        let set = |value: &str| decided(&json!({ "register": "a\u{1b}[2J", "value": value }));
        let told = set("x\n1.1.9  b = forged\u{1b}]0;\u{7}\u{202e}");
        assert!(!told.chars().any(|c| c.is_control() || c == '\u{202e}'), "{told:?}");
        assert_eq!(set(r#"{"a":"Köln"}"#), r#"a\u{1b}[2J = {"a":"Köln"}"#);
        assert_eq!(decided(&json!({ "register": "a", "bytes": 7 })), "a = 7 bytes that are no text");
        assert_eq!(decided(&json!({ "register": "a" })), "a is removed");
        let grant = json!({ "name": "b", "reason": "failed", "by": "automation", "paused": true, "goes_on": false });
        let told = decided(&json!({ "register": "role/primary", "grant": grant, "bytes": 90 }));
        assert_eq!(told, "role/primary = b (failed, by automation; paused)");
    }

    #[test]
    fn voters_that_are_not_there_are_named_and_do_not_count() {
        let voters = |away: &[&str], there: u64, now: u64| {
            let one = |name: &&str| json!({ "node": name, "name": name, "voter": true, "there": !away.contains(name) });
            let members: Vec<_> = ["a", "b", "c"].iter().map(one).collect();
            let counts = json!({ "quorum": 2, "tolerates": 1, "there": there, "tolerates_now": now });
            let mut told = counts;
            told["members"] = members.into();
            losses(&told)
        };
        assert_eq!(voters(&[], 3, 1), "2 of 3 voters decide; 1 may be lost");
        assert!(voters(&["c"], 2, 0).ends_with("Not there: c: none of those that are left may be lost"));
        assert!(voters(&["b", "c"], 1, 0).ends_with("Not there: b, c: nothing can be decided as this peer sees it"));
        assert_eq!(standing(&json!({ "there": false, "state": "alive" })), "unlinked");
        assert_eq!(standing(&json!({ "there": false, "state": "dead" })), "dead");
    }

    #[test]
    fn priorities_are_told_as_they_are_and_what_the_voters_keep_where_that_differs() {
        let of = |wish: u64, kept: u64, state: Value| {
            priority(&json!({ "priority": wish, "ranks_as": kept, "state": state }))
        };
        assert_eq!(of(100, 100, "alive".into()), "100");
        assert_eq!(of(65_000, 255, "alive".into()), "65000");
        assert_eq!(of(300, 100, "dead".into()), "300 (elected as 100)");
        assert_eq!(of(255, 255, Value::Null), "255 or more");
        assert_eq!(priority(&json!({ "priority": 255, "state": null })), "255", "a peer of before");
    }

    #[test]
    fn who_is_not_to_be_chosen_has_a_name_though_it_is_no_voter() {
        let voters = json!({ "members": [{ "node": "1", "name": "a" }], "wanted": ["1"], "barred": ["2", "3"] });
        let told = wishes(&voters, &[json!({ "node": "2", "name": "b" }), json!({ "node": "3", "name": "" })]);
        assert_eq!(told, ["wanted, before all others: a", "not to be chosen: b", "not to be chosen: 3"]);
    }

    #[test]
    fn who_cannot_hand_the_lead_over_says_who_can() {
        let refused = |leader: Value| {
            let data = json!({ "leader": leader, "epoch": 1, "term": 2 });
            elsewhere(Failure::new("no").kind(Some("not_leader")).data(data.as_object().unwrap().clone()).busy())
        };
        assert!(refused(json!({ "node": "1", "name": "b" })).to_string().starts_with("b leads the voters"));
        assert!(refused(Value::Null).to_string().starts_with("nobody leads"));
        assert_eq!(elsewhere(Failure::new("other")).to_string(), "other");
    }
}
