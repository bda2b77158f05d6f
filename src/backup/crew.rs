//! What one peer does about the backup of the mesh: whether it takes its share now, goes on with it, breaks it off, or has told what came of it.
//!
//! [`Crew`] has no clock and no disk: a driver shows it the job as the peer's own register holds it, does the [`Duty`] that it names, and
//! tells it what was done. Two things are written down on the way, each before what follows from it ([`Begun`]): that a share is begun, and what came
//! of it. So a peer that is killed goes on with the attempt that it had begun, one that is killed before its result was decided tells that result in
//! its next life, and neither takes a backup twice.
//!
//! The register may be behind what was decided, and behind what it held before: after a restart, until somebody who knows more speaks. So what is older
//! than what was looked at before says nothing, and neither does a register that is empty: nobody ever empties this one. A result that was told and
//! is not seen yet is told once more, and refused.

use super::begun::Begun;
use super::job::{Job, Share, Task};
use super::schedule::Outcome;
use crate::consensus::Token;
use crate::types::{NodeId, WallTime};

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// Nothing but to look again later.
    Rest,
    /// To write this down, to say so ([`Crew::begins`]), and to take the share.
    Take {
        /// What is taken.
        task: Task,
        /// What is written down first.
        begun: Begun,
        /// It is written down already: it is gone on with.
        is_kept: bool,
    },
    /// To stop taking it, and to say so ([`Crew::broke_off`]): an operator gave the job up, or the share is somebody else's by now.
    BreakOff,
    /// To have the job decided like this, in place of the one that was looked at.
    Tell(Job),
}

/// What a peer remembers of its share.
#[derive(Clone, Debug)]
pub struct Crew {
    me: NodeId,
    kept: Option<Begun>,
    runs: bool,
    /// The newest decision about the job that was looked at.
    seen: Token,
}

impl Crew {
    /// Of a peer that starts, with what its data directory says.
    #[must_use]
    pub fn new(me: NodeId, kept: Option<Begun>) -> Self {
        let seen = kept.as_ref().map(|kept| kept.seen).unwrap_or_default();
        Self { me, kept, runs: false, seen }
    }

    /// What is to be done about the job as it stands, and by which decision it does.
    #[must_use]
    pub fn duty(&mut self, job: Option<(Token, &Job)>, now: WallTime) -> Duty {
        let Some((token, job)) = job.filter(|(token, _)| *token >= self.seen) else { return Duty::Rest };
        self.seen = token;
        let Some(share) = job.wants_of(self.me) else {
            return if self.runs { Duty::BreakOff } else { Duty::Rest };
        };
        let kept = self.kept.as_ref().filter(|kept| kept.job == job.id && kept.attempt == share.attempt);
        let take = |begun, is_kept| Duty::Take { task: job.task.clone(), begun, is_kept };
        match kept {
            None if self.runs => Duty::BreakOff,
            Some(_) if self.runs => Duty::Rest,
            Some(Begun { came: Some(outcome), .. }) => self.tell(job, share, outcome),
            Some(begun) => take(begun.clone(), true),
            None => match share.may_begin(now) {
                Ok(()) => take(Begun { job: job.id, attempt: share.attempt, seen: token, came: None }, false),
                Err(why) => self.tell(job, share, &Outcome { error: Some(why), ..Outcome::begun("mesh", now) }),
            },
        }
    }

    fn tell(&self, job: &Job, share: &Share, outcome: &Outcome) -> Duty {
        let mut told = job.clone();
        let is_heeded = told.finish(self.me, share.attempt, outcome);
        if is_heeded { Duty::Tell(told) } else { Duty::Rest }
    }

    /// It is written down that this is begun, and it is being taken.
    pub fn begins(&mut self, begun: Begun) {
        (self.kept, self.runs) = (Some(begun), true);
    }

    /// This came of what was being taken: what is to be written down before it is told.
    pub fn ended(&mut self, outcome: Outcome) -> Option<&Begun> {
        self.runs = false;
        let kept = self.kept.as_mut()?;
        kept.came = Some(outcome);
        Some(kept)
    }

