//! The file's shape: what a scenario's TOML says, strictly. What it means for one seed is the plan's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::quantity::{Rate, Share, Size, Span};
use super::who::Who;
use crate::sim::disk::Model;
use crate::sim::repro::Repro;
use crate::topology::Policy;

/// A whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    pub(crate) schema: u32,
    pub(crate) description: String,
    /// A topology file by name; or `mesh`.
    pub(crate) topology: Option<String>,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) phases: Phases,
    /// What a peer's configuration file would say; `node`, `network`, `api` and the overlay's kind are the simulator's.
    #[serde(default)]
    pub(crate) config: toml::Table,
    /// What some peers' files say besides.
    #[serde(default)]
    pub(crate) own: Vec<Own>,
    #[serde(default)]
    pub(crate) join: Join,
    #[serde(default)]
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) disk: Disk,
    #[serde(default)]
    pub(crate) clocks: Clocks,
    #[serde(default)]
    pub(crate) edits: Vec<Edits>,
    /// By what all peers decide what shows where several values stand.
    #[serde(default)]
    pub(crate) policies: Vec<crate::documents::Policy>,
    #[serde(default, rename = "turn")]
    pub(crate) turns: Vec<Turn>,
    #[serde(default)]
    pub(crate) appends: Vec<Appends>,
    #[serde(default)]
    pub(crate) proposals: Vec<Proposals>,
    #[serde(default, rename = "fault")]
    pub(crate) faults: Vec<Scheduled>,
    #[serde(default)]
    pub(crate) random: Random,
    /// What is drawn for each seed.
    pub(crate) swarm: Option<Swarm>,
    #[serde(default)]
    pub(crate) budget: Budget,
    #[serde(default)]
    pub(crate) checks: Checks,
    #[serde(default)]
    pub(crate) expect: Expect,
    /// The plan of one run, in place of the one that a seed expands to.
    pub(crate) repro: Option<Repro>,
}

/// `[mesh]`: so many alike peers with a link between each two, dealt to regions if there are any.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Mesh {
    pub(crate) peers: usize,
    #[serde(default)]
    pub(crate) overlay: Policy,
    pub(crate) delay: Option<String>,
    pub(crate) jitter: Option<String>,
    pub(crate) loss: Option<String>,
    pub(crate) bandwidth: Option<String>,
    /// `region-1` and so on, each with as many peers.
    #[serde(default)]
    pub(crate) regions: usize,
    /// The delay from one region to another.
    pub(crate) apart: Option<String>,
}

/// `[phases]`: the run is as long as all of them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Phases {
    /// The mesh forms; nothing is broken.
    pub(crate) warm_up: Span,
    /// Faults happen.
    #[serde(default)]
    pub(crate) chaos: Span,
    /// Nothing more is broken; what is broken may last on.
    #[serde(default)]
    pub(crate) quiet: Span,
    /// What is not permanent is healed at its start; at its end the mesh must agree.
    pub(crate) calm: Span,
    /// Who is healed.
    #[serde(default)]
    pub(crate) heal: Heal,
}

/// Who is healed when the calm begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Heal {
    /// Everybody.
    #[default]
    All,
    /// A core, at least half of all, drawn; what is wrong with the others becomes permanent.
    Core,
}

/// `[[own]]`: settings of some peers only; later lines go before earlier ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Own {
    pub(crate) peers: Who,
    pub(crate) config: toml::Table,
}

/// `[join]`: how peers find the mesh when they have no link, as the production driver does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Join {
    /// The peers that everybody is told of.
    pub(crate) through: Who,
    /// Peers start within this time, in random order.
    pub(crate) within: Span,
}

impl Default for Join {
    fn default() -> Self {
        Self { through: Who::First(3), within: Span(1_000_000_000) }
    }
}

/// How loss shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// As over TCP: a lost packet arrives later, and what follows it waits.
    #[default]
    Stream,
    /// As over UDP: it does not arrive; others may arrive twice or out of order.
    Datagram,
}

