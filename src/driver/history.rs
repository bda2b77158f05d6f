//! What watchers are told, numbered and kept for a while, so that a watcher that lost its connection goes on where it was.
//!
//! A number is good in one life of the peer: it is told as `LIFE-NUMBER`, and comes back as `Last-Event-ID` (HTML Standard,
//! section 9.2.3). Keeping begins with the first watcher.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::admission::key::random;
use super::peer::{Events, Link};
use crate::documents;
use crate::node::Event;

/// Events kept: what a watcher may miss.
const KEPT_MAX: usize = 4_096;

/// A place in what was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    life: u64,
    number: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.life, self.number)
    }
}

impl FromStr for Mark {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-').and_then(|(life, number)| {
            Some(Self { life: u64::from_str_radix(life, 16).ok()?, number: number.parse().ok()? })
        });
        parts.ok_or_else(|| format!("{text:?} is not an event id of this peer"))
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the latest event.
    last: u64,
    /// With their numbers, in order; where some were lost there is a gap.
    events: VecDeque<(u64, Arc<Event>)>,
}

/// What was told, and what comes.
#[derive(Debug)]
pub(super) struct History {
    life: u64,
    kept: Mutex<Kept>,
    /// The number of the latest event, for those who wait.
    last: watch::Sender<u64>,
}

/// What a watcher gets next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// An event, and where it leaves the watcher.
    Event(Arc<Event>, Mark),
    /// So many events are not kept any more; `None`: nobody can tell how many.
    Missed(Option<u64>, Mark),
}

impl History {
    /// Keeps what `link` tells from now on, until the peer stops.
    pub(super) fn begin(link: &Link) -> Arc<Self> {
        let life = u64::from_be_bytes(random());
        let history = Arc::new(Self { life, kept: Mutex::default(), last: watch::Sender::new(0) });
        tokio::spawn(keep(Arc::downgrade(&history), link.events()));
        history
    }

    /// Where a watcher begins that has seen nothing.
    pub(super) fn now(&self) -> Mark {
        Mark { life: self.life, number: self.kept().last }
    }

    /// What comes after this place, if it is there already.
    pub(super) fn after(&self, mark: Mark) -> Option<Next> {
        let kept = self.kept();
        let here = |number| Mark { life: self.life, number };
        if mark.life != self.life || mark.number > kept.last {
            return Some(Next::Missed(None, here(kept.last)));
        }
        let (number, event) = kept.events.get(kept.events.partition_point(|(number, _)| *number <= mark.number))?;
        match number - mark.number - 1 {
            0 => Some(Next::Event(Arc::clone(event), here(*number))),
            missed => Some(Next::Missed(Some(missed), here(number - 1))),
        }
    }

    /// Wakes whoever waits for more; ends when the peer stops.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn add(&self, event: Arc<Event>) {
        let mut kept = self.kept();
        kept.last += 1;
        let number = kept.last;
        kept.events.push_back((number, event));
        if kept.events.len() > KEPT_MAX {
            kept.events.pop_front();
        }
        drop(kept);
        self.last.send_replace(number);
    }

    /// This many were told too fast to be kept.
    fn lose(&self, count: u64) {
        self.kept().last += count;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding it")
    }
}

async fn keep(history: std::sync::Weak<History>, mut events: Events) {
    while let Some(told) = events.next().await {
        let Some(history) = history.upgrade() else { return };
        match told {
            Ok(event) if is_watched(&event) => history.add(event),
            Ok(_) => {}
            Err(lost) => history.lose(lost),
        }
    }
}

/// Whether watchers are told of it at all.
fn is_watched(event: &Event) -> bool {
    matches!(event, Event::Documents(documents::Event::Changed { .. }) | Event::Membership(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership;
    use crate::types::NodeId;

    fn history() -> History {
        History { life: 7, kept: Mutex::default(), last: watch::Sender::new(0) }
    }

    fn event(n: u128) -> Arc<Event> {
        let (member, from) = (NodeId::from_u128(n), NodeId::from_u128(n));
        Arc::new(Event::Membership(membership::Event::Joined { member, from }))
    }

    fn mark(number: u64) -> Mark {
        Mark { life: 7, number }
    }

    #[test]
    fn whoever_comes_back_goes_on_where_it_was() {
        let history = history();
        assert_eq!(history.after(history.now()), None);
        (1..=3).for_each(|n| history.add(event(n)));
        assert_eq!(history.after(mark(1)), Some(Next::Event(event(2), mark(2))));
        assert_eq!(history.after(mark(3)), None);
        let text = mark(2).to_string();
        assert_eq!((text.parse(), text.as_str()), (Ok(mark(2)), "0000000000000007-2"));
        assert!("2".parse::<Mark>().is_err() && "x-2".parse::<Mark>().is_err());
    }

    #[test]
    fn what_is_not_kept_is_told_by_its_number_and_another_life_without() {
        let history = history();
        (0..=KEPT_MAX as u128 + 1).for_each(|n| history.add(event(n)));
        assert_eq!(history.after(mark(0)), Some(Next::Missed(Some(2), mark(2))));
        assert!(matches!(history.after(mark(2)), Some(Next::Event(_, at)) if at == mark(3)));
        let before = history.now().number;
        history.lose(5);
        history.add(event(9));
        assert_eq!(history.after(mark(before)), Some(Next::Missed(Some(5), mark(before + 5))));
        assert_eq!(history.after(Mark { life: 8, number: 1 }), Some(Next::Missed(None, history.now())));
        assert_eq!(history.after(mark(before + 99)), Some(Next::Missed(None, history.now())));
    }
}
