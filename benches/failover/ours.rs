//! Three voters of this program.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::ask::Question;
use crate::harness::{Peer, Place, free_port, wait_for};
use crate::trials::Trio;

pub(crate) struct Ours {
    places: Vec<Place>,
    peers: Vec<Option<Peer>>,
    agent: ureq::Agent,
}

impl Ours {
    /// All three vote.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_, place| place)
    }

    /// The same, each with more settings.
    pub(crate) fn start_with(dir: &Path, with: impl Fn(usize, Place) -> Place) -> Self {
        let place = |(at, name): (usize, &str)| {
            let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
            let place = Place { listen, ..Place::on_loopback(dir, name) };
            let place = place.with("VOTERS__STABILIZATION", "300ms").with("VOTERS__FOUND_AFTER", "200ms");
            with(at, place.with("VOTERS__REPLACE_AFTER", "1h"))
        };
        let places: Vec<Place> = ["a", "b", "c"].into_iter().enumerate().map(place).collect();
        let first = places[0].start(None);
        let invites = [first.invite(), first.invite()];
        let mut peers = vec![Some(first)];
        peers.extend(places[1..].iter().zip(&invites).map(|(place, invite)| Some(place.start(Some(invite)))));
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1)));
        let trio = Self { places, peers, agent: ureq::Agent::new_with_config(config.build()) };
        wait_for("three vote", || {
            (0..3).all(|at| {
                let told = trio.get(at, "/v1/voters").unwrap_or_default();
                told["members"].as_array().is_some_and(|all| all.iter().filter(|it| it["voter"] == true).count() == 3)
            })
        });
        trio
    }

    fn get(&self, at: usize, path: &str) -> Option<Value> {
        let mut answer = self.agent.get(format!("http://{}{path}", self.places[at].api)).call().ok()?;
        serde_json::from_slice(&answer.body_mut().read_to_vec().ok()?).ok()
    }

    /// Who has a role, if all say the same; of the role `leader` who leads.
    pub(crate) fn holds(&self, role: &str) -> Option<usize> {
        let nodes: Vec<Value> =
            (0..3).map(|at| Some(self.get(at, "/v1/status")?["node"].clone())).collect::<Option<_>>()?;
        let holder = |at| match role {
            "leader" => Some(self.get(at, "/v1/leader")?["leader"].clone()),
            role => {
                let roles = self.get(at, "/v1/roles")?;
                Some(roles.as_array()?.iter().find(|it| it["role"] == role)?["holder"].clone())
            }
        };
        let told: Vec<Value> = (0..3).map(holder).collect::<Option<_>>()?;
        nodes.iter().position(|node| *node == told[0]).filter(|_| told.iter().all(|it| *it == told[0]))
    }

    /// Where the interface of each is.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.api.as_str())
    }
}

impl Trio for Ours {
    const NAME: &'static str = "ours";

    fn settled(&self) -> Option<usize> {
        let told: Vec<Value> = (0..3).map(|at| self.get(at, "/v1/leader")).collect::<Option<_>>()?;
        let is_same = |it: &Value| it["leader"] == told[0]["leader"] && it["known"] == told[0]["known"];
        let links =
            |at| self.get(at, "/v1/links").is_some_and(|it| it["links"].as_array().is_some_and(|it| it.len() == 2));
        let leads = told.iter().position(|it| it["standing"] == "leader")?;
        (told.iter().all(is_same) && (0..3).all(links)).then_some(leads)
    }

    fn question(&self, at: usize) -> Question {
        let place = &self.places[at];
        let token = std::fs::read_to_string(place.data.join("api-token")).unwrap();
        Question {
            address: place.api.clone(),
            path: "/v1/actions",
            headers: format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", token.trim()),
            body: |number| format!("{{\"register\":\"bench\",\"value\":\"{number}\"}}"),
        }
    }

    fn pid(&self, at: usize) -> u32 {
        self.peers[at].as_ref().unwrap().pid()
    }

    fn reap(&mut self, at: usize) {
        drop(self.peers[at].take());
    }

    fn restart(&mut self, at: usize) {
        self.peers[at] = Some(self.places[at].start(None));
    }
}
