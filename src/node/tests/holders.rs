//! What a node says of roles and of who decides.

use super::*;
use crate::failover::Candidate;
use crate::roles::Config as RolesConfig;

/// A host that is configured so, and may found the group of voters.
fn preferred(n: u128, priority: u16, founds: bool) -> Host {
    let setup = Setup {
        identity: Identity { node: id(n), cluster: ClusterId::from_bytes([7; 32]) },
        seed: [u8::try_from(n).unwrap(); 32],
        meta: Meta { priority, ..Meta::default() },
        config: Config { roles: RolesConfig::primary(), ..Config::default() },
        founds,
    };
    let mut host = Host::of(setup, BTreeMap::new());
    host.settle(1);
    host
}

/// Time passes, and nobody is there.
fn alone(host: &mut Host, from: u64, to: u64) {
    for at in from..to {
        for _ in 0..16 {
            host.handle(at, Input::Wake);
            host.settle(at);
        }
    }
}

#[test]
fn priorities_count_for_roles_over_all_that_can_be_configured() {
    let (mut a, mut b) = (preferred(1, 300, true), preferred(2, 65_000, false));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    let candidates: Vec<_> = a.node().candidates(now(12).mono).iter().map(|it| (it.node, it.priority)).collect();
    assert_eq!(candidates, [(id(1), Candidate::priority_of(300)), (id(2), Candidate::priority_of(65_000))]);
    let deciders = b.node().deciders();
    let told: Vec<_> = deciders.members.iter().map(|it| (it.node, it.priority, it.ranks_as)).collect();
    assert_eq!(told[0], (id(1), 300, 255), "as it says itself, and as the voters keep it: {told:?}");
}

#[test]
fn whose_disk_is_full_says_that_of_roles_and_not_that_nobody_leads() {
    let mut host = preferred(1, 100, true);
    alone(&mut host, 1, 12);
    assert_eq!(host.node().roles(now(12)).first().and_then(|role| role.holder), Some(id(1)));
    host.full = true;
    host.set(1, 12, 41).unwrap_err();
    alone(&mut host, 12, 16);
    let status = host.node().status(now(16));
    let told = &status.vacancies[0];
    assert_eq!((status.vacancies.len(), told.code), (1, VacancyCode::ReadOnly), "{told:?}");
    assert!(told.why.contains("no space") && told.why.contains("this peer was primary until then"), "{told:?}");
    assert!(told.cure.contains("make room") && !told.cure.contains("nobody leads"), "{told:?}");
    assert!(status.coordination.reasons.iter().all(|why| !why.contains("nobody leads")), "{:?}", status.coordination);
    host.full = false;
    alone(&mut host, 16, 40);
    let told = host.node().status(now(40)).vacancies;
    assert!(told.iter().all(|it| it.code != VacancyCode::ReadOnly), "{told:?}");
}
