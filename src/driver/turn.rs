//! The loop: one task owns the node, hands it one input at a time, and performs what comes out.
//!
//! It waits for the disk, the deadline, clients, workers and the network, in that order of preference: what was begun is
//! finished before new work is taken. So that preference never becomes starvation, each round then takes a bounded number
//! of inputs from every source. Performing never waits: effects go into queues, each bounded where it is filled.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::clock::Clock;
use super::disk::Request;
use super::hooks::HookQueue;
use super::keeper::Keeper;
use super::log::Log;
use super::network::{NetworkEvent, NetworkHandle};
use super::notify;
use super::packing::Packing;
use super::peer::{Ask, Facts, Phase, Stop};
use super::recorder::Recorder;
use super::remembered::Remembered;
use super::routes::Routes;
use super::workers::Workers;
use super::works::Works;
use crate::node::{CommandError, Effect, Event, Input, Node, Outcome};
use crate::types::{Address, CommandId, Time};

/// Inputs taken from one source in one round.
const ROUND: usize = 64;

/// How long commands may go on after the goodbye.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// How long the network may take to send what waits.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long disk and workers may take to finish what they are at; a worker in a long merge is left behind.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Addresses through relays that others are told.
const CIRCUITS_TOLD: usize = 2;

/// When there is no deadline, the loop still turns this often: it costs nothing and bounds what a lost wake-up could do.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Everything that the loop owns.
pub(super) struct Turn {
    pub(super) node: Box<Node>,
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) workers: Workers,
    pub(super) packing: Packing,
    pub(super) network: NetworkHandle,
    pub(super) heard: mpsc::Receiver<NetworkEvent>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) facts: Arc<Facts>,
    pub(super) remembered: Remembered,
    pub(super) routes: Routes,
    pub(super) keeper: Keeper,
    pub(super) hooks: HookQueue,
    pub(super) works: Works,
    pub(super) recorder: Recorder,
    pub(super) open: Open,
}

/// What waits for an answer.
#[derive(Default)]
pub(super) struct Open {
    replies: BTreeMap<CommandId, oneshot::Sender<Result<Outcome, CommandError>>>,
    last: CommandId,
    /// Where peers can reach us, and whether they should be told.
    addresses: Vec<(Address, bool)>,
    left_at: Option<Instant>,
}

impl Turn {
    /// Runs until it is told to stop, has left, or cannot go on.
    pub(super) async fn run(mut self) {
        self.perform_all();
        self.turn(Input::Policies { held: self.keeper.held() });
        let why = self.rounds().await;
        if let Stop::Failed(why) = &why {
            tracing::error!(%why, "the peer stops");
        }
        self.end(why).await;
    }

    async fn rounds(&mut self) -> Stop {
        let mut wake = pin!(sleep_until(Instant::now()));
        loop {
            let due = self.due();
            if wake.deadline() != due {
                wake.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                () = told(&mut self.stop) => return Stop::Halted,
                answer = self.log.next() => match answer {
                    Some(input) => self.turn(input),
                    None => return Stop::Failed("the thread of the log has ended".into()),
                },
                () = &mut wake => self.turn(Input::Wake),
                Some(ask) = self.asks.recv(), if self.log.keeps_up() => self.on_ask(ask),
                Some((id, done)) = self.workers.next() => self.turn(Input::TaskDone { id, done }),
                Some((id, bytes)) = self.packing.next() => self.turn(Input::Packed { id, bytes }),
                heard = self.heard.recv() => match heard {
                    Some(event) => self.on_network(event),
                    None => return Stop::Failed("the network has ended".into()),
                },
                held = self.keeper.changed() => self.turn(Input::Policies { held }),
            }
            self.round();
            if let Some(left_at) = self.open.left_at
                && (self.open.replies.is_empty() || left_at.elapsed() >= LEAVE_GRACE)
            {
                return Stop::Left;
            }
        }
    }

    /// Takes a bounded number of inputs that are there already from every source.
    fn round(&mut self) {
        for _ in 0..ROUND {
            let Some(input) = self.log.try_next() else { break };
            self.turn(input);
        }
        for _ in 0..ROUND {
            if !self.log.keeps_up() {
                break;
            }
            let Ok(ask) = self.asks.try_recv() else { break };
            self.on_ask(ask);
        }
        for _ in 0..ROUND {
            let Some((id, done)) = self.workers.try_next() else { break };
            self.turn(Input::TaskDone { id, done });
        }
        for _ in 0..ROUND {
            let Ok(event) = self.heard.try_recv() else { break };
            self.on_network(event);
        }
        self.remembered.keep(self.clock.now(), self.node.membership());
    }

    /// When to wake at the latest.
    fn due(&self) -> Instant {
        let idle = Instant::now() + IDLE_MAX;
        let earliest = [self.node.deadline(), self.remembered.deadline()].into_iter().flatten().min();
        let grace = self.open.left_at.map_or(idle, |left_at| left_at + LEAVE_GRACE);
        let due = earliest.and_then(|due: Time| self.clock.instant(due)).map_or(idle, Instant::from_std);
        due.min(idle).min(grace)
    }

    /// One input and everything that follows from it.
    fn turn(&mut self, input: Input) {
        let now = self.clock.now();
        let late = self.node.deadline().map_or(Duration::ZERO, |due| now.mono.since(due));
        self.recorder.input(now, &input);
        self.node.handle(now, input);
        // Before anybody hears that a lease began or ended.
        self.works.publish(&self.node);
        self.perform_all();
        self.facts.turned(late, self.clock.now().mono.since(now.mono));
    }

