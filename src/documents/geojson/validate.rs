//! What RFC 7946 demands of features and geometries.

use serde_json::{Map, Value};

/// Geometries within geometries at most; one more than this room's engine stores as one value would not help anybody.
const COLLECTIONS_MAX: usize = 8;

/// A fault, and the steps to it, innermost first.
pub(super) struct Fault {
    steps: Vec<String>,
    why: String,
}

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self { steps: Vec::new(), why: why.into() }
    }

    pub(super) fn under(mut self, step: impl ToString) -> Self {
        self.steps.push(step.to_string().replace('~', "~0").replace('/', "~1"));
        self
    }

    /// The error, for the feature at this index under these steps.
    pub(super) fn at(self, feature: Option<usize>) -> super::ImportError {
        let inner: String = self.steps.iter().rev().map(|step| format!("/{step}")).collect();
        let place = match feature {
            Some(index) => format!("feature {index}, /features/{index}{inner}"),
            None if inner.is_empty() => "the whole text".to_owned(),
            None => inner,
        };
        super::ImportError { place, why: self.why }
    }
}

/// The member `type`, which every GeoJSON object has.
pub(super) fn kind(value: &Value) -> Result<(&Map<String, Value>, &str), Fault> {
    let Value::Object(members) = value else {
        return Err(Fault::new(format!("an object is expected, found {}", name(value))));
    };
    match members.get("type") {
        Some(Value::String(kind)) => Ok((members, kind)),
        Some(other) => Err(Fault::new(format!("a text is expected, found {}", name(other))).under("type")),
        None => Err(Fault::new("the member \"type\" is missing")),
    }
}

/// Checks a feature (section 3.2). Counts polygons against the right-hand rule.
pub(super) fn feature(value: &Value, left_handed: &mut usize) -> Result<(), Fault> {
    let (members, kind) = kind(value)?;
    if kind != "Feature" {
        return Err(Fault::new(format!("a Feature is expected, found {kind:?}")).under("type"));
    }
    match members.get("geometry") {
        Some(Value::Null) => {}
        Some(value) => geometry(value, 0, left_handed).map_err(|fault| fault.under("geometry"))?,
        None => return Err(Fault::new("the member \"geometry\" is missing; it may be null")),
    }
    match members.get("properties") {
        Some(Value::Null | Value::Object(_)) => {}
        Some(other) => {
            let why = format!("an object or null is expected, found {}", name(other));
            return Err(Fault::new(why).under("properties"));
        }
        None => return Err(Fault::new("the member \"properties\" is missing; it may be null")),
    }
    if let Some(id) = members.get("id").filter(|id| !id.is_string() && !id.is_number()) {
        return Err(Fault::new(format!("a text or a number is expected, found {}", name(id))).under("id"));
    }
    bbox(members)
}

/// Checks a geometry (section 3.1).
pub(super) fn geometry(value: &Value, depth: usize, left_handed: &mut usize) -> Result<(), Fault> {
    let (members, kind) = kind(value)?;
    bbox(members)?;
    if kind == "GeometryCollection" {
        if depth == COLLECTIONS_MAX {
            return Err(Fault::new(format!("collections nest more than {COLLECTIONS_MAX} deep")));
        }
        return each(member(members, "geometries")?, |inner| geometry(inner, depth + 1, left_handed))
            .map_err(|fault| fault.under("geometries"));
    }
    let coordinates = member(members, "coordinates");
    let checked = match kind {
        "Point" => position(coordinates?),
        "MultiPoint" => each(coordinates?, position),
        "LineString" => line(coordinates?),
        "MultiLineString" => each(coordinates?, line),
        "Polygon" => polygon(coordinates?, left_handed),
        "MultiPolygon" => each(coordinates?, |value| polygon(value, left_handed)),
        _ => return Err(Fault::new(format!("{kind:?} is no kind of geometry")).under("type")),
    };
    checked.map_err(|fault| fault.under("coordinates"))
}

