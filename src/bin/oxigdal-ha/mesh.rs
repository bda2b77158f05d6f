//! `members` and `status`: what a peer knows of the mesh and of itself.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::args;
use crate::client::Client;
use crate::failure::{Code, Result};
use crate::forget;
use crate::health::{troubles, warnings, without_link};
use crate::output::{Output, Tone, bytes, cell, millis, number};

/// How often `members --watch` looks, besides at each event: ages and round trips change without one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn members(arguments: &args::Members, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    if let Some(command) = &arguments.command {
        return forget::run(&client, command, output);
    }
    let mut shown = None;
    loop {
        let looked = Instant::now();
        let members: Vec<Value> = client.look("/v1/members", &[])?;
        // What changes by itself all the time is no news to a program.
        let news: Vec<String> = members.iter().map(identity).collect();
        if output.json && arguments.watch {
            if shown.as_ref() != Some(&news) {
                output.value(&members)?;
            }
        } else if output.json {
            output.value(&members)?;
        } else {
            if arguments.watch && output.terminal {
                output.line("\x1b[2J\x1b[H")?;
            }
            if output.terminal || shown.as_ref() != Some(&news) {
                table(&members, output)?;
                strangers(&client, &members, output)?;
            }
        }
        if !arguments.watch {
            return Ok(());
        }
        shown = Some(news);
        std::thread::sleep(LOOK_EVERY.saturating_sub(looked.elapsed()));
    }
}

/// What makes a member's line news.
fn identity(member: &Value) -> String {
    let keys = [
        "node",
        "boot",
        "incarnation",
        "state",
        "linked",
        "neighbor",
        "name",
        "region",
        "zone",
        "not_linked",
        "read_only",
    ];
    keys.iter().map(|key| format!("{}|", member[*key])).collect()
}

/// Those who showed a good ticket or were dialled, and are no members in this peer's eyes since they were not let in.
fn strangers(client: &Client, members: &[Value], output: Output) -> Result {
    let links: Value = client.look("/v1/links", &[])?;
    let known = |one: &Value| members.iter().any(|member| member["node"] == one["node"]);
    let refused = links["not_linked"].as_array().into_iter().flatten().filter(|one| one["refused"] == true);
    for one in refused.filter(|one| !known(one)) {
        output.line(format_args!("{} {}", output.paint(Tone::Bad, "!"), without_link(one)))?;
    }
    Ok(())
}

fn table(members: &[Value], output: Output) -> Result {
    let mut table = output.table(&["NAME", "STATE", "FOR", "LINK", "RTT", "REGION", "PRIORITY", "NODE", "ADDRESSES"]);
    for member in members {
        let text = |key: &str| member[key].as_str().unwrap_or_default();
        let (state, tone) = match text("state") {
            _ if member["expelled"] == true => ("expelled", Tone::Dim),
            "alive" if member["read_only"] == true => ("read-only", Tone::Warn),
            "alive" => ("alive", Tone::Good),
            "suspect" => ("suspect", Tone::Warn),
            "dead" => ("dead", Tone::Bad),
            other => (other, Tone::Dim),
        };
        let flag = |key: &str| member[key].as_bool().unwrap_or_default();
        let link = match (flag("neighbor"), flag("linked"), text("not_linked")) {
            (true, ..) => "data",
            (false, true, _) => "control",
            (false, false, "") => "-",
            (false, false, _) => "failed",
        };
        let rtt = member["rtt_us"]
            .as_u64()
            .map_or_else(|| "-".into(), |us| format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10));
        let region =
            [text("region"), text("zone")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let observer = if flag("observer") { " observer" } else { "" };
        let addresses: Vec<&str> =
            member["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        table.add_row([
            cell(Tone::Bold, text("name")),
            cell(tone, state),
            number(millis(member["since_ms"].as_u64().unwrap_or_default())),
            cell(if link == "failed" { Tone::Warn } else { Tone::Dim }, link),
            number(rtt),
            cell(Tone::Name, if region.is_empty() { "-" } else { &region }),
            number(format!("{}{observer}", member["priority"])),
            cell(Tone::Dim, text("node")),
            cell(Tone::Dim, addresses.join(" ")),
        ]);
    }
    output.rows(&table)
}

pub(crate) fn status(arguments: &args::Status, output: Output) -> Result<ExitCode> {
    let status: Value = Client::new(&arguments.target)?.look("/v1/status", &[])?;
    let troubles = troubles(&status);
    if output.json {
        output.value(&status)?;
    } else {
        show(&status, output)?;
        for (trouble, advice) in &troubles {
            output.line(format_args!(
                "{} {trouble}\n  {}",
                output.paint(Tone::Bad, "!"),
                output.paint(Tone::Dim, advice)
            ))?;
        }
        for (warning, advice) in warnings(&status) {
            output.line(format_args!(
                "{} {warning}\n  {}",
                output.paint(Tone::Warn, "~"),
                output.paint(Tone::Dim, advice)
            ))?;
        }
        let is_full = status.pointer("/coordination/level").is_none_or(|level| level == "full");
        if troubles.is_empty() && is_full {
            output.line(output.paint(Tone::Good, "nothing is wrong"))?;
        }
    }
    let bad = arguments.check && !troubles.is_empty();
    Ok(if bad { ExitCode::from(Code::Failed as u8) } else { ExitCode::SUCCESS })
}

