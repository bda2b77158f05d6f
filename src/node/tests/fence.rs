//! Tokens that are shown to a peer which knows no role, and what is decided of policies.

use super::*;
use crate::consensus::Token;
use crate::roles::{Refused, RoleName};
use crate::types::{Epoch, Index, Term};

fn token(index: u64) -> Token {
    Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) }
}

fn admit(host: &mut Host, command: u64, index: u64) -> Result<Outcome, CommandError> {
    let id = CommandId::new(command);
    let command = Command::AdmitRole { role: RoleName::primary(), token: token(index) };
    host.handle(2, Input::Command { id, command });
    host.settle(2);
    host.replies.remove(&id).expect("it was answered")
}

#[test]
fn a_peer_that_knows_no_role_keeps_the_highest_token_too() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    assert_eq!(admit(&mut host, 1, 100), Ok(Outcome::RoleAdmitted));
    let stale = |shown| Err(CommandError::RoleRefused(Refused::Stale { shown: token(shown), highest: token(100) }));
    assert_eq!(admit(&mut host, 2, 50), stale(50));
    let mut again = Host::on(1, host.files.clone(), 3);
    assert_eq!(admit(&mut again, 3, 99), stale(99), "also in a later life");
    assert_eq!(admit(&mut again, 4, 100), Ok(Outcome::RoleAdmitted));
}

/// It would keep out all that are ever granted.
#[test]
fn a_token_beyond_all_that_can_be_decided_is_not_kept() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    let refused = admit(&mut host, 1, u64::MAX >> 2);
    assert!(matches!(refused, Err(CommandError::RoleRefused(Refused::Beyond { .. }))), "{refused:?}");
    assert_eq!(admit(&mut host, 2, 100), Ok(Outcome::RoleAdmitted), "nothing was kept");
    assert_eq!(admit(&mut host, 3, 1 << 30), Ok(Outcome::RoleAdmitted), "it may have been cut off for long");
}

#[test]
fn what_is_no_policies_is_not_decided_as_policies() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    let ahead = format!(r#"{{"sets":[{{"since":{},"policies":[]}}]}}"#, u64::MAX / 2);
    for (n, value) in [(1, "sunday"), (2, ahead.as_str())] {
        let (id, register) = (CommandId::new(n), POLICIES_REGISTER.to_owned());
        let value = Some(bytes::Bytes::from(value.to_owned()));
        let proposal = Proposal { register, expect: consensus::Expect::Any, value, request: None };
        host.handle(2, Input::Command { id, command: Command::Propose(proposal) });
        host.settle(2);
        let refused = host.replies.remove(&id);
        assert!(
            matches!(&refused, Some(Err(CommandError::Proposal { why })) if why.contains(POLICIES_REGISTER)),
            "{refused:?}"
        );
    }
}
