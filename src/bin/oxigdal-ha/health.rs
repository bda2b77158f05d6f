//! What is wrong with a peer, from what it says of itself, and what to do about it.

use serde_json::Value;

use crate::output::{bytes, millis};

/// What is wrong with a peer, and what to do about it.
pub(crate) fn troubles(status: &Value) -> Vec<(String, String)> {
    let mut troubles = Vec::new();
    let mut trouble = |what: String, advice: &str| troubles.push((what, advice.to_owned()));
    if let Some(fault) = status["read_only"].as_object() {
        let word = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let advice = match word("kind").as_str() {
            "full" => "make room on the disk: edits are taken again within minutes; nothing acknowledged is lost",
            _ => "replace the disk or mend it, then restart the peer; nothing acknowledged is lost",
        };
        trouble(format!("it takes no edits: {}: {}", word("what"), word("why")), advice);
    }
    if let Some(stalled) = status["disk_stalled_ms"].as_u64() {
        trouble(
            format!("its disk has not answered a write for {}", millis(stalled)),
            "look at the disk, and at what it is reached through; others do not rely on this peer until it answers, and nothing is lost",
        );
    }
    vacancies(status, &mut trouble);
    not_all_there(status, &mut trouble);
    if let Some(cut) = status["log_cut"].as_str() {
        trouble(
            format!("its log had lost its end when it started: {cut}"),
            "what others hold of it has come back, or does; look at the disk and at how the machine lost its power. \
             This is told until the next start",
        );
    }
    archive(status, &mut trouble);
    backups(status, &mut trouble);
    snapshots(status, &mut trouble);
    scrubbed(status, &mut trouble);
    papers(&status["admission"], &mut trouble);
    timelines(&status["admission"]["timeline"], &mut trouble);
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    let not_linked = not_linked(status);
    let barred = |one: &&Value| expelled_of(status).contains(&one["node"]);
    for one in not_linked.iter().filter(|one| one["refused"] == true && !barred(one)) {
        trouble(without_link(one), advice(one, status));
    }
    if members.len() <= 1 && status.pointer("/network/links").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        for one in not_linked.iter().filter(|one| one["refused"] != true) {
            trouble(without_link(one), "look whether a peer runs there and whether the network between is whole");
        }
    }
    let expelled = expelled_of(status);
    for state in ["suspect", "dead"] {
        let why = |member: &Value| {
            let why = not_linked.iter().find(|one| one["node"] == member["node"] && one["refused"] != true);
            why.map(|one| format!(" ({})", text(one, "why"))).unwrap_or_default()
        };
        let names: Vec<String> = members
            .iter()
            .filter(|member| member["state"] == state && !expelled.contains(&member["node"]))
            .map(|member| format!("{}{}", text(member, "name"), why(member)))
            .collect();
        if !names.is_empty() {
            let advice =
                "look whether it runs and whether the network between is whole; its edits arrive when it is back";
            trouble(format!("{state}: {}", names.join(", ")), advice);
        }
    }
    replicas(status, members, &mut trouble);
    orphans(status, &mut trouble);
    quarantined(status, &mut trouble);
    policies(status, &mut trouble);
    differing(status, &mut trouble);
    troubles
}

/// What it cannot merge yet.
fn orphans(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let orphans = status["orphans"].as_u64().unwrap_or_default();
    if orphans > 0 {
        trouble(
            format!("{orphans} changes wait for others that they build on"),
            "they are asked for; look again in a while",
        );
    }
}

/// Roles in which nobody acts, as far as it can tell.
fn vacancies(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    for vacancy in status["vacancies"].as_array().into_iter().flatten() {
        trouble(text(vacancy, "why").to_owned(), text(vacancy, "cure"));
    }
}

/// What it does not have yet, and will have.
fn not_all_there(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    if let Some(restoring) = status["restoring"].as_object() {
        let count = |key: &str| restoring.get(key).and_then(Value::as_u64).unwrap_or_default();
        trouble(
            format!("it restores documents: {} of {}", count("done"), count("of")),
            "what is not restored yet is answered later; /readyz says when all is",
        );
    }
    if status.pointer("/host/filling") == Some(&Value::Bool(true)) {
        let behind = status.pointer("/intake/behind").and_then(Value::as_u64).unwrap_or_default();
        trouble(
            format!("it is being filled: its neighbours hold more of {behind} logs"),
            "what it lacks still is answered as if it were not there; /readyz says when it has all that they held",
        );
    }
}

