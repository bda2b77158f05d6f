//! Connections of clients: bounded in number, and closed when nothing moves on them, so that clients that connect and say
//! nothing use up no descriptors.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at the same time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;

/// A connection on which nothing was read or written for so long is closed. Watchers are written to every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A connection that was answered nothing for so long is closed, whatever trickles in: a request that never ends would hold
/// its place for ever. The longest body has 30 s; the rest is for a disk that is slow.
const UNANSWERED_MAX: Duration = Duration::from_mins(3);

/// Accepts clients while there is room.
#[derive(Debug)]
pub(super) struct Clients {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Clients {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Clients {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let room = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small answers should not wait for company; without the option they only arrive later.
        let _ = stream.set_nodelay(true);
        (Connection::new(stream, IDLE_MAX, UNANSWERED_MAX, room), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    idle: Patience,
    unanswered: Patience,
    _room: OwnedSemaphorePermit,
}

/// Runs out unless something happens.
#[derive(Debug)]
struct Patience {
    max: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(max: Duration) -> Self {
        Self { max, sleep: Box::pin(sleep(max)) }
    }

    fn renew(&mut self) {
        self.sleep.as_mut().reset(Instant::now() + self.max);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

impl Connection {
    fn new(stream: TcpStream, idle: Duration, unanswered: Duration, room: OwnedSemaphorePermit) -> Self {
        Self { stream, idle: Patience::new(idle), unanswered: Patience::new(unanswered), _room: room }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unanswered.poll(cx).is_pending() {
            if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
                self.idle.renew();
                return Poll::Ready(read);
            }
            ready!(self.idle.poll(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.idle.renew();
        self.unanswered.renew();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn accepted(idle: Duration, unanswered: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = TcpListener::accept(&listener).await.unwrap();
        let room = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (Connection::new(stream, idle, unanswered, room), client)
    }

    #[tokio::test]
    async fn a_request_that_trickles_in_for_ever_is_cut_off() {
        let (mut connection, mut client) = accepted(Duration::from_secs(60), Duration::from_millis(100)).await;
        let trickle = tokio::spawn(async move { while client.write_all(b"x").await.is_ok() {} });
        let mut bytes = [0; 64];
        let error = loop {
            match connection.read(&mut bytes).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        trickle.abort();
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_an_answered_one_is_not() {
        let (mut connection, mut client) = accepted(Duration::from_millis(50), Duration::from_secs(60)).await;
        let error = connection.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        connection.write_all(b"x").await.unwrap();
        client.write_all(b"y").await.unwrap();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 1);
    }
}
