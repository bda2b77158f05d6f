//! `conflicts`: what met in documents, and settling it.

use oxigdal_ha::types::WallTime;
use serde_json::{Value, json};

use crate::args::Target;
use crate::client::{Client, doc_path};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// Documents that are looked at for one page.
const PAGE: &str = "200";
/// Characters of a value that a table shows.
const SHOWN: usize = 40;
/// How often it is looked whether this peer has heard what was decided, and how far apart.
const HEARS: usize = 40;
const HEARS_EVERY: std::time::Duration = std::time::Duration::from_millis(50);
/// Digits of a hash that name a change at least.
const CHANGE_MIN: usize = 8;

const PRECEDENCE: &str = "\
Where several policies fit, the one with the longest prefix holds, and of those the one with the longest path. Without any, what was
written with more knowledge shows (vector-clock).";

const AFTER: &str = "\
Two peers that write one place before they hear of each other make a conflict: both values stand, and by the policy of the place
one of them shows, on every peer the same. Nothing is lost: `conflicts list` shows what stands, `conflicts resolve` settles it by a
new change. `show` names each value by its number and by all that it showed with it: who chooses so settles what was seen and nothing else, and
is refused where something else stands by then. So does a removal that met a write: what was written stays, and people may want to look at it. What is merged inside
(lists, texts, counters) is no conflict; the trail tells of it all the same.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show places where several values stand or a removal met a write, those that wait for a person first
    #[command(visible_alias = "ls")]
    List {
        /// Only in documents whose ids begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// Only those that wait for a person
        #[arg(long)]
        manual: bool,
    },
    /// Show what stands in a document, and how `resolve` is told which
    Show {
        /// Which document
        id: String,
        /// Only at this place: a JSON Pointer
        path: Option<String>,
        /// Only the value of this change there, in whole: values of more than 4 KiB are told by their length
        #[arg(long, value_name = "CHANGE", requires = "path")]
        value: Option<String>,
    },
    /// Settle one place that is open: a new change that supersedes all that stands there
    #[command(group(clap::ArgGroup::new("what").required(true)))]
    Resolve {
        /// Which document
        id: String,
        /// Where: a JSON Pointer; \"\" for a document that was deleted while others wrote
        path: String,
        /// By this value or removal, as `conflicts show` prints it (2@3fa1c02b): refused if anything else stands there by now than was shown. Or
        /// by the change that begins so (8 digits or more), whatever else stands there
        #[arg(long, group = "what", value_name = "N@SEEN|CHANGE")]
        choose: Option<String>,
        /// By this value: JSON, or a text
        #[arg(long, group = "what")]
        value: Option<String>,
        /// By removing what is there
        #[arg(long, group = "what")]
        remove: bool,
        /// Write it also where no conflict is open
        #[arg(long, conflicts_with = "choose")]
        force: bool,
    },
    /// Show or set by which rules it is decided what shows
    #[command(after_help = PRECEDENCE)]
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Show all that ever met: what, by which rule, which value shows unless it was settled, and who settled it when
    Audit {
        /// Only in documents whose ids begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// Only what met at this time or later: a time with its zone, or how long ago (2h)
        #[arg(long)]
        since: Option<String>,
        /// Only what met before this time
        #[arg(long)]
        until: Option<String>,
        /// Only where this member wrote a side or settled it: its name, or its id or the end of it as BY shows it
        #[arg(long)]
        by: Option<String>,
    },
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// Show the policies in force
    #[command(visible_alias = "ls")]
    List,
    /// Have a policy decided for the whole mesh
    #[command(after_help = PRECEDENCE)]
    Set {
        /// For documents whose ids begin with this; \"\" means all
        prefix: String,
        /// last-write-wins, vector-clock, priority, manual, or custom:NAME
        rule: oxigdal_ha::conflict::Rule,
        /// For this place in them and all below: a JSON Pointer
        #[arg(long, default_value = "")]
        path: String,
        /// A member, by its name or id, whose writes count for more; others have 0
        #[arg(long, value_name = "MEMBER=N")]
        priority: Vec<String>,
    },
    /// Take a policy away
    Rm {
        /// Of these documents
        prefix: String,
        /// Of this place in them
        #[arg(long, default_value = "")]
        path: String,
    },
}

