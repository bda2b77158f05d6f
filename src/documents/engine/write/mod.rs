//! From JSON to Automerge: only what differs is written, so that what others write at the same time survives.

mod count;
mod insert;

use std::borrow::Cow;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjId, ObjType, Prop, ReadDoc, ScalarValue};
use serde_json::{Map, Value};

use super::super::Edit;
use super::super::change::{ATOMIC_DEPTH_MAX, DEPTH_MAX, KEY_MAX, OPS_MAX};
use super::choose::Chooser;
use super::met::PlaceId;
use super::standing::{self, Unchosen};
use super::twins::{Lens, Member, Twins, element_rivals};
use super::{atomic, path, read};

/// Why an edit was not made.
#[derive(Debug)]
pub(super) enum Fault {
    NoSuchPath,
    /// There is nothing to settle.
    NotOpen,
    /// Something else stands there than the client had seen.
    NotSeen(String),
    Invalid(String),
    /// So many operations, or more, are too many for one change.
    TooLarge(usize),
}

impl From<AutomergeError> for Fault {
    fn from(error: AutomergeError) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Invalid(why.into()))
}

/// Whether the transaction has room for so many operations more: counted before they are made, since making them takes
/// far longer than refusing them.
fn room(tx: &impl Transactable, ops: usize) -> Result<(), Fault> {
    let found = tx.pending_ops() + ops;
    if found > OPS_MAX { Err(Fault::TooLarge(found)) } else { Ok(()) }
}

/// How many operations write this value at an empty place.
fn ops(key: &str, value: &Value) -> usize {
    match new(key, value) {
        New::Scalar(_) => 1,
        New::Map(members) => 1 + members.iter().map(|(key, value)| ops(key, value)).sum::<usize>(),
        New::List(items) => 1 + items.iter().map(|item| ops("", item)).sum::<usize>(),
    }
}

/// Makes one edit of what shows.
pub(super) fn edit(tx: &mut impl Transactable, edit: &Edit, lens: Lens<'_>) -> Result<(), Fault> {
    match edit {
        Edit::Put { value } => put(tx, value, lens),
        Edit::Set { path, value } => {
            let steps = path::steps(path).map_err(Fault::Invalid)?;
            match steps.as_slice() {
                [] => put(tx, value, lens),
                steps => set(tx, steps, value, lens),
            }
        }
        Edit::Choose { path, change, seen } => {
            let steps = path::steps(path).map_err(Fault::Invalid)?;
            let chosen = chosen(tx, &steps, (change, seen.as_deref()), lens)?;
            self::edit(tx, &chosen, lens)
        }
        Edit::Resolve { path, value, force } => {
            let steps = path::steps(path).map_err(Fault::Invalid)?;
            if !force && open_at(tx, &steps, lens).is_none() {
                return already(tx, &steps, value.as_ref(), lens);
            }
            match (steps.split_last(), value) {
                (Some((last, parents)), value) => resolve(tx, parents, last, value.as_ref(), lens),
                (None, Some(value)) => put(tx, value, lens),
                (None, None) => invalid("to settle that all of it is removed, delete it"),
            }
        }
        Edit::Remove { path } => {
            let steps = path::steps(path).map_err(Fault::Invalid)?;
            let Some((last, parents)) = steps.split_last() else { return invalid("to remove all of it, delete it") };
            remove(tx, parents, last, lens)
        }
        Edit::Splice { path, at, remove, insert } => {
            let steps = path::steps(path).map_err(Fault::Invalid)?;
            let Some((last, parents)) = steps.split_last() else { return invalid("a document is no text") };
            let Place::In(holder) = walk(tx, parents, true, lens)? else {
                return invalid("it is inside a value that is stored as one, and can only be set");
            };
            splice(tx, &holder, last, *at, *remove, insert)
        }
        Edit::Insert { path, value } => insert::insert(tx, path, value, lens),
        Edit::Increment { path, by } => count::increment(tx, path, *by, lens),
        Edit::Delete => invalid("a deletion stands alone"),
    }
}

