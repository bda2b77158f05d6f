//! What is appended together.

use super::event::ReplicationEvent;
use crate::events::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};

/// Events in their order, so many together at most, and never more than one append takes. Each must have been
/// [checked](ReplicationEvent::check): one by itself is never too much.
pub(super) fn batches(
    mut rest: &[ReplicationEvent],
    batch_size: usize,
) -> impl Iterator<Item = &[ReplicationEvent]> + Send {
    let most = batch_size.clamp(1, BATCH_EVENTS_MAX);
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&ReplicationEvent| {
            bytes += event.len_max();
            bytes <= BATCH_BYTES_MAX
        };
        let count = rest.iter().take(most).take_while(fits).count();
        let (batch, later) = rest.split_at(count);
        rest = later;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn lengths(events: &[ReplicationEvent], batch_size: usize) -> Vec<usize> {
        batches(events, batch_size).map(<[_]>::len).collect()
    }

    #[test]
    fn no_batch_has_more_than_is_wished_or_than_an_append_takes() {
        let event = |len| ReplicationEvent::new(Uuid::from_u128(1), Uuid::from_u128(2), vec![7; len], 1);
        let short = vec![event(0); BATCH_EVENTS_MAX + 1];
        assert_eq!(lengths(&short, 100_000), [BATCH_EVENTS_MAX, 1]);
        assert_eq!(lengths(&short[..20], 7), [7, 7, 6]);
        assert_eq!(lengths(&short[..2], 0), [1, 1]);
        assert!(lengths(&[], 7).is_empty());
        let long = vec![event(ReplicationEvent::DATA_MAX); 9];
        assert_eq!(lengths(&long, 1_000), [8, 1], "eight of the longest are all that there may be");
        assert_eq!(lengths(&[long[..7].to_vec(), vec![event(0)], long[..1].to_vec()].concat(), 1_000), [8, 1]);
    }
}
