//! `role history`: who held a role, since when, for how long and why, and how long changes of holder took.

use oxigdal_ha::types::WallTime;
use serde_json::{Value, json};

use super::{holder, paused, trouble};
use crate::client::Client;
use crate::decisions::{plain, token};
use crate::failure::Result;
use crate::output::{Output, Tone, cell, millis, number};

/// Somebody's turn, or a time in which nobody held it.
struct Turn<'a> {
    node: &'a Value,
    who: String,
    token: &'a Value,
    since: u64,
    reason: &'a str,
    by: &'a str,
    took: Option<u64>,
}

pub(super) fn tell(role: &Value, client: &Client, output: Output) -> Result {
    let members: Vec<Value> = client.look("/v1/members", &[])?;
    let turns = turns(role, &members);
    if output.json {
        return output.value(&for_programs(role, &turns));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    let mut table = output.table(&["SINCE", "FOR", "HOLDER", "TOOK", "BY", "TOKEN", "WHY"]);
    for (at, turn) in turns.iter().enumerate() {
        // The last one goes on.
        let until = turns.get(at + 1).map_or(now, |next| next.since);
        let lasted = millis(until.saturating_sub(turn.since) / 1_000);
        let goes_on = at + 1 == turns.len();
        table.add_row([
            cell(Tone::Dim, WallTime::from_micros(turn.since)),
            number(if goes_on { format!("{lasted} so far") } else { lasted }),
            cell(if goes_on { Tone::Bold } else { Tone::Name }, &turn.who),
            number(turn.took.map_or_else(|| "-".to_owned(), |us| millis(us / 1_000))),
            cell(Tone::Name, plain(turn.by)),
            number(token(turn.token)),
            cell(Tone::Dim, reason(turn.reason)),
        ]);
    }
    output.rows(&table)?;
    let is_failover = |turn: &&Turn<'_>| matches!(turn.reason, "failed" | "released" | "not_begun");
    let is_move = |turn: &&Turn<'_>| matches!(turn.reason, "switchover" | "failback");
    let some = |is_one: &dyn Fn(&&Turn<'_>) -> bool| {
        figures_of(&turns.iter().filter(is_one).filter_map(|turn| turn.took).collect::<Vec<_>>())
    };
    for (what, told) in [("failovers", some(&is_failover)), ("planned moves", some(&is_move))] {
        if let Some(told) = told {
            output.line(format_args!("{what} of these turns: {told}"))?;
        }
    }
    if let Some(told) = figures(&role["statistics"]) {
        output.line(format_args!("all that ever were, of both kinds: {told}"))?;
    }
    trouble(role, output)?;
    paused(role, output)
}

/// The same for programs: all turns, the last of which goes on and has no end.
fn for_programs(role: &Value, turns: &[Turn<'_>]) -> Value {
    let told = turns.iter().enumerate().map(|(at, turn)| {
        json!({
            "holder": turn.node, "name": turn.node.as_str().map(|_| &turn.who), "token": turn.token, "since": turn.since,
            "until": turns.get(at + 1).map(|next| next.since), "reason": turn.reason, "by": turn.by, "took_us": turn.took,
        })
    });
    json!({
        "role": role["role"], "turns": told.collect::<Vec<_>>(), "statistics": role["statistics"],
        "paused": role["paused"], "vacancy": role["vacancy"],
    })
}

/// All turns that are remembered, the one that goes on last.
fn turns<'a>(role: &'a Value, members: &[Value]) -> Vec<Turn<'a>> {
    let name = |node: &Value| {
        let member = members.iter().find(|member| member["node"] == *node);
        let name = member.and_then(|member| member["name"].as_str()).filter(|name| !name.is_empty());
        name.or_else(|| node.as_str()).unwrap_or("nobody").to_owned()
    };
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    let past = role["history"].as_array().into_iter().flatten().map(|it| Turn {
        node: &it["holder"],
        who: name(&it["holder"]),
        token: &it["token"],
        since: it["turn"]["since"].as_u64().unwrap_or_default(),
        reason: text(&it["turn"]["reason"]),
        by: text(&it["turn"]["by"]),
        took: it["turn"]["took_us"].as_u64(),
    });
    let current = Turn {
        node: &role["holder"],
        who: holder(role).to_owned(),
        token: &role["token"],
        since: role["since"].as_u64().unwrap_or_default(),
        reason: text(&role["reason"]),
        by: text(&role["by"]),
        took: role["took_us"].as_u64(),
    };
    past.chain([current]).collect()
}

