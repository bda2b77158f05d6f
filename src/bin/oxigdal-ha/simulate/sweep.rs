//! `simulate run`: scenarios over seeds, on several cores, for as long as is wanted.

use std::cell::RefCell;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::sim::{self, Coverage, Outcome, Scenario};

use super::meter::Meter;
use super::stop::Stop;
use super::tally::{NOTHING_RUN, Tally};
use super::{Run, seed_of, tell};
use crate::failure::{Code, Failure, Result};
use crate::output::{Output, Tone};

/// A run with what it took of a core, and the marks that it hit.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) coverage: Coverage,
}

/// A run of a sweep.
#[derive(Clone, Copy)]
struct Next<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// The scenario's place among the others.
    place: usize,
    /// The number of the run among all, whatever their order.
    at: u64,
}

/// Which runs there are, in the order in which they begin.
///
/// First each scenario once, the cheapest first, so that a sweep that is cut short has judged as many of them as there was time
/// for: what a run costs is taken to be its peers times its virtual time. Then always the one that has had the least of the cores so
/// far, so that each gets about the same share: of small meshes thousands of seeds while a large one has few. Of a run nothing hangs
/// on the order.
struct Work<'a> {
    scenarios: &'a [Scenario],
    first: u64,
    seeds: u64,
    had: Vec<Had>,
}

/// What a scenario has had so far.
#[derive(Clone, Copy, Default)]
struct Had {
    begun: u64,
    ended: u64,
    /// Of the cores, by the runs that have ended.
    took: Duration,
}

impl<'a> Work<'a> {
    fn of(args: &Run, scenarios: &'a [Scenario], output: Output) -> Self {
        let asked = args.seeds.as_ref().map(|seeds| (*seeds.0.start(), *seeds.0.end()));
        // Of a folder's sweep repro files are a part, and nobody means their seeds.
        let named = scenarios.iter().filter(|_| args.paths.iter().all(|path| !path.is_dir()));
        let seed = seed_of(named, args.seed.or_else(|| asked.map(|(first, _)| first)), output);
        let (first, last) = asked.unwrap_or((seed, seed));
        Self::new(scenarios, first, last - first + 1)
    }

    fn new(scenarios: &'a [Scenario], first: u64, seeds: u64) -> Self {
        Self { scenarios, first, seeds, had: vec![Had::default(); scenarios.len()] }
    }

    /// A run has ended that took so much of a core.
    fn ended(&mut self, place: usize, took: Duration) {
        let had = &mut self.had[place];
        had.ended += 1;
        had.took += took;
    }

    /// What goes first: who was never begun, by what it will cost; then by what it has had, runs that have not ended taken to be like
    /// those that have; then who is begun and of whose cost nothing is known.
    fn turn(&self, place: usize) -> (u8, u128) {
        let (had, expected) = (&self.had[place], cost(&self.scenarios[place]));
        match had {
            Had { begun: 0, .. } => (0, expected),
            Had { begun, ended: 0, .. } => (2, expected * u128::from(*begun)),
            Had { begun, ended, took } => (1, took.as_nanos() * u128::from(*begun) / u128::from(*ended)),
        }
    }

    /// How many runs it has in all; a repro file is one run.
    fn len(&self) -> u64 {
        self.scenarios.iter().map(|scenario| self.seeds_of(scenario)).sum()
    }

    fn seeds_of(&self, scenario: &Scenario) -> u64 {
        if scenario.repro().is_some() { 1 } else { self.seeds }
    }
}

impl<'a> Iterator for Work<'a> {
    type Item = Next<'a>;

    fn next(&mut self) -> Option<Next<'a>> {
        let left = |place: &usize| self.had[*place].begun < self.seeds_of(&self.scenarios[*place]);
        let place = (0..self.scenarios.len()).filter(left).min_by_key(|place| (self.turn(*place), *place))?;
        let begun = self.had[place].begun;
        self.had[place].begun += 1;
        let at = begun * self.scenarios.len() as u64 + place as u64;
        Some(Next { scenario: &self.scenarios[place], seed: self.first + begun, place, at })
    }
}

