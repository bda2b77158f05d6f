//! Which of a peer's addresses gets a head start. All are dialled in one go and the first connection wins; so the ways that
//! are to be taken only if the better ones fail begin later. A transport sees one address at a time: whoever dials several
//! says before which way is the best of them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use tokio::time::sleep;

use super::limit::AFTER_BETTER;
use super::way::Way;

/// The best way among the addresses that are dialled together.
#[derive(Debug, Default)]
pub(super) struct Best(AtomicU8);

impl Best {
    /// Makes the dials that `dial` begins start in the order of their ways.
    pub(super) fn among<'a, T>(
        &self,
        addresses: impl IntoIterator<Item = &'a Multiaddr>,
        dial: impl FnOnce() -> T,
    ) -> T {
        let best = addresses.into_iter().map(Way::of).max().unwrap_or_default();
        self.0.store(best as u8, Ordering::Relaxed);
        let dialling = dial();
        self.0.store(Way::default() as u8, Ordering::Relaxed);
        dialling
    }
}

/// A transport that lets the better ways begin earlier.
#[derive(Debug)]
pub(super) struct Paced<O> {
    inner: Boxed<O>,
    best: Arc<Best>,
}

impl<O> Paced<O> {
    pub(super) fn new(inner: Boxed<O>, best: Arc<Best>) -> Self {
        Self { inner, best }
    }
}

impl<O: Send + 'static> Transport for Paced<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = Pin<Box<dyn Future<Output = io::Result<O>> + Send>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let better = self.best.0.load(Ordering::Relaxed).saturating_sub(Way::of(&address) as u8);
        let handicap = AFTER_BETTER * u32::from(better);
        // Nothing of a dial happens before it is first polled.
        let dial = self.inner.dial(address, options)?;
        Ok(Box::pin(async move {
            sleep(handicap).await;
            dial.await
        }))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}
