//! Whose an unfinished backup is. It is gone on with only when the life that writes it is over: two that write one backup would be in
//! each other's way.
//!
//! An intent names the life of its writer. Whoever goes on with it says so first, under the next number (`pending/NODE/ID/N.json`), so
//! that of two who would at once only one does. A life is over if the host knows that it is, or if nothing of the backup was stored for
//! [`SILENT_MICROS`]: by the clock of the store, which has just stored the asker's own intent.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::host::Host;
use super::repository::{Intent, Repository, data_folder, intent_name, takings_folder};

/// Who has stored nothing for so long is taken for gone, unless it is known to be.
pub(super) const SILENT_MICROS: u64 = 900_000_000;
/// An unfinished backup changes its writer so often at most.
const TAKINGS_MAX: u64 = 1_000;
/// So many digits has the number in the name of a taking.
const TAKING_DIGITS: usize = 8;

/// That another life goes on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taking {
    holder: String,
}

/// What is known of whoever writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// This life, or one that is over. Who takes it over leaves this number.
    Over(Option<u64>),
    /// A life of which nobody knows whether it is over.
    Unknown(u64),
}

/// Who writes it now.
pub(super) async fn writer(repository: &Repository, intent: &Intent, host: &dyn Host) -> Result<Writer, Error> {
    let folder = takings_folder(intent.node, intent.id);
    let last = repository.store.list(&folder).await?.into_iter().rev().find_map(|object| {
        let number = taking_number(object.name.strip_prefix(&folder)?.strip_prefix('/')?)?;
        Some((number, object.name))
    });
    let (holder, next) = match last {
        None => (intent.holder.clone(), 1),
        Some((number, name)) => match repository.small::<Taking>(&name).await {
            Ok(Some(taking)) => (taking.holder, number + 1),
            // Whoever it was is not known.
            Ok(None) | Err(Error::Damaged { .. } | Error::FutureFormat { .. }) => (String::new(), number + 1),
            Err(error) => return Err(error),
        },
    };
    Ok(match () {
        () if holder == host.life() => Writer::Over(None),
        () if host.has_ended(&holder) => Writer::Over(Some(next)),
        () => Writer::Unknown(next),
    })
}

/// Of a file's name. Another hand may have put any file there: only what [`take`] writes counts.
fn taking_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json").filter(|digits| digits.len() == TAKING_DIGITS)?;
    let number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    (1..=TAKINGS_MAX).contains(&number).then_some(number)
}

/// Whether nothing of it was stored for so long that its writer is taken for gone. `mine` was stored just now.
pub(super) async fn is_silent(repository: &Repository, intent: &Intent, mine: &Intent) -> Result<bool, Error> {
    let pending = repository.store.list(&format!("pending/{}", intent.node)).await?;
    let (name, folder) = (intent_name(intent.node, intent.id), takings_folder(intent.node, intent.id));
    let own = intent_name(mine.node, mine.id);
    let Some(now) = pending.iter().find(|object| object.name == own).map(|object| object.stored) else {
        return Ok(false);
    };
    let data = repository.store.list(&data_folder(intent.node, intent.id)).await?;
    let of_it = pending.iter().filter(|object| object.name == name || object.name.starts_with(&folder));
    let last = of_it.chain(&data).map(|object| object.stored).max().unwrap_or_default();
    Ok(now.saturating_sub(last) >= SILENT_MICROS)
}

/// Says that this life goes on with it; false if another one did so first.
pub(super) async fn take(
    repository: &Repository,
    intent: &Intent,
    number: u64,
    host: &dyn Host,
) -> Result<bool, Error> {
    if number > TAKINGS_MAX {
        return Ok(false);
    }
    let name = format!("{}/{number:0TAKING_DIGITS$}.json", takings_folder(intent.node, intent.id));
    match repository.write(&name, &Taking { holder: host.life() }).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an intent with all that says who went on with it.
pub(super) async fn forget(repository: &Repository, intent: &str, takings: &str) -> Result<(), Error> {
    for object in repository.store.list(takings).await? {
        repository.store.remove(&object.name).await?;
    }
    repository.store.remove(intent).await
}
