//! To which node something is bound: one that runs in this process, else the one at `OXIGDAL_HA_API`.
//!
//! Both are asked the same questions and answer with the same JSON, that of the HTTP interface, so that the managers read one form. Nobody
//! here keeps a node running: one of this process is looked for at each question.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Api;
use super::error::{HaError, HaResult};
use crate::consensus::Expect;
use crate::driver::mesh::Mesh;
use crate::error::{Error, ErrorKind};
use crate::events::{Begin, Gap, Name};
use crate::node::{Command, Outcome, Proposal, RoleOrder, VotersChange};
use crate::replication::{Ack, Pause};
use crate::types::{NodeId, unhex};

/// The variable that names a peer's interface.
pub(super) const API: &str = "OXIGDAL_HA_API";

/// A node, and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    node: NodeId,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// In this process.
    Here,
    Api(Api),
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Question<'a> {
    Status,
    Replicas,
    Voters,
    Roles,
    Pause(Pause),
    ChangeVoters(VotersChange),
    OrderRole(&'a RoleOrder),
    Propose { register: &'a str, value: &'a str },
}

/// What of a node's status is needed to know who it is.
#[derive(Deserialize)]
struct Who {
    node: NodeId,
}

impl Bound {
    /// To the node of this id; without an id to the one that was started first in this process, or the one at [`API`].
    pub(super) async fn to(wanted: Option<Uuid>) -> HaResult<Self> {
        let running = Mesh::running();
        let here = match wanted {
            Some(id) => running.iter().find(|mesh| mesh.id().uuid() == id),
            None => running.first(),
        };
        if let Some(mesh) = here {
            return Ok(Self { node: mesh.id(), way: Way::Here });
        }
        let found: Vec<String> = running.iter().map(|mesh| mesh.id().to_string()).collect();
        let Some(api) = Api::of_environment()? else {
            return Err(match wanted {
                Some(wanted) if !found.is_empty() => HaError::OtherPeer { wanted, found: found.join(", ") },
                _ => HaError::NoPeer,
            });
        };
        let Who { node } = read(api.get("/v1/status").await?)?;
        match wanted {
            Some(wanted) if wanted != node.uuid() => {
                let found: Vec<String> = found.into_iter().chain([format!("{node} at {API}")]).collect();
                Err(HaError::OtherPeer { wanted, found: found.join(", ") })
            }
            _ => Ok(Self { node, way: Way::Api(api) }),
        }
    }

    /// To a node behind its interface.
    #[cfg(test)]
    pub(super) const fn behind(node: NodeId, api: Api) -> Self {
        Self { node, way: Way::Api(api) }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    fn mesh(&self) -> HaResult<Mesh> {
        Mesh::running_as(self.node)
            .ok_or_else(|| HaError::Peer(Error::new(ErrorKind::Leaving, format!("the node {} has stopped", self.node))))
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: Question<'_>) -> HaResult<T> {
        let answer = match &self.way {
            Way::Here => here(&self.mesh()?, question).await?,
            Way::Api(api) => there(api, question).await?,
        };
        read(answer)
    }

    /// Appends events and waits for so many copies. Gives how many of them, from the first on, were done, and why the others were not:
    /// at a node of this process it is all or none; at one behind its interface each goes by itself, since an event may hold any byte.
    pub(super) async fn append(&self, stream: &Name, events: &[Bytes], ack: Ack) -> (usize, HaResult<()>) {
        match &self.way {
            Way::Here => match self.append_here(stream, events.to_vec(), ack).await {
                Ok(()) => (events.len(), Ok(())),
                Err(error) => (0, Err(error)),
            },
            Way::Api(api) => {
                let path = format!("/v1/streams/{stream}?format=binary&ack={ack}");
                for (done, event) in events.iter().enumerate() {
                    if let Err(error) = api.post_bytes(&path, event.clone()).await {
                        return (done, Err(error));
                    }
                }
                (events.len(), Ok(()))
            }
        }
    }

    async fn append_here(&self, stream: &Name, events: Vec<Bytes>, ack: Ack) -> HaResult<()> {
        let command = Command::Events(crate::events::Command::Append { stream: stream.clone(), events });
        Ok(self.mesh()?.peer().write(command, ack).await.map(drop)?)
    }

    /// Some events of a stream from a place on, what is missing before them, and where to go on. If there are none it is waited so long for some: 30 s at most.
    pub(super) async fn read(&self, stream: &Name, from: Begin, limit: usize, wait: Duration) -> HaResult<Read> {
        match &self.way {
            Way::Here => {
                let page = self.mesh()?.peer().read_within(stream.clone(), from, limit, wait).await?;
                let events = page.events.into_iter().map(|item| item.body).collect();
                Ok(Read { events, gaps: page.gaps, behind: Begin::Cursor(page.cursor) })
            }
            Way::Api(api) => {
                let from = match from {
                    Begin::Start => "start".to_owned(),
                    Begin::Now => "now".to_owned(),
                    Begin::Cursor(cursor) => cursor.to_string(),
                };
                let wait_ms = wait.as_millis();
                let path = format!("/v1/streams/{stream}?from={from}&limit={limit}&wait_ms={wait_ms}");
                let page: Page = read(api.get(&path).await?)?;
                let events = page.events.into_iter().map(Item::body).collect::<Option<_>>();
                let events = events.ok_or_else(|| garbled("an event is neither text nor hexadecimal digits"))?;
                let cursor = page.cursor.parse().map_err(garbled)?;
                Ok(Read { events, gaps: page.gaps, behind: Begin::Cursor(cursor) })
            }
        }
    }
}

/// What was read of a stream.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) events: Vec<Bytes>,
    /// What is missing before them.
    pub(super) gaps: Vec<Gap>,
    /// Where to go on.
    pub(super) behind: Begin,
}

