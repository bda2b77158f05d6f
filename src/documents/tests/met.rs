//! Pages of what met, over documents that are in memory and that are not.

use serde_json::json;

use super::*;
use crate::conflict::Rule;
use crate::documents::{Limits, Look, Meeting, OpenConflict, Policies, Policy, PolicyHistory, PolicySet, Wish};
use crate::types::hex;

/// Two nodes that wrote ten documents apart, of which two have places that both wrote; everything is at both.
fn met(config: &Config) -> [Host; 2] {
    let mut hosts = [Host::with(1, config.clone()), Host::with(2, config.clone())];
    for n in 0..10 {
        hosts[0].put(&format!("d/{n}"), json!({"v": 0, "w": 0}));
        hosts[0].recall(&[]);
    }
    exchange(&mut hosts);
    for doc in ["d/3", "d/7"] {
        hosts[0].set(doc, "v", json!(1));
        hosts[1].set(doc, "v", json!(2));
    }
    hosts[0].set("d/5", "v", json!(1));
    hosts[1].set("d/5", "w", json!(1));
    hosts.iter_mut().for_each(|host| host.recall(&[]));
    exchange(&mut hosts);
    hosts
}

/// Each gets what the other wrote.
fn exchange([one, two]: &mut [Host; 2]) {
    give(one, two);
    give(two, one);
}

fn give(from: &Host, to: &mut Host) {
    let known: Vec<_> = to.log.iter().map(|entry| (entry.0, entry.1)).collect();
    for entry in from.log.iter().filter(|entry| !known.contains(&(entry.0, entry.1))) {
        to.arrive(entry.clone());
    }
    to.recall(&[]);
}

impl Host {
    fn pages(&mut self, look: Look, wish: &Wish, limit: usize) -> (Vec<OpenConflict>, Vec<Meeting>, usize) {
        let (mut all, mut met, mut count, mut after) = (Vec::new(), Vec::new(), 0, None);
        loop {
            let (prefix, wish) = ("d/".to_owned(), wish.clone());
            let command = self.command(Command::Met { prefix, after, limit, look, wish });
            self.recall(&[]);
            let Ok(Outcome::Met { open, trail, cut, versions, next }) = self.reply(command).clone() else {
                panic!("no page")
            };
            assert_eq!(cut, vec![]);
            // What is told and the version of which it is told are of one moment.
            let docs: std::collections::BTreeSet<_> = open.iter().map(|one| &one.doc).collect();
            assert!(docs.into_iter().eq(versions.keys()));
            for (doc, heads) in &versions {
                let now: Vec<String> = self.documents.docs[doc].state.heads.iter().map(|head| hex(head)).collect();
                assert_eq!((heads, heads.len()), (&now, 2));
            }
            all.extend(open);
            met.extend(trail);
            count += 1;
            match next {
                Some(next) => after = Some(next),
                None => return (all, met, count),
            }
        }
    }
}

#[test]
fn open_conflicts_and_the_trail_come_in_pages_and_are_the_same_on_both() {
    let small = Config { memory_bytes: 0, limits: Limits { history: 2, ..Limits::default() }, ..Config::default() };
    for config in [Config::default(), small] {
        let mut hosts = met(&config);
        let wish = Wish::default();
        let [one, two] = hosts.each_mut().map(|host| host.pages(Look::Open, &wish, 1));
        let docs: Vec<&str> = one.0.iter().map(|open| open.doc.as_str()).collect();
        // Only documents in which changes stand side by side are looked at: one a page.
        assert_eq!((docs, one.2), (vec!["d/3", "d/7"], 3));
        assert_eq!(one, two);
        let [one, two] = hosts.each_mut().map(|host| host.pages(Look::Trail, &wish, 2));
        assert_eq!((one.1.len(), one.2), (2, 2));
        assert_eq!(one, two);
        let late = Wish { since: Some(Hlc { wall: WallTime::from_micros(9_000_000), logical: 0 }), ..Wish::default() };
        let other = Wish { by: Some(NodeId::from_u128(7)), ..Wish::default() };
        let own = Wish { by: Some(NodeId::from_u128(1)), until: late.since, ..Wish::default() };
        assert_eq!([late, other, own].map(|wish| hosts[0].pages(Look::Trail, &wish, 9).1.len()), [0, 0, 2]);
    }
}

#[test]
fn a_document_of_which_nothing_is_known_is_looked_at_once() {
    let [mut one, _] = met(&Config::default());
    one.documents.config.memory_bytes = 0;
    one.get("d/0").unwrap();
    let mut again = Host::with(1, Config { memory_bytes: 0, ..Config::default() });
    let (kept, None) = one.documents.kept(None, 99, 1 << 20) else { panic!("there is more") };
    for kept in kept {
        again.documents.restore_kept(kept).unwrap();
    }
    (again.log, again.own) = (one.log.clone(), one.own);
    let first = again.pages(Look::Open, &Wish::default(), 4);
    assert_eq!((first.0.len(), first.2), (2, 3));
    assert_eq!(again.pages(Look::Open, &Wish::default(), 4).2, 1);
}

/// The policy of the place may be among those that are forgotten, also where none that is remembered concerns the document.
#[test]
fn the_trail_says_what_is_forgotten_of_any_document() {
    let [mut one, _] = met(&Config::default());
    let elsewhere = Policy { prefix: "x".into(), rule: Rule::Manual, ..Policy::default() };
    let far = WallTime::from_micros(u64::MAX / 2);
    let set = |policies: Vec<Policy>, since| PolicySet { since, policies: Policies::new(policies).unwrap() };
    let sets = vec![set(vec![elsewhere], Some(far)), set(vec![], Some(WallTime::from_micros(u64::MAX / 2 + 1_000)))];
    one.documents.set_policies(PolicyHistory::new(sets, true).unwrap());
    let ask = Command::Met { prefix: "d/3".into(), after: None, limit: 1, look: Look::Trail, wish: Wish::default() };
    let asked = one.command(ask);
    one.work();
    let Ok(Outcome::Met { trail, .. }) = one.reply(asked) else { panic!() };
    assert!(!trail.is_empty() && trail.iter().all(|met| met.forgotten), "{trail:?}");
}

#[test]
fn what_shows_follows_the_policies_from_the_next_read_on() {
    let [mut one, mut two] = met(&Config::default());
    let before = one.get("d/3").unwrap();
    assert_eq!(two.get("d/3").unwrap(), before);
    let loser = if before["v"] == 1 { 2 } else { 1 };
    let priorities = [(NodeId::from_u128(loser), 1)].into_iter().collect();
    let policy = Policy { prefix: "d/3".into(), path: "/v".into(), rule: Rule::Priority, priorities };
    let policies = Policies::new(vec![policy]).unwrap();
    for host in [&mut one, &mut two] {
        host.documents.set_policies(policies.clone());
        assert_eq!(host.get("d/3").unwrap(), json!({"v": loser, "w": 0}));
        assert_eq!(host.get("d/7").unwrap(), before);
        let scan = host.command(Command::Scan { prefix: "d/3".into(), after: None, limit: 1, values: true });
        host.work();
        let Ok(Outcome::Page { docs, .. }) = host.reply(scan) else { panic!() };
        assert_eq!(docs[0].value, Some(json!({"v": loser, "w": 0})));
    }
    assert!(one.originated.is_empty() && two.originated.is_empty());
}
