//! The interface over real sockets, as a client that speaks HTTP badly on purpose meets it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};

use super::guard::is_ours;
use super::{Interface, Token};
use crate::config::{self, Flags};
use crate::documents::Checks;
use crate::driver::admission::Admission;
use crate::driver::peer::{Ask, Facts, Link, Phase};
use crate::driver::{Clock, Peer};
use crate::membership;
use crate::node::Event;
use crate::types::NodeId;

/// A client of one peer.
#[derive(Clone)]
struct Client {
    api: SocketAddr,
    token: String,
}

impl Client {
    /// Sends a request as it is written and reads status and body.
    fn raw(&self, head: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.exchange(head, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body:?}")))
    }

    /// The body of an answer that is fine.
    fn text(&self, head: &str, body: &str) -> String {
        let (status, body) = self.exchange(head, body);
        assert_eq!(status, 200, "{body}");
        body
    }

    fn exchange(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = &self.token;
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}"), body)
    }

    fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let (status, answer) = self.ask(method, path, body);
        let text = |part: &str| answer["error"][part].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (status, text("code"), text("message"))
    }
}

async fn start(dir: &Path) -> Peer {
    let flags = Flags::new()
        .set("test", "node.data-dir", dir.to_str().unwrap())
        .set("test", "membership.profile", "local")
        .set("test", "api.listen", "127.0.0.1:0")
        .set("test", "replication.ack-timeout-ms", "50")
        .list("test", "network.listen", ["127.0.0.1:0"]);
    let mut config = config::parse(None, [], &flags).unwrap();
    let odd = |value: &Value| value["odd"] == true;
    config.documents.checks =
        Checks::new().with("odd", move |_, value| odd(value).then(|| "it says so".to_owned()).into_iter().collect());
    Peer::start(config).await.unwrap()
}

/// Runs a client against a peer of its own.
fn with_peer(work: impl FnOnce(Client) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let peer = start(dir.path()).await;
        let token = std::fs::read_to_string(dir.path().join("api-token")).unwrap().trim().to_owned();
        let client = Client { api: peer.api().unwrap(), token };
        tokio::task::spawn_blocking(move || work(client)).await.unwrap();
        peer.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn documents_are_written_read_listed_and_removed() {
    with_peer(|client| {
        let (status, edited) = client.ask("PUT", "/v1/docs/layers/a%20b/FJI", r#"{"name":"Fiji","n":1}"#);
        assert_eq!((status, &edited["doc"]), (200, &json!("layers/a b/FJI")), "{edited}");
        let (status, edited) = client.ask(
            "PATCH",
            "/v1/docs/layers/a%20b/FJI",
            r#"[{"op":"set","path":"/n","value":2},{"op":"remove","path":"/name"},{"op":"set","path":"/l","value":[1]},
                {"op":"insert","path":"/l/0","value":0},{"op":"increment","path":"/l/1","by":-3},{"op":"increment","path":"/c"}]"#,
        );
        assert_eq!(status, 200, "{edited}");
        let (_, read) = client.ask("GET", "/v1/docs/layers/a%20b/FJI", "");
        assert_eq!(read["value"], json!({"n": 2, "l": [0, -2], "c": 1}));
        let rest = r#"[{"op":"remove","path":"/l"},{"op":"remove","path":"/c"}]"#;
        assert_eq!(client.ask("PATCH", "/v1/docs/layers/a%20b/FJI", rest).0, 200);
        assert_eq!(client.ask("GET", "/v1/docs/layers/a%20b/FJI?path=/n", "").1["value"], json!(2));
        let (_, page) = client.ask("GET", "/v1/docs?prefix=layers/&values=true&limit=5", "");
        assert_eq!((&page["more"], &page["docs"][0]["value"]), (&json!(false), &json!({"n": 2})), "{page}");
        let (_, history) = client.ask("GET", "/v1/history/layers/a%20b/FJI", "");
        assert_eq!(history["changes"].as_array().unwrap().len(), 3, "{history}");
        assert_eq!(client.ask("DELETE", "/v1/docs/layers/a%20b/FJI", "").0, 200);
        assert_eq!(client.refused("GET", "/v1/docs/layers/a%20b/FJI", "").0, 404);
    });
}

#[test]
fn many_edits_are_answered_line_by_line_in_their_order() {
    with_peer(|client| {
        let edit = |n: usize| match n {
            0..7 => json!({"op": "put", "value": {"n": n}}),
            _ => json!({"op": "set", "path": "/n", "value": n}),
        };
        let line = |n: usize| json!({"doc": format!("bulk/{}", n % 7), "edits": [edit(n)]}).to_string();
        let mut lines: Vec<_> = (0..1_000).map(line).collect();
        lines[500] = json!({"doc": "bulk/0", "edits": [{"op": "put", "value": {}}], "create": true}).to_string();
        let token = &client.token;
        let head = format!("POST /v1/edits HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}");
        let text = client.text(&head, &lines.join("\n"));
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), 1_000);
        for (n, answer) in answers.iter().enumerate() {
            match n {
                500 => assert_eq!((&answer["doc"], &answer["error"]["code"]), (&json!("bulk/0"), &json!("exists"))),
                _ => assert_eq!((&answer["doc"], &answer["error"]), (&json!(format!("bulk/{}", n % 7)), &Value::Null)),
            }
        }
        // Edits of one document are done in the order of their lines: the last one stands.
        for doc in 0..7 {
            let last = (0..1_000).rev().find(|n| n % 7 == doc).unwrap();
            assert_eq!(client.ask("GET", &format!("/v1/docs/bulk/{doc}"), "").1["value"], json!({"n": last}));
        }
        let (status, _, message) = client.refused("POST", "/v1/edits", &format!("{}\nx", lines[0]));
        assert_eq!((status, message.contains("line 2")), (400, true), "{message}");
    });
}

