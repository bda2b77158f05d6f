//! Backups of the whole mesh: having one taken, and how it stands.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;

use super::Interface;
use super::reply::{Body, Refusal};
use crate::backup::{Job, Takers, Task};
use crate::driver::together;
use crate::error::ErrorKind;

/// What is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    task: Task,
    #[serde(default)]
    takers: Takers,
    #[serde(default)]
    by: String,
}

pub(super) async fn begin(
    State(interface): State<Interface>,
    Body(Wanted { task, takers, by }): Body<Wanted>,
) -> Result<Json<together::Asked>, Refusal> {
    Ok(Json(together::begin(&interface.link, task, &takers, &by).await?))
}

pub(super) async fn show(State(interface): State<Interface>) -> Result<Json<Job>, Refusal> {
    some(together::read(&interface.link).await?.map(|(_, job)| job))
}

pub(super) async fn give_up(State(interface): State<Interface>) -> Result<Json<Job>, Refusal> {
    if let Some(job) = together::give_up(&interface.link, "an operator").await? {
        return Ok(Json(job));
    }
    let Json(last) = some(together::read(&interface.link).await?.map(|(_, job)| job))?;
    let words = format!("no backup of the mesh goes on: the last one, {}, is over", last.id);
    Err(Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound.code(), words))
}

fn some(job: Option<Job>) -> Result<Json<Job>, Refusal> {
    let none = || {
        let words = "no backup of the mesh was ever asked for";
        Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound.code(), words)
    };
    job.map(Json).ok_or_else(none)
}
