//! Timelines: which history of the mesh counts, and who may say so.
//!
//! Content that was ruined everywhere cannot be taken back by taking back one peer: the others hand everything undone straight
//! back. So the operator begins a **new timeline**: the past of one peer becomes the truth, its number is one more, and the root key
//! signs a statement that says so. Members tell theirs when they meet. Those of different timelines are not linked, so nothing of
//! the old one comes back by itself; both are told why. Who hears of a later one stays on its own, serves it, and remembers what
//! it heard, until its operator has it adopted: then its data is put aside, and it begins empty on the new one.
//!
//! A number says which is later. Two operators may begin one of the same number at the same time; each has a fork, drawn at
//! random, so those are told apart and refused on both sides: which one counts is for people to say.
//!
//! Files: `timeline`, the one that this directory is of, absent on the first; `timeline.heard`, what later ones somebody has shown.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};

use super::issuer::{PaperError, RootKey};
use super::key::{PublicKey, Purpose, SecretKey, Signature, encode, random};
use super::message::Hello;
use super::refusal::Refusal;
use super::text::{self, Flaw};
use super::ticket::cluster_of;
use super::vault::{self, FileError};
use super::{Admission, AdmissionError, read_value};
use crate::types::{ClusterId, Hlc, Lsn, NodeId, TimelineId, WallTime};

/// The timeline of a data directory; absent on the first.
pub const TIMELINE_FILE: &str = "timeline";
/// A later one that was heard of.
pub(super) const HEARD_FILE: &str = "timeline.heard";
const FILE_MAX: usize = 4096;
/// Timelines of one number that are remembered as heard of: one of them is right, and that there are several is told.
const HEARD_MAX: usize = 4;
const PREFIX: &str = "oxht1";

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Body {
    cluster: ClusterId,
    id: TimelineId,
    parent: TimelineId,
    moment: Moment,
    issued_at: WallTime,
}

/// From where a timeline goes on: what the log of one peer held then is all that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Moment {
    /// Whose log.
    pub node: NodeId,
    /// The last record of its main chain that counts.
    pub lsn: Lsn,
    /// When that became part of the log.
    pub at: Hlc,
}

/// The statement that begins a timeline, signed by the cluster's root key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Timeline {
    root: PublicKey,
    body: Body,
    signature: Signature,
}

impl Timeline {
    fn sign(root: &SecretKey, body: Body) -> Self {
        Self { root: root.public(), signature: root.sign(Purpose::Timeline, &body), body }
    }

    /// Whether the root of `cluster` has signed it.
    ///
    /// # Errors
    /// [`Refusal`] says what does not hold.
    pub fn verify(&self, cluster: ClusterId) -> Result<(), Refusal> {
        if cluster_of(self.root) != cluster || self.body.cluster != cluster {
            return Err(Refusal::WrongCluster { found: self.body.cluster });
        }
        let good = self.body.id.number > 0 && self.root.verify(Purpose::Timeline, &self.body, &self.signature);
        if good { Ok(()) } else { Err(Refusal::ForgedTimeline) }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> TimelineId {
        self.body.id
    }

    /// The one that it was begun from.
    #[must_use]
    pub const fn parent(&self) -> TimelineId {
        self.body.parent
    }

    /// From where it goes on.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        self.body.moment
    }

    /// When it was begun, by the clock of whoever signed it.
    #[must_use]
    pub const fn began(&self) -> WallTime {
        self.body.issued_at
    }

