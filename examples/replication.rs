//! Basic replication setup: an event from one real peer to another, `cargo run --example replication`.
//!
//! The program of the user's documents, with real ids and a real address in place of the invented ones, and with the lines that
//! start the two peers and look whether the event has come. Where the peers run elsewhere, those lines go: the manager binds to the node of this
//! process that has the id, else to the one whose interface `OXIGDAL_HA_API` names.

mod peers;

use oxigdal_ha::Mesh;
use oxigdal_ha::replication::{
    ActiveActiveReplication, ReplicaNode, ReplicationConfig, ReplicationEvent, ReplicationManager, ReplicationState,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = ReplicationConfig::default();
    let peers = peers::start(2, |_, node| Mesh::builder(config.configure(node))).await?;

    // Create replication manager
    let node_id = peers.mesh[0].id().uuid();
    let replication = ActiveActiveReplication::new(node_id, config.clone());

    // Start replication
    replication.start().await?;

    // Add replica
    let replica = ReplicaNode {
        id: peers.mesh[1].id().uuid(),
        name: "replica1".to_string(),
        address: peers.mesh[1].listening()[0].to_string(),
        priority: 100,
        state: ReplicationState::Active,
        last_replicated_at: None,
        lag_ms: None,
    };
    replication.add_replica(replica.clone()).await?;

    // Replicate data
    let event = ReplicationEvent::new(node_id, replica.id, vec![1, 2, 3, 4, 5], 1);
    replication.replicate(event.clone()).await?;
    println!("durable at {}: event {} for {}", peers.mesh[0].id(), event.id, replica.name);

    // The other side: another program, on another machine.
    let there = ActiveActiveReplication::new(replica.id, config);
    there.start().await?;
    let arrived = tokio::time::timeout(peers::PATIENCE, there.received(None)?.next()).await??;
    assert_eq!(arrived, event, "what arrives is what was sent");
    println!("arrived at {}: {:?}, checksum {:#010x}", peers.mesh[1].id(), arrived.data, arrived.checksum);

    // And what cannot be is refused by name.
    let stranger =
        ReplicaNode { id: uuid::Uuid::from_u128(1), address: "replica1.example.com:5000".to_string(), ..replica };
    println!("a replica that is no member: {}", replication.add_replica(stranger).await.expect_err("it is no member"));
    Ok(())
}
