//! S1: after the calm every live peer gives a reader every acknowledged event of each stream, once, and each origin's in its
//! order. What has expired may be missing, and must be told; of a stream that is kept by count, the newest may not. What no disk
//! holds any more is lost.

use std::collections::BTreeMap;

use super::disks::Disks;
use super::{Check, Sight, Verdict};
use crate::events::{Appended, Config, Id, Name, Page};
use crate::node::Event;
use crate::sim::world::body_of;
use crate::types::Topic;

/// Acknowledged events.
pub(super) struct EveryEventOnce {
    /// For each stream: the append of each event, and its place there.
    acknowledged: BTreeMap<u32, BTreeMap<Id, (usize, u32)>>,
    disks: Disks,
}

impl EveryEventOnce {
    pub(super) fn new() -> Self {
        Self { acknowledged: BTreeMap::new(), disks: Disks::of(Topic::EVENTS) }
    }
}

impl Check for EveryEventOnce {
    fn id(&self) -> &'static str {
        "S1"
    }

    fn on_appended(&mut self, sight: &Sight<'_>, _: u32, append: usize, says: &Appended) -> Verdict {
        let planned = &sight.plan.appends[append];
        let events = self.acknowledged.entry(planned.stream).or_default();
        for at in 0..planned.events {
            let id = Id { index: says.first.index + at, ..says.first };
            if let Some((other, _)) = events.insert(id, (append, at)) {
                return Err(format!("appends {other} and {append} were both given the place {id:?}"));
            }
        }
        Ok(())
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        self.disks.on_event(who, event);
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.disks.wipe(who);
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.disks.image(who, image);
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.disks.put_back(who, image);
    }

    fn on_stream(&mut self, sight: &Sight<'_>, who: u32, stream: u32, pages: &[Page]) -> Verdict {
        let name = sight.name(who);
        let read: Vec<_> = pages.iter().flat_map(|page| &page.events).collect();
        if let Some(pair) = read.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(format!("{name} gives {:?} of stream {stream} before {:?}", pair[0].id, pair[1].id));
        }
        let gaps: Vec<_> = pages.iter().flat_map(|page| &page.gaps).collect();
        let config = &sight.scenario.config.events;
        if let Some(gap) = gaps.first().filter(|_| config.retention == Config::default().retention) {
            return Err(format!("{name} lacks {gap:?} of stream {stream}, and nothing has expired"));
        }
        // A branch that gave way goes on under another of its origin's names: its stamp is what stays.
        let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for item in &read {
            held.entry((item.id.hlc, item.id.origin.node, item.id.index)).or_default().push(&item.body);
        }
        let Some(events) = self.acknowledged.get(&stream) else { return Ok(()) };
        // Expiry takes whole entries, and the youngest may be in a large one: half of the count is surely kept.
        let kept = config.retention_of(&Name::parse("sim").expect("a word")).count.map(|count| count / 2);
        for (newer, (id, (append, at))) in (0..).zip(events.iter().rev()) {
            let planned = &sight.plan.appends[*append];
            // Who begins at the start is not told of origins of whom nothing is left.
            let unknown = !read.iter().any(|item| item.id.origin == id.origin);
            let told =
                unknown || gaps.iter().any(|gap| gap.origin == id.origin && id.seq > gap.after && id.seq <= gap.upto);
            let may_be_gone = told && kept.is_some_and(|kept| newer >= kept);
            let body = body_of(*append, *at, planned.padding);
            match held.get(&(id.hlc, id.origin.node, id.index)) {
                Some(bodies) if bodies.iter().any(|held| ***held == body) => {}
                Some(_) => return Err(format!("event {at} of append {append} is another one at {name}")),
                None if may_be_gone || self.disks.are_gone(sight, id.origin.node, id.hlc) => {}
                None => {
                    let writer = sight.name(planned.peer);
                    return Err(format!("event {at} of append {append}, acknowledged by {writer}, is not at {name}"));
                }
            }
        }
        Ok(())
    }
}