    /// The mesh that it is of.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.body.cluster
    }

    /// The statement in this directory, `None` on the first timeline.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read, or the root of this cluster has not signed what is in it.
    pub fn read(dir: &Path, cluster: ClusterId) -> Result<Option<Self>, FileError> {
        open(&dir.join(TIMELINE_FILE), cluster)
    }

    /// Later ones that a peer of this directory has been shown: several, if they were begun apart from each other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_heard(dir: &Path, cluster: ClusterId) -> Result<Vec<Self>, FileError> {
        let path = dir.join(HEARD_FILE);
        let heard = read_value::<Vec<Self>, FILE_MAX>(&path)?.unwrap_or_default();
        for timeline in &heard {
            timeline.verify(cluster).map_err(|why| FileError::content(&path, why.to_string()))?;
        }
        Ok(heard)
    }

    /// Makes it the timeline of a directory, durably. Its log must be of it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, dir: &Path) -> Result<(), FileError> {
        vault::write(&dir.join(TIMELINE_FILE), &encode(self))?;
        match vault::remove(&dir.join(HEARD_FILE)) {
            Err(error) if error.why.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn open(path: &Path, cluster: ClusterId) -> Result<Option<Timeline>, FileError> {
    let Some(timeline) = read_value::<Timeline, FILE_MAX>(path)? else { return Ok(None) };
    timeline.verify(cluster).map_err(|why| FileError::content(path, why.to_string()))?;
    Ok(Some(timeline))
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::write(PREFIX, self))
    }
}

impl FromStr for Timeline {
    type Err = PaperError;
    fn from_str(text: &str) -> Result<Self, PaperError> {
        let what = "a timeline's statement";
        text::read(PREFIX, text).map_err(|flaw| match flaw {
            Flaw::Prefix => PaperError::Prefix { what, prefix: PREFIX },
            Flaw::Damaged => PaperError::Damaged { what },
        })
    }
}

impl RootKey {
    /// Begins a timeline: the one after `parent`, which goes on from this moment.
    ///
    /// # Errors
    /// [`AdmissionError::NotTheRoot`] when this key founded another cluster; [`AdmissionError::NoTimeline`] behind the last number.
    pub fn begin_timeline(
        &self,
        cluster: ClusterId,
        parent: TimelineId,
        moment: Moment,
        now: WallTime,
    ) -> Result<Timeline, AdmissionError> {
        if self.cluster() != cluster {
            return Err(AdmissionError::NotTheRoot { root: self.cluster(), cluster });
        }
        let number = parent.number.checked_add(1).ok_or(AdmissionError::NoTimeline)?;
        let fork = u64::from_be_bytes(random());
        let body = Body { cluster, id: TimelineId { number, fork }, parent, moment, issued_at: now };
        Ok(Timeline::sign(self.secret(), body))
    }
}

/// Statements that the root has not signed: each with one thing changed.
#[cfg(test)]
pub(super) fn open_forged(good: &Timeline) -> Vec<Timeline> {
    let forge = |change: fn(&mut Timeline)| {
        let mut forged = good.clone();
        change(&mut forged);
        forged
    };
    vec![
        forge(|it| it.body.id.number += 1),
        forge(|it| it.body.id.fork ^= 1),
        forge(|it| it.body.parent.number += 1),
        forge(|it| it.body.moment.lsn = it.body.moment.lsn.next()),
        forge(|it| it.body.issued_at = WallTime::EPOCH),
        forge(|it| it.signature = SecretKey::mint().sign(Purpose::Timeline, &it.body)),
    ]
}

/// The later timelines that a peer remembers when it was shown one more, in order of their names; nothing if that tells it nothing
/// new. In whatever order it is shown them, and however often, it comes to remember the same: those of the greatest number, the
/// first [`HEARD_MAX`] of their forks; never its own, and none that is older.
fn heard_with<T: Clone>(here: TimelineId, heard: &[T], shown: &T, id: impl Fn(&T) -> TimelineId) -> Option<Vec<T>> {
    let newest = heard.iter().map(|known| id(known).number).fold(here.number, u32::max);
    let there = id(shown);
    if there.number < newest || there == here || heard.iter().any(|known| id(known) == there) {
        return None;
    }
    let mut all: Vec<T> = heard.iter().filter(|known| id(known).number == there.number).cloned().collect();
    all.push(shown.clone());
    all.sort_by_key(&id);
    all.truncate(HEARD_MAX);
    all.iter().any(|known| id(known) == there).then_some(all)
}