pub(crate) fn conflicts(arguments: Args, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    match arguments.command {
        Command::List { prefix, manual } => list(&client, &prefix, manual, output),
        Command::Show { id, path: Some(path), value: Some(change) } => whole(&client, (&id, &path, &change), output),
        Command::Show { id, path, value: _ } => show(&client, &id, path.as_deref(), output),
        Command::Resolve { id, path, choose, value, remove: _, force } => {
            let value = value.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            let edit = match (choose, value) {
                (Some(choose), _) => chosen(&client, &id, &path, &choose)?,
                (None, None) => json!([{ "op": "resolve", "path": path, "force": force }]),
                (None, Some(value)) => json!([{ "op": "resolve", "path": path, "value": value, "force": force }]),
            };
            let answer: Value = client.send("PATCH", &doc_path("/v1/docs", &id), &[], &edit).map_err(|error| {
                match error.is_kind("outdated") || error.is_kind("not_open") {
                    true => error.hint(format!("nothing was settled: look at `conflicts show {id}`")),
                    false => error,
                }
            })?;
            if output.json {
                return output.value(&answer);
            }
            match answer["stamp"].pointer("/seq") {
                Some(seq) => output.line(format_args!("{id} {path}: settled, as entry {seq} of this peer's log")),
                None => output.line(format_args!("{id} {path}: settled already: it reads so, nothing was written")),
            }
        }
        Command::Policy { command } => policy(&client, command, output),
        Command::Audit { prefix, since, until, by } => {
            let by = by.map(|name| crate::decisions::id_of(&client, &name)).transpose()?;
            let mut query = vec![("prefix", prefix.as_str())];
            let some = [("since", &since), ("until", &until), ("by", &by)];
            query.extend(some.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
            audit(&client, &query, output)
        }
    }
}

/// Reads all pages.
fn pages(client: &Client, path: &str, query: &[(&str, &str)], mut each: impl FnMut(&Value) -> Result) -> Result {
    let mut after = None::<String>;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", PAGE));
        query.extend(after.iter().map(|after| ("after", after.as_str())));
        let page: Value = client.get(path, &query)?;
        each(&page)?;
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

fn rows<'a>(page: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    page[key].as_array().map_or(&[][..], Vec::as_slice).iter()
}

fn list(client: &Client, prefix: &str, manual: bool, output: Output) -> Result {
    let (mut open, mut cut) = (Vec::new(), Vec::new());
    pages(client, "/v1/conflicts", &[("prefix", prefix)], |page| {
        open.extend(rows(page, "open").filter(|one| !manual || one["rule"] == "manual").cloned());
        cut.extend(rows(page, "cut").cloned());
        Ok(())
    })?;
    open.sort_by_key(|one| one["rule"] != "manual");
    if output.json {
        return output.value(&json!({ "open": open, "cut": cut }));
    }
    shortened("more stands", &cut);
    if open.is_empty() {
        return output.line("no conflicts are open");
    }
    let mut table = output.table(&["DOCUMENT", "PLACE", "KIND", "VALUES", "SHOWS", "RULE"]);
    for one in &open {
        let tone = if one["rule"] == "manual" { Tone::Warn } else { Tone::Dim };
        let shown = rows(one, "values").find(|value| value["shows"] == true);
        table.add_row([
            cell(Tone::Name, text(&one["doc"])),
            cell(Tone::Bold, text(&one["path"])),
            cell(Tone::Dim, text(&one["kind"])),
            number(rows(one, "values").count()),
            cell(Tone::Good, shown.map_or_else(|| "what a function made".to_owned(), value)),
            cell(tone, text(&one["rule"])),
        ]);
    }
    output.rows(&table)
}

/// Says of which documents more is known than is told.
fn shortened(what: &str, cut: &[Value]) {
    if !cut.is_empty() {
        eprintln!("note: {what} than is told in {}", cut.iter().map(text).collect::<Vec<_>>().join(", "));
    }
}

/// What stands in one document.
struct Open {
    /// At which places.
    open: Vec<Value>,
    /// Its id, if there is more than is told.
    cut: Vec<Value>,
}

fn open(client: &Client, id: &str, path: Option<&str>) -> Result<Open> {
    let page: Value = client.get("/v1/conflicts", &[("prefix", id), ("limit", "1")])?;
    let pointer = path.map(|path| match path.strip_prefix('/').unwrap_or(path) {
        "" if path.is_empty() => String::new(),
        path => format!("/{path}"),
    });
    let here = |one: &&Value| one["doc"] == id && pointer.as_ref().is_none_or(|path| one["path"] == path.as_str());
    let cut = rows(&page, "cut").filter(|doc| *doc == id).cloned().collect();
    Ok(Open { open: rows(&page, "open").filter(here).cloned().collect(), cut })
}

fn none(id: &str, path: Option<&str>) -> Failure {
    Failure::new(format_args!(
        "no conflict is open in {id}{}",
        path.map(|path| format!(" at {path}")).unwrap_or_default()
    ))
}

fn show(client: &Client, id: &str, path: Option<&str>, output: Output) -> Result {
    let Open { open, cut } = open(client, id, path)?;
    if open.is_empty() {
        return Err(none(id, path));
    }
    if output.json {
        return output.value(&json!({ "open": open, "cut": cut }));
    }
    shortened("more stands", &cut);
    let names = Names::of(client)?;
    for one in &open {
        let place = if one["path"] == "" { "the whole document" } else { text(&one["path"]) };
        let place = output.paint(Tone::Bold, place);
        output.line(format_args!("{place}  {}, by {}", text(&one["kind"]), text(&one["rule"])))?;
        let mut table = output.table(&["CHOOSE", "VALUE", "SHOWS", "AT", "BY", "CHANGE"]);
        for (at, standing) in oldest_first(one).enumerate() {
            let shows = if standing["shows"] == true { cell(Tone::Good, "yes") } else { cell(Tone::Dim, "") };
            table.add_row([
                cell(Tone::Name, format!("{}@{}", at + 1, text(&one["seen"]))),
                cell(Tone::Bold, value(standing)),
                shows,
                cell(Tone::Dim, when(standing)),
                cell(Tone::Name, names.by(standing)),
                cell(Tone::Dim, short(standing)),
            ]);
        }
        output.rows(&table)?;
    }
    Ok(())
}

/// The values of a place. What somebody wrote long ago and comes now is before others: a number means the same value only as long as the
/// same is seen.
fn oldest_first(open: &Value) -> impl Iterator<Item = &Value> {
    open["values"].as_array().map_or(&[][..], Vec::as_slice).iter().rev()
}

/// The edit that settles a place by what was chosen of what stands there.
fn chosen(client: &Client, id: &str, path: &str, choose: &str) -> Result<Value> {
    let look = || format!("look at `conflicts show {id} {path}`");
    let Some((n, seen)) = choose.split_once('@') else {
        if choose.len() < CHANGE_MIN || !choose.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let why = "a value is chosen as `conflicts show` prints it, such as 2@3fa1c02b, or by its change (8 digits or more)";
            return Err(
                Failure::usage(format_args!("{choose:?} may mean another value than was shown: {why}")).hint(look())
            );
        }
        return Ok(json!([{ "op": "choose", "path": path, "change": choose.to_ascii_lowercase() }]));
    };
    let Open { open, .. } = open(client, id, Some(path))?;
    let one = open.first().ok_or_else(|| none(id, Some(path)))?;
    if text(&one["seen"]) != seen {
        let moved = format!("something else stands in {id} at {path} than was shown as {seen}: nothing was settled");
        return Err(Failure::new(moved).kind(Some("outdated")).hint(look()));
    }
    let values: Vec<&Value> = oldest_first(one).collect();
    let found = n.parse::<usize>().ok().and_then(|n| values.get(n.checked_sub(1)?).copied());
    let found = found.ok_or_else(|| {
        Failure::usage(format_args!("{n:?} is none of the {} values there", values.len())).hint(look())
    })?;
    Ok(json!([{ "op": "choose", "path": path, "change": found["change"], "seen": seen }]))
}

