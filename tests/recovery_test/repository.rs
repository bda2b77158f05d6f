//! Backups of a real node's log, in real stores: a directory, and the S3 servers of others where they are installed.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStore;
use oxigdal_ha::backup::{
    self, BackupCompression, BackupType, Catalogue, Directory, Error, Host, Level, Pruning, Repository, Retention,
    Secret, Stretch,
};
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{LOG_DIR, Source, Survey};
use oxigdal_ha::types::{Lsn, WallTime};
use tempfile::TempDir;

use super::{Docs, Life, Luck, ME, START, bounded, look, state_at};

/// A clock that is set, and luck that follows from when it was set first: a story is told again by its seed.
pub(super) struct Clock(pub(super) AtomicU64, Mutex<Luck>);

impl Clock {
    pub(super) fn at(wall: u64) -> Self {
        Self(AtomicU64::new(wall), Mutex::new(Luck(wall)))
    }
}

impl Host for Clock {
    fn life(&self) -> String {
        "the life of a test".into()
    }

    fn has_ended(&self, _: &str) -> bool {
        false
    }

    fn wall(&self) -> WallTime {
        WallTime::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut luck = self.1.lock().unwrap();
        bytes.fill_with(|| u8::try_from(luck.below(256)).unwrap());
    }
}

/// A store, and what runs as long as it is used.
struct Shop {
    name: &'static str,
    store: Arc<dyn ObjectStore>,
    /// Whether it honours create-if-absent.
    honest: bool,
    _server: Option<Server>,
    _dir: TempDir,
}

/// A server that ends with whoever uses it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn local() -> Shop {
    let dir = TempDir::new().unwrap();
    let store = backup::locate(dir.path().join("repo").to_str().unwrap(), true).unwrap().store;
    Shop { name: "directory", store, honest: true, _server: None, _dir: dir }
}

/// The server that the variable names, or a line that nobody overlooks.
#[expect(clippy::disallowed_methods, reason = "a server of others says nowhere when it is up")]
fn server(variable: &str, start: impl FnOnce(&str, u16, &Path) -> Process) -> Option<(Server, u16, TempDir)> {
    let skip = |why: &str| {
        // Past the harness, which keeps what tests print to itself.
        let line = format!("\n!!! SKIPPED: backups against a real S3 server: {why}\n\n");
        io::stderr().lock().write_all(line.as_bytes()).unwrap();
        None
    };
    if !cfg!(feature = "s3") {
        return skip("build with --features s3");
    }
    let Ok(program) = std::env::var(variable) else {
        return skip(&format!("{variable} names no program"));
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    let mut process = start(&program, port, dir.path());
    let process = process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(process.spawn().unwrap());
    // An interpreter on a loaded machine takes its time.
    let up = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(up, "{program} does not listen");
    Some((server, port, dir))
}

#[cfg(feature = "s3")]
fn bucket(port: u16) -> Arc<dyn ObjectStore> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = object_store::aws::AmazonS3Builder::new().with_bucket_name("test").with_region("us-east-1");
    let builder = builder.with_access_key_id("AKEXAMPLE").with_secret_access_key("SKEXAMPLE");
    Arc::new(builder.with_endpoint(format!("http://127.0.0.1:{port}")).with_allow_http(true).build().unwrap())
}

#[cfg(not(feature = "s3"))]
fn bucket(_: u16) -> Arc<dyn ObjectStore> {
    unreachable!("no server was started")
}

/// moto honours conditions.
fn moto() -> Option<Shop> {
    let (child, port, dir) = server("OXIGDAL_HA_MOTO", |program, port, _| {
        let mut process = Process::new(program);
        process.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        process
    })?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "PUT /test HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    let answer = io::read_to_string(stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Some(Shop { name: "moto", store: bucket(port), honest: true, _server: Some(child), _dir: dir })
}