/// `[network]`: what the links of the topology do besides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Network {
    pub(crate) mode: Mode,
    /// On top of the links' own loss.
    pub(crate) loss: Share,
    /// Frames that arrive twice; datagrams only.
    pub(crate) duplicate: Share,
    /// Frames that arrive late and let others pass; datagrams only.
    pub(crate) reorder: Share,
    /// Each pair of peers is apart by so much more at most, drawn once for the pair.
    pub(crate) distance: Span,
    /// How long a link may be silent before both ends give it up: the driver's watchdog.
    pub(crate) cut_detection: Span,
    /// How long a dial may hang.
    pub(crate) dial_timeout: Span,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            mode: Mode::Stream,
            loss: Share(0),
            duplicate: Share(0),
            reorder: Share(0),
            distance: Span(0),
            cut_detection: Span(3_000_000_000),
            dial_timeout: Span(5_000_000_000),
        }
    }
}

/// `[disk]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Disk {
    /// Least time of a sync.
    pub(crate) sync: Span,
    /// Mean of what comes on top of it.
    pub(crate) jitter: Span,
    /// How often the last surviving write is torn.
    pub(crate) torn: Share,
    /// What survives a power loss.
    pub(crate) model: Model,
    /// Bytes that fit.
    pub(crate) capacity: Option<Size>,
}

impl Default for Disk {
    fn default() -> Self {
        // A fast SSD with power-loss protection syncs in some 100 us, an SD card in tens of milliseconds.
        Self { sync: Span(300_000), jitter: Span(300_000), torn: Share(500_000), model: Model::Prefix, capacity: None }
    }
}

/// `[clocks]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Clocks {
    /// Wall clocks are up to so far off, either way.
    pub(crate) skew: Span,
    /// Monotonic clocks gain or lose up to so many parts in a million.
    pub(crate) drift: Share,
}

/// `[[edits]]`: a load of edits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Edits {
    /// Who edits.
    #[serde(default)]
    pub(crate) peers: Who,
    /// Over how many documents.
    pub(crate) docs: u32,
    /// Edits of all of them together.
    pub(crate) rate: Rate,
    /// From the start of the run; by default from the end of the warm-up.
    pub(crate) from: Option<Span>,
    /// By default until the calm begins.
    pub(crate) until: Option<Span>,
    /// How many of the edits also write a place that everybody writes.
    #[serde(default)]
    pub(crate) shared: Share,
    /// Bytes of text in each edit, about.
    #[serde(default)]
    pub(crate) padding: u32,
    /// How many other members must hold it before it is acknowledged; by default as configured.
    pub(crate) ack: Option<String>,
}

/// `[[turn]]`: an overlay is set for the mesh.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Turn {
    /// From the start of the run.
    pub(crate) at: Span,
    /// Which one.
    pub(crate) overlay: Policy,
    /// At the first of these that is up: an issuer there signs it. The others hear of it from each other.
    #[serde(default)]
    pub(crate) peers: Who,
}

/// `[[appends]]`: a load of events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Appends {
    /// Who appends.
    #[serde(default)]
    pub(crate) peers: Who,
    /// To how many streams.
    pub(crate) streams: u32,
    /// Appends of all of them together.
    pub(crate) rate: Rate,
    /// Events in each.
    #[serde(default = "one")]
    pub(crate) events: u32,
    /// From the start of the run; by default from the end of the warm-up.
    pub(crate) from: Option<Span>,
    /// By default until the calm begins.
    pub(crate) until: Option<Span>,
    /// Bytes of each event, about.
    #[serde(default)]
    pub(crate) padding: u32,
    /// How many other members must hold it before it is acknowledged; by default as configured.
    pub(crate) ack: Option<String>,
}

/// `[[proposals]]`: what the voters are to decide.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Proposals {
    /// Who asks for it.
    #[serde(default)]
    pub(crate) peers: Who,
    /// Over how many registers.
    #[serde(default = "one")]
    pub(crate) registers: u32,
    /// Instead, by which rule what shows is decided from then on.
    #[serde(default)]
    pub(crate) policies: Vec<crate::documents::Policy>,
    /// Instead, that somebody of these is to vote, or not to: one of the wishes, drawn.
    #[serde(default)]
    pub(crate) wish: Vec<Wish>,
    #[serde(default)]
    pub(crate) whom: Who,
    /// Bytes of each value, about.
    #[serde(default)]
    pub(crate) padding: u32,
    /// So many of them are asked a second time under the same name, within three seconds, of any of the peers.
    #[serde(default)]
    pub(crate) again: Share,
    /// Proposals of all of them together; or one, by the first of them, at a time.
    pub(crate) rate: Option<Rate>,
    pub(crate) at: Option<Span>,
    /// From the start of the run; by default from the end of the warm-up.
    pub(crate) from: Option<Span>,
    /// By default until the calm begins.
    pub(crate) until: Option<Span>,
}

