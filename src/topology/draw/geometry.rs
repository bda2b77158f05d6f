//! Points, and turns of a circle without the platform's `sin` and `cos`, whose last digit differs between machines.

use std::fmt;

/// A point of the drawing, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Point {
    pub(super) const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// The point at this share of the way to another.
    pub(super) fn towards(self, to: Self, share: f64) -> Self {
        Self { x: self.x + (to.x - self.x) * share, y: self.y + (to.y - self.y) * share }
    }

    /// The point `radius` away at `turn` of a full circle, clockwise from the top.
    pub(super) fn around(self, radius: f64, turn: f64) -> Self {
        let (sin, cos) = sin_cos(turn);
        Self { x: self.x + radius * sin, y: self.y - radius * cos }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", px(self.x), px(self.y))
    }
}

/// A rectangle along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// So much to each side of its middle, and above and below it.
    pub(super) const fn around(middle: Point, wide: f64, high: f64) -> Self {
        Self { left: middle.x - wide, top: middle.y - high, right: middle.x + wide, bottom: middle.y + high }
    }

    pub(super) fn centre(&self) -> Point {
        Point::new(f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }

    pub(super) fn holds(&self, point: Point) -> bool {
        (self.left..=self.right).contains(&point.x) && (self.top..=self.bottom).contains(&point.y)
    }

    /// The same with so much more on each side.
    pub(super) fn grown(&self, by: f64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    /// The area that two share.
    pub(super) fn shared(&self, other: &Self) -> f64 {
        let wide = self.right.min(other.right) - self.left.max(other.left);
        let high = self.bottom.min(other.bottom) - self.top.max(other.top);
        wide.max(0.0) * high.max(0.0)
    }

    /// Whether a line from one point to another touches it (Liang and Barsky, 1984).
    pub(super) fn is_crossed(&self, from: Point, to: Point) -> bool {
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        for (step, room) in
            [(-dx, from.x - self.left), (dx, self.right - from.x), (-dy, from.y - self.top), (dy, self.bottom - from.y)]
        {
            if step == 0.0 {
                if room < 0.0 {
                    return false;
                }
            } else if step < 0.0 {
                enter = enter.max(room / step);
            } else {
                leave = leave.min(room / step);
            }
        }
        enter <= leave
    }

    /// What of a polygon is inside (Sutherland and Hodgman, 1974).
    pub(super) fn clip(&self, mut polygon: Vec<Point>) -> Vec<Point> {
        // How far a point is inside of each side, negative if it is outside.
        let sides: [&dyn Fn(&Point) -> f64; 4] =
            [&|p| p.x - self.left, &|p| self.right - p.x, &|p| p.y - self.top, &|p| self.bottom - p.y];
        for inside in sides {
            let mut kept = Vec::with_capacity(polygon.len());
            for (at, to) in polygon.iter().enumerate() {
                let from = &polygon[at.checked_sub(1).unwrap_or(polygon.len() - 1)];
                let (a, b) = (inside(from), inside(to));
                if (a < 0.0) != (b < 0.0) {
                    kept.push(from.towards(*to, a / (a - b)));
                }
                if b >= 0.0 {
                    kept.push(*to);
                }
            }
            polygon = kept;
        }
        polygon
    }
}

/// A coordinate with one digit after the point, and never `-0`.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Sine and cosine of a part of a full circle.
pub(super) fn sin_cos(turn: f64) -> (f64, f64) {
    let turn = turn - turn.floor();
    let quarter = (turn * 4.0).floor();
    let (sin, cos) = first_quarter((turn - quarter / 4.0) * std::f64::consts::TAU);
    if quarter < 1.0 {
        (sin, cos)
    } else if quarter < 2.0 {
        (cos, -sin)
    } else if quarter < 3.0 {
        (-sin, -cos)
    } else {
        (-cos, sin)
    }
}

/// Taylor's series: with twelve terms each the rest is below 1e-14 in the first quarter.
fn first_quarter(angle: f64) -> (f64, f64) {
    let (mut sin, mut cos, mut term) = (0.0, 0.0, 1.0);
    for n in 0..24_u8 {
        match n % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        term *= angle / f64::from(n + 1);
    }
    (sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_agree_with_the_platform() {
        for n in -40..80 {
            let turn = f64::from(n) / 40.0;
            let (sin, cos) = sin_cos(turn);
            let (s, c) = (turn * std::f64::consts::TAU).sin_cos();
            assert!((sin - s).abs() < 1e-12 && (cos - c).abs() < 1e-12, "{turn}: {sin} {cos} for {s} {c}");
        }
    }

    #[test]
    fn frames_know_what_is_in_them() {
        let frame = Frame { left: 0.0, top: 0.0, right: 10.0, bottom: 4.0 };
        let (at, far) = (Point::new(5.0, 2.0), Point::new(5.0, 9.0));
        assert!(frame.holds(at) && !frame.holds(far) && frame.grown(5.0).holds(far));
        assert_eq!(frame.shared(&Frame { left: 8.0, top: 3.0, right: 20.0, bottom: 20.0 }), 2.0);
        assert_eq!(frame.shared(&Frame { left: 11.0, top: 3.0, right: 20.0, bottom: 20.0 }), 0.0);
        assert!(frame.is_crossed(at, far) && frame.is_crossed(Point::new(-1.0, -1.0), Point::new(11.0, 5.0)));
        assert!(!frame.is_crossed(Point::new(-1.0, 0.5), Point::new(0.9, -1.0)), "it passes the corner");
        assert!(!frame.is_crossed(Point::new(-9.0, 2.0), Point::new(-1.0, 2.0)), "it ends before");
    }

    #[test]
    fn polygons_are_cut_at_the_frame() {
        let frame = Frame { left: 0.0, top: 0.0, right: 10.0, bottom: 4.0 };
        let corner = [(-5.0, -5.0), (5.0, -5.0), (5.0, 2.0), (-5.0, 2.0)].map(|(x, y)| Point::new(x, y));
        let cut = frame.clip(corner.to_vec());
        let area = |p: &[Point]| {
            let next = p.iter().cycle().skip(1);
            p.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>() / 2.0
        };
        assert_eq!(area(&cut), 10.0, "{cut:?}");
        assert!(frame.clip(corner.map(|p| Point::new(p.x - 9.0, p.y)).to_vec()).is_empty());
        assert!(frame.clip(Vec::new()).is_empty());
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([px(1.04), px(-0.01), px(2.25), px(-3.5)], ["1", "0", "2.2", "-3.5"]);
    }
}
