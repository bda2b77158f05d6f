//! The local HTTP interface: JSON for clients on this machine, and for load balancers and supervisors.
//!
//! It is loopback by default. The Host header must name this machine, so that no web page can reach it by pointing a name
//! of its own at 127.0.0.1, and what a browser sends for another site's page is refused. Changes need the bearer token of the data directory; when the interface is bound to anything
//! but loopback, reads need it too, and only the probes do not. Every answer is JSON, errors too:
//! `{"error":{"code":"not_found","message":"..."}}`. A `not_leader` also has `leader` (`node`, and `name` and `addresses` where they are known; null
//! if nobody is known to lead), `epoch` and `term`; an `outcome_unknown` of an action has the `request` under which to ask again.
//!
//! | path | |
//! |---|---|
//! | `GET /livez`, `/readyz`, `/healthz` | alive; serving; both with reasons |
//! | `GET /v1/status`, `/v1/members` | what this peer knows; `host.roles`: what its configuration says of roles (`names`, `automatic`, `strategy`, `failback_after_ms`) |
//! | `GET /v1/links` | its links, and why there are others not |
//! | `DELETE /v1/members/ID` | forget a member that is dead or has left; 409 `in_use` if it may be there |
//! | `GET /v1/lag`, `/v1/peers`, `/v1/statistics` | the other members as replicas, and from which lag on they are a trouble; what crossed |
//! | `POST /v1/peers/NAME or ID/pause`, `../resume` | exchange nothing with a member; or do so again |
//! | `?ack=local`, `?ack=N`, `?ack=all` with any write | answer when so many other members hold it durably; 504 if that is not known in time, and it is not undone |
//! | `GET /v1/docs?prefix&after&limit&values` | a page of documents; `?flagged=true`: those of it that this peer's checks flag, and behind which to go on |
//! | `GET /v1/docs/ID?path`, `PUT ..?create=true`, `PATCH`, `DELETE` | one document; `?at=HEAD,..` edits the version that was read |
//! | `POST /v1/edits` | edits of many documents, one a line |
//! | `GET /v1/history/ID` | its changes |
//! | `GET /v1/conflicts?prefix&after&limit` | places where several values stand, what of each was `seen`, and of which `versions` of the documents. `PATCH` of `{"op":"choose","path":P,"change":C,"seen":S}` settles one by what that change stands for, however long (409 `outdated`: something else stands there by now); `{"op":"resolve","path":P,"value":V}` by a value, or by removal without one, and supersedes what stands there seen or not. 409 `not_open`: there is nothing to settle (what reads so already is a success); a plain `set` overwrites |
//! | `GET /v1/conflicts/value?doc&path&change` | what that change stands for at an open place, in whole: of long values the list tells only the length |
//! | `GET /v1/conflicts/audit?prefix&after&limit&since&until&by` | all that ever met: by which rule of then it was decided, and what shows now |
//! | `GET`, `POST /v1/conflicts/policies` | by what it is decided what shows; `{"prefix":P,"path":Q,"rule":R,"priorities":{ID:N}}` sets it for the whole mesh, without a rule takes it away |
//! | `GET /v1/watch?prefix` | server-sent events |
//! | `GET /v1/streams?prefix` | the streams |
//! | `POST /v1/streams/NAME?format=lines\|binary` | append events |
//! | `GET /v1/streams/NAME?from=start\|now\|CURSOR&limit&settled_ms` | a page of events; `?wait_ms=N` (30,000 at most): if there are none, when some come or the time is over |
//! | `GET /v1/tail/NAME?from&limit` | the same as server-sent events, and on as they come |
//! | `POST /v1/leave` | say goodbye and stop |
//! | `GET`, `POST /v1/invites`, `DELETE /v1/invites/ID` | who may join |
//! | `GET`, `POST /v1/revoked` | who may not any more |
//! | `GET`, `POST /v1/issuers`, `POST /v1/issuers/request` | who signs tickets, and becoming one who does |
//! | `GET /v1/leader` | who leads the voters, as far as this peer knows |
//! | `GET`, `POST /v1/roles` | roles and their holders, with `vacancy` (`code`, `why`, `cure`) where nobody acts as far as this peer can tell; `{"role":NAME,"what":{"order":"move","to":ID},"by":WHO}`, `release`, `pause`, `resume` |
//! | `GET`, `POST`, `DELETE /v1/backups/mesh` | the backup of the whole mesh: how it stands (a share with `instead_of` is another peer's than the one that was to take it first, and was gone); `{"task":{"kind":"full","repository":URL},"takers":"best"}`, with `"all"` answered also by who is dead, suspect or read-only and takes none (`left_out`: `node`, `name`, `why`); to give it up, answered once that is decided, by the job as it ended, 404 if none goes on |
//! | `POST /v1/roles/admit` | somebody acts upon this machine: `{"role":NAME,"token":"E.T.I"}`, or with `{"epoch":E,"term":T,"index":I}` as the token, is heeded (200), or lower than one that was seen here (409). Also of a role that this peer does not know: it may be shown a token before it hears of the role, and keeps the highest of 64 roles for good, so name them right. A token beyond all that can have been decided (2^40 above what is known) is refused (400) and not kept; any other is believed, since a peer that was cut off cannot know how far the others are |
//! | `GET /primary`, `/role/NAME` | for load balancers: 200 where this peer acts in the role and has begun to, else 503 and who does; `why`, `code` and `cure` where nobody does, as far as this peer can tell |
//! | `GET /replica?max_behind=N` | 200 where this peer is not the primary and behind in no more than N logs; 503 also where it cannot know, since it is cut off. Without `max_behind` nobody asks how far behind it is: 200 also where it is cut off, and `told` is false |
//! | `GET`, `POST /v1/voters` | who votes, and whom operators want; `{"op":"add","node":ID}`, `remove`, `clear` at any peer; `transfer` at the leader only, else 503 `not_leader` |
//! | `GET /v1/actions?after&limit` | what was decided: `value` if it is text, else `bytes`, and of roles what the `grant` says |
//! | `POST /v1/actions` | have a register set, wherever the leader is; 503 `no_quorum`, `not_leader`: nothing of it will be; 504 `outcome_unknown`: ask again with its `request` |
//! | `GET`, `PUT /v1/overlay` | which overlay the mesh has; setting it for all peers |
//! | `GET /v1/restore-points`, `POST ../NAME` | named moments of this peer's log; a new one |
//! | `GET`, `POST /v1/snapshots` | snapshots of what this peer's log says; take one now |
//! | `POST /v1/revert` | bring documents back to how they were; 422 `unreachable` if that moment cannot be had |
//! | `POST /v1/ticket` | have this peer's ticket renewed, or get one for an invite |
//!
//! **Bounds:** 512 connections, closed when idle; [`BODY_MAX`] a body, [`BODY_TIME_MAX`] to send it, [`REQUESTS_MAX`] requests at work, [`WATCHERS_MAX`] watchers;
//! a slow watcher loses events and is told how many.

