//! `demo`: a mesh of real peer processes edits real geodata through a cut and a `kill -9`, and agrees.
//!
//! Everything that is shown was measured by asking the peers, and everything that is claimed at the end was looked up in
//! them: each peer has the same content, gives the same export to the byte, and holds every edit that any of them
//! acknowledged. The exit code is 0 only then.

mod edits;
mod mesh;
mod proxy;
mod stage;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxigdal_ha::documents::geojson;
use oxigdal_ha::types::DocId;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::args::Demo;
use crate::doc::{export_text, import_features};
use crate::failure::{Code, Failure, Result};
use crate::mesh::digest;
use crate::output::{Output, Tone, bytes, cell, number};
use edits::{Editor, Ledger};
use mesh::{Children, Mesh, Seen};
use proxy::{Cut, Proxy};
use stage::{Stage, ms, time};

/// Natural Earth, 1:110 million; see `examples/data/README.md`.
const COUNTRIES: &str = include_str!("../../../../examples/data/naturalearth_lowres.geojson");
const PREFIX: &str = "layers/countries";
/// Edits of each peer on its side of the cut.
const EDITS: u64 = 40;
/// How long the editor of the peer that is killed has been at work by then.
const WORK: Duration = Duration::from_millis(700);

pub(crate) fn demo(arguments: &Demo, output: Output) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let folder = tempfile::Builder::new().prefix("oxigdal-ha-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::new(format_args!("cannot make a folder for the data: {error}")))?;
    let children: Children = Arc::default();
    let place = folder.path().to_owned();
    // Kept from the beginning, so that an interrupt keeps it too.
    let folder = if arguments.keep { Err(folder.keep()) } else { Ok(folder) };
    on_interrupt(&runtime, &children, folder.as_ref().ok().map(|folder| folder.path().to_owned()));
    let told = play(arguments, &place, &runtime, &children, output);
    mesh::end(&children);
    runtime.shutdown_background();
    if let (Err(_), true) = (&told, output.terminal && folder.is_ok()) {
        eprintln!("run it again with --keep to keep the peers' data and logs");
    }
    told
}

