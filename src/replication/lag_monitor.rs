//! How far replicas lag over time: thresholds, a bounded history, statistics, and what changed.
//!
//! It measures nothing by itself. Whoever asks the mesh how far the replicas are, from what they acknowledged, tells it
//! ([`LagMonitor::record_lag`]), and asks it what that means.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::REPLICAS_MAX;
use crate::types::{NodeId, WallTime};

/// When lag is a trouble, and how much of it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LagMonitorConfig {
    /// How often whoever feeds it asks, in milliseconds.
    pub interval_ms: u64,
    /// From so many milliseconds on it is [`LagSeverity::Warning`].
    pub warning_threshold_ms: u64,
    /// From so many milliseconds on it is [`LagSeverity::Critical`].
    pub critical_threshold_ms: u64,
    /// So many measurements of each replica are remembered, one at least.
    pub history_size: usize,
}

impl Default for LagMonitorConfig {
    fn default() -> Self {
        Self { interval_ms: 1_000, warning_threshold_ms: 5_000, critical_threshold_ms: 10_000, history_size: 100 }
    }
}

impl LagMonitorConfig {
    /// How bad a lag is. Where the thresholds are the wrong way round, the worse one counts.
    #[must_use]
    pub fn severity(&self, lag_ms: u64) -> LagSeverity {
        if lag_ms >= self.critical_threshold_ms {
            LagSeverity::Critical
        } else if lag_ms >= self.warning_threshold_ms {
            LagSeverity::Warning
        } else {
            LagSeverity::Normal
        }
    }
}

/// How bad a lag is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LagSeverity {
    /// Below both thresholds.
    #[default]
    Normal,
    /// At or above the first.
    Warning,
    /// At or above the second.
    Critical,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LagMeasurement {
    /// Of which replica.
    pub replica: NodeId,
    /// When, by the wall clock of who measured.
    pub at: WallTime,
    /// For how long the replica has lacked the oldest of what it lacks, in milliseconds.
    pub lag_ms: u64,
    /// How bad that is.
    pub severity: LagSeverity,
}

/// What the remembered measurements of one replica say. In milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LagStats {
    /// How many there are.
    pub count: usize,
    /// The last one.
    pub current_ms: u64,
    /// Their mean.
    pub average_ms: f64,
    /// The least.
    pub min_ms: u64,
    /// The most.
    pub max_ms: u64,
    /// Their standard deviation, as of all that there are and not of a sample.
    pub std_dev_ms: f64,
    /// Half of them are not above this one (nearest rank).
    pub p50_ms: u64,
    /// 95 of 100 are not.
    pub p95_ms: u64,
    /// 99 of 100 are not.
    pub p99_ms: u64,
}

/// A replica's lag passed a threshold, in either direction. The first measurement of a replica changes from [`LagSeverity::Normal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LagChange {
    /// How bad it was.
    pub from: LagSeverity,
    /// What was measured.
    pub now: LagMeasurement,
}

/// Remembers lag. Of [`REPLICAS_MAX`] replicas at most: beyond, the one that was not heard of for longest is forgotten.
#[derive(Clone, Debug, Default)]
pub struct LagMonitor {
    config: LagMonitorConfig,
    histories: BTreeMap<NodeId, VecDeque<LagMeasurement>>,
}

impl LagMonitor {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(config: LagMonitorConfig) -> Self {
        Self { config, histories: BTreeMap::new() }
    }

    /// As it was made.
    #[must_use]
    pub fn config(&self) -> &LagMonitorConfig {
        &self.config
    }

