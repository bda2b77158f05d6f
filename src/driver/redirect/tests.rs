//! A redirector between real sockets: services that say who they are, and clients that are led to them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service: says its name to each who connects, then whatever it is told.
async fn service(name: &'static [u8; 1]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                client.write_all(name).await.unwrap();
                let (mut read, mut write) = client.split();
                _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

fn at(holder: &str, ports: &[u16]) -> Option<Target> {
    let places = ports.iter().map(|port| ("127.0.0.1".into(), *port)).collect();
    Some(Target { holder: holder.into(), places })
}

struct Bench {
    address: SocketAddr,
    target: watch::Sender<Option<Target>>,
    counts: Arc<Counts>,
    _stop: oneshot::Sender<()>,
}

async fn bench(strategy: Strategy, target: Option<Target>) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = watch::channel(target);
    let (stop, stopped) = oneshot::channel();
    let counts = Arc::new(Counts::default());
    let config = Config { strategy, wait: Duration::from_millis(300), connections_max: 8 };
    let serving = serve(listener, receiver, config, Arc::clone(&counts), async { _ = stopped.await });
    tokio::spawn(async { serving.await.unwrap() });
    Bench { address, target: sender, counts, _stop: stop }
}

impl Bench {
    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until no holder is known to refuse.
    async fn until_it_works(&self) {
        let works = async {
            while self.counts.trouble().is_some() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, works).await.unwrap();
    }

    /// Waits until the counts are so.
    async fn until(&self, are: impl Fn(Carried) -> bool) -> Carried {
        let looked = async {
            while !are(self.counts.read()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("{:?}", self.counts.read()));
        self.counts.read()
    }
}

struct Client(TcpStream);

impl Client {
    /// The next byte; nothing when the connection is over.
    async fn byte(&mut self) -> Option<u8> {
        timeout(PATIENCE, self.0.read_u8()).await.unwrap().ok()
    }

    async fn asks(&mut self, byte: u8) -> Option<u8> {
        _ = self.0.write_u8(byte).await;
        self.byte().await
    }
}

#[tokio::test]
async fn new_connections_go_to_the_holder_and_open_ones_end_at_once() {
    let (a, b) = (service(b"a").await, service(b"b").await);
    let bench = bench(Strategy::Immediate, at("a", &[a])).await;
    let mut first = bench.connect().await;
    assert_eq!((first.byte().await, first.asks(b'x').await), (Some(b'a'), Some(b'x')));
    bench.target.send_replace(at("b", &[b]));
    assert_eq!(first.byte().await, None, "it is over");
    let mut second = bench.connect().await;
    assert_eq!(second.byte().await, Some(b'b'));
    // The same holder under another grant is no move.
    bench.target.send_replace(at("b", &[b, a]));
    assert_eq!(second.asks(b'y').await, Some(b'y'));
    let counts = bench.until(|counts| counts.moved == 1).await;
    assert_eq!(counts, Carried { accepted: 2, open: 1, moved: 1, ..Carried::default() });
    drop(second);
    bench.until(|counts| counts.ended == 1 && counts.open == 0).await;
}

#[tokio::test]
async fn who_comes_while_nobody_holds_the_role_waits_for_a_holder_and_not_for_ever() {
    let a = service(b"a").await;
    let bench = bench(Strategy::Immediate, None).await;
    let mut early = bench.connect().await;
    bench.until(|counts| counts.open == 1).await;
    bench.target.send_replace(at("a", &[a]));
    assert_eq!(early.byte().await, Some(b'a'));
    bench.target.send_replace(None);
    assert_eq!(early.byte().await, None, "whoever held it does so no more");
    assert_eq!(bench.connect().await.byte().await, None);
    let counts = bench.until(|counts| counts.unserved == 1).await;
    assert_eq!((counts.moved, counts.open), (1, 0));
}

#[tokio::test]
async fn a_place_that_refuses_is_not_the_last_one_tried() {
    let a = service(b"a").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let bench = bench(Strategy::Immediate, at("a", &[closed, a])).await;
    assert_eq!(bench.connect().await.byte().await, Some(b'a'));
    assert_eq!(bench.counts.trouble(), None, "it was taken");
    // Nobody is there at all: it is told by the end of the connection, counted, and said why.
    bench.target.send_replace(at("b", &[closed, closed]));
    assert_eq!(bench.connect().await.byte().await, None);
    let counts = bench.until(|counts| counts.refused == 1).await;
    assert_eq!(counts.unserved, 0, "there is a holder");
    let why = format!("127.0.0.1:{closed} refuses connections");
    assert_eq!(bench.counts.trouble(), Some(Trouble { holder: "b".into(), why }));
    // It begins to listen, and that is the end of it.
    let _late = TcpListener::bind(("127.0.0.1", closed)).await.unwrap();
    let _taken = bench.connect().await;
    bench.until_it_works().await;
}

#[tokio::test]
async fn what_a_holder_of_before_refused_is_of_the_past() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let bench = bench(Strategy::Immediate, at("a", &[closed])).await;
    assert_eq!(bench.connect().await.byte().await, None);
    assert!(bench.counts.trouble().is_some());
    bench.target.send_replace(at("b", &[closed]));
    bench.until_it_works().await;
}

