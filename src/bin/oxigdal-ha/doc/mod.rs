//! `doc`: read and edit documents.

mod place;
mod transfer;

pub(crate) use transfer::{export_text, import_features};

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::args::{Doc, DocCommand};
use crate::client::{Client, doc_path};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// Documents in one page of a listing.
const PAGE: usize = 500;

pub(crate) fn doc(arguments: Doc, output: Output) -> Result {
    let client = Client::new(&arguments.target)?.with_ack(arguments.ack.text());
    match arguments.command {
        DocCommand::Put { id, value, create } => put(&client, &id, value.as_deref(), create, output),
        DocCommand::Get { id, path } => get(&client, &id, &path, output),
        DocCommand::Set { id, path, value, text } => {
            let value = json_or_text(value, text);
            patch(&client, &id, &json!([{ "op": "set", "path": path, "value": value }]), output)
        }
        DocCommand::Insert { id, path, value, text } => {
            let value = json_or_text(value, text);
            patch(&client, &id, &json!([{ "op": "insert", "path": path, "value": value }]), output)
        }
        DocCommand::Increment { id, path, by } => {
            patch(&client, &id, &json!([{ "op": "increment", "path": path, "by": by }]), output)
        }
        DocCommand::Rm { id, path: Some(path) } => {
            patch(&client, &id, &json!([{ "op": "remove", "path": path }]), output)
        }
        DocCommand::Rm { id, path: None } => edited(&client.delete(&doc_path("/v1/docs", &id))?, output),
        DocCommand::Ls { prefix, values, limit } => ls(&client, &prefix, values, limit, output),
        DocCommand::History { id } => history(&client, &id, output),
        DocCommand::Watch { prefix } => watch(&client, &prefix, output),
        DocCommand::Import { file, prefix, id_property } => {
            transfer::import(&client, &file, &prefix, id_property.as_deref(), output)
        }
        DocCommand::Export { prefix, output: file } => transfer::export(&client, &prefix, file.as_deref(), output),
    }
}

/// JSON; what is no JSON is a text, so that a name needs no quotes within quotes. Or a text whatever it looks like.
fn json_or_text(text: String, as_text: bool) -> Value {
    let json = if as_text { None } else { serde_json::from_str(&text).ok() };
    json.unwrap_or(Value::String(text))
}

fn put(client: &Client, id: &str, value: Option<&str>, create: bool, output: Output) -> Result {
    let (place, text) = match value {
        None | Some("-") => ("standard input".into(), standard_input()?),
        Some(value) => match value.strip_prefix('@') {
            Some(file) => (file.to_owned(), read(Path::new(file))?),
            None => ("the value".into(), value.to_owned()),
        },
    };
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::usage(format_args!("{place} is not JSON: {error}")))?;
    if !value.is_object() {
        return Err(Failure::usage(format_args!("{place} is no JSON object, and a document is one")));
    }
    let query: &[(&str, &str)] = if create { &[("create", "true")] } else { &[] };
    edited(&client.send("PUT", &doc_path("/v1/docs", id), query, &value)?, output)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))
}