fn snapshots(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let refused = status.pointer("/snapshots/refused").and_then(Value::as_array);
    for one in refused.into_iter().flatten() {
        trouble(
            format!("its start did not take the snapshot {}: {}", text(one, "file"), text(one, "why")),
            "the log itself was read instead, and says all that is in it. If the snapshot was damaged, look at the disk. This is told until \
             the next snapshot is taken, or the next start",
        );
    }
}

/// Damage before the snapshot that the start went on from.
fn scrubbed(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let Some(scrub) = status.pointer("/host/scrub") else { return };
    let damage = scrub["damage"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(first) = damage.first() else { return };
    let others = damage.len() as u64 - 1 + scrub["more"].as_u64().unwrap_or_default();
    let others = if others > 0 { format!(", and in {others} more segments") } else { String::new() };
    let (file, byte) = (text(first, "file"), first["byte"].as_u64().unwrap_or_default());
    trouble(
        format!("its log is damaged at {file}, byte {byte}{others}: {}", text(first, "what")),
        "it serves from a snapshot, and a start without one would be refused. Neighbours hold the same entries: see that they are in \
         step (`oxigdal-ha lag`), look at the disk, stop it, save its data directory, then `oxigdal-ha rebuild`",
    );
}

/// Backups that were not taken as they should be.
fn backups(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let Some(backups) = status.pointer("/host/backups") else { return };
    if let Some(why) = backups["error"].as_str() {
        trouble(format!("schedules of backups: {why}"), "mend the file; until then nothing of it is taken");
    }
    for one in backups["schedules"].as_array().into_iter().flatten() {
        if let Some(why) = one.pointer("/last/error").and_then(Value::as_str) {
            let name = text(one, "name");
            trouble(
                format!(
                    "the backup {name} failed: {why}; it is tried again every {}",
                    millis(one["retry_ms"].as_u64().unwrap_or_default())
                ),
                "`oxigdal-ha backup schedule list --last 9` shows what came before",
            );
        }
    }
}

/// How far behind its archive is, also where all is well.
pub(crate) fn archived(status: &Value) -> Option<String> {
    let archive = status.pointer("/host/archive").filter(|archive| archive.is_object())?;
    let number = |pointer: &str| archive.pointer(pointer).and_then(Value::as_u64);
    let repository = text(archive, "repository");
    let Some(lag) = number("/lag_ms") else { return Some(format!("{repository}, nothing of the log is in it yet")) };
    let records = number("/behind/records").unwrap_or_default();
    let records = if records == 1 { "1 record".to_owned() } else { format!("{records} records") };
    Some(format!("{repository}, {} behind, {records} not in it yet", millis(lag)))
}

/// An archive that is behind says how far, and why.
fn archive(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let Some(archive) = status.pointer("/host/archive").filter(|archive| archive.is_object()) else { return };
    let number = |key: &str| archive[key].as_u64();
    let repository = text(archive, "repository");
    let lag = number("lag_ms")
        .map_or_else(|| "nothing of the log is in it yet".into(), |lag| format!("{} behind", millis(lag)));
    match (text(archive, "state"), archive["last_error"].as_str()) {
        ("refused", Some(why)) => trouble(
            format!("its archive {repository} takes nothing from it, {lag}: {why}"),
            "find the other peer with this identity and stop it; this one goes on by itself when that one is silent",
        ),
        ("log_damaged", Some(why)) => trouble(
            format!("its archive {repository} cannot go on, {lag}: {why}"),
            "the log is damaged, and what stands behind that is never archived. Neighbours hold the same entries: see that they are in step \
             (`oxigdal-ha lag`), look at the disk, stop it, save its data directory, then `oxigdal-ha rebuild --repo` with this archive",
        ),
        ("gone", Some(why)) => trouble(
            format!("its archive {repository} is gone, {lag}: {why}"),
            "what is new is on this peer and its neighbours only. If it is a share or a disk, mount it again: the archive goes on by itself, \
             without a gap. If it was removed for good, restart this peer: it makes a new one, and ships all of its log to it",
        ),
        (_, Some(why)) => trouble(
            format!("its archive {repository} is {lag}: {why}"),
            "it is tried again and catches up by itself, without a gap; until then what is new is on this peer and its neighbours only",
        ),
        _ if number("lag_ms") > number("every_ms").map(|every| every.saturating_mul(3).max(15_000)) => trouble(
            format!("its archive {repository} is {lag}"),
            "the store takes less than is written: look at its speed, or lower archive.bytes",
        ),
        _ => {}
    }
}

/// It may show something else than others.
fn policies(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    for name in status["missing_functions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        trouble(
            format!("a policy of conflicts names the function {name:?}, which this peer does not have"),
            "where that decides it shows the last write, others what the function makes: give it the function, or set another rule",
        );
    }
    if let Some(why) = status["unreadable_policies"].as_str() {
        trouble(
            format!("the policies of conflicts cannot be read: {why}"),
            "a newer version wrote them: update this peer; until then it shows by what was decided before",
        );
    }
}