/// One value in whole.
fn whole(client: &Client, (id, path, change): (&str, &str, &str), output: Output) -> Result {
    let change = change.to_ascii_lowercase();
    let query = [("doc", id), ("path", path), ("change", change.as_str())];
    let found: Value = client.get("/v1/conflicts/value", &query)?;
    if output.json {
        return output.value(&found);
    }
    output.line(&found["value"])
}

/// Names of members, by their ids.
struct Names(std::collections::BTreeMap<String, String>);

impl Names {
    fn of(client: &Client) -> Result<Self> {
        let members: Vec<Value> = client.look("/v1/members", &[])?;
        let named = members.iter().filter(|member| !text(&member["name"]).is_empty());
        Ok(Self(named.map(|member| (text(&member["node"]).to_owned(), text(&member["name"]).to_owned())).collect()))
    }

    /// Who made a change: a name, or of who is gone the end of the id, which `audit --by` takes.
    fn by(&self, side: &Value) -> String {
        let Some(node) = side.pointer("/actor/node").and_then(Value::as_str) else {
            return "a foreign tool".to_owned();
        };
        self.0.get(node).cloned().unwrap_or_else(|| node.chars().skip(node.chars().count().saturating_sub(8)).collect())
    }
}

fn audit(client: &Client, query: &[(&str, &str)], output: Output) -> Result {
    let (mut found, mut cut) = (Vec::new(), Vec::new());
    pages(client, "/v1/conflicts/audit", query, |page| {
        for one in rows(page, "trail") {
            if output.json {
                output.line(one)?;
            } else {
                found.push(one.clone());
            }
        }
        cut.extend(rows(page, "cut").cloned());
        Ok(())
    })?;
    shortened("more met", &cut);
    if output.json {
        return Ok(());
    }
    if found.is_empty() {
        return output.line("nothing met");
    }
    let names = Names::of(client)?;
    let mut table =
        output.table(&["AT", "DOCUMENT", "PLACE", "KIND", "MET", "BY", "SHOWS", "RULE", "SETTLED", "SETTLED AT"]);
    for one in &found {
        let sides: Vec<&Value> = rows(one, "sides").collect();
        let both = |of: &dyn Fn(&Value) -> String| sides.iter().map(|side| of(side)).collect::<Vec<_>>().join("\n");
        let settled = &one["settled"];
        table.add_row([
            cell(Tone::Dim, sides.get(1).map(|side| when(side)).unwrap_or_default()),
            cell(Tone::Name, text(&one["doc"])),
            cell(Tone::Bold, one["stands_at"].as_str().unwrap_or_else(|| text(&one["path"]))),
            cell(Tone::Dim, text(&one["kind"])),
            cell(Tone::Bold, both(&wrote)),
            cell(Tone::Name, both(&|side| names.by(side))),
            cell(Tone::Good, if settled.is_null() { won(one, &one["shows"]) } else { "what settled it".to_owned() }),
            cell(Tone::Dim, rule(one)),
            match settled {
                Value::Null => cell(Tone::Warn, "-"),
                side => cell(Tone::Good, format!("{} by {}", wrote(side), names.by(side))),
            },
            cell(Tone::Dim, if settled.is_null() { "-".to_owned() } else { when(settled) }),
        ]);
    }
    output.rows(&table)
}