fn standard_input() -> Result<String> {
    if io::stdin().is_terminal() {
        // Nobody should wonder why nothing happens.
        eprintln!("reading standard input; end with Ctrl-D");
    }
    let mut text = String::new();
    let read = io::stdin().read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format_args!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn patch(client: &Client, id: &str, edits: &Value, output: Output) -> Result {
    edited(&client.send("PATCH", &doc_path("/v1/docs", id), &[], edits)?, output)
}

/// Tells an acknowledged edit.
fn edited(answer: &Value, output: Output) -> Result {
    if output.json {
        return output.value(answer);
    }
    let id = answer["doc"].as_str().unwrap_or_default();
    match answer["stamp"].pointer("/seq") {
        Some(seq) => {
            let copies = answer.pointer("/copies/members").and_then(Value::as_array);
            let copies = copies.map(|all| format!(", and on {} other members", all.len())).unwrap_or_default();
            output.line(format_args!("{id}: durable as entry {seq} of this peer's log{copies}"))
        }
        None => output.line(format_args!("{id}: nothing differed, nothing was written")),
    }
}

fn get(client: &Client, id: &str, path: &str, output: Output) -> Result {
    let answer: Value = client.get(&doc_path("/v1/docs", id), &[("path", path)])?;
    if output.json {
        return output.value(&answer);
    }
    let text = serde_json::to_string_pretty(&answer["value"]);
    output.line(text.expect("a JSON value has text keys and finite numbers"))
}

/// Reads documents page by page, in order of id, until there are no more or `each` has had enough.
pub(crate) fn scan(
    client: &Client,
    prefix: &str,
    values: bool,
    mut each: impl FnMut(&Value) -> Result<bool>,
) -> Result {
    let (page, values) = (PAGE.to_string(), values.to_string());
    let mut after = None::<String>;
    loop {
        let mut query = vec![("prefix", prefix), ("limit", &page), ("values", &values)];
        query.extend(after.iter().map(|after| ("after", after.as_str())));
        let answer: Value = client.get("/v1/docs", &query)?;
        let docs = answer["docs"].as_array().map_or(&[][..], Vec::as_slice);
        for doc in docs {
            if !each(doc)? {
                return Ok(());
            }
        }
        match docs.last().and_then(|doc| doc["doc"].as_str()) {
            Some(last) if answer["more"] == true => after = Some(last.to_owned()),
            _ => return Ok(()),
        }
    }
}

fn ls(client: &Client, prefix: &str, values: bool, limit: Option<usize>, output: Output) -> Result {
    let (mut left, mut found) = (limit.unwrap_or(usize::MAX), false);
    if left == 0 {
        return Ok(());
    }
    scan(client, prefix, values, |doc| {
        found = true;
        if output.json {
            // One a line, so that a large listing can be read as it comes.
            output.line(doc)?;
        } else {
            let id = doc["doc"].as_str().unwrap_or_default();
            match doc.get("value").filter(|_| values) {
                Some(value) => output.line(format_args!("{}\t{value}", output.paint(Tone::Name, id)))?,
                None => output.line(id)?,
            }
        }
        left -= 1;
        Ok(left > 0)
    })?;
    if !found && !output.json {
        eprintln!("note: no document's id begins with {prefix:?}");
    }
    Ok(())
}

fn history(client: &Client, id: &str, output: Output) -> Result {
    let answer: Value = client.get(&doc_path("/v1/history", id), &[])?;
    if output.json {
        return output.value(&answer);
    }
    let mut table = output.table(&["AT", "BY", "OPS", "CHANGE", "FOLLOWS"]);
    for change in answer["changes"].as_array().into_iter().flatten() {
        let short = |hash: &Value| hash.as_str().unwrap_or_default().chars().take(8).collect::<String>();
        let at = oxigdal_ha::types::WallTime::from_micros(change["at"].as_u64().unwrap_or_default());
        let by = change.pointer("/actor/node").and_then(Value::as_str).unwrap_or("a foreign tool");
        let follows: Vec<String> = change["deps"].as_array().into_iter().flatten().map(short).collect();
        table.add_row([
            cell(Tone::Dim, at),
            cell(Tone::Name, by),
            number(&change["ops"]),
            cell(Tone::Bold, short(&change["hash"])),
            cell(Tone::Dim, follows.join(" ")),
        ]);
    }
    output.rows(&table)
}

fn watch(client: &Client, prefix: &str, output: Output) -> Result {
    // On standard error: what is piped on are changes and nothing else.
    let turn = |gone: Option<&Failure>| match gone {
        Some(gone) => eprintln!("{}", output.paint(Tone::Warn, format_args!("{gone}; it is waited for"))),
        None => eprintln!("{}", output.paint(Tone::Dim, "it is there again")),
    };
    client.watch_on("/v1/watch", &[("prefix", prefix)], turn, |event, data| {
        if output.json {
            output.line(json!({ "event": event, "data": data }))?;
            return Ok(true);
        }
        match event {
            "changed" => {
                let id = data["doc"].as_str().unwrap_or_default();
                let verb = if data["exists"] == false {
                    output.paint(Tone::Bad, "removed")
                } else {
                    output.paint(Tone::Good, "changed")
                };
                let origins = data["origins"].as_array().into_iter().flatten();
                let origins: Vec<&str> = origins.filter_map(|origin| origin["node"].as_str()).collect();
                output.line(format_args!(
                    "{verb} {id} {}",
                    output.paint(Tone::Dim, format_args!("by {}", origins.join(", ")))
                ))?;
            }
            "lagged" if data["missed"].is_null() => {
                output.line(output.paint(Tone::Warn, "the peer was restarted: events were missed"))?;
            }
            "lagged" => output.line(output.paint(Tone::Warn, format_args!("{} events were missed", data["missed"])))?,
            _ => output.line(output.paint(Tone::Dim, format_args!("{event} {data}")))?,
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_text() {
        assert_eq!(
            [("7", false), ("Fiji", false), ("\"7\"", false), ("7", true)]
                .map(|(text, as_text)| json_or_text(text.to_owned(), as_text)),
            [json!(7), json!("Fiji"), json!("7"), json!("7")]
        );
    }
}
