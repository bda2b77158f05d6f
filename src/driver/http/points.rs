//! Restore points: names in this peer's log.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;

use super::Interface;
use super::reply::{Last, Refusal};
use crate::node::{Command, Outcome, Point};

pub(super) async fn list(State(interface): State<Interface>) -> Result<Json<Vec<Point>>, Refusal> {
    match interface.link.command(Command::Points).await? {
        Outcome::Points(points) => Ok(Json(points)),
        other => unreachable!("Points was answered by {other:?}"),
    }
}

pub(super) async fn make(
    State(interface): State<Interface>,
    Last(name): Last,
) -> Result<(StatusCode, Json<Point>), Refusal> {
    match interface.link.command(Command::Point { name }).await? {
        Outcome::Point(point) => Ok((StatusCode::CREATED, Json(point))),
        other => unreachable!("Point was answered by {other:?}"),
    }
}
