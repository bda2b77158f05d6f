//! The still overview: a lane a peer, faults above, the violation across. It follows the reader's light or dark.

use std::fmt::{self, Write as _};

use super::super::outcome::Judgement;
use super::super::scenario::Scenario;
use super::super::story::Story;
use super::SECOND;
use super::film::{Bar, Film, Is, Second};
use crate::topology::escape as text;

/// Pixels of the drawing: its width, the names' column, a lane's pitch and height, a fault's.
const WIDTH: u64 = 1_200;
const LEFT: u64 = 120;
const PITCH: u64 = 22;
const LANE: u64 = 16;
const BAR: u64 = 15;
/// Most rows of faults of the whole mesh; how many more there are is said.
const ROWS_MAX: usize = 40;

const STYLE: &str = "<style>
:root { color-scheme: light dark; }
svg { font: 12px system-ui, sans-serif; }
.paper { fill: #fbfbf9 } .ink { fill: #22262b } .dim { fill: #6b7280 } .line { stroke: #d9dade }
.off { fill: #d4d6da } .booting { fill: #9ec5e8 } .up { fill: #3f9d78 } .paused { fill: #8a7fd6 } .refused { fill: #4b1d1d }
.suspected { fill: #e3a72f } .dead { fill: #cf4436 } .behind { fill: #8a3ffc; fill-opacity: .75 }
.fault { fill: #f0d9a8; stroke: #b98a24 } .calm { fill: #3f9d78; fill-opacity: .07 } .bad { stroke: #d11a2a } .badtext { fill: #b3121f }
@media (prefers-color-scheme: dark) {
.paper { fill: #15181c } .ink { fill: #e7e9ec } .dim { fill: #98a1ad } .line { stroke: #2c3138 }
.off { fill: #333941 } .up { fill: #37896a } .fault { fill: #4a3b18; stroke: #c59a3a } .badtext { fill: #ff7b72 } .bad { stroke: #ff5a50 }
}
</style>";

/// Draws a run.
pub(super) fn draw(scenario: &Scenario, story: &Story, film: &Film<'_>) -> String {
    let end = story.outcome.figures.virtual_ns.max(1);
    // What concerns one peer is drawn at its lane.
    let mut mesh: Vec<&Bar> = film.bars.iter().filter(|bar| bar.peers.len() != 1).collect();
    let more = mesh.len().saturating_sub(ROWS_MAX);
    mesh.truncate(ROWS_MAX);
    let rows = mesh.len() as u64 + u64::from(more > 0);
    let top = 84 + rows * (BAR + 3);
    let height = top + film.lanes.len() as u64 * PITCH + 46;
    let mut paper = Paper { svg: String::new(), end, bottom: height - 40 };
    paper.put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{}</title>\n{STYLE}\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>",
        text(&story.outcome.to_string())
    ));
    paper.heading(scenario, story);
    paper.axis(scenario.calm_at());
    paper.faults(&mesh, more);
    let most = film.lanes.iter().flatten().map(|second| second.behind).max().unwrap_or_default().max(1);
    for (place, lane) in (0..).zip(&film.lanes) {
        let own: Vec<&Bar> = film.bars.iter().filter(|bar| bar.peers == [place]).collect();
        paper.lane(&scenario.mesh.nodes()[place as usize].name, top + u64::from(place) * PITCH, lane, &own, most);
    }
    if let Judgement::Violated { violation, at_ns, .. } = &story.outcome.judgement {
        let (at, bottom) = (paper.x(*at_ns), paper.bottom);
        paper.put(format_args!(
            "<line class=\"bad\" x1=\"{at}\" x2=\"{at}\" y1=\"72\" y2=\"{bottom}\" stroke-width=\"2\"/>"
        ));
        let y = bottom + 32;
        paper.put(format_args!(
            "<text class=\"badtext\" x=\"{at}\" y=\"{y}\" text-anchor=\"end\" font-weight=\"700\">{}</text>",
            violation.check
        ));
    }
    paper.svg.push_str("</svg>\n");
    paper.svg
}

/// What is drawn on.
struct Paper {
    svg: String,
    end: u64,
    bottom: u64,
}

impl Paper {
    fn put(&mut self, piece: fmt::Arguments<'_>) {
        writeln!(self.svg, "{piece}").expect("a string takes everything");
    }

    /// Where a moment is.
    fn x(&self, ns: u64) -> u64 {
        LEFT + ns.min(self.end) * (WIDTH - LEFT - 20) / self.end
    }

    /// From where to where a fault is drawn.
    fn span(&self, bar: &Bar) -> (u64, u64) {
        let (from, to) = (self.x(bar.begins), self.x(bar.ends.unwrap_or(self.end)));
        (from, to.max(from + 2))
    }

    fn rect(&mut self, class: &str, (x, y): (u64, u64), (width, height): (u64, u64), title: &str) {
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", text(title)) };
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">{title}</rect>"
        ));
    }

    fn heading(&mut self, scenario: &Scenario, story: &Story) {
        let class = if story.outcome.passed() { "dim" } else { "badtext" };
        let (name, seed) = (text(scenario.name()), story.outcome.seed);
        self.put(format_args!(
            "<text class=\"ink\" x=\"16\" y=\"28\" font-size=\"18\" font-weight=\"600\">{name} · seed {seed}</text>"
        ));
        self.put(format_args!("<text class=\"dim\" x=\"16\" y=\"48\">{}</text>", text(scenario.description())));
        let verdict = text(&story.outcome.judgement.to_string());
        self.put(format_args!("<text class=\"{class}\" x=\"16\" y=\"66\">{verdict}</text>"));
    }

    /// The calm, and the time.
    fn axis(&mut self, calm_at: u64) {
        let (calm, bottom) = (self.x(calm_at), self.bottom);
        self.rect("calm", (calm, 76), (self.x(self.end) - calm, bottom - 76), "");
        let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400].map(|step| step * SECOND);
        let step = steps.into_iter().find(|step| self.end / step <= 12).unwrap_or(self.end);
        for tick in 0..=self.end / step {
            let (at, y, seconds) = (self.x(tick * step), bottom + 16, tick * step / SECOND);
            self.put(format_args!("<line class=\"line\" x1=\"{at}\" x2=\"{at}\" y1=\"76\" y2=\"{bottom}\"/>"));
            self.put(format_args!(
                "<text class=\"dim\" x=\"{at}\" y=\"{y}\" text-anchor=\"middle\">{seconds} s</text>"
            ));
        }
    }

    /// Faults of the whole mesh, a row each.
    fn faults(&mut self, mesh: &[&Bar], more: usize) {
        if more > 0 {
            let y = 78 + mesh.len() as u64 * (BAR + 3) + 11;
            self.put(format_args!(
                "<text class=\"dim\" x=\"{LEFT}\" y=\"{y}\" font-size=\"10\">and {more} more faults of the whole mesh: the page has them</text>"
            ));
        }
        for (row, bar) in (0..).zip(mesh) {
            let ((from, to), y) = (self.span(bar), 78 + row * (BAR + 3));
            self.rect("fault", (from, y), (to - from, BAR), &bar.what);
            let fits = bar.what.len() as u64 * 6 < to - from;
            let (anchor, at) = match from > WIDTH * 2 / 3 {
                true if !fits => ("end", from - 4),
                false if !fits => ("start", to + 4),
                _ => ("start", from + 4),
            };
            let (y, what) = (y + 11, text(&bar.what));
            self.put(format_args!(
                "<text class=\"ink\" x=\"{at}\" y=\"{y}\" font-size=\"10\" text-anchor=\"{anchor}\">{what}</text>"
            ));
        }
    }

    /// One peer: how it looks to the others, what it is behind of at most `most`, its own faults.
    fn lane(&mut self, name: &str, y: u64, lane: &[Second], own: &[&Bar], most: u64) {
        self.put(format_args!(
            "<text class=\"ink\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            y + 12,
            text(name)
        ));
        for (from, to, class) in runs(lane) {
            let (from, to) = (self.x(moment(from)), self.x(if to == lane.len() { self.end } else { moment(to) }));
            self.rect(class, (from, y), (to - from, LANE), "");
        }
        for (at, second) in lane.iter().enumerate().filter(|(_, second)| second.behind > 0) {
            let deep = (second.behind * (LANE - 6) / most).max(1);
            let (from, to) = (self.x(moment(at)), self.x(moment(at + 1)));
            self.rect("behind", (from, y + LANE - deep), ((to - from).max(1), deep), "");
        }
        for bar in own {
            let (from, to) = self.span(bar);
            self.rect("fault", (from, y - 3), (to - from, 3), &bar.what);
        }
    }
}

/// From when on a sample stands, which was taken at the end of its second: for half a second before and after.
fn moment(at: usize) -> u64 {
    if at == 0 { 0 } else { at as u64 * SECOND + SECOND / 2 }
}

/// Seconds that look alike, together: from, to, and how they look.
fn runs(lane: &[Second]) -> Vec<(usize, usize, &'static str)> {
    let mut runs: Vec<(usize, usize, &'static str)> = Vec::new();
    for (at, second) in lane.iter().enumerate() {
        let class = match second.is {
            Is::Off => "off",
            Is::Booting => "booting",
            Is::Paused => "paused",
            Is::Refused => "refused",
            Is::Up if second.dead > 50 => "dead",
            Is::Up if second.dead > 0 || second.suspected > 0 => "suspected",
            Is::Up => "up",
        };
        match runs.last_mut() {
            Some((_, to, last)) if *last == class => *to = at + 1,
            _ => runs.push((at, at + 1, class)),
        }
    }
    runs
}
