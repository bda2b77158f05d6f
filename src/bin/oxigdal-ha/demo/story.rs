//! The demo's steps up to the heal, each with its figures.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxigdal_ha::documents::geojson;
use oxigdal_ha::types::DocId;
use serde_json::{Value, json};

use super::edits::{Editor, Ledger};
use super::mesh::{Mesh, Seen};
use super::proxy::Cut;
use super::stage::{Stage, ms, time};
use crate::doc::import_features;
use crate::failure::{Failure, Result};
use crate::output::bytes;

/// Natural Earth, 1:110 million; see `examples/data/README.md`.
const COUNTRIES: &str = include_str!("../../../../examples/data/naturalearth_lowres.geojson");
pub(super) const PREFIX: &str = "layers/countries";
/// Edits of each peer on its side of the cut.
const EDITS: u64 = 40;
/// How long the editor of the peer that is killed has been at work by then.
const WORK: Duration = Duration::from_millis(700);

/// The demo under way.
pub(super) struct Story {
    pub(super) mesh: Mesh,
    pub(super) stage: Stage,
    pub(super) all: Vec<usize>,
    /// The smaller side of the cut.
    left: Vec<usize>,
    right: Vec<usize>,
    pub(super) docs: Vec<DocId>,
    pub(super) ledger: Ledger,
    /// Numbers of each peer's edits so far, acknowledged or not.
    made: Vec<u64>,
    /// When the links were cut.
    cut_at: Instant,
}

/// A peer that has to find out that others are gone.
struct Watcher {
    at: usize,
    gone: Vec<usize>,
    /// Whether nobody is left beside it: it cannot tell then who was cut off, and never says dead.
    alone: bool,
}

impl Story {
    pub(super) fn new(mesh: Mesh, stage: Stage) -> Self {
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

    pub(super) fn start(&mut self) -> Result {
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

    pub(super) fn import(&mut self) -> Result {
        self.stage.begin("importing countries at peer-1");
        let import = geojson::import(COUNTRIES, PREFIX, None).map_err(Failure::new)?;
        let count = import.features.len();
        let (began, carried) = (Instant::now(), self.mesh.proxy.carried());
        let imported = import_features(self.mesh.client(0)?, &import.features, &|_| {});
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

    pub(super) fn cut(&mut self) -> Result<Cut> {
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
    pub(super) fn edit(&mut self) -> Result {
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
        self.stage.more(format_args!("the sides differ: content {one} on the left, {other} on the right"))?;
        self.detect_cut()
    }

    fn detect_cut(&mut self) -> Result {
        let (left, right) = (self.left.clone(), self.right.clone());
        let watchers = [(&left, &right), (&right, &left)].into_iter().flat_map(|(here, there)| {
            here.iter().map(|at| Watcher { at: *at, gone: there.clone(), alone: here.len() == 1 })
        });
        self.detect("cut", "the other side", self.cut_at, &watchers.collect::<Vec<_>>())
    }

    /// Waits until all watchers suspect who is gone, and those that can be sure take them for dead.
    fn detect(&mut self, what: &str, gone: &str, began: Instant, watchers: &[Watcher]) -> Result {
        self.stage.begin(format!("the others find out that {gone} is gone"));
        let nodes: Vec<String> = self.mesh.peers.iter().map(|peer| peer.node.clone()).collect();
        let of: Vec<usize> = watchers.iter().map(|watcher| watcher.at).collect();
        let all = |seen: &[Seen], fits: fn(&Watcher, &str) -> bool| {
            let mut each = watchers.iter().zip(seen);
            each.all(|(watcher, seen)| watcher.gone.iter().all(|other| fits(watcher, seen.state_of(&nodes[*other]))))
        };
        let wait = |why: &str, fits: fn(&Watcher, &str) -> bool| self.mesh.wait(why, &of, |seen| all(seen, fits));
        wait("those that are gone are suspected", |_, state| matches!(state, "suspect" | "dead"))?;
        let suspected = began.elapsed();
        wait("those that are gone are taken for dead", |watcher, state| watcher.alone || state == "dead")?;
        let dead = began.elapsed();
        let certain = watchers.iter().any(|watcher| !watcher.alone);
        let words = if certain {
            let dead = self.stage.strong(time(dead));
            format!("{gone} is suspected after {}, taken for dead after {dead}", time(suspected))
        } else {
            format!(
                "{gone} is suspected after {}; who is left alone cannot say more",
                self.stage.strong(time(suspected))
            )
        };
        let dead = if certain { ms(dead) } else { Value::Null };
        self.stage.done("detect", words, json!({ "what": what, "suspect_ms": ms(suspected), "ms": dead }))
    }

    pub(super) fn kill(&mut self) -> Result {
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
        let watchers = rest.iter().map(|at| Watcher { at: *at, gone: vec![victim], alone: rest.len() == 1 });
        self.detect("kill", &name, killed, &watchers.collect::<Vec<_>>())
    }

    pub(super) fn restart(&mut self) -> Result {
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

    pub(super) fn heal(&mut self, cut: Cut) -> Result {
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
pub(super) fn agreed(seen: &[Seen]) -> bool {
    seen.iter().all(|other| other.content == seen[0].content && other.orphans == 0)
}

fn names(peers: &[usize]) -> Vec<String> {
    peers.iter().map(|at| format!("peer-{}", at + 1)).collect()
}

fn braces(peers: &[usize]) -> String {
    let numbers: Vec<String> = peers.iter().map(|at| (at + 1).to_string()).collect();
    format!("{{{}}}", numbers.join(" "))
}
