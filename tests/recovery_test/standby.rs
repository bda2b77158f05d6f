//! A standby follows a repository, and what it becomes is what a restore gives, record by record, whenever it was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use oxigdal_ha::recovery::{LOG_DIR, Source};
use oxigdal_ha::types::Chain;
use oxigdal_ha::wal::Frame;
use serde_json::Value;
use tempfile::TempDir;

use super::{Life, Luck, START, watched};

/// A node's log with backups of it, and what follows them.
struct Shop {
    home: TempDir,
    life: Option<Life>,
    luck: Luck,
}

impl Shop {
    fn open() -> Self {
        let home = TempDir::new().unwrap();
        let log = home.path().join("data").join(LOG_DIR);
        fs::create_dir_all(&log).unwrap();
        Self { life: Some(Life::begin(&log, START, Vec::new())), luck: Luck(77), home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run(&self, arguments: &str) -> (i32, Value, Value) {
        let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
        process.arg("--json").args(arguments.split(' ')).current_dir(self.home.path());
        let Output { status, stdout, stderr } = watched::output(&mut process);
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
        (status.code().unwrap(), read(&stdout), read(&stderr))
    }

    fn done(&self, arguments: &str) -> Value {
        let (code, answer, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments}: {said}");
        answer
    }

    fn refused(&self, arguments: &str) -> String {
        let (code, _, said) = self.run(arguments);
        assert_ne!(code, 0, "{arguments} was not refused");
        said["error"]["code"].as_str().unwrap_or_else(|| panic!("{arguments}: {said}")).to_owned()
    }

    fn live(&mut self, steps: usize, kind: &str) {
        let life = self.life.as_mut().unwrap();
        (0..steps).for_each(|_| life.live(&mut self.luck));
        self.done(&format!("backup create {kind} --repo repo --data data"));
    }
}

/// The records of a directory, but the last, which says what it is.
fn records(dir: &Path) -> Vec<(Chain, Frame)> {
    let source = Source::open(dir).unwrap();
    let begins = source.beginning(None).unwrap();
    let mut main: Vec<_> = source.main(None).map(|frame| (Chain::Main, frame.unwrap())).collect();
    main.pop();
    main.into_iter().chain(source.events(&begins, None).map(|frame| (Chain::Events, frame.unwrap()))).collect()
}

fn same(one: &Path, other: &Path) {
    let (one, other) = (records(one), records(other));
    assert_eq!(one.len(), other.len());
    for ((chain, a), (other_chain, b)) in one.iter().zip(&other) {
        let (a, b) = ((chain, a.lsn, a.kind, a.hlc, &a.payload), (other_chain, b.lsn, b.kind, b.hlc, &b.payload));
        assert_eq!(a, b);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join(LOG_DIR)).unwrap();
    fs::copy(from.join("standby.json"), to.join("standby.json")).unwrap();
    for entry in fs::read_dir(from.join(LOG_DIR)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(LOG_DIR).join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_standby_takes_only_what_is_new_and_becomes_what_a_restore_gives() {
    let mut shop = Shop::open();
    assert_eq!(shop.refused("standby st --activate"), "no_standby");
    shop.live(20, "--full");
    let first = shop.done("standby st --repo repo");
    assert!(first["applied"]["records"].as_u64().unwrap() > 20, "{first}");
    for kind in ["--incremental", "--incremental", "--differential", "--incremental"] {
        shop.live(6, kind);
        let next = shop.done("standby st --repo repo");
        let records = next["applied"]["records"].as_u64().unwrap();
        assert!((1..20).contains(&records) && next["rpo_ms"].is_u64(), "{next}");
        let read = |answer: &Value| answer["applied"]["stored_bytes"].as_u64().unwrap();
        // A differential one holds what is here too, and is compared with it.
        assert!(kind == "--differential" || read(&next) < read(&first), "only what is new is read: {next}");
        assert_eq!(shop.done("standby st --repo repo")["applied"]["records"], 0, "once");
    }
    // The old ones are pruned: what it has is compared with the new full one, and it goes on.
    shop.live(3, "--full");
    while shop.done("backup list --repo repo")["backups"].as_array().unwrap().len() > 1 {
        // Marked first, deleted when the grace is over.
        shop.done("backup prune --repo repo --keep-last 1 --grace 1s --yes");
    }
    let after = shop.done("standby st --repo repo");
    assert!((1..10).contains(&after["applied"]["records"].as_u64().unwrap()), "{after}");
    shop.done("restore --repo repo --at latest --into direct");
    shop.done("standby st --activate");
    same(&shop.at("st"), &shop.at("direct"));
    assert_eq!(shop.refused("standby st --activate"), "no_standby");
    assert_eq!(shop.refused("standby st --repo repo"), "not_empty");
    let kept = shop.done("recoveries --data-dir st");
    assert_eq!((&kept[0]["what"], &kept[0]["error"]), (&"standby".into(), &Value::Null), "{kept}");
    assert!(kept[0]["seconds"]["write"].is_number() && kept[0]["lost_ms"].is_u64(), "{kept}");
}

/// Records are appended, then it is said that they count: every state in between is one that a kill may leave.
#[test]
fn a_standby_that_was_killed_anywhere_goes_on() {
    let mut shop = Shop::open();
    shop.live(12, "--full");
    shop.done("standby st --repo repo");
    copy(&shop.at("st"), &shop.at("before"));
    shop.live(12, "--incremental");
    shop.done("standby st --repo repo");
    shop.done("restore --repo repo --at latest --into direct");
    let old = |name: &str| fs::read(shop.at("before").join(LOG_DIR).join(name)).unwrap_or_default().len();
    let segment = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names: Vec<String> =
        fs::read_dir(shop.at("st").join(LOG_DIR)).unwrap().map(|entry| segment(entry.unwrap().path())).collect();
    let mut tried = 0;
    for name in names.iter().filter(|name| name.ends_with(".wal")) {
        let new = fs::read(shop.at("st").join(LOG_DIR).join(name)).unwrap();
        let grown = new.len() - old(name);
        for part in [1, grown / 2, grown].into_iter().filter(|part| (1..=grown).contains(part)) {
            let torn = shop.at(&format!("torn-{tried}"));
            copy(&shop.at("before"), &torn);
            fs::write(torn.join(LOG_DIR).join(name), &new[..old(name) + part]).unwrap();
            shop.done(&format!("standby torn-{tried} --repo repo"));
            shop.done(&format!("standby torn-{tried} --activate"));
            same(&torn, &shop.at("direct"));
            tried += 1;
        }
    }
    assert!(tried >= 3, "{tried}");

    // A whole segment that is gone is found, and nothing is made of the rest.
    copy(&shop.at("before"), &shop.at("lost"));
    fs::write(shop.at("lost").join(LOG_DIR).join("0000000000000001.wal"), b"").unwrap();
    assert_eq!(shop.refused("standby lost --repo repo"), "damaged");
}

#[test]
fn what_does_not_continue_a_standby_is_refused_and_it_stays_as_it_was() {
    let mut shop = Shop::open();
    shop.live(10, "--full");
    shop.done("standby st --repo repo");
    // The log is begun anew, as a restored one is.
    shop.life = None;
    fs::remove_dir_all(shop.at("data")).unwrap();
    let log = shop.at("data").join(LOG_DIR);
    fs::create_dir_all(&log).unwrap();
    shop.life = Some(Life::begin(&log, START + 9_000_000, Vec::new()));
    shop.live(15, "--full");
    copy(&shop.at("st"), &shop.at("kept"));
    assert_eq!(shop.refused("standby st --repo repo"), "replaced");
    let read = |name: &str| fs::read(shop.at(name).join("standby.json")).unwrap();
    assert_eq!(read("st"), read("kept"));
    shop.done("standby kept --activate");
    shop.done("standby st --repo repo --afresh");
    shop.done("standby st --activate");
    shop.done("restore --repo repo --at latest --into direct");
    same(&shop.at("st"), &shop.at("direct"));
    assert!(records(&shop.at("kept")).len() > 10);
    fs::create_dir_all(shop.at("other").join(LOG_DIR)).unwrap();
    fs::write(shop.at("other").join(LOG_DIR).join("0000000000000001.wal"), b"x").unwrap();
    assert_eq!(shop.refused("standby other --repo repo"), "not_empty");
}