#[test]
fn an_edit_names_the_version_that_it_was_made_on() {
    with_peer(|client| {
        let (_, first) = client.ask("PUT", "/v1/docs/a", r#"{"text":"ac"}"#);
        let at = first["heads"][0].as_str().unwrap().to_owned();
        let splice = r#"[{"op":"splice","path":"text","at":1,"insert":"b"}]"#;
        let (status, edited) = client.ask("PATCH", &format!("/v1/docs/a?at={at}"), splice);
        assert_eq!(
            (status, client.ask("GET", "/v1/docs/a", "").1["value"].clone()),
            (200, json!({"text": "abc"})),
            "{edited}"
        );
        let refused = |at: &str| client.refused("PATCH", &format!("/v1/docs/a?at={at}"), splice);
        assert_eq!((refused(&at).0, refused(&at).1.as_str()), (409, "outdated"));
        assert_eq!((refused(&"0".repeat(64)).0, refused(&"0".repeat(64)).1.as_str()), (409, "unseen"));
        assert_eq!((refused("xyz").0, refused("xyz").1.as_str()), (400, "invalid"));
    });
}

#[test]
fn replication_is_shown_and_what_it_cannot_do_is_told() {
    with_peer(|client| {
        let (_, lag) = client.ask("GET", "/v1/lag", "");
        assert_eq!((&lag["replicas"], &lag["warn"]["lag_ms"]), (&json!([]), &json!(60_000)), "{lag}");
        assert_eq!(client.ask("GET", "/v1/peers", "").1, json!([]));
        let (_, says) = client.ask("GET", "/v1/statistics", "");
        assert_eq!((&says["pushed"], &says["settings"]["batch_size"]), (&json!(0), &json!(512)), "{says}");
        assert_eq!(client.refused("PUT", "/v1/docs/a?ack=some", "{}").0, 400);
        assert_eq!(client.ask("PUT", "/v1/docs/a?ack=local", "{}").0, 200);
        // Alone there is nobody to hold a copy. What was asked is done all the same, and so it is for the same again.
        for path in ["/v1/docs/b?ack=1", "/v1/docs/b?ack=all"] {
            let (status, code, words) = client.refused("PUT", path, "{}");
            assert_eq!((status, &*code), (504, "not_replicated"), "{words}");
            assert!(words.contains("durable here") && words.contains("do not send it again"), "{words}");
        }
        assert_eq!(client.ask("GET", "/v1/docs/b", "").0, 200);
        assert_eq!(client.refused("POST", "/v1/streams/s?ack=2", "x").1, "not_replicated");
        assert_eq!(client.ask("GET", "/v1/streams/s", "").1["events"][0]["text"], json!("x"));
        let me = client.ask("GET", "/v1/status", "").1["node"].as_str().unwrap().to_owned();
        for (who, status, words) in [
            (&*me, 400, "itself"),
            ("nobody", 404, "no member is named"),
            ("00000000-0000-4000-8000-000000000001", 404, "there is no member"),
        ] {
            let (found, _, message) = client.refused("POST", &format!("/v1/peers/{who}/pause"), "");
            assert!(found == status && message.contains(words), "{who}: {found} {message}");
        }
        let stranger = Client { token: "0".repeat(64), ..client };
        assert_eq!(stranger.refused("POST", &format!("/v1/peers/{me}/pause"), "").0, 401);
    });
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    with_peer(|client| {
        let refused = |method: &str, path: &str, body: &str, status: u16, code: &str, words: &str| {
            let found = client.refused(method, path, body);
            assert!(
                found.0 == status && found.1 == code && found.2.contains(words),
                "{method} {path} {body}: {found:?}"
            );
        };
        refused("PUT", "/v1/docs/a", "{\n\"b\": x}", 400, "invalid", "line 2 column 6");
        refused("PUT", "/v1/docs/a", "[1]", 400, "invalid", "this is an array");
        refused("PUT", "/v1/docs/a", "", 400, "invalid", "EOF");
        refused("PUT", "/v1/docs/a//b", "{}", 400, "invalid", "segment \"\" at byte 2");
        refused("PUT", "/v1/docs/a%00b", "{}", 400, "invalid", "character '\\0' at byte 1");
        refused("PUT", "/v1/docs/%FF", "{}", 400, "invalid", "the path");
        refused("PUT", &format!("/v1/docs/{}", "x".repeat(300)), "{}", 400, "invalid", "this one has 300");
        refused("PATCH", "/v1/docs/a", r#"[{"op":"burn"}]"#, 400, "invalid", "unknown variant `burn`");
        refused("PATCH", "/v1/docs/a", "[]", 400, "invalid", "no edits");
        refused("GET", "/v1/docs?limit=x", "", 400, "invalid", "limit");
        refused("GET", "/v1/docs?colour=red", "", 400, "invalid", "colour");
        refused("GET", "/v1/docs/nothing", "", 404, "not_found", "nothing");
        refused("GET", "/v2/docs", "", 404, "no_such_path", "nothing at this path");
        refused("POST", "/v1/docs/a", "{}", 405, "method", "method");
        refused("POST", "/v1/revoked", r#"{"node":"me"}"#, 400, "invalid", "UUID");
        refused("DELETE", "/v1/invites/zz", "", 400, "invalid", "zz");
        refused("DELETE", "/v1/invites/%FF", "", 400, "invalid", "the path");
        refused("POST", "/v1/issuers", r#"{"certificate":"oxha1"}"#, 400, "invalid", "does not begin with oxhc1");
        refused("POST", "/v1/ticket", r#"{"invite":"x"}"#, 400, "invalid", "not an invite");
        client.ask("PUT", "/v1/docs/a", "{}");
        refused("PUT", "/v1/docs/a?create=true", "{}", 409, "exists", "exists already");
    });
}

#[test]
fn changes_need_the_token_and_every_request_names_this_machine() {
    with_peer(|client| {
        let raw = |head: &str| client.raw(head, "{}").0;
        assert_eq!(raw("PUT /v1/docs/a HTTP/1.1\r\nHost: localhost"), 401);
        assert_eq!(raw("PUT /v1/docs/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong"), 401);
        assert_eq!(raw("GET /v1/invites HTTP/1.1\r\nHost: localhost"), 401);
        assert_eq!(raw("POST /v1/leave HTTP/1.1\r\nHost: localhost"), 401);
        assert_eq!(raw("GET /v1/status HTTP/1.1\r\nHost: localhost"), 200);
        assert_eq!(raw("GET /v1/status HTTP/1.1\r\nHost: evil.example"), 421);
        assert_eq!(raw("GET /v1/status HTTP/1.1\r\nHost: localhost@evil.example"), 421);
        assert_eq!(raw("GET /livez HTTP/1.1\r\nHost: evil.example"), 421);
        assert_eq!(raw("GET http://evil.example/v1/status HTTP/1.1\r\nHost: localhost"), 421);
        assert_eq!(raw("GET /v1/status HTTP/1.1"), 400);
        // A web page of another site, be it on this machine; the interface's own page; a person who typed the address.
        for (headers, status) in [
            ("Origin: https://evil.example", 403),
            ("Origin: null", 403),
            ("Origin: http://localhost:3000", 403),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Sec-Fetch-Site: same-site", 403),
            ("Origin: http://localhost\r\nSec-Fetch-Site: same-origin", 200),
            ("Sec-Fetch-Site: none", 200),
        ] {
            assert_eq!(raw(&format!("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n{headers}")), status, "{headers}");
        }
        for path in ["/v1/issuers", "/v1/issuers/request", "/v1/ticket"] {
            assert_eq!(raw(&format!("POST {path} HTTP/1.1\r\nHost: localhost")), 401, "{path}");
        }
    });
}

#[test]
fn this_machine_has_several_names_and_no_others() {
    let bound = |text: &str| text.parse::<SocketAddr>().unwrap();
    for ours in ["localhost", "LOCALHOST:80", "127.0.0.1:4748", "127.9.9.9", "[::1]:4748", "192.0.2.7:1"] {
        assert!(is_ours(ours, bound("192.0.2.7:4748")), "{ours}");
    }
    for other in
        ["", "localhost.example", "example", "192.0.2.8", "127.0.0.1.example", "[::2]", "0.0.0.0", "a b", "::1"]
    {
        assert!(!is_ours(other, bound("192.0.2.7:4748")), "{other}");
    }
    assert!(is_ours("192.0.2.8:4748", bound("0.0.0.0:4748")) && !is_ours("example", bound("0.0.0.0:4748")));
}

#[test]
fn probes_and_status_tell_how_the_peer_stands() {
    with_peer(|client| {
        for probe in ["/livez", "/readyz", "/healthz"] {
            assert_eq!(client.ask("GET", probe, ""), (200, json!({"live": true, "ready": true, "reasons": []})));
        }
        let (_, status) = client.ask("GET", "/v1/status", "");
        assert_eq!((&status["host"]["phase"], &status["documents"]), (&json!("ready"), &json!(0)), "{status}");
        let (_, members) = client.ask("GET", "/v1/members", "");
        assert_eq!((members.as_array().unwrap().len(), &members[0]["node"]), (1, &status["node"]), "{members}");
    });
}

#[test]
fn a_watcher_hears_what_changes_below_its_prefix() {
    with_peer(|client| {
        let mut stream = TcpStream::connect(client.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /v1/watch?prefix=b/ HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        let mut read_until = |wanted: &str| {
            let mut buffer = [0; 4096];
            while !text.contains(wanted) {
                let len = stream.read(&mut buffer).unwrap();
                assert!(len > 0, "the stream ended: {text}");
                text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
            }
            text.clone()
        };
        read_until("\r\n\r\n");
        client.ask("PUT", "/v1/docs/a/1", "{}");
        client.ask("PUT", "/v1/docs/b/1", "{}");
        let heard = read_until("b/1");
        assert!(heard.contains("event: changed") && heard.contains(r#""exists":true"#), "{heard}");
        assert!(!heard.contains("a/1"), "{heard}");
    });
}

/// A stream of server-sent events, read until it says something.
struct Watching(TcpStream, String);

impl Watching {
    fn begin(client: &Client, head: &str) -> Self {
        let mut stream = TcpStream::connect(client.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").unwrap();
        let mut watching = Self(stream, String::new());
        watching.until("\r\n\r\n");
        watching
    }

    fn until(&mut self, wanted: &str) -> &str {
        // What keeps the connection alive comes for ever, also when nothing else does.
        let (began, mut buffer) = (std::time::Instant::now(), [0; 4096]);
        while !self.1.contains(wanted) {
            let len = self.0.read(&mut buffer).unwrap();
            assert!(len > 0 && began.elapsed() < Duration::from_secs(60), "no {wanted:?}: {}", self.1);
            self.1.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
        &self.1
    }
}

#[test]
fn what_checks_find_odd_is_listed_and_told_to_watchers() {
    with_peer(|client| {
        let feature = |geometry: &str| format!(r#"{{"type":"Feature","properties":{{}},"geometry":{geometry}}}"#);
        client.ask("PUT", "/v1/docs/a/1", &feature("null"));
        let mut watching = Watching::begin(&client, "");
        // Each edit is right; as no merge is at hand, the check is one that knows more.
        client.ask("PUT", "/v1/docs/a/2", r#"{"odd":true}"#);
        client.ask("PUT", "/v1/docs/a/3", r#"{"odd":false}"#);
        let heard = watching.until("a/3\"").to_owned();
        assert!(heard.contains(r#""conflict":false"#) && heard.contains(r#""flags":["odd: it says so"]"#), "{heard}");
        let (status, first) = client.ask("GET", "/v1/docs?flagged=true&limit=1", "");
        assert_eq!((status, &first["docs"], &first["next"]), (200, &json!([]), &json!("a/1")), "{first}");
        let (_, rest) = client.ask("GET", "/v1/docs?flagged=true&after=a/1&values=true", "");
        let docs = rest["docs"].as_array().unwrap();
        assert_eq!((docs.len(), &docs[0]["doc"], &rest["checks"]), (1, &json!("a/2"), &json!(["odd"])), "{rest}");
        assert_eq!(
            (&docs[0]["flags"], &docs[0]["value"]),
            (&json!(["odd: it says so"]), &json!({"odd": true})),
            "{rest}"
        );
    });
}

#[test]
fn a_watcher_that_comes_back_misses_nothing() {
    with_peer(|client| {
        let mut first = Watching::begin(&client, "");
        client.ask("PUT", "/v1/docs/a/1", "{}");
        let heard = first.until("a/1\"").to_owned();
        let id = heard.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
        drop(first);
        client.ask("PUT", "/v1/docs/a/2", "{}");
        let mut second = Watching::begin(&client, &format!("Last-Event-ID: {id}\r\n"));
        assert!(!second.until("a/2\"").contains("a/1\""));
        // Of another life of the peer, and nonsense.
        let mut third = Watching::begin(&client, "Last-Event-ID: 0000000000000001-7\r\n");
        assert!(third.until("missed").contains("event: lagged"));
        let (status, _) = client.raw("GET /v1/watch HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x", "");
        assert_eq!(status, 400);
    });
}

#[test]
fn the_overlay_is_shown_to_all_and_set_with_the_token_alone() {
    with_peer(|client| {
        let (status, shown) = client.raw("GET /v1/overlay HTTP/1.1\r\nHost: localhost", "");
        assert_eq!((status, &shown["in_force"], &shown["set"]), (200, &json!("mesh:8"), &Value::Null), "{shown}");
        let (status, _) = client.raw("PUT /v1/overlay HTTP/1.1\r\nHost: localhost", r#"{"overlay":"star"}"#);
        assert_eq!(status, 401);
        let (status, code, why) = client.refused("PUT", "/v1/overlay", r#"{"overlay":"ring"}"#);
        assert!(status == 400 && code == "invalid" && why.contains("unknown overlay \"ring\""), "{why}");
        let (status, set) = client.ask("PUT", "/v1/overlay", r#"{"overlay":"tree:4"}"#);
        assert_eq!((status, &set["set"]["version"]), (200, &json!(1)), "{set}");
        let (_, shown) = client.ask("GET", "/v1/overlay", "");
        assert_eq!((&shown["in_force"], &shown["configured"]), (&json!("tree:4"), &json!("mesh:8")), "{shown}");
        assert_eq!(shown["issuers"][0]["here"], json!(true), "{shown}");
    });
}

#[test]
fn two_host_headers_are_refused() {
    with_peer(|client| {
        let (status, answer) = client.raw("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example", "");
        assert_eq!(status, 400, "{answer}");
        let (status, _) = client.raw("GET /livez HTTP/1.1\r\nHost: elsewhere.example\r\nHost: localhost", "");
        assert_eq!(status, 400);
    });
}

#[test]
fn an_invite_that_has_expired_is_listed_as_such() {
    with_peer(|client| {
        let open = |ttl: u64| client.ask("POST", "/v1/invites", &format!("{{\"ttl_s\":{ttl}}}"));
        assert_eq!([open(1).0, open(600).0], [201, 201]);
        let (mut listed, began) = (Value::Null, std::time::Instant::now());
        while listed["invites"][0]["expired"] != true && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
            listed = client.ask("GET", "/v1/invites", "").1;
        }
        let expired = [0, 1].map(|at| listed["invites"][at]["expired"].clone());
        assert_eq!(expired, [json!(true), json!(false)], "{listed}");
    });
}

/// An interface of a peer whose loop does not turn, with the ends that the loop would hold.
struct Still {
    client: Client,
    phase: watch::Sender<Phase>,
    events: broadcast::Sender<Arc<Event>>,
    _asks: mpsc::Receiver<Ask>,
    _dir: tempfile::TempDir,
}

impl Still {
    async fn start(phase: Phase) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admission = Admission::open_or_mint(dir.path()).unwrap();
        let token = Token::open_or_mint(dir.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap();
        let cluster = config::Config::default().cluster;
        let facts =
            Facts::new(admission.clone(), Clock::start(), Some(api), dir.path().into(), Arc::default(), cluster);
        let ((phase, phases), (asks, asked)) = (watch::channel(phase), mpsc::channel(1));
        let (events, _) = broadcast::channel(2);
        let link = Link::new(asks, events.downgrade(), phases, Arc::new(facts));
        tokio::spawn(Interface::new(link, admission, token, api).serve(listener));
        let token = std::fs::read_to_string(dir.path().join("api-token")).unwrap().trim().to_owned();
        Self { client: Client { api, token }, phase, events, _asks: asked, _dir: dir }
    }

    async fn ask(&self, method: &'static str, path: &'static str) -> (u16, Value) {
        let client = self.client.clone();
        tokio::task::spawn_blocking(move || client.ask(method, path, "{}")).await.unwrap()
    }
}

#[tokio::test]
async fn a_peer_that_reads_its_log_is_alive_and_not_ready() {
    let still = Still::start(Phase::Booting).await;
    assert_eq!(still.ask("GET", "/livez").await.0, 200);
    let (status, ready) = still.ask("GET", "/readyz").await;
    assert_eq!((status, &ready["ready"]), (503, &json!(false)), "{ready}");
    let (status, refused) = still.ask("PUT", "/v1/docs/a").await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("booting")));
    still.phase.send_replace(Phase::Leaving);
    assert_eq!(still.ask("GET", "/readyz").await.0, 503);
}

#[tokio::test]
async fn a_slow_watcher_is_told_how_much_it_missed() {
    let still = Still::start(Phase::Ready).await;
    let mut stream = tokio::net::TcpStream::connect(still.client.api).await.unwrap();
    stream.write_all(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while still.events.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    // The runtime has one thread, so the watcher cannot read in between.
    for nth in 0..7_u128 {
        let member = NodeId::from_u128(nth);
        still.events.send(Arc::new(Event::Membership(membership::Event::Joined { member, from: member }))).unwrap();
    }
    drop(still.events);
    while !text.contains("-000000000006") {
        let mut buffer = [0; 4096];
        let len = stream.read(&mut buffer).await.unwrap();
        assert!(len > 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    assert!(text.contains("event: lagged\ndata: {\"missed\":5}"), "{text}");
    assert!(text.contains(r#""event":"joined""#) && !text.contains("-000000000004"), "{text}");
}

#[test]
fn leaving_stops_the_peer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let peer = start(dir.path()).await;
        let token = std::fs::read_to_string(dir.path().join("api-token")).unwrap().trim().to_owned();
        let client = Client { api: peer.api().unwrap(), token };
        let left = tokio::task::spawn_blocking(move || client.ask("POST", "/v1/leave", "")).await.unwrap();
        assert_eq!(left, (200, json!({"left": true})));
        assert_eq!(peer.stopped().await, crate::driver::Stop::Left);
    });
}

#[test]
fn the_quarantine_is_listed_and_released() {
    with_peer(|client| {
        assert_eq!(client.ask("GET", "/v1/quarantine", ""), (200, json!({ "origins": [], "entries": [] })));
        assert_eq!(client.ask("POST", "/v1/quarantine/release", "{}"), (200, json!({ "released": 0 })));
        let one = r#"{"origin":"51110000-0000-4000-8000-000000000003"}"#;
        assert_eq!(client.ask("POST", "/v1/quarantine/release", one), (200, json!({ "released": 0 })));
        assert_eq!(client.refused("POST", "/v1/quarantine/release", r#"{"who":1}"#).0, 400);
        let anonymous = Client { token: "none".to_owned(), ..client };
        assert_eq!(anonymous.refused("POST", "/v1/quarantine/release", "{}").0, 401);
    });
}

#[test]
fn tokens_are_shown_in_their_parts_or_as_hooks_have_them() {
    with_peer(|client| {
        let path = "/v1/roles/admit";
        let shown = |token: &str| format!(r#"{{"role":"export","token":{token}}}"#);
        assert_eq!(client.ask("POST", path, &shown(r#""1.1.7""#)), (200, json!({ "admitted": true })));
        assert_eq!(client.ask("POST", path, &shown(r#"{"epoch":1,"term":1,"index":7}"#)).0, 200);
        assert_eq!(client.refused("POST", path, &shown(r#""1.1.6""#)).0, 409);
        for wrong in [r#""1.1""#, r#""1.1.7.1""#, r#""1.+1.7""#, r#""""#, r#""1.1.x""#, "7", r#"{"epoch":1}"#] {
            assert_eq!(client.refused("POST", path, &shown(wrong)).0, 400, "{wrong}");
        }
    });
}

#[test]
fn conflicts_are_asked_for_and_policies_are_checked() {
    with_peer(|client| {
        assert_eq!(client.ask("GET", "/v1/conflicts", ""), (200, json!({ "next": null })));
        let audit = "/v1/conflicts/audit?since=2h&until=2026-01-01T00:00:00Z";
        assert_eq!(client.ask("GET", audit, ""), (200, json!({ "next": null })));
        for wrong in ["?since=soon", "?since=lsn:4", "?by=me", "?limit=0", "?what=1"] {
            assert_eq!(client.refused("GET", &format!("/v1/conflicts/audit{wrong}"), "").0, 400, "{wrong}");
        }
        let (code, policies) = client.ask("GET", "/v1/conflicts/policies", "");
        assert_eq!((code, policies), (200, json!({ "policies": [], "decided": null })));
        let path = "/v1/conflicts/policies";
        for wrong in [r#"{"prefix":"a","rule":"newest"}"#, r#"{"prefix":"a","path":"b~2","rule":"manual"}"#, "{}"] {
            assert_eq!(client.refused("POST", path, wrong).0, 400, "{wrong}");
        }
        for wrong in [r#"{"prefix":"/a","rule":"manual"}"#, r#"{"prefix":"a","rule":"priority"}"#] {
            assert_eq!(client.refused("POST", path, wrong).0, 400, "{wrong}");
        }
        // Where nothing is open nothing is settled.
        assert_eq!(client.ask("PUT", "/v1/docs/a", r#"{"v":1}"#).0, 200);
        for edit in
            [r#"[{"op":"resolve","path":"v","value":2}]"#, r#"[{"op":"choose","path":"v","change":"00000000"}]"#]
        {
            let refused = client.refused("PATCH", "/v1/docs/a", edit);
            assert_eq!((refused.0, refused.1.as_str()), (409, "not_open"), "{edit}");
        }
        let value = "/v1/conflicts/value?doc=a&path=v&change=00000000";
        assert_eq!(client.refused("GET", value, "").0, 409);
        // There is none to take away.
        assert_eq!(client.refused("POST", path, r#"{"prefix":"a"}"#).0, 404);
        let anonymous = Client { token: "none".to_owned(), ..client };
        assert_eq!(anonymous.refused("POST", path, r#"{"prefix":"a","rule":"manual"}"#).0, 401);
    });
}
