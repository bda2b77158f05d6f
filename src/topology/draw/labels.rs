//! Where the names stand on a map: beside their nodes, on nobody else, in the frame, and off the lines where that goes.
//!
//! Each name has sixteen places to choose from. What a place costs by itself is worked out once; then each name in turn takes
//! its cheapest place beside where the others stand, a few times over.

use super::geometry::{Frame, Point};

/// A text's place: where its line begins, ends or has its middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) at: Point,
    pub(super) anchor: Anchor,
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    /// As SVG calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A node that wants its name beside it.
pub(super) struct Named<'a> {
    pub(super) point: Point,
    pub(super) radius: f64,
    pub(super) name: &'a str,
    /// Where its name should rather stand, if anywhere: away from those it shares its place with.
    pub(super) outward: Option<Point>,
}

/// What else is in the picture.
pub(super) struct Around<'a> {
    pub(super) frame: Frame,
    /// Nothing may be written here.
    pub(super) taken: &'a [Frame],
    pub(super) lines: &'a [(Point, Point)],
}

/// Directions in the order in which people like them.
const DIRECTIONS: [(f64, f64); 8] =
    [(1.0, 0.0), (-1.0, 0.0), (0.75, -0.75), (0.75, 0.75), (-0.75, -0.75), (-0.75, 0.75), (0.0, -1.0), (0.0, 1.0)];
/// How often all names look for a better place.
const ROUNDS: usize = 5;
/// What it costs to stand on another name or node, beside a point for each square pixel.
const ON_OTHERS: f64 = 300.0;
/// What it costs to stand so near to another node that the name might be taken for its own.
const BESIDE_OTHERS: f64 = 40.0;
/// How near that is, in pixels.
const NEAR: f64 = 9.0;
/// What it costs to stand on a line.
const ON_LINE: f64 = 9.0;
/// What it costs to leave the frame.
const OUTSIDE: f64 = 100_000.0;

/// How wide a text is, in pixels: a guess that holds for the usual fonts without serifs.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if matches!(c, 'i' | 'j' | 'l' | '-' | '.' | 't' | 'f') { 0.4 } else { 0.6 }).sum::<f64>()
        * size
}

#[derive(Clone, Copy)]
struct Choice {
    label: Label,
    box_: Frame,
    cost: f64,
}

