//! Waiting until whom a role was granted to has begun, or the move has come to something else.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{find, holder};
use crate::client::Client;
use crate::decisions::token;
use crate::failure::{Failure, Result};
use crate::patience::Patience;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Beyond the time that hooks have: for the lease, the decision, and its way to the asked peer.
const LONGER: Duration = Duration::from_secs(5);

/// What is to be made of what a peer knows of a role.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The new holder has begun.
    Begun,
    /// Not yet, or it is not known.
    NotYet,
    /// It will not, for this reason.
    Failed(String),
}

/// The role, once whom it was granted to under this token has begun. How the role stood before says how long that may take.
pub(super) fn begun(client: &Client, role: &str, under: &Value, before: &Value) -> Result<Value> {
    let (asked, mut patience) = (Instant::now(), Patience::new());
    let mut hooks = promote_limit(before);
    loop {
        let is_late = asked.elapsed() >= hooks + LONGER;
        match find(client, role) {
            Ok(now) => match look(&now, under) {
                Seen::Begun => return Ok(now),
                Seen::Failed(why) => return Err(failed(role, under, &why, &now)),
                Seen::NotYet if is_late => return Err(failed(role, under, &unknown(&now), &now)),
                Seen::NotYet => {
                    patience.heard();
                    hooks = promote_limit(&now);
                }
            },
            // A peer that is busy, that stopped, or that has not heard of the role yet tells the next time.
            Err(failure) if !is_late && (patience.bears(&failure) || failure.is_kind("not_found")) => {}
            Err(failure) => return Err(unheard(failure, role, under)),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn promote_limit(role: &Value) -> Duration {
    Duration::from_millis(role["promote_limit_ms"].as_u64().unwrap_or_default())
}

fn unknown(now: &Value) -> String {
    match now["vacancy"]["why"].as_str() {
        Some(why) => why.to_owned(),
        None => format!("whether {} has begun is not known here by now", holder(now)),
    }
}

/// The asked peer tells nothing more. What was decided is so all the same, and any other peer knows it.
fn unheard(failure: Failure, role: &str, under: &Value) -> Failure {
    let hint = format!(
        "the move is decided, under {}; whether the new holder has begun is not known: ask another peer, `oxigdal-ha role show {role} --api HOST:PORT`",
        token(under)
    );
    failure.hint(hint).adding("role", role.into()).adding("token", under.clone())
}

fn failed(role: &str, under: &Value, why: &str, now: &Value) -> Failure {
    let failure = Failure::new(format_args!("it is decided, under {}; then: {why}", token(under)));
    let data = [("token".to_owned(), under.clone()), ("holder".to_owned(), now["holder"].clone())];
    let failure = failure.kind(Some("not_begun")).data(data.into_iter().collect());
    match now["vacancy"]["cure"].as_str() {
        Some(cure) => failure.hint(cure),
        None => failure.hint(format!("`oxigdal-ha role history {role}` shows what became of it")),
    }
}

fn look(now: &Value, under: &Value) -> Seen {
    let place = |token: &Value| ["epoch", "term", "index"].map(|part| token[part].as_u64().unwrap_or_default());
    let (known, wanted) = (place(&now["token"]), place(under));
    if known < wanted {
        return Seen::NotYet;
    }
    if known == wanted {
        // Nobody will be chosen by itself.
        let rests = matches!(now["vacancy"]["code"].as_str(), Some("promotions_max" | "no_candidate" | "held"));
        return match (now["begun"] == true, rests) {
            (true, _) => Seen::Begun,
            (false, true) => Seen::Failed(now["vacancy"]["why"].as_str().unwrap_or_default().to_owned()),
            (false, false) => Seen::NotYet,
        };
    }
    let past = now["history"].as_array().into_iter().flatten().find(|past| place(&past["token"]) == wanted);
    if past.is_some_and(|past| past["turn"]["took_us"].is_u64()) {
        return Seen::Begun;
    }
    let what = match now["reason"].as_str().unwrap_or_default() {
        "released" => "whom it was granted to gave it up, or its lease lapsed",
        "not_begun" => {
            "whom it was granted to did not begin: its promotion hook failed or took too long, or it was silent"
        }
        "failed" => "whom it was granted to fell silent",
        "withdrawn" => "it was released since",
        _ => "it was moved again since",
    };
    Seen::Failed(format!("{what}; now {} holds it, under {}", holder(now), token(&now["token"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_move_ends_when_the_new_holder_has_begun_or_will_not() {
        let at = |index: u64| json!({ "epoch": 1, "term": 2, "index": index });
        let under = at(7);
        assert_eq!(look(&json!({ "token": at(6), "begun": true }), &under), Seen::NotYet, "not known there yet");
        assert_eq!(look(&json!({ "token": at(7), "begun": null }), &under), Seen::NotYet);
        assert_eq!(look(&json!({ "token": at(7), "begun": true }), &under), Seen::Begun);
        let rests =
            json!({ "token": at(7), "begun": false, "vacancy": { "code": "no_candidate", "why": "nobody is" } });
        assert_eq!(look(&rests, &under), Seen::Failed("nobody is".to_owned()));
        let next = |took: Value| {
            let past = json!({ "token": at(7), "turn": { "took_us": took } });
            json!({ "token": at(9), "name": "c", "reason": "not_begun", "history": [past] })
        };
        assert_eq!(look(&next(json!(5)), &under), Seen::Begun, "and it ended since");
        let Seen::Failed(why) = look(&next(Value::Null), &under) else { panic!("it never began") };
        assert!(why.contains("hook failed") && why.ends_with("now c holds it, under 1.2.9"), "{why}");
    }
}