/// What a run of a scenario is expected to cost, in nanoseconds of one peer's virtual time.
fn cost(scenario: &Scenario) -> u128 {
    u128::from(scenario.span_ns()) * scenario.peers().max(1) as u128
}

pub(super) fn run(args: &Run, scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    if args.html.is_some() || args.svg.is_some() {
        let [scenario] = scenarios else {
            return Err(Failure::usage("--html and --svg draw one run: one scenario, one seed"));
        };
        let seed = seed_of([scenario], args.seed, output);
        return tell::draw(scenario, seed, args.html.as_deref(), args.svg.as_deref(), output);
    }
    let mut work = Work::of(args, scenarios, output);
    let stop = Stop::within(args.time_budget)?;
    let mut tally = Tally::new(scenarios);
    let mut told = Ok(());
    if args.trace {
        told = traced(&mut work, &mut tally, stop, output);
    } else {
        tally = parallel(args, work, tally, stop, output);
    }
    let told = told.and_then(|()| tally.tell(output));
    let interrupted =
        |code| if matches!(code, 0 | NOTHING_RUN) && stop.interrupted() { Code::Interrupted as u8 } else { code };
    Failure::unless_gone(told, interrupted(tally.exit_code()))
}

/// One run, with every step told.
pub(super) fn traced_one(scenario: &Scenario, seed: u64, output: Output) -> Result<ExitCode> {
    let scenarios = std::slice::from_ref(scenario);
    let mut tally = Tally::new(scenarios);
    let stop = Stop::within(None)?;
    let told = traced(&mut Work::new(scenarios, seed, 1), &mut tally, stop, output).and_then(|()| tally.tell(output));
    if stop.interrupted() {
        return Ok(ExitCode::from(Code::Interrupted as u8));
    }
    Failure::unless_gone(told, tally.exit_code())
}

/// One after the other, with every step told.
fn traced(work: &mut Work<'_>, tally: &mut Tally<'_>, stop: Stop, output: Output) -> Result {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    while !stop.now() {
        let Some(Next { scenario, seed, .. }) = work.next() else { break };
        let (failed, began) = (RefCell::new(None), Meter::start());
        drop(Coverage::take());
        let mut sink = |line: sim::Line| {
            let written = if output.json {
                let value = serde_json::to_string(&line).expect("a line has text keys and whole numbers");
                writeln!(stdout, "{value}")
            } else {
                writeln!(stdout, "{line}")
            };
            if let Err(error) = written {
                failed.borrow_mut().get_or_insert(error);
            }
        };
        let outcome = sim::run_told_unless(scenario, seed, &mut sink, &|| stop.now() || failed.borrow().is_some());
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
        let Some(outcome) = outcome else {
            tally.cut_off(scenario);
            break;
        };
        tally.add(Done { outcome, took: began.took(), coverage: Coverage::take() });
    }
    Ok(stdout.flush()?)
}

/// On several cores; each run is on one.
fn parallel<'a>(args: &Run, work: Work<'a>, tally: Tally<'a>, stop: Stop, output: Output) -> Tally<'a> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).clamp(1, usize::try_from(work.len()).unwrap_or(usize::MAX).max(1));
    let bar = progress(work.len(), output);
    let (work, tally) = (Mutex::new(work), Mutex::new(tally));
    let worker = || {
        while !stop.now() {
            let next = work.lock().expect("no holder of this lock panics").next();
            let Some(Next { scenario, seed, place, at }) = next else { return };
            let failed = tally.lock().expect("no holder of this lock panics").failed();
            let failed = if failed == 0 { String::new() } else { format!("{failed} failed, ") };
            bar.set_message(format!("{failed}{} seed {seed}", scenario.name()));
            let began = Meter::start();
            let Some(done) = one(scenario, seed, args.twice.doubles(at), stop) else {
                return tally.lock().expect("no holder of this lock panics").cut_off(scenario);
            };
            work.lock().expect("no holder of this lock panics").ended(place, began.took());
            if !done.outcome.passed() && !output.json {
                bar.suspend(|| eprintln!("{}", output.paint(Tone::Bad, &done.outcome)));
            }
            tally.lock().expect("no holder of this lock panics").add(done);
            bar.inc(1);
        }
    };
    // This thread works too: glibc gives the memory of a first thread back in larger pieces, which saves some percent of a run.
    std::thread::scope(|scope| {
        (1..jobs).for_each(|_| _ = scope.spawn(worker));
        worker();
    });
    bar.finish_and_clear();
    tally.into_inner().expect("no holder of this lock panics")
}

