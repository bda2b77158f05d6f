//! The wires of the demo: a TCP proxy in this process, so that links can be cut without root and every byte is counted.
//!
//! Each peer advertises its **door**, and dials the doors of others elsewhere (`network.dial-via`): each pair of a dialler
//! and a target has a **line** of its own, so the proxy knows who speaks with whom. Only who joins, and knows nobody yet,
//! comes through a door itself.
//!
//! A cut is silent, as in the field: connections stay open and nothing comes through. It holds the gates of its lines, and
//! each write of a byte needs the gate, so a byte that crosses a cut is impossible and, what is more, would be counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Bytes that one write may carry.
const CHUNK: usize = 16 << 10;
/// A write that takes longer than this is stuck, and a cut does not wait for it.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// How long an accept that failed waits.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// All wires of a mesh.
#[derive(Debug)]
pub(super) struct Proxy {
    lines: Vec<Arc<Line>>,
    targets: Arc<Vec<Mutex<Option<SocketAddr>>>>,
    runtime: Handle,
}

/// The way from one dialler to one target, both directions of it.
#[derive(Debug)]
struct Line {
    /// Who dials; none at a door.
    from: Option<usize>,
    to: usize,
    address: SocketAddr,
    /// Held for reading by each write, for writing by a cut.
    gate: Arc<RwLock<()>>,
    there: AtomicU64,
    back: AtomicU64,
    /// The connection that waits for the gate. A newer one takes its place: its dialler has given up on it.
    waiting: Mutex<Option<AbortHandle>>,
}

/// A cut: it lasts until it is dropped.
#[derive(Debug)]
pub(super) struct Cut {
    gates: Vec<OwnedRwLockWriteGuard<()>>,
    lines: Vec<Arc<Line>>,
    carried: u64,
}

impl Cut {
    /// How many lines are cut.
    pub(super) fn lines(&self) -> usize {
        self.gates.len()
    }

    /// Bytes that crossed since the cut.
    pub(super) fn crossed(&self) -> u64 {
        carried(&self.lines) - self.carried
    }
}

impl Proxy {
    /// Opens a door for each of so many peers and a line for each pair of them.
    pub(super) fn open(peers: usize, runtime: &Handle) -> io::Result<Self> {
        let targets: Arc<Vec<_>> = Arc::new((0..peers).map(|_| Mutex::new(None)).collect());
        let pairs = (0..peers).flat_map(|to| {
            let diallers = (0..peers).filter(move |from| *from != to).map(Some);
            std::iter::once(None).chain(diallers).map(move |from| (from, to))
        });
        let mut lines = Vec::with_capacity(peers * peers);
        for (from, to) in pairs {
            let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            let line = Arc::new(Line {
                from,
                to,
                address: listener.local_addr()?,
                gate: Arc::default(),
                there: AtomicU64::new(0),
                back: AtomicU64::new(0),
                waiting: Mutex::new(None),
            });
            runtime.spawn(serve(listener, Arc::clone(&line), Arc::clone(&targets)));
            lines.push(line);
        }
        Ok(Self { lines, targets, runtime: runtime.clone() })
    }

