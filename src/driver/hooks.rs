//! What runs when this peer is given a role, and when it loses one: programs of the configuration, or closures of whoever embeds the peer.
//!
//! The machine (`roles`) decides when, and waits for the end; here it is made to happen. One runs at a time for each role: what begins the work
//! is stopped before what ends it runs, and what ends it is stopped when the machine says that its time is over. A program is stopped
//! by killing all of its process group, and it counts as ended only when it has; a closure by dropping its future. Roles do not wait for
//! each other: one whose hook is slow to end holds up no other one.
//!
//! A peer that is killed leaves its programs behind. When it comes back, what ends the work of its life before runs first.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::peer::Link;
use super::works::{Lease, Work, Works};
use crate::config::{Program, Programs};
use crate::consensus::Token;
use crate::node;
use crate::roles::{self, RoleName, Why};
use crate::types::NodeId;

/// What a hook is told; programs get it as JSON on their standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Whether the work begins or ends.
    pub event: HookEvent,
    /// The role.
    pub role: RoleName,
    /// The fencing token under which this peer holds it, or held it. Whatever is acted upon should be shown it.
    pub token: Token,
    /// This peer.
    pub node: NodeId,
    /// Why the work ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The hook is stopped after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
}

/// Which hook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// This peer holds the role from now on. An error gives it to somebody else.
    Promote,
    /// It holds it no more. Nobody begins before this is done, or its time is over.
    Demote,
}

impl HookEvent {
    fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }
}

/// A closure of whoever embeds the peer. It is stopped by dropping its future.
pub type Hook = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What runs at both ends of a turn.
#[derive(Clone, Default)]
pub struct Hooks {
    promote: Option<Hook>,
    demote: Option<Hook>,
    works: Works,
}

impl Hooks {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs when this peer is given a role. It is stopped after `roles.promote-limit-ms`, and the role goes to somebody else.
    #[must_use]
    pub fn promote<F: Future<Output = Result<(), String>> + Send + 'static>(
        mut self,
        hook: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        self.promote = Some(Arc::new(move |call| Box::pin(hook(call))));
        self
    }

    /// Runs when it loses one. It is stopped after `roles.hook-limit-ms`, which must not be 0.
    #[must_use]
    pub fn demote<F: Future<Output = Result<(), String>> + Send + 'static>(
        mut self,
        hook: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        self.demote = Some(Arc::new(move |call| Box::pin(hook(call))));
        self
    }

    /// What this peer does in a role: begun when [`promote`](Self::promote) has come to its end, dropped before
    /// [`demote`](Self::demote) runs, and in any case when the lease is over. An error, or a panic, gives the role to somebody else;
    /// a good end keeps it, without doing more.
    ///
    /// Dropping a future takes no time to speak of, yet somebody else may be granted the role in that moment unless
    /// `roles.hook-limit-ms` leaves some: the token is what keeps two holders apart. [`MeshBuilder`](super::mesh::MeshBuilder) leaves it.
    #[must_use]
    pub fn work<F: Future<Output = Result<(), String>> + Send + 'static>(
        mut self,
        role: RoleName,
        work: impl Fn(Lease) -> F + Send + Sync + 'static,
    ) -> Self {
        let work: Work = Arc::new(move |lease| Box::pin(work(lease)));
        self.works.add(role, work);
        self
    }

    /// Whether the work's end takes time.
    pub(super) fn end_something(&self) -> bool {
        self.demote.is_some()
    }

    /// What is done in roles.
    pub(super) fn works(&self) -> &Works {
        &self.works
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (promote, demote) = (self.promote.is_some(), self.demote.is_some());
        let works: Vec<_> = self.works.roles().collect();
        f.debug_struct("Hooks").field("promote", &promote).field("demote", &demote).field("works", &works).finish()
    }
}

/// Where the loop leaves what the machine wants. A few for each role wait at most: the machine asks for the next when one has ended.
#[derive(Debug)]
pub(super) struct HookQueue(Option<mpsc::UnboundedSender<roles::Event>>);

impl HookQueue {
    /// Takes what concerns hooks.
    pub(super) fn hear(&self, event: &node::Event) {
        use roles::Event as E;
        if let (Some(queue), node::Event::Roles(event)) = (&self.0, event)
            && matches!(event, E::Promote { .. } | E::Demote { .. } | E::StopHooks { .. })
        {
            // It ends with the loop; then there is nobody to tell.
            let _ = queue.send(event.clone());
        }
    }
}

/// Whether there is anything to run.
pub(super) fn are_there(programs: &Programs, hooks: &Hooks) -> bool {
    *programs != Programs::default() || hooks.promote.is_some() || hooks.demote.is_some() || !hooks.works.is_empty()
}

/// Runs hooks until the loop ends.
pub(super) fn start(programs: Programs, hooks: Hooks, node: NodeId, link: Link) -> HookQueue {
    if !are_there(&programs, &hooks) {
        return HookQueue(None);
    }
    let (queue, events) = mpsc::unbounded_channel();
    tokio::spawn(dispatch(Arc::new(Given { programs, hooks, node, link }), events));
    HookQueue(Some(queue))
}

/// What all roles have alike.
struct Given {
    programs: Programs,
    hooks: Hooks,
    node: NodeId,
    link: Link,
}

