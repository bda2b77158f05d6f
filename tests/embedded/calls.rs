//! Documents, streams, subscriptions, members, health, figures, backups.

use std::time::Duration;

use oxigdal_ha::backup::{BackupType, Level};
use oxigdal_ha::conflict::{ConflictType, ConflictingValue, Rule};
use oxigdal_ha::documents::{self, Edit, Policy, Wish};
use oxigdal_ha::driver::Stop;
use oxigdal_ha::driver::mesh::{BackupPlace, Cursor, MemberChange};
use oxigdal_ha::events::Begin;
use oxigdal_ha::node;
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::replication::Pause;
use oxigdal_ha::types::unhex;
use oxigdal_ha::{Change, Changes, ErrorKind, MemberUpdate, Mesh, Update};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{WAIT, bounded, config, nodes, until};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Layer {
    path: String,
    zooms: Vec<u8>,
}

async fn changed(changes: &mut Changes) -> Change {
    match tokio::time::timeout(WAIT, changes.next()).await.expect("no change came") {
        Some(Update::Changed(change)) => change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn documents_are_read_and_written_as_the_hosts_own_types() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::builder(config(dir.path(), "one", None)).start().await.unwrap();
        let layer = Layer { path: "/data/relief.tif".into(), zooms: vec![0, 1] };
        let written = mesh.put("layers/relief", &layer).await.unwrap();
        assert!(written.stamp.is_some() && written.version.len() == 1, "{written:?}");
        assert_eq!(mesh.put("layers/relief", &layer).await.unwrap().stamp, None, "nothing differed");
        assert_eq!(mesh.get::<Layer>("layers/relief").await.unwrap(), Some(layer));
        assert_eq!(mesh.get::<Layer>("layers/none").await.unwrap(), None);
        let exists = mesh.create("layers/relief", &json!({})).await.unwrap_err();
        assert_eq!(exists.kind(), ErrorKind::Exists);
        mesh.set("layers/relief", "zooms/-", 2).await.unwrap();
        mesh.set("layers/relief", "path", "grey").await.unwrap();
        mesh.splice("layers/relief", "path", 4, 0, "scale").await.unwrap();
        mesh.insert("layers/relief", "zooms/0", 0).await.unwrap();
        mesh.increment("layers/relief", "seen", 3).await.unwrap();
        mesh.increment("layers/relief", "seen", -1).await.unwrap();
        assert_eq!(mesh.get_at::<i64>("layers/relief", "seen").await.unwrap(), Some(2));
        assert_eq!(mesh.get_at::<i64>("layers/relief", "zooms/0").await.unwrap(), Some(0));
        assert_eq!(mesh.increment("layers/relief", "path", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(mesh.insert("layers/relief", "zooms/9", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        mesh.remove("layers/relief", "zooms/0").await.unwrap();
        mesh.remove("layers/relief", "seen").await.unwrap();
        assert_eq!(mesh.get_at::<String>("layers/relief", "path").await.unwrap().as_deref(), Some("greyscale"));
        assert_eq!(mesh.get_at::<Vec<u8>>("layers/relief", "zooms").await.unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(mesh.get_at::<Value>("layers/relief", "none").await.unwrap(), None);
        mesh.remove("layers/relief", "path").await.unwrap();
        let other = mesh.get::<Layer>("layers/relief").await.unwrap_err();
        assert!(other.kind() == ErrorKind::Invalid && other.to_string().contains("path"), "{other}");
        assert_eq!(mesh.set("", "x", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(mesh.set("layers/none", "x", 1).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(mesh.history("layers/relief").await.unwrap().len() >= 5);
        for nth in 0..300 {
            mesh.put(&format!("many/{nth:03}"), &json!({ "nth": nth })).await.unwrap();
        }
        let all: Vec<(_, Value)> = mesh.scan("many/").collect().await.unwrap();
        assert!(all.len() == 300 && all[299].1["nth"] == 299, "more than a page");
        mesh.delete("many/000").await.unwrap();
        assert_eq!(mesh.delete("many/000").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(mesh.shutdown(WAIT).await, Stop::Left);
        assert_eq!(mesh.get::<Value>("many/001").await.unwrap_err().kind(), ErrorKind::Leaving);
    });
}

#[test]
fn several_nodes_of_one_process_share_documents_and_tell_what_changed_and_by_whom() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = nodes(dir.path(), 3, |_, config| Mesh::builder(config)).await;
        let running: Vec<_> =
            Mesh::running().iter().map(Mesh::id).filter(|id| mesh.iter().any(|it| it.id() == *id)).collect();
        assert_eq!(running, mesh.iter().map(Mesh::id).collect::<Vec<_>>());
        let mut changes = mesh[2].subscribe("layers/");
        mesh[0].put("other/a", &json!({})).await.unwrap();
        mesh[0].put("layers/a", &json!({ "name": "a" })).await.unwrap();
        let holders = mesh[0].wait_synced(2, WAIT).await.unwrap();
        assert_eq!(holders.len(), 2, "{holders:?}");
        let change = changed(&mut changes).await;
        assert_eq!((change.key.as_str(), change.value), ("layers/a", Some(json!({ "name": "a" }))));
        assert_eq!(change.origins, [mesh[0].id()]);
        assert_eq!(
            change.version,
            mesh[0].document("layers/a").await.unwrap().unwrap().version,
            "one version everywhere"
        );
        mesh[1].delete("layers/a").await.unwrap();
        let gone = changed(&mut changes).await;
        assert_eq!((gone.value, gone.origins), (None, vec![mesh[1].id()]));
        let short =
            mesh[0].put("layers/b", &json!({})).await.map(|_| mesh[0].wait_synced(3, Duration::from_millis(300)));
        assert_eq!(short.unwrap().await.unwrap_err().kind(), ErrorKind::NotReplicated, "there are only two others");
        mesh[0].append("log/a", ["one".into(), "two".into()]).await.unwrap();
        mesh[0].wait_synced(2, WAIT).await.unwrap();
        let page = mesh[1].read("log/a", Begin::Start, 10).await.unwrap();
        assert_eq!(page.events.iter().map(|event| &event.body[..]).collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    });
}

#[test]
fn what_is_written_while_somebody_waits_for_copies_is_not_waited_for() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = nodes(dir.path(), 2, |_, mut config| {
            // Far shorter than copies take to be known.
            config.replication.ack_timeout = Duration::from_micros(10);
            Mesh::builder(config)
        })
        .await;
        mesh[0].put("d/1", &json!({ "n": 0 })).await.unwrap();
        let (writer, done) = (mesh[0].clone(), std::sync::atomic::AtomicBool::new(false));
        let writing = async {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                writer.increment("d/1", "n", 1).await.unwrap();
            }
        };
        let waiting = async {
            for _ in 0..10 {
                let holders = mesh[0].wait_synced(1, Duration::from_secs(20)).await.unwrap();
                assert_eq!(holders, [mesh[1].id()]);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        tokio::join!(writing, waiting);
    });
}

#[test]
fn who_waits_for_copies_is_refused_when_the_time_is_over_and_not_before() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let first = Mesh::builder(config(dir.path(), "first", None)).start().await.unwrap();
        first.put("d/1", &json!({ "n": 0 })).await.unwrap();
        // No copies are there at once; of others it is said what is known.
        assert_eq!(first.wait_synced(0, Duration::ZERO).await.unwrap(), []);
        assert_eq!(first.wait_synced(1, Duration::ZERO).await.unwrap_err().kind(), ErrorKind::NotReplicated);
        // More than a node has wait at a time: it passes over those that wait longest, and they go on waiting.
        let waiting: Vec<_> = (0..1_100)
            .map(|_| {
                let first = first.clone();
                tokio::spawn(async move { first.wait_synced(1, WAIT).await })
            })
            .collect();
        // Whoever asks after all of them is answered after all of them have asked.
        let late = first.wait_synced(1, Duration::from_millis(300)).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::NotReplicated);
        let invite = first.invite(WAIT).unwrap();
        let second = Mesh::builder(config(dir.path(), "second", Some(&invite))).start().await.unwrap();
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap(), [second.id()]);
        }
        assert_eq!(first.wait_synced(1, Duration::ZERO).await.unwrap(), [second.id()]);
        first.shutdown(WAIT).await;
        for copies in [0, 1] {
            assert_eq!(first.wait_synced(copies, Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Leaving);
        }
    });
}