fn quarantined(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    for origin in status["quarantined"].as_array().into_iter().flatten() {
        let member = members.iter().find(|member| member["node"] == origin["node"]);
        let name = member.map_or_else(|| text(origin, "node"), |member| text(member, "name"));
        let number = |key: &str| origin[key].as_u64().unwrap_or_default();
        if number("refused") > 0 {
            trouble(
                format!("{} changes in the logs of {name} were refused", number("refused")),
                "it, or who passed them on, sends what no correct peer sends: `oxigdal-ha quarantine ls` says what; \
                 consider `oxigdal-ha revoke`",
            );
        } else {
            trouble(
                format!("{name} has {} logs and {} waiting changes", number("logs"), number("waiting")),
                "its disk is put back again and again, or it lies: `oxigdal-ha quarantine ls`",
            );
        }
    }
}

fn differing(status: &Value, trouble: &mut impl FnMut(String, &str)) {
    let differing = status.pointer("/audit/differing").and_then(Value::as_object).into_iter().flatten();
    for (peer, docs) in differing {
        let docs: Vec<&str> = docs.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        trouble(
            format!("documents differ from those of {peer}, though the logs are the same: {}", docs.join(", ")),
            "both build them again from their logs; if they still differ after the next audit, look at the machines' memory \
             and report it: this is a defect",
        );
    }
}

/// Who lags, and with whom nothing is exchanged.
fn replicas(status: &Value, members: &[Value], trouble: &mut impl FnMut(String, &str)) {
    for one in status["lagging"].as_array().into_iter().flatten() {
        let count = |key: &str| one[key].as_u64().unwrap_or_default();
        trouble(
            format!(
                "{} lags: it lacks {} changes ({}), the oldest for {}, as of {} ago",
                text(one, "name"),
                count("changes"),
                bytes(count("bytes")),
                millis(count("lag_ms")),
                millis(count("as_of_ms"))
            ),
            "look at its `status`, its disk and the network between; the thresholds are `replication.lag-warn-*`",
        );
    }
    let name = |id: &Value| {
        let member = members.iter().find(|member| member["node"] == *id);
        member.map_or_else(|| id.as_str().unwrap_or_default().to_owned(), |member| text(member, "name").to_owned())
    };
    for (key, where_) in [("paused", "is paused here"), ("paused_by", "has this peer paused")] {
        for id in status[key].as_array().into_iter().flatten() {
            trouble(
                format!("{} {where_}: no data is exchanged with it", name(id)),
                "`lag` shows what piles up; `oxigdal-ha peer resume` at who paused ends it, and nothing is lost",
            );
        }
    }
}

/// Who was expelled: that they are gone is as it should be.
fn expelled_of(status: &Value) -> &[Value] {
    status["admission"]["expelled"].as_array().map_or(&[][..], Vec::as_slice)
}