/// A page as the interface gives it.
#[derive(Deserialize)]
struct Page {
    events: Vec<Item>,
    #[serde(default)]
    gaps: Vec<Gap>,
    cursor: String,
}

#[derive(Deserialize)]
struct Item {
    text: Option<String>,
    hex: Option<String>,
}

impl Item {
    fn body(self) -> Option<Bytes> {
        match self {
            Self { text: Some(text), .. } => Some(text.into()),
            Self { hex: Some(hex), .. } => unhex(&hex).map(Bytes::from),
            _ => None,
        }
    }
}

/// Of a node in this process, as its interface would answer.
async fn here(mesh: &Mesh, question: Question<'_>) -> HaResult<Value> {
    let command = match question {
        Question::Status => return value(&mesh.status().await?),
        Question::Replicas => return value(&mesh.replicas().await?.replicas),
        Question::Voters => Command::Deciders,
        Question::Roles => return value(&mesh.roles().await?),
        Question::Pause(pause) => Command::Pause(pause),
        Question::ChangeVoters(change) => Command::ChangeVoters(change),
        Question::OrderRole(order) => Command::OrderRole(order.clone()),
        Question::Propose { register, value } => {
            let value = Some(value.to_owned().into());
            let proposal = Proposal { register: register.to_owned(), expect: Expect::Any, value, request: None };
            Command::Propose(proposal)
        }
    };
    match mesh.peer().command(command).await? {
        Outcome::Deciders(deciders) => value(&deciders),
        Outcome::Paused(paused) => value(&paused),
        Outcome::RoleOrdered { token } => Ok(json!({ "token": token })),
        Outcome::Decided(made) => Ok(json!({ "token": made.token.to_string() })),
        other => unreachable!("none of these questions is answered by {other:?}"),
    }
}

/// Of a node behind its interface.
async fn there(api: &Api, question: Question<'_>) -> HaResult<Value> {
    match question {
        Question::Status => api.get("/v1/status").await,
        Question::Replicas => api.get("/v1/peers").await,
        Question::Voters => api.get("/v1/voters").await,
        Question::Roles => api.get("/v1/roles").await,
        Question::Pause(Pause { peer, paused }) => {
            let what = if paused { "pause" } else { "resume" };
            api.post(&format!("/v1/peers/{peer}/{what}"), json!({})).await
        }
        Question::ChangeVoters(change) => api.post("/v1/voters", value(&change)?).await,
        Question::OrderRole(order) => api.post("/v1/roles", value(order)?).await,
        Question::Propose { register, value } => {
            api.post("/v1/actions", json!({ "register": register, "value": value })).await
        }
    }
}

fn value(value: &impl serde::Serialize) -> HaResult<Value> {
    serde_json::to_value(value).map_err(garbled)
}

fn read<T: DeserializeOwned>(answer: Value) -> HaResult<T> {
    serde_json::from_value(answer).map_err(garbled)
}