/// A file that gives nothing as long as nobody writes to it.
fn mute(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until somebody reads it; then it may be written to, and ends when what is returned is dropped.
async fn read_by_somebody(path: &std::path::Path) -> std::fs::File {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(path).unwrap()).await.unwrap()
}

#[test]
fn a_node_that_was_shut_down_does_nothing_more_for_who_asked_for_the_past() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::builder(config(dir.path(), "one", None)).start().await.unwrap();
        mesh.put("d/1", &json!({ "n": 0 })).await.unwrap();
        // A segment behind the one that it writes, at which whoever reads the log waits.
        let log = mesh.data_dir().join("log");
        let segments = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
        let newest = segments.filter(|path| path.extension().is_some()).min().unwrap();
        let number = u64::from_str_radix(newest.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
        let next = newest.with_file_name(format!("{:016x}", number + 1)).with_extension(newest.extension().unwrap());
        mute(&next);
        let asker = mesh.clone();
        let asked = tokio::spawn(async move { asker.at("", Target::Latest).await });
        let reading = read_by_somebody(&next).await;
        // Nobody waits for it any more, and it is at work all the same.
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let free = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (stopped, freed) = (mesh.clone(), free.clone());
        let freeing = tokio::spawn(async move {
            stopped.stopped().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            freed.store(true, std::sync::atomic::Ordering::SeqCst);
            drop(reading);
        });
        assert_eq!(mesh.shutdown(WAIT).await, Stop::Left);
        assert!(free.load(std::sync::atomic::Ordering::SeqCst), "it did not wait for what was at work");
        freeing.await.unwrap();
    });
}

