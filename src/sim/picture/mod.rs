//! A run as a picture: one HTML file that needs nothing else, or a still overview as SVG.
//!
//! A run is made three times: for its end and its story, for how many frames each second had, and for the film, of which the
//! messages around what matters are kept. The page draws; here is only what it is given.

mod film;
mod svg;

use serde_json::{Value, json};

use super::orders::Orders;
use super::outcome::Judgement;
use super::scenario::Scenario;
use super::story::{Story, explain};
use super::{drawn, follow};
use film::{Bar, Film, MESSAGES_MAX, Message, News, Second};

/// The page; its one empty script is given the data.
const PAGE: &str = include_str!("page.html");
/// Where the data goes.
const SLOT: &str = "<script id=\"data\" type=\"application/json\">";

const SECOND: u64 = 1_000_000_000;

/// A run that can be drawn.
pub struct Picture {
    story: Story,
    value: Value,
    svg: String,
}

impl Picture {
    /// Makes a run again, and films it.
    #[must_use]
    pub fn of(scenario: &Scenario, seed: u64) -> Self {
        let of_seed = drawn(scenario, seed).map(|(_, of_seed, _)| of_seed);
        let scenario = of_seed.as_deref().unwrap_or(scenario);
        let story = explain(scenario, seed);
        let counted = filmed(scenario, seed, (1, 0));
        let focus = focus(&story, &counted.bars, counted.frames.len() as u64 * SECOND);
        let window = window(&counted.frames, focus);
        let film = filmed(scenario, seed, window);
        Self { value: value(scenario, &story, &film, window), svg: svg::draw(scenario, &story, &film), story }
    }

    /// What happened.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// One HTML file with everything in it.
    #[must_use]
    pub fn html(&self) -> String {
        // Inside a script nothing may look like its end.
        let data = self.value.to_string().replace('<', "\\u003c");
        PAGE.replacen(SLOT, &format!("{SLOT}{data}"), 1)
    }

    /// A still overview.
    #[must_use]
    pub fn svg(&self) -> &str {
        &self.svg
    }
}

fn filmed(scenario: &Scenario, seed: u64, window: (u64, u64)) -> Film<'_> {
    let mut film = Film::new(scenario, window);
    _ = follow(scenario, seed, Orders { witness: Some(&mut film), ..Orders::default() });
    film
}

/// The moment that matters most: the violation, else when a peer was struck first, else the middle.
fn focus(story: &Story, bars: &[Bar], end: u64) -> u64 {
    match story.outcome.judgement {
        Judgement::Violated { at_ns, .. } if at_ns > 0 => at_ns,
        _ => bars.iter().map(|bar| bar.begins).min().unwrap_or(end / 2),
    }
}

/// Whole seconds around a moment with at most as many frames as are kept; three before for each one after.
fn window(frames: &[u64], focus: u64) -> (u64, u64) {
    let at = usize::try_from(focus / SECOND).unwrap_or_default().min(frames.len().saturating_sub(1));
    let (mut from, mut to) = (at, at);
    let mut sum = frames.get(at).copied().unwrap_or_default();
    for turn in 0.. {
        let next = if turn % 4 == 3 { (to + 1 < frames.len()).then(|| to + 1) } else { from.checked_sub(1) };
        let other = if turn % 4 == 3 { None } else { (from == 0 && to + 1 < frames.len()).then(|| to + 1) };
        let Some(second) = next.or(other) else {
            if from == 0 && to + 1 >= frames.len() {
                break;
            }
            continue;
        };
        sum += frames[second];
        if sum > MESSAGES_MAX as u64 {
            break;
        }
        (from, to) = (from.min(second), to.max(second));
    }
    (from as u64 * SECOND, (to as u64 + 1) * SECOND)
}