/// What an operator wishes of somebody: `voters add`, `remove`, `clear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wish {
    /// It is to vote.
    Add,
    /// It is not to.
    Remove,
    /// It does not matter any more.
    Clear,
}

fn one() -> u32 {
    1
}

/// `[[fault]]`: a fault at a given time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scheduled {
    /// From the start of the run.
    pub(crate) at: Span,
    /// How long it lasts; by default until the calm begins.
    #[serde(rename = "for")]
    pub(crate) lasts: Option<Span>,
    /// It outlasts the calm.
    #[serde(default)]
    pub(crate) permanent: bool,
    /// To whom.
    #[serde(default)]
    pub(crate) peers: Who,
    /// The next of them only after this.
    #[serde(default)]
    pub(crate) stagger: Span,
    /// How often it comes again.
    #[serde(default)]
    pub(crate) times: Option<u32>,
    /// From one time to the next.
    pub(crate) every: Option<Span>,
    /// What happens.
    pub(crate) kind: Kind,
    /// `slow`, `slow-disk`, `slow-link`: how many times slower.
    pub(crate) factor: Option<u32>,
    /// `cut`, `one-way`, `flap`, `clog`: from whom `peers` are cut; by default from all the rest. `hold`: whom they pause.
    pub(crate) from: Option<Who>,
    /// `isolate`, `clog`: only what `peers` send is lost, or waits.
    #[serde(default)]
    pub(crate) one_way: bool,
    /// `clock-step`, `delay`: by how much; `back` turns it round, and a drift.
    pub(crate) by: Option<Span>,
    #[serde(default)]
    pub(crate) back: bool,
    /// `roll-back`: how old the image is that the disk is put back to.
    pub(crate) image: Option<Span>,
    /// `loss`: how much more is lost everywhere; `garble`: how much of what `peers` send says something else; and so on.
    pub(crate) share: Option<Share>,
    /// `split`: into how many groups at most.
    pub(crate) groups: Option<u32>,
    /// `flap`: how long the links are down, and up.
    pub(crate) down: Option<Span>,
    pub(crate) up: Option<Span>,
    /// `throttle`: bits a second of each link, and bytes that may wait on it.
    pub(crate) bandwidth: Option<String>,
    pub(crate) queue: Option<Size>,
}

/// `[random]`: faults by rate, expanded into the plan before the run. A key for each kind; and `peers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Random {
    /// Every rate may hit these peers only.
    pub(crate) peers: Who,
    #[serde(flatten)]
    pub(crate) kinds: BTreeMap<Kind, Often>,
}

/// How often, for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Often {
    /// Mean time between two, over the whole mesh.
    pub(crate) every: Span,
    /// Shortest and longest.
    #[serde(rename = "for")]
    pub(crate) lasts: [Span; 2],
    /// `slow`, `slow-disk`, `slow-link`: at most so many times slower.
    pub(crate) factor: Option<u32>,
    /// Of kinds that have one; by default drawn for each fault.
    pub(crate) share: Option<Share>,
}