/// What is not wrong, and would be if something else went wrong too.
pub(crate) fn warnings(status: &Value) -> Vec<(String, String)> {
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    let others = members.iter().filter(|member| member["read_only"] == true && member["node"] != status["node"]);
    let read_only = others.map(|member| {
        let what = format!("{} takes no writes: its log cannot grow", text(member, "name"));
        (what, "look at its disk, and at its `status`; what it holds it still gives".to_owned())
    });
    let mut warnings: Vec<(String, String)> = read_only.collect();
    if let Some(why) = status.pointer("/host/recording/ended").and_then(Value::as_str) {
        let file = status.pointer("/host/recording/path").and_then(Value::as_str).unwrap_or_default();
        let advice = "what it holds by then is good; `run --record` with another file begins anew".to_owned();
        warnings.push((format!("it is not recorded any more: {file} ended: {why}"), advice));
    }
    let members = members.len();
    let issuers = status["admission"]["issuers"].as_u64().unwrap_or(u64::MAX);
    if members < 2 || issuers > 1 {
        return warnings;
    }
    let what = match issuers {
        0 => "no issuer is known: nobody can be let in, and tickets are not renewed",
        _ => "there is one issuer: when it is lost for more than a week, peers that restart are not let in again",
    };
    warnings.push((what.to_owned(), "make another member one: `oxigdal-ha key issuer --help`".to_owned()));
    warnings
}

/// A later timeline, or another of the same number, was heard of.
fn timelines(timeline: &Value, trouble: &mut impl FnMut(String, &str)) {
    let heard = &timeline["heard"][0];
    let several = timeline["heard"].as_array().is_some_and(|heard| heard.len() > 1);
    let (here, there) = (text(timeline, "id"), text(heard, "id"));
    let number = |id: &str| id.split('-').next().and_then(|number| number.parse::<u32>().ok());
    match (number(here), number(there)) {
        (_, None) => {}
        (here_n, there_n) if here_n == there_n => trouble(
            format!(
                "two timelines of this mesh were begun apart from each other: {here}, which this peer is on, and {there}"
            ),
            "decide which one counts; where the other is given up: stop the peer, `oxigdal-ha timeline adopt --other-fork`, start it",
        ),
        _ if several => trouble(
            format!(
                "two new timelines of this mesh were begun apart from each other; this peer is on {here}, the old one"
            ),
            "decide which one counts, and give its statement to `oxigdal-ha timeline adopt --statement`: `timeline show` prints both",
        ),
        _ => trouble(
            format!(
                "a new timeline of this mesh has begun: {there}, at {}; this peer is on {here}, the old one",
                text(heard, "began")
            ),
            "peers of the new one exchange nothing with it. To go over: stop it, `oxigdal-ha timeline adopt`, start it; what it holds is \
             kept aside",
        ),
    }
}

fn papers(papers: &Value, trouble: &mut impl FnMut(String, &str)) {
    let (until, by) = (text(papers, "ticket_until"), text(papers, "signed_by"));
    match text(papers, "standing") {
        "expired" => trouble(
            format!("its ticket expired at {until}: nobody lets it in until an issuer renews it"),
            "an issuer must run and be within reach; if none is left, make a member one: `oxigdal-ha key issuer --help`",
        ),
        "issuer_revoked" => trouble(
            format!("its ticket is worthless: the issuer on node {by} that signed it is revoked"),
            "get an invite from another issuer: `oxigdal-ha key renew --invite INVITE`",
        ),
        "revoked" => trouble(
            "it is expelled from the mesh".to_owned(),
            "its documents can be read here; to come back it needs a data directory of its own anew, and an invite",
        ),
        _ if papers["overdue"] == true => trouble(
            format!("its ticket is good until {until} and should have been renewed: no issuer was reached"),
            "see `oxigdal-ha key issuer list`; to make another member an issuer: `oxigdal-ha key issuer --help`",
        ),
        _ => {}
    }
    if papers["issuer_ends"] == true {
        let until = text(papers, "issuer_until");
        trouble(
            format!("it is an issuer until {until} only, and the root key is elsewhere"),
            "renew its certificate: `oxigdal-ha key issuer request`, sign, install",
        );
    }
}

