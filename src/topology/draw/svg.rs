//! A topology as one self-contained SVG: no script, no font and no picture from elsewhere.

use std::fmt::Write as _;

use super::super::{Policy, Role, Topology};
use super::geometry::{Frame, Point, px};
use super::labels::{Label, width};
use super::layout::{BORDER, DELAY_SIZE, EDGES_MAX, Layout, layout};
use super::map::Map;
use super::{Quality, meaning, population};

/// More edges than this are drawn fainter.
const CROWD: usize = 50;
/// Height of a key's letters, in pixels.
const KEY_SIZE: f64 = 13.0;

/// Colours of regions, told apart with any colour vision (Okabe and Ito, 2008), each dark enough for a white mark.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f6a00", "#56b4e9", "#6a5acd"];

/// Plain classes and no variables: many viewers know no more. Dark where the reader's screen is.
const STYLE: &str = "\
text{font-family:Inter,'Segoe UI','Helvetica Neue','DejaVu Sans',Arial,sans-serif;fill:#1d2733}\
.paper{fill:#fbfaf7}.name{font-size:24px;font-weight:600}.about,.key{font-size:13px;fill:#66727f}\
.label,.aura{font-size:13px}.aura{fill:none;stroke:#fbfaf7;stroke-width:3;stroke-linejoin:round;stroke-opacity:.85}\
.delay{font-size:11px;fill:#66727f}.back{fill:#fbfaf7;fill-opacity:.92}.edge{fill:none;stroke:#7d8d9c;stroke-width:1.6}\
.wire{fill:none;stroke:#cfc9b9;stroke-width:4;stroke-linecap:round;stroke-opacity:.75}\
.sea{fill:#eef3f6}.rim{fill:none;stroke:#fbfaf7;stroke-width:7}.many{stroke-width:1;stroke-opacity:.55}.land{fill:#f8f5ec;stroke:#dcd6c6;stroke-width:.8}.grid{fill:none;stroke:#dbe3e8;stroke-width:1}\
.degree{font-size:10px;fill:#93a1af}.bar{fill:none;stroke:#66727f;stroke-width:1.5}\
.dot{stroke:#fbfaf7;stroke-width:2}.observer{fill:#fbfaf7}.halo{fill:none;stroke-width:2}\
.mark{font-size:12px;fill:#fff;text-anchor:middle}\
@media(prefers-color-scheme:dark){text{fill:#e8edf2}.paper,.back,.observer{fill:#141a21}.dot{stroke:#141a21}\
.aura{stroke:#141a21}.about,.key,.delay{fill:#93a1af}.edge{stroke:#7d8d9c}.wire{stroke:#3a4856}\
.sea{fill:#10161c}.rim{stroke:#141a21}.land{fill:#1a222b;stroke:#2c3844}.grid{stroke:#1b242d}.degree{fill:#5b6b7b}.bar{stroke:#93a1af}}";

