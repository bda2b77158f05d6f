//! Failing over from one region to another.

use super::{DrConfig, DrError, DrFailoverResult};

/// Would fail a region over. See the [module](super) about what there is.
#[derive(Clone, Debug)]
pub struct DrOrchestrator {
    config: DrConfig,
}

impl DrOrchestrator {
    /// For these regions.
    #[must_use]
    pub fn new(config: DrConfig) -> Self {
        Self { config }
    }

    /// The regions.
    #[must_use]
    pub fn config(&self) -> &DrConfig {
        &self.config
    }

    /// Fails over.
    ///
    /// # Errors
    /// [`DrError::Unsupported`] always, so far; [`DrError::Regions`] for what could never be done.
    pub async fn execute_failover(&self) -> Result<DrFailoverResult, DrError> {
        let (from, to) = (self.config.primary_region.clone(), self.config.dr_region.clone());
        if from == to || from.is_empty() || to.is_empty() {
            return Err(DrError::Regions { primary: from, dr: to });
        }
        Err(DrError::Unsupported { from, to })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let orchestrator = DrOrchestrator::new(DrConfig::default());
        let refused = orchestrator.execute_failover().now_or_never().unwrap().unwrap_err();
        assert_eq!(refused, DrError::Unsupported { from: "us-east-1".into(), to: "us-west-2".into() });
        assert!(refused.to_string().contains("not supported"), "{refused}");
        let nowhere = DrConfig { dr_region: "us-east-1".into(), ..DrConfig::default() };
        let refused = DrOrchestrator::new(nowhere).execute_failover().now_or_never().unwrap();
        assert!(matches!(refused, Err(DrError::Regions { .. })), "{refused:?}");
    }
}
