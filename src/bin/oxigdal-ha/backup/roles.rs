//! Which roles there are for the schedules of a data directory: one that waits for a role that nobody is ever granted never runs, without a word.
//!
//! Roles are configured at each peer, and the directory does not say where that file is. So its running peer is asked, and where none answers it is
//! looked at what the environment names, as a peer that is started there would.

use std::path::Path;
use std::time::Duration;

use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::roles::RoleName;
use serde_json::Value;

use crate::args::Target;
use crate::client::Client;
use crate::configuration;

/// A command that changes a file does not wait long for a peer.
const ASK_MAX: Duration = Duration::from_secs(2);
/// What to do about a role that nobody knows.
pub(super) const HINT: &str = "roles are named by `roles.names` of the configuration, the same at all peers; `role list` shows those that are held";

/// What is known of roles.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// These, and where they are from.
    These(Vec<String>, &'static str),
    /// No peer of the directory answers, and no configuration is named.
    Nothing,
}

impl Known {
    /// For the peer of this directory.
    pub(super) fn of(dir: &Path, target: &Target) -> Self {
        let told = asked(dir, target).map(|names| Self::These(names, "this peer"));
        told.or_else(|| Some(Self::These(configured()?, "the configuration of this environment")))
            .unwrap_or(Self::Nothing)
    }

    /// What is odd about a role, if it is known to be.
    pub(super) fn unknown(&self, role: &RoleName) -> Option<String> {
        let Self::These(names, whose) = self else { return None };
        if names.iter().any(|name| name == role.as_str()) {
            return None;
        }
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Some(format!("{whose} has no role {:?}; it has: {names}", role.as_str()))
    }

    /// The same, and where nothing is known that.
    pub(super) fn odd(&self, role: &RoleName) -> Option<String> {
        let words = || {
            format!(
                "whether there is a role {:?} is not known: no peer of this directory answers at --api",
                role.as_str()
            )
        };
        self.unknown(role).or_else(|| (*self == Self::Nothing).then(words))
    }
}

/// The roles that the running peer has configured, and those that the mesh has decided about.
fn asked(dir: &Path, target: &Target) -> Option<Vec<String>> {
    let me = Admission::open(dir).ok()??.node();
    let client = Client::new(target).ok()?;
    let status: Value = client.probe("/v1/status", ASK_MAX).ok()?;
    if status["node"] != me.to_string() {
        return None;
    }
    let roles: Vec<Value> = client.probe("/v1/roles", ASK_MAX).ok()?;
    let configured = status.pointer("/host/roles/names")?.as_array()?.iter();
    let all = configured.chain(roles.iter().map(|it| &it["role"])).filter_map(Value::as_str);
    let mut names: Vec<String> = all.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// The roles of the configuration that a peer would be started with here, if one is named.
fn configured() -> Option<Vec<String>> {
    let file = std::env::var_os("OXIGDAL_HA_CONFIG").map(std::path::PathBuf::from);
    if file.is_none() && std::env::var_os("OXIGDAL_HA_ROLES__NAMES").is_none() {
        return None;
    }
    let config = configuration::load(file.as_deref()).ok()?;
    Some(config.roles.roles.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_nobody_has_is_odd_and_one_that_cannot_be_known_is_said_to_be_so() {
        let role = |name: &str| RoleName::new(name).unwrap();
        let known = Known::These(vec!["primary".to_owned()], "this peer");
        assert_eq!(known.odd(&role("primary")), None);
        assert!(known.unknown(&role("primry")).unwrap().ends_with("has no role \"primry\"; it has: primary"));
        assert_eq!(Known::Nothing.unknown(&role("primry")), None, "a list says what is known");
        assert!(Known::Nothing.odd(&role("primry")).unwrap().contains("is not known"));
    }
}