    /// Takes a measurement, and says whether it changes how bad things are.
    ///
    /// ```
    /// use oxigdal_ha::replication::lag_monitor::{LagMonitor, LagMonitorConfig};
    /// use oxigdal_ha::types::{NodeId, WallTime};
    ///
    /// let (mut monitor, replica) = (LagMonitor::new(LagMonitorConfig::default()), NodeId::from_u128(1));
    /// monitor.record_lag(replica, 3, WallTime::from_micros(1));
    /// let much = monitor.config().critical_threshold_ms + 1;
    /// assert!(monitor.record_lag(replica, much, WallTime::from_micros(2)).is_some(), "it passes a threshold");
    /// assert_eq!(monitor.get_stats(replica).map(|lag| lag.current_ms), Some(much));
    /// assert!(!monitor.is_healthy());
    /// ```
    pub fn record_lag(&mut self, replica: NodeId, lag_ms: u64, at: WallTime) -> Option<LagChange> {
        let now = LagMeasurement { replica, at, lag_ms, severity: self.config.severity(lag_ms) };
        if !self.histories.contains_key(&replica) && self.histories.len() >= REPLICAS_MAX {
            let oldest = self.histories.iter().min_by_key(|(_, history)| history.back().map(|last| last.at));
            let oldest = oldest.map(|(replica, _)| *replica);
            oldest.into_iter().for_each(|replica| drop(self.histories.remove(&replica)));
        }
        let history = self.histories.entry(replica).or_default();
        let from = history.back().map_or(LagSeverity::Normal, |last| last.severity);
        history.push_back(now);
        while history.len() > self.config.history_size.max(1) {
            history.pop_front();
        }
        (from != now.severity).then_some(LagChange { from, now })
    }

    /// What is remembered of a replica, the oldest first.
    pub fn measurements(&self, replica: NodeId) -> impl Iterator<Item = &LagMeasurement> {
        self.histories.get(&replica).into_iter().flatten()
    }

    /// What that says; nothing of a replica that was never measured.
    #[must_use]
    pub fn get_stats(&self, replica: NodeId) -> Option<LagStats> {
        let history = self.histories.get(&replica)?;
        let current_ms = history.back()?.lag_ms;
        let mut sorted: Vec<u64> = history.iter().map(|measured| measured.lag_ms).collect();
        sorted.sort_unstable();
        let count = sorted.len();
        let sum: u128 = sorted.iter().map(|lag| u128::from(*lag)).sum();
        let average_ms = sum as f64 / count as f64;
        let squares: f64 = sorted.iter().map(|lag| (*lag as f64 - average_ms).powi(2)).sum();
        let rank = |percent: usize| sorted[(count * percent).div_ceil(100).clamp(1, count) - 1];
        Some(LagStats {
            count,
            current_ms,
            average_ms,
            min_ms: sorted[0],
            max_ms: sorted[count - 1],
            std_dev_ms: (squares / count as f64).sqrt(),
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
        })
    }

    /// How bad a replica's lag is by the last measurement; of one that was never measured nothing is known.
    #[must_use]
    pub fn severity(&self, replica: NodeId) -> Option<LagSeverity> {
        self.histories.get(&replica)?.back().map(|last| last.severity)
    }

