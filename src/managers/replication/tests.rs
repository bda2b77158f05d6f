//! Events through a real node, in its process and over its interface.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use uuid::Uuid;

use super::{ActiveActiveReplication, ReplicationConfig, ReplicationEvent, ReplicationManager as _};
use crate::events::{BATCH_EVENTS_MAX, Begin};
use crate::managers::api::Api;
use crate::managers::bound::Bound;
use crate::managers::error::HaError;
use crate::managers::tests::{WAIT, api, both};
use crate::types::{Mint, NodeId};

fn manager(bound: &Bound, change: impl FnOnce(&mut ReplicationConfig)) -> ActiveActiveReplication {
    let mut config = ReplicationConfig { retry_backoff_ms: 1, ..ReplicationConfig::default() };
    change(&mut config);
    let manager = ActiveActiveReplication::new(bound.node().uuid(), config);
    manager.begin(bound.clone());
    manager
}

/// Events of a node for itself.
fn events(of: &Bound, data: impl IntoIterator<Item = Vec<u8>>) -> Vec<ReplicationEvent> {
    let node = of.node().uuid();
    data.into_iter().zip(1..).map(|(data, sequence)| ReplicationEvent::new(node, node, data, sequence)).collect()
}

fn few(of: &Bound, count: u8) -> Vec<ReplicationEvent> {
    events(of, (0..count).map(|nth| vec![nth]))
}

/// An interface that passes on what comes, and is busy for some of the posts.
struct Front {
    api: Api,
    posts: AtomicUsize,
    busy: Mutex<Vec<usize>>,
}

async fn pass_on(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (nth, path) = (front.posts.fetch_add(1, Ordering::Relaxed), request.uri().to_string());
    if front.busy.lock().unwrap().contains(&nth) {
        let busy = json!({ "error": { "code": "busy", "message": "too much is waiting" } });
        return (StatusCode::SERVICE_UNAVAILABLE, busy.to_string()).into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 21).await.unwrap();
    front.api.post_bytes(&path, body).await.unwrap().to_string().into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_interface_each_event_arrives_once_also_where_it_is_busy_in_between() {
    let test = async {
        let dir = tempfile::tempdir().unwrap();
        let (mesh, here, _) = both(dir.path()).await;
        let (posts, busy) = (AtomicUsize::new(0), Mutex::new(vec![2, 3, 5]));
        let front = Arc::new(Front { api: api(&mesh, dir.path()), posts, busy });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&front));
        let serves = tokio::spawn(async move { axum::serve(listener, router).await });

        // The third is refused twice, the fourth once: none is refused more often than it may be.
        let bound = Bound::behind(mesh.id(), Api::at(&at, None));
        let sender = manager(&bound, |config| config.max_retries = 2);
        let sent = few(&here, 5);
        sender.send_all(sent.clone()).await.unwrap();
        let mut received = manager(&here, |_| ()).received(None).unwrap();
        for event in &sent {
            assert_eq!(received.next().await.unwrap(), *event, "in order");
        }
        let stats = sender.stats();
        assert_eq!((stats.events_replicated, stats.bytes_replicated, stats.events_failed), (5, 5, 0));

        // Two are done before it is busy for good.
        *front.busy.lock().unwrap() = (10..20).collect();
        let refused = sender.send_all(few(&here, 5)).await.unwrap_err();
        assert!(refused.is_passing() && !refused.may_be_done(), "{refused}");
        let stats = sender.stats();
        assert_eq!((stats.events_replicated, stats.bytes_replicated, stats.events_failed), (7, 7, 3));
        let all = mesh.read(&format!("replication/{}", mesh.id()), Begin::Start, 100).await.unwrap().events;
        assert_eq!(all.len(), 7, "each once");
        serves.abort();
    };
    tokio::time::timeout(WAIT, test).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_in_the_middle_of_a_page_misses_nothing() {
    let test = async {
        let dir = tempfile::tempdir().unwrap();
        let (_mesh, here, there) = both(dir.path()).await;
        let sender = manager(&here, |config| config.batch_size = 1);
        let mut sent = few(&here, 5);
        sender.send_all(sent.clone()).await.unwrap();
        for bound in [&here, &there] {
            let receiver = manager(bound, |_| ());
            let mut received = receiver.received(None).unwrap();
            assert_eq!(received.next().await.unwrap(), sent[0]);
            // It crashes here, and goes on from what it had.
            let mut received = receiver.received(received.cursor().cloned()).unwrap();
            for event in &sent {
                assert_eq!(received.next().await.unwrap(), *event, "none is lost");
            }
            // The page was given whole: nothing of it comes again, and what comes is given when it comes.
            let behind = received.cursor().cloned();
            assert!(behind.is_some());
            let mut received = receiver.received(behind).unwrap();
            let more = few(&here, 2);
            let (first, sending) = tokio::join!(received.next(), sender.send_all(more.clone()));
            sending.unwrap();
            assert_eq!([first.unwrap(), received.next().await.unwrap()], more[..]);
            sent.extend(more);
        }
    };
    tokio::time::timeout(WAIT, test).await.unwrap();
}

