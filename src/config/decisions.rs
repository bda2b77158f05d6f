//! How decisions are made, who votes, and which roles there are: sections `consensus`, `voters` and `roles`.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::values::Values;
use crate::consensus;
use crate::failover::{Failback, FailoverLimits, PromotionStrategy};
use crate::roles::{self, RoleName};

/// Who votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    /// So many, where there are as many members.
    pub target: u8,
    /// How long a member must have been there.
    pub stabilization: Duration,
    /// How long a voter may be gone.
    pub replace_after: Duration,
    /// How long the first peer waits whether it hears of a group.
    pub found_after: Duration,
}

/// Programs that run when this peer is given a role, and when it loses one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Begins the work; nothing: there is nothing to begin.
    pub promote: Option<Program>,
    /// Ends it.
    pub demote: Option<Program>,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Which.
    pub path: PathBuf,
    /// What it is given.
    pub arguments: Vec<String>,
}

impl Values {
    pub(super) fn consensus(&mut self) -> Result<consensus::Config, Error> {
        const HEARTBEAT: &str = "consensus.heartbeat-ms";
        let far = matches!(self.text("membership.profile"), "wan" | "edge");
        let base = if far { consensus::Config::wan() } else { consensus::Config::default() };
        let ms = i64::try_from(base.heartbeat.as_millis()).expect("a heartbeat is short");
        self.lay_profile(if far { "wan" } else { "lan" }, HEARTBEAT, ms);
        let minute = Duration::from_secs(60);
        let config = consensus::Config {
            rest: self.span("consensus.rest", Duration::ZERO, minute)?,
            rest_after: self.span("consensus.rest-after", Duration::from_millis(50), minute)?,
            snapshot_every: self.size("consensus.snapshot-every", 8, 1_000_000)?,
            ..base.paced(self.millis(HEARTBEAT, 10, 10_000)?)
        };
        config.check().map_err(|why| self.refused(HEARTBEAT, &why.to_string()))?;
        Ok(config)
    }

    pub(super) fn voters(&self) -> Result<Voters, Error> {
        const TARGET: &str = "voters.target";
        let (hour, month) = (Duration::from_secs(3_600), Duration::from_secs(30 * 86_400));
        let target = self.number(TARGET, 1, 5)?;
        if target % 2 == 0 {
            return Err(self.refused(TARGET, "an even number of voters bears no more than one less"));
        }
        Ok(Voters {
            target,
            stabilization: self.span("voters.stabilization", Duration::from_millis(100), hour)?,
            replace_after: self.span("voters.replace-after", Duration::from_secs(1), month)?,
            found_after: self.span("voters.found-after", Duration::from_millis(10), hour)?,
        })
    }

    pub(super) fn roles(&self) -> Result<roles::Config, Error> {
        const NAMES: &str = "roles.names";
        const LEASE: &str = "roles.lease-ms";
        let name = |text: &String| RoleName::new(text).map_err(|why| self.refused(NAMES, &why.to_string()));
        let lease = self.millis(LEASE, 125, 60_000)?;
        let hold = self.span("roles.failback-after", Duration::ZERO, Duration::from_secs(30 * 86_400))?;
        let failover = FailoverLimits {
            lease,
            dead_after: lease,
            hook_limit: self.millis(LIMIT, 0, 60_000)?,
            promote_limit: self.millis("roles.promote-limit-ms", 100, 600_000)?,
            promotion_timeout: self.millis("roles.promotion-ms", 125, 600_000)?.max(lease),
            strategy: self.check("roles.strategy", |text| match text {
                "priority" => Ok(PromotionStrategy::Priority),
                "least-lag" => Ok(PromotionStrategy::LeastLag),
                "least-load" => Ok(PromotionStrategy::LeastLoad),
                "manual" => Ok(PromotionStrategy::Manual),
                _ => Err("expected priority, least-lag, least-load or manual"),
            })?,
            failback: if hold.is_zero() { Failback::Manual } else { Failback::Automatic { hold } },
            promotions_max: self.number("roles.promotions-max", 1, 1_000_000)?,
            automatic: self.switch("roles.automatic"),
            max_lag: self.number("roles.max-lag", 0_u32, 1_000_000_000)?.into(),
            ..FailoverLimits::default()
        };
        let names: Vec<RoleName> = self.texts(NAMES).iter().map(name).collect::<Result<_, _>>()?;
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(self.refused(NAMES, &format!("the role {} is named twice", twice.1)));
        }
        if names.iter().any(|name| name.as_str() == LEADER) {
            let why = "\"leader\" is no role that is granted: `redirect --role leader` follows who leads the voters";
            return Err(self.refused(NAMES, why));
        }
        let config = roles::Config { roles: names, failover, hooks: false };
        config.check().map_err(|why| self.refused(LEASE, &why.to_string()))?;
        Ok(config)
    }

    pub(super) fn programs(&self) -> Result<Programs, Error> {
        const DEMOTE: &str = "roles.on-demote";
        let demote = self.program(DEMOTE)?;
        if demote.is_some() && self.millis(LIMIT, 0, 60_000)?.is_zero() {
            let why = "give it time with `roles.hook-limit-ms`, at all peers: a role is granted anew only after that";
            return Err(self.refused(DEMOTE, why));
        }
        Ok(Programs { promote: self.program("roles.on-promote")?, demote })
    }

    fn program(&self, key: &'static str) -> Result<Option<Program>, Error> {
        let Some((first, arguments)) = self.texts(key).split_first() else { return Ok(None) };
        let path = PathBuf::from(first);
        if !path.is_absolute() {
            return Err(self.refused(key, "the program is named by its whole path, as in \"/usr/local/bin/promote\""));
        }
        Ok(Some(Program { path, arguments: arguments.to_vec() }))
    }
}

/// Who leads the voters goes by this name where a role is expected.
const LEADER: &str = "leader";
/// How long hooks may take that end a peer's work.
const LIMIT: &str = "roles.hook-limit-ms";
