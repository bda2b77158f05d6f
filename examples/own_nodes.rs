//! A program that embeds nodes, tried under virtual time: `cargo run --example own_nodes -- [SEED]`.
//!
//! Three ticket offices, a node beside each. An office hands out numbers one after the other: each is written to the office's own
//! document first, and is the customer's when the node says that it is durable. All that an office knows is in memory, so one
//! whose process was killed reads its document before it opens again. What must hold, whatever happens: no number is handed out
//! twice. The simulator kills an office three times and cuts another one off, and the program says after every second whether it
//! still holds; a minute of that takes a moment.
//!
//! The same state machine serves a real node: its `started`, `heard`, `answered` and `woken` are what a host does with what
//! `oxigdal_ha::driver` tells it. See `oxigdal_ha::sim::guest`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use oxigdal_ha::documents::{self, Edit};
use oxigdal_ha::node::{Command, CommandError, Outcome};
use oxigdal_ha::sim::{self, Found, Guest, GuestAt, GuestCx, Program, Scenario, run_hosting};
use oxigdal_ha::types::{CommandId, DocId};
use serde_json::json;

/// The mesh and the plan of its faults.
const SCENARIO: &str = r#"
schema = 1
description = "Three ticket offices, of which one is killed and one is cut off."
mesh = { peers = 3, delay = "5ms" }
phases = { warm-up = "5s", chaos = "25s", calm = "30s" }

[[fault]]
at = "8s"
kind = "crash"
peers = "p-1"
for = "2s"
times = 3
every = "6s"

[[fault]]
at = "10s"
kind = "cut"
peers = "p-3"
for = "10s"
"#;

/// What each office has. When the run ends nothing may be on its way any more: the mesh must agree then.
const TICKETS: u64 = 60;
/// From one customer to the next.
const PACE: Duration = Duration::from_millis(500);

/// One office: what it knows is in memory, and gone with its process.
struct Office {
    document: DocId,
    /// The last number that it has handed out; unknown until it has read its document.
    last: Option<u64>,
    /// Numbers that customers of this process have.
    handed: Vec<u64>,
    asked: Option<CommandId>,
}

impl Office {
    fn ask(&mut self, cx: &mut GuestCx<'_>) {
        let doc = self.document.clone();
        let command = match self.last {
            None => documents::Command::Get { doc, path: "/last".to_owned() },
            Some(last) => {
                let edits = vec![Edit::Put { value: json!({ "last": last + 1 }) }];
                documents::Command::Edit { doc, edits, create: false }
            }
        };
        self.asked = Some(cx.ask(Command::Documents(command)));
    }
}

impl Guest for Office {
    fn started(&mut self, cx: &mut GuestCx<'_>) {
        self.ask(cx);
    }

    fn answered(&mut self, cx: &mut GuestCx<'_>, id: CommandId, result: Result<Outcome, CommandError>) {
        if self.asked.take_if(|asked| *asked == id).is_none() {
            return;
        }
        match (self.last, result) {
            (None, Ok(Outcome::Documents(documents::Outcome::Value { value, .. }))) => self.last = value.as_u64(),
            (None, Err(CommandError::Documents(documents::Error::NotFound { .. }))) => self.last = Some(0),
            (Some(last), Ok(_)) => {
                self.last = Some(last + 1);
                self.handed.push(last + 1);
            }
            // Whether it was written is not known: the document says.
            (_, _) => self.last = None,
        }
        cx.wake_at(cx.now.mono + PACE);
    }

    fn woken(&mut self, cx: &mut GuestCx<'_>) {
        if self.last.is_none_or(|last| last < TICKETS) {
            self.ask(cx);
        }
    }
}

/// All offices, and what is known of their customers, who outlive any process.
#[derive(Default)]
struct Offices {
    customers: Vec<(u32, u64)>,
    kills: usize,
    /// Only for the test: an office that opens again without a look at its document.
    careless: bool,
}

impl Program for Offices {
    type At = Office;

    fn start(&mut self, peer: u32) -> Office {
        let document = DocId::parse(&format!("office/{peer}")).expect("a document's id");
        Office { document, last: self.careless.then_some(0), handed: Vec::new(), asked: None }
    }

    fn ended(&mut self, peer: u32, office: Office) {
        self.kills += 1;
        self.customers.extend(office.handed.into_iter().map(|number| (peer, number)));
    }

    fn always(&self, up: &[GuestAt<'_, Office>]) -> Result<(), String> {
        let now = up.iter().flat_map(|at| at.guest.handed.iter().map(|number| (at.peer, *number)));
        let mut seen = BTreeSet::new();
        match self.customers.iter().copied().chain(now).find(|ticket| !seen.insert(*ticket)) {
            Some((office, number)) => Err(format!("office {office} has handed out {number} twice")),
            None => Ok(()),
        }
    }

    fn at_rest(&self, up: &[GuestAt<'_, Office>]) -> Result<(), String> {
        let sold_out = |at: &&GuestAt<'_, Office>| at.guest.last == Some(TICKETS) && at.node.documents().count() == 3;
        let count = up.iter().filter(sold_out).count();
        if count == 3 { Ok(()) } else { Err(format!("{count} of 3 offices are sold out and know of all three")) }
    }
}

fn scenario() -> Scenario {
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name}")) };
    Scenario::parse("own_nodes.toml", SCENARIO, &mut none).expect("the scenario above can be read")
}

fn main() -> ExitCode {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut offices = Offices::default();
    let outcome: sim::Outcome = run_hosting(&scenario(), seed, &mut offices, None);
    println!("{outcome}");
    println!("{} kills; {} numbers handed out by those who were killed", offices.kills, offices.customers.len());
    ExitCode::from(outcome.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_handed_out_twice_and_an_office_that_does_not_look_is_caught() {
        for seed in 1..=3 {
            let mut offices = Offices::default();
            let outcome = run_hosting(&scenario(), seed, &mut offices, None);
            assert!(outcome.passed() && offices.kills == 3 && offices.customers.len() > 10, "{outcome}");
        }
        let mut careless = Offices { careless: true, ..Offices::default() };
        match run_hosting(&scenario(), 1, &mut careless, None).judgement {
            sim::Judgement::Violated { violation, .. } => assert_eq!(violation.check, "H1", "{}", violation.what),
            other => panic!("{other}"),
        }
    }
}
