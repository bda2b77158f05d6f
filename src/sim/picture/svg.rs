//! The still overview: a lane a peer, faults above, the violation across. It follows the reader's light or dark.

use std::fmt::Write as _;

use super::super::outcome::Judgement;
use super::super::scenario::Scenario;
use super::super::story::Story;
use super::film::{Film, Is, Second};

/// Pixels of the drawing: its width, the names' column, a lane's pitch and height, a fault's.
const WIDTH: u64 = 1_200;
const LEFT: u64 = 120;
const PITCH: u64 = 22;
const LANE: u64 = 16;
const BAR: u64 = 15;
/// Most rows of faults of the whole mesh.
const ROWS_MAX: usize = 12;

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
    let x = |ns: u64| LEFT + ns.min(end) * (WIDTH - LEFT - 20) / end;
    // What concerns one peer is drawn at its lane.
    let mesh: Vec<_> = film.bars.iter().filter(|bar| bar.peers.len() != 1).collect();
    let rows = mesh.len().min(ROWS_MAX) as u64;
    let top = 84 + rows * (BAR + 3);
    let height = top + film.lanes.len() as u64 * PITCH + 46;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{}</title>\n{STYLE}\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        text(&story.outcome.to_string())
    );
    let mut put = |piece: String| svg.write_fmt(format_args!("{piece}\n")).expect("a string takes everything");
    put(format!(
        "<text class=\"ink\" x=\"16\" y=\"28\" font-size=\"18\" font-weight=\"600\">{} · seed {}</text>",
        text(scenario.name()),
        story.outcome.seed
    ));
    put(format!("<text class=\"dim\" x=\"16\" y=\"48\">{}</text>", text(scenario.description())));
    let class = if story.outcome.passed() { "dim" } else { "badtext" };
    put(format!("<text class=\"{class}\" x=\"16\" y=\"66\">{}</text>", text(&story.outcome.judgement.to_string())));
    let (calm, bottom) = (x(scenario.calm_at()), height - 40);
    put(format!("<rect class=\"calm\" x=\"{calm}\" y=\"76\" width=\"{}\" height=\"{}\"/>", x(end) - calm, bottom - 76));
    let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400].into_iter().map(|s| s * super::SECOND);
    let step = step.into_iter().find(|step| end / step <= 12).unwrap_or(end);
    for tick in 0..=end / step {
        let at = x(tick * step);
        put(format!("<line class=\"line\" x1=\"{at}\" x2=\"{at}\" y1=\"76\" y2=\"{bottom}\"/>"));
        put(format!(
            "<text class=\"dim\" x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{} s</text>",
            bottom + 16,
            tick * step / super::SECOND
        ));
    }
    for (row, bar) in (0..).zip(mesh.iter().take(ROWS_MAX)) {
        let (from, to) = (x(bar.begins), x(bar.ends.unwrap_or(end)));
        let y = 78 + row * (BAR + 3);
        put(format!(
            "<rect class=\"fault\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"{BAR}\" rx=\"3\"><title>{}</title></rect>",
            (to - from).max(2),
            text(&bar.what)
        ));
        let fits = bar.what.len() as u64 * 6 < to - from;
        let (anchor, at) = match from > WIDTH * 2 / 3 {
            true if !fits => ("end", from - 4),
            false if !fits => ("start", to + 4),
            _ => ("start", from + 4),
        };
        put(format!(
            "<text class=\"ink\" x=\"{at}\" y=\"{}\" font-size=\"10\" text-anchor=\"{anchor}\">{}</text>",
            y + 11,
            text(&bar.what)
        ));
    }
    for (place, lane) in (0..).zip(&film.lanes) {
        let y = top + u64::from(place) * PITCH;
        let name = &scenario.mesh.nodes()[place as usize].name;
        put(format!(
            "<text class=\"ink\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            y + 12,
            text(name)
        ));
        for (from, to, class) in runs(lane) {
            let (from, to) = (x(moment(from)), if to == lane.len() { x(end) } else { x(moment(to)) });
            put(format!("<rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"{LANE}\"/>", to - from));
        }
        let most = film.lanes.iter().flatten().map(|second| second.behind).max().unwrap_or_default().max(1);
        for (at, second) in lane.iter().enumerate().filter(|(_, second)| second.behind > 0) {
            let deep = (second.behind * (LANE - 6) / most).max(1);
            let (from, to) = (x(moment(at)), x(moment(at + 1)));
            put(format!(
                "<rect class=\"behind\" x=\"{from}\" y=\"{}\" width=\"{}\" height=\"{deep}\"/>",
                y + LANE - deep,
                (to - from).max(1)
            ));
        }
        for bar in film.bars.iter().filter(|bar| bar.peers == [place]) {
            let (from, to) = (x(bar.begins), x(bar.ends.unwrap_or(end)));
            put(format!(
                "<rect class=\"fault\" x=\"{from}\" y=\"{}\" width=\"{}\" height=\"3\"><title>{}</title></rect>",
                y - 3,
                (to - from).max(2),
                text(&bar.what)
            ));
        }
    }
    if let Judgement::Violated { violation, at_ns, .. } = &story.outcome.judgement {
        let at = x(*at_ns);
        put(format!("<line class=\"bad\" x1=\"{at}\" x2=\"{at}\" y1=\"72\" y2=\"{bottom}\" stroke-width=\"2\"/>"));
        put(format!(
            "<text class=\"badtext\" x=\"{at}\" y=\"{}\" text-anchor=\"end\" font-weight=\"700\">{}</text>",
            bottom + 32,
            violation.check
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// From when on a sample stands, which was taken at the end of its second: for half a second before and after.
fn moment(at: usize) -> u64 {
    if at == 0 { 0 } else { at as u64 * super::SECOND + super::SECOND / 2 }
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

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
