//! How many handshakes one address may begin: counted before any cryptography is done for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::limit::Limits;

/// Most addresses that are counted at once.
const ADDRESSES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Handshakes left, in thousandths.
    left: u64,
    filled_at: Instant,
}

/// A token bucket for each address.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u64,
    burst: u64,
    loopback: bool,
    buckets: BTreeMap<IpAddr, Bucket>,
}

impl RateLimit {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            per_second: limits.handshakes_per_second.into(),
            burst: u64::from(limits.handshake_burst) * 1000,
            loopback: limits.rate_limit_loopback,
            buckets: BTreeMap::new(),
        }
    }

    /// Whether this address may begin another handshake now.
    pub(super) fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        if ip.is_loopback() && !self.loopback {
            return true;
        }
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&ip) {
            self.forget_idle(now);
        }
        let (per_second, burst) = (self.per_second, self.burst);
        // When even busy addresses fill the table, the flood comes from thousands of hosts at once: nobody new is let in.
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&ip) {
            return false;
        }
        let bucket = self.buckets.entry(ip).or_insert(Bucket { left: burst, filled_at: now });
        bucket.left = filled(*bucket, per_second, burst, now);
        bucket.filled_at = now;
        let admitted = bucket.left >= 1000;
        bucket.left = bucket.left.saturating_sub(1000);
        admitted
    }

    /// Takes five more handshakes from an address whose peer was refused.
    pub(super) fn punish(&mut self, ip: IpAddr) {
        if let Some(bucket) = self.buckets.get_mut(&ip) {
            bucket.left = bucket.left.saturating_sub(5000);
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        let (per_second, burst) = (self.per_second, self.burst);
        self.buckets.retain(|_, bucket| filled(*bucket, per_second, burst, now) < burst);
    }
}

fn filled(bucket: Bucket, per_second: u64, burst: u64, now: Instant) -> u64 {
    let ms = u64::try_from(now.saturating_duration_since(bucket.filled_at).as_millis()).unwrap_or(u64::MAX);
    bucket.left.saturating_add(ms.saturating_mul(per_second)).min(burst)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn limit() -> RateLimit {
        RateLimit::new(&Limits { handshakes_per_second: 5, handshake_burst: 3, ..Limits::default() })
    }

    #[test]
    fn an_address_has_a_burst_and_then_its_rate() {
        let (mut limit, now) = (limit(), Instant::now());
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let admitted = (0..10).filter(|_| limit.admit(ip, now)).count();
        assert_eq!(admitted, 3);
        assert!(!limit.admit(ip, now + Duration::from_millis(100)));
        assert!(limit.admit(ip, now + Duration::from_millis(400)));
        assert!(limit.admit(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), now), "another address is not affected");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_idle() {
        let (mut limit, now) = (limit(), Instant::now());
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(limit.admit(IpAddr::V4(n.saturating_add(0x0a00_0000).into()), now));
        }
        let late = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(!limit.admit(late, now));
        assert!(limit.admit(late, now + Duration::from_secs(10)));
        assert!(limit.buckets.len() <= ADDRESSES_MAX);
    }
}