fn splice(
    tx: &mut impl Transactable,
    holder: &Holder<'_>,
    last: &str,
    at: usize,
    remove: usize,
    insert: &str,
) -> Result<(), Fault> {
    let prop = holder.prop(last)?;
    let before = match holder.get(tx, &prop)? {
        Some(Member::Text(id)) => return splice_text(tx, &id, at, remove, insert),
        Some(Member::Scalar(ScalarValue::Str(text))) => text.to_string(),
        Some(Member::Made(Value::String(text))) => text,
        None if matches!(holder, Holder::List(..)) => return Err(Fault::NoSuchPath),
        None | Some(Member::Scalar(ScalarValue::Null)) => String::new(),
        Some(_) => return invalid(format!("{last:?} is no text")),
    };
    let object = holder.object(tx, &prop)?.clone();
    let id = tx.put_object(object, prop, ObjType::Text)?;
    tx.splice_text(&id, 0, 0, &before)?;
    splice_text(tx, &id, at, remove, insert)
}

fn splice_text(tx: &mut impl Transactable, text: &ObjId, at: usize, remove: usize, insert: &str) -> Result<(), Fault> {
    let length = tx.length(text);
    if at.checked_add(remove).is_none_or(|end| end > length) {
        return invalid(format!("the text has {length} characters, not {remove} behind the first {at}"));
    }
    let remove = isize::try_from(remove).map_err(|_| Fault::Invalid("that is more than a text can hold".to_owned()))?;
    Ok(tx.splice_text(text, at, remove, insert)?)
}

/// Makes a text read so. What is common at both ends stays, so that what others write there at the same time survives.
fn rewrite_text(tx: &mut impl Transactable, text: &ObjId, wanted: &str) -> Result<(), Fault> {
    let (found, wanted): (Vec<char>, Vec<char>) = (tx.text(text)?.chars().collect(), wanted.chars().collect());
    let prefix = found.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
    let rest = found[prefix..].iter().rev().zip(wanted[prefix..].iter().rev());
    let suffix = rest.take_while(|(a, b)| a == b).count();
    let insert: String = wanted[prefix..wanted.len() - suffix].iter().collect();
    splice_text(tx, text, prefix, found.len() - suffix - prefix, &insert)
}

fn put(tx: &mut impl Transactable, value: &Value, lens: Lens<'_>) -> Result<(), Fault> {
    let Value::Object(members) = value else { return invalid("a document is a JSON object") };
    check(value, "", usize::from(DEPTH_MAX), false)?;
    merge_map(tx, &Twins::root(lens), members)
}

/// An object that has members or elements.
#[derive(Clone)]
enum Holder<'l> {
    Map(Twins<'l>),
    List(ObjId, Lens<'l>),
}

impl<'l> Holder<'l> {
    /// The object that a write to this place goes to.
    fn object(&self, tx: &impl ReadDoc, prop: &Prop) -> Result<&ObjId, Fault> {
        match (self, prop) {
            (Self::Map(twins), Prop::Map(key)) => Ok(twins.place(tx, key)?),
            (Self::Map(_), Prop::Seq(_)) => invalid("a map has no elements"),
            (Self::List(id, _), _) => Ok(id),
        }
    }

    fn prop(&self, step: &str) -> Result<Prop, Fault> {
        match self {
            Self::Map(_) => Ok(Prop::Map(step.to_owned())),
            Self::List(..) => match path::index(step) {
                Some(index) => Ok(Prop::Seq(index)),
                None => invalid(format!("{step:?} is no index of a list")),
            },
        }
    }

    fn get(&self, tx: &impl ReadDoc, prop: &Prop) -> Result<Option<Member<'l>>, Fault> {
        Ok(match (self, prop) {
            (Self::Map(twins), Prop::Map(key)) => twins.member(tx, key)?,
            (Self::Map(_), Prop::Seq(_)) | (Self::List(..), Prop::Map(_)) => None,
            (Self::List(id, lens), Prop::Seq(index)) => Member::element(tx, id, *index, *lens)?,
        })
    }
}