/// rclone ignores them, and says nothing.
fn rclone() -> Option<Shop> {
    let (child, port, dir) = server("OXIGDAL_HA_RCLONE", |program, port, dir| {
        std::fs::create_dir(dir.join("test")).unwrap();
        let mut process = Process::new(program);
        process
            .args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}"), "--auth-key", "AKEXAMPLE,SKEXAMPLE"])
            .arg(dir);
        process
    })?;
    Some(Shop { name: "rclone", store: bucket(port), honest: false, _server: Some(child), _dir: dir })
}

/// What a node that boots from a directory holds.
pub(super) fn held(dir: &Path, now: WallTime) -> (Docs, u64) {
    let source = Source::open(dir).unwrap();
    let survey = Survey::of(&source).unwrap();
    assert_eq!(survey.damage, []);
    let all = survey.locate(&source, &Target::Latest, false, now).unwrap();
    look(&source, &survey, &all)
}

async fn open(shop: &Shop, secret: Option<&Secret>, clock: &Clock) -> Repository {
    let stretch = Stretch { memory_kib: 64, passes: 1 };
    Repository::open_or_make(Arc::clone(&shop.store), shop.name, secret, stretch, clock).await.unwrap()
}

/// A life with backups of each kind while it goes on; what they restore is what the model held, at any moment that is
/// asked for.
async fn story(shop: Shop, secret: Option<Secret>) {
    let home = TempDir::new().unwrap();
    let log = home.path().join(LOG_DIR);
    std::fs::create_dir_all(&log).unwrap();
    let (mut life, mut luck) = (Life::begin(&log, START, Vec::new()), Luck(21));
    let clock = Clock::at(START);
    let repository = open(&shop, secret.as_ref(), &clock).await;
    assert_eq!(repository.capabilities().create, shop.honest, "{}", shop.name);
    let mut whole = Vec::new();
    for (at, kind) in [0, 1, 1, 2, 0, 1]
        .map(|kind| [BackupType::Full, BackupType::Incremental, BackupType::Differential][kind])
        .into_iter()
        .enumerate()
    {
        (0..14).for_each(|_| life.live(&mut luck));
        clock.0.store(life.model.last().unwrap().at + 10, Ordering::Relaxed);
        let directory = Directory::open(home.path(), None, clock.wall()).unwrap();
        // It takes a while until the repository is there, and the peer works on.
        clock.0.fetch_add(500_000, Ordering::Relaxed);
        let codec = BackupCompression::ALL[at % 4];
        let made = backup::create(&repository, &directory, kind, codec, &clock).await.unwrap();
        assert_eq!((made.promoted, made.metadata.kind), (None, kind), "{}", shop.name);
        whole.push((made.metadata.id, life.model.last().unwrap().clone()));
        life.wall += 1_000_000;
    }
    let mut catalogue = Catalogue::read(&repository, ME).await.unwrap();
    let now = clock.wall();
    let restore = async |catalogue: &mut Catalogue, target: &Target, exclusive: bool, name: &str| {
        let found = backup::find(&repository, catalogue, target, exclusive, &clock).await?;
        let into = home.path().join(name);
        backup::restore_into(&repository, catalogue, &found, target.to_string(), &into, &clock).await?;
        Ok::<_, Error>(into)
    };
    for (id, state) in &whole {
        let into = restore(&mut catalogue, &Target::Backup(id.to_string()), false, &id.to_string()).await.unwrap();
        assert_eq!(held(&into, now), (state.docs.clone(), state.events), "{}: {id}", shop.name);
    }
    // Times between the last full backup and the newest.
    let since = whole[3].1.at;
    let times: Vec<u64> =
        life.model.iter().map(|state| state.at).filter(|at| *at > since && *at <= whole[5].1.at).step_by(5).collect();
    for at in times {
        for exclusive in [false, true] {
            let target = Target::Time(WallTime::from_micros(at));
            let into = restore(&mut catalogue, &target, exclusive, &format!("{at}-{exclusive}")).await.unwrap();
            let state = state_at(&life.model, at, exclusive).unwrap();
            assert_eq!(
                held(&into, now),
                (state.docs.clone(), state.events),
                "{}: {target}, exclusive: {exclusive}",
                shop.name
            );
        }
    }
    let later = Target::Time(WallTime::from_micros(whole[5].1.at + 400_000));
    let unseen = restore(&mut catalogue, &later, false, "unseen").await.unwrap_err();
    assert!(matches!(unseen, Error::Target(_)), "what came after the look is not in the backup: {unseen}");
    let beyond = restore(&mut catalogue, &Target::Lsn(Lsn::new(1_000_000)), false, "beyond").await.unwrap_err();
    assert!(matches!(beyond, Error::Target(_)) && !home.path().join("beyond").exists(), "{beyond}");
    backup::trial(&repository, &catalogue, whole[3].0, &home.path().join("trial"), &clock).await.unwrap();
    let verified = backup::verify(&repository, catalogue, None, Level::Content, &clock).await.unwrap();
    assert!(verified.is_good() && verified.backups == 6, "{verified:?}");
    pruned(&repository, &clock).await;
    damaged(&shop, &repository, secret.as_ref(), &clock, home.path()).await;
}