/// To each role its own runner. They are as many as the roles that this peer was ever granted, which the machine bounds.
async fn dispatch(given: Arc<Given>, mut events: mpsc::UnboundedReceiver<roles::Event>) {
    use roles::Event as E;
    let mut queues = BTreeMap::new();
    while let Some(event) = events.recv().await {
        let (E::Promote { role, .. } | E::Demote { role, .. } | E::StopHooks { role, .. }) = &event else { continue };
        let queue = queues.entry(role.clone()).or_insert_with(|| {
            let (queue, events) = mpsc::unbounded_channel();
            tokio::spawn(Runner { given: Arc::clone(&given), running: None }.run(events));
            queue
        });
        // It runs as long as its queue is there, which is as long as this loop does.
        let _ = queue.send(event);
    }
}

/// Of one role.
struct Runner {
    given: Arc<Given>,
    running: Option<Running>,
}

/// A hook that may still run.
struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    /// Stops it, and waits until it has ended.
    async fn end(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.ended.await;
    }
}

impl Runner {
    async fn run(mut self, mut events: mpsc::UnboundedReceiver<roles::Event>) {
        use roles::Event as E;
        while let Some(event) = events.recv().await {
            let node = self.given.node;
            let millis = |limit: Duration| Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
            match event {
                E::Promote { role, token, limit } => {
                    let event = HookEvent::Promote;
                    self.begin(Call { event, role, token, node, why: None, limit_ms: millis(limit) }).await;
                }
                E::Demote { role, token, why, limit } => {
                    let event = HookEvent::Demote;
                    self.begin(Call { event, role, token, node, why: Some(why), limit_ms: millis(limit) }).await;
                }
                // Its end is told by whoever runs it.
                E::StopHooks { .. } => {
                    if let Some(running) = self.running.take() {
                        running.end().await;
                    }
                }
                _ => {}
            }
        }
    }

    async fn begin(&mut self, call: Call) {
        if let Some(before) = self.running.take() {
            before.end().await;
        }
        let Given { programs, hooks, link, .. } = &*self.given;
        let (program, hook) = match call.event {
            HookEvent::Promote => (programs.promote.clone(), hooks.promote.clone()),
            HookEvent::Demote => (programs.demote.clone(), hooks.demote.clone()),
        };
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(one((program, hook), hooks.works.clone(), call, stopped, link.clone()));
        self.running = Some(Running { stop, ended });
    }
}

/// One hook, from its begin to its end, which is told; not that of work which was to begin and was stopped.
async fn one(
    (program, hook): (Option<Program>, Option<Hook>),
    works: Works,
    call: Call,
    mut stopped: oneshot::Receiver<()>,
    link: Link,
) {
    if call.event == HookEvent::Demote {
        works.end(&call.role).await;
    }
    let result = both(program, hook, &call, &mut stopped).await;
    if let (HookEvent::Promote, Ok(true)) = (call.event, &result) {
        works.begin(&call.role, call.token, &link);
    }
    let (Call { role, token, event, .. }, hook) = (&call, call.event.name());
    match &result {
        Ok(true) => tracing::debug!(%role, %token, hook, "a hook is done"),
        Ok(false) => tracing::warn!(%role, %token, hook, "a hook was stopped"),
        Err(why) => tracing::error!(%role, %token, hook, why, "a hook failed"),
    }
    let which = match event {
        HookEvent::Promote if matches!(result, Ok(false)) => return,
        HookEvent::Promote => roles::Hooks::Begin,
        HookEvent::Demote => roles::Hooks::End,
    };
    let is_well = matches!(result, Ok(true));
    let command = node::Command::RoleHooksDone { role: role.clone(), token: *token, which, is_well };
    // A peer that stops does not want to know.
    let _ = link.command(command).await;
}

/// The program, then the closure. Whether both came to their end.
async fn both(
    program: Option<Program>,
    hook: Option<Hook>,
    call: &Call,
    stopped: &mut oneshot::Receiver<()>,
) -> Result<bool, String> {
    if let Some(program) = program
        && !run(&program, call, stopped).await?
    {
        return Ok(false);
    }
    let Some(hook) = hook else { return Ok(true) };
    tokio::select! {
        biased;
        _ = stopped => Ok(false),
        result = hook(call.clone()) => result.map(|()| true),
    }
}

/// Runs a program. Whether it came to its end, and not to another one's.
async fn run(program: &Program, call: &Call, stopped: &mut oneshot::Receiver<()>) -> Result<bool, String> {
    let name = program.path.display();
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
    command.env("OXIGDAL_HA_EVENT", call.event.name()).env("OXIGDAL_HA_ROLE", call.role.as_str());
    command.env("OXIGDAL_HA_FENCE", call.token.to_string()).env("OXIGDAL_HA_NODE", call.node.to_string());
    let mut child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    let mut text = serde_json::to_vec(call).expect("a call is plain data");
    text.push(b'\n');
    if let Some(mut stdin) = child.stdin.take() {
        // It need not read it: then its end of the pipe is closed, or the bytes stay in it, which holds more than these.
        let _ = tokio::time::timeout(Duration::from_secs(1), stdin.write_all(&text)).await;
    }
    let status = tokio::select! {
        biased;
        _ = stopped => {
            if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
                // It may have ended by itself a moment ago.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait().await;
            return Ok(false);
        }
        status = child.wait() => status.map_err(|error| format!("cannot wait for {name}: {error}"))?,
    };
    if status.success() { Ok(true) } else { Err(format!("{name} ended with {status}")) }
}