fn show(status: &Value, output: Output) -> Result {
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |state: &str| members.iter().filter(|member| member["state"] == state).count();
    let states = ["alive", "suspect", "dead", "left"].into_iter().filter(|state| count(state) > 0);
    let mut states: Vec<String> = states.map(|state| format!("{} {state}", count(state))).collect();
    let read_only = members.iter().filter(|member| member["read_only"] == true).count();
    if read_only > 0 {
        states.push(format!("{read_only} read-only"));
    }
    let neighbors = status["neighbors"].as_array().map_or(0, Vec::len);
    let plural = if neighbors == 1 { "" } else { "s" };
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64);
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    };
    let total = |key: &str| bytes(number(key).unwrap_or_default());
    let mut rows = vec![
        ("peer", format!("{}  {}", output.paint(Tone::Bold, text("/name")), output.paint(Tone::Dim, text("/node")))),
        ("mesh", output.paint(Tone::Dim, text("/cluster"))),
        ("members", states.join(", ")),
        (
            "overlay",
            format!("{}, {neighbors} neighbour{plural}{}", text("/overlay_policy/followed"), set_for_the_mesh(status)),
        ),
        ("agreed", format!("{}{}", terms(status), output.paint(Tone::Dim, text("/host/fingerprint")))),
        ("level", level(status)),
        ("documents", format!("{}, content {}", text("/documents"), output.paint(Tone::Name, text("/content")))),
        ("in memory", in_memory(status)),
        ("log", format!("{} entries, vector {}", text("/entries"), output.paint(Tone::Name, text("/vector")))),
        ("traffic", format!("{} sent, {} received", total("/bytes_sent"), total("/bytes_received"))),
    ];
    if let Some(until) = status.pointer("/admission/ticket_until").and_then(Value::as_str) {
        let issuers = number("/admission/issuers").unwrap_or_default();
        let known = if issuers == 1 { "1 issuer is known".to_owned() } else { format!("{issuers} issuers are known") };
        rows.push(("ticket", format!("good until {until}; {known}")));
    }
    if let Some(began) = status.pointer("/admission/timeline/began").and_then(Value::as_str) {
        rows.push(("timeline", format!("{}, begun at {began}", text("/admission/timeline/id"))));
    }
    if let Some(from) = status.pointer("/log_restored/from").and_then(Value::as_str) {
        let (why, lsn) = (text("/log_restored/why"), text("/log_restored/lsn"));
        rows.push(("restored", format!("from {from}, its lsn:{lsn} ({why})")));
    }
    rows.extend(crate::health::archived(status).map(|archived| ("archive", archived)));
    if let Some(uptime) = number("/host/uptime_ms") {
        rows.push(("up for", format!("{}, boot {}", millis(uptime), text("/boot"))));
    }
    for (label, value) in rows {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<10}"))))?;
    }
    Ok(())
}

/// That what is followed is not what is configured, or need not be: it was set for the mesh.
fn set_for_the_mesh(status: &Value) -> String {
    let policy = &status["overlay_policy"];
    let Value::Object(set) = &policy["set"] else { return String::new() };
    let configured = policy["configured"].as_str().unwrap_or_default();
    let instead = match policy["followed"].as_str() == Some(configured) {
        true => String::new(),
        false => format!("; configured is {configured}"),
    };
    let signer = set["signer"].as_str().unwrap_or_default();
    let members = status["members"].as_array().into_iter().flatten();
    let name = members.filter(|member| member["node"] == signer).find_map(|member| member["name"].as_str());
    format!("; set for the mesh, version {}, by {}{instead}", set["version"], name.unwrap_or(signer))
}

/// What can be done at this peer, and why not everything.
fn level(status: &Value) -> String {
    let coordination = &status["coordination"];
    let reasons: Vec<&str> =
        coordination["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let what = match coordination["level"].as_str().unwrap_or("-") {
        "degraded" => "degraded: edits are taken and spread, nothing is decided",
        "isolated" => "isolated: edits are taken, and nobody else hears of them",
        "read_only" => "read-only: no edits are taken",
        level => level,
    };
    if reasons.is_empty() { what.to_owned() } else { format!("{what} ({})", reasons.join("; ")) }
}

/// How much of the documents is in memory, and how often the rest was fetched.
fn in_memory(status: &Value) -> String {
    let number = |key: &str| status["memory"][key].as_u64().unwrap_or_default();
    let (held, size) = (number("documents"), bytes(number("bytes")));
    format!("{held} documents, {size}; {} given up, {} read back", number("evicted"), number("restored"))
}

/// What all peers must have alike, as this one has it.
fn terms(status: &Value) -> String {
    let terms = status.pointer("/host/terms").and_then(Value::as_object).into_iter().flatten();
    // Where an overlay was set for the mesh, the configured one is nothing to agree on.
    let set = status["overlay_policy"]["set"].is_object();
    let terms = terms.filter(|(key, _)| !set || *key != "overlay");
    terms.map(|(key, value)| format!("{key} {}, ", value.as_str().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_has_its_reasons() {
        let status = serde_json::json!({ "coordination": { "level": "degraded", "reasons": ["nobody leads", "x"] } });
        assert_eq!(level(&status), "degraded: edits are taken and spread, nothing is decided (nobody leads; x)");
        assert_eq!(level(&serde_json::json!({ "coordination": { "level": "full" } })), "full");
    }
}