/// The older chain goes, in two steps.
async fn pruned(repository: &Repository, clock: &Clock) {
    let policy = Retention { last: 1, ..Retention::default() };
    let grace = Duration::from_secs(3_600);
    for (marked, deleted) in [(4, 0), (0, 0), (0, 4)] {
        let plan = Pruning::plan(
            Catalogue::read(repository, ME).await.unwrap(),
            policy,
            &BTreeSet::new(),
            grace,
            clock.wall(),
        );
        let plan = plan.unwrap();
        let done = plan.run(repository, clock).await.unwrap();
        assert_eq!((done.marked, done.deleted), (marked, deleted));
        clock.0.fetch_add(2_000_000_000, Ordering::Relaxed);
    }
    assert_eq!(Catalogue::read(repository, ME).await.unwrap().backups().count(), 2);
}

/// Without one of its objects nothing is restored, and no directory appears.
async fn damaged(shop: &Shop, repository: &Repository, secret: Option<&Secret>, clock: &Clock, home: &Path) {
    use object_store::ObjectStoreExt as _;
    let mut catalogue = Catalogue::read(repository, ME).await.unwrap();
    let object = catalogue.backups().next().unwrap().objects[0].key.clone();
    shop.store.delete(&object_store::path::Path::from(object.as_str())).await.unwrap();
    let again = open(shop, secret, clock).await;
    let found = backup::find(&again, &mut catalogue, &Target::Latest, false, clock).await.unwrap();
    let into = home.join("damaged");
    let error = backup::restore_into(&again, &catalogue, &found, "a test".into(), &into, clock).await.unwrap_err();
    assert_eq!(error.object(), Some(object.as_str()), "{}: {error}", shop.name);
    let verified = backup::verify(&again, catalogue, None, Level::List, clock).await.unwrap();
    assert!(verified.faults.iter().any(|fault| fault.object() == Some(object.as_str())), "{verified:?}");
    assert!(!into.exists());
}

#[test]
fn backups_of_a_living_node_restore_any_moment_from_a_directory() {
    bounded(story(local(), None));
}

#[test]
fn backups_of_a_living_node_restore_any_moment_from_an_encrypted_directory() {
    bounded(story(local(), Some(Secret::Passphrase("correct horse".into()))));
}

#[test]
fn backups_of_a_living_node_restore_any_moment_from_an_s3_server_that_honours_conditions() {
    if let Some(shop) = moto() {
        bounded(story(shop, None));
    }
}

#[test]
fn backups_of_a_living_node_restore_any_moment_from_an_s3_server_that_ignores_conditions() {
    if let Some(shop) = rclone() {
        bounded(story(shop, Some(Secret::KeyFile(vec![7; 32]))));
    }
}