/// A run, and perhaps a second one that must be the same; none if there was no time for it.
fn one(scenario: &Scenario, seed: u64, twice: bool, stop: Stop) -> Option<Done> {
    // What a run that was called off hit before in this thread does not count.
    drop(Coverage::take());
    let began = Meter::start();
    let outcome = sim::run_unless(scenario, seed, &|| stop.now())?;
    let (took, coverage) = (began.took(), Coverage::take());
    if !twice {
        return Some(Done { outcome, took, coverage });
    }
    let second = sim::run_unless(scenario, seed, &|| stop.now())?;
    Some(Done { outcome: outcome.compared(&second), took, coverage })
}

fn progress(runs: u64, output: Output) -> ProgressBar {
    let target = if output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {elapsed} ({eta} left)  {msg}");
    ProgressBar::with_draw_target(Some(runs), target).with_style(style.expect("the template is fixed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mesh of so many peers that runs for twelve seconds.
    fn scenario(peers: usize, repro: &str) -> Scenario {
        let text = format!(
            "schema = 1\ndescription = \"x\"\nmesh = {{ peers = {peers} }}\nphases = {{ warm-up = \"1s\", chaos = \"1s\", calm = \"10s\" }}\n{repro}"
        );
        let mut none = |name: &str| Err(format!("no topology {name}"));
        Scenario::parse(&format!("{peers}.toml"), &text, &mut none).unwrap()
    }

    #[test]
    fn every_scenario_is_begun_before_any_has_a_second_seed_and_then_all_get_the_same_share() {
        let repro = format!(
            "[repro]\nof = \"x\"\nseed = 9\nluck = \"{}\"\nbreaks = \"M2\"\nwhole = {{ faults = 0, turns = 0, edits = 0, appends = 0 }}\n\
             starts = {{ p-1 = 0 }}\n",
            "0".repeat(64)
        );
        let scenarios = [scenario(40, ""), scenario(4, ""), scenario(2, ""), scenario(3, &repro)];
        // The run of two peers takes most, as one with a heavy load.
        let took = [20, 5, 50, 1].map(Duration::from_millis);
        let begun = |seeds, count| {
            let mut work = Work::new(&scenarios, 5, seeds);
            let mut all = Vec::new();
            while all.len() < count {
                let Some(next) = work.next() else { break };
                work.ended(next.place, took[next.place]);
                all.push((next.scenario.peers(), next.seed));
            }
            all
        };
        assert_eq!(begun(1_000, 4), [(2, 5), (3, 5), (4, 5), (40, 5)], "the cheapest first");
        let many = begun(1_000, 540);
        let of = |peers| many.iter().filter(|(of, _)| *of == peers).count();
        let (heavy, light, large) = (of(2), of(4), of(40));
        assert_eq!(of(3), 1, "a repro file is one run");
        assert!(light.abs_diff(heavy * 10) <= 10 && light.abs_diff(large * 4) <= 4, "{heavy} {light} {large}");
        // Nothing is left out, and nothing is run twice, also where no run has ended yet.
        let unended: Vec<_> = Work::new(&scenarios, 5, 20).map(|next| (next.scenario.peers(), next.seed)).collect();
        for mut all in [begun(20, 1_000), unended] {
            let runs = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!((all.len(), runs as u64), (61, Work::new(&scenarios, 5, 20).len()));
            assert!(all.iter().all(|(peers, seed)| *seed < 25 || *peers == 3));
        }
    }
}
