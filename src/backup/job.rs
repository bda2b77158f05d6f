//! A backup of the mesh: one decision, who takes it, and what came of it.
//!
//! The job stands in a register that the voters decide about (`consensus`), so there is one at a time, and whoever leads knows how it
//! stands. Each of its *shares* is one peer's. A share's result is decided once: it is told with the attempt that it is of, and an attempt that was
//! given to somebody else since is heeded no more. What such a peer had stored already is a whole backup of its own, or rests for its next run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::BackupCompression;
use super::id::BackupId;
use super::manifest::BackupType;
use super::schedule::Outcome;
use crate::consensus::VALUE_MAX;
use crate::types::{NodeId, WallTime};

/// The register of the job.
pub const JOB_REGISTER: &str = "backup/job";
/// Most peers that take a backup at a time.
pub const SHARES_MAX: usize = 48;
/// Nobody begins a share that was given to it longer ago, by its own clock.
const BEGIN_WITHIN: Duration = Duration::from_secs(120);
/// A share goes to so many peers one after the other at most.
const ATTEMPTS_MAX: u32 = 5;
/// An error's words, in bytes: a register has little room.
const WHY_MAX: usize = 100;

/// What is to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What of it.
    pub kind: BackupType,
    /// Where to: every peer that takes one has to reach it.
    pub repository: String,
    /// How it is compressed.
    #[serde(default)]
    pub codec: BackupCompression,
    /// The file of the repository's key, at the peer that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The file of its passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
}

/// Who takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takers {
    /// One peer: the one that is least behind, and not the primary if there is another.
    #[default]
    Best,
    /// Every peer that is well.
    All,
    /// Whoever is the primary.
    Primary,
    /// These.
    These(Vec<NodeId>),
}

/// A peer that could take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Which.
    pub node: NodeId,
    /// How many changes it lacks, as far as is known.
    pub lag: u64,
    /// Higher is preferred.
    pub priority: u16,
    /// It holds the role of the primary.
    pub is_primary: bool,
}

/// A backup of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: Uuid,
    /// What.
    pub task: Task,
    /// Who wanted it.
    pub by: String,
    /// When.
    pub asked: WallTime,
    /// Who takes it.
    pub shares: Vec<Share>,
}

/// One peer's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Whose.
    pub node: NodeId,
    /// Who was to take it first, if that one was gone before it had: the share is another's since. Not of a job with so many shares that there is no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<NodeId>,
    /// How often it was given to somebody.
    pub attempt: u32,
    /// It is not begun after this. A share that an earlier version gave has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_by: Option<WallTime>,
    /// What came of it; nothing yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<ShareDone>,
}

/// What came of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareDone {
    /// The backup, if it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// Records in it.
    pub records: u64,
    /// Bytes of its objects.
    pub stored_bytes: u64,
    /// Why it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When.
    pub at: WallTime,
}

/// Why there is no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// One goes on.
    #[error("the backup {id} of the mesh is being taken: one at a time")]
    Busy {
        /// Which.
        id: Uuid,
    },
    /// Nobody can take it.
    #[error("{0}")]
    Nobody(&'static str),
    /// One that was named cannot.
    #[error("{0} cannot take a backup: it is no member, is not alive, reads only, or is an observer")]
    NotWell(NodeId),
    /// Too many.
    #[error("{0} peers are to take it; at most {SHARES_MAX} do at a time")]
    TooMany(usize),
}

impl Takers {
    /// Those that take it, of those that are well.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn choose(&self, well: &[Taker]) -> Result<Vec<NodeId>, JobError> {
        let chosen = match self {
            Self::Best => best(well, &BTreeSet::new()).into_iter().collect(),
            Self::All => well.iter().map(|taker| taker.node).collect(),
            Self::Primary => {
                let primary = well.iter().find(|taker| taker.is_primary).map(|taker| taker.node);
                vec![primary.ok_or(JobError::Nobody("nobody is the primary, or not one that is well"))?]
            }
            Self::These(nodes) => {
                let is_well = |node: &NodeId| well.iter().any(|taker| taker.node == *node);
                if let Some(node) = nodes.iter().find(|node| !is_well(node)) {
                    return Err(JobError::NotWell(*node));
                }
                let each: BTreeSet<_> = nodes.iter().copied().collect();
                each.into_iter().collect::<Vec<_>>()
            }
        };
        match chosen.len() {
            0 => Err(JobError::Nobody("no peer is well enough to take a backup")),
            count if count > SHARES_MAX => Err(JobError::TooMany(count)),
            _ => Ok(chosen),
        }
    }
}

/// The best of those that are well, without these.
fn best(well: &[Taker], without: &BTreeSet<NodeId>) -> Option<NodeId> {
    let others = well.iter().filter(|taker| !without.contains(&taker.node));
    others.min_by_key(|it| (it.is_primary, it.lag, u16::MAX - it.priority, it.node)).map(|taker| taker.node)
}

