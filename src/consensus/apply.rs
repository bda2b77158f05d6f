//! What is committed is applied, in order, and told.

use super::log::Says;
use super::state::Applied;
use super::vocabulary::{Answer, Event, Resigned, Token};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::types::{Actor, Index};

impl Consensus {
    /// It is certain up to here. Less than is known already says nothing.
    pub(super) fn commit_to(&mut self, cx: &mut Cx<'_, Self>, upto: Index) {
        while self.commit < upto {
            let index = self.commit.next();
            let Some(entry) = self.log.get(index).cloned() else { break };
            self.commit = index;
            let token = Token { epoch: self.epoch, term: entry.term, index };
            match &entry.says {
                Says::Office => {}
                Says::Act(intent) => match self.state.apply(token, intent) {
                    Applied::Now(outcome) => {
                        cx.emit(Event::Committed { token, intent: intent.as_ref().clone(), outcome });
                        self.answer(cx, index, Answer::Decided { token, outcome });
                    }
                    Applied::Before(token, outcome) => self.answer(cx, index, Answer::Decided { token, outcome }),
                },
                Says::Group(group) => {
                    cx.emit(Event::Changed { token, group: group.as_ref().clone() });
                    self.end_change(cx, index);
                    // Whoever is a member no more hears of decisions as all others do.
                    if let Some(gone) = group.last_removed().filter(|_| matches!(self.office, Office::Leader(_))) {
                        self.greet(cx, gone.node);
                    }
                }
            }
        }
        self.let_go_of_outside();
        self.tell_subscribers(cx);
        self.answer_reads(cx);
        self.snapshot_if_due(cx);
        self.leave_if_removed(cx);
    }

    fn answer(&mut self, cx: &mut Cx<'_, Self>, index: Index, answer: Answer) {
        let Office::Leader(lead) = &mut self.office else { return };
        if let Some((request, _)) = lead.waiting.remove(&index) {
            self.answered(cx, request, answer);
        }
    }

    /// A leader that is no voter any more leads until that is certain, and no longer (Ongaro's dissertation, section 4.2.2).
    fn leave_if_removed(&mut self, cx: &mut Cx<'_, Self>) {
        let certain = self.groups.at(self.commit.value()).is_some_and(|group| group.is_voter(self.me));
        if matches!(self.office, Office::Leader(_)) && !certain && !self.is_voter(self.me) {
            self.resign(cx, Resigned::Removed);
            self.follow(cx, None);
        }
    }

    fn is_voter(&self, id: Actor) -> bool {
        self.group().is_some_and(|group| group.is_voter(id))
    }
}