/// Ctrl-C and SIGTERM end the children, by their ids, and remove their data.
fn on_interrupt(runtime: &tokio::runtime::Runtime, children: &Children, folder: Option<std::path::PathBuf>) {
    let children = Arc::clone(children);
    runtime.spawn(async move {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        mesh::end(&children);
        if let Some(folder) = folder {
            // What cannot be removed is in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(Code::Interrupted as i32);
    });
}

fn play(
    arguments: &Demo,
    folder: &Path,
    runtime: &tokio::runtime::Runtime,
    children: &Children,
    output: Output,
) -> Result {
    let count = usize::from(arguments.peers);
    let proxy = Proxy::open(count, runtime.handle());
    let proxy = proxy.map_err(|error| Failure::new(format_args!("cannot open the demo's proxy: {error}")))?;
    let mesh = Mesh::new(count, arguments.overlay, folder, proxy, Arc::clone(children))?;
    let stage = Stage::new(output);
    stage.title(count, arguments.overlay, folder.display())?;
    let began = Instant::now();
    let mut story = Story::new(mesh, stage);
    story.start()?;
    story.import()?;
    let cut = story.cut()?;
    story.edit()?;
    story.kill()?;
    story.restart()?;
    story.heal(cut)?;
    story.agree()?;
    story.end(began.elapsed(), arguments.keep)
}

/// The demo under way.
struct Story {
    mesh: Mesh,
    stage: Stage,
    all: Vec<usize>,
    /// The smaller side of the cut.
    left: Vec<usize>,
    right: Vec<usize>,
    docs: Vec<DocId>,
    ledger: Ledger,
    /// Numbers of each peer's edits so far, acknowledged or not.
    made: Vec<u64>,
    /// When the links were cut.
    cut_at: Instant,
}

impl Story {
    fn new(mesh: Mesh, stage: Stage) -> Self {
        let count = mesh.peers.len();
        let all: Vec<usize> = (0..count).collect();
        let (left, right) = all.split_at((count / 2).max(1));
        let (left, right, made) = (left.to_vec(), right.to_vec(), vec![1; count]);
        Self {
            mesh,
            stage,
            all,
            left,
            right,
            docs: Vec::new(),
            ledger: Ledger::default(),
            made,
            cut_at: Instant::now(),
        }
    }

    /// The peer that is killed: the most preferred as hub or root.
    fn victim(&self) -> usize {
        self.all.len() - 1
    }

    fn start(&mut self) -> Result {
        let began = Instant::now();
        self.stage.begin("peer-1 founds a mesh of its own");
        self.mesh.start(&[(0, None)])?;
        let founded = began.elapsed();
        self.stage.done(
            "start",
            format_args!("peer-1 founded a mesh of its own in {}", self.stage.strong(time(founded))),
            json!({ "ms": ms(founded) }),
        )?;

        self.stage.begin("the others join, each with an invite of its own");
        let began = Instant::now();
        let invites = self.all[1..].iter().map(|at| Ok((*at, Some(self.mesh.invite(0, &self.mesh.peers[*at].name)?))));
        let invites = invites.collect::<Result<Vec<_>>>()?;
        self.mesh.start(&invites)?;
        let up = began.elapsed();
        let count = self.all.len();
        let whole = |seen: &Seen| {
            seen.alive() == count && seen.members.iter().filter(|member| member.linked).count() >= count - 1
        };
        self.mesh.wait("everybody sees everybody and is linked", &self.all, |seen| seen.iter().all(whole))?;
        let joined = began.elapsed();
        let words = format!(
            "{} peers used an invite each; up after {}, everybody sees everybody after {}",
            count - 1,
            time(up),
            self.stage.strong(time(joined))
        );
        self.stage.done("join", words, json!({ "peers": count, "up_ms": ms(up), "ms": ms(joined) }))
    }

    fn import(&mut self) -> Result {
        self.stage.begin("importing countries at peer-1");
        let import = geojson::import(COUNTRIES, PREFIX, None).map_err(Failure::new)?;
        let count = import.features.len();
        let (began, carried) = (Instant::now(), self.mesh.proxy.carried());
        let imported = import_features(self.mesh.client(0)?, &import.features, &|| {});
        imported.map_err(|(_, failure)| failure)?;
        let durable = began.elapsed();
        self.mesh.wait("every peer has all countries", &self.all, |seen| {
            agreed(seen) && seen.iter().all(|seen| seen.documents == count)
        })?;
        let (spread, carried) = (began.elapsed(), self.mesh.proxy.carried() - carried);
        self.docs = import.features.into_iter().map(|(id, _)| id).collect();
        self.docs.sort();
        let words = format!(
            "{count} countries ({} of GeoJSON) at peer-1: durable after {}, on all peers after {}",
            bytes(COUNTRIES.len() as u64),
            self.stage.strong(time(durable)),
            self.stage.strong(time(spread))
        );
        let figures = json!({ "documents": count, "bytes": COUNTRIES.len(), "durable_ms": ms(durable), "ms": ms(spread), "wire_bytes": carried });
        self.stage.done("import", words, figures)?;
        self.stage.more(format_args!("{} crossed the wires, to {} peers together", bytes(carried), self.all.len() - 1))
    }

    fn cut(&mut self) -> Result<Cut> {
        let left = self.left.clone();
        let cut = self.mesh.proxy.cut(|peer| left.contains(&peer));
        self.cut_at = Instant::now();
        let picture = format!("{} │ {}", braces(&self.left), braces(&self.right));
        let words = format!("{}  every link between the two sides is dead, silently", self.stage.strong(&picture));
        self.stage.done(
            "cut",
            words,
            json!({ "sides": [names(&self.left), names(&self.right)], "lines": cut.lines() }),
        )?;
        Ok(cut)
    }

    /// Both sides edit the same documents at the same time, and neither hears of the other.
    fn edit(&mut self) -> Result {
        self.stage.begin("both sides edit the same countries, and find out about the cut");
        let began = Instant::now();
        let all = self.all.clone();
        let ledger = self.edit_at(&all, EDITS, &AtomicBool::new(false))?;
        let (edited, edits) = (began.elapsed(), ledger.len());
        self.ledger.add(ledger);
        let sides = [self.left.clone(), self.right.clone()];
        for side in &sides {
            self.mesh.wait("each side agrees with itself", side, agreed)?;
        }
        let settled = began.elapsed();
        let seen = self.mesh.look(&self.all)?;
        let (one, other) = (&seen[self.left[0]].content, &seen[self.right[0]].content);
        if one == other {
            return Err(Failure::new("both sides of the cut have the same content: it did not cut"));
        }
        let rate = f64::from(u32::try_from(edits).unwrap_or(u32::MAX)) / edited.as_secs_f64();
        let words = format!(
            "{} edits acknowledged in {} ({rate:.0}/s), by all peers at once, to the same {} countries",
            self.stage.strong(edits),
            time(edited),
            24.min(self.docs.len())
        );
        let figures = json!({ "edits": edits, "ms": ms(edited), "settled_ms": ms(settled), "content": [one, other] });
        self.stage.done("edit", words, figures)?;
        self.stage.more(format_args!(
            "the sides differ: content {} on the left, {} on the right",
            digest(one),
            digest(other)
        ))?;
        self.detect_cut()
    }

    fn detect_cut(&mut self) -> Result {
        self.stage.begin("both sides find out that the other is gone");
        let (left, right) = (self.left.len(), self.right.len());
        let nodes: Vec<String> = self.mesh.peers.iter().map(|peer| peer.node.clone()).collect();
        let side_of = |at: usize| if at < left { 0..left } else { left..left + right };
        let lost = move |at: usize, seen: &Seen, states: &[&str]| {
            (0..nodes.len())
                .filter(|other| !side_of(at).contains(other))
                .all(|other| states.contains(&seen.state_of(&nodes[other])))
        };
        let all = |states: &'static [&'static str]| {
            let lost = &lost;
            move |seen: &[Seen]| seen.iter().enumerate().all(|(at, seen)| lost(at, seen, states))
        };
        self.mesh.wait("each side suspects the other", &self.all, all(&["suspect", "dead"]))?;
        let suspected = self.cut_at.elapsed();
        self.mesh.wait("each side takes the other for dead", &self.all, all(&["dead"]))?;
        let dead = self.cut_at.elapsed();
        let words = format!(
            "all of the other side is suspected after {}, taken for dead after {}",
            time(suspected),
            self.stage.strong(time(dead))
        );
        self.stage.done("detect", words, json!({ "what": "cut", "suspect_ms": ms(suspected), "ms": ms(dead) }))
    }

    fn kill(&mut self) -> Result {
        let victim = self.victim();
        let name = self.mesh.peers[victim].name.clone();
        self.stage.begin(format!("{name} edits, and is killed"));
        let client = self.mesh.client(victim)?.clone();
        let editor = Editor { peer: victim, docs: &self.docs, first: self.made[victim] };
        let never = AtomicBool::new(false);
        let (mesh, mut killed) = (&mut self.mesh, Instant::now());
        let (ledger, refused) = std::thread::scope(|scope| -> Result<_> {
            let work = scope.spawn(|| editor.work(&client, u64::from(u32::MAX), &never));
            std::thread::sleep(WORK);
            let kill = mesh.kill(victim);
            killed = Instant::now();
            if kill.is_err() {
                never.store(true, Ordering::Relaxed);
            }
            let ended = work.join().expect("an editor does not panic");
            kill.map(|()| ended)
        })?;
        if refused.is_none() {
            return Err(Failure::new("the killed peer went on acknowledging edits"));
        }
        let edits = ledger.len();
        self.made[victim] += edits as u64 + 1;
        self.ledger.add(ledger);
        let words = format!(
            "{name} with SIGKILL, while it edits: {} edits acknowledged, one under way",
            self.stage.strong(edits)
        );
        self.stage.done("kill", words, json!({ "peer": name, "edits": edits }))?;

        let rest: Vec<usize> = self.right.iter().copied().filter(|at| *at != victim).collect();
        self.stage.begin("its side finds out");
        let node = self.mesh.peers[victim].node.clone();
        self.mesh
            .wait("its side suspects it", &rest, |seen| seen.iter().all(|seen| seen.state_of(&node) != "alive"))?;
        let suspected = killed.elapsed();
        self.mesh
            .wait("its side takes it for dead", &rest, |seen| seen.iter().all(|seen| seen.state_of(&node) == "dead"))?;
        let dead = killed.elapsed();
        let words = format!(
            "its side suspects it after {}, takes it for dead after {}",
            time(suspected),
            self.stage.strong(time(dead))
        );
        self.stage.done("detect", words, json!({ "what": "kill", "suspect_ms": ms(suspected), "ms": ms(dead) }))
    }

    fn restart(&mut self) -> Result {
        let victim = self.victim();
        let name = self.mesh.peers[victim].name.clone();
        self.stage.begin(format!("{name} starts again on the same data"));
        let began = Instant::now();
        self.mesh.start(&[(victim, None)])?;
        let up = began.elapsed();
        let found = self.ledger.verify(&self.mesh, &[victim], Some(victim))?;
        let side = self.right.clone();
        self.mesh.wait("its side agrees again", &side, |seen| {
            agreed(seen) && seen.iter().all(|seen| seen.alive() == side.len())
        })?;
        let agreed = began.elapsed();
        let words = format!(
            "{name} is up after {} with all {} edits that it ever acknowledged; its side agrees after {}",
            self.stage.strong(time(up)),
            self.ledger.of(victim),
            time(agreed)
        );
        let figures = json!({ "peer": name, "up_ms": ms(up), "ms": ms(agreed), "changes": found.changes });
        self.stage.done("restart", words, figures)
    }

    fn heal(&mut self, cut: Cut) -> Result {
        let crossed = cut.crossed();
        if crossed > 0 {
            return Err(Failure::new(format_args!("{crossed} bytes crossed the cut: it was none")));
        }
        self.stage.begin("the links are back");
        let carried = self.mesh.proxy.carried();
        let sent: u64 = self.mesh.look(&self.all)?.iter().map(|seen| seen.bytes_sent).sum();
        let began = Instant::now();
        drop(cut);
        let count = self.all.len();
        self.mesh.wait("all have the same content", &self.all, agreed)?;
        let converged = began.elapsed();
        let carried = self.mesh.proxy.carried() - carried;
        let sent = self.mesh.look(&self.all)?.iter().map(|seen| seen.bytes_sent).sum::<u64>().saturating_sub(sent);
        self.mesh.wait("everybody sees everybody", &self.all, |seen| seen.iter().all(|seen| seen.alive() == count))?;
        let whole = began.elapsed();
        let words = format!(
            "no byte had crossed the cut; all have the same content after {}, everybody sees everybody after {}",
            self.stage.strong(time(converged)),
            time(whole)
        );
        let figures = json!({
            "crossed_bytes": crossed, "ms": ms(converged), "whole_ms": ms(whole), "wire_bytes": carried, "frame_bytes": sent,
        });
        self.stage.done("heal", words, figures)?;
        self.stage.more(format_args!("{} crossed the wires for it", bytes(carried)))
    }

    /// Looks everything up that is claimed.
    fn agree(&mut self) -> Result {
        self.stage.begin("looking every acknowledged edit up in every peer");
        // Wait once more: whoever was last to agree may have had something to tell.
        self.mesh.wait("all have the same content", &self.all, agreed)?;
        let found = self.ledger.verify(&self.mesh, &self.all, None)?;
        let (mut hashes, mut size) = (Vec::new(), 0);
        for at in &self.all {
            let export = export_text(self.mesh.client(*at)?, PREFIX, &|| {})?;
            if export.features != self.docs.len() {
                let (name, wanted) = (&self.mesh.peers[*at].name, self.docs.len());
                return Err(Failure::new(format_args!("{name} exports {} features, not {wanted}", export.features)));
            }
            size = export.text.len();
            hashes.push(hex(&Sha256::digest(&export.text)));
        }
        let seen = self.mesh.look(&self.all)?;
        self.table(&seen, &hashes)?;
        if !agreed(&seen) || hashes.iter().any(|hash| *hash != hashes[0]) {
            return Err(Failure::new("the peers do not agree: see the table above"));
        }
        let edits = self.ledger.len();
        let words = format!(
            "all {} acknowledged edits are in all {} peers; the exports ({}) are the same to the byte",
            self.stage.strong(edits),
            self.all.len(),
            bytes(size as u64)
        );
        let figures = json!({
            "edits": edits, "values": found.values, "changes": found.changes,
            "content": seen[0].content, "export_sha256": hashes[0], "export_bytes": size,
        });
        self.stage.done("agree", words, figures)
    }

    fn table(&mut self, seen: &[Seen], hashes: &[String]) -> Result {
        self.stage.clear();
        let output = self.stage.output();
        if output.json {
            return Ok(());
        }
        let first = seen[0].content.clone();
        let mut table = output.table(&["", "PEER", "DOCUMENTS", "EDITS", "CONTENT", "EXPORT (SHA-256)", "SENT"]);
        for ((at, seen), hash) in self.all.iter().zip(seen).zip(hashes) {
            let same = seen.content == first && *hash == hashes[0];
            table.add_row([
                cell(if same { Tone::Good } else { Tone::Bad }, if same { "   ✔" } else { "   ✖" }),
                cell(Tone::Bold, &self.mesh.peers[*at].name),
                number(seen.documents),
                number(self.ledger.of(*at)),
                cell(Tone::Name, digest(&seen.content)),
                cell(Tone::Name, &hash[..16]),
                number(bytes(seen.bytes_sent)),
            ]);
        }
        output.line("")?;
        output.rows(&table)?;
        output.line("")
    }

    fn end(mut self, took: Duration, keep: bool) -> Result {
        self.stage.done(
            "done",
            format_args!("in {}", self.stage.strong(time(took))),
            json!({ "ok": true, "ms": ms(took) }),
        )?;
        self.stage.line("")?;
        if !keep {
            return Ok(());
        }
        for (name, folder) in self.mesh.apis() {
            self.stage.line(format_args!("{name}: {}", folder.display()))?;
        }
        if !self.stage.output().terminal {
            return Ok(());
        }
        for at in &self.all {
            self.stage.line(format_args!("oxigdal-ha status {}", self.mesh.client(*at)?.flags()))?;
        }
        self.stage.line("the mesh goes on running; Ctrl-C ends it and keeps the data")?;
        loop {
            std::thread::park();
        }
    }

    /// Lets all these peers edit at once, each through its own API.
    fn edit_at(&mut self, peers: &[usize], most: u64, stop: &AtomicBool) -> Result<Ledger> {
        let all = Mutex::new((Ledger::default(), None));
        std::thread::scope(|scope| -> Result {
            for at in peers {
                let client = self.mesh.client(*at)?;
                let editor = Editor { peer: *at, docs: &self.docs, first: self.made[*at] };
                let all = &all;
                scope.spawn(move || {
                    let (ledger, refused) = editor.work(client, most, stop);
                    let mut all = all.lock().expect("an editor does not panic");
                    all.0.add(ledger);
                    all.1 = all.1.take().or(refused);
                });
            }
            Ok(())
        })?;
        peers.iter().for_each(|at| self.made[*at] += most);
        match all.into_inner().expect("an editor does not panic") {
            (_, Some(refused)) => Err(refused),
            (ledger, None) => Ok(ledger),
        }
    }
}

/// Whether all have the same content, and wait for nothing.
fn agreed(seen: &[Seen]) -> bool {
    seen.iter().all(|other| other.content == seen[0].content && other.orphans == 0)
}

fn names(peers: &[usize]) -> Vec<String> {
    peers.iter().map(|at| format!("peer-{}", at + 1)).collect()
}

fn braces(peers: &[usize]) -> String {
    let numbers: Vec<String> = peers.iter().map(|at| (at + 1).to_string()).collect();
    format!("{{{}}}", numbers.join(" "))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
