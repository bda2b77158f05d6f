//! A map below the nodes: land, meridians and parallels, a scale.

use std::sync::LazyLock;

use serde::Deserialize;

use super::super::Place;
use super::geometry::{Frame, Point, px, sin_cos};

/// Length of a degree of latitude, in km: that of a sphere of 6,371.0088 km, the mean radius (IUGG).
const DEGREE_KM: f64 = 111.195_08;
/// Vertices of a coast that are closer together are not told apart, in pixels.
const COAST_STEP: f64 = 1.2;
/// Longest bar of the scale, in pixels.
const BAR_MAX: f64 = 170.0;

/// The countries of the world at 1:110 million (Natural Earth, public domain), as outer rings of `[lon, lat]`.
static LAND: LazyLock<Vec<Vec<[f64; 2]>>> = LazyLock::new(|| {
    let text = include_str!("../../../examples/data/naturalearth_lowres.geojson");
    let world: World = serde_json::from_str(text).expect("the countries that ship with the library are GeoJSON");
    let outer = |polygon: Vec<Vec<[f64; 2]>>| polygon.into_iter().next();
    let rings = world.features.into_iter().flat_map(|country| match country.geometry {
        Geometry::Polygon { coordinates } => vec![coordinates],
        Geometry::MultiPolygon { coordinates } => coordinates,
    });
    rings.filter_map(outer).collect()
});

#[derive(Deserialize)]
struct World {
    features: Vec<Country>,
}

#[derive(Deserialize)]
struct Country {
    geometry: Geometry,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Geometry {
    Polygon { coordinates: Vec<Vec<[f64; 2]>> },
    MultiPolygon { coordinates: Vec<Vec<Vec<[f64; 2]>>> },
}

/// An equirectangular map, true to scale at its middle latitude.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    /// What of the picture it fills.
    pub(super) frame: Frame,
    /// The place in the frame's middle.
    middle: Place,
    /// Pixels a degree of latitude.
    scale: f64,
    /// How much shorter a degree of longitude is there.
    squeeze: f64,
}

/// A line of the graticule: where it stands in the picture, and what is written at its end.
pub(super) struct Line {
    pub(super) at: f64,
    pub(super) label: String,
}

impl Map {
    /// A map of these places, in a space of at most this size with so much around the places. It begins at the upper left
    /// corner that is given.
    pub(super) fn of(places: &[Place], corner: Point, least: f64, most: Point, around: f64) -> Self {
        let fold =
            |of: fn(&Place) -> f64, pick: fn(f64, f64) -> f64| places.iter().map(of).reduce(pick).unwrap_or_default();
        let (west, east) = (fold(|p| p.lon, f64::min), fold(|p| p.lon, f64::max));
        let (south, north) = (fold(|p| p.lat, f64::min), fold(|p| p.lat, f64::max));
        let middle = Place { lon: f64::midpoint(west, east), lat: f64::midpoint(south, north) };
        let (_, squeeze) = sin_cos(middle.lat / 360.0);
        let squeeze = squeeze.max(0.2);
        let (wide, high) = ((east - west) * squeeze, north - south);
        let scale = (most.x / wide.max(1e-6)).min(most.y / high.max(1e-6)).min(400.0);
        let width = (wide * scale + 2.0 * around).max(least);
        let height = (high * scale + 2.0 * around).max(2.5 * around);
        let frame = Frame { left: corner.x, top: corner.y, right: corner.x + width, bottom: corner.y + height };
        Self { frame, middle, scale, squeeze }
    }

    pub(super) fn point(&self, lon: f64, lat: f64) -> Point {
        let centre = self.frame.centre();
        Point::new(
            centre.x + (lon - self.middle.lon) * self.squeeze * self.scale,
            centre.y - (lat - self.middle.lat) * self.scale,
        )
    }

    /// Half of what the frame spans, in degrees of longitude and of latitude.
    fn reach(&self) -> (f64, f64) {
        let Frame { left, top, right, bottom } = self.frame;
        ((right - left) / 2.0 / self.scale / self.squeeze, (bottom - top) / 2.0 / self.scale)
    }