impl Job {
    /// Of a register.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// For the register.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let plain = |job: &Self| serde_json::to_vec(job).expect("a job is plain data");
        let told = plain(self);
        if told.len() <= VALUE_MAX {
            return told;
        }
        let mut shorter = self.clone();
        shorter.shares.iter_mut().for_each(|share| share.instead_of = None);
        plain(&shorter)
    }

    /// A job that begins.
    #[must_use]
    pub fn new(id: Uuid, task: Task, by: &str, asked: WallTime, takers: Vec<NodeId>) -> Self {
        let begin_by = Some(begin_by(asked));
        let shares =
            takers.into_iter().map(|node| Share { node, instead_of: None, attempt: 1, begin_by, done: None }).collect();
        Self { id, task, by: short(by), asked, shares }
    }

    /// Whether nothing of it is left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shares.iter().all(|share| share.done.is_some())
    }

    /// What a peer is to do for it.
    #[must_use]
    pub fn wants_of(&self, node: NodeId) -> Option<&Share> {
        self.shares.iter().find(|share| share.node == node && share.done.is_none())
    }

    /// A peer tells what came of its attempt. Whether that is heeded: not if it was given to somebody else meanwhile.
    #[must_use]
    pub fn finish(&mut self, node: NodeId, attempt: u32, outcome: &Outcome) -> bool {
        let is_meant = |share: &&mut Share| share.node == node && share.attempt == attempt && share.done.is_none();
        let Some(share) = self.shares.iter_mut().find(is_meant) else { return false };
        share.done = Some(ShareDone {
            backup: outcome.backup,
            records: outcome.records,
            stored_bytes: outcome.stored_bytes,
            error: outcome.error.as_deref().map(short),
            at: outcome.finished,
        });
        true
    }

    /// An operator does not want to wait for the rest.
    pub fn give_up(&mut self, by: &str, now: WallTime) {
        for share in self.shares.iter_mut().filter(|share| share.done.is_none()) {
            let error = Some(format!("given up by {}", short(by)));
            share.done = Some(ShareDone { backup: None, records: 0, stored_bytes: 0, error, at: now });
        }
    }

    /// Gives the shares of peers that are gone to others that are well. Whether anything changed.
    #[must_use]
    pub fn pass_on(&mut self, is_gone: impl Fn(NodeId) -> bool, well: &[Taker], now: WallTime) -> bool {
        let mut taking: BTreeSet<_> = self.shares.iter().map(|share| share.node).collect();
        let mut changed = false;
        for share in self.shares.iter_mut().filter(|share| share.done.is_none() && is_gone(share.node)) {
            changed = true;
            match best(well, &taking).filter(|_| share.attempt < ATTEMPTS_MAX) {
                Some(node) => {
                    taking.insert(node);
                    share.instead_of.get_or_insert(share.node);
                    (share.node, share.attempt) = (node, share.attempt + 1);
                    share.begin_by = Some(begin_by(now));
                }
                None => {
                    let error = Some("the peer is gone, and no other one is there to take it".to_owned());
                    share.done = Some(ShareDone { backup: None, records: 0, stored_bytes: 0, error, at: now });
                }
            }
        }
        changed
    }
}

impl Share {
    /// Whether a peer may begin it now. What was asked for before a majority was lost, and became certain when it was back, is of the past: who
    /// asked was told that it is not known what came of it.
    ///
    /// # Errors
    /// Why not, in words, for whoever reads the job.
    pub fn may_begin(&self, now: WallTime) -> Result<(), String> {
        match self.begin_by {
            Some(by) if now > by => Err(format!(
                "not begun: by this peer's clock it is {now}, and it had to be by {by}; it was busy, or cut off, or clocks differ"
            )),
            _ => Ok(()),
        }
    }
}

fn begin_by(since: WallTime) -> WallTime {
    let micros = u64::try_from(BEGIN_WITHIN.as_micros()).unwrap_or(u64::MAX);
    WallTime::from_micros(since.as_micros().saturating_add(micros))
}

