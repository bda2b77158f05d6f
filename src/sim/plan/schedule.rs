//! `[[fault]]`: what happens at given times.

use super::fault::{Fault, Item};
use super::make::{self, Draw, Says};
use super::{Plan, before_the_calm};
use crate::sim::luck::Stream;
use crate::sim::scenario::{Kind, Mode, Scenario, Scheduled};

impl Plan {
    pub(super) fn schedule(&mut self, scenario: &Scenario, says: &Scheduled, luck: Stream) -> Result<(), String> {
        before_the_calm(scenario, says.at.0)?;
        if says.permanent && says.lasts.is_some() {
            return Err("permanent and for exclude each other".to_owned());
        }
        let times = match (says.times, says.every) {
            (None, None) => 1,
            (Some(times), Some(_)) if times <= 10_000 => times,
            (Some(_), Some(_)) => return Err("times: at most 10000".to_owned()),
            _ => return Err("times and every need each other".to_owned()),
        };
        let params = params(scenario, says)?;
        for time in 0..times {
            let at = says.at.0 + says.every.unwrap_or_default().0 * u64::from(time);
            let draw = u64::from(time) << 32;
            let peers = says.peers.choose(&scenario.mesh, luck, draw).map_err(|why| format!("peers: {why}"))?;
            let from = match &says.from {
                Some(who) => Some(who.choose(&scenario.mesh, luck, draw + 1).map_err(|why| format!("from: {why}"))?),
                None => None,
            };
            if says.kind == Kind::Hold {
                let whom = from.ok_or("from: who is paused is needed")?;
                for (peer, whom) in peers.iter().flat_map(|peer| whom.iter().map(|whom| (*peer, *whom))) {
                    self.add(scenario, says, at, Fault::Hold { peer, whom });
                }
                continue;
            }
            if make::is_of_many(says.kind) {
                let draw = Draw { luck, entity: u64::MAX, counter: draw };
                let until = says.lasts.map(|lasts| (at + lasts.0).min(scenario.calm_at()));
                let items = make::of_many(says.kind, scenario, (peers, from), (at, until), params, draw)?;
                let items = items.into_iter().filter(|item| item.at < scenario.quiet_at());
                self.items.extend(items.map(|item| Item { permanent: says.permanent, ..item }));
                continue;
            }
            for (n, peer) in (0..).zip(peers) {
                let draw = Draw { luck, entity: u64::from(peer), counter: draw };
                let fault = if says.kind == Kind::Isolate {
                    let to = (0..).take(scenario.peers()).filter(|other| *other != peer).collect();
                    Fault::Cut { from: vec![peer], to, one_way: says.one_way }
                } else {
                    make::of_one(says.kind, peer, params, draw)?
                };
                self.add(scenario, says, at + says.stagger.0 * n, fault);
            }
        }
        Ok(())
    }

    fn add(&mut self, scenario: &Scenario, says: &Scheduled, at: u64, fault: Fault) {
        // What would begin when all must be healed does not begin.
        if at < scenario.quiet_at() {
            let until = says.lasts.map(|lasts| (at + lasts.0).min(scenario.calm_at()));
            let item = Item { at, until, permanent: says.permanent, fault, drawn: None };
            self.items.push(item.drawn_as(says.kind));
        }
    }
}

/// What the scenario says of the fault. What has always had to be said must be.
fn params(scenario: &Scenario, says: &Scheduled) -> Result<Says, String> {
    let ppm = says.share.map(|share| share.0);
    match says.kind {
        Kind::Slow | Kind::SlowDisk | Kind::SlowLink if says.factor.is_none_or(|factor| factor < 2) => {
            return Err("factor: at least 2 is needed".to_owned());
        }
        Kind::Loss if ppm.is_none() => return Err("share: how much is lost is needed".to_owned()),
        Kind::Garble if ppm.is_none() => return Err("share: how much is garbled is needed".to_owned()),
        Kind::ClockStep if says.by.is_none() => return Err("by: a duration is needed".to_owned()),
        Kind::RollBack if says.image.is_none() => {
            return Err("image: how old the image is that is put back is needed".to_owned());
        }
        Kind::Duplicate | Kind::Reorder if scenario.says.network.mode == Mode::Stream => {
            return Err(format!("{} happens to datagrams only: network.mode", says.kind.about().name));
        }
        _ => {}
    }
    let bits = match &says.bandwidth {
        Some(text) => Some(crate::topology::bandwidth(text).map_err(|error| format!("bandwidth: {error}"))?),
        None => None,
    };
    Ok(Says {
        factor: says.factor,
        ppm,
        by: says.by.map(|by| by.0),
        back: says.back || says.one_way,
        age: says.image.map(|image| image.0),
        groups: says.groups.map(u64::from),
        down: says.down.map(|span| span.0),
        up: says.up.map(|span| span.0),
        bits,
        queue: says.queue.map(|size| size.0),
    })
}