    /// The meridians and parallels within the frame.
    pub(super) fn graticule(&self) -> (Vec<Line>, Vec<Line>) {
        let (wide, high) = self.reach();
        let span = 2.0 * wide.max(high);
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
        let step = steps.into_iter().find(|step| span / step <= 9.0).unwrap_or(45.0);
        let lines = |middle: f64, reach: f64, limit: f64, signs: [&str; 2], place: &dyn Fn(f64) -> f64| {
            let first = ((middle - reach).max(-limit) / step).ceil();
            let degrees = std::iter::successors(Some(first), |n| Some(n + 1.0)).map(|n| n * step);
            let within = degrees.take_while(|at| *at <= (middle + reach).min(limit));
            within.map(|at| Line { at: place(at), label: degrees_of(at, signs) }).collect()
        };
        (
            lines(self.middle.lon, wide, 180.0, ["W", "E"], &|lon| self.point(lon, 0.0).x),
            lines(self.middle.lat, high, 90.0, ["S", "N"], &|lat| self.point(0.0, lat).y),
        )
    }

    /// The scale: a round number of km, and how long that is in the picture.
    pub(super) fn bar(&self) -> (f64, f64) {
        let km = DEGREE_KM / self.scale;
        let mut round = 1.0;
        for (at, factor) in [2.0, 2.5, 2.0].into_iter().cycle().enumerate() {
            if at == 12 || round * factor / km > BAR_MAX {
                break;
            }
            round *= factor;
        }
        (round, round / km)
    }

    /// The land within the frame, as the data of one path.
    pub(super) fn land(&self) -> String {
        let mut path = String::new();
        for ring in LAND.iter() {
            // A little beyond the frame, whose rim then covers where the land was cut.
            let points = self.frame.grown(2.0).clip(ring.iter().map(|[lon, lat]| self.point(*lon, *lat)).collect());
            let mut last: Option<Point> = None;
            for point in &points {
                let near = |last: Point| (last.x - point.x).abs() + (last.y - point.y).abs() < COAST_STEP;
                if last.is_some_and(near) {
                    continue;
                }
                path.push_str(if last.is_none() { "M" } else { "L" });
                path += &format!("{} {}", px(point.x), px(point.y));
                last = Some(*point);
            }
            if last.is_some() {
                path.push('Z');
            }
        }
        path
    }
}

/// `10°E`, `52.5°N`.
fn degrees_of(value: f64, [minus, plus]: [&str; 2]) -> String {
    let sign = if value > 1e-9 {
        plus
    } else if value < -1e-9 {
        minus
    } else {
        ""
    };
    format!("{}°{sign}", px(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn europe() -> Map {
        let places = [Place { lon: -10.0, lat: 40.0 }, Place { lon: 30.0, lat: 60.0 }];
        Map::of(&places, Point::new(20.0, 100.0), 600.0, Point::new(900.0, 600.0), 50.0)
    }

    #[test]
    fn a_map_is_true_to_scale_at_its_middle() {
        let map = europe();
        let (middle, east, north) = (map.point(10.0, 50.0), map.point(11.0, 50.0), map.point(10.0, 51.0));
        let (km_east, km_north) = ((east.x - middle.x), (middle.y - north.y));
        assert!((km_east / km_north - 0.642_788).abs() < 1e-6, "cos 50 degrees, not {}", km_east / km_north);
        let (km, length) = map.bar();
        assert!((length / km_north - km / DEGREE_KM).abs() < 1e-9 && length <= BAR_MAX && length > BAR_MAX / 3.0);
        assert_eq!(km, 500.0);
    }

    #[test]
    fn all_places_and_no_land_outside_are_in_the_frame() {
        let map = europe();
        for (lon, lat) in [(-10.0, 40.0), (30.0, 60.0)] {
            assert!(map.frame.holds(map.point(lon, lat)));
        }
        let land = map.land();
        let numbers = land.split(['M', 'L', 'Z', ' ']).filter(|part| !part.is_empty());
        let numbers: Vec<f64> = numbers.map(|part| part.parse().unwrap()).collect();
        assert!(numbers.len() > 500, "Europe has coasts");
        let inside = |pair: &[f64]| map.frame.grown(2.1).holds(Point::new(pair[0], pair[1]));
        assert!(numbers.chunks(2).all(inside));
    }

    #[test]
    fn lines_are_few_and_named() {
        let (meridians, parallels) = europe().graticule();
        let labels = |lines: &[Line]| lines.iter().map(|line| line.label.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&meridians), ["10°W", "0°", "10°E", "20°E", "30°E"]);
        assert_eq!(labels(&parallels), ["40°N", "50°N", "60°N"]);
    }
}