    /// Whether no replica that was measured lags as much as a warning.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let mut last = self.histories.values().filter_map(VecDeque::back);
        last.all(|last| last.severity == LagSeverity::Normal)
    }

    /// The replicas that were measured, in order.
    pub fn get_monitored_replicas(&self) -> impl Iterator<Item = NodeId> {
        self.histories.keys().copied()
    }

    /// Forgets what was measured of one replica.
    pub fn forget(&mut self, replica: NodeId) {
        self.histories.remove(&replica);
    }

    /// Forgets what was measured of all.
    pub fn clear_measurements(&mut self) {
        self.histories.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_u128(n)
    }

    fn monitor(change: impl FnOnce(&mut LagMonitorConfig)) -> LagMonitor {
        let mut config = LagMonitorConfig::default();
        change(&mut config);
        LagMonitor::new(config)
    }

    fn at(second: u64) -> WallTime {
        WallTime::from_micros(second * 1_000_000)
    }

    #[test]
    fn each_threshold_is_told_once_in_each_direction() {
        let mut monitor = LagMonitor::default();
        let lags = [0, 4_999, 5_000, 9_000, 10_000, 20_000, 6_000, 0, 0];
        let told: Vec<_> = (0..).zip(lags).filter_map(|(n, lag)| monitor.record_lag(node(1), lag, at(n))).collect();
        use LagSeverity::{Critical, Normal, Warning};
        let changes: Vec<_> = told.iter().map(|it| (it.from, it.now.severity, it.now.lag_ms)).collect();
        let expected =
            [(Normal, Warning, 5_000), (Warning, Critical, 10_000), (Critical, Warning, 6_000), (Warning, Normal, 0)];
        assert_eq!(changes, expected);
        assert!(monitor.is_healthy());
    }

    #[test]
    fn thresholds_and_the_length_of_the_history_are_those_of_the_configuration() {
        let mut monitor = monitor(|config| {
            (config.warning_threshold_ms, config.critical_threshold_ms, config.history_size) = (10, 20, 3);
        });
        for (n, lag) in (0..).zip([1, 2, 10, 20]) {
            monitor.record_lag(node(1), lag, at(n));
        }
        let kept: Vec<_> = monitor.measurements(node(1)).map(|it| (it.lag_ms, it.severity)).collect();
        let expected = [(2, LagSeverity::Normal), (10, LagSeverity::Warning), (20, LagSeverity::Critical)];
        assert_eq!(kept, expected);
        assert_eq!((monitor.severity(node(1)), monitor.severity(node(2))), (Some(LagSeverity::Critical), None));
        assert!(!monitor.is_healthy());
        monitor.forget(node(1));
        assert!(monitor.is_healthy() && monitor.get_stats(node(1)).is_none());
    }

    #[test]
    fn statistics_are_those_of_the_textbook() {
        let mut monitor = LagMonitor::default();
        for (n, lag) in (0..).zip([2, 4, 4, 4, 5, 5, 7, 9]) {
            monitor.record_lag(node(1), lag, at(n));
        }
        let stats = monitor.get_stats(node(1)).unwrap();
        assert_eq!((stats.count, stats.current_ms, stats.min_ms, stats.max_ms), (8, 9, 2, 9));
        assert_eq!((stats.average_ms, stats.std_dev_ms), (5.0, 2.0));
        assert_eq!((stats.p50_ms, stats.p95_ms, stats.p99_ms), (4, 9, 9));
    }

    #[test]
    fn no_more_replicas_are_remembered_than_there_may_be() {
        let mut monitor = LagMonitor::default();
        for n in 0..=REPLICAS_MAX as u128 {
            monitor.record_lag(node(n), 0, at(u64::try_from(n).unwrap()));
        }
        assert_eq!(monitor.get_monitored_replicas().count(), REPLICAS_MAX);
        assert_eq!(monitor.severity(node(0)), None, "the one that was not heard of for longest");
    }

    quickcheck::quickcheck! {
        fn percentiles_are_measurements_and_in_order(lags: Vec<u32>) -> bool {
            let mut monitor = LagMonitor::default();
            (0..).zip(&lags).for_each(|(n, lag)| _ = monitor.record_lag(node(1), u64::from(*lag), at(n)));
            let Some(stats) = monitor.get_stats(node(1)) else { return lags.is_empty() };
            let ranks = [stats.min_ms, stats.p50_ms, stats.p95_ms, stats.p99_ms, stats.max_ms];
            let kept: Vec<u64> = monitor.measurements(node(1)).map(|it| it.lag_ms).collect();
            ranks.is_sorted()
                && ranks.iter().all(|rank| kept.contains(rank))
                && (stats.min_ms as f64..=stats.max_ms as f64).contains(&stats.average_ms)
                && (stats.std_dev_ms == 0.0) == (stats.min_ms == stats.max_ms)
        }
    }
}
