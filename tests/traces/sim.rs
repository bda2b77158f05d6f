//! The same traces in simulation: through a lossy star, tree and mesh, while writers are cut off, killed, and put back to
//! earlier images of their disks. Each run is made twice, and leaves the same trace.

use std::time::Duration;

use oxigdal_ha::sim::{Found, Replay, ReplayStep, Scenario, run_replay};

use crate::replay::Trace;

/// Most peers; fewer only write for more writers than that.
const PEERS: usize = 5;

/// What happens to the writers: one is cut off for a minute, which writes on, another is killed again and again, also while
/// the first is away, and later loses power and gets back an older image of its disk.
fn scenario(overlay: &str, peers: usize, chaos: u64) -> Scenario {
    let (last, other) = (format!("p-{peers}"), format!("p-{}", peers - 1));
    let text = format!(
        r#"
schema = 1
description = "What people really wrote, through cuts, crashes and loss."
mesh = {{ peers = {peers}, overlay = "{overlay}", delay = "10ms", jitter = "5ms", loss = "2%" }}
phases = {{ warm-up = "15s", chaos = "{chaos}s", calm = "90s" }}
disk = {{ sync = "2ms", jitter = "3ms", torn = "50%" }}
edits = [{{ docs = 5, rate = "1/s", shared = "30%" }}]
fault = [
    {{ at = "18s", kind = "cut", peers = "{last}", for = "60s" }},
    {{ at = "30s", kind = "crash", peers = "{other}", for = "2s", times = 4, every = "25s" }},
    {{ at = "92s", kind = "power-loss", peers = "{last}", for = "2s" }},
    {{ at = "125s", kind = "roll-back", peers = "{other}", image = "20s", for = "2s" }},
    {{ at = "145s", kind = "crash", peers = "p-1", for = "5s" }},
]
"#
    );
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
    Scenario::parse("traces.toml", &text, &mut none).unwrap_or_else(|error| panic!("{error}"))
}

/// Replays it with so much time between two steps of a writer, within so many seconds.
pub(crate) fn replay(overlay: &str, trace: Trace, pace: Duration, seconds: u64) {
    let peers = PEERS.max(trace.writers);
    let scenario = scenario(overlay, peers, seconds);
    let steps = trace.steps.into_iter().map(|step| {
        // The first peers only pass on, unless all are needed.
        let writer = u32::try_from(peers - 1 - step.writer).unwrap();
        ReplayStep { writer, doc: step.doc, edits: step.edits, after: step.after }
    });
    let replay = Replay { steps: steps.collect(), pace, end: trace.end };
    let (first, second) = (run_replay(&scenario, 1, &replay, None), run_replay(&scenario, 1, &replay, None));
    let first = first.unwrap();
    println!(
        "{overlay}: {} of {} steps by {} writers at {peers} peers, the last after {:?}, {} documents as they were: {first}",
        first.figures.replayed,
        replay.steps.len(),
        trace.writers,
        first.figures.replayed_ns.map(Duration::from_nanos),
        replay.end.len(),
    );
    assert!(first.passed(), "{first}");
    assert_eq!(Ok(first), second);
}
