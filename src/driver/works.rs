//! Work that an embedding program does in a role: a future that lives as long as the lease does, and not longer.
//!
//! Three things end it, whichever comes first: it comes to its end; the machine says that the role is lost, and waits until the
//! future is dropped before it says so to others; or the lease is over by this host's clock, also where the loop does not get to
//! run and says nothing. What the loop knows of a lease is published after each turn, so [`Lease::held`] asks nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::peer::Link;
use crate::consensus::Token;
use crate::node::{Command, Node};
use crate::roles::{Hooks, RoleName};
use crate::types::{NodeId, Time};

/// What is done in a role. An error, or a panic, gives the role to somebody else; a good end keeps it without doing more.
pub(super) type Work = Arc<dyn Fn(Lease) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What this peer holds of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    token: Token,
    /// It acts until then, unless the lease is renewed.
    until: Time,
}

/// The right to act in a role, for a while. Cheap to clone.
///
/// Whoever acts asks [`held`](Self::held) before each step that others rely on, and shows [`token`](Self::token) to what is acted upon,
/// which refuses a lower one than the highest that it has seen: between the question and the step the lease may end.
#[derive(Clone)]
pub struct Lease {
    node: NodeId,
    role: RoleName,
    token: Token,
    held: watch::Receiver<Option<Held>>,
    clock: Clock,
}

impl Lease {
    /// Who holds it: this node, which [`Mesh::running_as`](super::mesh::Mesh::running_as) gives to work that wants it. A handle that is kept keeps
    /// the node running.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The fencing token: of two grants of a role the later one has the higher token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether this peer may act now, by its own clock: false also when its loop was not run for so long that the lease is over. It
    /// asks nobody and never waits.
    #[must_use]
    pub fn held(&self) -> bool {
        self.until().is_some_and(|until| self.clock.now().mono < until)
    }

    /// Waits until the lease is lost. A lease that is lost does not come back: the next one is another call of the closure.
    pub async fn lost(&self) {
        let mut held = self.held.clone();
        loop {
            held.mark_unchanged();
            let Some(until) = self.until().filter(|until| self.clock.now().mono < *until) else { return };
            let Some(over) = self.clock.instant(until) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(over.into()) => {}
                // The loop has ended, and with it every lease.
                changed = held.changed() => if changed.is_err() { return },
            }
        }
    }

    fn until(&self) -> Option<Time> {
        // Whoever published it may have gone without a word.
        let gone = self.held.has_changed().is_err();
        self.held.borrow().filter(|held| held.token == self.token && !gone).map(|held| held.until)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("role", &self.role)
            .field("token", &self.token)
            .field("held", &self.held())
            .finish()
    }
}

/// The work of each role that this program does some in. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Works(BTreeMap<RoleName, Arc<One>>);

struct One {
    work: Work,
    held: watch::Sender<Option<Held>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Works {
    pub(super) fn add(&mut self, role: RoleName, work: Work) {
        let one = One { work, held: watch::Sender::new(None), running: Mutex::default() };
        self.0.insert(role, Arc::new(one));
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.0.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Under which token this peer holds a role that it does some work in.
    pub(super) fn held(&self, role: &RoleName) -> Option<Token> {
        self.0.get(role)?.held.borrow().map(|held| held.token)
    }

    /// Publishes what the node holds. Called after each turn, before anything else may happen.
    pub(super) fn publish(&self, node: &Node) {
        if self.0.is_empty() {
            return;
        }
        let holdings: BTreeMap<_, _> = node.serving().holdings().collect();
        for (role, one) in &self.0 {
            let holding = holdings.get(role);
            let held = holding.and_then(|it| it.acts_until.map(|until| Held { token: it.token, until }));
            one.held.send_if_modified(|now| std::mem::replace(now, held) != held);
        }
    }

    /// The role is this peer's: its work begins.
    pub(super) fn begin(&self, role: &RoleName, token: Token, link: &Link) {
        let Some(one) = self.0.get(role) else { return };
        let (role, held) = (role.clone(), one.held.subscribe());
        let lease = Lease { node: link.facts.admission.node(), role, token, held, clock: link.facts.clock.clone() };
        let task = tokio::spawn(run(Arc::clone(&one.work), lease, link.clone()));
        one.replace(Some(task)).into_iter().for_each(|before| before.abort());
    }

    /// The role is this peer's no more. When it returns, nothing of the work is left.
    pub(super) async fn end(&self, role: &RoleName) {
        let Some(task) = self.0.get(role).and_then(|one| one.replace(None)) else { return };
        task.abort();
        // An error says that it was broken off, which is what is wanted.
        let _ = task.await;
    }

    /// Nothing is held any more: the peer stops.
    pub(super) async fn end_all(&self) {
        for (role, one) in &self.0 {
            one.held.send_replace(None);
            self.end(role).await;
        }
    }
}

impl One {
    fn replace(&self, task: Option<JoinHandle<()>>) -> Option<JoinHandle<()>> {
        std::mem::replace(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner), task)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.replace(None).into_iter().for_each(|task| task.abort());
    }
}

/// One turn of work, until its end or the lease's.
async fn run(work: Work, lease: Lease, link: Link) {
    let (role, token) = (lease.role.clone(), lease.token);
    let done = {
        let mine = lease.clone();
        // The closure runs here too, since it may panic as well.
        let work = AssertUnwindSafe(async move { work(mine).await }).catch_unwind();
        tokio::select! {
            biased;
            () = lease.lost() => return,
            done = work => done,
        }
    };
    let why = match done {
        Ok(Ok(())) => return tracing::debug!(%role, %token, "the work of a role has come to its end"),
        Ok(Err(why)) => why,
        Err(_) => "it panicked".to_owned(),
    };
    tracing::error!(%role, %token, why, "the work of a role failed: somebody else gets it");
    give_up(&link, role, token).await;
}

/// This peer does not want the role any more.
pub(super) async fn give_up(link: &Link, role: RoleName, token: Token) {
    let command = Command::RoleHooksDone { role, token, which: Hooks::Begin, is_well: false };
    // A peer that stops gives up all of them.
    let _ = link.command(command).await;
}
