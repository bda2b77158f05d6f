//! Point-in-time recovery of a real data directory, `cargo run --example recovery`.
//!
//! The program of the user's documents, with the lines that have a peer write the directory first and look at what was recovered.

mod peers;

use oxigdal_ha::Mesh;
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{Look, RecoveryConfig, RecoveryTarget, Source, Survey, pitr::PitrManager};
use oxigdal_ha::types::WallTime;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = RecoveryConfig::default();
    let peers = peers::start(1, |_, node| Mesh::builder(config.configure(node))).await?;
    for nth in 0..100 {
        peers.mesh[0].put(&format!("layers/{nth}"), &json!({ "nth": nth })).await?;
    }
    let data_dir = peers.mesh[0].data_dir().to_owned();

    let manager = PitrManager::new(config, &data_dir);

    // Recover to latest state
    let result = manager.recover(RecoveryTarget::Latest).await?;

    println!("Recovery complete: {} transactions replayed in {}ms", result.transactions_replayed, result.duration_ms);

    let into = result.into.ok_or("it was no dry run")?;
    let source = Source::open(&into)?;
    let survey = Survey::of(&source)?;
    let located = survey.locate(&source, &Target::Latest, false, WallTime::from_micros(u64::MAX))?;
    let documents = Look::at(&source, &survey, &located)?.documents("layers/")?;
    assert_eq!(documents.len(), 100, "all that was acknowledged is there");
    println!("{} documents are in {}", documents.len(), into.display());

    let nowhere = PitrManager::new(RecoveryConfig::default(), data_dir.join("never"));
    println!(
        "a directory that is not there: {}",
        nowhere.recover(RecoveryTarget::Latest).await.expect_err("it is not there")
    );
    Ok(())
}
