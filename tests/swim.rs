//! Judges of membership that we did not write: what the papers compute, and foca driven by the same deaths.
//!
//! A. Das, I. Gupta, A. Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol" (2002);
//! A. Dadgar, J. Phillips, J. Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (2018). In the little world
//! of the bench `swim` all is a function of the seeds: what passes once passes on every machine.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "../benches/swim/deaths.rs"]
#[expect(dead_code, reason = "the bench tells what it costs")]
mod deaths;
#[path = "../benches/swim/ours.rs"]
mod ours;
#[path = "../benches/swim/theirs.rs"]
mod theirs;
#[path = "../benches/swim/world.rs"]
mod world;

use std::f64::consts::E;
use std::time::Duration;

use deaths::{Case, Found, quantile};
use ours::Ours;
use oxigdal_ha::machine::Rng;
use oxigdal_ha::membership::{Config, Event, Grounds};
use oxigdal_ha::types::Time;
use world::{World, id};

/// Sizes of meshes, and how many of each are looked at.
const SIZES: [(usize, u8); 3] = [(32, 10), (64, 6), (128, 2)];
/// Deaths in each, one after the other.
const DEATHS: usize = 6;

/// What was measured in meshes of one size.
#[derive(Default)]
struct Measured {
    members: usize,
    /// From each death to the first probe that was not answered, in periods.
    probed: Vec<f64>,
    /// From the first suspicion to the last member's, in gossip periods.
    spread: Vec<f64>,
    /// How long each member held a dead one for suspect.
    suspected: Vec<Duration>,
    /// Members that were to learn of a death, and did.
    to_learn: usize,
    learnt: usize,
}

/// Lets members die; `in_step` says whether their wall clocks agree, so that they take turns.
fn measure(members: usize, seeds: u8, config: &Config, in_step: bool) -> Measured {
    let mut measured = Measured { members, ..Measured::default() };
    for seed in 1..=seeds {
        let mut world = ours::settled(seed, members, config);
        let mut luck = Rng::fork(&[seed; 32], "deaths");
        if !in_step {
            world.members.iter_mut().for_each(|ours| ours.ahead = Duration::from_millis(luck.below(1_000_000)));
        }
        let mut victims: Vec<usize> = (1..members).collect();
        luck.shuffle(&mut victims);
        for victim in victims.into_iter().take(DEATHS) {
            world.run(Duration::from_secs(1) + Duration::from_millis(luck.below(1_000)));
            world.members.iter_mut().for_each(|ours| ours.said.clear());
            world.crash(victim);
            world.run(Duration::from_secs(15));
            measured.add(&world, victim, config);
        }
    }
    measured
}

