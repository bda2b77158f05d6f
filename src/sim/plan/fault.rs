//! Faults as values: what goes wrong, with everything that was drawn for it.

use serde::{Deserialize, Serialize};

use crate::sim::disk::Model;
use crate::sim::scenario::Kind;

/// One fault with its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::sim) struct Item {
    /// When it begins, in nanoseconds of true time.
    pub(in crate::sim) at: u64,
    /// When it ends; `None` is when the calm begins, or never if it is permanent.
    pub(in crate::sim) until: Option<u64>,
    pub(in crate::sim) permanent: bool,
    pub(in crate::sim) fault: Fault,
    /// What it was drawn as, where several kinds come to the same fault: a peer that is isolated is cut from all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::sim) drawn: Option<Kind>,
}

impl Item {
    /// It comes of this kind.
    pub(in crate::sim) fn drawn_as(self, kind: Kind) -> Self {
        let drawn = Some(kind).filter(|kind| kind.about().name != self.fault.name());
        Self { drawn, ..self }
    }

    /// The kind that it was drawn as, as scenarios call it.
    pub(in crate::sim) fn kind(&self) -> &'static str {
        self.drawn.map_or_else(|| self.fault.name(), |kind| kind.about().name)
    }

    /// When an image is taken for it, if it puts one back.
    pub(in crate::sim) const fn image_at(&self) -> Option<u64> {
        match self.fault {
            Fault::RollBack { age, .. } => Some(self.at.saturating_sub(age)),
            _ => None,
        }
    }
}

/// What goes wrong. Peers are named by their place, times are in nanoseconds, shares in parts of a million.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(in crate::sim) enum Fault {
    /// `kill -9`; starts again at the end.
    Crash { peer: u32 },
    /// The same, at the next moment at which the disk has writes that are not durable.
    CrashWriting { peer: u32 },
    /// The machine goes dark; starts again at the end. What survives of open writes: as the scenario says if not said here.
    PowerLoss { peer: u32, model: Option<Model> },
    /// The machine is replaced by an empty one with the same identity, which starts at the end.
    Wipe { peer: u32 },
    /// The machine is replaced by an empty one with a new identity, which starts at the end.
    Replace { peer: u32 },
    /// The machine goes dark, and its disk is put back to the image that was taken of it so many nanoseconds ago; starts
    /// again at the end.
    RollBack { peer: u32, age: u64 },
    /// Says goodbye and stops; starts again at the end.
    Leave { peer: u32 },
    /// Does nothing; its links look alive until the watchdogs of others bark.
    Pause { peer: u32 },
    /// Every input costs so many times more.
    Slow { peer: u32, factor: u32 },
    /// Every disk operation takes so many times longer.
    SlowDisk { peer: u32, factor: u32 },
    /// No disk operation ends before this does.
    StallDisk { peer: u32 },
    /// No byte more fits.
    FullDisk { peer: u32 },
    /// The next sync fails.
    FailingDisk { peer: u32 },
    /// Reads fail.
    UnreadableDisk { peer: u32 },
    /// Of a million reads so many give back another bit.
    MisreadDisk { peer: u32, ppm: u64 },
    /// A bit of what is durable changes: which one is a function of `bits` and of what is there.
    BitRot { peer: u32, bits: u64 },
    /// The next write lands over what is durable: where is a function of `bits` and of what is there.
    MisdirectedWrite { peer: u32, bits: u64 },
    /// The next write is said to be durable and is not there after the process.
    LostWrite { peer: u32 },
    /// What the first send to the second is lost; the other way too unless it is one-way.
    Cut { from: Vec<u32>, to: Vec<u32>, one_way: bool },
    /// Nothing passes from one group to another.
    Split { groups: Vec<Vec<u32>> },
    /// Each sees the next ones of this ring, a majority, and nobody else.
    Ring { peers: Vec<u32> },
    /// What passes between the two sets is cut for `down`, whole for `up`, and so on.
    Flap { from: Vec<u32>, to: Vec<u32>, down: u64, up: u64 },
    /// What the first send to the second waits; the other way too unless it is one-way.
    Clog { from: Vec<u32>, to: Vec<u32>, one_way: bool },
    /// Frames from and to the peer take longer by so much.
    Delay { peer: u32, by: u64 },
    /// Frames from and to the peer take so many times longer.
    SlowLink { peer: u32, factor: u32 },
    /// Each link of the peer carries so many bits a second, and holds so many bytes that wait.
    Throttle { peer: u32, bits: u64, queue: u64 },
    /// All links of the peer break.
    Reset { peer: u32 },
    /// So many more of a million are lost everywhere.
    Loss { ppm: u64 },
    /// Each way of each link falls into a bad state with so many frames of a million, leaves it with so many, and loses so many
    /// in it (Gilbert 1960, Elliott 1963).
    BurstLoss { to_bad: u64, to_good: u64, ppm: u64 },
    /// So many more of a million datagrams arrive twice.
    Duplicate { ppm: u64 },
    /// So many more of a million datagrams let others pass.
    Reorder { ppm: u64 },
    /// So many of a million frames are damaged on their way.
    Corrupt { ppm: u64 },
    /// Who dials the peer is refused.
    RefuseDials { peer: u32 },
    /// Dials from and to the peer hang.
    HangDials { peer: u32 },
    /// The peer can dial and cannot be dialled.
    Nat { peer: u32 },
    /// The peer listens at another address from now on, and says so.
    NewAddress { peer: u32 },
    /// The operator of a peer pauses another as a replica.
    Hold { peer: u32, whom: u32 },
    /// The wall clock jumps, and back at the end.
    ClockStep { peer: u32, by_us: i64 },
    /// The wall clock gains so many parts in a million on the monotonic one.
    WallDrift { peer: u32, ppm: i32 },
    /// The wall clock stands still.
    WallFreeze { peer: u32 },
    /// The monotonic clock gains so many parts in a million on true time.
    ClockDrift { peer: u32, ppm: i32 },
    /// Both clocks stand still.
    ClockFreeze { peer: u32 },
    /// Of a million frames that it sends so many say something else than it meant.
    Garble { peer: u32, ppm: u64 },
    /// Of the next changes that its engine is to apply it loses one, and says nothing.
    LoseChange { peer: u32 },
    /// The peer is started again as the next version, and at the end as this one. Besides so many of a million frames it sends one that
    /// only its like knows; it may end with a record in its log that only its like reads.
    NextVersion {
        peer: u32,
        ppm: u64,
        #[serde(default)]
        writes: bool,
    },
}

