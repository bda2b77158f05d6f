//! Counters: newtypes that can only be compared and advanced, so that nobody adds two boots or compares an LSN with a
//! sequence number.

macro_rules! counter {
    ($($(#[$doc:meta])* $name:ident($int:ty);)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            bincode::Encode, bincode::Decode, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($int);

        impl $name {
            /// The value before the first.
            pub const ZERO: Self = Self(0);

            /// A counter with this raw value, as read from a file or a frame.
            #[must_use]
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }

            /// The raw value.
            #[must_use]
            pub const fn value(self) -> $int {
                self.0
            }

            /// The value after this one.
            ///
            /// # Panics
            /// When the counter is exhausted, which no peer can cause: values from frames are bounded where they are read.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a counter of this width is never exhausted"))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counter! {
    /// Position of a record in one node's write-ahead log, counted in records from 1.
    Lsn(u64);
    /// Number of a log segment file, counted from 1.
    SegmentId(u64);
    /// Position of an entry in one origin's log, dense from 1: gaps, duplicates and acknowledgements are integers.
    Seq(u64);
    /// One life of a node's process: raised durably at every start, before the node speaks.
    Boot(u64);
    /// A SWIM member's own counter within one boot; only that member raises it (SWIM, section 4.2).
    Incarnation(u32);
    /// The generation of the group that decides actions; only a forced recovery raises it. Nothing else is called so.
    Epoch(u64);
    /// A term of office in that group (Raft, section 5.1): at most one leader each.
    Term(u64);
    /// Position of an entry in the group's log of actions, dense from 1.
    Index(u64);
    /// Names a write to the log until it is answered.
    PersistId(u64);
    /// Names a read or a change of files until it is answered.
    IoId(u64);
    /// Names a piece of heavy work until it is answered.
    TaskId(u64);
    /// Names a client's command until it is answered.
    CommandId(u64);
}
