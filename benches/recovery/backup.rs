//! A gigabyte of documents and streams: backed up, restored and verified, beside restic and `tar | zstd`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::content::{fill, size};
use crate::program::{Cost, ours, run as end_of, theirs, tree};
use crate::{Plan, median, peer};

/// The backup whose repository is kept for the increment.
const KEPT: &str = "backup, zstd";

/// Figures of one program, a round each.
struct Row {
    name: String,
    /// Bytes that were stored, if that is what it does.
    stored: Option<u64>,
    costs: Vec<Cost>,
}

struct Bench {
    root: PathBuf,
    data: PathBuf,
    bytes: u64,
    rows: Vec<Row>,
}

pub(crate) fn run(runtime: &Runtime, plan: Plan) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let next = runtime.block_on(grow(&data, plan.bytes, 0));
    let mut bench = Bench { root: dir.path().into(), bytes: size(&data), data, rows: Vec::new() };
    println!(
        "  {:.0} MB of log, two fifths documents; medians of {} rounds, one after the other",
        bench.bytes as f64 / 1e6,
        plan.rounds
    );
    for _ in 0..plan.rounds {
        bench.round();
    }
    bench.print();
    let one_percent = plan.bytes / 100;
    runtime.block_on(grow(&bench.data, one_percent, next));
    bench.increment();
}

/// A peer writes so many bytes more, and stops.
async fn grow(data: &Path, bytes: u64, from: u64) -> u64 {
    let peer = Arc::new(peer(data).await);
    let next = fill(&peer, data, bytes, from).await;
    drop(Arc::into_inner(peer).unwrap().halt().await);
    next
}

impl Bench {
    /// Every program once, in turn, so that a busy minute meets all of them.
    fn round(&mut self) {
        for (name, options) in [
            (KEPT, &["--compression", "zstd"][..]),
            ("backup, lz4", &["--compression", "lz4"][..]),
            ("backup, none", &["--compression", "none"][..]),
            ("backup, zstd, encrypted", &["--compression", "zstd", "--key-file", "KEY"][..]),
        ] {
            self.ours(name, options);
        }
        self.restic();
        self.tar();
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_owned()
    }

    fn ours(&mut self, name: &str, options: &[&str]) {
        let (repo, into, key) = (self.path(&format!("repo {name}")), self.path("into"), self.path("key"));
        std::fs::write(&key, [7; 32]).unwrap();
        let _ = std::fs::remove_dir_all(&repo);
        let options: Vec<&str> =
            options.iter().map(|option| if *option == "KEY" { key.as_str() } else { option }).collect();
        let data = self.data.to_str().unwrap().to_owned();
        let create = [&["backup", "create", "--full", "--repo", &repo, "--data", &data][..], &options].concat();
        let cost = end_of(&mut [ours(&create)]);
        self.note(name, cost, Some(tree(Path::new(&repo))));
        let secret: Vec<&str> = options.iter().skip_while(|option| **option != "--key-file").copied().collect();
        let verify = [&["backup", "verify", "--repo", &repo][..], &secret].concat();
        let cost = end_of(&mut [ours(&verify)]);
        self.note(&format!("{name}: verify"), cost, None);
        let restore = [&["restore", "--repo", &repo, "--at", "latest", "--into", &into][..], &secret].concat();
        let cost = end_of(&mut [ours(&restore)]);
        self.note(&format!("{name}: restore"), cost, None);
        std::fs::remove_dir_all(&into).unwrap();
        if name != KEPT {
            let _ = std::fs::remove_dir_all(&repo);
        }
    }

