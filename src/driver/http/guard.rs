//! What every request passes first: the Host header, the token, the bound on requests at work.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Interface;
use super::reply::Refusal;
use crate::error::ErrorKind;

/// Refuses what was not addressed to this machine, a name of a web page's own that points here; and what a page of another
/// site sends: it could not read the answers, but it could keep the peer busy.
pub(super) async fn host(State(interface): State<Interface>, request: Request, next: Next) -> Response {
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        // RFC 9112, section 3.2. A proxy in front may have looked at the other one.
        return Refusal::invalid("there is more than one Host header").into_response();
    }
    let named = request
        .uri()
        .authority()
        .map(Authority::as_str)
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    match named {
        None => Refusal::invalid("the Host header is missing").into_response(),
        Some(host) if is_ours(host, interface.bound) => match is_from_elsewhere(request.headers(), host) {
            false => next.run(request).await,
            true => {
                let message = "web pages of other sites are not served";
                Refusal::new(StatusCode::FORBIDDEN, "origin", message).into_response()
            }
        },
        Some(host) => {
            let message = format!("the Host header names {host:?}, which is not this machine");
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "host", message).into_response()
        }
    }
}

/// Whether a browser says that another site's page sent this (Fetch Metadata Request Headers, section 2.4; RFC 6454 section
/// 7). Other clients say nothing of the kind.
pub(super) fn is_from_elsewhere(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_page = text("origin").is_some_and(|origin| {
        origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
    });
    foreign_site || foreign_page
}

/// Whether a Host header names this machine: localhost, a loopback address, or the address that was bound. A peer that was
/// bound to all addresses is also known by any address, but by no other name.
pub(super) fn is_ours(host: &str, bound: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == bound.ip() || bound.ip().is_unspecified())
}

/// Lets nobody pass without the token.
pub(super) async fn token_always(State(interface): State<Interface>, request: Request, next: Next) -> Response {
    match check(&interface, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Asks for the token for changes; on an interface that others can reach, for reads too.
pub(super) async fn token_for_changes(State(interface): State<Interface>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let open = reads && interface.bound.ip().is_loopback();
    match check(&interface, &request) {
        Err(refusal) if !open => refusal.into_response(),
        _ => next.run(request).await,
    }
}

fn check(interface: &Interface, request: &Request) -> Result<(), Refusal> {
    let refused = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "token", message);
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.ok_or_else(|| {
        refused("this needs `Authorization: Bearer TOKEN`; the token is in the file api-token of the data directory")
    })?;
    match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && interface.token.is(token.trim()) => Ok(()),
        _ => Err(refused("this is not the token of this peer")),
    }
}

/// Bounds the requests at work.
pub(super) async fn at_work(State(interface): State<Interface>, request: Request, next: Next) -> Response {
    let Ok(_permit) = interface.requests.try_acquire() else {
        let message = "too many requests are at work; try again shortly";
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Busy.code(), message).into_response();
    };
    next.run(request).await
}

/// Headers of every answer: it is of this moment, it is what it says it is, and nobody frames it.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
