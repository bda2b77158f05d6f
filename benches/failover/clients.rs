//! What clients notice: each writes to a service beside whoever leads, or is the primary, through `redirect`. That process and its service are
//! killed; a client's gap is the longest time between two of its acknowledged writes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{free_port, wait_for};
use crate::ours::Ours;
use crate::told;
use crate::trials::{Trio as _, longest_gap, settle, signal};

/// How many write at a time.
const CLIENTS: usize = 4;
/// From an answer to the next write.
const PAUSE: Duration = Duration::from_millis(2);
/// After a connection that ended or was not taken.
const AGAIN: Duration = Duration::from_millis(5);
/// A write without an answer is given up after this, and its connection with it.
const PATIENCE: Duration = Duration::from_secs(1);
/// A service is this program again, so that it can be killed like one.
pub(crate) fn serve(port: &str) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for client in listener.incoming().map(Result::unwrap) {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if writeln!(&client, "{line}").is_err() {
                    return;
                }
            }
        });
    }
}

struct Service(Child);

impl Service {
    fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let service = Self(command.args(["serve", &port.to_string()]).stdin(Stdio::null()).spawn().unwrap());
        wait_for("the service listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients of whoever leads the voters.
pub(crate) fn of_leader(home: &Path, count: usize) {
    run(home, count, "leader");
}

/// Clients of a role's holder: another one is granted it only when the lease is over.
pub(crate) fn of_primary(home: &Path, count: usize) {
    run(home, count, "primary");
}

fn run(home: &Path, count: usize, role: &str) {
    let load = told::load_average();
    println!(
        "\nkill -9 of the {role} and the service beside it: the longest time in which a redirected client's write was"
    );
    println!("not acknowledged; {count} times, {CLIENTS} clients, load average {load}");
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut ours = Ours::start_with(home, |at, place| {
        let place = place.with("NODE__SERVICES", &format!("db:{}", ports[at]));
        match role {
            "leader" => place,
            role => place.with("ROLES__NAMES", role).with("ROLES__PROMOTIONS_MAX", "1000"),
        }
    });
    let mut services: Vec<Option<Service>> = ports.iter().map(|port| Some(Service::start(*port))).collect();
    wait_for("somebody has it", || ours.holds(role).is_some());
    let redirect = Redirect::start(&ours, role);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| Client::start(redirect.address.clone())).collect();
    let (mut gaps, mut luck) = (Vec::new(), told::Luck::default());
    for _ in 0..count {
        settle(&ours);
        wait_for("somebody has it, and all know who", || ours.holds(role).is_some());
        std::thread::sleep(Duration::from_millis(300 + luck.next() % 500));
        clients.iter().for_each(|client| drop(client.taken()));
        std::thread::sleep(Duration::from_millis(100));
        let Some(dies) = ours.holds(role) else { continue };
        let began = Instant::now();
        signal(ours.pid(dies), Signal::KILL);
        drop(services[dies].take());
        wait_for("all are served again", || clients.iter().all(|client| client.last() > began + PATIENCE / 4));
        gaps.extend(clients.iter().map(|client| longest_gap(&client.taken(), began)));
        services[dies] = Some(Service::start(ports[dies]));
        ours.reap(dies);
        ours.restart(dies);
    }
    told::gaps(&gaps, [Some(300), Some(1_000), None]);
    println!("load average {}", told::load_average());
}

struct Redirect {
    child: Child,
    address: String,
}

impl Redirect {
    fn start(ours: &Ours, role: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
        command.args(["--json", "redirect", "--role", role, "--listen", "127.0.0.1:0", "--port-of", "db"]);
        ours.interfaces().for_each(|api| _ = command.args(["--api", api]));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
        // What it tells is read, so that it never waits for a reader.
        std::thread::spawn(move || told.read_to_end(&mut Vec::new()));
        Self { child, address }
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    fn start(address: String) -> Self {
        let (acknowledged, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (list, end) = (Arc::clone(&acknowledged), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let _ = write(&address, &list, &end);
                std::thread::sleep(AGAIN);
            }
        });
        Self { acknowledged, ends, thread: Some(thread) }
    }

    /// When its writes were acknowledged, since this was last asked.
    fn taken(&self) -> Vec<Instant> {
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }

    fn last(&self) -> Instant {
        self.acknowledged.lock().unwrap().last().copied().unwrap_or_else(|| Instant::now() - Duration::from_secs(60))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Writes over one connection for as long as it lasts.
fn write(address: &str, list: &Mutex<Vec<Instant>>, end: &AtomicBool) -> std::io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    for number in 0_u64.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        writeln!(reader.get_mut(), "{number}")?;
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        list.lock().unwrap().push(Instant::now());
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