    /// Where this peer really listens.
    pub(super) fn lead(&self, peer: usize, address: SocketAddr) {
        *self.targets[peer].lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// What this peer advertises.
    pub(super) fn door(&self, peer: usize) -> SocketAddr {
        self.find(None, peer).address
    }

    /// What `from` dials when it wants to go to the door of `to`.
    pub(super) fn line(&self, from: usize, to: usize) -> SocketAddr {
        self.find(Some(from), to).address
    }

    fn find(&self, from: Option<usize>, to: usize) -> &Line {
        let line = self.lines.iter().find(|line| line.from == from && line.to == to);
        line.expect("every pair of peers has a line")
    }

    /// Bytes carried so far.
    pub(super) fn carried(&self) -> u64 {
        carried(&self.lines)
    }

    /// Cuts every line between the two sides, and all doors: nobody knows who stands there.
    pub(super) fn cut(&self, side: impl Fn(usize) -> bool) -> Cut {
        let crosses = |line: &&Arc<Line>| line.from.is_none_or(|from| side(from) != side(line.to));
        let lines: Vec<_> = self.lines.iter().filter(crosses).cloned().collect();
        let gates = self.runtime.block_on(async {
            let mut gates = Vec::with_capacity(lines.len());
            for line in &lines {
                gates.push(Arc::clone(&line.gate).write_owned().await);
            }
            gates
        });
        Cut { gates, carried: carried(&lines), lines }
    }
}

fn carried(lines: &[Arc<Line>]) -> u64 {
    lines.iter().map(|line| line.there.load(Ordering::SeqCst) + line.back.load(Ordering::SeqCst)).sum()
}

type Targets = Arc<Vec<Mutex<Option<SocketAddr>>>>;

async fn serve(listener: TcpListener, line: Arc<Line>, targets: Targets) {
    loop {
        let Ok((dialler, _)) = listener.accept().await else {
            // Of one dialler that is gone already, or for want of files: those come back.
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let task = tokio::spawn(connect(dialler, Arc::clone(&line), Arc::clone(&targets)));
        if line.from.is_none() {
            // Several may stand at a door.
            continue;
        }
        let older = line.waiting.lock().unwrap_or_else(PoisonError::into_inner).replace(task.abort_handle());
        if let Some(older) = older {
            older.abort();
        }
    }
}

/// Waits for the gate, then leads the dialler to its target.
async fn connect(dialler: TcpStream, line: Arc<Line>, targets: Targets) {
    drop(line.gate.read().await);
    let target = *targets[line.to].lock().unwrap_or_else(PoisonError::into_inner);
    // From here on it waits no more, and a newer connection does not end it.
    let carry = carry(dialler, target, Arc::clone(&line));
    tokio::spawn(carry);
    line.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}

async fn carry(dialler: TcpStream, target: Option<SocketAddr>, line: Arc<Line>) {
    // A target that is not there refuses: the dialler sees its connection closed.
    let Some(target) = target else { return };
    let Ok(target) = TcpStream::connect(target).await else { return };
    let _ = (dialler.set_nodelay(true), target.set_nodelay(true));
    let ((from, back), (answers, to)) = (dialler.into_split(), target.into_split());
    tokio::select! {
        () = pump(from, to, &line.gate, &line.there) => {}
        () = pump(answers, back, &line.gate, &line.back) => {}
    }
}

/// Carries bytes one way until either end closes.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: &RwLock<()>, count: &AtomicU64) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(len) = from.read(&mut chunk).await
        && len > 0
    {
        let _open = gate.read().await;
        // Before the write, so that whoever has the bytes finds them counted.
        count.fetch_add(len as u64, Ordering::SeqCst);
        if !matches!(timeout(WRITE_MAX, to.write_all(&chunk[..len])).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that echoes, behind a proxy for two peers.
    fn echo(runtime: &tokio::runtime::Runtime) -> Proxy {
        let proxy = Proxy::open(2, runtime.handle()).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        proxy.lead(1, listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        proxy
    }

    #[test]
    fn a_cut_lets_no_byte_through_and_a_heal_loses_none() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = echo(&runtime);
        let mut stream = runtime.block_on(TcpStream::connect(proxy.line(0, 1))).unwrap();
        let mut answer = [0; 4];
        runtime.block_on(async {
            stream.write_all(b"ping").await.unwrap();
            stream.read_exact(&mut answer).await.unwrap();
        });
        assert_eq!((&answer, proxy.carried()), (b"ping", 8));

        let cut = proxy.cut(|peer| peer == 0);
        runtime.block_on(stream.write_all(b"pong")).unwrap();
        let nothing =
            runtime.block_on(async { timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await });
        assert!(nothing.is_err());
        assert_eq!((cut.crossed(), proxy.carried()), (0, 8));

        drop(cut);
        runtime.block_on(stream.read_exact(&mut answer)).unwrap();
        assert_eq!((&answer, proxy.carried()), (b"pong", 16));
    }

    #[test]
    fn a_cut_between_others_is_no_cut() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = echo(&runtime);
        let cut = proxy.cut(|_| true);
        assert_eq!(cut.lines(), 2, "the doors");
        runtime.block_on(async {
            let mut stream = TcpStream::connect(proxy.line(0, 1)).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
        });
        assert_eq!(cut.crossed(), 0);
    }

    #[test]
    fn a_target_that_is_gone_closes_the_connection() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = Proxy::open(2, runtime.handle()).unwrap();
        let closed = runtime.block_on(async {
            let mut stream = TcpStream::connect(proxy.door(1)).await.unwrap();
            stream.read(&mut [0; 4]).await
        });
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
}
