//! Writes that wait for copies, through the command line: what is not known on so many others is told, and is no success.

use serde_json::{Value, json};

use crate::harness::Place;

#[test]
fn an_import_that_others_do_not_hold_says_so_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Place::on_loopback(dir.path(), "alone").with("REPLICATION__ACK_TIMEOUT_MS", "50").start(None);
    let feature = |id: u8| json!({ "type": "Feature", "id": id, "geometry": null, "properties": {} });
    let file = dir.path().join("two.geojson");
    let two = json!({ "type": "FeatureCollection", "features": [feature(1), feature(2)] });
    std::fs::write(&file, two.to_string()).unwrap();
    let import = |level| {
        let file = file.to_str().unwrap();
        alone.run(&["doc", "import", file, "--prefix", "layers/two", "--ack", level, "--json"])
    };
    let run = import("1");
    let told = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "nobody else is there to hold it: {told}");
    let error = serde_json::from_str::<Value>(&told).unwrap()["error"].clone();
    assert_eq!(error["code"], json!("not_replicated"), "{error}");
    assert_eq!(error["hint"], json!("all 2 are in here"), "{error}");

    let listed = alone.run(&["doc", "ls", "layers/two"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 2);
    let again: Value = serde_json::from_slice(&import("local").stdout).unwrap();
    assert_eq!((&again["written"], &again["unchanged"]), (&json!(0), &json!(2)));
}