#[test]
fn a_subscriber_is_told_where_several_values_stand_and_what_checks_find_odd() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let odd = |value: &Value| value["n"].as_i64().filter(|n| *n < 0).map(|n| format!("{n} is too few"));
        let build = |_, config| Mesh::builder(config).check("few", move |_, value| odd(value).into_iter().collect());
        let mesh = nodes(dir.path(), 2, build).await;
        mesh[0].put("d/1", &json!({ "n": 0 })).await.unwrap();
        let before = mesh[0].document("d/1").await.unwrap().unwrap().version;
        until("the other has it", || async { mesh[1].document("d/1").await.unwrap().is_some() }).await;
        let mut changes = mesh[1].subscribe("d/");
        mesh[0].set("d/1", "n", -1).await.unwrap();
        let change = changed(&mut changes).await;
        assert_eq!((change.conflict, change.flags), (false, vec!["few: -1 is too few".to_owned()]));
        // As if it had not seen that.
        let heads = before.iter().map(|head| unhex(head).unwrap().try_into().unwrap()).collect();
        let edits = vec![Edit::Set { path: "n".into(), value: json!(2) }];
        let command =
            node::Command::Documents(documents::Command::EditAt { doc: "d/1".parse().unwrap(), edits, heads });
        mesh[1].peer().command(command).await.unwrap();
        let met = changed(&mut changes).await;
        let shown = met.value.unwrap()["n"].clone();
        assert_eq!((met.conflict, met.flags.is_empty()), (true, shown == 2));
        let edits = vec![Edit::Resolve { path: "n".into(), value: Some(json!(3)), force: false }];
        mesh[1].edit("d/1", edits).await.unwrap();
        let settled = changed(&mut changes).await;
        assert_eq!((settled.conflict, settled.flags, settled.value), (false, vec![], Some(json!({ "n": 3 }))));
    });
}

#[test]
fn a_subscription_goes_on_behind_its_cursor_and_says_when_it_cannot() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::builder(config(dir.path(), "one", None)).start().await.unwrap();
        let mut changes = mesh.subscribe("");
        mesh.put("a", &json!({ "n": 1 })).await.unwrap();
        let first = changed(&mut changes).await;
        drop(changes);
        mesh.put("b", &json!({ "n": 2 })).await.unwrap();
        mesh.put("c", &json!({ "n": 3 })).await.unwrap();
        // As text, as a host would keep it.
        let cursor: Cursor = first.cursor.to_string().parse().unwrap();
        let mut again = mesh.subscribe_from("", cursor);
        assert_eq!(changed(&mut again).await.key.as_str(), "b");
        assert_eq!(changed(&mut again).await.key.as_str(), "c");
        assert!("17".parse::<Cursor>().is_err());
        mesh.shutdown(WAIT).await;
        assert_eq!(again.next().await, None, "the node has stopped");
        drop(mesh);
        let back = Mesh::builder(config(dir.path(), "one", None)).start().await.unwrap();
        let mut other = back.subscribe_from("", cursor);
        assert!(matches!(other.next().await, Some(Update::Lost { missed: None, .. })), "another life");
        back.put("d", &json!({})).await.unwrap();
        assert_eq!(changed(&mut other).await.key.as_str(), "d");
        for nth in 0..5_000 {
            back.put("e", &json!({ "nth": nth })).await.unwrap();
        }
        match other.next().await {
            Some(Update::Lost { missed: Some(missed), cursor }) => {
                assert!(missed > 0 && cursor == other.cursor(), "{missed}");
            }
            other => panic!("what is not kept must be told as lost, not left out: {other:?}"),
        }
    });
}

