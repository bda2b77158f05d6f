//! How the configuration's addresses become the network's: where to listen, whom to join, what to dial elsewhere.

use std::path::Path;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::admission::{Admission, Invite};
use super::failure::StartError;
use super::network::{NetworkSetup, are_free, join};
use super::remembered::Remembered;
use super::switch;
use crate::config::{self, Terms};
use crate::recovery::LOG_DIR;
use crate::types::{Address, Boot, WallTime};

/// How long a start waits for the issuer of its invite before it gives up. A supervisor may start it again.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// The checked addresses.
#[derive(Debug)]
pub(super) struct Routes {
    listen: Vec<Multiaddr>,
    announce: Vec<Multiaddr>,
    bootstrap: Vec<Multiaddr>,
    invites: Vec<Invite>,
    dial_via: Vec<(Multiaddr, Multiaddr)>,
    mdns: bool,
    relay: bool,
}

impl Routes {
    pub(super) fn of(network: &config::Network) -> Result<Self, StartError> {
        let (mut bootstrap, mut invites) = (Vec::new(), Vec::new());
        for text in &network.join {
            let refused = |why: String| StartError::Address { key: "network.join", text: text.clone(), why };
            if Invite::looks_like(text) {
                let invite: Invite = text.parse().map_err(|error| refused(format!("{error}")))?;
                // Afterwards the issuer is the one member that is known.
                bootstrap.extend(invite.addresses.iter().cloned());
                invites.push(invite);
            } else {
                let address = config::address(text).map_err(|why| refused(format!("{why}, or an invite")))?;
                bootstrap.push(multiaddr("network.join", &address)?);
            }
        }
        let all = |key, addresses: &[Address]| -> Result<Vec<Multiaddr>, StartError> {
            addresses.iter().map(|address| multiaddr(key, address)).collect()
        };
        let pair = |(target, via): &(Address, Address)| {
            Ok((multiaddr("network.dial-via", target)?, multiaddr("network.dial-via", via)?))
        };
        Ok(Self {
            listen: all("network.listen", &network.listen)?,
            announce: all("network.announce", &network.announce)?,
            bootstrap,
            invites,
            dial_via: network.dial_via.iter().map(pair).collect::<Result<_, StartError>>()?,
            mdns: network.mdns,
            relay: network.relay,
        })
    }

