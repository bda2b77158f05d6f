//! Every kind of fault: its name in scenarios, its family, and what it does, in a line.

use serde::{Deserialize, Serialize};

/// What part of the world a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Links between peers.
    Network,
    /// Who can dial whom.
    Reach,
    /// Machines and processes.
    Node,
    /// Clocks.
    Clock,
    /// Disks.
    Disk,
    /// What a peer or its operator does wrong.
    Conduct,
}

/// One kind of fault, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FaultKind {
    /// Its name in `[[fault]]`, `[random]` and `[swarm.faults]`.
    pub name: &'static str,
    /// What it is about.
    pub family: Family,
    /// What it does.
    pub says: &'static str,
}

macro_rules! kinds {
    ($($kind:ident $name:literal $family:ident $says:literal;)*) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub(crate) enum Kind {
            $(#[serde(rename = $name)] $kind),*
        }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// What it is, for people.
            pub(crate) const fn about(self) -> FaultKind {
                match self {
                    $(Self::$kind => FaultKind { name: $name, family: Family::$family, says: $says }),*
                }
            }
        }
    };
}

kinds! {
    Cut "cut" Network "nothing passes between two sets of peers";
    OneWay "one-way" Network "what one set of peers sends to the other is lost, the other way is whole";
    Isolate "isolate" Network "a peer is cut from all others";
    Partition "partition" Network "the peers fall into two halves";
    Split "split" Network "the peers fall into several groups";
    Bridge "bridge" Network "two halves that share one peer which sees both";
    Ring "ring" Network "every peer sees a majority, and no two see the same";
    RegionCut "region-cut" Network "a region is cut from all others";
    Flap "flap" Network "a peer's links go down and come up, again and again";
    Clog "clog" Network "what peers send is held, and comes in order when it is over";
    Swizzle "swizzle" Network "peers are clogged one after another, and freed in another order";
    Delay "delay" Network "frames from and to a peer take longer by a fixed time";
    SlowLink "slow-link" Network "frames from and to a peer take so many times longer";
    Throttle "throttle" Network "a peer's links carry few bits a second, and queue little";
    Reset "reset" Network "a peer's links break, at both ends at once";
    Loss "loss" Network "so many more frames are lost, each by itself";
    BurstLoss "burst-loss" Network "frames are lost in bursts (Gilbert-Elliott)";
    Duplicate "duplicate" Network "datagrams arrive twice";
    Reorder "reorder" Network "datagrams arrive late and let others pass";
    Corrupt "corrupt" Network "a frame is damaged on the way: its link breaks, or the datagram is dropped";
    RefuseDials "refuse-dials" Reach "a peer refuses who dials it";
    HangDials "hang-dials" Reach "dials from and to a peer hang until they time out";
    Nat "nat" Reach "a peer can dial and cannot be dialled";
    NewAddress "new-address" Reach "a peer's links break, and it listens at another address";
    Crash "crash" Node "kill -9; the kernel lives on";
    CrashWriting "crash-writing" Node "kill -9 at the next moment at which writes are not durable";
    PowerLoss "power-loss" Node "the machine goes dark; writes that no sync had covered survive as [disk] says";
    TornPages "torn-pages" Node "the machine goes dark; writes survive in order, the last torn at 4096 bytes";
    ReorderedWrites "reordered-writes" Node "the machine goes dark; of the writes each 512 bytes survive or not, in no order";
    Pause "pause" Node "a process does nothing and its links look alive, as in a long stall of its machine";
    Slow "slow" Node "a process computes so many times slower";
    Wipe "wipe" Node "a machine is replaced by an empty one of the same identity";
    Replace "replace" Node "a machine is replaced by an empty one of a new identity";
    RollBack "roll-back" Node "a machine's disk is put back to an earlier image of it";
    Leave "leave" Node "a peer says goodbye, stops, and comes back";
    ClockStep "clock-step" Clock "a wall clock jumps, and back at the end";
    WallDrift "wall-drift" Clock "a wall clock gains or loses against the monotonic one";
    WallFreeze "wall-freeze" Clock "a wall clock stands still";
    ClockDrift "clock-drift" Clock "a monotonic clock gains or loses";
    ClockFreeze "clock-freeze" Clock "both clocks of a process stand still while it runs";
    SlowDisk "slow-disk" Disk "every operation takes so many times longer";
    StallDisk "stall-disk" Disk "no operation ends before the stall is over";
    FullDisk "full-disk" Disk "no byte more fits";
    FailingDisk "failing-disk" Disk "the next sync fails, and nobody knows what is on the disk of what it covered";
    UnreadableDisk "unreadable-disk" Disk "reads fail";
    MisreadDisk "misread-disk" Disk "reads give back another bit now and then; the medium is whole";
    BitRot "bit-rot" Disk "a bit of what is durable changes, and nobody notices until it is read";
    MisdirectedWrite "misdirected-write" Disk "the next write lands at an earlier place, over what is there";
    LostWrite "lost-write" Disk "the disk says that the next write is durable, and does not write it";
    Hold "hold" Conduct "an operator pauses a peer as a replica";
    Garble "garble" Conduct "a peer sends frames that say something else than it meant";
    LoseChange "lose-change" Conduct "a peer's merge engine loses a change, and says nothing";
    NextVersion "next-version" Conduct "a peer is started again as the next version, which sends frames and writes records of its own, and then as this one";
}

/// Every kind of fault.
pub fn faults() -> impl Iterator<Item = FaultKind> {
    Kind::ALL.iter().map(|kind| kind.about())
}
