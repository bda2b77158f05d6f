//! Snapshots of what this peer's log says.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;

use super::Interface;
use super::reply::Refusal;
use crate::node::{Command, Outcome, SnapshotFile};

pub(super) async fn list(State(interface): State<Interface>) -> Result<Json<Vec<SnapshotFile>>, Refusal> {
    match interface.link.command(Command::Snapshots).await? {
        Outcome::Snapshots(all) => Ok(Json(all)),
        other => unreachable!("Snapshots was answered by {other:?}"),
    }
}

pub(super) async fn take(State(interface): State<Interface>) -> Result<(StatusCode, Json<SnapshotFile>), Refusal> {
    match interface.link.command(Command::Snapshot).await? {
        Outcome::Snapshot(taken) => Ok((StatusCode::CREATED, Json(taken))),
        other => unreachable!("Snapshot was answered by {other:?}"),
    }
}
