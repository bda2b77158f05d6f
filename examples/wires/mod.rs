//! The wires between the nodes of an example: a TCP proxy on loopback for each direction of each pair, which can be cut.
//!
//! Each node dials the others through proxies of its own (`network.dial-via`), so it is known who speaks with whom. A cut closes
//! the connections of its pairs and takes no new ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// All wires. They end with the runtime.
pub(crate) struct Wires {
    places: Vec<SocketAddr>,
    wires: Vec<Arc<Wire>>,
}

struct Wire {
    from: usize,
    to: usize,
    address: SocketAddr,
    is_cut: AtomicBool,
    connections: Mutex<JoinSet<()>>,
}

impl Wires {
    /// A place for each of so many nodes, and the wires between them.
    pub(crate) async fn open(nodes: usize) -> std::io::Result<Self> {
        let mut places = Vec::new();
        for _ in 0..nodes {
            // It is free a moment later, when the node takes it.
            places.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?);
        }
        let mut wires = Vec::new();
        for (from, to) in
            (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to)
        {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let (address, place) = (listener.local_addr()?, places[to]);
            let wire = Wire { from, to, address, is_cut: AtomicBool::new(false), connections: Mutex::default() };
            let wire = Arc::new(wire);
            wires.push(Arc::clone(&wire));
            tokio::spawn(async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    if wire.is_cut.load(Ordering::SeqCst) {
                        continue;
                    }
                    let carry = async move {
                        if let Ok(mut far) = TcpStream::connect(place).await {
                            // However it ends, both are closed.
                            let _ = copy_bidirectional(&mut near, &mut far).await;
                        }
                    };
                    wire.connections.lock().unwrap_or_else(PoisonError::into_inner).spawn(carry);
                }
            });
        }
        Ok(Self { places, wires })
    }

    /// Where a node listens.
    pub(crate) fn place(&self, node: usize) -> SocketAddr {
        self.places[node]
    }

    /// What a node dials in place of what others tell, for `network.dial-via`.
    pub(crate) fn detours(&self, node: usize) -> Vec<String> {
        let mine = self.wires.iter().filter(|wire| wire.from == node);
        mine.map(|wire| format!("{} -> {}", self.places[wire.to], wire.address)).collect()
    }

    /// Cuts the wires of these pairs.
    pub(crate) fn cut(&self, pairs: impl Fn(usize, usize) -> bool) {
        for wire in self.wires.iter().filter(|wire| pairs(wire.from, wire.to)) {
            wire.is_cut.store(true, Ordering::SeqCst);
            wire.connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        }
    }

    /// All carry again.
    pub(crate) fn heal(&self) {
        self.wires.iter().for_each(|wire| wire.is_cut.store(false, Ordering::SeqCst));
    }
}
