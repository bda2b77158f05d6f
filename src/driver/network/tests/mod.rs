//! What hostile and broken peers meet: a member with a good ticket that writes whatever it likes, and strangers.

use std::io;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, Stream};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::behaviour::{Behaviour, BehaviourEvent};
use super::handler::{Ends, Negotiated, Protocol};
use super::*;
use crate::driver::admission::message::{Answer, Request};
use crate::driver::admission::{PublicKey, Refusal};
use crate::types::Lane;

mod floods;

const PATIENCE: Duration = Duration::from_secs(20);

/// A peer under attack.
struct Victim {
    _dir: TempDir,
    admission: Admission,
    network: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
    address: Multiaddr,
}

impl Victim {
    async fn start(limits: Limits) -> Self {
        Self::serving(limits, false).await
    }

    async fn serving(limits: Limits, relay: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admission = Admission::open_or_mint(dir.path()).unwrap();
        let mut setup = NetworkSetup::new(admission.clone(), Boot::new(1));
        setup.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        (setup.limits, setup.relay) = (limits, relay);
        let (sender, mut events) = mpsc::channel(64);
        let network = Network::start(setup, sender).unwrap();
        let Some(NetworkEvent::Listening { address, .. }) = events.recv().await else { panic!("it listens first") };
        Self { _dir: dir, admission, network, events, address: address.as_str().parse().unwrap() }
    }

    async fn next(&mut self) -> NetworkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the network runs")
    }

    /// The fault that ends the link with the attacker, after which the link is told gone.
    async fn fault(&mut self) -> Fault {
        let mut found = None;
        loop {
            match self.next().await {
                NetworkEvent::Fault { fault, .. } => found = Some(fault),
                NetworkEvent::Unlinked { why, .. } => {
                    let fault = found.unwrap_or_else(|| panic!("unlinked without a fault: {why}"));
                    assert_eq!(*why, *fault.to_string());
                    return fault;
                }
                _ => {}
            }
        }
    }

    async fn refusal(&mut self) -> Refusal {
        loop {
            if let NetworkEvent::Refused { why, by_peer: false, .. } = self.next().await {
                return why;
            }
        }
    }

    /// Serves an honest peer as before.
    async fn still_serves(&mut self) {
        let mut honest = Attacker::dial(self).await;
        honest.link().await;
        loop {
            if let NetworkEvent::Linked { peer } = self.next().await
                && peer == honest.admission.node()
            {
                return;
            }
        }
    }
}

/// A libp2p peer without our driver: it does what each test tells it.
struct Attacker {
    _dir: TempDir,
    admission: Admission,
    key: PublicKey,
    ends: Ends,
    _swarm: JoinHandle<()>,
}

struct Lanes {
    control: Stream,
    sync: Stream,
    control_in: Stream,
    _sync_in: Stream,
}

impl Attacker {
    /// A member, connected.
    async fn dial(victim: &Victim) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let invite = victim.admission.issue_invite(Duration::from_secs(60), "attacker").unwrap();
        let admission = join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap();
        Self::dial_as(victim, dir, admission).await
    }

    async fn dial_as(victim: &Victim, dir: TempDir, admission: Admission) -> Self {
        let shared = Arc::new(Shared::new(Limits::default()));
        let mut swarm = transport::swarm(&admission.key().keypair(), &shared, false).unwrap();
        swarm.dial(victim.address.clone()).unwrap();
        let ends = opened(&mut swarm).await;
        let drive = async move {
            loop {
                swarm.select_next_some().await;
            }
        };
        let key = victim.admission.key().public();
        Self { _dir: dir, admission, key, ends, _swarm: tokio::spawn(drive) }
    }

    async fn admit_stream(&mut self) -> Stream {
        match timeout(PATIENCE, self.ends.streams.recv()).await.unwrap() {
            Some(Negotiated::Outbound(Protocol::Admit, stream)) => stream,
            other => panic!("{other:?}"),
        }
    }

    async fn link(&mut self) -> Lanes {
        let mut stream = self.admit_stream().await;
        admit::request(&mut stream, &self.admission, self.key, Boot::new(1), 1).await.unwrap();
        self.ends.gate.accept_lanes();
        self.ends.gate.open_lanes();
        let (mut control, mut sync, mut control_in, mut sync_in) = (None, None, None, None);
        for _ in 0..4 {
            match timeout(PATIENCE, self.ends.streams.recv()).await.unwrap().unwrap() {
                Negotiated::Outbound(Protocol::Lane(Lane::Control), stream) => control = Some(stream),
                Negotiated::Outbound(Protocol::Lane(Lane::Sync), stream) => sync = Some(stream),
                Negotiated::Inbound(Protocol::Lane(Lane::Control), stream) => control_in = Some(stream),
                Negotiated::Inbound(Protocol::Lane(Lane::Sync), stream) => sync_in = Some(stream),
                other => panic!("{other:?}"),
            }
        }
        Lanes {
            control: control.unwrap(),
            sync: sync.unwrap(),
            control_in: control_in.unwrap(),
            _sync_in: sync_in.unwrap(),
        }
    }
}

