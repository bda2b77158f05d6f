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
    fn coordinates_are_short() {
        assert_eq!([px(1.04), px(-0.01), px(2.25), px(-3.5)], ["1", "0", "2.2", "-3.5"]);
    }
}
