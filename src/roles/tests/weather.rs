//! What the network, the disks and the hooks of a little world are like.

/// What the network and the disks are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand messages, so many are lost, and so many come twice.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// How long a message takes, in microseconds.
    pub(super) delay: (u64, u64),
    /// Of a thousand messages, so many take up to a second.
    pub(super) late: u64,
    /// How long a sync takes, in microseconds.
    pub(super) sync: (u64, u64),
    /// How long hooks take, in microseconds.
    pub(super) hooks: (u64, u64),
}

impl Weather {
    pub(super) const FAIR: Self =
        Self { lost: 0, doubled: 0, delay: (500, 3_000), late: 0, sync: (1_000, 2_000), hooks: (1_000, 10_000) };
}
