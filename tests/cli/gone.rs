//! A peer that is gone while something is waited for at it: what was decided is told all the same.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::{command, finished, run};

/// What is asked for, and its answer; nobody listens after the last one.
type Answers = Vec<(&'static str, u16, Value)>;

/// A peer that answers what it has an answer for, in this order, and is gone then. Gives its address.
fn peer(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (wanted, status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let asked = request(&stream);
            assert!(asked.starts_with(wanted), "{asked:?} in place of {wanted:?}");
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    api
}

/// The first line of a request that is read whole.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            reader.read_exact(&mut vec![0; length]).unwrap();
            return first;
        }
    }
}

fn error(told: &super::Run) -> Value {
    let told: Value = serde_json::from_str(&told.err).unwrap();
    told["error"].clone()
}

#[test]
fn a_move_that_is_decided_is_told_when_the_asked_peer_is_gone() {
    let roles = |index: u64| {
        let token = json!({ "epoch": 1, "term": 2, "index": index });
        json!([{ "role": "primary", "holder": "1", "name": "p1", "token": token, "promote_limit_ms": 100 }])
    };
    let answers = vec![
        ("GET /v1/members", 200, json!([{ "node": "5", "name": "p5" }])),
        ("GET /v1/roles", 200, roles(3)),
        ("POST /v1/roles", 200, json!({ "token": { "epoch": 1, "term": 2, "index": 7 } })),
        ("GET /v1/roles", 200, roles(3)),
        // It starts anew meanwhile, and is waited for.
        ("GET /v1/roles", 503, json!({ "error": { "code": "booting", "message": "this peer reads its log still" } })),
        ("GET /v1/roles", 200, roles(3)),
    ];
    let api = peer(answers);
    let told = run(&["role", "move", "primary", "p5", "--json", "--api", &api]);
    let words = error(&told);
    assert_eq!((told.code, &words["code"]), (3, &json!("no_peer")), "{told:?}");
    assert!(words["message"].as_str().unwrap().contains(&format!("no peer answers at {api}")), "{words}");
    assert_eq!((&words["token"]["index"], &words["role"]), (&json!(7), &json!("primary")), "{words}");
    let hint = words["hint"].as_str().unwrap();
    assert!(hint.contains("is decided, under 1.2.7") && hint.contains("role show primary --api"), "{hint}");
}

#[test]
fn a_backup_of_the_mesh_that_goes_on_is_told_when_the_asked_peer_is_gone() {
    let id = "00000000-0000-0000-0000-000000000007";
    let node = "00000000-0000-0000-0000-000000000001";
    let job = || {
        let task = json!({ "kind": "full", "repository": "/srv" });
        json!({ "id": id, "task": task, "by": "x", "asked": 5, "shares": [{ "node": node, "attempt": 1 }] })
    };
    let booting = json!({ "error": { "code": "booting", "message": "this peer reads its log still" } });
    let none = json!({ "error": { "code": "not_found", "message": "no backup of the mesh was ever asked for" } });
    let path = "GET /v1/backups/mesh";
    let answers = vec![
        ("POST /v1/backups/mesh", 200, job()),
        (path, 503, booting),
        // It has started, and hears of what was decided last.
        (path, 404, none),
        (path, 200, job()),
    ];
    let api = peer(answers);
    let dir = tempfile::tempdir().unwrap();
    let asked = ["backup", "create", "--mesh", "--repo", "/srv", "--json", "--api", &api];
    let told = finished(&mut command(dir.path(), &asked));
    let words = error(&told);
    assert_eq!((told.code, &words["code"], &words["id"]), (3, &json!("no_peer"), &json!(id)), "{told:?}");
    let hint = words["hint"].as_str().unwrap();
    assert!(hint.contains(id) && hint.contains("backup create --mesh --show --api"), "{hint}");
}
