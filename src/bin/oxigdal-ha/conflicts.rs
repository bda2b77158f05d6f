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

const AFTER: &str = "\
Two peers that write one place before they hear of each other make a conflict: both values stand, and by the policy of the place
one of them shows, on every peer the same. Nothing is lost: `conflicts list` shows what stands, `conflicts resolve` settles it by a
new change. So does a removal that met a write: what was written stays, and people may want to look at it. What is merged inside
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
    /// Show what stands in a document, with numbers for `resolve`
    Show {
        /// Which document
        id: String,
        /// Only at this place: a JSON Pointer
        path: Option<String>,
    },
    /// Settle one place: a new change that supersedes all that stands there
    #[command(group(clap::ArgGroup::new("what").required(true)))]
    Resolve {
        /// Which document
        id: String,
        /// Where: a JSON Pointer; \"\" for a document that was deleted while others wrote
        path: String,
        /// By the value or removal of this number in `conflicts show`, or of the change that begins so; what comes meanwhile stays open
        #[arg(long, group = "what")]
        choose: Option<String>,
        /// By this value: JSON, or a text
        #[arg(long, group = "what")]
        value: Option<String>,
        /// By removing what is there
        #[arg(long, group = "what")]
        remove: bool,
    },
    /// Show or set by which rules it is decided what shows
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Show all that ever met: what, by which rule, which value shows, and who settled it
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
        /// Only where this member wrote a side or settled it: its name or id
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
        Command::Show { id, path } => show(&client, &id, path.as_deref(), output),
        Command::Resolve { id, path, choose, value, remove: _ } => {
            let (at, value) = match (choose, value) {
                (Some(choose), _) => chosen(&client, &id, &path, &choose)?,
                (None, Some(text)) => (None, Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))),
                (None, None) => (None, None),
            };
            let edit = match value {
                None => json!([{ "op": "resolve", "path": path }]),
                Some(value) => json!([{ "op": "resolve", "path": path, "value": value }]),
            };
            let query: Vec<(&str, &str)> = at.iter().map(|at| ("at", at.as_str())).collect();
            let answer: Value = client.send("PATCH", &doc_path("/v1/docs", &id), &query, &edit)?;
            if output.json {
                return output.value(&answer);
            }
            match answer["stamp"].pointer("/seq") {
                Some(seq) => output.line(format_args!("{id} {path}: settled, as entry {seq} of this peer's log")),
                None => output.line(format_args!("{id} {path}: it reads so already, nothing was written")),
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
    /// Of which version that is told.
    version: String,
}

fn open(client: &Client, id: &str, path: Option<&str>) -> Result<Open> {
    let page: Value = client.get("/v1/conflicts", &[("prefix", id), ("limit", "1")])?;
    let pointer = path.map(|path| match path.strip_prefix('/').unwrap_or(path) {
        "" if path.is_empty() => String::new(),
        path => format!("/{path}"),
    });
    let here = |one: &&Value| one["doc"] == id && pointer.as_ref().is_none_or(|path| one["path"] == path.as_str());
    let cut = rows(&page, "cut").filter(|doc| *doc == id).cloned().collect();
    let version = version(&page["versions"][id]);
    Ok(Open { open: rows(&page, "open").filter(here).cloned().collect(), cut, version })
}

/// Heads, as a query names them.
fn version(heads: &Value) -> String {
    heads.as_array().map_or(&[][..], Vec::as_slice).iter().map(text).collect::<Vec<_>>().join(",")
}

fn none(id: &str, path: Option<&str>) -> Failure {
    Failure::new(format_args!(
        "no conflict is open in {id}{}",
        path.map(|path| format!(" at {path}")).unwrap_or_default()
    ))
}

fn show(client: &Client, id: &str, path: Option<&str>, output: Output) -> Result {
    let Open { open, cut, .. } = open(client, id, path)?;
    if output.json {
        return output.value(&json!({ "open": open, "cut": cut }));
    }
    shortened("more stands", &cut);
    if open.is_empty() {
        return Err(none(id, path));
    }
    for one in &open {
        let place = if one["path"] == "" { "the whole document" } else { text(&one["path"]) };
        let place = output.paint(Tone::Bold, place);
        output.line(format_args!("{place}  {}, by {}", text(&one["kind"]), text(&one["rule"])))?;
        let mut table = output.table(&["", "VALUE", "SHOWS", "AT", "BY", "CHANGE"]);
        for (at, standing) in oldest_first(one).enumerate() {
            let shows = if standing["shows"] == true { cell(Tone::Good, "yes") } else { cell(Tone::Dim, "") };
            table.add_row([
                number(at + 1),
                cell(Tone::Bold, value(standing)),
                shows,
                cell(Tone::Dim, when(standing)),
                cell(Tone::Name, by(standing)),
                cell(Tone::Dim, short(standing)),
            ]);
        }
        output.rows(&table)?;
    }
    Ok(())
}