#[test]
fn members_come_and_go_and_health_and_figures_say_so() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mut mesh = nodes(dir.path(), 1, |_, config| Mesh::builder(config)).await;
        let first = mesh.remove(0);
        let mut members = first.subscribe_members();
        let invite = first.invite(WAIT).unwrap();
        let second = Mesh::builder(config(dir.path(), "second", Some(&invite))).start().await.unwrap();
        async fn told(members: &mut oxigdal_ha::driver::mesh::Members) -> (MemberChange, Option<String>) {
            loop {
                match tokio::time::timeout(WAIT, members.next()).await.unwrap().unwrap() {
                    MemberUpdate::Changed { change: MemberChange::Updated, .. } => {}
                    MemberUpdate::Changed { change, member, .. } => return (change, member.map(|it| it.meta.name)),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(told(&mut members).await, (MemberChange::Joined, Some("second".into())));
        until("both are well", || async { first.health().await.ready && second.health().await.ready }).await;
        let health = serde_json::to_value(first.health().await).unwrap();
        assert_eq!((&health["live"], &health["ready"]), (&json!(true), &json!(true)), "{health}");
        let figures = first.metrics().await.unwrap();
        for line in
            ["oxigdal_ha_ready 1\n", "oxigdal_ha_members{state=\"alive\"} 2\n", "# TYPE oxigdal_ha_documents gauge\n"]
        {
            assert!(figures.contains(line), "{line}: {figures}");
        }
        assert!(figures.lines().all(|line| line.starts_with("# ") || line.starts_with("oxigdal_ha_")), "{figures}");
        let mut health = second.watch_health();
        assert!(health.changed().await.unwrap().live);
        second.shutdown(WAIT).await;
        while let Some(last) = health.changed().await {
            if !last.live {
                assert_eq!(last.reasons[0].code, "stopped");
            }
        }
        assert_eq!(told(&mut members).await.0, MemberChange::Left);
    });
}

#[test]
fn a_node_is_backed_up_verified_and_restored_by_calls() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::builder(config(dir.path(), "one", None)).start().await.unwrap();
        mesh.put("a", &json!({ "n": 1 })).await.unwrap();
        mesh.restore_point("before").await.unwrap();
        assert_eq!(mesh.restore_point("before").await.unwrap_err().kind(), ErrorKind::Exists);
        mesh.put("a", &json!({ "n": 2 })).await.unwrap();
        mesh.snapshot().await.unwrap();
        let place = BackupPlace::new(dir.path().join("repository").to_str().unwrap());
        assert!(mesh.verify(place.clone(), Level::List).await.is_err(), "there is none yet");
        let made = mesh.backup(place.clone(), BackupType::Full).await.unwrap();
        assert!(made.is_new && made.metadata.statistics.records > 2, "{made:?}");
        assert!(mesh.verify(place.clone(), Level::Content).await.unwrap().is_good());
        let into = dir.path().join("restored");
        let (_, done) = mesh.restore(place.clone(), Target::Point("before".into()), &into).await.unwrap();
        assert!(done.written.records > 0);
        let none = mesh.restore(place, Target::Point("never".into()), &dir.path().join("never")).await;
        assert!(none.is_err() && !dir.path().join("never").exists(), "{none:?}");
        let look = oxigdal_ha::recovery::Source::open(&into).unwrap();
        assert!(oxigdal_ha::recovery::Survey::of(&look).is_ok());
        let inside = BackupPlace::new(mesh.data_dir().join("here").to_str().unwrap());
        assert!(mesh.backup(inside, BackupType::Full).await.is_err(), "what takes the one takes the other");
    });
}

