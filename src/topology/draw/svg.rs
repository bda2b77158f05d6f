//! A topology as one self-contained SVG: no script, no font and no picture from elsewhere.

use std::fmt::Write as _;

use super::super::{Policy, Role, Topology};
use super::geometry::{Point, px};
use super::layout::{HEAD, Layout, MARGIN, Side, layout};
use super::{Quality, Short, meaning, population};

/// Most edges that are drawn; a picture with more shows nothing.
const EDGES_MAX: usize = 2_500;
/// Most edges whose delay is written beside them.
const DELAYS_MAX: usize = 14;
/// Most nodes whose names are written beside them; each has a tooltip anyway.
const LABELS_MAX: usize = 120;

/// Colours of regions, told apart with any colour vision (Okabe and Ito, 2008), each dark enough for a white mark.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f6a00", "#56b4e9", "#6a5acd"];

/// Plain classes and no variables: many viewers know no more. Dark where the reader's screen is.
const STYLE: &str = "\
text{font-family:Inter,'Segoe UI','Helvetica Neue','DejaVu Sans',Arial,sans-serif;fill:#1d2733}\
.paper{fill:#fbfaf7}.name{font-size:24px;font-weight:600}.about,.key{font-size:13px;fill:#66727f}.label{font-size:13px}\
.delay{font-size:11px;fill:#66727f}.back{fill:#fbfaf7}.edge{fill:none;stroke:#8e9dac;stroke-width:1.6}\
.wire{fill:none;stroke:#d9d6cc;stroke-width:5;stroke-linecap:round}.grid{fill:none;stroke:#eae7df;stroke-width:1}\
.dot{stroke:#fbfaf7;stroke-width:2.5}.observer{fill:#fbfaf7}.halo{fill:none;stroke-width:2}\
.mark{font-size:12px;fill:#fff;text-anchor:middle}\
@media(prefers-color-scheme:dark){text{fill:#e8edf2}.paper,.back,.observer{fill:#141a21}.dot{stroke:#141a21}\
.about,.key,.delay{fill:#93a1af}.edge{stroke:#5b6b7b}.wire{stroke:#2c3844}.grid{stroke:#1e2731}}";

/// The topology as an SVG document.
#[must_use]
pub fn svg(topology: &Topology) -> String {
    let layout = layout(topology);
    let mut canvas = Canvas(String::new());
    canvas.head(topology, &layout);
    canvas.grid(&layout);
    canvas.wires(topology, &layout);
    canvas.edges(topology, &layout);
    for node in 0..topology.nodes().len() {
        canvas.node(topology, &layout, node);
    }
    canvas.legend(topology, &layout);
    canvas.put(format_args!("</svg>"));
    canvas.0
}

struct Canvas(String);