/// Which side won: this one, all that was merged, or what a function made.
fn won(met: &Value, side: &Value) -> String {
    let found = side.as_u64().and_then(|at| met["sides"].get(usize::try_from(at).ok()?));
    match (found, met["rule"].is_null()) {
        (Some(side), _) => wrote(side),
        (None, true) => "all of it".to_owned(),
        (None, false) => "by the function".to_owned(),
    }
}

/// By which rule, and what it chose then if that is not what shows.
fn rule(met: &Value) -> String {
    let mut rule = met["rule"].as_str().unwrap_or("-").to_owned();
    if met["winner"] != met["shows"] || !met["settled"].is_null() && !met["rule"].is_null() {
        rule = format!("{rule}\nchose {}", won(met, &met["winner"]));
    }
    if met["forgotten"] == true {
        rule.push('?');
    }
    rule
}

fn policy(client: &Client, command: PolicyCommand, output: Output) -> Result {
    let wanted = match command {
        PolicyCommand::List => {
            let status: Value = client.get("/v1/conflicts/policies", &[])?;
            if output.json {
                return output.value(&status);
            }
            for key in ["unreadable", "missing"] {
                if let Some(found) = status.get(key) {
                    output.line(output.paint(Tone::Warn, format_args!("{key}: {found}")))?;
                }
            }
            return policies(&status["policies"], output);
        }
        PolicyCommand::Set { prefix, rule, path, priority } => {
            let mut priorities = serde_json::Map::new();
            for text in priority {
                let parsed = text.rsplit_once('=').and_then(|(name, n)| Some((name, n.parse::<i32>().ok()?)));
                let (name, n) = parsed.ok_or_else(|| Failure::usage(format_args!("{text:?} is not MEMBER=NUMBER")))?;
                priorities.insert(crate::decisions::id_of(client, name)?, json!(n));
            }
            json!({ "prefix": prefix, "path": path, "rule": rule, "priorities": priorities })
        }
        PolicyCommand::Rm { prefix, path } => json!({ "prefix": prefix, "path": path }),
    };
    let all: Value = client.send("POST", "/v1/conflicts/policies", &[], &wanted)?;
    if let Some(function) = text(&wanted["rule"]).strip_prefix("custom:") {
        missing(client, function)?;
    }
    if output.json {
        return output.value(&all);
    }
    policies(&all, output)
}