    fn on_ask(&mut self, ask: Ask) {
        let id = self.open.last.next();
        self.open.last = id;
        self.open.replies.insert(id, ask.answer);
        self.turn(Input::Command { id, command: ask.command });
    }

    fn on_network(&mut self, event: NetworkEvent) {
        let input = match event {
            NetworkEvent::Linked { peer } => {
                tracing::info!(%peer, "linked");
                Input::Linked { peer }
            }
            NetworkEvent::Unlinked { peer, why } => {
                tracing::info!(%peer, %why, "unlinked");
                Input::Unlinked { peer }
            }
            NetworkEvent::Received { from, lane, frame } => Input::Received { from, lane, frame },
            NetworkEvent::DialFailed { peer, why } => {
                tracing::debug!(%peer, %why, "a dial failed");
                Input::DialFailed { peer }
            }
            NetworkEvent::Listening { address, advertise } => {
                tracing::info!(%address, "listening for peers");
                self.open.addresses.retain(|(known, _)| *known != address);
                self.open.addresses.push((address, advertise));
                self.listening()
            }
            NetworkEvent::ListenerClosed { address } => {
                tracing::warn!(%address, "no longer listening");
                self.open.addresses.retain(|(known, _)| *known != address);
                self.listening()
            }
            NetworkEvent::Refused { peer, address, by_peer, why, again } => {
                let peer = peer.map(tracing::field::display);
                return match again {
                    false => tracing::warn!(peer, %address, by_peer, %why, "not admitted"),
                    true => tracing::debug!(peer, %address, by_peer, %why, "not admitted again"),
                };
            }
            NetworkEvent::Fault { peer, fault } if fault.is_silence() => {
                return tracing::warn!(%peer, %fault, "a link was closed: the peer fell silent");
            }
            NetworkEvent::Fault { peer, fault } => return tracing::warn!(%peer, %fault, "a peer broke the protocol"),
        };
        self.turn(input);
    }

    fn listening(&self) -> Input {
        let all = self.open.addresses.iter().map(|(address, _)| address.clone());
        self.facts.set_listening(all.collect());
        let told = self.open.addresses.iter().filter(|(_, advertise)| *advertise);
        Input::Listening { addresses: best_first(told.map(|(address, _)| address.clone()).collect()) }
    }

    fn perform_all(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            self.recorder.effect(&effect);
            self.perform(effect);
        }
    }

    /// Queues what the node wants. Never waits.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, lane, frame } => self.network.send(to, lane, frame),
            Effect::Persist { id, segment, offset, bytes } => {
                self.log.submit(Request::Persist { id, segment, offset, bytes });
            }
            Effect::Io { id, op } => self.log.submit(Request::Io { id, op }),
            Effect::Task { id, task } => self.workers.give(id, task),
            Effect::Pack { id, pack } => self.packing.give(id, pack),
            Effect::Dial { peer, addresses } => self.network.dial(peer, self.routes.via(addresses)),
            Effect::Close { peer, why } => self.network.close(peer, why),
            Effect::KeepPolicy { from, policy } => self.keeper.offer(from, policy),
            Effect::Reply { id, result } => {
                if matches!(result, Ok(Outcome::Left)) && self.open.left_at.is_none() {
                    self.open.left_at = Some(Instant::now());
                    self.phase.send_replace(Phase::Leaving);
                }
                if let Some(answer) = self.open.replies.remove(&id) {
                    // Who asked may have gone meanwhile.
                    let _ = answer.send(result);
                }
            }
            Effect::Notify(event) => {
                notify::log(&event);
                self.remembered.hear(&event, self.clock.now().mono);
                self.hooks.hear(&event);
                // Without subscribers there is nobody to tell.
                let _ = self.events.send(Arc::new(event));
            }
        }
    }

    /// Sends what waits, finishes what was begun, and gives everything free.
    async fn end(self, why: Stop) {
        let now = self.clock.now().wall;
        let Self { node, log, workers, network, heard, asks, events, phase, facts, remembered, open, recorder, .. } =
            self;
        if timeout(FLUSH_MAX, self.works.end_all()).await.is_err() {
            tracing::warn!("the work of a role does not yield: the peer stops without it");
        }
        drop((asks, open));
        network.shutdown(FLUSH_MAX).await;
        drop(heard);
        let finish = tokio::task::spawn_blocking(move || {
            remembered.save_now(now, node.membership());
            drop(log);
            workers.stop();
            recorder.end();
        });
        if timeout(FINISH_MAX, finish).await.is_err() {
            tracing::warn!("the peer stops while a worker is at a long task");
        }
        drop(events);
        facts.set_stop(why);
        phase.send_replace(Phase::Stopped);
    }
}

/// There is no room for all in what members are told of each other: one for neighbours, then those that lead here from
/// anywhere through a relay, then the others.
fn best_first(mut addresses: Vec<Address>) -> Vec<Address> {
    let relayed = |address: &Address| address.as_str().contains("/p2p-circuit");
    let first = addresses.iter().position(|address| !relayed(address)).map(|at| addresses.remove(at));
    let (circuits, rest): (Vec<Address>, Vec<Address>) = addresses.into_iter().partition(relayed);
    first.into_iter().chain(circuits.into_iter().take(CIRCUITS_TOLD)).chain(rest).collect()
}

/// Until it is told to stop, or nobody is left who could tell.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
