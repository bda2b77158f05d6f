//! What waits for the disk: promises leave when all that was written before them is durable.

use std::collections::VecDeque;

use super::Consensus;
use super::message::{Body, Message};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{NodeId, Time};

/// Promises that may wait for the disk. Correct members stay far below; what is more is lost, as messages may be.
const PROMISES_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Durable {
    /// Writes that were asked for, and those that were answered; they are answered in order.
    asked: u64,
    answered: u64,
    /// When each of those between was asked for.
    since: VecDeque<Time>,
    promises: VecDeque<(u64, NodeId, Message)>,
}

impl Durable {
    /// Numbers a write.
    pub(super) fn ask(&mut self, now: Time) -> u64 {
        self.asked += 1;
        self.since.push_back(now);
        self.asked
    }

    /// Whether this write is durable.
    pub(super) fn is_done(&self, number: u64) -> bool {
        number <= self.answered
    }

    /// Whether all that was written is durable.
    pub(super) fn is_idle(&self) -> bool {
        self.asked == self.answered
    }

    /// Since when the oldest write waits.
    pub(super) fn waits_since(&self) -> Option<Time> {
        self.since.front().copied()
    }

    /// Sends once all that was written is durable.
    pub(super) fn promise(&mut self, cx: &mut Cx<'_, Consensus>, to: NodeId, message: Message) {
        let early = match message.body {
            Body::Voted { .. } => planted!("consensus/vote-before-durable"),
            Body::Appended { .. } => planted!("consensus/acknowledged-before-durable"),
            _ => false,
        };
        if self.is_idle() || early {
            cx.send(to, message);
        } else if self.promises.len() < PROMISES_MAX {
            self.promises.push_back((self.asked, to, message));
        }
    }

    /// All up to this write is durable.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_, Consensus>, number: u64) {
        while self.answered < number && self.since.pop_front().is_some() {
            self.answered += 1;
        }
        while let Some((_, to, message)) = self.promises.pop_front_if(|(number, ..)| *number <= self.answered) {
            cx.send(to, message);
        }
    }

    /// Nothing that was promised is sent any more.
    pub(super) fn forget(&mut self) {
        self.promises.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Why;
    use crate::machine::testkit::step;
    use crate::types::{Epoch, Mint, Term};

    #[test]
    fn a_promise_waits_for_all_writes_before_it() {
        let mint = Mint::new(1);
        let message = |term| Message {
            founding: mint,
            epoch: Epoch::new(1),
            term: Term::new(term),
            from: mint,
            to: mint,
            body: Body::Refused(Why::NoMember),
        };
        let (mut durable, to) = (Durable::default(), NodeId::from_u128(1));
        assert_eq!(step::<Consensus>(|cx| durable.promise(cx, to, message(1))).len(), 1);
        assert_eq!((durable.ask(Time::from_nanos(5)), durable.ask(Time::from_nanos(6))), (1, 2));
        assert!(step::<Consensus>(|cx| durable.promise(cx, to, message(2))).is_empty());
        assert!(step::<Consensus>(|cx| durable.answered(cx, 1)).is_empty());
        assert_eq!((durable.is_done(1), durable.is_done(2)), (true, false));
        assert_eq!(durable.waits_since(), Some(Time::from_nanos(6)));
        assert_eq!(step::<Consensus>(|cx| durable.answered(cx, 2)).len(), 1);
        assert_eq!(durable.waits_since(), None);
    }
}
