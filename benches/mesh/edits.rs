//! Edits a second: one field each, over 1,000 documents of at most 100 operations, durable where they are made, applied at all.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::Plan;
use crate::harness::Peer;
use crate::mesh::{Client, Mesh, Meter};

const DOCUMENTS: u64 = 1_000;
/// Edits of one document before the next one takes its place.
const EDITS: u64 = 100;
const BATCH: u64 = 500;

pub(crate) fn run(mesh: &Mesh, plan: &Plan) {
    for (what, origins, clients) in [
        ("edits at one peer, 2 clients with 500 in a request", 1, 2),
        ("edits at each of three peers, a client each with 500 in a request", 3, 1),
    ] {
        let (made, meter) = (AtomicU64::new(0), Meter::start(mesh));
        thread::scope(|scope| {
            for (at, peer) in mesh.peers[..origins].iter().enumerate() {
                for client in 0..clients {
                    let (made, meter) = (&made, &meter);
                    let writer = (origins * 10 + at) * 10 + client;
                    scope.spawn(move || write(peer, writer, meter, plan, made, DOCUMENTS / (origins * clients) as u64));
                }
            }
        });
        let durable = meter.elapsed();
        meter.print(mesh, what, made.into_inner(), durable);
    }
}

/// Edits its own documents in turn until the time is over.
fn write(peer: &Peer, writer: usize, meter: &Meter, plan: &Plan, made: &AtomicU64, documents: u64) {
    let client = Client::of(peer);
    let mut next = 0;
    while meter.elapsed() < plan.load {
        let mut body = String::new();
        for n in next..next + BATCH {
            let (round, generation) = (n / documents, n / documents / EDITS);
            let doc = format!("load/{writer}/{generation}/{}", n % documents);
            let edit = match round % EDITS {
                0 => r#"{"op":"put","value":{"type":"Feature","properties":{}}}"#.to_owned(),
                round => format!(r#"{{"op":"set","path":"/properties/p{}","value":{n}}}"#, round % 20),
            };
            writeln!(body, r#"{{"doc":"{doc}","edits":[{edit}]}}"#).unwrap();
        }
        next += BATCH;
        let answer = client.post("/v1/edits", body.as_bytes());
        let failed =
            answer.split(|byte| *byte == b'\n').find(|line| line.windows(8).any(|words| words == b"\"error\":"));
        assert_eq!(failed.map(String::from_utf8_lossy), None);
        made.fetch_add(BATCH, Ordering::Relaxed);
    }
}