impl Measured {
    fn add(&mut self, world: &World<Ours>, victim: usize, config: &Config) {
        let (died, victim_id) = (world.deaths[&victim].at, id(victim));
        let (mut probed, mut suspected): (Vec<Time>, Vec<Time>) = (Vec::new(), Vec::new());
        let up = |at: &usize| !world.deaths.contains_key(at);
        for at in (0..self.members).filter(up) {
            let said = &world.members[at].said;
            self.to_learn += 1;
            suspected.extend(said.iter().find_map(|(at, event)| match event {
                Event::Suspected { member, .. } if *member == victim_id => Some(*at),
                _ => None,
            }));
            for (at, event) in said {
                match event {
                    Event::Suspected { member, grounds: Grounds::Unanswered(tried), .. } if *member == victim_id => {
                        let waited = Duration::from_millis(tried.waited_ms.into());
                        probed.push(Time::from_nanos(at.as_nanos().saturating_sub(nanos(waited))));
                    }
                    Event::Died { member, suspected_ms, .. } if *member == victim_id => {
                        self.suspected.push(Duration::from_millis(*suspected_ms));
                        self.learnt += 1;
                    }
                    _ => {}
                }
            }
        }
        // A ping that was under way when it died counts as sent then.
        let first = probed.into_iter().min().unwrap().max(died);
        self.probed.push(first.since(died).as_secs_f64() / config.probe_period.as_secs_f64());
        let (first, last) = (suspected.iter().min().unwrap(), suspected.iter().max().unwrap());
        self.spread.push(last.since(*first).as_secs_f64() / config.gossip_period.as_secs_f64());
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap()
}

fn mean(of: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = of.len() as f64;
    of.sum::<f64>() / count
}

/// Each size with what was measured there.
fn all(config: &Config, in_step: bool) -> Vec<Measured> {
    SIZES.iter().map(|(members, seeds)| measure(*members, *seeds, config, in_step)).collect()
}

/// Whole periods until a dead member is probed: SWIM's unit, in which its section 3.2 counts.
fn periods(measured: &[Measured]) -> f64 {
    let all: Vec<f64> = measured.iter().flat_map(|of| &of.probed).copied().collect();
    mean(all.iter().map(|probed| probed.ceil().max(1.0)))
}

#[test]
fn a_dead_member_is_probed_as_soon_as_swim_computes_and_sooner_where_clocks_agree() {
    // Nobody knows whose turn it is: in each period nobody draws the dead member with a chance of 1 / e. SWIM, section 3.2:
    // e / (e - 1) periods on average.
    let drawn = all(&Config::default(), false);
    let (found, computed) = (periods(&drawn), E / (E - 1.0));
    println!("drawn: {found:.3} periods, computed {computed:.3}");
    assert!((found - computed).abs() <= 0.2, "{found} periods, SWIM computes {computed}");
    for of in &drawn {
        // Section 4.3: whoever goes round in order meets everybody within 2n - 1 periods.
        let (latest, bound) = (of.probed.iter().copied().fold(0.0, f64::max), (2 * of.members - 1) as f64);
        assert!(latest <= bound, "{} members: {latest} periods", of.members);
    }
    // All take the same step in each period, each at a moment of its own: each member is probed by one in each period. The time
    // between two probes is T (1 + a - b) with a and b even on 0..1, so that one in six deaths waits for more than a period
    // and none for more than two.
    let in_turn = all(&Config::default(), true);
    let (found, computed) = (periods(&in_turn), 1.0 + 1.0 / 6.0);
    println!("in turn: {found:.3} periods, computed {computed:.3}");
    assert!((found - computed).abs() <= 0.12, "{found} periods, {computed} computed");
    // After a death the round that it fell into has lost its order for some: chance is back until the next one.
    let mut all: Vec<f64> = in_turn.iter().flat_map(|of| &of.probed).copied().collect();
    all.sort_by(f64::total_cmp);
    let late = all.iter().filter(|probed| **probed > 2.0).count();
    assert!(late * 20 <= all.len(), "{late} of {} waited for more than two periods: {all:?}", all.len());
}

#[test]
fn a_suspicion_spreads_in_a_logarithm_of_periods_and_lasts_as_lifeguard_says() {
    let config = Config::default();
    for of in all(&config, true) {
        let (members, fanout) = (of.members as f64, config.gossip_fanout as f64);
        // Push gossip to so many others a round: B. Pittel, "On Spreading a Rumor" (1987), for a fanout of one log2 n + ln n.
        let rounds = members.ln() / (1.0 + fanout).ln() + members.ln() / fanout;
        let found = mean(of.spread.iter().copied());
        println!("{members} members: spread in {found:.2} gossip periods, computed {rounds:.2}");
        assert!((0.3..=1.1).contains(&(found / rounds)), "{members}: {found} periods, {rounds} computed");
        // Lifeguard, section 4.2: from the longest to the shortest, as more agree. Four periods at least, and 50 ms for each doubling.
        let doublings = of.members.ilog2();
        let shortest = config.suspicion_floor.max(4 * config.probe_period) + doublings * Duration::from_millis(50);
        let (least, most) = (of.suspected.iter().min().unwrap(), of.suspected.iter().max().unwrap());
        println!("{members} members: suspected for {least:?} to {most:?}, shortest {shortest:?}");
        assert!(
            *least >= shortest && *most <= 6 * shortest,
            "{members}: {least:?} to {most:?}, not from {shortest:?} on"
        );
        let found = mean(of.suspected.iter().map(Duration::as_secs_f64)) / shortest.as_secs_f64();
        assert!(found <= 1.25, "{members}: {found} of the shortest, though four agree at once");
        assert_eq!(of.learnt, of.to_learn, "{members}: everybody learns of each death once");
    }
}

#[test]
fn foca_and_we_bury_the_same_members_and_nobody_else_and_we_are_no_later() {
    for members in [32, 100] {
        let case = Case { members, loss_percent: 0, deaths: 6, seeds: 3, tail: Duration::from_secs(60) };
        let (mut ours, mut theirs) = (Found::default(), Found::default());
        for seed in 1..=case.seeds {
            ours.add(&case, seed, ours::settled(seed, case.members, &Config::default()));
            theirs.add(&case, seed, theirs::settled(seed, case.members));
        }
        let deaths = case.deaths * usize::from(case.seeds);
        for (name, found) in [("ours", &ours), ("foca", &theirs)] {
            assert_eq!((found.deaths, found.first.len()), (deaths, deaths), "{name}: each death is seen");
            assert_eq!(found.everybody.len(), deaths, "{name}: by everybody");
            assert_eq!(found.false_deaths, 0, "{name}: nobody else is held for dead");
        }
        for percent in [50, 99] {
            let ratio = quantile(&ours.first, percent) / quantile(&theirs.first, percent);
            println!("{members} members, p{percent}: {ratio:.2} of foca's time");
            assert!(ratio <= 1.0, "{members} members: at {percent} % {ratio} times as late as foca");
        }
    }
}