/// The begin of a text, so that a job fits into its register.
fn short(text: &str) -> String {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= WHY_MAX).last();
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::from_u128(number)
    }

    fn taker(number: u128, lag: u64) -> Taker {
        Taker { node: node(number), lag, priority: 100, is_primary: number == 1 }
    }

    fn task() -> Task {
        let (key_file, passphrase_file) = (None, None);
        let codec = BackupCompression::default();
        Task { kind: BackupType::Full, repository: "/srv/backups".into(), codec, key_file, passphrase_file }
    }

    fn job(takers: &[u128]) -> Job {
        Job::new(
            Uuid::from_u128(7),
            task(),
            "somebody",
            WallTime::default(),
            takers.iter().copied().map(node).collect(),
        )
    }

    fn outcome(error: Option<&str>) -> Outcome {
        let mut outcome = Outcome::begun("mesh", WallTime::default());
        (outcome.records, outcome.error) = (5, error.map(str::to_owned));
        outcome
    }

    #[test]
    fn who_takes_it_is_who_was_asked_for() {
        let well = [taker(1, 0), taker(2, 9), taker(3, 4)];
        let chosen = |takers: Takers| takers.choose(&well);
        assert_eq!(chosen(Takers::Best), Ok(vec![node(3)]), "the primary has other work");
        assert_eq!(Takers::Best.choose(&well[..1]), Ok(vec![node(1)]));
        assert_eq!(chosen(Takers::All).unwrap().len(), 3);
        assert_eq!(chosen(Takers::Primary), Ok(vec![node(1)]));
        assert_eq!(chosen(Takers::These(vec![node(2), node(2)])), Ok(vec![node(2)]));
        assert_eq!(chosen(Takers::These(vec![node(4)])), Err(JobError::NotWell(node(4))));
        assert!(matches!(Takers::Primary.choose(&well[1..]), Err(JobError::Nobody(_))));
        assert!(matches!(Takers::Best.choose(&[]), Err(JobError::Nobody(_))));
        let many: Vec<_> = (0..100).map(|number| taker(number, 0)).collect();
        assert_eq!(Takers::All.choose(&many), Err(JobError::TooMany(100)));
    }

    #[test]
    fn a_share_is_done_once_by_whom_it_was_given_to_last() {
        let mut job = job(&[1, 2]);
        assert!(!job.pass_on(|_| false, &[], WallTime::default()));
        assert!(job.pass_on(|it| it == node(1), &[taker(2, 0), taker(3, 0)], WallTime::default()));
        let wants = |number| job.wants_of(node(number)).map(|share| share.attempt);
        assert_eq!((wants(1), wants(3)), (None, Some(2)), "2 has a share of its own");
        assert_eq!(job.wants_of(node(3)).unwrap().instead_of, Some(node(1)), "whoever named 1 is told");
        assert_eq!(job.wants_of(node(2)).unwrap().instead_of, None);
        assert!(!job.finish(node(1), 1, &outcome(None)), "it was given to 3");
        assert!(!job.finish(node(3), 1, &outcome(None)));
        assert!(job.finish(node(3), 2, &outcome(None)) && !job.finish(node(3), 2, &outcome(None)));
        assert!(!job.is_over());
        assert!(job.finish(node(2), 1, &outcome(Some("no room"))) && job.is_over());
        assert_eq!(job.shares[1].done.as_ref().unwrap().error.as_deref(), Some("no room"));
    }

    #[test]
    fn a_share_that_was_heard_of_too_late_is_not_begun() {
        let at = |seconds: u64| WallTime::from_micros(seconds * 1_000_000);
        let mut job = Job::new(Uuid::from_u128(7), task(), "somebody", at(1_000), vec![node(1)]);
        let share = |job: &Job| job.shares[0].clone();
        assert_eq!(share(&job).may_begin(at(1_120)), Ok(()));
        let why = share(&job).may_begin(at(1_121)).unwrap_err();
        assert!(why.contains("not begun"), "{why}");
        assert!(job.pass_on(|_| true, &[taker(2, 0)], at(5_000)), "somebody led then, and gave it to another");
        assert_eq!((share(&job).may_begin(at(5_120)), share(&job).may_begin(at(5_121)).is_err()), (Ok(()), true));
        let old = r#"{"node":"NODE","attempt":1}"#.replace("NODE", &node(1).to_string());
        assert_eq!(serde_json::from_str::<Share>(&old).unwrap().may_begin(at(9_999)), Ok(()));
    }

    #[test]
    fn what_nobody_can_take_ends() {
        let mut job = job(&[1]);
        assert!(job.pass_on(|_| true, &[], WallTime::default()) && job.is_over());
        let mut job = self::job(&[1]);
        for number in 2..9 {
            let _ = job.pass_on(|_| true, &[taker(number, 0)], WallTime::default());
        }
        assert_eq!(job.shares[0].instead_of, Some(node(1)), "the first that was asked");
        assert!(job.is_over() && job.shares[0].done.as_ref().unwrap().error.is_some());
    }

    #[test]
    fn the_largest_job_fits_into_a_register_and_is_read_back() {
        let mut job = job(&(0..SHARES_MAX as u128).collect::<Vec<_>>());
        job.task.repository = format!("s3://{}", "x".repeat(1_000));
        let mut long = outcome(Some(&"ä".repeat(1_000)));
        (long.backup, long.records, long.stored_bytes) =
            (Some(BackupId::new(WallTime::default(), [7; 10])), u64::MAX, u64::MAX);
        for share in &mut job.shares {
            share.instead_of = Some(node(u128::MAX));
        }
        for number in 0..SHARES_MAX as u128 {
            assert!(job.finish(node(number), 1, &long));
        }
        assert!(job.bytes().len() <= VALUE_MAX, "{} bytes", job.bytes().len());
        // Who was to take them first finds no room there.
        job.shares.iter_mut().for_each(|share| share.instead_of = None);
        assert_eq!(Job::read(&job.bytes()), Some(job));
        assert_eq!(Job::read(b"{}"), None);
    }
}
