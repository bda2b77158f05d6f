//! Events a second: opaque lines of 100 bytes, durable at the first peer, applied at both others.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::Plan;
use crate::mesh::{Client, Mesh, Meter};

const CLIENTS: u64 = 4;
const BATCH: usize = 1_000;

pub(crate) fn run(mesh: &Mesh, plan: &Plan) {
    for (name, random) in [("text", false), ("random", true)] {
        let (appended, meter) = (AtomicU64::new(0), Meter::start(mesh));
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (appended, meter, sender) = (&appended, &meter, Client::of(&mesh.peers[0]));
                scope.spawn(move || {
                    for round in 0.. {
                        if meter.elapsed() > plan.load {
                            return;
                        }
                        sender.post(&format!("/v1/streams/load/{name}"), &batch(client << 32 | round, random));
                        appended.fetch_add(BATCH as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        let durable = meter.elapsed();
        let what = format!("events of 100 B, {name}, {CLIENTS} clients that append {BATCH} at a time");
        meter.print(mesh, &what, appended.into_inner(), durable);
    }
}

/// Lines of 100 bytes and their ends, as a sensor would write them or as a cipher would.
fn batch(number: u64, random: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(BATCH * 101);
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 0..BATCH {
        let start = body.len();
        write!(body, "{{\"sensor\":{number},\"reading\":{n},\"value\":").unwrap();
        while body.len() < start + 100 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.push(if random { b' ' + (state % 95) as u8 } else { b'0' + (state % 10) as u8 });
        }
        body.truncate(start + 100);
        body.push(b'\n');
    }
    body
}