fn member<'a>(members: &'a Map<String, Value>, key: &str) -> Result<&'a Value, Fault> {
    members.get(key).ok_or_else(|| Fault::new(format!("the member {key:?} is missing")))
}

fn each(value: &Value, mut check: impl FnMut(&Value) -> Result<(), Fault>) -> Result<(), Fault> {
    let items = list(value)?;
    items.iter().enumerate().try_for_each(|(at, item)| check(item).map_err(|fault| fault.under(at)))
}

fn list(value: &Value) -> Result<&[Value], Fault> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(Fault::new(format!("a list is expected, found {}", name(other)))),
    }
}

/// Two numbers or more (section 3.1.1). JSON has no infinite ones, and the parser refuses what does not fit a double.
fn position(value: &Value) -> Result<(), Fault> {
    let numbers = list(value)?;
    if let Some((at, other)) = numbers.iter().enumerate().find(|(_, item)| !item.is_number()) {
        return Err(Fault::new(format!("a number is expected, found {}", name(other))).under(at));
    }
    if numbers.len() < 2 {
        return Err(Fault::new(format!("a position has at least 2 numbers, this one has {}", numbers.len())));
    }
    Ok(())
}

fn line(value: &Value) -> Result<(), Fault> {
    each(value, position)?;
    match list(value)?.len() {
        0 | 1 => Err(Fault::new("a line has at least 2 positions")),
        _ => Ok(()),
    }
}

fn polygon(value: &Value, left_handed: &mut usize) -> Result<(), Fault> {
    each(value, ring)?;
    let rings = list(value)?;
    let turns = |ring: &Value| area(ring.as_array().map_or([].as_slice(), Vec::as_slice));
    // The outer ring turns to the left, holes to the right (section 3.1.6). A ring without area turns nowhere.
    let wrong = rings.iter().enumerate().any(|(at, ring)| if at == 0 { turns(ring) < 0.0 } else { turns(ring) > 0.0 });
    *left_handed += usize::from(wrong);
    Ok(())
}

fn ring(value: &Value) -> Result<(), Fault> {
    each(value, position)?;
    let positions = list(value)?;
    if positions.len() < 4 {
        return Err(Fault::new(format!("a ring has at least 4 positions, this one has {}", positions.len())));
    }
    match (positions.first(), positions.last()) {
        (Some(first), Some(last)) if coordinates(first) == coordinates(last) => Ok(()),
        _ => Err(Fault::new("the ring is not closed: its first and last positions differ")),
    }
}

fn coordinates(position: &Value) -> Vec<Option<f64>> {
    position.as_array().into_iter().flatten().map(Value::as_f64).collect()
}

/// Twice the signed area of a ring in the plane: positive if it turns to the left.
fn area(ring: &[Value]) -> f64 {
    let at = |index: usize| {
        let number = |axis| ring[index].get(axis).and_then(Value::as_f64).unwrap_or_default();
        (number(0), number(1))
    };
    (1..ring.len()).fold(0.0, |sum, index| {
        let ((x0, y0), (x1, y1)) = (at(index - 1), at(index));
        sum + (x0 * y1 - x1 * y0)
    })
}

/// Checks a bounding box: twice as many numbers as a position has (section 5).
pub(super) fn bbox(members: &Map<String, Value>) -> Result<(), Fault> {
    let Some(value) = members.get("bbox") else { return Ok(()) };
    let checked = match value {
        Value::Array(items) if !items.iter().all(Value::is_number) => Err("every part of it is a number".to_owned()),
        Value::Array(items) if items.len() < 4 || items.len() % 2 == 1 => {
            Err(format!("it has 4 numbers, or 2 for each dimension; this one has {}", items.len()))
        }
        Value::Array(_) => Ok(()),
        other => Err(format!("a list is expected, found {}", name(other))),
    };
    checked.map_err(|why| Fault::new(why).under("bbox"))
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
