//! Peers met before, in a file of the data directory: a peer that restarts finds its mesh although the peers that it was
//! told to join are gone.
//!
//! The file is a hint, not the truth: one that is damaged is set aside and begun anew. It is replaced whole, at most once in
//! [`PAUSE`], on a thread that may wait for the disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admission::{Admission, Invite};
use crate::membership::{self, State};
use crate::node::Event;
use crate::types::{Address, NodeId, Now, Time, WallTime};

/// The file in the data directory.
pub const FILE: &str = "peers.json";
/// Most peers remembered: the latest seen.
const PEERS_MAX: usize = 256;
/// Longest file that is read: 256 peers with 16 addresses of 256 bytes, twice.
const BYTES_MAX: u64 = 4 << 20;
/// Between two writes, at least.
const PAUSE: Duration = Duration::from_millis(250);
/// From a first change to its write: members come in groups.
const GATHERED: Duration = Duration::from_millis(50);
/// A peer that was not seen for so long is forgotten.
const KEPT: Duration = Duration::from_hours(90 * 24);

/// One peer of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    node: NodeId,
    name: String,
    addresses: Vec<String>,
    /// When it was last present, in microseconds since 1970.
    seen: WallTime,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    peers: Vec<Known>,
}

/// Remembers, for the next start, the issuer that has let the peer of this directory in: the one member that it knows.
pub fn remember_issuer(dir: &Path, admission: &Admission, invite: &Invite, now: WallTime) {
    let addresses = invite.addresses.iter().filter_map(|address| Address::parse(&address.to_string()).ok());
    let mut remembered = Remembered::open(dir, admission.node());
    remembered.meet_first(admission.papers().signed_by, &addresses.collect::<Vec<_>>(), now);
}

/// The remembered peers and their file.
#[derive(Debug)]
pub(super) struct Remembered {
    path: PathBuf,
    me: NodeId,
    known: BTreeMap<NodeId, Known>,
    /// When to write, if something changed.
    due: Option<Time>,
    /// Not before: it was written a moment ago.
    rests_until: Time,
    writing: Arc<AtomicBool>,
}

impl Remembered {
    /// Reads the file of a data directory. What cannot be read is set aside and reported.
    pub(super) fn open(dir: &Path, me: NodeId) -> Self {
        let path = dir.join(FILE);
        let known = match read(&path) {
            Ok(peers) => peers,
            Err(why) => {
                let aside = path.with_extension("json.damaged");
                tracing::warn!(%why, aside = %aside.display(), "the file of remembered peers is damaged; it begins anew");
                // If this fails, the next write replaces the file all the same.
                let _ = fs::rename(&path, aside);
                Vec::new()
            }
        };
        let known = known.into_iter().filter(|peer| peer.node != me).map(|peer| (peer.node, peer)).collect();
        Self { path, me, known, due: None, rests_until: Time::ZERO, writing: Arc::default() }
    }

    /// Who was met, and where, the latest first.
    pub(super) fn peers(&self) -> Vec<(NodeId, Vec<Address>)> {
        let mut peers: Vec<_> = self.known.values().collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.seen));
        let addresses = |peer: &Known| peer.addresses.iter().filter_map(|text| Address::parse(text).ok()).collect();
        peers.into_iter().map(|peer| (peer.node, addresses(peer))).collect()
    }

    /// Notes that there is something to remember.
    pub(super) fn hear(&mut self, event: &Event, now: Time) {
        use membership::Event as E;
        let Event::Membership(E::Joined { .. } | E::Updated { .. } | E::Left { .. } | E::Died { .. }) = event else {
            return;
        };
        // A change is written at once unless one was a moment ago: where all get new addresses when they restart, a peer that is killed
        // before it has written them would find nobody, and nobody it.
        self.due.get_or_insert_with(|| (now + GATHERED).max(self.rests_until));
    }

    /// Remembers who was met before there was a mesh to see, if nobody is remembered: the issuer that let this peer in. On the
    /// disk when it returns.
    pub(super) fn meet_first(&mut self, node: NodeId, addresses: &[Address], now: WallTime) {
        if node == self.me || !self.known.is_empty() || addresses.is_empty() {
            return;
        }
        let addresses = addresses.iter().map(ToString::to_string).collect();
        self.known.insert(node, Known { node, name: String::new(), addresses, seen: now });
        save(&self.path, &self.contents());
    }

    /// When to write, if something changed.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Writes if it is time, without waiting for the disk.
    pub(super) fn keep(&mut self, now: Now, members: membership::View<'_>) {
        if self.due.is_none_or(|due| now.mono < due) {
            return;
        }
        if self.writing.swap(true, Ordering::AcqRel) {
            // The disk is slow: later.
            self.due = Some(now.mono + PAUSE);
            return;
        }
        self.due = None;
        self.update(now.wall, members);
        self.rests_until = now.mono + PAUSE;
        let (path, contents, writing) = (self.path.clone(), self.contents(), Arc::clone(&self.writing));
        tokio::task::spawn_blocking(move || {
            save(&path, &contents);
            writing.store(false, Ordering::Release);
        });
    }

    /// Writes what is not written yet, and waits for the disk.
    pub(super) fn save_now(mut self, now: WallTime, members: membership::View<'_>) {
        if self.due.is_some() {
            self.update(now, members);
            save(&self.path, &self.contents());
        }
    }

    fn update(&mut self, now: WallTime, members: membership::View<'_>) {
        for member in members.members().filter(|member| member.id != self.me) {
            if member.state == State::Left {
                self.known.remove(&member.id);
            } else if member.is_present() && !member.meta.addresses.is_empty() {
                let addresses = member.meta.addresses.iter().map(ToString::to_string).collect();
                let name = member.meta.name.clone();
                self.known.insert(member.id, Known { node: member.id, name, addresses, seen: now });
            }
        }
        let kept = u64::try_from(KEPT.as_micros()).unwrap_or(u64::MAX);
        self.known.retain(|_, peer| peer.seen.as_micros().saturating_add(kept) > now.as_micros());
        while self.known.len() > PEERS_MAX {
            let oldest = self.known.values().min_by_key(|peer| peer.seen).map(|peer| peer.node);
            self.known.remove(&oldest.expect("there are more than a few"));
        }
    }

    fn contents(&self) -> Contents {
        Contents { version: 1, peers: self.known.values().cloned().collect() }
    }
}