#[test]
fn what_met_is_told_settled_and_shown_by_the_hosts_own_function() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let most = |values: &[ConflictingValue]| {
            let numbers = values.iter().filter_map(|value| serde_json::from_slice::<i64>(value.data.as_ref()?).ok());
            serde_json::to_vec(&numbers.max()?).ok()
        };
        let nodes = nodes(dir.path(), 2, |_, config| Mesh::builder(config).custom("most", most)).await;
        let (one, two) = (&nodes[0], &nodes[1]);
        one.put("d/1", &json!({ "v": 0 })).await.unwrap();
        let shows = async |mesh: &Mesh, v: i64| mesh.get_at::<i64>("d/1", "v").await.unwrap() == Some(v);
        until("both have it", async || shows(two, 0).await).await;
        let policy = Policy { prefix: "d/".into(), rule: Rule::Custom("most".into()), ..Policy::default() };
        until("it is decided", async || one.set_policy(policy.clone()).await.is_ok()).await;
        let named = async |mesh: &Mesh| mesh.policies().await.unwrap().policies == [policy.clone()];
        until("both have heard", async || named(one).await && named(two).await).await;

        let pause = |paused| node::Command::Pause(Pause { peer: two.id(), paused });
        one.peer().command(pause(true)).await.unwrap();
        two.set("d/1", "v", 9).await.unwrap();
        one.set("d/1", "v", 5).await.unwrap();
        one.peer().command(pause(false)).await.unwrap();
        until("the function chose", async || shows(one, 9).await && shows(two, 9).await).await;
        let page = two.conflicts("d/", None).await.unwrap();
        assert_eq!((page.met.len(), &*page.met[0].path, page.next), (1, "/v", None));
        assert_eq!(page.met[0].values.len(), 2);
        let shown = one.at("d/", Target::Latest).await.unwrap();
        assert_eq!((shown.docs.len(), shown.docs[0].0.as_str()), (1, "d/1"));

        let open = &page.met[0];
        let five = open.values.iter().find(|standing| standing.value == 5).unwrap();
        assert_eq!(two.standing(open, five).await.unwrap(), 5);
        two.choose(open, five).await.unwrap();
        assert_eq!(two.choose(open, five).await.unwrap_err().kind(), ErrorKind::NotOpen);
        assert_eq!(two.resolve("d/1", "v", 6).await.unwrap_err().kind(), ErrorKind::NotOpen);
        assert!(two.resolve("d/1", "v", 5).await.unwrap().stamp.is_none(), "settled already");
        until("nothing is open", async || one.conflicts("d/", None).await.unwrap().met.is_empty()).await;
        assert!(shows(one, 5).await && shows(two, 5).await);
        let trail = one.trail("", None, Wish::default()).await.unwrap();
        assert_eq!(trail, two.trail("", None, Wish::default()).await.unwrap());
        assert_eq!((trail.met.len(), &trail.met[0].rule, trail.met[0].winner), (1, &Some(policy.rule), None));

        // A removal that met a write, and is what they agree on.
        one.peer().command(pause(true)).await.unwrap();
        two.remove("d/1", "v").await.unwrap();
        one.set("d/1", "v", 6).await.unwrap();
        one.peer().command(pause(false)).await.unwrap();
        until("it is open", async || !two.conflicts("d/", None).await.unwrap().met.is_empty()).await;
        let open = two.conflicts("d/", None).await.unwrap().met.remove(0);
        assert_eq!(
            (open.kind, open.values.iter().filter(|value| value.removed).count()),
            (ConflictType::DeleteWrite, 1)
        );
        two.resolve_to_removal("d/1", "/v").await.unwrap();
        assert!(
            two.resolve_to_removal("d/1", "/v").await.unwrap().stamp.is_none(),
            "once more, and nothing is written"
        );
        until("nothing is open", async || one.conflicts("d/", None).await.unwrap().met.is_empty()).await;
        assert_eq!(one.get_at::<i64>("d/1", "v").await.unwrap(), None);
        assert_eq!(one.remove_policy("d/", "").await.unwrap(), []);
        assert_eq!(one.remove_policy("d/", "").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(one.wait_synced(0, Duration::MAX).await.unwrap().is_empty(), "the longest time there is, is no error");
    });
}
