//! Policies of conflicts: decided for the whole mesh, in a register; from there they reach documents, on every peer.

use serde::Serialize;

use super::Node;
use super::edge::{CommandError, Held};
use crate::conflict::Rule;
use crate::consensus::{Token, VALUE_MAX};
use crate::documents::{Policies, Policy};

/// The register that holds them, as JSON.
pub const POLICIES_REGISTER: &str = "conflicts/policies";

/// By what this peer decides what shows where several values stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoliciesStatus {
    /// The policies in force here, in order of prefix and path.
    pub policies: Vec<Policy>,
    /// The decision that set them; absent if none is known here: then nobody has, or this peer has not heard of it since its start.
    pub decided: Option<Token>,
    /// Why what was decided cannot be read here: an older version. What was in force before stays so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Functions that policies name and that this peer does not have: it shows the last write where others show what the function makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Policies as the register holds them.
///
/// # Errors
/// [`CommandError::Proposal`] if they are too long for a register.
pub fn write_policies(policies: &Policies) -> Result<Vec<u8>, CommandError> {
    let bytes = serde_json::to_vec(policies.all()).expect("policies have text keys");
    if bytes.len() > VALUE_MAX {
        let why = format!("the policies take {} bytes, the limit is {VALUE_MAX}", bytes.len());
        return Err(CommandError::Proposal { why });
    }
    Ok(bytes)
}

/// Policies out of a register.
///
/// # Errors
/// Why they cannot be read, in words.
pub fn read_policies(bytes: &[u8]) -> Result<Policies, String> {
    let policies: Vec<Policy> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Policies::new(policies).map_err(|error| error.to_string())
}

impl Node {
    /// What was decided may have changed.
    pub(super) fn mind_policies(&mut self) {
        let held = self.register(POLICIES_REGISTER);
        let decided = held.as_ref().map(|held| held.token);
        if decided.is_some() && decided == self.policies.decided {
            return;
        }
        self.policies.decided = decided;
        self.policies.unreadable = None;
        let default = || Ok(self.documents.view().config().policies.clone());
        let read = held.map_or_else(default, |Held { value, .. }| read_policies(&value));
        match read {
            Ok(policies) => {
                let known = &self.documents.view().config().customs;
                let missing = policies.all().iter().filter_map(|policy| match &policy.rule {
                    Rule::Custom(name) if known.get(name).is_none() => Some(name.clone()),
                    _ => None,
                });
                self.policies.missing = missing.collect();
                self.policies.missing.sort();
                self.policies.missing.dedup();
                self.policies.policies = policies.all().to_vec();
                self.documents.set_policies(policies);
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