fn value(scenario: &Scenario, story: &Story, film: &Film<'_>, window: (u64, u64)) -> Value {
    let us = |ns: u64| ns / 1_000;
    let nodes = scenario.mesh.nodes().iter();
    let peers: Vec<Value> =
        nodes.map(|node| json!({ "name": node.name, "region": node.region.clone().unwrap_or_default() })).collect();
    let column = |of: &dyn Fn(&Second) -> u64| -> Vec<Vec<u64>> {
        film.lanes.iter().map(|lane| lane.iter().map(of).collect()).collect()
    };
    let bar = |bar: &Bar| json!({ "from": us(bar.begins), "to": bar.ends.map(us), "kind": bar.kind, "what": bar.what, "peers": bar.peers });
    let news = |news: &News| json!([us(news.at), news.place, news.kind, news.about]);
    let message = |message: &Message| {
        let takes = message.arrives.map(|arrives| us(arrives.saturating_sub(message.sent)));
        json!([us(message.sent), takes, message.from, message.to, message.kind, message.len])
    };
    let (verdict, what) = match &story.outcome.judgement {
        Judgement::Passed => ("passed", String::new()),
        Judgement::Violated { violation, .. } => (violation.check, violation.what.clone()),
        Judgement::Missed { what } => ("missed", what.join("; ")),
    };
    let failed_at = match &story.outcome.judgement {
        Judgement::Violated { at_ns, .. } => Some(us(*at_ns)),
        _ => None,
    };
    let says = super::invariants().find(|(id, _)| *id == verdict).map(|(_, says)| says);
    let steps: Vec<Value> = story
        .steps
        .iter()
        .map(|step| json!({ "at": us(step.at), "place": step.place, "peer": step.peer, "what": step.what, "led": step.why == super::story::Why::Cause }))
        .collect();
    json!({
        "scenario": scenario.name(),
        "description": scenario.description(),
        "overlay": scenario.overlay(),
        "seed": story.outcome.seed,
        "replay": story.outcome.replay(),
        "trace": story.outcome.hash,
        "verdict": verdict,
        "what": what,
        "says": says,
        "failed_at": failed_at,
        "about": story.about,
        "active": story.active,
        "left_out": story.left_out,
        "steps": steps,
        "end": us(story.outcome.figures.virtual_ns),
        "chaos_at": us(scenario.chaos_at()),
        "calm_at": us(scenario.calm_at()),
        "events": story.outcome.figures.events,
        "frames_sent": story.outcome.figures.net.frames,
        "acknowledged": story.outcome.figures.acknowledged,
        "peers": peers,
        "is": column(&|second| second.is as u64),
        "suspected": column(&|second| second.suspected.into()),
        "dead": column(&|second| second.dead.into()),
        "behind": column(&|second| second.behind),
        "synced": column(&|second| second.synced.into()),
        "written": column(&|second| second.written.into()),
        "sent": column(&|second| second.sent.into()),
        "disk_fails": column(&|second| second.disk_fails.into()),
        "frames": film.frames,
        "faults": film.bars.iter().map(bar).collect::<Vec<_>>(),
        "news": film.news.iter().map(news).collect::<Vec<_>>(),
        "news_left_out": film.news_left_out,
        "window": [us(window.0), us(window.1)],
        "messages": film.messages.iter().map(message).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Found;

    /// Two peers that lie: what they send breaks what holds of peers that do not, and rightly so.
    const LIARS: &str = r#"schema = 1
description = "two </script> lie"
mesh = { peers = 5, regions = 5 }
phases = { warm-up = "5s", chaos = "20s", calm = "5s" }

[[edits]]
docs = 3
rate = "5/s"

[[fault]]
at = "6s"
kind = "garble"
peers = ["p1-1", "p2-1"]
share = "20%"

[[fault]]
at = "7s"
for = "2s"
kind = "cut"
peers = "p5-1"
"#;

    fn liars() -> Scenario {
        let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
        Scenario::parse("liars.toml", LIARS, &mut none).unwrap()
    }

    #[test]
    fn a_violation_is_explained_in_words_and_by_name() {
        let story = explain(&liars(), 1);
        let Judgement::Violated { at_ns, .. } = story.outcome.judgement else { panic!("{}", story.outcome) };
        let led: Vec<_> = story.steps.iter().filter(|step| step.why == super::super::story::Why::Cause).collect();
        assert!(!led.is_empty() && led.iter().all(|step| step.at <= at_ns), "{story}");
        assert!(story.steps.len() <= 60 && story.steps.is_sorted_by_key(|step| (step.at, step.event)), "{story}");
        assert!(!story.about.is_empty() && story.active.iter().any(|fault| fault == "p1-1 garble 20.00 %"), "{story}");
        assert!(story.to_string().contains("fault begins: p1-1 garble 20.00 %"), "{story}");
    }

    #[test]
    fn a_page_holds_all_that_it_needs_and_a_drawing_all_peers() {
        let picture = Picture::of(&liars(), 1);
        let html = picture.html();
        let (_, rest) = html.split_once(SLOT).unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["description"], "two </script> lie");
        assert_eq!(data["peers"].as_array().unwrap().len(), 5);
        assert!(data["messages"].as_array().unwrap().len() > 100 && data["failed_at"].as_u64() > Some(6_000_000));
        let seconds = data["is"][0].as_array().unwrap().len();
        for column in ["is", "suspected", "dead", "behind", "synced", "written", "sent", "disk_fails"] {
            let lanes = data[column].as_array().unwrap();
            assert!(lanes.len() == 5 && lanes.iter().all(|lane| lane.as_array().unwrap().len() == seconds), "{column}");
        }
        assert!(!html.contains("http://") && !html.contains("https://"), "nothing is fetched");
        let svg = picture.svg();
        assert!((1..=5).all(|n| svg.contains(&format!(">p{n}-1</text>"))), "{svg}");
        assert!(svg.ends_with("</svg>\n") && svg.matches("<text").count() == svg.matches("</text>").count(), "{svg}");
    }

    #[test]
    fn no_fault_of_the_whole_mesh_is_dropped_without_a_word() {
        let at_once = |count: usize| {
            let fault =
                |n: usize| format!("[[fault]]\nat = \"{}ms\"\nkind = \"loss\"\nshare = \"{n}ppm\"\n", 6_000 + n);
            let faults: String = (1..=count).map(fault).collect();
            let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
            let head = "schema = 1\ndescription = \"many\"\nmesh = { peers = 2 }\n";
            let text = format!("{head}phases = {{ warm-up = \"5s\", chaos = \"3s\", calm = \"4s\" }}\n{faults}");
            Picture::of(&Scenario::parse("many.toml", &text, &mut none).unwrap(), 1)
        };
        let (few, many) = (at_once(15), at_once(50));
        assert_eq!(few.svg().matches("class=\"fault\"").count(), 15);
        assert!(!few.svg().contains("more faults"));
        assert!(many.svg().contains("and 10 more faults of the whole mesh"), "{}", many.svg());
        // The page has them all, and gives the first ones a row at once.
        assert_eq!(many.value["faults"].as_array().unwrap().len(), 50);
        // The axis may be longer than the run; the time that is said is the run's.
        assert!(PAGE.contains("fact((D.end / SEC)") && !PAGE.contains("END / SEC"));
    }

    #[test]
    fn the_messages_that_are_kept_are_those_around_what_matters() {
        let many = MESSAGES_MAX as u64 / 4;
        assert_eq!(window(&[many; 10], 5 * SECOND + 1), (2 * SECOND, 6 * SECOND));
        assert_eq!(window(&[many; 10], 0), (0, 4 * SECOND));
        assert_eq!(window(&[1; 10], 5 * SECOND), (0, 10 * SECOND));
        assert_eq!(window(&[many * 9; 3], SECOND), (SECOND, 2 * SECOND));
        assert_eq!(window(&[], 0), (0, SECOND));
    }
}