/// The topology as an SVG document.
#[must_use]
pub fn svg(topology: &Topology) -> String {
    let layout = layout(topology);
    let mut canvas = Canvas(String::new());
    canvas.head(topology, &layout);
    if let Some(map) = &layout.map {
        canvas.map(map);
    }
    canvas.wires(topology, &layout);
    canvas.edges(topology, &layout);
    for node in 0..topology.nodes().len() {
        canvas.node(topology, &layout, node);
    }
    canvas.names(topology, &layout);
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
        let (width, height) = (px(layout.width), px(layout.height + 44.0));
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

    /// Sea, land, the meridians and parallels, and a scale.
    fn map(&mut self, map: &Map) {
        let Frame { left, top, right, bottom } = map.frame;
        let (x, y, wide, high) = (px(left), px(top), px(right - left), px(bottom - top));
        self.put(format_args!("<rect class=\"sea\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"8\"/>"));
        let land = map.land();
        if !land.is_empty() {
            self.put(format_args!("<path class=\"land\" d=\"{land}\"/>"));
        }
        let rim = map.frame.grown(3.0);
        let (x, y, wide, high) = (px(rim.left), px(rim.top), px(rim.right - rim.left), px(rim.bottom - rim.top));
        self.put(format_args!(
            "<rect class=\"rim\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"11\"/>"
        ));
        self.graticule(map);
        self.bar(map);
    }

    fn graticule(&mut self, map: &Map) {
        let Frame { left, top, right, bottom } = map.frame;
        let (meridians, parallels) = map.graticule();
        for line in meridians {
            let x = px(line.at);
            self.put(format_args!("<path class=\"grid\" d=\"M{x} {}V{}\"/>", px(top), px(bottom)));
            // The corner is the parallels'.
            if line.at < left + 30.0 {
                continue;
            }
            let (x, y) = (px(line.at + 3.0), px(top + 12.0));
            self.put(format_args!("<text class=\"degree\" x=\"{x}\" y=\"{y}\">{}</text>", line.label));
        }
        for line in parallels {
            let y = px(line.at);
            self.put(format_args!("<path class=\"grid\" d=\"M{} {y}H{}\"/>", px(left), px(right)));
            if line.at < top + 14.0 {
                continue;
            }
            let (x, y) = (px(left + 4.0), px(line.at - 3.0));
            self.put(format_args!("<text class=\"degree\" x=\"{x}\" y=\"{y}\">{}</text>", line.label));
        }
    }

    fn bar(&mut self, map: &Map) {
        let Frame { right, bottom, .. } = map.frame;
        let (km, length) = map.bar();
        let (x, y) = (right - 18.0 - length, bottom - 16.0);
        let (from, to) = (Point::new(x, y - 5.0), Point::new(x + length, y - 5.0));
        self.put(format_args!("<path class=\"bar\" d=\"M{from}V{}H{}V{}\"/>", px(y), px(to.x), px(to.y)));
        let middle = px(x + length / 2.0);
        let y = px(y - 6.0);
        self.put(format_args!(
            "<text class=\"delay\" x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{} km</text>",
            px(km)
        ));
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
        let count = topology.edges().len();
        if count > EDGES_MAX {
            let (x, y) = (px(layout.width - BORDER), px(44.0));
            let note = format!("{count} edges, not drawn");
            self.put(format_args!("<text class=\"about\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{note}</text>"));
        }
        // A straight line for a map and a ring, a hanging curve for a tree.
        let hanging = layout.map.is_none() && matches!(topology.overlay(), Policy::Tree { .. });
        let class = if layout.edges.len() > CROWD { "edge many" } else { "edge" };
        for (edge, link) in &layout.edges {
            let (from, to) = (layout.nodes[edge.a], layout.nodes[edge.b]);
            let names = (&topology.nodes()[edge.a].name, &topology.nodes()[edge.b].name);
            let title = escape(&format!("{} – {}: {}", names.0, names.1, Quality(*link)));
            let middle = f64::midpoint(from.y, to.y);
            let path = if hanging {
                format!("M{from}C{} {} {to}", Point::new(from.x, middle), Point::new(to.x, middle))
            } else {
                format!("M{from}L{to}")
            };
            self.put(format_args!("<path class=\"{class}\" d=\"{path}\"><title>{title}</title></path>"));
        }
        layout.delays.iter().for_each(|(frame, delay)| self.delay(frame, delay));
    }

    fn delay(&mut self, frame: &Frame, delay: &str) {
        let (left, top, wide) = (px(frame.left), px(frame.top), px(frame.right - frame.left));
        let high = px(frame.bottom - frame.top);
        self.put(format_args!(
            "<rect class=\"back\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{high}\" rx=\"4\"/>"
        ));
        let centre = frame.centre();
        let (x, y) = (px(centre.x), px(centre.y + DELAY_SIZE * 0.36));
        self.put(format_args!("<text class=\"delay\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{delay}</text>"));
    }

    fn node(&mut self, topology: &Topology, layout: &Layout, at: usize) {
        let (node, point, radius) = (&topology.nodes()[at], layout.nodes[at], layout.radii[at]);
        let (x, y, colour) = (px(point.x), px(point.y), colour(topology, at));
        let place = [node.region.as_deref(), node.zone.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        let title = escape(&format!("{} {place}", node.name));
        self.put(format_args!("<g><title>{}</title>", title.trim_end()));
        let look = match node.role {
            Role::Observer => format!("class=\"observer\" stroke=\"{colour}\" stroke-width=\"3\""),
            Role::Voter => format!("class=\"dot\" fill=\"{colour}\""),
        };
        self.put(format_args!("<circle {look} cx=\"{x}\" cy=\"{y}\" r=\"{}\"/>", px(radius)));
        if topology.top() == Some(at) {
            let halo = px(radius + 4.0);
            self.put(format_args!("<circle class=\"halo\" cx=\"{x}\" cy=\"{y}\" r=\"{halo}\" stroke=\"{colour}\"/>"));
            self.put(format_args!("<text class=\"mark\" x=\"{x}\" y=\"{}\">★</text>", px(point.y + 4.2)));
        }
        self.put(format_args!("</g>"));
    }

    /// The names, above everything; on a map with the paper's colour around them.
    fn names(&mut self, topology: &Topology, layout: &Layout) {
        let size = px(layout.size);
        for (node, Label { at, anchor }) in topology.nodes().iter().zip(&layout.labels) {
            let (x, y, name, anchor) = (px(at.x), px(at.y), escape(&node.name), anchor.name());
            let place = format!("x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" style=\"font-size:{size}px\"");
            if layout.map.is_some() {
                self.put(format_args!("<text class=\"aura\" {place} aria-hidden=\"true\">{name}</text>"));
            }
            self.put(format_args!("<text class=\"label\" {place}>{name}</text>"));
        }
    }

    /// What the colours mean, and the default link.
    fn legend(&mut self, topology: &Topology, layout: &Layout) {
        let y = layout.height + 26.0;
        let mut x = BORDER;
        for (at, region) in topology.regions().iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            self.put(format_args!("<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/>", px(x + 5.0), px(y - 4.5)));
            self.put(format_args!(
                "<text class=\"key\" x=\"{}\" y=\"{}\">{}</text>",
                px(x + 16.0),
                px(y),
                escape(&region.name)
            ));
            x += 38.0 + width(&region.name, KEY_SIZE);
        }
        if let Some(link) = topology.default_link() {
            let (right, text) = (px(layout.width - BORDER), escape(&format!("links: {}", Quality(link))));
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
pub(crate) fn escape(text: &str) -> String {
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