/// The place of each name.
pub(super) fn place(nodes: &[Named<'_>], size: f64, around: &Around<'_>) -> Vec<Label> {
    let choices: Vec<Vec<Choice>> = (0..nodes.len()).map(|at| choices(nodes, at, size, around)).collect();
    let mut taken: Vec<Option<usize>> = vec![None; nodes.len()];
    for _ in 0..ROUNDS {
        let before = taken.clone();
        for (at, own) in choices.iter().enumerate() {
            let others: Vec<&Frame> = taken
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .filter_map(|(other, choice)| choice.map(|choice| &choices[other][choice].box_))
                .collect();
            let cost =
                |choice: &Choice| choice.cost + others.iter().map(|other| clash(&choice.box_, other)).sum::<f64>();
            let best = own.iter().map(cost).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
            taken[at] = best.map(|(choice, _)| choice);
        }
        if taken == before {
            break;
        }
    }
    let chosen = |(own, choice): (&Vec<Choice>, Option<usize>)| own[choice.unwrap_or(0)].label;
    choices.iter().zip(taken).map(chosen).collect()
}

fn clash(a: &Frame, b: &Frame) -> f64 {
    let area = a.shared(b);
    if area > 0.0 { ON_OTHERS + area } else { 0.0 }
}

/// The places that a name may take, with what each costs however the other names stand.
fn choices(nodes: &[Named<'_>], at: usize, size: f64, around: &Around<'_>) -> Vec<Choice> {
    let node = &nodes[at];
    let wide = width(node.name, size);
    let mut found = Vec::with_capacity(2 * DIRECTIONS.len());
    for further in [0.0, 10.0] {
        for (liking, (dx, dy)) in (0..).zip(DIRECTIONS) {
            let off = node.radius + 5.0 + further;
            let lift = if dx == 0.0 { size * 0.45 } else { 0.0 };
            let middle = Point::new(node.point.x + dx * off, node.point.y + dy * (off + lift));
            let (anchor, left) = if dx > 0.0 {
                (Anchor::Start, middle.x)
            } else if dx < 0.0 {
                (Anchor::End, middle.x - wide)
            } else {
                (Anchor::Middle, middle.x - wide / 2.0)
            };
            let half = size * 0.52;
            let box_ = Frame { left, right: left + wide, top: middle.y - half, bottom: middle.y + half };
            let label = Label { at: Point::new(middle.x, middle.y + size * 0.35), anchor };
            let liked =
                f64::from(liking) * 0.8 + further * 0.6 + node.outward.map_or(0.0, |out| against((dx, dy), out));
            found.push(Choice { label, box_, cost: liked + stands(nodes, at, &box_, around) });
        }
    }
    found
}

/// What it costs to stand where a name should rather not.
fn against((dx, dy): (f64, f64), outward: Point) -> f64 {
    let length = (dx * dx + dy * dy).sqrt() * (outward.x * outward.x + outward.y * outward.y).sqrt();
    if length == 0.0 { 0.0 } else { 20.0 * (1.0 - (dx * outward.x + dy * outward.y) / length) }
}

/// What it costs to stand here, with regard to all that does not move.
fn stands(nodes: &[Named<'_>], at: usize, box_: &Frame, around: &Around<'_>) -> f64 {
    let Frame { left, top, right, bottom } = *box_;
    let inside = around.frame.holds(Point::new(left, top)) && around.frame.holds(Point::new(right, bottom));
    let discs = nodes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| {
        let reach = other.radius + 2.0;
        Frame::around(other.point, reach, reach)
    });
    let near = |disc: &Frame| if box_.shared(&disc.grown(NEAR)) > 0.0 { BESIDE_OTHERS } else { 0.0 };
    let on_nodes: f64 = discs.map(|disc| clash(box_, &disc) + near(&disc)).sum();
    let on_taken: f64 = around.taken.iter().map(|other| clash(box_, other)).sum();
    let crossed = around.lines.iter().filter(|(from, to)| {
        // Most lines are far away.
        from.x.min(to.x) <= right
            && from.x.max(to.x) >= left
            && from.y.min(to.y) <= bottom
            && from.y.max(to.y) >= top
            && box_.is_crossed(*from, *to)
    });
    let crossed = crossed.count();
    let on_lines: f64 = (0..crossed).map(|_| ON_LINE).sum();
    on_nodes + on_taken + on_lines + if inside { 0.0 } else { OUTSIDE }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };

    fn named(name: &str, x: f64, y: f64) -> Named<'_> {
        Named { point: Point::new(x, y), radius: 6.0, name, outward: None }
    }

    fn boxes(nodes: &[Named<'_>], labels: &[Label]) -> Vec<Frame> {
        let frame = |(node, label): (&Named<'_>, &Label)| {
            let wide = width(node.name, 12.0);
            let left = match label.anchor {
                Anchor::Start => label.at.x,
                Anchor::Middle => label.at.x - wide / 2.0,
                Anchor::End => label.at.x - wide,
            };
            Frame { left, right: left + wide, top: label.at.y - 10.0, bottom: label.at.y + 2.0 }
        };
        nodes.iter().zip(labels).map(frame).collect()
    }

    #[test]
    fn a_name_that_stands_alone_is_to_the_right_and_one_at_the_border_to_the_left() {
        let around = Around { frame: FRAME, taken: &[], lines: &[] };
        let labels = place(&[named("middle", 200.0, 100.0), named("border", 395.0, 200.0)], 12.0, &around);
        assert_eq!(labels[0].anchor, Anchor::Start);
        assert_eq!(labels[1].anchor, Anchor::End);
        assert_eq!(labels[0].at.x, 211.0);
    }

    #[test]
    fn names_leave_lines_and_each_other_alone() {
        let nodes: Vec<Named<'_>> = (0..24_u8)
            .map(|n| named("somewhere", 60.0 + f64::from(n % 4) * 70.0, 40.0 + f64::from(n / 4) * 40.0))
            .collect();
        let lines = [(nodes[0].point, Point::new(390.0, nodes[0].point.y))];
        let around = Around { frame: FRAME, taken: &[], lines: &lines };
        let boxes = boxes(&nodes, &place(&nodes, 12.0, &around));
        for (at, own) in boxes.iter().enumerate() {
            assert!(boxes[..at].iter().all(|other| own.shared(other) == 0.0), "name {at} is on another");
            assert!(own.left >= 0.0 && own.right <= 400.0);
        }
        assert!(!boxes[0].is_crossed(lines[0].0, lines[0].1));
    }

    #[test]
    fn names_give_way_to_names_and_nodes() {
        // The second has no room on its right, so the first has none either; the third is where the first would go then.
        let nodes = [
            named("a rather long name", 240.0, 100.0),
            named("at the border", 393.0, 100.0),
            named("west", 150.0, 100.0),
        ];
        let around = Around { frame: FRAME, taken: &[], lines: &[] };
        let boxes = boxes(&nodes, &place(&nodes, 12.0, &around));
        for (at, own) in boxes.iter().enumerate() {
            for (other, node) in nodes.iter().enumerate().filter(|(other, _)| *other != at) {
                assert_eq!(own.shared(&boxes[other]), 0.0, "name {at} is on name {other}");
                assert_eq!(own.shared(&Frame::around(node.point, 6.0, 6.0)), 0.0, "name {at} is on node {other}");
            }
        }
    }

    #[test]
    fn who_shares_a_place_has_the_name_outside() {
        let node = Named { outward: Some(Point::new(0.0, -1.0)), ..named("north", 200.0, 150.0) };
        let labels = place(&[node], 12.0, &Around { frame: FRAME, taken: &[], lines: &[] });
        assert!(labels[0].at.y < 150.0);
    }
}
