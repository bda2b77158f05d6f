//! Another implementation of libp2p, which is no member: it identifies and pings a peer, reaches the admission lane, where it is
//! refused, and nothing else. Needs Node.js 22 (or 20) and `npm install --prefix tests/interop`; says so and passes without.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Place, wait_for};

#[test]
fn js_libp2p_identifies_and_pings_and_is_refused_everything_else() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    if !scripts.join("node_modules/libp2p").exists() {
        println!("skipped: needs Node.js and `npm install --prefix tests/interop`");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // With everything switched on that a stranger must not see.
    let peer = Place::on_loopback(dir.path(), "peer").with("NETWORK__RELAY", "true").start(None);
    let mut address = String::new();
    wait_for("it listens", || {
        let status = peer.ask(&["status"]);
        address = status["host"]["listen"][0].as_str().unwrap_or_default().to_owned();
        !address.is_empty()
    });
    let mut node = Command::new("node");
    node.arg(scripts.join("peer.mjs")).arg(&address).stdin(Stdio::null());
    let output = node.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(said.trim())
        .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    println!("{told}");
    assert_eq!((&told["agentVersion"], &told["protocolVersion"]), (&"oxigdal-ha".into(), &"/oxigdal-ha/1".into()));
    let mut protocols: Vec<&str> = told["protocols"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    protocols.sort_unstable();
    let open = ["/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/oxigdal-ha/admit/1"];
    assert_eq!(protocols, open);
    assert!(told["ping_ms"].is_number() && told["reached"].as_array().unwrap().is_empty(), "{told}");
    assert!(told["answered"].as_u64().unwrap() > 0 && told["closed"] == true, "{told}");
    let totals = peer.ask(&["status"])["network"]["totals"].clone();
    assert_eq!(totals["refused"], 1, "{totals}");
    assert!(peer.log().contains("not admitted"), "{}", peer.log());
}
