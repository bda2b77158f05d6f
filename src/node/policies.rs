//! Policies of conflicts: decided for the whole mesh, in a register; from there they reach documents, on every peer.

use std::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::Node;
use super::edge::{CommandError, Held};
use super::hosted::Wait;
use super::record::Own;
use crate::conflict::Rule;
use crate::consensus::{Token, VALUE_MAX, Value};
use crate::documents::{Policies, Policy, PolicyHistory, PolicySet};
use crate::types::{Mint, Now, WallTime};

/// The register that holds them, as JSON.
pub const POLICIES_REGISTER: &str = "conflicts/policies";

/// By what this peer decides what shows where several values stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoliciesStatus {
    /// The policies in force here, in order of prefix and path.
    pub policies: Vec<Policy>,
    /// The decision that set them; absent if none is known here: then nobody has, or this peer has never heard of it.
    pub decided: Option<Token>,
    /// Since when these hold; absent if nobody has decided any, or the decision did not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<WallTime>,
    /// Those before them that are remembered, the oldest first: what met earlier is told by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<PolicySet>,
    /// Why what was decided cannot be read here: an older version. What was in force before stays so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Functions that policies name and that this peer does not have: it shows the last write where others show what the function makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What a peer keeps of the newest decision about policies that it has heard of. It goes by that until it hears of a newer one, also after
/// a start, however long it is alone: a voter cannot tell then which entries of its log are decided, and who does not vote has none.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Remembered {
    /// Of which group the decision is.
    pub founding: Mint,
    /// The decision.
    pub token: Token,
    /// The policies, as the register holds them.
    pub value: Value,
}

/// Policies as the register holds them: with those before, and since when each held. A register of before that was kept is a list of
/// policies.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The oldest first.
    sets: Vec<PolicySet>,
    /// Whether older ones were forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forgot: bool,
}

/// Policies as the register holds them. The oldest are forgotten if there is no room for them.
///
/// # Errors
/// [`CommandError::Proposal`] if those in force are too long for a register.
pub fn write_policies(policies: &PolicyHistory) -> Result<Vec<u8>, CommandError> {
    let mut kept = policies.clone();
    loop {
        let written = Written { sets: kept.sets().to_vec(), forgot: kept.has_forgotten() };
        let bytes = serde_json::to_vec(&written).expect("policies have text keys");
        if bytes.len() <= VALUE_MAX {
            return Ok(bytes);
        }
        kept = kept.shorter().ok_or_else(|| {
            let why = format!("the policies take {} bytes, the limit is {VALUE_MAX}", bytes.len());
            CommandError::Proposal { why }
        })?;
    }
}

/// Policies out of a register.
///
/// # Errors
/// Why they cannot be read, in words.
pub fn read_policies(bytes: &[u8]) -> Result<PolicyHistory, String> {
    let words = |error: serde_json::Error| error.to_string();
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let policies: Policies = serde_json::from_slice(bytes).map_err(words)?;
        return Ok(policies.into());
    }
    let Written { sets, forgot } = serde_json::from_slice(bytes).map_err(words)?;
    PolicyHistory::new(sets, forgot).map_err(|error| error.to_string())
}

/// How far ahead of this peer's clock the moment of a set may be: clocks of a mesh that are a day apart need somebody to look at them.
const AHEAD_MAX: Duration = Duration::from_secs(86_400);

/// Whether every peer can read these policies, and whoever sets the next ones can put them behind.
///
/// # Errors
/// Why not, in words.
pub(super) fn check_policies(bytes: &[u8], now: WallTime) -> Result<(), String> {
    let history = read_policies(bytes).map_err(|why| format!("no policies: {why}"))?;
    let most = now.as_millis().saturating_add(u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX));
    let ahead = history.sets().iter().filter_map(|set| set.since).find(|since| since.as_millis() > most);
    match ahead {
        Some(since) => {
            Err(format!("they are to hold from {since} on, which is more than a day ahead of this peer's clock"))
        }
        None => Ok(()),
    }
}

impl Node {
    /// What was decided may have changed.
    pub(super) fn mind_policies(&mut self, now: Now) {
        let Some(Held { token, value }) = self.register(POLICIES_REGISTER) else { return };
        let founding = self.consensus.view().founding();
        let is_known = |it: &Remembered| it.founding == founding && token <= it.token;
        if self.remembered.as_ref().is_some_and(is_known) {
            return;
        }
        let value = Value::new(value).expect("it was in a register");
        self.remembered = Some(Remembered { founding, token, value });
        self.go_by_policies();
        self.keep_policies(now);
    }