/// An interface whose first page has a gap before it.
async fn with_a_gap(State((api, told)): State<(Api, Arc<AtomicUsize>)>, request: Request) -> Response {
    let mut page = api.get(&request.uri().to_string()).await.unwrap();
    if told.fetch_add(1, Ordering::Relaxed) == 0 {
        let origin = json!(crate::types::Actor { node: NodeId::from_u128(7), mint: Mint::new(1) });
        page["gaps"] = json!([{ "origin": origin, "after": 0, "upto": 9 }]);
    }
    page.to_string().into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_before_it_was_read_is_said_once_and_the_rest_comes() {
    let test = async {
        let dir = tempfile::tempdir().unwrap();
        let (mesh, here, _) = both(dir.path()).await;
        let sent = few(&here, 2);
        manager(&here, |_| ()).send_all(sent.clone()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let state = (api(&mesh, dir.path()), Arc::new(AtomicUsize::new(0)));
        let router = Router::new().fallback(with_a_gap).with_state(state);
        let serves = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut received = manager(&Bound::behind(mesh.id(), Api::at(&at, None)), |_| ()).received(None).unwrap();
        let missed = received.next().await.unwrap_err();
        let HaError::Missed { gaps } = &missed else { panic!("{missed:?}") };
        assert_eq!((gaps.len(), gaps[0].origin.node, gaps[0].upto.value()), (1, NodeId::from_u128(7), 9), "{missed}");
        for event in &sent {
            assert_eq!(received.next().await.unwrap(), *event);
        }
        serves.abort();
    };
    tokio::time::timeout(WAIT, test).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_as_is_allowed_goes_and_more_is_refused_before_anything_is_written() {
    let test = async {
        let dir = tempfile::tempdir().unwrap();
        let (mesh, here, there) = both(dir.path()).await;
        let longest = || vec![7; ReplicationEvent::DATA_MAX];
        let sender = manager(&here, |config| config.batch_size = 100_000);
        sender.send_all(events(&here, (0..9).map(|_| longest()))).await.unwrap();
        sender.send_all(events(&here, (0..=BATCH_EVENTS_MAX).map(|_| Vec::new()))).await.unwrap();
        manager(&there, |_| ()).send_all(events(&there, [longest()])).await.unwrap();
        let sent = 9 + BATCH_EVENTS_MAX as u64 + 1;
        assert_eq!((sender.stats().events_replicated, sender.stats().events_failed), (sent, 0));
        let streams = mesh.streams("replication/").await.unwrap();
        assert_eq!(streams.iter().map(|it| it.events).sum::<u64>(), sent + 1);

        let long =
            ReplicationEvent::new(mesh.id().uuid(), Uuid::from_u128(1), vec![7; ReplicationEvent::DATA_MAX + 1], 1);
        let refused = sender.replicate(long).await.unwrap_err();
        assert_eq!(refused.code(), Some("too_large"), "{refused}");
    };
    tokio::time::timeout(WAIT, test).await.unwrap();
}