    /// Whether it is configured with whom to meet.
    pub(super) fn knows_somebody(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    /// Whether the ports to listen on are free: asked before anything is done that cannot be done again, such as redeeming
    /// an invite.
    pub(super) fn check(&self) -> Result<(), StartError> {
        Ok(are_free(&self.listen)?)
    }

    /// The membership of this directory: as it is, by redeeming the first invite, or as the founder of a mesh of its own. Whoever
    /// names addresses to join means another's mesh.
    pub(super) async fn admit(&self, dir: &Path, terms: Terms) -> Result<Admission, StartError> {
        match self.invites.first() {
            Some(invite) => Ok(join(dir, invite, terms, JOIN_MAX).await?),
            None if self.bootstrap.is_empty() => {
                if Admission::open(dir)?.is_none() && has_log(dir)? {
                    return Err(StartError::TicketGone { dir: dir.to_owned() });
                }
                Ok(Admission::open_or_mint(dir)?)
            }
            None => Admission::open(dir)?.ok_or_else(|| StartError::NoInvite { dir: dir.to_owned() }),
        }
    }

    /// The issuer of the invite that let this peer in is the one member that it knows. It is remembered at once: whoever is killed
    /// before it has met others, and is started again without its invite, would find nobody.
    pub(super) fn remember_issuer(&self, admission: &Admission, remembered: &mut Remembered, now: WallTime) {
        let Some(invite) = self.invites.first() else { return };
        let addresses = invite.addresses.iter().filter_map(|address| Address::parse(&address.to_string()).ok());
        remembered.meet_first(admission.papers().signed_by, &addresses.collect::<Vec<_>>(), now);
    }

    pub(super) fn setup(
        &self,
        admission: Admission,
        boot: Boot,
        terms: Terms,
        remembered: &Remembered,
    ) -> NetworkSetup {
        let known = remembered.peers().into_iter().map(|(node, addresses)| (node, self.via(addresses)));
        NetworkSetup {
            terms,
            listen: self.listen.clone(),
            announce: self.announce.clone(),
            bootstrap: self
                .bootstrap
                .iter()
                .map(|address| self.detour(address).unwrap_or_else(|| address.clone()))
                .collect(),
            remembered: known.collect(),
            mdns: self.mdns,
            relay: self.relay,
            ..NetworkSetup::new(admission, boot)
        }
    }

    /// What to dial for these addresses.
    pub(super) fn via(&self, addresses: Vec<Address>) -> Vec<Address> {
        if self.dial_via.is_empty() {
            return addresses;
        }
        let elsewhere = |address: Address| {
            let detour = address.as_str().parse().ok().and_then(|address| self.detour(&address));
            detour.and_then(|detour| Address::parse(&detour.to_string()).ok()).unwrap_or(address)
        };
        addresses.into_iter().map(elsewhere).collect()
    }

    /// The other way to an address, if there is one. Whose address it is stays the same.
    fn detour(&self, address: &Multiaddr) -> Option<Multiaddr> {
        let (place, who) = split(address);
        let (_, via) = self.dial_via.iter().find(|(target, _)| split(target).0 == place)?;
        Some(who.into_iter().fold(split(via).0, Multiaddr::with))
    }
}

/// An address without whose it is, and whose it is.
fn split(address: &Multiaddr) -> (Multiaddr, Option<Protocol<'_>>) {
    let mut place = address.clone();
    let who = address.iter().last().filter(|last| matches!(last, Protocol::P2p(_)));
    if who.is_some() {
        place.pop();
    }
    (place, who)
}

fn multiaddr(key: &'static str, address: &Address) -> Result<Multiaddr, StartError> {
    let refused = |error: libp2p::multiaddr::Error| {
        let text = address.to_string();
        StartError::Address { key, text, why: error.to_string() }
    };
    address.as_str().parse().map_err(refused)
}

/// Whether there is a segment of a log: then this directory belonged to a mesh, whatever became of its ticket.
fn has_log(dir: &Path) -> Result<bool, StartError> {
    let dir = dir.join(LOG_DIR);
    switch::has_segments(&dir).map_err(|error| StartError::List { dir, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn routes(key: &str, entry: &str) -> Result<Routes, StartError> {
        let config = config::parse(None, [], &Flags::new().list("test", key, [entry])).unwrap();
        Routes::of(&config.network)
    }

    #[test]
    fn an_address_is_dialled_elsewhere_and_stays_whose_it_is() {
        let routes = routes("network.dial-via", "192.0.2.1:1 -> 127.0.0.1:2").unwrap();
        let who = "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let dial = |text: &str| routes.via(vec![Address::parse(text).unwrap()])[0].to_string();
        assert_eq!(dial(&format!("/ip4/192.0.2.1/tcp/1{who}")), format!("/ip4/127.0.0.1/tcp/2{who}"));
        assert_eq!(dial("/ip4/192.0.2.1/tcp/1"), "/ip4/127.0.0.1/tcp/2");
        assert_eq!(dial("/ip4/192.0.2.1/tcp/3"), "/ip4/192.0.2.1/tcp/3");
    }

    #[test]
    fn a_log_that_cannot_be_listed_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_log(dir.path()).unwrap());
        std::fs::write(dir.path().join(LOG_DIR), b"").unwrap();
        let refused = has_log(dir.path()).unwrap_err();
        assert!(matches!(refused, StartError::List { .. }) && refused.to_string().contains("cannot list"), "{refused}");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_key() {
        let refused = |key, entry| routes(key, entry).unwrap_err().to_string();
        assert!(
            refused("network.listen", "/ip4/300.0.0.1/tcp/1")
                .starts_with("`network.listen`: \"/ip4/300.0.0.1/tcp/1\": ")
        );
        assert!(refused("network.join", "nowhere").contains("or an invite"));
        assert_eq!(
            routes("network.join", "host.example:4747").unwrap().bootstrap[0].to_string(),
            "/dns/host.example/tcp/4747"
        );
    }
}
