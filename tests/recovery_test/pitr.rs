//! The manager for embedders: each setting has its effect, and a moment that cannot be had is an error with a type.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "an embedder asks by the system's clock")]

use oxigdal_ha::recovery::pitr::PitrManager;
use oxigdal_ha::recovery::target::Unreachable;
use oxigdal_ha::recovery::{
    LOG_DIR, LocateError, RecoveryConfig, RecoveryError, RecoveryResult, RecoveryTarget, Source, Survey, history,
};
use tempfile::TempDir;

use super::{Luck, lived};

fn recover(
    config: &RecoveryConfig,
    dir: &std::path::Path,
    target: RecoveryTarget,
) -> Result<RecoveryResult, RecoveryError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(PitrManager::new(config.clone(), dir).recover(target))
}

#[test]
fn an_embedder_recovers_a_moment_beside_the_data() {
    let home = TempDir::new().unwrap();
    let (data, mut luck) = (home.path().join("data"), Luck(5));
    drop(lived(&data, 30, &mut luck));
    let config = RecoveryConfig::default();
    let latest = recover(&config, &data, RecoveryTarget::Latest).unwrap();
    let beside = home.path().join("data.recovered");
    assert_eq!(latest.into.as_deref(), Some(beside.as_path()));
    let records = |dir: &std::path::Path| {
        let survey = Survey::of(&Source::open(dir).unwrap()).unwrap();
        (survey.upto, survey.segments.len())
    };
    let ((there, _), (upto, few)) = (records(&beside), records(&data));
    assert_eq!((there.main, there.events), (upto.main.next(), upto.events), "and the record that says so");
    assert_eq!(latest.transactions_replayed, upto.main.value() + upto.events.value());
    assert_eq!((latest.lost.records, latest.recovered_to.lsn), (0, upto.main));
    assert_eq!(history::read(&beside).unwrap()[0].what, "restore");
    // Not over what is there.
    assert!(matches!(recover(&config, &data, RecoveryTarget::Latest), Err(RecoveryError::Image(_))));

    let lsn = upto.main.value() - 3;
    let into = home.path().join("small");
    let config = RecoveryConfig {
        into: Some(into.clone()),
        wal_segment_size: 400,
        exclusive: true,
        ..RecoveryConfig::default()
    };
    let dry = RecoveryConfig { dry_run: true, ..config.clone() };
    let told = recover(&dry, &data, RecoveryTarget::TransactionId(lsn)).unwrap();
    assert!(!into.exists() && told.into.is_none());
    let done = recover(&config, &data, RecoveryTarget::TransactionId(lsn)).unwrap();
    assert_eq!((done.recovered_to, &done.lost), (told.recovered_to, &told.lost));
    assert_eq!(done.recovered_to.lsn.value(), lsn - 1, "exclusive");
    assert!(records(&into).1 > few && into.join(LOG_DIR).is_dir(), "in smaller segments");

    for target in [
        RecoveryTarget::TransactionId(9_999),
        RecoveryTarget::RestorePoint("never".into()),
        RecoveryTarget::Snapshot(9_999),
        RecoveryTarget::Timestamp(std::time::SystemTime::now() + std::time::Duration::from_secs(60)),
        RecoveryTarget::Timestamp(std::time::SystemTime::UNIX_EPOCH),
    ] {
        let refused = recover(&dry, &data, target.clone());
        let Err(RecoveryError::Locate(LocateError::Target(refused))) = refused else {
            panic!("{target:?}: {refused:?}")
        };
        assert!(!matches!(refused.why, Unreachable::Nothing) && refused.restorable.newest.is_some());
    }
}
