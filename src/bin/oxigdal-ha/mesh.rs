//! `members` and `status`: what a peer knows of the mesh and of itself.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::args;
use crate::client::Client;
use crate::failure::{Code, Result};
use crate::output::{Output, Tone, bytes, cell, millis, number};

/// How often `members --watch` looks, besides at each event: ages and round trips change without one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn members(arguments: &args::Members, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let mut shown = None;
    loop {
        let looked = Instant::now();
        let members: Vec<Value> = client.get("/v1/members", &[])?;
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
    let keys = ["node", "boot", "incarnation", "state", "linked", "neighbor", "name", "region", "zone"];
    keys.iter().map(|key| format!("{}|", member[*key])).collect()
}

fn table(members: &[Value], output: Output) -> Result {
    let mut table = output.table(&["NAME", "STATE", "FOR", "LINK", "RTT", "REGION", "PRIORITY", "NODE", "ADDRESSES"]);
    for member in members {
        let text = |key: &str| member[key].as_str().unwrap_or_default();
        let (state, tone) = match text("state") {
            "alive" => ("alive", Tone::Good),
            "suspect" => ("suspect", Tone::Warn),
            "dead" => ("dead", Tone::Bad),
            other => (other, Tone::Dim),
        };
        let flag = |key: &str| member[key].as_bool().unwrap_or_default();
        let link = match (flag("neighbor"), flag("linked")) {
            (true, _) => "data",
            (false, true) => "control",
            (false, false) => "-",
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
            cell(Tone::Dim, link),
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
    let status: Value = Client::new(&arguments.target)?.get("/v1/status", &[])?;
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
        if troubles.is_empty() {
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
    let states: Vec<String> = states.map(|state| format!("{} {state}", count(state))).collect();
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
        ("overlay", format!("{}, {neighbors} neighbour{plural}", text("/overlay"))),
        ("documents", format!("{}, content {}", text("/documents"), output.paint(Tone::Name, text("/content")))),
        ("log", format!("{} entries, vector {}", text("/entries"), output.paint(Tone::Name, text("/vector")))),
        ("traffic", format!("{} sent, {} received", total("/bytes_sent"), total("/bytes_received"))),
    ];
    if let Some(uptime) = number("/host/uptime_ms") {
        rows.push(("up for", format!("{}, boot {}", millis(uptime), text("/boot"))));
    }
    for (label, value) in rows {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<10}"))))?;
    }
    Ok(())
}

/// What is wrong with a peer, and what to do about it.
fn troubles(status: &Value) -> Vec<(String, String)> {
    let mut troubles = Vec::new();
    let mut trouble = |what: String, advice: &str| troubles.push((what, advice.to_owned()));
    if let Some(fault) = status["read_only"].as_object() {
        let word = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        trouble(
            format!("it takes no edits: {}: {}", word("what"), word("why")),
            "make room on the disk or replace it, then restart the peer; nothing acknowledged is lost",
        );
    }
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    for state in ["suspect", "dead"] {
        let names: Vec<&str> = members
            .iter()
            .filter(|member| member["state"] == state)
            .map(|member| member["name"].as_str().unwrap_or_default())
            .collect();
        if !names.is_empty() {
            let advice =
                "look whether it runs and whether the network between is whole; its edits arrive when it is back";
            trouble(format!("{state}: {}", names.join(", ")), advice);
        }
    }
    let orphans = status["orphans"].as_u64().unwrap_or_default();
    if orphans > 0 {
        trouble(
            format!("{orphans} changes wait for others that they build on"),
            "they are asked for; look again in a while",
        );
    }
    let refused = status["refused"].as_u64().unwrap_or_default();
    if refused > 0 {
        trouble(
            format!("{refused} changes were refused as malformed"),
            "a member sends what no correct peer sends; its log names it: consider `oxigdal-ha revoke`",
        );
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_peer_has_no_troubles_and_a_sick_one_each_of_its_own() {
        let healthy =
            serde_json::json!({ "read_only": null, "orphans": 0, "refused": 0, "members": [{ "state": "alive" }] });
        assert_eq!(troubles(&healthy), []);
        let sick = serde_json::json!({
            "read_only": { "kind": "full", "what": "write", "why": "no space" }, "orphans": 2, "refused": 1,
            "members": [{ "state": "dead", "name": "b" }, { "state": "dead", "name": "c" }],
        });
        let told: Vec<String> = troubles(&sick).into_iter().map(|(what, _)| what).collect();
        assert_eq!(
            told,
            [
                "it takes no edits: write: no space",
                "dead: b, c",
                "2 changes wait for others that they build on",
                "1 changes were refused as malformed"
            ]
        );
    }
}