async fn opened(swarm: &mut Swarm<Behaviour>) -> Ends {
    loop {
        match timeout(PATIENCE, swarm.select_next_some()).await.unwrap() {
            SwarmEvent::Behaviour(BehaviourEvent::Lanes(opened)) => return opened.ends,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

async fn put(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn garbage_on_the_control_lane_closes_the_link_with_a_name() {
    let mut victim = Victim::start(Limits::default()).await;
    let lane = Lane::Control;
    let max = 1 + frame::max(lane);
    let attacks: [(&[u8], Fault); 5] = [
        (b"\xff\xff\xff\xff", Fault::TooLong { lane, len: 0xffff_ffff, max }),
        (b"\0\0\0\0", Fault::Empty { lane }),
        (b"\x01\0\0\0\x63", Fault::Kind { lane, kind: 0x63 }),
        (b"\x03\0\0\0\x01ab", Fault::Malformed { lane, kind: frame::PING }),
        (b"\x09\0\0\0\x03\xff\0\0\0\0\0\0\0", Fault::Acknowledged { acknowledged: 255, sent: 0 }),
    ];
    for (bytes, expected) in attacks {
        let mut attacker = Attacker::dial(&victim).await;
        let mut lanes = attacker.link().await;
        put(&mut lanes.control, bytes).await;
        assert_eq!(victim.fault().await, expected);
    }
    let mut attacker = Attacker::dial(&victim).await;
    let mut lanes = attacker.link().await;
    put(&mut lanes.control, b"\x08\0\0\0\0abc").await;
    lanes.control.close().await.unwrap();
    assert_eq!(victim.fault().await, Fault::Ended { lane }, "a truncated frame");
    assert_eq!(victim.network.totals().faults, 6);
    victim.still_serves().await;
}

#[tokio::test]
async fn garbage_on_the_sync_lane_closes_the_link_with_a_name() {
    let mut victim = Victim::start(Limits { assembly_stall: Duration::from_millis(300), ..Limits::default() }).await;
    let lane = Lane::Sync;
    let attacks: [(&[u8], Fault); 5] = [
        (b"\xff\xff\xff\xff", Fault::TooLong { lane, len: 0xffff_ffff, max: 5 + limit::CHUNK }),
        (b"\x06\0\0\0\0\xff\xff\xff\x7fa", Fault::TooLong { lane, len: 0x7fff_ffff, max: frame::max(lane) }),
        (b"\x02\0\0\0\x01a", Fault::Pieces),
        (b"\x06\0\0\0\0\x00\0\0\0a", Fault::Pieces),
        (b"\x06\0\0\0\0\x09\0\0\0a", Fault::Incomplete { ms: 300 }),
    ];
    for (bytes, expected) in attacks {
        let mut attacker = Attacker::dial(&victim).await;
        let mut lanes = attacker.link().await;
        // It keeps the control lane alive: only the sync lane is wrong.
        put(&mut lanes.control, b"\x09\0\0\0\x01\0\0\0\0\0\0\0\0").await;
        put(&mut lanes.sync, bytes).await;
        assert_eq!(victim.fault().await, expected);
    }
    victim.still_serves().await;
}

#[tokio::test]
async fn a_silent_member_is_gone_after_the_watchdog() {
    let mut victim = Victim::start(Limits { watchdog: Duration::from_millis(600), ..Limits::default() }).await;
    let mut attacker = Attacker::dial(&victim).await;
    let mut lanes = attacker.link().await;
    let began = Instant::now();
    let fault = victim.fault().await;
    assert!(matches!(fault, Fault::Silent { ms: 600.. }), "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut heard = Vec::new();
    _ = lanes.control_in.read_to_end(&mut heard).await;
    assert!(heard.len() >= 13, "it was asked for a sign of life before");
}

#[tokio::test]
async fn a_member_that_does_not_read_stops_nobody_else() {
    let limits = Limits { write_stall: Duration::from_millis(500), ..Limits::default() };
    let mut victim = Victim::start(limits).await;
    let mut attacker = Attacker::dial(&victim).await;
    let mut lanes = attacker.link().await;
    let node = attacker.admission.node();
    while victim.next().await != (NetworkEvent::Linked { peer: node }) {}
    // It talks, so it is not silent, but it reads nothing: its stream's window (256 KiB) fills.
    let talk = tokio::spawn(async move {
        while lanes.control.write_all(b"\x09\0\0\0\x01\0\0\0\0\0\0\0\0").await.is_ok()
            && lanes.control.flush().await.is_ok()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        lanes
    });
    let (mut other, flood) = (Attacker::dial(&victim).await, bytes::Bytes::from(vec![0; 60_000]));
    let mut honest = other.link().await;
    for _ in 0..100 {
        victim.network.send(node, Lane::Control, flood.clone());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let fault = victim.fault().await;
    assert_eq!(fault, Fault::Stalled { lane: Lane::Control, ms: 500 });
    put(&mut honest.control, b"\x02\0\0\0\0x").await;
    loop {
        if let NetworkEvent::Received { frame, .. } = victim.next().await {
            assert_eq!(&frame[..], b"x");
            break;
        }
    }
    talk.abort();
}

#[tokio::test]
async fn strangers_reach_nothing_and_are_shown_out_in_time() {
    let limits = Limits {
        admission_timeout: Duration::from_secs(2),
        handshake_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let mut victim = Victim::start(limits).await;
    let stranger = || {
        let dir = tempfile::tempdir().unwrap();
        let admission = Admission::open_or_mint(dir.path()).unwrap();
        (dir, admission)
    };
    // Another cluster's member.
    let (dir, admission) = stranger();
    let cluster = admission.cluster();
    let mut attacker = Attacker::dial_as(&victim, dir, admission).await;
    let mut stream = attacker.admit_stream().await;
    let error = admit::request(&mut stream, &attacker.admission, attacker.key, Boot::new(1), 1).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the peer refused us: this is a peer of another cluster ({cluster})"));
    assert_eq!(victim.refusal().await, Refusal::WrongCluster { found: cluster });
    // Lanes without admission.
    let (dir, admission) = stranger();
    let mut attacker = Attacker::dial_as(&victim, dir, admission).await;
    let _held = attacker.admit_stream().await;
    attacker.ends.gate.open_lanes();
    for _ in 0..2 {
        match timeout(PATIENCE, attacker.ends.streams.recv()).await.unwrap() {
            Some(Negotiated::Failed(Protocol::Lane(_), "not spoken by the peer")) => {}
            other => panic!("{other:?}"),
        }
    }
    // A request that is too long, and one that is garbage.
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\x03\0\0\0\x03\xff\xff"] {
        let (dir, admission) = stranger();
        let mut attacker = Attacker::dial_as(&victim, dir, admission).await;
        let mut stream = attacker.admit_stream().await;
        put(&mut stream, bytes).await;
        assert_eq!(victim.refusal().await, Refusal::Malformed);
    }
    // Silence: before the handshake, and after it.
    let port = victim.address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let mut silent = TcpStream::connect(("127.0.0.1", port.unwrap())).await.unwrap();
    let (dir, admission) = stranger();
    let mut mute = Attacker::dial_as(&victim, dir, admission).await;
    let mut held = mute.admit_stream().await;
    let began = Instant::now();
    let mut nothing = Vec::new();
    _ = timeout(PATIENCE, held.read_to_end(&mut nothing)).await.unwrap();
    _ = timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut Vec::new())).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(nothing.is_empty());
    victim.still_serves().await;
}

/// Whether somebody gets a place at the victim, where it could be reached by others.
async fn gets_place(victim: &Victim, admission: &Admission, member: bool) -> bool {
    let shared = Arc::new(Shared::new(Limits::default()));
    let mut swarm = transport::swarm(&admission.key().keypair(), &shared, false).unwrap();
    swarm.dial(victim.address.clone()).unwrap();
    let mut ends = opened(&mut swarm).await;
    swarm.listen_on(victim.address.clone().with(libp2p::multiaddr::Protocol::P2pCircuit)).unwrap();
    let key = victim.admission.key().public();
    let ask = async {
        let Some(Negotiated::Outbound(Protocol::Admit, mut stream)) = ends.streams.recv().await else { panic!() };
        if member {
            admit::request(&mut stream, admission, key, Boot::new(1), 1).await.unwrap();
        }
        // A stranger asks all the same.
        ends.gate.accept_lanes();
        ends.gate.open_lanes();
        std::future::pending::<bool>().await
    };
    let answer = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { .. } => return true,
                SwarmEvent::ListenerClosed { .. } => return false,
                _ => {}
            }
        }
    };
    let given = async {
        tokio::select! { given = ask => given, given = answer => given }
    };
    timeout(PATIENCE, given).await.unwrap()
}

#[tokio::test]
async fn a_relay_is_for_members_and_nobody_else_is_a_relay() {
    for (relay, member, given) in [(true, true, true), (true, false, false), (false, true, false)] {
        let victim = Victim::serving(Limits::default(), relay).await;
        let dir = tempfile::tempdir().unwrap();
        let invite = victim.admission.issue_invite(Duration::from_secs(60), "asker").unwrap();
        let admission = match member {
            true => join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap(),
            false => Admission::open_or_mint(dir.path()).unwrap(),
        };
        assert_eq!(gets_place(&victim, &admission, member).await, given, "relay: {relay}, member: {member}");
    }
}

#[tokio::test]
async fn a_stolen_ticket_opens_nothing() {
    let mut victim = Victim::start(Limits::default()).await;
    let honest = Attacker::dial(&victim).await;
    let stolen = Request::Hello(honest.admission.hello(Boot::new(1), 1)).to_bytes();
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let mut thief = Attacker::dial_as(&victim, dir, admission).await;
    let mut stream = thief.admit_stream().await;
    put(&mut stream, &u32::try_from(stolen.len()).unwrap().to_le_bytes()).await;
    put(&mut stream, &stolen).await;
    let mut answer = Vec::new();
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.unwrap();
    answer.resize(usize::try_from(u32::from_le_bytes(len)).unwrap(), 0);
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(Answer::from_bytes(&answer), Ok(Answer::Refused(Refusal::WrongPeer, vec![])));
    drop(stream);
    assert_eq!(victim.refusal().await, Refusal::WrongPeer);
}

#[tokio::test]
async fn those_who_hold_places_without_a_ticket_do_not_keep_members_out() {
    let mut victim = Victim::start(Limits { unadmitted: 3, ..Limits::default() }).await;
    let mut holding = Vec::new();
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let admission = Admission::open_or_mint(dir.path()).unwrap();
        let mut attacker = Attacker::dial_as(&victim, dir, admission).await;
        let stream = attacker.admit_stream().await;
        holding.push((attacker, stream));
    }
    victim.still_serves().await;
    let mut byte = [0];
    let first = &mut holding[0].1;
    let read: io::Result<usize> = timeout(Duration::from_secs(2), first.read(&mut byte)).await.expect("it was evicted");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_ticket_past_half_its_life_is_renewed_over_the_link() {
    let mut victim = Victim::start(Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let invite = victim.admission.issue_invite(Duration::from_secs(60), "member").unwrap();
    let member = join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap();
    victim.admission.age_ticket_of(&member);
    let old = member.expires_at();
    assert!(member.due_for_renewal().is_some());
    let mut setup = NetworkSetup::new(member.clone(), Boot::new(1));
    setup.bootstrap = vec![victim.address.clone()];
    let (sender, _events) = mpsc::channel(64);
    let _network = Network::start(setup, sender).unwrap();
    while victim.next().await != (NetworkEvent::Linked { peer: member.node() }) {}
    let began = Instant::now();
    while member.expires_at() == old {
        assert!(began.elapsed() < PATIENCE, "no renewal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(member.expires_at() > old && member.due_for_renewal().is_none());
}
