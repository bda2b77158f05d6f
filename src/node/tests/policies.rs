//! Policies of conflicts, over starts in which nobody else is heard.

use super::*;
use crate::conflict::Rule;
use crate::documents::{Policies, Policy, PolicyHistory};

fn decide(host: &mut Host, n: u64, at: u64, rule: Rule) {
    let policy = Policy { prefix: "layers".to_owned(), rule, ..Policy::default() };
    let policies = Policies::new(vec![policy]).unwrap();
    let history = PolicyHistory::default().then(policies, WallTime::from_micros(at * 1_000_000));
    let (register, value) = (POLICIES_REGISTER.to_owned(), Some(write_policies(&history).unwrap().into()));
    let command = Command::Propose(Proposal { register, expect: consensus::Expect::Any, value, request: None });
    host.handle(at, Input::Command { id: CommandId::new(n), command });
    host.settle(at);
}

fn rule(host: &mut Host) -> Option<Rule> {
    host.node().policies().policies.first().map(|policy| policy.rule.clone())
}

/// The same disk, and nobody to talk to.
fn alone(n: u128, host: &Host, at: u64) -> Host {
    Host::on(n, host.files.clone(), at)
}

#[test]
fn who_is_alone_after_a_start_shows_by_the_policies_that_it_knew() {
    let (mut a, mut b) = (Host::founder(1, 1), Host::on(2, BTreeMap::new(), 1));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    decide(&mut a, 1, 12, Rule::Priority);
    converse(&mut a, &mut b, 12, 16);
    // The one votes, the other has been told.
    assert_eq!(b.node().consensus().standing(), consensus::Standing::Outsider);
    for (n, host) in [(1, &mut a), (2, &mut b)] {
        let known = host.node().policies().clone();
        assert_eq!(known.policies[0].rule, Rule::Priority);
        assert_eq!(alone(n, host, 20).node().policies(), &known);
    }
    decide(&mut a, 2, 16, Rule::LastWriteWins);
    converse(&mut a, &mut b, 16, 20);
    for (n, host) in [(1, &mut a), (2, &mut b)] {
        assert_eq!(rule(&mut alone(n, host, 30)), Some(Rule::LastWriteWins));
    }
}

/// Of a peer that votes in nothing, which decides nothing anew when it starts.
#[test]
fn a_snapshot_keeps_the_policies() {
    let (mut a, mut b) = (Host::founder(1, 1), Host::on(2, BTreeMap::new(), 1));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    decide(&mut a, 1, 12, Rule::Manual);
    converse(&mut a, &mut b, 12, 16);
    assert_eq!(rule(&mut b), Some(Rule::Manual));
    b.handle(16, Input::Command { id: CommandId::new(2), command: Command::Snapshot });
    b.settle(16);
    converse(&mut a, &mut b, 16, 50);
    assert!(matches!(b.replies.get(&CommandId::new(2)), Some(Ok(Outcome::Snapshot(_)))), "{:?}", b.replies);
    let mut again = alone(2, &b, 60);
    assert!(again.report.as_ref().unwrap().snapshot.is_some(), "{:?}", again.report);
    assert_eq!(again.node().policies(), b.node().policies());
}