/// Warns where this peer lacks a function. It hears of what was decided a moment later.
fn missing(client: &Client, function: &str) -> Result {
    let rule = format!("custom:{function}");
    for _ in 0..HEARS {
        let status: Value = client.get("/v1/conflicts/policies", &[])?;
        if rows(&status, "missing").any(|missing| missing == function) {
            eprintln!(
                "warning: this peer has no function {function:?}: it shows the last write (`MeshBuilder::custom` registers one)"
            );
            return Ok(());
        }
        if rows(&status, "policies").any(|policy| policy["rule"] == rule.as_str()) {
            return Ok(());
        }
        std::thread::sleep(HEARS_EVERY);
    }
    eprintln!(
        "warning: this peer has not heard of it yet: `conflicts policy list` says later whether it has the function {function:?}"
    );
    Ok(())
}

fn policies(all: &Value, output: Output) -> Result {
    let all = all.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return output.line("there are no policies: what was written with more knowledge shows (vector-clock)");
    }
    let mut table = output.table(&["PREFIX", "PLACE", "RULE", "PRIORITIES"]);
    for one in all {
        let priorities = one["priorities"].as_object().into_iter().flatten();
        let priorities: Vec<String> = priorities.map(|(node, n)| format!("{node}={n}")).collect();
        table.add_row([
            cell(Tone::Name, text(&one["prefix"])),
            cell(Tone::Bold, text(&one["path"])),
            cell(Tone::Good, text(&one["rule"])),
            cell(Tone::Dim, priorities.join("\n")),
        ]);
    }
    output.rows(&table)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn value(standing: &Value) -> String {
    if standing["removed"] == true {
        return "removed".to_owned();
    }
    if standing["lost"] == true {
        return "went with what was removed".to_owned();
    }
    match standing["bytes"].as_u64() {
        Some(bytes) => format!("({bytes} bytes)"),
        None => clipped(&standing["value"].to_string()),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a side did.
fn wrote(side: &Value) -> String {
    match text(&side["op"]) {
        "set" => clipped(&side["value"].to_string()),
        "set-long" => format!("({} bytes)", side["bytes"]),
        "made" => format!("a new {}", text(&side["what"])),
        "edited" => format!("edited the {}", text(&side["what"])),
        op => op.to_owned(),
    }
}

fn when(side: &Value) -> String {
    WallTime::from_micros(side.pointer("/at/wall").and_then(Value::as_u64).unwrap_or_default()).to_string()
}

fn short(side: &Value) -> String {
    text(&side["change"]).chars().take(8).collect()
}