/// Where the walk along a path ended.
enum Place<'a, 'l> {
    /// In this object.
    In(Holder<'l>),
    /// At a value that is stored as one: its place in this object, its content, and the steps inside.
    Inside(Holder<'l>, Prop, Value, &'a [Cow<'a, str>]),
    Nowhere,
}

/// Walks to the object that holds the last step; makes objects on the way if `create`.
fn walk<'a, 'l>(
    tx: &mut impl Transactable,
    steps: &'a [Cow<'a, str>],
    create: bool,
    lens: Lens<'l>,
) -> Result<Place<'a, 'l>, Fault> {
    let mut holder = Holder::Map(Twins::root(lens));
    for (done, step) in steps.iter().enumerate() {
        let prop = holder.prop(step)?;
        holder = match holder.get(tx, &prop)? {
            Some(Member::Map(twins)) => Holder::Map(twins),
            Some(Member::List(id, lens)) => Holder::List(id, lens),
            Some(Member::Text(_)) => return invalid(format!("there is nothing inside the text {step:?}")),
            Some(Member::Scalar(value @ ScalarValue::Bytes(_))) => {
                return Ok(Place::Inside(holder, prop, read::scalar(&value), &steps[done + 1..]));
            }
            Some(Member::Made(value)) => return Ok(Place::Inside(holder, prop, value, &steps[done + 1..])),
            None if create && matches!(holder, Holder::List(..)) => {
                return invalid(format!("the list has no element {step}"));
            }
            None | Some(Member::Scalar(ScalarValue::Null)) if create => {
                let object = holder.object(tx, &prop)?.clone();
                Holder::Map(Twins::one(tx.put_object(object, prop, ObjType::Map)?, lens))
            }
            Some(_) if create => return invalid(format!("{step:?} is not an object")),
            None | Some(_) => return Ok(Place::Nowhere),
        };
    }
    Ok(Place::In(holder))
}

fn set(tx: &mut impl Transactable, steps: &[Cow<'_, str>], value: &Value, lens: Lens<'_>) -> Result<(), Fault> {
    let (last, parents) = steps.split_last().expect("an empty path was handled");
    check(value, last, usize::from(DEPTH_MAX).saturating_sub(steps.len()), false)?;
    match walk(tx, parents, true, lens)? {
        Place::In(Holder::List(id, lens)) => set_element(tx, &id, last, value, lens),
        Place::In(Holder::Map(twins)) => {
            let (found, object) = (twins.member(tx, last)?, twins.place(tx, last)?);
            merge_member(tx, object, last.to_string().into(), last, found, value)
        }
        Place::Inside(holder, prop, mut whole, inner) => {
            set_inside(&mut whole, inner, last, value)?;
            put_back(tx, &holder, prop, &whole)
        }
        Place::Nowhere => Err(Fault::NoSuchPath),
    }
}

/// What is open at a place, if anything is.
fn open_at(tx: &impl ReadDoc, steps: &[Cow<'_, str>], lens: Lens<'_>) -> Option<standing::Place> {
    let chooser = lens?;
    standing::at(chooser, tx, chooser.unsettled.as_ref(), steps)
}

/// Nothing is open there: it is settled so already, or there is nothing to settle.
fn already(tx: &impl ReadDoc, steps: &[Cow<'_, str>], value: Option<&Value>, lens: Lens<'_>) -> Result<(), Fault> {
    if read::at(tx, steps, lens).as_ref() == value { Ok(()) } else { Err(Fault::NotOpen) }
}

/// The edit that settles a place by what this change stands for there.
pub(super) fn chosen(
    tx: &impl ReadDoc,
    steps: &[Cow<'_, str>],
    (change, seen): (&str, Option<&str>),
    lens: Lens<'_>,
) -> Result<Edit, Fault> {
    let (Some(chooser), Some(place)) = (lens, open_at(tx, steps, lens)) else { return Err(Fault::NotOpen) };
    let found = place.choose(chooser.doc, change, seen).map_err(|why| match why {
        Unchosen::Other(why) => Fault::NotSeen(why),
        Unchosen::Invalid(why) => Fault::Invalid(why),
    })?;
    if found.lost {
        return invalid("that is no value, but went with what was removed: settle the place by a value");
    }
    let value = (!found.removed).then(|| found.value.clone());
    Ok(Edit::Resolve { path: path::pointer(steps.iter().map(AsRef::as_ref)), value, force: false })
}

/// Writes the place anew, whatever shows there, so that this change supersedes all that stands there. If only one value stands it is
/// a plain edit, unless a removal beside it is not settled; and if nothing stands there, no more is removed.
fn resolve(
    tx: &mut impl Transactable,
    parents: &[Cow<'_, str>],
    last: &str,
    value: Option<&Value>,
    lens: Lens<'_>,
) -> Result<(), Fault> {
    let (holder, prop, rivals) = match walk(tx, parents, false, lens)? {
        Place::In(Holder::Map(twins)) => {
            let rivals = twins.rivals(tx, last)?.len();
            (Holder::Map(twins), Prop::Map(last.to_owned()), rivals)
        }
        Place::In(Holder::List(id, lens)) => {
            let index = path::index(last).ok_or(Fault::NoSuchPath)?;
            let rivals = element_rivals(tx, &id, index)?.len();
            (Holder::List(id, lens), Prop::Seq(index), rivals)
        }
        Place::Inside(..) | Place::Nowhere => return Err(Fault::NoSuchPath),
    };
    let open = lens.and_then(|lens| Some((lens, open(tx, lens, &holder, &prop)?)));
    let steps = (parents, last);
    settle(tx, steps, (&holder, prop, rivals, open.is_some()), value, lens)?;
    if let Some((lens, place)) = open {
        lens.settled.borrow_mut().insert(place);
    }
    Ok(())
}

/// Writes a place at which so many values stand, and where a removal may be open.
fn settle(
    tx: &mut impl Transactable,
    (parents, last): (&[Cow<'_, str>], &str),
    (holder, prop, rivals, open): (&Holder<'_>, Prop, usize, bool),
    value: Option<&Value>,
    lens: Lens<'_>,
) -> Result<(), Fault> {
    let Some(value) = value else {
        return match (holder, rivals, open) {
            (Holder::Map(twins), 0, true) => settle_nothing(tx, twins, prop),
            (Holder::Map(_), 0, false) => Ok(()),
            _ => remove(tx, parents, last, lens),
        };
    };
    if rivals == 0 && !open {
        return Err(Fault::NoSuchPath);
    }
    if rivals <= 1 && !open {
        let steps: Vec<_> = parents.iter().cloned().chain([Cow::Borrowed(last)]).collect();
        return set(tx, &steps, value, lens);
    }
    check(value, last, usize::from(DEPTH_MAX).saturating_sub(parents.len() + 1), false)?;
    let key = if matches!(prop, Prop::Map(_)) { last } else { "" };
    room(tx, rivals + ops(key, value))?;
    match holder {
        Holder::Map(twins) => {
            twins.remove(tx, last)?;
            write_new(tx, &twins.newest().clone(), prop, key, value)
        }
        Holder::List(id, _) => {
            // An element cannot be removed and written; what repeats the newest value would only remove the others, and of one
            // value be no operation. So another one comes between.
            let between = if value.is_null() { ScalarValue::Boolean(true) } else { ScalarValue::Null };
            tx.put(id, prop.clone(), between)?;
            write_new(tx, id, prop, key, value)
        }
    }
}

/// Which place it is, if a removal there is not settled, also not by what the transaction has done so far.
fn open(tx: &impl ReadDoc, lens: &Chooser<'_>, holder: &Holder<'_>, prop: &Prop) -> Option<PlaceId> {
    let removals = lens.unsettled.as_ref()?;
    let (place, _) = match (holder, prop) {
        (Holder::Map(twins), Prop::Map(key)) => removals.member(twins.newest(), key)?,
        // By the value that stands there: what comes before it may have gone meanwhile.
        (Holder::List(id, _), Prop::Seq(_)) => removals.element(id, &tx.get(id, prop.clone()).ok()??.1)?,
        (Holder::Map(_), Prop::Seq(_)) | (Holder::List(..), Prop::Map(_)) => return None,
    };
    (!lens.settled.borrow().contains(&place)).then_some(place)
}

/// Has nothing stand where nothing does: by a change all the same, which has seen what met there.
fn settle_nothing(tx: &mut impl Transactable, twins: &Twins<'_>, prop: Prop) -> Result<(), Fault> {
    room(tx, 2)?;
    tx.put(twins.newest(), prop.clone(), ScalarValue::Null)?;
    Ok(tx.delete(twins.newest(), prop)?)
}

fn set_element(
    tx: &mut impl Transactable,
    list: &ObjId,
    step: &str,
    value: &Value,
    lens: Lens<'_>,
) -> Result<(), Fault> {
    let index = if step == "-" { None } else { path::index(step) };
    match index {
        Some(index) => match Member::element(tx, list, index, lens)? {
            Some(found) => merge_member(tx, list, index.into(), "", Some(found), value),
            None if index == tx.length(list) => append(tx, list, index, std::slice::from_ref(value)),
            None => invalid(format!("the list has {} elements", tx.length(list))),
        },
        None if step == "-" => append(tx, list, tx.length(list), std::slice::from_ref(value)),
        None => invalid(format!("{step:?} is no index of a list")),
    }
}

fn remove(tx: &mut impl Transactable, parents: &[Cow<'_, str>], last: &str, lens: Lens<'_>) -> Result<(), Fault> {
    match walk(tx, parents, false, lens)? {
        Place::In(Holder::List(id, _)) => {
            let index = path::index(last).ok_or(Fault::NoSuchPath)?;
            tx.get(&id, index)?.ok_or(Fault::NoSuchPath)?;
            Ok(tx.delete(&id, index)?)
        }
        Place::In(Holder::Map(twins)) => {
            twins.member(tx, last)?.ok_or(Fault::NoSuchPath)?;
            Ok(twins.remove(tx, last)?)
        }
        Place::Inside(holder, prop, mut whole, inner) => {
            let inside =
                inner.iter().try_fold(&mut whole, |value, step| member(value, step)).ok_or(Fault::NoSuchPath)?;
            match inside {
                Value::Object(members) => members.remove(last).map(drop).ok_or(Fault::NoSuchPath)?,
                Value::Array(items) => {
                    let index = path::index(last).filter(|index| *index < items.len()).ok_or(Fault::NoSuchPath)?;
                    items.remove(index);
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(Fault::NoSuchPath),
            }
            put_back(tx, &holder, prop, &whole)
        }
        Place::Nowhere => Err(Fault::NoSuchPath),
    }
}

fn member<'v>(value: &'v mut Value, step: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => items.get_mut(path::index(step)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn set_inside(whole: &mut Value, inner: &[Cow<'_, str>], last: &str, value: &Value) -> Result<(), Fault> {
    let mut holder = whole;
    for step in inner {
        if let Value::Object(members) = holder {
            holder = members.entry(step.as_ref()).or_insert_with(|| Value::Object(Map::new()));
        } else {
            let Some(next) = member(holder, step) else { return invalid(format!("there is no {step:?}")) };
            holder = next;
        }
    }
    match holder {
        Value::Object(members) => {
            members.insert(last.to_owned(), value.clone());
        }
        Value::Array(items) => match path::index(last).or_else(|| (last == "-").then_some(items.len())) {
            Some(index) if index < items.len() => items[index] = value.clone(),
            Some(index) if index == items.len() => items.push(value.clone()),
            _ => return invalid(format!("the list has {} elements", items.len())),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return invalid("it is not an object"),
    }
    Ok(())
}

fn put_back(tx: &mut impl Transactable, holder: &Holder<'_>, prop: Prop, whole: &Value) -> Result<(), Fault> {
    let key = match &prop {
        Prop::Map(key) => key.clone(),
        Prop::Seq(_) => String::new(),
    };
    check(whole, &key, usize::from(DEPTH_MAX), false)?;
    let (found, object) = (holder.get(tx, &prop)?, holder.object(tx, &prop)?);
    merge_member(tx, object, prop, &key, found, whole)
}

fn merge_map(tx: &mut impl Transactable, twins: &Twins<'_>, wanted: &Map<String, Value>) -> Result<(), Fault> {
    let mut present = twins.members(tx);
    for key in present.keys().filter(|key| !wanted.contains_key(*key)) {
        room(tx, 1)?;
        twins.remove(tx, key)?;
    }
    for (key, value) in sorted(wanted) {
        let (found, object) = (present.remove(key), twins.place(tx, key)?);
        merge_member(tx, object, key.as_str().into(), key, found, value)?;
    }
    Ok(())
}

/// Makes the place `prop` of an object have exactly this value. `key` is its name in a map, and empty in a list.
fn merge_member(
    tx: &mut impl Transactable,
    id: &ObjId,
    prop: Prop,
    key: &str,
    found: Option<Member<'_>>,
    wanted: &Value,
) -> Result<(), Fault> {
    match (found, wanted) {
        (Some(Member::Made(made)), wanted) if made == *wanted => return Ok(()),
        (Some(Member::Counter(number)), wanted) if wanted.as_i64() == Some(number) => return Ok(()),
        (Some(Member::Counter(_)), wanted) if count::restart(tx, id, &prop, wanted)? => return Ok(()),
        _ if atomic::is_atomic(key, wanted) => {}
        (Some(Member::Map(twins)), Value::Object(members)) => return merge_map(tx, &twins, members),
        (Some(Member::List(inner, lens)), Value::Array(items)) => return merge_list(tx, &inner, items, lens),
        (Some(Member::Text(text)), Value::String(wanted)) => return rewrite_text(tx, &text, wanted),
        (Some(Member::Scalar(scalar)), wanted)
            if !matches!(scalar, ScalarValue::Bytes(_)) && read::scalar(&scalar) == *wanted =>
        {
            return Ok(());
        }
        _ => {}
    }
    room(tx, ops(key, wanted))?;
    write_new(tx, id, prop, key, wanted)
}

/// Writes a value for which there is room.
fn write_new(tx: &mut impl Transactable, id: &ObjId, prop: Prop, key: &str, wanted: &Value) -> Result<(), Fault> {
    match new(key, wanted) {
        New::Scalar(value) => Ok(tx.put(id, prop, value)?),
        New::Map(members) => {
            let inner = tx.put_object(id, prop, ObjType::Map)?;
            fill_map(tx, &inner, members)
        }
        New::List(items) => {
            let inner = tx.put_object(id, prop, ObjType::List)?;
            insert(tx, &inner, 0, items)
        }
    }
}

/// What is common at both ends stays; between, elements are paired from the left.
fn merge_list(tx: &mut impl Transactable, id: &ObjId, wanted: &[Value], lens: Lens<'_>) -> Result<(), Fault> {
    let mut present: Vec<Member<'_>> = read::elements(tx, id, lens).collect();
    let prefix = present.iter().zip(wanted).take_while(|(found, value)| read::member(tx, found) == **value).count();
    let rest = present[prefix..].iter().rev().zip(wanted[prefix..].iter().rev());
    let suffix = rest.take_while(|(found, value)| read::member(tx, found) == **value).count();
    present.truncate(present.len() - suffix);
    let wanted = &wanted[prefix..wanted.len() - suffix];
    let common = wanted.len().min(present.len() - prefix);
    for index in (prefix + common..present.len()).rev() {
        room(tx, 1)?;
        tx.delete(id, index)?;
    }
    for (at, (found, value)) in present.drain(prefix..prefix + common).zip(wanted).enumerate() {
        merge_member(tx, id, (prefix + at).into(), "", Some(found), value)?;
    }
    append(tx, id, prefix + common, &wanted[common..])
}

enum New<'a> {
    Scalar(ScalarValue),
    Map(&'a Map<String, Value>),
    List(&'a [Value]),
}

fn new<'a>(key: &str, value: &'a Value) -> New<'a> {
    if atomic::is_atomic(key, value) {
        return New::Scalar(ScalarValue::Bytes(atomic::canonical(value).into_bytes()));
    }
    match value {
        Value::Object(members) => New::Map(members),
        Value::Array(items) => New::List(items),
        Value::Null => New::Scalar(ScalarValue::Null),
        Value::Bool(value) => New::Scalar(ScalarValue::Boolean(*value)),
        Value::String(value) => New::Scalar(ScalarValue::Str(value.as_str().into())),
        Value::Number(number) => New::Scalar(match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => ScalarValue::Int(value),
            (None, Some(value)) => ScalarValue::Uint(value),
            (None, None) => ScalarValue::F64(number.as_f64().expect("a JSON number is one of three")),
        }),
    }
}

fn fill_map(tx: &mut impl Transactable, id: &ObjId, members: &Map<String, Value>) -> Result<(), Fault> {
    for (key, value) in sorted(members) {
        write_new(tx, id, key.as_str().into(), key, value)?;
    }
    Ok(())
}

/// Inserts into a list at an index, if there is room.
fn append(tx: &mut impl Transactable, list: &ObjId, at: usize, items: &[Value]) -> Result<(), Fault> {
    room(tx, items.iter().map(|item| ops("", item)).sum())?;
    insert(tx, list, at, items)
}

/// Inserts into a list at an index: scalars in one go.
fn insert(tx: &mut impl Transactable, list: &ObjId, mut at: usize, mut items: &[Value]) -> Result<(), Fault> {
    while let Some((first, rest)) = items.split_first() {
        let inner = match new("", first) {
            New::Map(members) => {
                let inner = tx.insert_object(list, at, ObjType::Map)?;
                fill_map(tx, &inner, members)
            }
            New::List(inner_items) => {
                let inner = tx.insert_object(list, at, ObjType::List)?;
                insert(tx, &inner, 0, inner_items)
            }
            New::Scalar(_) => {
                let scalars = items.iter().map_while(|item| match new("", item) {
                    New::Scalar(value) => Some(automerge::hydrate::Value::Scalar(value)),
                    New::Map(_) | New::List(_) => None,
                });
                let scalars: Vec<_> = scalars.collect();
                let count = scalars.len();
                tx.splice(list, at, 0, scalars)?;
                (at, items) = (at + count, &items[count..]);
                continue;
            }
        };
        inner?;
        (at, items) = (at + 1, rest);
    }
    Ok(())
}

/// In order of key, whatever order the map keeps, so that the same edit gives the same operations everywhere.
fn sorted(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted
}

/// Checks keys and nesting before anything is written.
fn check(value: &Value, key: &str, depth: usize, inside_atomic: bool) -> Result<(), Fault> {
    let inside = inside_atomic || atomic::is_atomic(key, value);
    let depth = if inside && !inside_atomic { ATOMIC_DEPTH_MAX } else { depth };
    if depth == 0 && (value.is_object() || value.is_array()) {
        return invalid("objects nest too deeply");
    }
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            if key.len() > KEY_MAX && !inside {
                return invalid(format!("a key has {} bytes, the limit is {KEY_MAX}", key.len()));
            }
            check(value, key, depth - 1, inside)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, "", depth - 1, inside)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use automerge::{ActorId, Automerge, TextEncoding};
    use serde_json::json;

    use super::*;

    fn refused(tx: &mut impl Transactable, path: &str, value: Value) -> usize {
        let wanted = Edit::Set { path: path.to_owned(), value };
        match edit(tx, &wanted, None) {
            Err(Fault::TooLarge(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_too_much_is_counted_before_any_of_it_is_written() {
        let mut doc = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint)
            .with_actor(ActorId::from([1_u8; 24].as_slice()));
        let mut tx = doc.transaction();
        let (numbers, objects) = (vec![1; OPS_MAX + 1], vec![json!({"a": {"b": 1}}); OPS_MAX]);
        assert_eq!(refused(&mut tx, "", json!({"list": numbers})), OPS_MAX + 2);
        assert_eq!(refused(&mut tx, "list", json!(objects)), 3 * OPS_MAX + 1);
        assert_eq!(tx.pending_ops(), 0);
        // What is not merged inside is one operation, however large.
        edit(&mut tx, &Edit::Put { value: json!({"list": [1], "coordinates": numbers}) }, None).unwrap();
        assert_eq!(tx.pending_ops(), 3);
        assert_eq!(refused(&mut tx, "list", json!(numbers)), OPS_MAX + 3);
        assert_eq!(refused(&mut tx, "list/-", json!(numbers)), OPS_MAX + 5);
        assert_eq!(tx.pending_ops(), 3);
    }
}