impl Canvas {
    /// Writing to a string cannot fail.
    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{element}");
    }

    fn head(&mut self, topology: &Topology, layout: &Layout) {
        let (width, height) = (px(layout.width), px(layout.height + 40.0));
        let (name, about) = (escape(topology.name()), escape(topology.description()));
        let line = escape(&format!("{} · {}", population(topology), meaning(topology)));
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">"
        ));
        self.put(format_args!("<title>{name}</title><desc>{about} {line}</desc><style>{STYLE}</style>"));
        self.put(format_args!("<rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"12\"/>"));
        self.put(format_args!("<text class=\"name\" x=\"28\" y=\"44\">{name}</text>"));
        self.put(format_args!("<text class=\"about\" x=\"28\" y=\"68\">{line}</text>"));
    }

    /// The meridians and parallels of a map.
    fn grid(&mut self, layout: &Layout) {
        let Some(map) = layout.map else { return };
        let (meridians, parallels) = map.graticule();
        let (top, bottom) = (px(HEAD + MARGIN / 2.0), px(map.point(map.east, map.south).y + MARGIN / 2.0));
        for lon in meridians {
            let x = px(map.point(lon, map.south).x);
            self.put(format_args!("<path class=\"grid\" d=\"M{x} {top}V{bottom}\"/>"));
        }
        let (left, right) = (px(MARGIN / 2.0), px(map.point(map.east, map.south).x + MARGIN / 2.0));
        for lat in parallels {
            let y = px(map.point(map.east, lat).y);
            self.put(format_args!("<path class=\"grid\" d=\"M{left} {y}H{right}\"/>"));
        }
    }

    /// The links below the overlay, where only listed ones exist.
    fn wires(&mut self, topology: &Topology, layout: &Layout) {
        for (a, b, link) in topology.wires().take(EDGES_MAX) {
            let (from, to) = (layout.nodes[a], layout.nodes[b]);
            let title = format!("{} – {}: {}", topology.nodes()[a].name, topology.nodes()[b].name, Quality(link));
            self.put(format_args!("<path class=\"wire\" d=\"M{from}L{to}\"><title>{}</title></path>", escape(&title)));
        }
    }

    fn edges(&mut self, topology: &Topology, layout: &Layout) {
        let edges = topology.edges();
        if edges.len() > EDGES_MAX {
            let (x, y) = (px(layout.width - 28.0), px(44.0));
            let note = format!("{} edges, not drawn", edges.len());
            self.put(format_args!("<text class=\"about\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{note}</text>"));
            return;
        }
        // A straight line for a map and a ring, a hanging curve for a tree.
        let hanging = layout.map.is_none() && matches!(topology.overlay(), Policy::Tree { .. });
        let mut written = Vec::new();
        for edge in &edges {
            let (from, to) = (layout.nodes[edge.a], layout.nodes[edge.b]);
            let link = topology.path(edge.a, edge.b);
            let names = (&topology.nodes()[edge.a].name, &topology.nodes()[edge.b].name);
            let title = escape(&format!("{} – {}: {}", names.0, names.1, Quality(link)));
            let middle = f64::midpoint(from.y, to.y);
            let path = if hanging {
                format!("M{from}C{} {} {to}", Point::new(from.x, middle), Point::new(to.x, middle))
            } else {
                format!("M{from}L{to}")
            };
            self.put(format_args!("<path class=\"edge\" d=\"{path}\"><title>{title}</title></path>"));
            // On a curve its middle; on a line a little past it, so that the labels of crossing edges do not meet.
            let share = if hanging { 0.5 } else { 0.58 };
            let at = Point::new(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share);
            let long = (to.x - from.x).abs() + (to.y - from.y).abs() > 90.0;
            let delay = Short(link.delay).to_string();
            let near = |(other, text): &(Point, String)| {
                *text == delay && (other.x - at.x).abs() < 60.0 && (other.y - at.y).abs() < 40.0
            };
            if long && (hanging || !written.iter().any(near)) {
                written.push((at, delay));
            }
        }
        if edges.len() <= DELAYS_MAX {
            written.iter().for_each(|(at, delay)| self.delay(*at, delay));
        }
    }

    fn delay(&mut self, at: Point, delay: &str) {
        let width = 6.2 * f64::from(u32::try_from(delay.len()).expect("a delay is short")) + 6.0;
        let (left, top, width) = (px(at.x - width / 2.0), px(at.y - 8.0), px(width));
        self.put(format_args!(
            "<rect class=\"back\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"16\" rx=\"4\"/>"
        ));
        let (x, y) = (px(at.x), px(at.y + 4.0));
        self.put(format_args!("<text class=\"delay\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{delay}</text>"));
    }

    fn node(&mut self, topology: &Topology, layout: &Layout, at: usize) {
        let (node, point) = (&topology.nodes()[at], layout.nodes[at]);
        let (x, y, colour) = (px(point.x), px(point.y), colour(topology, at));
        let top = topology.top() == Some(at);
        let radius = if top {
            15
        } else if topology.nodes().len() > 60 {
            6
        } else {
            11
        };
        let place = [node.region.as_deref(), node.zone.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        let title = escape(&format!("{} {place}", node.name));
        self.put(format_args!("<g><title>{}</title>", title.trim_end()));
        let look = match node.role {
            Role::Observer => format!("class=\"observer\" stroke=\"{colour}\" stroke-width=\"3\""),
            Role::Voter => format!("class=\"dot\" fill=\"{colour}\""),
        };
        self.put(format_args!("<circle {look} cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>"));
        if top {
            self.put(format_args!("<circle class=\"halo\" cx=\"{x}\" cy=\"{y}\" r=\"20\" stroke=\"{colour}\"/>"));
            self.put(format_args!("<text class=\"mark\" x=\"{x}\" y=\"{}\">★</text>", px(point.y + 4.5)));
        }
        if topology.nodes().len() <= LABELS_MAX {
            let off = if top { 30.0 } else { f64::from(radius) + 8.0 };
            let (dx, dy, anchor) = match layout.labels[at] {
                Side::Above => (0.0, -off, "middle"),
                Side::Below => (0.0, off + 10.0, "middle"),
                Side::Left => (-off, 4.5, "end"),
                Side::Right => (off, 4.5, "start"),
            };
            let (x, y) = (px(point.x + dx), px(point.y + dy));
            let name = escape(&node.name);
            self.put(format_args!("<text class=\"label\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{name}</text>"));
        }
        self.put(format_args!("</g>"));
    }

    /// What the colours mean, and the default link.
    fn legend(&mut self, topology: &Topology, layout: &Layout) {
        let y = layout.height + 14.0;
        let mut x = 28.0;
        for (at, region) in topology.regions().iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            self.put(format_args!("<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/>", px(x + 5.0), px(y - 4.5)));
            self.put(format_args!(
                "<text class=\"key\" x=\"{}\" y=\"{}\">{}</text>",
                px(x + 16.0),
                px(y),
                escape(&region.name)
            ));
            x += 40.0 + 7.5 * f64::from(u32::try_from(region.name.len()).expect("names are short"));
        }
        if let Some(link) = topology.default_link() {
            let (right, text) = (px(layout.width - 28.0), escape(&format!("links: {}", Quality(link))));
            self.put(format_args!(
                "<text class=\"key\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{text}</text>",
                px(y)
            ));
        }
    }
}

fn colour(topology: &Topology, node: usize) -> &'static str {
    let region = &topology.nodes()[node].region;
    let at = topology.regions().iter().position(|known| Some(&known.name) == region.as_ref()).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

/// Text as XML wants it. Control characters, which XML has no way to write, become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