/// The names alone, for those who have no statements at hand.
#[cfg(test)]
pub(super) fn names_heard_with(here: TimelineId, heard: &[TimelineId], shown: TimelineId) -> Option<Vec<TimelineId>> {
    heard_with(here, heard, &shown, |id| *id)
}

/// What the timelines of two members say of a link between them.
pub(crate) fn between(here: Option<&Timeline>, there: Option<&Timeline>) -> Result<(), Refusal> {
    let id = |side: Option<&Timeline>| side.map_or(TimelineId::FIRST, Timeline::id);
    apart(
        id(here),
        id(there),
        [here, there].into_iter().flatten().max_by_key(|side| side.id().number).map(Timeline::began),
    )
}

/// The same, of names alone.
pub(crate) fn apart(here: TimelineId, there: TimelineId, began: Option<WallTime>) -> Result<(), Refusal> {
    match (here.number == there.number, here.fork == there.fork) {
        (true, true) => Ok(()),
        (true, false) => Err(Refusal::ForkedTimeline { here, there }),
        (false, _) => Err(Refusal::OtherTimeline { here, there, began: began.unwrap_or(WallTime::EPOCH) }),
    }
}

/// A timeline, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineStatus {
    /// Its name.
    pub id: TimelineId,
    /// When it was begun; the first has always been.
    #[serde(serialize_with = "as_text")]
    pub began: Option<WallTime>,
    /// From where it goes on.
    pub moment: Option<Moment>,
    /// A later one, or another of the same number, that a member has shown; several that were begun apart. This peer follows none of
    /// them by itself.
    pub heard: Vec<Self>,
}

fn as_text<S: Serializer>(at: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

impl TimelineStatus {
    pub(super) fn of(here: Option<&Timeline>, heard: &[Timeline]) -> Self {
        Self {
            id: here.map_or(TimelineId::FIRST, Timeline::id),
            began: here.map(Timeline::began),
            moment: here.map(Timeline::moment),
            heard: heard.iter().map(|heard| Self::of(Some(heard), &[])).collect(),
        }
    }
}

impl Admission {
    /// The timeline that this peer is on; `None` for the first.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        self.state().timeline.clone()
    }

    /// Its name.
    #[must_use]
    pub fn timeline_id(&self) -> TimelineId {
        self.state().timeline.as_ref().map_or(TimelineId::FIRST, Timeline::id)
    }

    /// Later ones that members have shown.
    #[must_use]
    pub fn heard_timelines(&self) -> Vec<Timeline> {
        self.state().heard.clone()
    }

    /// Whether a member is on our timeline. What it shows was checked with its ticket.
    pub(crate) fn compare_timelines(&self, hello: &Hello) -> Result<(), Refusal> {
        between(self.state().timeline.as_ref(), hello.timeline.as_deref())
    }

    /// Remembers a timeline that a member is on, if this peer is not, and it is no earlier one.
    pub(crate) fn hear_of_timeline(&self, shown: &Timeline) -> Result<(), FileError> {
        let _turn = self.turn();
        let (here, known) = (self.timeline_id(), self.heard_timelines());
        let Some(heard) = heard_with(here, &known, shown, Timeline::id) else { return Ok(()) };
        vault::write(&self.path(HEARD_FILE), &encode(&heard))?;
        self.state().heard = heard;
        let (there, began, moment) = (shown.id(), shown.began(), shown.moment());
        if there.number > here.number {
            tracing::error!(
                %here, %there, %began, lsn = %moment.lsn, node = %moment.node,
                "the operator has begun a new timeline of this mesh: this peer is on the old one and exchanges nothing with peers \
                 of the new one; stop it and run `oxigdal-ha timeline adopt`, which puts its data aside"
            );
        } else {
            tracing::error!(%here, %there, "two timelines of this mesh were begun apart from each other: which one counts is to be decided");
        }
        Ok(())
    }
}
