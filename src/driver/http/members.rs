//! Members that do not come back: forgotten before their time.

use axum::extract::State;
use axum::response::Json;
use serde_json::{Value, json};

use super::Interface;
use super::replication::named;
use super::reply::{Last, Refusal};
use crate::node::{Command, Outcome};

pub(super) async fn forget(State(interface): State<Interface>, Last(who): Last) -> Result<Json<Value>, Refusal> {
    let node = named(&interface, &who).await?;
    match interface.link.command(Command::Forget { node }).await? {
        Outcome::Forgotten => Ok(Json(json!({ "forgotten": node }))),
        other => unreachable!("Forget was answered by {other:?}"),
    }
}