#[tokio::test]
async fn a_redirector_is_never_its_own_client() {
    let a = service(b"a").await;
    let bench = bench(Strategy::Immediate, None).await;
    let own = bench.address.port();
    bench.target.send_replace(at("a", &[own]));
    assert_eq!(bench.connect().await.byte().await, None);
    let counts = bench.until(|counts| counts.open == 0).await;
    assert_eq!((counts.accepted, counts.refused), (1, 1), "no connection made another one");
    let why = bench.counts.trouble().unwrap().why;
    assert!(why.starts_with(&format!("127.0.0.1:{own} is where this redirector itself listens")), "{why}");
    // Other places of the same holder are tried.
    bench.target.send_replace(at("a", &[own, a]));
    assert_eq!(bench.connect().await.byte().await, Some(b'a'));
    bench.until(|counts| counts.accepted == 2).await;
}

#[test]
fn what_comes_to_where_it_listens_is_its_own() {
    let is_own = |listening: &str, address: &str| dial::is_own(listening.parse().unwrap(), address.parse().unwrap());
    for (listening, address) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.9.9.9:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
    ] {
        assert!(is_own(listening, address), "{listening} {address}");
    }
    for (listening, address) in [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "[::1]:80"),
        // Of documentation, and no machine's.
        ("0.0.0.0:80", "192.0.2.1:80"),
        ("[::]:80", "[2001:db8::1]:80"),
    ] {
        assert!(!is_own(listening, address), "{listening} {address}");
    }
}

#[tokio::test]
async fn what_drains_goes_on_at_the_old_holder_and_is_ended_at_the_limit() {
    let (a, b) = (service(b"a").await, service(b"b").await);
    let bench = bench(Strategy::Drain(Duration::from_secs(2)), at("a", &[a])).await;
    let (mut leaves, mut stays) = (bench.connect().await, bench.connect().await);
    assert_eq!((leaves.byte().await, stays.byte().await), (Some(b'a'), Some(b'a')));
    bench.target.send_replace(at("b", &[b]));
    assert_eq!(bench.connect().await.byte().await, Some(b'b'), "new ones go to the new holder");
    assert_eq!((leaves.asks(b'x').await, stays.asks(b'y').await), (Some(b'x'), Some(b'y')), "old ones go on");
    drop(leaves);
    bench.until(|counts| counts.drained == 1 && counts.moved == 0).await;
    assert_eq!(stays.byte().await, None);
    bench.until(|counts| counts.moved == 1).await;
}

#[tokio::test]
async fn gradual_ends_one_after_the_other() {
    let (a, b) = (service(b"a").await, service(b"b").await);
    let bench = bench(Strategy::Gradual(Duration::from_secs(1)), at("a", &[a])).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = bench.connect().await;
        assert_eq!(client.byte().await, Some(b'a'));
        clients.push(client);
    }
    bench.target.send_replace(at("b", &[b]));
    for client in &mut clients {
        assert_eq!(client.byte().await, None);
    }
    bench.until(|counts| counts.moved == 4).await;
    // Turns are spread over the whole time, however many there are.
    let gradual = Strategy::Gradual(Duration::from_secs(8));
    let turns: Vec<u64> = (0..4).map(|number| gradual.grace(number).as_secs()).collect();
    assert_eq!(turns, [0, 4, 2, 6]);
}

#[tokio::test]
async fn no_more_are_carried_than_was_said() {
    let a = service(b"a").await;
    let bench = bench(Strategy::Immediate, at("a", &[a])).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = bench.connect().await;
        assert_eq!(client.byte().await, Some(b'a'));
        clients.push(client);
    }
    let mut ninth = bench.connect().await;
    assert!(timeout(Duration::from_millis(100), ninth.0.read_u8()).await.is_err(), "it waits in the kernel's queue");
    assert!(bench.counts.filled() > 0);
    clients.pop();
    assert_eq!(ninth.byte().await, Some(b'a'));
}
