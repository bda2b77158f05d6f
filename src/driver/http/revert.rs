//! Documents brought back to how they were.

use axum::extract::State;
use axum::response::Json;

use super::Interface;
use super::reply::{Body, Refusal};
use crate::driver::revert::{Asked, Revert, Reverted, revert};

pub(super) async fn run(
    State(interface): State<Interface>,
    Body(asked): Body<Asked>,
) -> Result<Json<Reverted>, Refusal> {
    let Asked { prefix, at, exclusive, dry_run } = asked;
    let at = at.parse().map_err(|error| Refusal::invalid(format!("the body: at: {error}")))?;
    Ok(Json(revert(&interface.link, Revert { prefix, at, exclusive, dry_run }).await?))
}