mod admission;
mod backups;
mod conflicts;
mod connection;
mod decisions;
mod docs;
mod edits;
mod guard;
mod members;
mod overlay;
mod points;
mod quarantine;
mod replication;
mod reply;
mod revert;
mod roles;
mod snapshots;
mod state;
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, delete, get, post, put};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(super) use token::Token;
pub use token::TokenError;

use super::admission::Admission;
use super::peer::{Link, Phase};
use connection::Clients;
use reply::Refusal;

/// Most bytes of a request's body: what a document's largest change may hold, and then some.
pub(super) const BODY_MAX: usize = 16 << 20;
/// Longest time for a body to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Requests at work at the same time.
const REQUESTS_MAX: usize = 256;
/// Watchers at the same time; they do not count as requests.
const WATCHERS_MAX: usize = 64;
/// How long requests may go on after the peer has stopped.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What handlers see.
#[derive(Clone)]
pub(super) struct Interface {
    link: Link,
    admission: Admission,
    token: Arc<Token>,
    bound: SocketAddr,
    requests: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
}

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path")
}

impl Interface {
    pub(super) fn new(link: Link, admission: Admission, token: Token, bound: SocketAddr) -> Self {
        let (requests, watchers) = (Arc::new(Semaphore::new(REQUESTS_MAX)), Arc::new(Semaphore::new(WATCHERS_MAX)));
        Self { link, admission, token: Arc::new(token), bound, requests, watchers }
    }

