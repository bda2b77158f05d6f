//! Writing counters: see `counters` for what several of them come to.

use automerge::transaction::Transactable;
use automerge::{ObjId, Prop, ScalarValue, Value};
use serde_json::Value as Json;

use super::super::super::change::{START_MAX, STEP_MAX};
use super::super::twins::{Lens, Member};
use super::super::{path, read};
use super::{Fault, Place, invalid, room, walk};

/// Adds to the counter at a place; makes one of a whole number, and of nothing.
pub(super) fn increment(tx: &mut impl Transactable, path: &str, by: i64, lens: Lens<'_>) -> Result<(), Fault> {
    let steps = path::steps(path).map_err(Fault::Invalid)?;
    let Some((last, parents)) = steps.split_last() else { return invalid("a document is no counter") };
    if !(-STEP_MAX..=STEP_MAX).contains(&by) {
        return invalid(format!("a counter moves by {STEP_MAX} at most at a time, not by {by}"));
    }
    let Place::In(holder) = walk(tx, parents, true, lens)? else {
        return invalid("it is inside a value that is stored as one, and can only be set");
    };
    let prop = holder.prop(last)?;
    let found = holder.get(tx, &prop)?;
    let object = holder.object(tx, &prop)?.clone();
    let start = match found {
        Some(Member::Counter(_)) if add(tx, &object, &prop, by, lens)? => return Ok(()),
        None if matches!(prop, Prop::Seq(_)) => return Err(Fault::NoSuchPath),
        None | Some(Member::Scalar(ScalarValue::Null)) => 0,
        Some(found @ (Member::Counter(_) | Member::Scalar(_) | Member::Made(_))) => match read::member(tx, &found) {
            Json::Number(number) if !number.is_f64() => within(number.as_i64())?,
            _ => return invalid(format!("{last:?} is no whole number, and only these are counted on")),
        },
        Some(_) => return invalid(format!("{last:?} is no number")),
    };
    room(tx, 2)?;
    tx.put(&object, prop.clone(), ScalarValue::counter(start))?;
    if by != 0 {
        tx.increment(&object, prop, by)?;
    }
    Ok(())
}

/// Adds to all counters at a place of an object, unless something else stands beside them.
fn add(tx: &mut impl Transactable, object: &ObjId, prop: &Prop, by: i64, lens: Lens<'_>) -> Result<bool, Fault> {
    let stands = tx.get_all(object, prop.clone())?;
    if !stands.iter().all(|(value, _)| matches!(value, Value::Scalar(value) if value.is_counter())) {
        return Ok(false);
    }
    let counters: Vec<ObjId> = stands.into_iter().map(|(_, id)| id).collect();
    if by != 0 {
        room(tx, 1)?;
        tx.increment(object, prop.clone(), by)?;
        if let Some(chooser) = lens.filter(|_| counters.len() > 1) {
            chooser.note_shared(counters, by);
        }
    }
    Ok(true)
}

fn within(number: Option<i64>) -> Result<i64, Fault> {
    match number.filter(|number| (-START_MAX..=START_MAX).contains(number)) {
        Some(number) => Ok(number),
        None => invalid(format!("a counter begins with {START_MAX} at most")),
    }
}

/// Sets a number where a counter stands: it begins anew from there. Whether it is such a number.
pub(super) fn restart(tx: &mut impl Transactable, object: &ObjId, prop: &Prop, wanted: &Json) -> Result<bool, Fault> {
    let Some(start) = wanted.as_i64().filter(|number| within(Some(*number)).is_ok()) else { return Ok(false) };
    room(tx, 1)?;
    tx.put(object, prop.clone(), ScalarValue::counter(start))?;
    Ok(true)
}
