//! A running peer that archives its log and takes backups by schedule: from the configuration, and as the command line sets them.

use std::process::Command as Process;
use std::time::Duration;

use oxigdal_ha::config::{self, Flags};
use oxigdal_ha::driver::{ArchiveState, Peer};
use serde_json::json;
use tempfile::TempDir;

use super::{bounded, doc};

#[test]
fn a_running_peer_archives_and_takes_backups_by_schedule() {
    bounded(async {
        let home = TempDir::new().unwrap();
        let place = |name: &str| home.path().join(name).display().to_string();
        let nightly = format!("hourly kind=full every=1h repository={} keep-last=3 verify=content", place("backups"));
        let flags = Flags::new()
            .set("test", "node.data-dir", place("data"))
            .set("test", "api.listen", "")
            .set("test", "archive.repository", place("archive"))
            .set("test", "archive.every", "200ms")
            .list("test", "backup.schedule", [nightly])
            .list("test", "network.listen", ["127.0.0.1:0"]);
        let peer = Peer::start(config::parse(None, [], &flags).unwrap()).await.unwrap();
        peer.put(doc(1), json!({ "n": 1 })).await.unwrap();
        let set = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"))
            .args(["backup", "schedule", "--data", &place("data"), "set", "other", "kind=incremental", "every=2h"])
            .arg(format!("repository={}", place("others")))
            .status();
        assert!(set.unwrap().success());
        let backups = loop {
            let backups = peer.status().await.unwrap().host.backups.unwrap_or_default();
            let done = |name: &str| backups.schedules.iter().any(|one| one.name == name && one.last.is_some());
            if done("hourly") && done("other") {
                break backups;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(backups.error, None);
        for one in &backups.schedules {
            let last = one.last.as_ref().unwrap();
            assert!(last.ok && last.records > 0 && last.backup.is_some(), "{one:?}");
            assert_eq!(one.configured, one.name == "hourly");
        }
        let listed = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"))
            .args(["--json", "backup", "schedule", "list", "--data", &place("data")])
            .output()
            .unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed["schedules"].as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(listed["schedules"][0]["last"][0]["ok"], true);
        // In order: what came last is in the archive.
        peer.put(doc(2), json!({ "n": 2 })).await.unwrap();
        peer.clone().shutdown(Duration::from_secs(10)).await;
        let archive = peer.archived().await.unwrap();
        assert_eq!((archive.state, archive.failures, archive.behind.records), (ArchiveState::Stopped, 0, 0));
        let upto = archive.covered.unwrap().upto();
        let directory =
            oxigdal_ha::backup::Directory::open(peer.data_dir(), None, oxigdal_ha::types::WallTime::EPOCH).unwrap();
        assert_eq!((directory.known().main.last, directory.known().events.last), (upto.main, upto.events));
    });
}

#[test]
fn what_cannot_be_archived_is_refused_at_the_start() {
    bounded(async {
        let home = TempDir::new().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let refused = async |key: &str, text: String| {
            let flags =
                Flags::new().set("test", "node.data-dir", data.display().to_string()).set("test", "api.listen", "");
            let flags = flags.list("test", "network.listen", ["127.0.0.1:0"]);
            let flags = match key {
                "backup.schedule" => flags.list("test", key, [text]),
                _ => flags.set("test", key, text),
            };
            Peer::start(config::parse(None, [], &flags).unwrap()).await.unwrap_err().to_string()
        };
        let inside = data.join("repository").display().to_string();
        assert!(refused("archive.repository", inside.clone()).await.contains("within the data directory"));
        assert!(refused("archive.repository", "ftp://x/y".into()).await.contains("not known"));
        let schedule = format!("x every=1h repository={inside}");
        assert!(refused("backup.schedule", schedule).await.contains("within the data directory"));
        assert!(
            refused("backup.schedule", "x every=never repository=y".into()).await.contains("a number with its unit")
        );
    });
}