/// `[swarm]`: what each seed draws for itself. Ranges of numbers are drawn log-uniformly, both ends included. What is drawn
/// here goes before what the rest of the file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Swarm {
    /// How many peers; drawn evenly.
    pub(crate) peers: Option<[usize; 2]>,
    /// One of these.
    pub(crate) overlays: Vec<Policy>,
    /// In how many regions, where the peers can be dealt to them alike; drawn evenly.
    pub(crate) regions: Option<[usize; 2]>,
    /// Of links, and between regions. Half of it is jitter.
    pub(crate) delay: Option<[Span; 2]>,
    pub(crate) apart: Option<[Span; 2]>,
    /// Of links.
    pub(crate) loss: Option<[Share; 2]>,
    /// One of these.
    pub(crate) modes: Vec<Mode>,
    /// Least time of a sync, and the mean of what comes on top.
    pub(crate) sync: Option<[Span; 2]>,
    /// Edits of all peers together, over how many documents, with how much text in each.
    pub(crate) edits: Option<[Rate; 2]>,
    pub(crate) docs: Option<[u32; 2]>,
    pub(crate) padding: Option<[u32; 2]>,
    /// Appends of all peers together; half of the seeds have none.
    pub(crate) appends: Option<[Rate; 2]>,
    /// Proposals of all peers together; half of the seeds have none.
    pub(crate) proposals: Option<[Rate; 2]>,
    /// Wishes about who votes; half of the seeds have none.
    pub(crate) wishes: Option<[Rate; 2]>,
    /// Settings of all peers by their whole name, such as `wal.segment-bytes`: one of the values.
    pub(crate) config: BTreeMap<String, Vec<toml::Value>>,
    /// Kinds of faults. Of the families half are on, of their kinds half; at least one kind is off.
    pub(crate) faults: BTreeMap<Kind, Ranges>,
}

/// How often and how long in a swarm.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Ranges {
    /// Mean time between two, over the whole mesh.
    pub(crate) every: [Span; 2],
    /// The shortest, and the longest is drawn.
    #[serde(rename = "for")]
    pub(crate) lasts: [Span; 2],
}

/// `[budget]`: how much faults may destroy.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Budget {
    /// What a disk holds is destroyed only while another one that is whole holds it too.
    pub(crate) copies: bool,
}

/// `[checks]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Checks {
    /// Invariants that this scenario breaks on purpose, each with the reason.
    pub(crate) except: BTreeMap<String, String>,
}

/// `[expect]`: missing one of these is a miss, not a broken invariant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Expect {
    /// From the start of the run until all peers are up and agree.
    pub(crate) form_within: Option<Span>,
    /// From the start of the calm until all live peers agree.
    pub(crate) converge_within: Option<Span>,
    /// Median time from a crash to the first peer that declares it dead.
    pub(crate) detect_within: Option<Span>,
    /// At least so many edits are acknowledged.
    pub(crate) acknowledged: Option<u64>,
    /// At least so many writes are acknowledged with the copies that were wanted.
    pub(crate) copied: Option<u64>,
    /// At most so many writes have not as many in time.
    pub(crate) uncopied: Option<u64>,
    /// At least so often is a replica found to lag beyond a threshold.
    pub(crate) lagging: Option<u64>,
    /// At most so many suspicions of anybody; 0 in a mesh where nothing is wrong.
    pub(crate) suspicions: Option<u64>,
    /// At least so many proposals are answered as decided.
    pub(crate) decided: Option<u64>,
    /// At most so often somebody is elected to lead the voters.
    pub(crate) elections: Option<u64>,
    /// No decision that was asked for takes longer.
    pub(crate) decide_within: Option<Span>,
    /// At most so many times is a healthy peer declared dead.
    pub(crate) false_deaths: Option<u64>,
    /// At most so many bytes a peer and second, over the whole run.
    pub(crate) bytes_per_peer_second: Option<u64>,
    /// From the warm-up on, replication's frames take at most so much more than the least that must cross.
    pub(crate) spread_overhead: Option<Share>,
    /// The same of what crosses between regions.
    pub(crate) crossing_overhead: Option<Share>,
    /// At most so many of the entries that arrive were there already.
    pub(crate) duplicates: Option<Share>,
    /// The 99th percentile of the delays is at most so much more than a flood's.
    pub(crate) delay_over_flood: Option<Share>,
    /// No entry takes longer to a peer that is well.
    pub(crate) delay_max: Option<Span>,
    /// After the last cut, at most so much more is sent than was missing.
    pub(crate) repair_overhead: Option<Share>,
    /// After the last cut, what was missing is everywhere after so long.
    pub(crate) repair_within: Option<Span>,
    /// While nothing is new, a peer sends at most so much in a round of anti-entropy.
    pub(crate) quiet_round: Option<Size>,
}
