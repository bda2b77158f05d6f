//! The members known here, with the indexes that keep every input far below O(N).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Member;
use crate::types::{Digest, NodeId};

/// One member, and what is remembered beside it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) member: Member,
    pub(super) rtt: Option<Duration>,
}

/// All members known here.
#[derive(Clone, Debug)]
pub(super) struct Table {
    index: BTreeMap<NodeId, Entry>,
}

impl Table {
    pub(super) fn new(me: Member) -> Self {
        Self { index: BTreeMap::from([(me.id, Entry { member: me, rtt: None })]) }
    }

    pub(super) fn find(&self, id: NodeId) -> Option<&Entry> {
        self.index.get(&id)
    }

    pub(super) fn find_mut(&mut self, id: NodeId) -> Option<&mut Entry> {
        self.index.get_mut(&id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.index.values()
    }

    pub(super) fn present_len(&self) -> usize {
        self.entries().filter(|entry| entry.member.is_present()).count()
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::ZERO
    }
}