impl Fault {
    /// The peer that it happens to, if it is one.
    pub(in crate::sim) const fn peer(&self) -> Option<u32> {
        match self {
            Self::Crash { peer }
            | Self::CrashWriting { peer }
            | Self::PowerLoss { peer, .. }
            | Self::Wipe { peer }
            | Self::Replace { peer }
            | Self::RollBack { peer, .. }
            | Self::Leave { peer }
            | Self::Pause { peer }
            | Self::Slow { peer, .. }
            | Self::SlowDisk { peer, .. }
            | Self::StallDisk { peer }
            | Self::FullDisk { peer }
            | Self::FailingDisk { peer }
            | Self::UnreadableDisk { peer }
            | Self::MisreadDisk { peer, .. }
            | Self::BitRot { peer, .. }
            | Self::MisdirectedWrite { peer, .. }
            | Self::LostWrite { peer }
            | Self::Delay { peer, .. }
            | Self::SlowLink { peer, .. }
            | Self::Throttle { peer, .. }
            | Self::Reset { peer }
            | Self::RefuseDials { peer }
            | Self::HangDials { peer }
            | Self::Nat { peer }
            | Self::NewAddress { peer }
            | Self::Hold { peer, .. }
            | Self::ClockStep { peer, .. }
            | Self::WallDrift { peer, .. }
            | Self::WallFreeze { peer }
            | Self::ClockDrift { peer, .. }
            | Self::ClockFreeze { peer }
            | Self::Garble { peer, .. }
            | Self::LoseChange { peer }
            | Self::NextVersion { peer, .. } => Some(*peer),
            Self::Cut { .. }
            | Self::Split { .. }
            | Self::Ring { .. }
            | Self::Flap { .. }
            | Self::Clog { .. }
            | Self::Loss { .. }
            | Self::BurstLoss { .. }
            | Self::Duplicate { .. }
            | Self::Reorder { .. }
            | Self::Corrupt { .. } => None,
        }
    }

    /// Its kind in plans.
    pub(in crate::sim) const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashWriting { .. } => "crash-writing",
            Self::PowerLoss { .. } => "power-loss",
            Self::Wipe { .. } => "wipe",
            Self::Replace { .. } => "replace",
            Self::RollBack { .. } => "roll-back",
            Self::Leave { .. } => "leave",
            Self::Pause { .. } => "pause",
            Self::Slow { .. } => "slow",
            Self::SlowDisk { .. } => "slow-disk",
            Self::StallDisk { .. } => "stall-disk",
            Self::FullDisk { .. } => "full-disk",
            Self::FailingDisk { .. } => "failing-disk",
            Self::UnreadableDisk { .. } => "unreadable-disk",
            Self::MisreadDisk { .. } => "misread-disk",
            Self::BitRot { .. } => "bit-rot",
            Self::MisdirectedWrite { .. } => "misdirected-write",
            Self::LostWrite { .. } => "lost-write",
            Self::Cut { .. } => "cut",
            Self::Split { .. } => "split",
            Self::Ring { .. } => "ring",
            Self::Flap { .. } => "flap",
            Self::Clog { .. } => "clog",
            Self::Delay { .. } => "delay",
            Self::SlowLink { .. } => "slow-link",
            Self::Throttle { .. } => "throttle",
            Self::Reset { .. } => "reset",
            Self::Loss { .. } => "loss",
            Self::BurstLoss { .. } => "burst-loss",
            Self::Duplicate { .. } => "duplicate",
            Self::Reorder { .. } => "reorder",
            Self::Corrupt { .. } => "corrupt",
            Self::RefuseDials { .. } => "refuse-dials",
            Self::HangDials { .. } => "hang-dials",
            Self::Nat { .. } => "nat",
            Self::NewAddress { .. } => "new-address",
            Self::Hold { .. } => "hold",
            Self::ClockStep { .. } => "clock-step",
            Self::WallDrift { .. } => "wall-drift",
            Self::WallFreeze { .. } => "wall-freeze",
            Self::ClockDrift { .. } => "clock-drift",
            Self::ClockFreeze { .. } => "clock-freeze",
            Self::Garble { .. } => "garble",
            Self::LoseChange { .. } => "lose-change",
            Self::NextVersion { .. } => "next-version",
        }
    }
}
