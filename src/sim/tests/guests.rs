//! Programs that embed nodes: they live and die with their peers, and what they say must hold is held against the run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::scenario;
use crate::documents::{self, Edit};
use crate::node::{Command, CommandError, Outcome};
use crate::sim::{Guest, GuestAt, GuestCx, Judgement, Program, run_hosting};
use crate::types::{CommandId, DocId};

const MESH: &str = r#"
mesh = { peers = 3, delay = "5ms" }
phases = { warm-up = "5s", chaos = "20s", calm = "20s" }
fault = [{ at = "8s", kind = "crash", peers = "p-1", for = "2s", times = 3, every = "4s" }]
"#;

/// Writes a number to a document of its own every second, and remembers the last one that was acknowledged.
#[derive(Debug)]
struct Counter {
    doc: DocId,
    next: u64,
    acknowledged: u64,
    asked: Option<CommandId>,
}

impl Counter {
    fn count(&mut self, cx: &mut GuestCx<'_>) {
        let edits = vec![Edit::Put { value: json!({ "count": self.next }) }];
        let command = documents::Command::Edit { doc: self.doc.clone(), edits, create: false };
        self.asked = Some(cx.ask(Command::Documents(command)));
        cx.wake_at(cx.now.mono + Duration::from_secs(1));
    }
}

impl Guest for Counter {
    fn started(&mut self, cx: &mut GuestCx<'_>) {
        self.count(cx);
    }

    fn woken(&mut self, cx: &mut GuestCx<'_>) {
        self.count(cx);
    }

    fn answered(&mut self, _: &mut GuestCx<'_>, id: CommandId, result: Result<Outcome, CommandError>) {
        assert_eq!((self.asked.take(), result.is_ok()), (Some(id), true));
        (self.acknowledged, self.next) = (self.next, self.next + 1);
    }
}

#[derive(Debug, Default)]
struct Counters {
    /// What each had made durable when its process ended.
    kept: BTreeMap<u32, u64>,
    ended: u64,
    most: u64,
}

impl Program for Counters {
    type At = Counter;

    fn start(&mut self, peer: u32) -> Counter {
        let acknowledged = self.kept.get(&peer).copied().unwrap_or_default();
        let doc = DocId::parse(&format!("count/{peer}")).unwrap();
        Counter { doc, next: acknowledged + 1, acknowledged, asked: None }
    }

    fn ended(&mut self, peer: u32, at: Counter) {
        self.ended += 1;
        self.kept.insert(peer, at.acknowledged);
    }

    fn always(&self, up: &[GuestAt<'_, Counter>]) -> Result<(), String> {
        let above = up.iter().find(|one| one.guest.acknowledged > self.most);
        above.map_or(Ok(()), |one| Err(format!("peer {} has counted to {}", one.peer, one.guest.acknowledged)))
    }

    fn at_rest(&self, up: &[GuestAt<'_, Counter>]) -> Result<(), String> {
        let holds = |one: &GuestAt<'_, Counter>| one.node.documents().docs().count() == 3;
        if up.len() == 3 && up.iter().all(holds) { Ok(()) } else { Err(format!("{} hold all", up.len())) }
    }
}

#[test]
fn guests_live_and_die_with_their_peers() {
    let scenario = scenario(MESH);
    let run = |most| {
        let mut counters = Counters { most, ..Counters::default() };
        let outcome = run_hosting(&scenario, 1, &mut counters, None);
        (outcome, counters)
    };
    let ((first, counters), (second, _)) = (run(100), run(100));
    assert!(first.passed(), "{first}");
    assert_eq!((counters.ended, first.hash), (3, second.hash));
    assert!((8..45).contains(&counters.kept[&0]), "{counters:?}");
    let (failed, _) = run(12);
    match failed.judgement {
        Judgement::Violated { violation, .. } => {
            assert_eq!((violation.check, violation.what.contains("13")), ("H1", true))
        }
        other => panic!("{other:?}"),
    }
}
