//! What a peer holds: features that are edited, and readings of sensors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use oxigdal_ha::documents::Edit;
use oxigdal_ha::driver::Peer;
use oxigdal_ha::node::Command;
use oxigdal_ha::{events, types::DocId};
use serde_json::{Value, json};

/// Writers at the same time; more than the log needs to fill its groups.
const WRITERS: u64 = 128;
/// How documents are.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Changes of each, the one that made it among them.
    pub(crate) changes: u64,
    /// Corners of each.
    pub(crate) corners: u64,
}

/// Small ones that are edited often.
pub(crate) const EDITED: Shape = Shape { changes: 20, corners: 12 };
/// Large ones that are imported and corrected.
pub(crate) const IMPORTED: Shape = Shape { changes: 4, corners: 100 };
/// Events of one append.
const EVENTS: u64 = 64;

/// Numbers that do not compress, as coordinates and readings do not: splitmix64 (Steele, Lea and Flood 2014).
pub(crate) fn noise(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Bytes of a peer's log.
pub(crate) fn size(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("log")).unwrap();
    // One that expired since it was listed has no length.
    files.filter_map(|file| Some(file.unwrap().metadata().ok()?.len())).sum()
}

/// Writes until the log has so many bytes: two fifths documents, the rest streams.
pub(crate) async fn fill(peer: &Arc<Peer>, data: &Path, bytes: u64, from: u64) -> u64 {
    let begun = size(data);
    let next = Arc::new(AtomicU64::new(from));
    while size(data) - begun < bytes {
        let streams = bytes / 100 * 60;
        if size(data) - begun < streams {
            each(peer, &next, 512, |peer, n| async move { append(&peer, n).await }).await;
        } else {
            each(peer, &next, 2_048, |peer, n| async move { edit(&peer, n, IMPORTED).await }).await;
        }
    }
    next.load(Ordering::Relaxed)
}

/// Does something so many times, by all writers at once.
pub(crate) async fn each<F, W>(peer: &Arc<Peer>, next: &Arc<AtomicU64>, count: u64, what: W)
where
    F: Future<Output = ()> + Send,
    W: Fn(Arc<Peer>, u64) -> F + Copy + Send + 'static,
{
    let end = next.load(Ordering::Relaxed) + count;
    let writers = (0..WRITERS).map(|_| {
        let (peer, next) = (Arc::clone(peer), Arc::clone(next));
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= end {
                    break;
                }
                what(Arc::clone(&peer), n).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    next.store(end, Ordering::Relaxed);
}

async fn append(peer: &Peer, n: u64) {
    let reading = |at: u64| {
        let (a, b) = (noise(n * EVENTS + at), noise(!(n * EVENTS + at)));
        let text = format!(
            r#"{{"sensor":"roof-{}","at":{},"celsius":{}.{:02},"humidity":0.{:03},"raw":"{a:016x}{b:016x}","state":"ok"}}"#,
            a % 97,
            1_790_000_000_000 + n * 1_000 + at,
            a % 40,
            b % 100,
            b % 1_000,
        );
        Bytes::from(text)
    };
    let stream = format!("sensors/{}", n % 16).parse().unwrap();
    let events = (0..EVENTS).map(reading).collect();
    peer.command(Command::Events(events::Command::Append { stream, events })).await.unwrap();
}

/// One change: of every run of them, the first makes a feature and the others set one of its properties.
pub(crate) async fn edit(peer: &Peer, n: u64, shape: Shape) {
    let lane = n % WRITERS;
    let turn = n / WRITERS;
    let doc: DocId = format!("layers/buildings/{lane}-{}", turn / shape.changes).parse().unwrap();
    let edit = if turn.is_multiple_of(shape.changes) { feature(n, shape.corners) } else { property(n) };
    let edits = vec![edit];
    loop {
        match peer.edit(doc.clone(), edits.clone()).await {
            Ok(_) => return,
            Err(error) if error.to_string().contains("busy") => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(_) if !turn.is_multiple_of(shape.changes) => {
                let _ = peer.edit(doc.clone(), vec![feature(n, shape.corners)]).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn feature(n: u64, corners: u64) -> Edit {
    let coordinate = |at: u64| {
        let bits = noise(n * 128 + at);
        json!([7.0 + (bits % 1_000_000) as f64 / 1e7, 46.0 + (bits / 1_000_000 % 1_000_000) as f64 / 1e7])
    };
    let mut ring: Vec<Value> = (0..corners).map(coordinate).collect();
    ring.push(ring[0].clone());
    let value = json!({
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"kind": "building", "levels": n % 9, "source": "survey 2026", "checked": false},
    });
    Edit::Put { value }
}

fn property(n: u64) -> Edit {
    let path = format!("/properties/{}", ["levels", "height", "use", "owner", "checked"][(n % 5) as usize]);
    Edit::Set { path, value: json!(noise(n) % 100_000) }
}