    /// What needs the token always.
    fn changes() -> Router<Self> {
        Router::new()
            .route("/v1/leave", post(state::leave))
            .route("/v1/invites", get(admission::invites).post(admission::invite))
            .route("/v1/invites/{id}", delete(admission::take_back))
            .route("/v1/revoked", post(admission::revoke))
            .route("/v1/issuers", post(admission::install))
            .route("/v1/issuers/request", post(admission::request))
            .route("/v1/ticket", post(admission::renew))
            .route("/v1/overlay", put(overlay::set))
            .route("/v1/peers/{who}/pause", post(replication::pause))
            .route("/v1/members/{who}", delete(members::forget))
            .route("/v1/peers/{who}/resume", post(replication::resume))
            .route("/v1/quarantine/release", post(quarantine::release))
            .route("/v1/restore-points/{name}", post(points::make))
            .route("/v1/snapshots", post(snapshots::take))
            .route("/v1/voters", post(decisions::change))
            .route("/v1/actions", post(decisions::propose))
            .route("/v1/roles", post(roles::order))
            .route("/v1/roles/admit", post(roles::admit))
            .route("/v1/backups/mesh", post(backups::begin).delete(backups::give_up))
            .route("/v1/revert", post(revert::run))
            .route("/v1/conflicts/policies", post(conflicts::set_policy))
    }

    fn router(self) -> Router {
        let changes = Self::changes().route_layer(from_fn_with_state(self.clone(), guard::token_always));
        let reads = Router::new()
            .route("/v1/status", get(state::status))
            .route("/v1/members", get(state::members))
            .route("/v1/links", get(state::links))
            .route("/v1/lag", get(replication::lag))
            .route("/v1/peers", get(replication::peers))
            .route("/v1/statistics", get(replication::statistics))
            .route("/v1/docs", get(docs::page))
            .route("/v1/docs/{*id}", get(docs::read).put(docs::put).patch(docs::patch).delete(docs::remove))
            .route("/v1/edits", post(edits::many))
            .route("/v1/history/{*id}", get(docs::history))
            .route("/v1/streams", get(streams::list))
            .route("/v1/streams/{*name}", get(streams::read).post(streams::append))
            .route("/v1/revoked", get(admission::revoked))
            .route("/v1/issuers", get(admission::issuers))
            .route("/v1/overlay", get(overlay::show))
            .route("/v1/quarantine", get(quarantine::list))
            .route("/v1/conflicts", get(conflicts::list))
            .route("/v1/conflicts/value", get(conflicts::value))
            .route("/v1/conflicts/audit", get(conflicts::audit))
            .route("/v1/conflicts/policies", get(conflicts::policies))
            .route("/v1/leader", get(decisions::leader))
            .route("/v1/voters", get(decisions::voters))
            .route("/v1/actions", get(decisions::tail))
            .route("/v1/roles", get(roles::list))
            .route("/v1/backups/mesh", get(backups::show))
            .route("/v1/restore-points", get(points::list))
            .route("/v1/snapshots", get(snapshots::list))
            .route_layer(from_fn_with_state(self.clone(), guard::token_for_changes));
        let watch = Router::new()
            .route("/v1/watch", get(watch::watch))
            .route("/v1/tail/{*name}", get(streams::tail))
            .route_layer(from_fn_with_state(self.clone(), guard::token_for_changes));
        Router::new()
            .merge(changes)
            .merge(reads)
            .route_layer(from_fn_with_state(self.clone(), guard::at_work))
            .merge(watch)
            .route("/livez", get(state::live))
            .route("/readyz", get(state::ready))
            .route("/healthz", get(state::health))
            .route("/primary", get(roles::primary))
            .route("/replica", get(roles::replica))
            .route("/role/{name}", get(roles::role))
            .fallback(any(nothing))
            .method_not_allowed_fallback(async || {
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take this method")
            })
            .layer(from_fn_with_state(self.clone(), guard::host))
            .layer(from_fn(guard::headers))
            .with_state(self)
    }

    /// Serves until the peer has stopped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut phase = self.link.phase.clone();
        let mut after = phase.clone();
        let stopped = async move { drop(phase.wait_for(|phase| *phase == Phase::Stopped).await) };
        let overdue = async move {
            drop(after.wait_for(|phase| *phase == Phase::Stopped).await);
            tokio::time::sleep(DRAIN_MAX).await;
        };
        let serve = axum::serve(Clients::new(listener), self.router()).with_graceful_shutdown(stopped);
        tokio::select! {
            served = serve => if let Err(error) = served {
                tracing::error!(%error, "the HTTP interface has ended");
            },
            () = overdue => tracing::warn!("the HTTP interface ends with requests at work"),
        }
    }
}