/// An answer that is none: the peer is of another version.
fn garbled(why: impl std::fmt::Display) -> HaError {
    HaError::Peer(Error::new(ErrorKind::Invalid, format!("the node's answer cannot be read: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managers::tests::{WAIT, both};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_answers_the_same_in_its_process_and_over_its_interface() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let (_mesh, here, there) = both(dir.path()).await;
            let questions = [Question::Voters, Question::Roles, Question::Replicas];
            for question in questions {
                let one: Value = here.ask(question.clone()).await.unwrap();
                assert_eq!(one, there.ask::<Value>(question.clone()).await.unwrap(), "{question:?}");
            }
            let who: Who = there.ask(Question::Status).await.unwrap();
            assert_eq!(who.node, here.node());
            let propose = Question::Propose { register: "a", value: "b" };
            let tokens = [&here, &there].map(|bound| bound.ask::<Value>(propose.clone()));
            for made in futures::future::join_all(tokens).await {
                assert!(made.unwrap()["token"].as_str().unwrap().starts_with("1."), "a place among all decisions");
            }
            let nobody = Question::Pause(Pause { peer: NodeId::from_u128(7), paused: true });
            let [one, other] = [&here, &there].map(|bound| bound.ask::<Value>(nobody.clone()));
            let (one, other) = (one.await.unwrap_err(), other.await.unwrap_err());
            assert_eq!((one.code(), other.code()), (Some("not_found"), Some("not_found")), "{one}; {other}");
        };
        tokio::time::timeout(WAIT, test).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn events_of_any_bytes_pass_both_ways() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let (_mesh, here, there) = both(dir.path()).await;
            let stream = Name::parse("any/bytes").unwrap();
            let events: Vec<Bytes> =
                vec![Bytes::from_static(b"a\nb"), Bytes::from_static(&[0, 255, 10]), "words".into()];
            for bound in [&there, &here] {
                let (done, result) = bound.append(&stream, &events, Ack::Local).await;
                result.unwrap();
                assert_eq!(done, 3);
            }
            for bound in [&here, &there] {
                let Read { events: read, behind, .. } =
                    bound.read(&stream, Begin::Start, 4, Duration::ZERO).await.unwrap();
                assert_eq!(read, [&events[..], &events[..1]].concat());
                assert_eq!(bound.read(&stream, behind, 4, Duration::ZERO).await.unwrap().events, events[1..]);
            }
        };
        tokio::time::timeout(WAIT, test).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_is_waited_for_until_something_comes_or_the_time_is_over() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let (mesh, here, there) = both(dir.path()).await;
            let (stream, brief) = (Name::parse("a/page").unwrap(), Duration::from_millis(50));
            // Longer than the test may take: who waits to the end fails it.
            let long = Duration::from_secs(30);
            for bound in [&here, &there] {
                let Read { events: read, behind: from, .. } = bound.read(&stream, Begin::Now, 4, brief).await.unwrap();
                assert!(read.is_empty(), "the time is over");
                let comes = async {
                    tokio::time::sleep(brief).await;
                    here.append(&stream, &["event".into()], Ack::Local).await.1.unwrap();
                };
                let waits = bound.read(&stream, from.clone(), 4, long);
                let (read, ()) = tokio::join!(waits, comes);
                assert_eq!(read.unwrap().events, ["event"], "long before the time is over");
                assert_eq!(bound.read(&stream, from, 4, brief).await.unwrap().events, ["event"], "at once");
            }
            let api = crate::managers::tests::api(&mesh, dir.path());
            for (query, why) in
                [("wait_ms=30001", "30000"), ("wait_ms=x", "wait_ms"), ("wait_ms=1&settled_ms=1", "settled_ms")]
            {
                let refused = api.get(&format!("/v1/streams/{stream}?{query}")).await.unwrap_err();
                assert!(refused.code() == Some("invalid") && refused.to_string().contains(why), "{refused}");
            }
            let refused = api.get(&format!("/v1/tail/{stream}?wait_ms=1")).await.unwrap_err();
            assert!(refused.to_string().contains("wait_ms"), "{refused}");
        };
        tokio::time::timeout(WAIT, test).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_nothing_answers_or_the_token_is_wrong_it_is_said() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let (mesh, _, _) = both(dir.path()).await;
            let at = mesh.peer().api().unwrap().to_string();
            let refused = Api::at(&at, None).post("/v1/voters", json!({})).await.unwrap_err();
            assert!(
                matches!(&refused, HaError::Api { api, code, .. } if *api == at && !code.is_empty()),
                "{refused:?}"
            );
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let nobody = Api::at(&free, None).get("/v1/status").await.unwrap_err();
            assert!(matches!(&nobody, HaError::Api { api, code, .. } if *api == free && code.is_empty()), "{nobody:?}");
        };
        tokio::time::timeout(WAIT, test).await.unwrap();
    }
}
