//! Inserting into lists.

use automerge::transaction::Transactable;
use serde_json::Value;

use super::super::super::change::DEPTH_MAX;
use super::super::path;
use super::super::twins::Lens;
use super::{Fault, Holder, Place, append, check, invalid, member, put_back, walk};

/// Inserts an element before the one that has this index, or behind the last.
pub(super) fn insert(tx: &mut impl Transactable, path: &str, value: &Value, lens: Lens<'_>) -> Result<(), Fault> {
    let steps = path::steps(path).map_err(Fault::Invalid)?;
    let Some((last, parents)) = steps.split_last() else { return invalid("a document is no list") };
    check(value, "", usize::from(DEPTH_MAX).saturating_sub(steps.len()), false)?;
    match walk(tx, parents, false, lens)? {
        Place::In(Holder::List(list, _)) => {
            let at = place(last, tx.length(&list))?;
            append(tx, &list, at, std::slice::from_ref(value))
        }
        Place::In(Holder::Map(_)) => invalid(format!("it is no list: {last:?} is set, not inserted")),
        Place::Inside(holder, prop, mut whole, inner) => {
            let found = inner.iter().try_fold(&mut whole, |value, step| member(value, step));
            let Value::Array(items) = found.ok_or(Fault::NoSuchPath)? else {
                return invalid(format!("it is no list: {last:?} is set, not inserted"));
            };
            items.insert(place(last, items.len())?, value.clone());
            put_back(tx, &holder, prop, &whole)
        }
        Place::Nowhere => Err(Fault::NoSuchPath),
    }
}

/// Where in a list of so many elements.
fn place(step: &str, length: usize) -> Result<usize, Fault> {
    match path::index(step) {
        Some(index) if index <= length => Ok(index),
        Some(_) => invalid(format!("the list has {length} elements")),
        None if step == "-" => Ok(length),
        None => invalid(format!("{step:?} is no index of a list")),
    }
}