fn read(path: &Path) -> Result<Vec<Known>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let contents: Contents = serde_json::from_reader(io::BufReader::new(io::Read::take(file, BYTES_MAX)))
        .map_err(|error| error.to_string())?;
    if contents.version != 1 {
        return Err(format!("version {} is unknown", contents.version));
    }
    Ok(contents.peers.into_iter().take(PEERS_MAX).collect())
}

fn save(path: &Path, contents: &Contents) {
    if let Err(error) = replace(path, contents) {
        tracing::warn!(path = %path.display(), %error, "remembered peers could not be written");
    }
}

fn replace(path: &Path, contents: &Contents) -> io::Result<()> {
    let partial = path.with_extension("json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(serde_json::to_string_pretty(contents)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(nth: u128, seen: u64) -> Known {
        let addresses = vec![format!("/ip4/192.0.2.1/tcp/{nth}")];
        Known {
            node: NodeId::from_u128(nth),
            name: format!("peer-{nth}"),
            addresses,
            seen: WallTime::from_micros(seen),
        }
    }

    #[test]
    fn who_was_met_is_there_after_a_restart_the_latest_first_and_never_oneself() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents { version: 1, peers: vec![known(1, 10), known(2, 30), known(3, 20)] };
        replace(&dir.path().join(FILE), &contents).unwrap();
        let remembered = Remembered::open(dir.path(), NodeId::from_u128(3));
        let address = |nth: u128| vec![Address::parse(&format!("/ip4/192.0.2.1/tcp/{nth}")).unwrap()];
        assert_eq!(remembered.peers(), [(NodeId::from_u128(2), address(2)), (NodeId::from_u128(1), address(1))]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_does_not_stop_a_start() {
        for damaged in ["", "{", r#"{"version":2,"peers":[]}"#, r#"{"version":1,"peers":[{"node":"x"}]}"#] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(Remembered::open(dir.path(), NodeId::from_u128(1)).peers(), []);
            assert_eq!(fs::read_to_string(dir.path().join("peers.json.damaged")).unwrap(), damaged);
        }
    }

    fn joined(nth: u128) -> Event {
        let member = NodeId::from_u128(nth);
        Event::Membership(membership::Event::Joined { member, from: member })
    }

    #[test]
    fn a_change_is_written_at_once_and_the_next_after_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let mut remembered = Remembered::open(dir.path(), NodeId::from_u128(1));
        assert_eq!(remembered.deadline(), None);
        // Somebody was met before: that is no reason to wait with who is met now.
        let address = Address::parse("/ip4/192.0.2.1/tcp/7").unwrap();
        remembered.meet_first(NodeId::from_u128(3), std::slice::from_ref(&address), WallTime::from_micros(1));
        // As a kill at this moment leaves it.
        let peers = Remembered::open(dir.path(), NodeId::from_u128(1)).peers();
        assert_eq!(peers, [(NodeId::from_u128(3), vec![address])]);
        let began = Time::ZERO + Duration::from_secs(9);
        remembered.hear(&joined(2), began);
        remembered.hear(&joined(4), began + Duration::from_millis(20));
        assert_eq!(remembered.deadline(), Some(began + GATHERED));
        remembered.due = None;
        remembered.rests_until = began + GATHERED + PAUSE;
        remembered.hear(&joined(5), began + Duration::from_millis(100));
        assert_eq!(remembered.deadline(), Some(began + GATHERED + PAUSE));
    }
}
