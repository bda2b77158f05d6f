//! Requests over connections that are kept: a new one every few milliseconds whatever becomes of those before, or one after the
//! other. A thread of its own with a loop of its own, so that nothing that is measured waits for it.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc as channel, oneshot};

/// From one new request to the next.
const EVERY: Duration = Duration::from_millis(5);
/// Connections that are open before the first request.
const READY: usize = 64;
/// In a closed loop a request is given up after this.
const PATIENCE: Duration = Duration::from_millis(100);
/// After a connection that was refused.
const AGAIN: Duration = Duration::from_millis(5);

/// What is asked, and where.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) address: String,
    /// The path, and headers with their ends of lines.
    pub(crate) path: &'static str,
    pub(crate) headers: String,
    /// What the request of this number says.
    pub(crate) body: fn(u64) -> String,
}

impl Question {
    fn bytes(&self, number: u64) -> Vec<u8> {
        let (body, Self { address, path, headers, .. }) = ((self.body)(number), self);
        let len = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {len}\r\n\r\n{body}").into_bytes()
    }
}

/// How requests follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A new one every 5 ms, none given up.
    Open,
    /// One after the other, each given up after 100 ms.
    Closed,
}

/// Somebody who asks, in a thread of its own.
pub(crate) struct Asker {
    go: Option<oneshot::Sender<()>>,
    decided: mpsc::Receiver<Instant>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// Its connections are open; it asks from [`go`](Self::go) on.
    pub(crate) fn ready(question: Question, pace: Pace) -> Self {
        let (go, begins) = oneshot::channel();
        let (stop, stops) = oneshot::channel();
        let (tell, decided) = mpsc::channel();
        let (is_ready, waits) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let ready = match pace {
                    Pace::Open => READY,
                    Pace::Closed => 1,
                };
                let mut kept = Vec::new();
                for _ in 0..ready {
                    kept.push(Connection::open(&question.address).await.unwrap());
                }
                is_ready.send(()).unwrap();
                if begins.await.is_err() {
                    return;
                }
                tokio::select! {
                    () = asks(question, pace, kept, tell) => {}
                    _ = stops => {}
                }
            });
        });
        waits.recv().unwrap();
        Self { go: Some(go), decided, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn go(&mut self) {
        self.go.take().unwrap().send(()).unwrap();
    }

    /// When the next of its requests was decided.
    pub(crate) fn next(&self) -> Instant {
        self.decided.recv_timeout(Duration::from_secs(30)).expect("something is decided within 30 s")
    }

    /// When those were decided that were since this was last asked.
    pub(crate) fn all(&self) -> Vec<Instant> {
        self.decided.try_iter().collect()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        drop((self.go.take(), self.stop.take()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn asks(question: Question, pace: Pace, kept: Vec<Connection>, tell: mpsc::Sender<Instant>) {
    match pace {
        Pace::Open => open(question, kept, tell).await,
        Pace::Closed => closed(question, kept, tell).await,
    }
}

async fn open(question: Question, mut kept: Vec<Connection>, tell: mpsc::Sender<Instant>) {
    let (give_back, mut back) = channel::unbounded_channel();
    let mut every = tokio::time::interval(EVERY);
    let mut number = 0;
    loop {
        every.tick().await;
        while let Ok(connection) = back.try_recv() {
            kept.push(connection);
        }
        number += 1;
        let (kept, bytes, address) = (kept.pop(), question.bytes(number), question.address.clone());
        let (give_back, tell) = (give_back.clone(), tell.clone());
        tokio::spawn(async move {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&address).await?,
            };
            if connection.ask(&bytes).await? {
                // Nobody may want to know any more.
                let _ = tell.send(Instant::now());
            }
            let _ = give_back.send(connection);
            std::io::Result::Ok(())
        });
    }
}

async fn closed(question: Question, mut kept: Vec<Connection>, tell: mpsc::Sender<Instant>) {
    for number in 1.. {
        let one = async {
            let mut connection = match kept.pop() {
                Some(connection) => connection,
                None => Connection::open(&question.address).await?,
            };
            let decided = connection.ask(&question.bytes(number)).await?;
            std::io::Result::Ok((connection, decided))
        };
        match in_time(one).await {
            Some(Ok((connection, decided))) => {
                kept.push(connection);
                if decided {
                    let _ = tell.send(Instant::now());
                } else {
                    tokio::time::sleep(AGAIN).await;
                }
            }
            Some(Err(_)) => tokio::time::sleep(AGAIN).await,
            None => {}
        }
    }
}

async fn in_time<T>(one: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, one).await.ok()
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Whether it was done.
    async fn ask(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        self.0.get_mut().write_all(bytes).await?;
        let (mut line, mut len) = (String::new(), 0);
        self.0.read_line(&mut line).await?;
        let done = line.split(' ').nth(1) == Some("200");
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => len = value.parse().unwrap(),
                Some(("transfer-encoding", _)) => return Err(std::io::ErrorKind::Unsupported.into()),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await?;
        Ok(done)
    }
}
