//! Disaster recovery between regions: the program of the user's documents, and the answer that this version has,
//! `cargo run --example disaster`.

use oxigdal_ha::dr::{DrConfig, DrError, orchestration::DrOrchestrator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = DrConfig {
        primary_region: "us-east-1".to_string(),
        dr_region: "us-west-2".to_string(),
        rto_seconds: 300,
        rpo_seconds: 60,
        enable_auto_failover: false,
    };

    let orchestrator = DrOrchestrator::new(config);

    // Execute DR failover
    let result = match orchestrator.execute_failover().await {
        Err(error @ DrError::Unsupported { .. }) => {
            println!("{error}");
            return Ok(());
        }
        result => result?,
    };

    println!(
        "DR failover complete: {} -> {} in {}s",
        result.old_primary, result.new_primary, result.rto_achieved_seconds
    );
    Ok(())
}
