//! `simulate run`: scenarios over seeds, on several cores, for as long as is wanted.

use std::cell::RefCell;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::sim::{self, Outcome, Scenario};

use super::meter::Meter;
use super::stop::Stop;
use super::tally::{NOTHING_RUN, Tally};
use super::{Run, seed_of, tell};
use crate::failure::{Code, Failure, Result};
use crate::output::{Output, Tone};

/// A run with what it took of a core.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// Which runs there are: each seed with all scenarios before the next seed, so that a sweep that is cut short has run all of
/// them about as often.
struct Work<'a> {
    scenarios: &'a [Scenario],
    first: u64,
    seeds: u64,
}

impl<'a> Work<'a> {
    fn of(args: &Run, scenarios: &'a [Scenario], output: Output) -> Self {
        let asked = args.seeds.as_ref().map(|seeds| (*seeds.0.start(), *seeds.0.end()));
        // Of a folder's sweep repro files are a part, and nobody means their seeds.
        let named = scenarios.iter().filter(|_| args.paths.iter().all(|path| !path.is_dir()));
        let seed = seed_of(named, args.seed.or_else(|| asked.map(|(first, _)| first)), output);
        let (first, last) = asked.unwrap_or((seed, seed));
        Self { scenarios, first, seeds: last - first + 1 }
    }

    fn len(&self) -> u64 {
        self.seeds * self.scenarios.len() as u64
    }

    /// A run; none where a scenario is one run and has been had.
    fn get(&self, at: u64) -> Option<(&'a Scenario, u64)> {
        let scenario = &self.scenarios[usize::try_from(at % self.scenarios.len() as u64).expect("a usize")];
        let seed = at / self.scenarios.len() as u64;
        (seed == 0 || scenario.repro().is_none()).then_some((scenario, self.first + seed))
    }
}

pub(super) fn run(args: &Run, scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    if args.html.is_some() || args.svg.is_some() {
        let [scenario] = scenarios else {
            return Err(Failure::usage("--html and --svg draw one run: one scenario, one seed"));
        };
        let seed = seed_of([scenario], args.seed, output);
        return tell::draw(scenario, seed, args.html.as_deref(), args.svg.as_deref(), output);
    }
    let work = Work::of(args, scenarios, output);
    let stop = Stop::within(args.time_budget)?;
    let mut tally = Tally::new(scenarios);
    let mut told = Ok(());
    if args.trace {
        told = traced(&work, &mut tally, stop, output);
    } else {
        tally = parallel(args, &work, tally, stop, output);
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
    let work = Work { scenarios, first: seed, seeds: 1 };
    let stop = Stop::within(None)?;
    let told = traced(&work, &mut tally, stop, output).and_then(|()| tally.tell(output));
    if stop.interrupted() {
        return Ok(ExitCode::from(Code::Interrupted as u8));
    }
    Failure::unless_gone(told, tally.exit_code())
}

/// One after the other, with every step told.
fn traced(work: &Work<'_>, tally: &mut Tally<'_>, stop: Stop, output: Output) -> Result {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for (scenario, seed) in (0..work.len()).filter_map(|at| work.get(at)) {
        if stop.now() {
            break;
        }
        let (failed, began) = (RefCell::new(None), Meter::start());
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
        let Some(outcome) = outcome else { break };
        tally.add(Done { outcome, took: began.took() });
    }
    Ok(stdout.flush()?)
}

/// On several cores; each run is on one.
fn parallel<'a>(args: &Run, work: &Work<'a>, tally: Tally<'a>, stop: Stop, output: Output) -> Tally<'a> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).clamp(1, usize::try_from(work.len()).unwrap_or(usize::MAX).max(1));
    let (next, tally) = (AtomicU64::new(0), Mutex::new(tally));
    let bar = progress(work.len(), output);
    let worker = || {
        while !stop.now() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= work.len() {
                return;
            }
            let Some((scenario, seed)) = work.get(at) else {
                bar.inc(1);
                continue;
            };
            let failed = tally.lock().expect("no holder of this lock panics").failed();
            let failed = if failed == 0 { String::new() } else { format!("{failed} failed, ") };
            bar.set_message(format!("{failed}{} seed {seed}", scenario.name()));
            let Some(done) = one(scenario, seed, args.twice.doubles(at), stop) else { return };
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
    let began = Meter::start();
    let outcome = sim::run_unless(scenario, seed, &|| stop.now())?;
    let took = began.took();
    if !twice {
        return Some(Done { outcome, took });
    }
    let second = sim::run_unless(scenario, seed, &|| stop.now())?;
    Some(Done { outcome: outcome.compared(&second), took })
}

fn progress(runs: u64, output: Output) -> ProgressBar {
    let target = if output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {elapsed} ({eta} left)  {msg}");
    ProgressBar::with_draw_target(Some(runs), target).with_style(style.expect("the template is fixed"))
}