    fn restic(&mut self) {
        let (repo, into) = (self.path("restic"), self.path("into"));
        let at = |arguments: &[&str]| {
            let all = [&["--no-cache", "-q", "-r", &repo][..], arguments].concat();
            theirs("restic", &all).map(|mut command| {
                command.env("RESTIC_PASSWORD", "secret");
                command
            })
        };
        let log = self.data.join("log").to_str().unwrap().to_owned();
        let (Some(init), Some(backup), Some(check), Some(restore)) = (
            at(&["init"]),
            at(&["backup", &log]),
            at(&["check", "--read-data"]),
            at(&["restore", "latest", "--target", &into]),
        ) else {
            return println!("  restic is not installed");
        };
        end_of(&mut [init]);
        let cost = end_of(&mut [backup]);
        self.note("restic backup", cost, Some(tree(Path::new(&repo))));
        let cost = end_of(&mut [check]);
        self.note("restic check --read-data", cost, None);
        let cost = end_of(&mut [restore]);
        self.note("restic restore", cost, None);
        std::fs::remove_dir_all(&into).unwrap();
        std::fs::remove_dir_all(&repo).unwrap();
    }

    fn tar(&mut self) {
        let (file, into, log) = (self.path("log.tar.zst"), self.path("into"), self.data.join("log"));
        let log = log.to_str().unwrap().to_owned();
        let pack: Option<Vec<Command>> =
            [theirs("tar", &["-cf", "-", "-C", &log, "."]), theirs("zstd", &["-q", "-3", "-f", "-o", &file])]
                .into_iter()
                .collect();
        let Some(mut pack) = pack else { return println!("  tar or zstd is not installed") };
        pack[1].stdin(std::process::Stdio::piped());
        let cost = end_of(&mut pack);
        self.note("tar | zstd -3", cost, Some(std::fs::metadata(&file).unwrap().len()));
        std::fs::create_dir(&into).unwrap();
        let unpack: Option<Vec<Command>> =
            [theirs("zstd", &["-q", "-d", "-c", &file]), theirs("tar", &["-xf", "-", "-C", &into])]
                .into_iter()
                .collect();
        let cost = end_of(&mut unpack.unwrap());
        self.note("zstd -d | tar -x", cost, None);
        std::fs::remove_dir_all(&into).unwrap();
    }

    /// What one per cent more costs, in the repository that the last round left.
    fn increment(&mut self) {
        let repo = self.path(&format!("repo {KEPT}"));
        let (before, data) = (tree(Path::new(&repo)), self.data.to_str().unwrap().to_owned());
        let (grown, cost) = (
            size(&self.data) - self.bytes,
            end_of(&mut [ours(&["backup", "create", "--incremental", "--repo", &repo, "--data", &data])]),
        );
        let stored = tree(Path::new(&repo)) - before;
        println!(
            "  an increment of {:.1} MB of log: {:.1} MB stored ({:.2} x), {:.2} s of a core, {:.0} MiB",
            grown as f64 / 1e6,
            stored as f64 / 1e6,
            stored as f64 / grown as f64,
            cost.cpu,
            cost.memory,
        );
    }

    fn note(&mut self, name: &str, cost: Cost, stored: Option<u64>) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.costs.push(cost),
            None => self.rows.push(Row { name: name.to_owned(), stored, costs: vec![cost] }),
        }
    }

    fn print(&self) {
        println!(
            "  {:<36}{:>14}{:>10}{:>10}{:>12}{:>10}",
            "", "MB/CPU s", "MB/s", "stored MB", "of the log", "MiB held"
        );
        for row in &self.rows {
            let megabytes = self.bytes as f64 / 1e6;
            let of = |figure: fn(&Cost) -> f64| median(row.costs.iter().map(figure).collect());
            let stored = row.stored.map_or_else(
                || format!("{:>12}{:>12}", "", ""),
                |stored| format!("{:>12.0}{:>11.2}x", stored as f64 / 1e6, stored as f64 / self.bytes as f64),
            );
            println!(
                "  {:<36}{:>14.0}{:>10.0}{stored}{:>10.0}",
                row.name,
                megabytes / of(|cost| cost.cpu),
                megabytes / of(|cost| cost.wall),
                of(|cost| cost.memory),
            );
        }
    }
}