    /// What was being taken is no more. Should it be wanted after all, it is gone on with.
    pub fn broke_off(&mut self) {
        self.runs = false;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::codec::BackupCompression;
    use super::super::manifest::BackupType;
    use super::*;
    use crate::types::{Epoch, Index, Term};

    fn at(seconds: u64) -> WallTime {
        WallTime::from_micros(seconds * 1_000_000)
    }

    fn me() -> NodeId {
        NodeId::from_u128(1)
    }

    fn job(number: u128) -> Job {
        let (kind, codec) = (BackupType::Full, BackupCompression::default());
        let task = Task { kind, repository: "/srv/backups".into(), codec, key_file: None, passphrase_file: None };
        Job::new(Uuid::from_u128(number), task, "somebody", at(1_000), vec![me()])
    }

    fn outcome() -> Outcome {
        Outcome { records: 5, ..Outcome::begun("mesh", at(1_001)) }
    }

    fn token(index: u64) -> Token {
        Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) }
    }

    /// Begins what it is told to begin.
    fn begin(crew: &mut Crew, job: (u64, &Job), now: u64) -> Begun {
        let Duty::Take { begun, .. } = look(crew, job, now) else { panic!("it has nothing to take") };
        crew.begins(begun.clone());
        begun
    }

    fn look(crew: &mut Crew, (index, job): (u64, &Job), now: u64) -> Duty {
        crew.duty(Some((token(index), job)), at(now))
    }

    #[test]
    fn a_share_is_taken_once_and_told_until_that_is_decided() {
        let (mut crew, job) = (Crew::new(me(), None), job(7));
        assert_eq!(crew.duty(None, at(1_000)), Duty::Rest);
        begin(&mut crew, (5, &job), 1_000);
        assert_eq!(look(&mut crew, (5, &job), 9_000), Duty::Rest, "it is at it, however long that takes");
        assert!(crew.ended(outcome()).is_some_and(|begun| begun.came.is_some()));
        let Duty::Tell(told) = look(&mut crew, (5, &job), 9_000) else { panic!("it does not tell") };
        assert_eq!((told.is_over(), told.shares[0].done.as_ref().unwrap().records), (true, 5));
        assert!(matches!(look(&mut crew, (5, &job), 9_000), Duty::Tell(_)), "it is not decided, or not heard of");
        assert_eq!(look(&mut crew, (6, &told), 9_000), Duty::Rest);
    }

    #[test]
    fn the_next_life_goes_on_with_what_was_begun_and_tells_what_was_taken() {
        let (mut crew, job) = (Crew::new(me(), None), job(7));
        let begun = begin(&mut crew, (5, &job), 1_000);
        let mut next = Crew::new(me(), Some(begun));
        assert!(matches!(look(&mut next, (5, &job), 9_000), Duty::Take { is_kept: true, .. }));
        begin(&mut next, (5, &job), 9_000);
        let kept = next.ended(outcome()).cloned();
        let mut last = Crew::new(me(), kept);
        assert!(matches!(look(&mut last, (5, &job), 9_999), Duty::Tell(told) if told.is_over()));
    }

    /// A peer that restarts holds, for a while, what its last snapshot held.
    #[test]
    fn a_register_of_the_past_and_one_that_is_empty_say_nothing() {
        let (mut crew, old, new) = (Crew::new(me(), None), job(7), job(8));
        begin(&mut crew, (5, &new), 1_000);
        let kept = crew.ended(outcome()).cloned();
        let mut next = Crew::new(me(), kept);
        assert_eq!(look(&mut next, (4, &old), 1_001), Duty::Rest, "what was taken of the later job would be lost");
        assert!(matches!(look(&mut next, (5, &new), 1_001), Duty::Tell(_)));
        let mut crew = Crew::new(me(), None);
        begin(&mut crew, (5, &new), 1_000);
        assert_eq!((crew.duty(None, at(1_001)), look(&mut crew, (4, &old), 1_001)), (Duty::Rest, Duty::Rest));
    }

    #[test]
    fn what_is_heard_of_too_late_is_not_begun_and_that_is_told() {
        let mut crew = Crew::new(me(), None);
        let Duty::Tell(told) = look(&mut crew, (5, &job(7)), 1_121) else { panic!("it is begun") };
        assert!(told.shares[0].done.as_ref().unwrap().error.as_deref().unwrap().contains("not begun"));
    }

    #[test]
    fn a_peer_breaks_off_what_nobody_wants_any_more_and_is_free_for_the_next_job() {
        let (mut crew, mut first) = (Crew::new(me(), None), job(7));
        begin(&mut crew, (5, &first), 1_000);
        first.give_up("an operator", at(1_001));
        assert_eq!(look(&mut crew, (6, &first), 1_001), Duty::BreakOff);
        assert_eq!(look(&mut crew, (7, &job(8)), 1_001), Duty::BreakOff);
        crew.broke_off();
        assert_eq!(begin(&mut crew, (7, &job(8)), 1_001).job, Uuid::from_u128(8));
    }

    #[test]
    fn a_share_that_comes_back_is_another_attempt() {
        let (mut crew, mut job) = (Crew::new(me(), None), job(7));
        begin(&mut crew, (5, &job), 1_000);
        _ = crew.ended(outcome());
        job.shares[0].attempt = 3;
        assert_eq!(begin(&mut crew, (7, &job), 1_000).attempt, 3, "what was told of the first was heeded by nobody");
    }
}
