//! Policies of conflicts, set for the whole mesh: read, changed, and decided if nobody else changed them meanwhile.

use super::peer::Link;
use crate::consensus::{self, Expect};
use crate::documents::{Policies, Policy, PolicyHistory};
use crate::error::{Error, ErrorKind};
use crate::node::{self, Command, POLICIES_REGISTER, Proposal, read_policies, write_policies};

/// How often it is tried again when somebody else changed them meanwhile.
const TRIES: usize = 8;

/// Sets one policy, in place of the one for the same documents and place. Gives all.
pub(super) async fn set(link: &Link, policy: Policy) -> Result<Vec<Policy>, Error> {
    let policy = Policy { path: slashed(&policy.path), ..policy };
    policy.check().map_err(|error| Error::new(ErrorKind::Invalid, error))?;
    change(link, |policies| {
        policies.retain(|other| (&other.prefix, &other.path) != (&policy.prefix, &policy.path));
        policies.push(policy.clone());
        Ok(())
    })
    .await
}

/// Takes one policy away. Gives all that are left.
pub(super) async fn remove(link: &Link, prefix: &str, path: &str) -> Result<Vec<Policy>, Error> {
    let path = slashed(path);
    change(link, |policies| {
        let before = policies.len();
        policies.retain(|policy| (policy.prefix.as_str(), policy.path.as_str()) != (prefix, path.as_str()));
        if policies.len() == before {
            let why = format!("there is no policy for {prefix:?} {path:?}");
            return Err(Error::new(ErrorKind::NotFound, why));
        }
        Ok(())
    })
    .await
}

/// The leading slash may be left out, as everywhere.
fn slashed(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

async fn change(link: &Link, change: impl Fn(&mut Vec<Policy>) -> Result<(), Error>) -> Result<Vec<Policy>, Error> {
    let invalid = |why: String| Error::new(ErrorKind::Invalid, why);
    for _ in 0..TRIES {
        let held = match link.command(Command::Register { name: POLICIES_REGISTER.to_owned() }).await? {
            node::Outcome::Register(held) => held,
            other => unreachable!("a question about a register was answered by {other:?}"),
        };
        let (expect, history) = match &held {
            Some(held) => {
                let why = "the policies that were decided cannot be read by this version (`actions set conflicts/policies '[]'` begins anew)";
                let history = read_policies(&held.value).map_err(|error| invalid(format!("{why}: {error}")))?;
                (Expect::Set(held.token), Some(history))
            }
            None => (Expect::Absent, None),
        };
        let mut policies = history.as_ref().map_or_else(Vec::new, |history| history.in_force().all().to_vec());
        change(&mut policies)?;
        let policies = Policies::new(policies).map_err(|error| invalid(error.to_string()))?;
        let now = link.facts.clock.now().wall;
        let history = match history {
            Some(history) => history.then(policies, now),
            None => PolicyHistory::since(policies, now),
        };
        let value = Some(write_policies(&history).map_err(Error::from)?.into());
        let proposal = Proposal { register: POLICIES_REGISTER.to_owned(), expect, value, request: None };
        match link.command(Command::Propose(proposal)).await? {
            node::Outcome::Decided(made) if made.outcome == consensus::Outcome::Done => {
                return Ok(history.in_force().all().to_vec());
            }
            node::Outcome::Decided(_) => {}
            other => unreachable!("Propose was answered by {other:?}"),
        }
    }
    Err(Error::new(ErrorKind::Busy, "the policies change too often: try again"))
}