    /// Writes down by which policies it goes, unless it is written down or cannot be.
    pub(super) fn keep_policies(&mut self, now: Now) {
        if let Some(remembered) = &self.remembered
            && self.read_only.is_none()
            && self.shared.life.policies.as_ref() != Some(remembered)
        {
            self.shared.append(now, &Own::Policies(remembered.clone()), Wait::Node);
        }
    }

    /// Has what is remembered decide what shows; at the start, and whenever that changes.
    pub(super) fn go_by_policies(&mut self) {
        self.policies.decided = self.remembered.as_ref().map(|remembered| remembered.token);
        self.policies.unreadable = None;
        let default = || Ok(self.documents.view().config().policies.clone().into());
        let read = self.remembered.as_ref().map_or_else(default, |it| read_policies(it.value.bytes()));
        match read {
            Ok(history) => {
                let policies = history.in_force();
                let known = &self.documents.view().config().customs;
                let missing = policies.all().iter().filter_map(|policy| match &policy.rule {
                    Rule::Custom(name) if known.get(name).is_none() => Some(name.clone()),
                    _ => None,
                });
                self.policies.missing = missing.collect();
                self.policies.missing.sort();
                self.policies.missing.dedup();
                self.policies.policies = policies.all().to_vec();
                let (last, earlier) = history.sets().split_last().expect("there is one");
                (self.policies.since, self.policies.earlier) = (last.since, earlier.to_vec());
                self.documents.set_policies(history);
            }
            Err(why) => self.policies.unreadable = Some(why),
        }
    }

    /// By what it is decided what shows.
    #[must_use]
    pub const fn policies(&self) -> &PoliciesStatus {
        &self.policies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::POLICY_SETS_MAX;

    fn policies(prefix: &str, rule: Rule) -> Policies {
        let policy = Policy { prefix: prefix.to_owned(), rule, ..Policy::default() };
        Policies::new(vec![policy]).unwrap()
    }

    #[test]
    fn a_register_holds_the_policies_and_those_before_them_and_old_ones_are_read() {
        let history = PolicyHistory::from(Policies::default())
            .then(policies("a", Rule::Manual), WallTime::from_micros(1_000_000))
            .then(policies("a", Rule::Priority), WallTime::from_micros(2_000_000));
        let bytes = write_policies(&history).unwrap();
        let golden = concat!(
            r#"{"sets":[{"policies":[]},"#,
            r#"{"since":1000000,"policies":[{"prefix":"a","path":"","rule":"manual"}]},"#,
            r#"{"since":2000000,"policies":[{"prefix":"a","path":"","rule":"priority"}]}]}"#
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), golden);
        assert_eq!(read_policies(golden.as_bytes()), Ok(history));
        let old = r#" [{"prefix":"a","rule":"manual"}]"#;
        assert_eq!(read_policies(old.as_bytes()), Ok(policies("a", Rule::Manual).into()));
        for wrong in ["", "{}", "7", r#"{"sets":[]}"#, r#"{"sets":[{"policies":[]}],"more":1}"#, r#"[{"prefix":1}]"#] {
            assert!(read_policies(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_there_is_no_room_the_oldest_are_forgotten() {
        let long = |n: u64| policies(&format!("{n:01000}"), Rule::Manual);
        let history = (1..=POLICY_SETS_MAX as u64)
            .fold(PolicyHistory::default(), |all, n| all.then(long(n), WallTime::from_micros(n * 1_000)));
        assert_eq!(history.sets().len(), POLICY_SETS_MAX);
        let read = read_policies(&write_policies(&history).unwrap()).unwrap();
        assert!(read.sets().len() < POLICY_SETS_MAX && read.has_forgotten());
        assert_eq!((read.in_force(), read.sets().last()), (history.in_force(), history.sets().last()));
        let many = (0..20).map(|n| Policy { prefix: format!("{n:01000}"), ..Policy::default() }).collect();
        let history = history.then(Policies::new(many).unwrap(), WallTime::from_micros(99_000));
        assert!(matches!(write_policies(&history), Err(CommandError::Proposal { .. })));
    }
}