/// With whom the peer is not linked though it was tried lately.
pub(crate) fn not_linked(status: &Value) -> &[Value] {
    status.pointer("/network/not_linked").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

/// Somebody who is not linked, and why.
pub(crate) fn without_link(one: &Value) -> String {
    let who = match (text(one, "name"), text(one, "node")) {
        ("", "") => "somebody".to_owned(),
        ("", node) => format!("node {node}"),
        (name, node) => format!("{name} ({node})"),
    };
    let at = match text(one, "address") {
        "" => String::new(),
        address => format!(" at {address}"),
    };
    format!("not linked with {who}{at}: {}", text(one, "why"))
}

fn advice(refused: &Value, status: &Value) -> &'static str {
    if refused["timelines"].is_array() {
        return if status.pointer("/admission/timeline/heard/0").is_some() {
            "see there"
        } else {
            "it is on the old timeline and is let in when it has adopted this one: stop it, `oxigdal-ha timeline adopt`, start it"
        };
    }
    if refused["differs"].as_array().is_some_and(|differs| !differs.is_empty()) {
        "all peers must have this alike: correct the settings of the one that is wrong and restart it; \
         `oxigdal-ha config print --origin` says where its value comes from"
    } else {
        "it is tried again; if it should be a member, look at `oxigdal-ha key` on both"
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_alone_says_whom_it_cannot_reach() {
        let alone = serde_json::json!({
            "members": [{ "state": "alive" }],
            "network": { "links": [], "not_linked": [{ "refused": false, "address": "/dns/a", "why": "no route" }] },
        });
        assert_eq!(troubles(&alone)[0].0, "not linked with somebody at /dns/a: no route");
    }

    #[test]
    fn a_role_in_which_nobody_acts_is_a_trouble_with_its_cure() {
        let vacancy =
            serde_json::json!({ "role": "primary", "code": "held", "why": "nobody is primary", "cure": "resume it" });
        let told = troubles(&serde_json::json!({ "vacancies": [vacancy] }));
        assert_eq!(told, [("nobody is primary".to_owned(), "resume it".to_owned())]);
    }

    #[test]
    fn an_archive_says_how_far_behind_it_is_and_what_to_do_if_it_is_gone() {
        let archive = |state: &str, why: Option<&str>| {
            serde_json::json!({ "host": { "archive": {
                "repository": "/srv", "state": state, "last_error": why, "lag_ms": 900, "every_ms": 10_000, "behind": { "records": 7 },
            } }, "members": [{}, {}], "network": { "links": [{}] }, "admission": { "issuers": 2 } })
        };
        let good = archive("current", None);
        assert_eq!(archived(&good).unwrap(), "/srv, 900 ms behind, 7 records not in it yet");
        let told = |status: &Value| {
            let mut told = Vec::new();
            super::archive(status, &mut |what, advice: &str| told.push(format!("{what}; {advice}")));
            told
        };
        assert_eq!(told(&good), Vec::<String>::new());
        let gone = told(&archive("gone", Some("there is no repository"))).remove(0);
        assert!(gone.contains("restart this peer") && !gone.contains("it is tried again"), "{gone}");
    }

    #[test]
    fn who_is_expelled_is_no_trouble() {
        let gone = serde_json::json!({
            "members": [{ "state": "dead", "name": "b", "node": "2" }, { "state": "alive", "node": "1" }],
            "network": { "not_linked": [{ "refused": true, "node": "2", "why": "node 2 is revoked" }] },
            "admission": { "standing": "good", "expelled": ["2"] },
        });
        assert_eq!(troubles(&gone), []);
        let dead = serde_json::json!({ "members": gone["members"], "admission": { "expelled": [] } });
        assert_eq!(troubles(&dead)[0].0, "dead: b");
    }

    #[test]
    fn a_recording_that_ended_is_a_warning() {
        let status = |ended: Option<&str>| {
            let recording = serde_json::json!({ "path": "x.rec", "ended": ended });
            serde_json::json!({ "host": { "recording": recording }, "members": [{}, {}], "admission": { "issuers": 2 } })
        };
        assert_eq!(warnings(&status(None)), []);
        let told = warnings(&status(Some("its disk is too slow")));
        assert_eq!(told[0].0, "it is not recorded any more: x.rec ended: its disk is too slow");
    }

    #[test]
    fn a_mesh_with_one_issuer_is_warned_and_a_peer_alone_is_not() {
        let with = |members: usize, issuers: u64| {
            let members = vec![Value::Null; members];
            warnings(&serde_json::json!({ "members": members, "admission": { "issuers": issuers } })).len()
        };
        assert_eq!([with(1, 1), with(2, 1), with(2, 0), with(5, 2)], [0, 1, 1, 0]);
    }

    #[test]
    fn damage_before_the_snapshot_is_told_with_its_place() {
        let status = |damage: Value| serde_json::json!({ "host": { "scrub": { "damage": damage, "more": 0 } } });
        assert_eq!(troubles(&status(serde_json::json!([]))), []);
        let one = serde_json::json!({ "file": "0000000000000002.wal", "byte": 64, "lsn": 7, "what": "a checksum" });
        let told = troubles(&status(serde_json::json!([one, one])));
        assert_eq!(
            told[0].0,
            "its log is damaged at 0000000000000002.wal, byte 64, and in 1 more segments: a checksum"
        );
        assert!(told[0].1.contains("rebuild"), "{told:?}");
    }

    #[test]
    fn a_start_that_is_not_done_and_a_log_that_was_cut_are_told() {
        let told = troubles(&serde_json::json!({
            "restoring": { "done": 2, "of": 9 }, "log_cut": "segment 3: cut 7 bytes",
        }));
        let words: Vec<&str> = told.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(words[0], "it restores documents: 2 of 9");
        assert!(words[1].contains("segment 3: cut 7 bytes"), "{words:?}");
    }

    #[test]
    fn papers_that_are_worthless_or_soon_will_be_are_told() {
        let told = |papers: Value| troubles(&serde_json::json!({ "admission": papers }));
        let until = "2026-12-01T00:00:00.000Z";
        let good =
            serde_json::json!({ "standing": "good", "overdue": false, "issuer_ends": false, "ticket_until": until });
        assert_eq!(told(good.clone()), []);
        for (key, value, words) in [
            ("standing", "expired".into(), "expired at 2026-12-01"),
            ("standing", "issuer_revoked".into(), "is revoked"),
            ("standing", "revoked".into(), "is expelled"),
            ("overdue", true.into(), "should have been renewed"),
            ("issuer_ends", true.into(), "the root key is elsewhere"),
        ] {
            let mut papers = good.clone();
            papers[key] = value;
            let told = told(papers);
            assert!(told.len() == 1 && told[0].0.contains(words), "{told:?}");
        }
    }

    #[test]
    fn a_healthy_peer_has_no_troubles_and_a_sick_one_each_of_its_own() {
        let healthy =
            serde_json::json!({ "read_only": null, "orphans": 0, "refused": 0, "members": [{ "state": "alive" }] });
        assert_eq!(troubles(&healthy), []);
        let sick = serde_json::json!({
            "read_only": { "kind": "full", "what": "write", "why": "no space" }, "orphans": 2, "refused": 1,
            "lagging": [{ "name": "e", "changes": 3, "bytes": 400, "lag_ms": 61_000, "as_of_ms": 2_000 }],
            "quarantined": [{ "node": "2", "refused": 1, "waiting": 0, "logs": 1 }, { "node": "9", "refused": 0, "waiting": 0, "logs": 40 }],
            "missing_functions": ["union"],
            "members": [{ "state": "dead", "name": "b", "node": "2" }, { "state": "dead", "name": "c", "node": "3" }],
            "network": { "links": [], "not_linked": [
                { "refused": true, "name": "d", "node": "4", "address": "/dns/d", "why": "the configurations differ" },
                { "refused": false, "node": "3", "why": "connection refused" },
            ] },
        });
        let told: Vec<String> = troubles(&sick).into_iter().map(|(what, _)| what).collect();
        assert_eq!(
            told,
            [
                "it takes no edits: write: no space",
                "not linked with d (4) at /dns/d: the configurations differ",
                "dead: b, c (connection refused)",
                "e lags: it lacks 3 changes (400 B), the oldest for 61.0 s, as of 2000 ms ago",
                "2 changes wait for others that they build on",
                "1 changes in the logs of b were refused",
                "9 has 40 logs and 0 waiting changes",
                "a policy of conflicts names the function \"union\", which this peer does not have"
            ]
        );
    }
}
