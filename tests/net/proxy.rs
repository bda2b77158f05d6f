//! Lines that misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use oxigdal_ha::types::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// A TCP proxy on loopback: it can go silent without closing, drop its connections, and be slow.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) blackhole: Arc<AtomicBool>,
    pub(crate) tasks: tokio::task::JoinHandle<()>,
}

/// Bytes a second, and delay, each way.
#[derive(Clone, Copy)]
pub(crate) struct Slow {
    pub(crate) rate: f64,
    pub(crate) delay: Duration,
}

impl Proxy {
    pub(crate) async fn start(to: &Address, slow: Option<Slow>) -> Self {
        Self::over(to, slow, i64::MAX).await
    }

    /// One whose connections stay open and move nothing more once they have carried so many bytes.
    pub(crate) async fn that_locks_up(to: &Address, after: i64) -> Self {
        Self::over(to, None, after).await
    }

    async fn over(to: &Address, slow: Option<Slow>, locks_up_after: i64) -> Self {
        let to = socket(to);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let blackhole = Arc::new(AtomicBool::new(false));
        let hole = Arc::clone(&blackhole);
        let tasks = tokio::spawn(async move {
            let mut pumps = tokio::task::JoinSet::new();
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                let Ok(far) = TcpStream::connect(to).await else { continue };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let left = Arc::new(AtomicI64::new(locks_up_after));
                let line = Line { hole: Arc::clone(&hole), slow, left };
                pumps.spawn(pump(near_in, far_out, line.clone()));
                pumps.spawn(pump(far_in, near_out, line));
            }
        });
        Self { address, blackhole, tasks }
    }

    pub(crate) fn as_address(&self) -> Address {
        Address::parse(&format!("/ip4/127.0.0.1/tcp/{}", self.address.port())).unwrap()
    }

    pub(crate) fn go_silent(&self) {
        self.blackhole.store(true, Ordering::SeqCst);
    }
}

fn socket(address: &Address) -> SocketAddr {
    let mut parts = address.as_str().split('/').skip(1);
    let (Some("ip4"), Some(ip), Some("tcp"), Some(port)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        panic!("{address}")
    };
    format!("{ip}:{port}").parse().unwrap()
}

/// How one connection fares.
#[derive(Clone)]
struct Line {
    hole: Arc<AtomicBool>,
    slow: Option<Slow>,
    /// Bytes that it still carries, both ways together.
    left: Arc<AtomicI64>,
}

/// Copies, at most as fast as `slow` says: a small queue in front of a wire of that rate and length.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) {
    let (sender, mut wire) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(64);
    let arrive = async move {
        while let Some((at, bytes)) = wire.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let depart = async move {
        let mut bytes = vec![0; 8192];
        let mut free_at = tokio::time::Instant::now();
        while let Ok(len @ 1..) = from.read(&mut bytes).await {
            let left = line.left.fetch_sub(i64::try_from(len).unwrap(), Ordering::SeqCst);
            if left < 0 || line.hole.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let now = tokio::time::Instant::now();
            let at = match line.slow {
                None => now,
                Some(slow) => {
                    free_at = free_at.max(now) + Duration::from_secs_f64(len as f64 / slow.rate);
                    sleep_until(free_at).await;
                    free_at + slow.delay
                }
            };
            if sender.send((at, bytes[..len].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(arrive, depart);
}
