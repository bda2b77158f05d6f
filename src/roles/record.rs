//! What a peer keeps of roles on its disk: the highest token that it saw of each.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::vocabulary::{ROLES_MAX, RoleName};
use crate::consensus::Token;

/// A record of this room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// No lower token of this role is heeded here, ever again.
    Fence {
        /// Which role.
        role: RoleName,
        /// Its token.
        token: Token,
    },
    /// The same; and this peer was granted the role under this token and is about to begin, which it does once.
    Begun {
        /// Which role.
        role: RoleName,
        /// Its token.
        token: Token,
    },
    /// What this peer began under the token, and under those before, is ended: a later life has nothing to end.
    Ended {
        /// Which role.
        role: RoleName,
        /// Its token.
        token: Token,
    },
}

/// What the records of a log come to: of each role the highest token, the last under which this peer began, and the last that is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(BTreeMap<RoleName, [Token; 3]>);

impl Kept {
    /// Takes the next record.
    pub fn take(&mut self, record: &Record) {
        let (Record::Fence { role, token } | Record::Begun { role, token } | Record::Ended { role, token }) = record;
        if self.0.len() >= ROLES_MAX && !self.0.contains_key(role) {
            return;
        }
        let [highest, begun, ended] = self.0.entry(role.clone()).or_default();
        *highest = (*highest).max(*token);
        match record {
            Record::Fence { .. } => {}
            Record::Begun { .. } => *begun = (*begun).max(*token),
            Record::Ended { .. } => *ended = (*ended).max(*token),
        }
    }

    /// The fewest records that come to the same.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.0.iter().flat_map(|(role, tokens)| records(role, *tokens))
    }
}

/// The fewest records of one role: the highest token, the last under which this peer began, and the last that is ended.
pub(super) fn records(role: &RoleName, [highest, begun, ended]: [Token; 3]) -> impl Iterator<Item = Record> + use<> {
    let begins = (begun > Token::default()).then(|| Record::Begun { role: role.clone(), token: begun });
    let ends = (ended > Token::default()).then(|| Record::Ended { role: role.clone(), token: ended });
    let fence = (highest > begun).then(|| Record::Fence { role: role.clone(), token: highest });
    [begins, ends, fence].into_iter().flatten()
}

#[test]
fn what_is_kept_is_what_all_records_come_to() {
    use crate::types::{Epoch, Index, Term};
    let token = |index| Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) };
    let fence = |index| Record::Fence { role: RoleName::primary(), token: token(index) };
    let begun = |index| Record::Begun { role: RoleName::primary(), token: token(index) };
    let kept = |records: &[Record]| {
        let mut kept = Kept::default();
        records.iter().for_each(|record| kept.take(record));
        kept.records().collect::<Vec<_>>()
    };
    assert_eq!(kept(&[fence(1), begun(3), fence(2)]), [begun(3)]);
    assert_eq!(kept(&[begun(3), fence(5), fence(4)]), [begun(3), fence(5)]);
    assert_eq!(kept(&[fence(4)]), [fence(4)]);
    let ended = |index| Record::Ended { role: RoleName::primary(), token: token(index) };
    assert_eq!(kept(&[begun(3), ended(3), begun(5)]), [begun(5), ended(3)]);
    assert_eq!(kept(&[begun(3), ended(3)]), [begun(3), ended(3)]);
}