/// The values of a place. What comes while somebody looks at them is behind them: a number means the same value still.
fn oldest_first(open: &Value) -> impl Iterator<Item = &Value> {
    open["values"].as_array().map_or(&[][..], Vec::as_slice).iter().rev()
}

/// The version that was looked at, and the value that was meant; none if a removal was. Of what comes after that version somebody has to
/// choose anew.
fn chosen(client: &Client, id: &str, path: &str, choose: &str) -> Result<(Option<String>, Option<Value>)> {
    let Open { open, version: at, .. } = open(client, id, Some(path))?;
    let one = open.first().ok_or_else(|| none(id, Some(path)))?;
    let values: Vec<&Value> = oldest_first(one).collect();
    let by_number = choose.parse::<usize>().ok().and_then(|n| values.get(n.checked_sub(1)?).copied());
    let by_change = || values.iter().copied().find(|one| choose.len() >= 4 && text(&one["change"]).starts_with(choose));
    let found = by_number.or_else(by_change).ok_or_else(|| {
        Failure::usage(format_args!("{choose:?} is none of the {} values there", values.len()))
            .hint(format!("see `conflicts show {id} {path}`"))
    })?;
    if found["lost"] == true {
        let words = "that is no value, but went with what was removed: settle the place with --value";
        return Err(Failure::new(words));
    }
    let value = match (found["removed"] == true, found.get("bytes")) {
        (true, _) => None,
        (false, None) => Some(found["value"].clone()),
        (false, Some(_)) => Some(long(client, id, one, found, &at)?),
    };
    Ok((Some(at), value))
}

/// A value that is too long to be told: that of the document, if it shows there.
fn long(client: &Client, id: &str, open: &Value, found: &Value, at: &str) -> Result<Value> {
    let untold = || Failure::new("that value is too long to be told here: settle the place with --value");
    if found["shows"] != true {
        return Err(untold());
    }
    let read: Value = client.get(&doc_path("/v1/docs", id), &[])?;
    if version(&read["heads"]) != at {
        let moved = Failure::new(format_args!("{id} was written to while it was being read: nothing was settled"));
        return Err(moved.kind(Some("outdated")).hint(format!("look at `conflicts show {id}` again")));
    }
    read["value"].pointer(text(&open["path"])).cloned().ok_or_else(untold)
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
    let mut table = output.table(&["AT", "DOCUMENT", "PLACE", "MET", "BY", "SHOWS", "RULE", "SETTLED"]);
    for one in &found {
        let sides: Vec<&Value> = rows(one, "sides").collect();
        let both = |of: fn(&Value) -> String| sides.iter().map(|side| of(side)).collect::<Vec<_>>().join("\n");
        let side = |at: &Value| match at.as_u64() {
            Some(at) => sides.get(usize::try_from(at).unwrap_or_default()).map(|side| wrote(side)).unwrap_or_default(),
            None => "by the function".to_owned(),
        };
        let mut rule = one["rule"].as_str().unwrap_or("-").to_owned();
        if one["winner"] != one["shows"] {
            rule = format!("{rule}\nchose {}", side(&one["winner"]));
        }
        if one["forgotten"] == true {
            rule.push('?');
        }
        let settled = match &one["settled"] {
            Value::Null => cell(Tone::Warn, "-"),
            side => cell(Tone::Good, format!("{} by {}", wrote(side), by(side))),
        };
        table.add_row([
            cell(Tone::Dim, sides.get(1).map(|side| when(side)).unwrap_or_default()),
            cell(Tone::Name, text(&one["doc"])),
            cell(Tone::Bold, text(&one["path"])),
            cell(Tone::Bold, both(wrote)),
            cell(Tone::Name, both(by)),
            cell(Tone::Good, side(&one["shows"])),
            cell(Tone::Dim, rule),
            settled,
        ]);
    }
    output.rows(&table)
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
    if output.json {
        return output.value(&all);
    }
    policies(&all, output)
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

fn by(side: &Value) -> String {
    let node = side.pointer("/actor/node").and_then(Value::as_str).unwrap_or("a foreign tool");
    node.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect()
}

fn when(side: &Value) -> String {
    WallTime::from_micros(side.pointer("/at/wall").and_then(Value::as_u64).unwrap_or_default()).to_string()
}

fn short(side: &Value) -> String {
    text(&side["change"]).chars().take(8).collect()
}
