//! Automatic failover: real voters, of which the leader is killed, `cargo run --example failover`.
//!
//! The program of the user's documents, with the lines that start three peers, wait until all vote, and kill the leader. Elections are held
//! by the voters themselves; what is asked here is who won, shown by a decision of a majority.

mod peers;

use oxigdal_ha::Mesh;
use oxigdal_ha::failover::{
    FailoverConfig, PromotionStrategy, detection::FailureDetector, election::LeaderElection,
    promotion::ReplicaPromotion,
};
use oxigdal_ha::node::{Command, Outcome};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Often enough for a program that ends within a minute; the documents' two seconds else.
    let config = FailoverConfig { health_check_interval_ms: 50, ..FailoverConfig::default() };
    let mut peers = peers::start(3, |_, node| Mesh::builder(config.configure(node))).await?;
    let first = peers.mesh[0].clone();
    peers::until("all three vote", async || match first.peer().command(Command::Deciders).await? {
        Outcome::Deciders(deciders) => Ok(deciders.members.iter().filter(|it| it.voter).count() == 3),
        _ => Ok(false),
    })
    .await?;

    // Start failure detection
    let detector = FailureDetector::new(config.clone());
    detector.start().await?;
    println!("{} members are watched", detector.get_monitored_nodes().len());

    // Setup leader election
    let node_id = first.id().uuid();
    let election = LeaderElection::new(node_id, 100, config.clone());
    let result = election.start_election().await?;
    println!("Leader: {}, in term {}, of {} voters", result.winner_id, result.term, result.total_votes);

    // The failure: the leader's node stops without a word.
    let at =
        peers.mesh.iter().position(|mesh| mesh.id().uuid() == result.winner_id).ok_or("the leader is one of ours")?;
    let (lost, node_id) = (peers.mesh.remove(at), peers.mesh[0].id().uuid());
    let detector = FailureDetector::of_node(node_id, config.clone());
    detector.start().await?;
    let mut failures = detector.get_failure_receiver();
    drop(first);
    lost.peer().clone().halt().await;

    // On failure, start election
    let election = LeaderElection::new(node_id, 100, config.clone());
    let result = election.start_election().await?;
    println!(
        "New leader elected: {}, in term {}, {} ms after it was asked",
        result.winner_id, result.term, result.duration_ms
    );
    assert_ne!(result.winner_id, lost.id().uuid(), "the one that is gone does not lead");
    let failed = tokio::time::timeout(peers::PATIENCE, failures.recv()).await??;
    assert_eq!(failed.node_id, lost.id().uuid(), "the one that is gone is found to be");
    println!("found to have failed: {}", failed.node_id);

    let promotion = ReplicaPromotion::new(PromotionStrategy::Priority, config).through(node_id);
    for candidate in promotion.candidates().await? {
        println!("candidate {}: {}", candidate.name, candidate.ineligible.as_deref().unwrap_or("may take a role over"));
    }
    Ok(())
}