/// A moment, as people read it.
pub(super) fn stamp(micros: &Value) -> WallTime {
    WallTime::from_micros(micros.as_u64().unwrap_or_default())
}

/// Why a turn began. A record says only that its holder stopped by itself, and not why: that is in the log of that peer.
pub(super) fn reason(code: &str) -> &str {
    match code {
        "first" => "nobody held it",
        "failed" => "the one before fell silent",
        "released" => "the one before stopped by itself: it gave up, or its lease lapsed",
        "not_begun" => "the one before did not begin: its promotion hook failed or took too long, or it was silent",
        "switchover" => "an operator moved it",
        "failback" => "it went back to who is preferred",
        "withdrawn" => "an operator released it",
        other => other,
    }
}

/// The same in few words, which are of the holder before where they tell of somebody: beside a holder that is well they are not read as its own.
pub(super) fn briefly(code: &str) -> &str {
    match code {
        "failed" => "the one before failed",
        "released" => "the one before stopped",
        "not_begun" => "the one before did not begin",
        other => reason(other),
    }
}

/// How long changes of holder took, in words; nothing before the first.
pub(super) fn figures(statistics: &Value) -> Option<String> {
    let number = |key: &str| statistics[key].as_u64().unwrap_or_default();
    let average = number("total_us").checked_div(number("count"))?;
    let ms = |us: u64| millis(us / 1_000);
    let (least, most, last) = (ms(number("min_us")), ms(number("max_us")), ms(number("last_us")));
    Some(format!("{}, which took {least} to {most}, {} in the mean, the last {last}", number("count"), ms(average)))
}

fn figures_of(took: &[u64]) -> Option<String> {
    let (least, most, last) = (took.iter().min()?, took.iter().max()?, took.last()?);
    let total: u64 = took.iter().fold(0, |sum, us| sum.saturating_add(*us));
    figures(&serde_json::json!({
        "count": took.len(), "total_us": total, "min_us": least, "max_us": most, "last_us": last,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn turns_have_names_and_end_with_the_one_that_goes_on() {
        let turn = |reason: &str, took: Value| json!({ "reason": reason, "by": "x", "since": 1_000, "took_us": took });
        let role = json!({
            "role": "primary", "statistics": { "count": 2 }, "vacancy": { "why": "nobody acts" },
            "holder": "2", "name": "b", "token": {}, "since": 5_000, "reason": "switchover", "by": "me", "took_us": 7,
            "history": [
                { "holder": "1", "token": {}, "turn": turn("first", Value::Null) },
                { "holder": null, "token": {}, "turn": turn("withdrawn", Value::Null) },
            ],
        });
        let turns = turns(&role, &[json!({ "node": "1", "name": "a" })]);
        let told: Vec<_> = turns.iter().map(|turn| (turn.who.as_str(), turn.since, turn.took)).collect();
        assert_eq!(told, [("a", 1_000, None), ("nobody", 1_000, None), ("b", 5_000, Some(7))]);
        let told = for_programs(&role, &turns);
        let part =
            |key: &str| told["turns"].as_array().unwrap().iter().map(|turn| turn[key].clone()).collect::<Vec<_>>();
        assert_eq!(part("holder"), [json!("1"), Value::Null, json!("2")]);
        assert_eq!(part("name"), [json!("a"), Value::Null, json!("b")]);
        assert_eq!(part("until"), [json!(1_000), json!(5_000), Value::Null], "the last one goes on");
        assert_eq!((&told["role"], &told["statistics"]["count"]), (&json!("primary"), &json!(2)));
        assert_eq!(told["vacancy"]["why"], "nobody acts");
    }

    #[test]
    fn what_became_of_the_one_before_is_not_told_as_the_holders() {
        for code in ["failed", "released", "not_begun"] {
            assert!(briefly(code).starts_with("the one before "), "{code}");
        }
        assert_eq!(briefly("switchover"), "an operator moved it");
    }

    #[test]
    fn figures_have_a_mean() {
        assert_eq!(figures(&json!({ "count": 0 })), None);
        let told = figures_of(&[10_000, 30_000, 20_000]).unwrap();
        assert_eq!(told, "3, which took 10 ms to 30 ms, 20 ms in the mean, the last 20 ms");
    }
}
