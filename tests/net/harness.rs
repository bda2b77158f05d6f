//! Peers without documents: admission and network, on loopback sockets of one process.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use oxigdal_ha::config::{self, Flags, Terms};
use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::network::{Network, NetworkEvent, NetworkHandle, NetworkSetup, join};
use oxigdal_ha::types::{Address, Boot, Lane, NodeId};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No test waits longer for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// Where the peers of this thread's test listen if they do not say.
    static LISTEN: Cell<&'static str> = const { Cell::new("/ip4/127.0.0.1/tcp/0") };
}

/// Runs a test with peers that listen elsewhere.
#[cfg(feature = "quic")]
pub(crate) fn listening(at: &'static str, test: fn()) {
    let before = LISTEN.replace(at);
    test();
    LISTEN.set(before);
}

/// A peer with its data directory.
pub(crate) struct Peer {
    pub(crate) dir: TempDir,
    pub(crate) admission: Admission,
    pub(crate) network: NetworkHandle,
    pub(crate) events: mpsc::Receiver<NetworkEvent>,
    pub(crate) address: Address,
}

impl Peer {
    pub(crate) async fn founder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admission = Admission::open_or_mint(dir.path()).unwrap();
        Self::start(dir, admission, |_| {}).await
    }

    /// Joins the mesh of `issuer` with a fresh invite.
    pub(crate) async fn joiner(issuer: &Self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admission = issuer.admit(dir.path()).await;
        Self::start(dir, admission, |_| {}).await
    }

    pub(crate) async fn admit(&self, dir: &Path) -> Admission {
        let invite = self.admission.issue_invite(Duration::from_secs(60), "test").unwrap();
        join(dir, &invite, Terms::default(), PATIENCE).await.unwrap()
    }

    pub(crate) async fn start(dir: TempDir, admission: Admission, change: impl FnOnce(&mut NetworkSetup)) -> Self {
        let mut setup = NetworkSetup::new(admission.clone(), Boot::new(1));
        setup.listen = vec![LISTEN.get().parse().unwrap()];
        change(&mut setup);
        let (sender, mut events) = mpsc::channel(1024);
        let network = Network::start(setup, sender).unwrap();
        let address = loop {
            match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
                NetworkEvent::Listening { address, advertise: true } => break address,
                other => assert!(matches!(other, NetworkEvent::Listening { .. }), "{other:?}"),
            }
        };
        Self { dir, admission, network, events, address }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.admission.node()
    }

    pub(crate) fn dial(&self, other: &Self) {
        self.network.dial(other.node(), vec![other.address.clone()]);
    }

    pub(crate) async fn next(&mut self) -> NetworkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the network runs")
    }

    /// The next event that `pick` takes; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(&NetworkEvent) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(picked) = pick(&event) {
                return picked;
            }
        }
    }

    /// The next further address that it listens on.
    #[cfg(feature = "quic")]
    pub(crate) async fn next_address(&mut self) -> Address {
        self.until(|event| match event {
            NetworkEvent::Listening { address, .. } => Some(address.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn linked(&mut self, with: NodeId) {
        self.until(|event| (*event == NetworkEvent::Linked { peer: with }).then_some(())).await;
    }

    pub(crate) async fn unlinked(&mut self, from: NodeId) -> String {
        self.until(|event| match event {
            NetworkEvent::Unlinked { peer, why } if *peer == from => Some(why.to_string()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn received(&mut self) -> (Lane, Bytes) {
        self.until(|event| match event {
            NetworkEvent::Received { lane, frame, .. } => Some((*lane, frame.clone())),
            _ => None,
        })
        .await
    }
}

pub(crate) async fn pair() -> (Peer, Peer) {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    b.dial(&a);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    (a, b)
}

/// What a configuration with this overlay tells.
pub(crate) fn terms(overlay: &str) -> Terms {
    config::parse(None, [], &Flags::new().set("test", "overlay.kind", overlay)).unwrap().cluster.terms()
}

/// Looks again and again until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    held.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}
