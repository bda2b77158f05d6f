//! Who takes a role back by itself that was just moved: whoever moves it is to know that before it happens.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::client::Client;
use crate::failure::Result;
use crate::output::{Output, millis};

/// Who is preferred to this holder and takes the role back, and after how long; null where nobody does, or where that cannot be had.
pub(super) fn by(client: &Client, role: &str, holder: &Value) -> Value {
    let status: Value = client.look("/v1/status", &[]).unwrap_or_default();
    let is_paused = || {
        let roles: Vec<Value> = client.look("/v1/roles", &[]).unwrap_or_default();
        roles.iter().any(|it| it["role"] == role && it["paused"] == true)
    };
    preferred(&status, holder).filter(|_| !is_paused()).unwrap_or_default()
}

/// The same by what a peer tells of itself: all peers should have the same rules for roles.
fn preferred(status: &Value, holder: &Value) -> Option<Value> {
    let rules = status.pointer("/host/roles")?;
    let after = rules["failback_after_ms"].as_u64().filter(|after| *after > 0)?;
    if rules["automatic"] != true || rules["strategy"] != "priority" {
        return None;
    }
    let priority = |member: &Value| member["priority"].as_u64().unwrap_or_default();
    let members = status["members"].as_array()?;
    let is = priority(members.iter().find(|member| member["node"] == *holder)?);
    let is_well =
        |it: &&Value| it["state"] == "alive" && it["observer"] != true && it["read_only"] != true && priority(it) > is;
    // Only who lags by nothing takes it back, so of the same priority the least load decides, and then the id.
    let rank = |it: &&Value| {
        (Reverse(priority(it)), it["load"].as_u64().unwrap_or(u64::MAX), it["node"].as_str().map(str::to_owned))
    };
    let best = members.iter().filter(is_well).min_by_key(rank)?;
    Some(json!({ "node": best["node"], "name": best["name"], "after_ms": after }))
}

pub(super) fn tell(role: &str, failback: &Value, output: Output) -> Result {
    let Some(after) = failback["after_ms"].as_u64() else { return Ok(()) };
    let name = failback["name"].as_str().filter(|name| !name.is_empty()).or_else(|| failback["node"].as_str());
    output.line(format_args!(
        "failback: {} is preferred, and takes it back once it was well for {}; `role pause {role}` keeps it where it is",
        name.unwrap_or("another peer"),
        millis(after)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_role_back_is_who_is_preferred_and_well() {
        let member = |node: &str, priority: u64, state: &str| json!({ "node": node, "name": node, "priority": priority, "state": state });
        let status = |after: u64, strategy: &str| {
            json!({
                "host": { "roles": { "failback_after_ms": after, "strategy": strategy, "automatic": true } },
                "members": [member("a", 200, "alive"), member("b", 100, "alive"), member("c", 65535, "dead"), member("d", 300, "alive"), member("e", 65000, "alive"), member("f", 65000, "alive")],
            })
        };
        let by = |status: &Value, holder: &str| preferred(status, &holder.into()).map(|it| it["node"].clone());
        let good = status(5_000, "priority");
        assert_eq!(by(&good, "b"), Some("e".into()), "the lower id of the same priority");
        assert_eq!(by(&good, "d"), Some("e".into()), "also beyond 255");
        assert_eq!(by(&good, "e"), None);
        assert_eq!(by(&status(0, "priority"), "b"), None);
        assert_eq!(by(&status(5_000, "least-lag"), "b"), None);
        assert_eq!(by(&json!({ "members": [] }), "b"), None, "a peer of before tells no rules");
    }
}
