//! One edit on an idle mesh, end to end: from the client's request to the moment at which watchers of the other two peers
//! are told. Beside it what one small durable write takes on the same disk: an edit waits for two of them, one after the
//! other, at its origin and where it arrives.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::mesh::{Client, Mesh};
use crate::{Plan, quantile, syncs};

/// From one edit to the next: the mesh is idle between.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(mesh: &Mesh, plan: &Plan) {
    let (told, changes) = mpsc::channel();
    for peer in &mesh.peers[1..] {
        let (told, watch) = (told.clone(), BufReader::new(Client::of(peer).watch()));
        // Ends with the peer.
        thread::spawn(move || {
            for line in watch.lines() {
                let (Ok(line), at) = (line, Instant::now()) else { return };
                if line.contains("\"doc\":\"latency\"") && told.send(at).is_err() {
                    return;
                }
            }
        });
    }
    let client = Client::of(&mesh.peers[0]);
    client.post("/v1/edits", br#"{"doc":"latency","edits":[{"op":"put","value":{}}]}"#);
    let told_of = |began: Instant| {
        let both: [Instant; 2] = [(); 2].map(|()| changes.recv_timeout(Duration::from_secs(30)).unwrap());
        both.map(|at| at - began)
    };
    told_of(Instant::now() - Duration::from_secs(60));
    let before = syncs(mesh.home.path(), 100);
    let (mut acknowledged, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        thread::sleep(PAUSE);
        let (body, began) = (format!(r#"[{{"op":"set","path":"/n","value":{round}}}]"#), Instant::now());
        client.patch("/v1/docs/latency", body.as_bytes());
        acknowledged.push(began.elapsed());
        let mut both = told_of(began);
        both.sort_unstable();
        first.push(both[0]);
        last.push(both[1]);
    }
    let after = syncs(mesh.home.path(), 100);
    for (what, mut times) in [
        ("one durable write, before", before),
        ("one durable write, after", after),
        ("acknowledged", acknowledged),
        ("a watcher of one other peer is told", first),
        ("watchers of both are told", last),
    ] {
        times.sort_unstable();
        println!("  {what}: p50 {:.2} ms, p99 {:.2} ms", quantile(&times, 50), quantile(&times, 99));
    }
}
