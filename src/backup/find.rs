//! Where in a repository a moment is, and what lies behind it.
//!
//! A time is looked for in the first backup that has seen the log at that time. A record or a point is looked for in the newest
//! history; if that does not hold it, in the others, and taken where all that hold it mean the same record. Nothing is ever
//! taken in the place of what was asked for, and what is not in the newest history is said to be so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::catalogue::Catalogue;
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::manifest::BackupMetadata;
use super::repository::Repository;
use super::restore::{LeftOut, Plan};
use crate::node::{Own, Point};
use crate::probe::planted;
use crate::recovery::Upto;
use crate::recovery::side::Lost;
use crate::recovery::target::{Bound, Mark, Restorable, Stamp, Target, TargetError, Unreachable};
use crate::replication::Trim;
use crate::types::{Chain, Hlc, Lsn, WallTime};
use crate::wal::Frame;

/// Most ends of other histories that are named with what is restorable.
const OTHERS_MAX: usize = 16;

/// What is restored, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The backup that it is read from, with what it continues.
    pub backup: BackupId,
    /// How many backups that is.
    pub links: usize,
    /// Up to where both chains are taken.
    pub upto: Upto,
    /// When the last record of the main chain became part of the log.
    pub at: Hlc,
    /// It is not in the newest history: the log was replaced or put back since.
    pub older_history: bool,
    /// What is not restored since it is damaged, though it may be before the moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    #[serde(skip)]
    pub(super) later: Vec<Trim>,
}

impl Found {
    /// All that a backup holds.
    pub(super) fn all(plan: &Plan<'_>, at: Hlc) -> Self {
        Self::of(plan, plan.all(), at, plan.left_out(Chain::Main), Vec::new())
    }

    fn of(plan: &Plan<'_>, upto: Upto, at: Hlc, main: Option<LeftOut>, later: Vec<Trim>) -> Self {
        // Of events some that cannot be had may be before the moment; records of the main chain come behind it.
        let events = plan.left_out(Chain::Events).filter(|_| upto.events == plan.all().events);
        let left_out = main.into_iter().chain(events).collect();
        let (backup, links) = (plan.backup().id, plan.links().len());
        Self { backup, links, upto, at, older_history: false, left_out, later }
    }
}

/// What the main chain of a backup says that recovery must know.
#[derive(Default)]
struct Told {
    oldest: Option<Mark>,
    newest: Option<Mark>,
    points: Vec<Point>,
    trims: Vec<(Lsn, Trim)>,
}

/// Finds the moment: in the backup that is named, else where it is to be looked for.
///
/// # Errors
/// [`Error::Target`] with what is restorable, if the moment cannot be had; [`Error::Ambiguous`]; [`Error::Branches`] if a history that
/// stands beside the one it is in, and may be the right one, has another moment there; what is damaged on the way there. Damage elsewhere is an error too, unless a backup is named or the damage was [accepted](Catalogue::accept_damage): it
/// may hide a newer one.
pub async fn find(
    repository: &Repository,
    catalogue: &mut Catalogue,
    target: &Target,
    exclusive: bool,
    host: &dyn Host,
) -> Result<Found, Error> {
    if let Target::Backup(id) = target {
        let id = catalogue.named(id)?;
        return find_in(repository, catalogue, id, &Target::Latest, false, host).await;
    }
    let newest = catalogue.newest_or_fault(host.wall())?;
    if *target == Target::Latest {
        catalogue.check_alone(newest, host.wall())?;
    }
    let found = find_anywhere(repository, catalogue, (newest, target), exclusive, host).await;
    let mut found = found.map_err(|error| with_others(catalogue, error, host))?;
    for other in catalogue.beside(tip_of(catalogue, &found, host), host.wall()) {
        if *target != Target::Latest && !holds(repository, catalogue, other, &found).await? {
            catalogue.check_alone(other, host.wall())?;
        }
    }
    if *target != Target::Latest {
        // Where damage keeps from knowing it, nothing is said.
        let there = holds(repository, catalogue, newest, &found).await;
        found.older_history |= matches!(there, Ok(false));
    }
    Ok(found)
}

/// Among what is restorable are the ends of the other histories too.
fn with_others(catalogue: &Catalogue, mut error: Error, host: &dyn Host) -> Error {
    if let Error::Target(TargetError { restorable, .. }) = &mut error {
        let tips = catalogue.tips(host.wall());
        let named = |id: &BackupId| restorable.ids.contains(&format!("backup:{id}"));
        let others: Vec<BackupId> = tips.into_iter().filter(|tip| !named(tip)).collect();
        for id in others.iter().take(OTHERS_MAX) {
            let end = &catalogue.backups[id].metadata.main;
            restorable.ids.push(format!(
                "backup:{id} (another one, up to lsn:{} of {})",
                end.last,
                Stamp(end.stamp.wall)
            ));
        }
        let more = others.len().saturating_sub(OTHERS_MAX);
        restorable.ids.extend((more > 0).then(|| format!("and {more} more, which `backup list` shows")));
    }
    error
}

/// The end of the history that something was found in.
fn tip_of(catalogue: &Catalogue, found: &Found, host: &dyn Host) -> BackupId {
    let holds =
        |tip: &BackupId| catalogue.chain(*tip).is_ok_and(|chain| chain.iter().any(|link| link.id == found.backup));
    catalogue.tips(host.wall()).into_iter().find(holds).unwrap_or(found.backup)
}

/// Whether the history of this backup has that very moment too.
async fn holds(repository: &Repository, catalogue: &Catalogue, tip: BackupId, found: &Found) -> Result<bool, Error> {
    let plan = Plan::of(repository, catalogue, tip)?;
    let is_it = |link: &&BackupMetadata| link.id == found.backup || link.replaces.contains(&found.backup);
    if plan.links().iter().any(is_it) {
        return Ok(true);
    }
    if catalogue.backups[&found.backup].metadata.store != plan.backup().store {
        return Ok(false);
    }
    Ok(plan.stamp_of(catalogue, found.upto.main).await? == Some(found.at))
}

/// Looks for it without regard to what stands beside it.
async fn find_anywhere(
    repository: &Repository,
    catalogue: &Catalogue,
    (newest, target): (BackupId, &Target),
    exclusive: bool,
    host: &dyn Host,
) -> Result<Found, Error> {
    // Of a log that was replaced or put back another one was there at that time: the first backup that has seen it then.
    let at = match target {
        Target::Time(at) => Some(*at),
        Target::Ago(ago) => Some(before(host.wall(), *ago)),
        _ => None,
    };
    let id = match at.and_then(|at| Some((at, catalogue.first_seen_since(at, host.wall())?))) {
        Some((at, seen)) => later_seen(repository, catalogue, seen, at, host).await?,
        None => newest,
    };
    if !catalogue.damaged.is_empty() {
        return find_around(repository, catalogue, id, at, (target, exclusive), host).await;
    }
    match find_in(repository, catalogue, id, target, exclusive, host).await {
        Err(Error::Target(error)) if is_elsewhere(target, &error) => {
            let older = find_older(repository, catalogue, target, exclusive, host).await?;
            older.ok_or(Error::Target(error))
        }
        found => found,
    }
}

/// A clock that was set back gives stamps before a look to what came after it. So of a time behind the last stamp that a backup has
/// the next one of the same history is asked, whose stamps go beyond it.
async fn later_seen(
    repository: &Repository,
    catalogue: &Catalogue,
    seen: BackupId,
    at: WallTime,
    host: &dyn Host,
) -> Result<BackupId, Error> {
    let first = &catalogue.backups[&seen].metadata;
    if first.stamp().wall > at {
        return Ok(seen);
    }
    let of_it = || catalogue.usable().filter(|next| next.store == first.store);
    let beyond = of_it().filter(|next| next.stamp().wall > at).min_by_key(|next| (next.stamp(), next.id));
    // Where none goes beyond it, the time may be that of the last record there is.
    let next =
        beyond.or_else(|| of_it().filter(|next| next.stamp().wall == at).max_by_key(|next| (next.stamp(), next.id)));
    let Some(next) = next.filter(|next| next.main.last >= first.main.last) else { return Ok(seen) };
    let plan = Plan::of(repository, catalogue, next.id)?;
    let known = self::first(&plan, Chain::Main, host, |frame| frame.lsn == first.main.last).await?;
    // Of a log that was put back the same place holds another record.
    Ok(if known.is_some_and(|(_, stamp, _)| stamp == first.main.stamp) { next.id } else { seen })
}

/// Where something is damaged, the moment is looked for in every backup of the same history, those first that should hold it or that hold
/// most. Of the newest as much is taken as is whole.
async fn find_around(
    repository: &Repository,
    catalogue: &Catalogue,
    id: BackupId,
    at: Option<WallTime>,
    (target, exclusive): (&Target, bool),
    host: &dyn Host,
) -> Result<Found, Error> {
    let first = &catalogue.backups[&id].metadata;
    let (mut fit, mut is_known) = (Vec::new(), false);
    for backup in catalogue.usable() {
        let plan = Plan::of(repository, catalogue, backup.id)?;
        let all = plan.all();
        let key = match at {
            Some(at) if backup.started > at || backup.id == id => (backup.started.as_micros(), 0),
            Some(_) => continue,
            None => (u64::MAX - all.main.value(), u64::MAX - all.events.value()),
        };
        if is_one_history(repository, catalogue, backup, first).await? {
            is_known |= backup.main.last >= first.main.last && plan.left_out(Chain::Main).is_none();
            fit.push((key, backup.id));
        }
    }
    fit.sort_by_key(|(key, backup)| (*key, *backup != id, std::cmp::Reverse(*backup)));
    let (mut refused, mut partial) = (None, None);
    for (_, backup) in fit {
        match find_in(repository, catalogue, backup, target, exclusive, host).await {
            Err(Error::Target(error)) => refused = refused.or(Some(error)),
            Ok(found) if *target == Target::Latest => return Ok(less_than(found, first)),
            // Another one may hold it with nothing left out.
            Ok(found) if !found.left_out.is_empty() => partial = partial.or(Some(found)),
            found => return found,
        }
    }
    if let Some(found) = partial {
        return Ok(found);
    }
    let wanted = || format!("of node {} that holds {target} and is whole up to there", catalogue.node);
    let refused = refused.ok_or_else(|| Error::NoBackup { wanted: wanted() })?;
    // What is damaged may be what was asked for, unless the history is known to its end.
    let older = match is_known && is_elsewhere(target, &refused) {
        true => find_older(repository, catalogue, target, exclusive, host).await?,
        false => None,
    };
    older.ok_or(Error::Target(refused))
}

/// As much as is whole, with what it holds less than this backup.
fn less_than(mut found: Found, whole: &BackupMetadata) -> Found {
    let less = |chain: &Chain| found.upto.of(*chain) < whole.run(*chain).last;
    let left_out =
        |chain: Chain| LeftOut { chain: chain.into(), first: found.upto.of(chain).next(), last: whole.run(chain).last };
    found.left_out = Chain::ALL.into_iter().filter(less).map(left_out).collect();
    found
}

/// Whether two backups are of one history, so that the one that holds less holds nothing that the other does not. A log that was put
/// back keeps its store. Where it cannot be told, since what would tell it is damaged, they are not.
async fn is_one_history(
    repository: &Repository,
    catalogue: &Catalogue,
    one: &BackupMetadata,
    other: &BackupMetadata,
) -> Result<bool, Error> {
    if one.store != other.store {
        return Ok(false);
    }
    let (less, more) = if one.main.last <= other.main.last { (one, other) } else { (other, one) };
    let plan = Plan::of(repository, catalogue, more.id)?;
    let says_so = |link: &&BackupMetadata| link.id == less.id || link.replaces.contains(&less.id);
    if less.main.last == Lsn::ZERO || plan.links().iter().any(says_so) {
        return Ok(true);
    }
    let ends_there = plan.links().iter().find(|link| link.main.last == less.main.last);
    let stamp = match ends_there {
        Some(link) => Some(link.main.stamp),
        None => plan.stamp_of(catalogue, less.main.last).await?,
    };
    Ok(stamp == Some(less.main.stamp))
}

/// Whether another history may hold it.
fn is_elsewhere(target: &Target, error: &TargetError) -> bool {
    let named = matches!(target, Target::Lsn(_) | Target::Point(_));
    let not_there = matches!(
        error.why,
        Unreachable::BeforeOldest { .. } | Unreachable::AfterNewest { .. } | Unreachable::UnknownPoint { .. }
    );
    named && not_there
}

/// A record or point in the histories before the newest: there, if all that hold it mean the same record.
async fn find_older(
    repository: &Repository,
    catalogue: &Catalogue,
    target: &Target,
    exclusive: bool,
    host: &dyn Host,
) -> Result<Option<Found>, Error> {
    let mut held: BTreeMap<(Hlc, Lsn), Found> = BTreeMap::new();
    for id in catalogue.tips(host.wall()).into_iter().skip(1) {
        let backup = &catalogue.backups[&id].metadata;
        if matches!(target, Target::Lsn(lsn) if *lsn > backup.main.last) {
            continue;
        }
        match find_in(repository, catalogue, id, target, exclusive, host).await {
            Ok(found) => _ = held.entry((found.at, found.upto.main)).or_insert(found),
            Err(Error::Target(error)) if is_elsewhere(target, &error) => {}
            Err(error) => return Err(error),
        }
    }
    if held.len() > 1 {
        let backups: Vec<String> = held.values().map(|found| found.backup.to_string()).collect();
        return Err(Error::Ambiguous { target: target.to_string(), backups: backups.join(", ") });
    }
    Ok(held.into_values().next().map(|found| Found { older_history: true, ..found }))
}

/// Finds the moment in a backup and what it continues, and nowhere else.
///
/// # Errors
/// As [`find`].
pub async fn find_in(
    repository: &Repository,
    catalogue: &Catalogue,
    id: BackupId,
    target: &Target,
    exclusive: bool,
    host: &dyn Host,
) -> Result<Found, Error> {
    let plan = Plan::of(repository, catalogue, id)?;
    let cut = plan.left_out(Chain::Main).is_some();
    let behind_cut = plan.left_out(Chain::Main).filter(|_| *target == Target::Latest);
    if *target == Target::Latest && !exclusive && !cut {
        return Ok(Found::all(&plan, plan.backup().main.stamp));
    }
    let told = told(&plan, host).await?;
    let ids = plan.links().iter().map(|link| format!("backup:{}", link.id)).collect();
    // At the very time of the look, or of the last stamp, more may have come after it.
    let known = match told.newest.filter(|_| cut) {
        Some(newest) => newest.at.wall,
        None => plan.backup().started.max(plan.backup().stamp().wall),
    };
    let known_until = WallTime::from_micros(known.as_micros().saturating_sub(1));
    let Told { oldest, newest, points, trims } = told;
    let end = newest.map_or_else(|| plan.backup().main.stamp, |newest| newest.at);
    let restorable = Restorable { oldest, newest, known_until, points, ids };
    let bound = restorable.bound(target, exclusive, host.wall())?;
    let (at, inclusive) = match bound {
        Bound::Everything => return Ok(Found::all(&plan, end)),
        Bound::Stamp { at, inclusive } => (at, inclusive),
        Bound::Lsn { lsn, inclusive } => {
            let first = first(&plan, Chain::Main, host, |frame| frame.lsn == lsn).await?;
            (first.map_or_else(Hlc::default, |(_, at, _)| at), inclusive)
        }
    };
    let by_wall = planted!("backup/moment-by-wall-clock");
    let beyond = |frame: &Frame| match by_wall {
        true => frame.hlc.wall > at.wall || (!inclusive && frame.hlc.wall == at.wall),
        false => frame.hlc > at || (!inclusive && frame.hlc == at),
    };
    let mut upto = plan.all();
    let main = first(&plan, Chain::Main, host, &beyond).await?;
    let one = if planted!("backup/boundary-included") { 0 } else { 1 };
    let before =
        |found: &Option<(Lsn, Hlc, Hlc)>, all: Lsn| found.as_ref().map_or(all, |(lsn, ..)| Lsn::new(lsn.value() - one));
    upto.main = before(&main, upto.main);
    if upto.main == Lsn::ZERO {
        return Err(restorable.refuse(Unreachable::BeforeOldest { target: target.to_string() }).into());
    }
    // The first link that reaches so far, by the log's own stamps: events that had expired when later ones were made are there still.
    // Where none goes beyond the moment the last one holds most: some hold events only.
    let reaches = |link: &&&BackupMetadata| link.main.last >= upto.main && link.stamp() > at;
    let link = plan.links().iter().find(reaches);
    let plan = Plan::of(repository, catalogue, link.map_or_else(|| plan.backup().id, |link| link.id))?;
    let events = match planted!("backup/events-not-cut") {
        true => None,
        false => first(&plan, Chain::Events, host, &beyond).await?,
    };
    upto.events = before(&events, plan.all().events);
    let (first, last) = (plan.first(Chain::Events).value(), plan.backup().main.last);
    upto.events = upto.events.max(Lsn::new(first - 1));
    let later = trims.into_iter().filter(|(lsn, _)| *lsn > upto.main && *lsn <= last).map(|(_, trim)| trim).collect();
    let at = main.map_or_else(|| if cut { end } else { plan.backup().main.stamp }, |(_, _, before)| before);
    Ok(Found::of(&plan, upto, at, behind_cut, later))
}

/// So long before.
fn before(now: WallTime, ago: std::time::Duration) -> WallTime {
    WallTime::from_micros(now.as_micros().saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
}

/// Reads the main chain for points, trims and its ends.
async fn told(plan: &Plan<'_>, host: &dyn Host) -> Result<Told, Error> {
    let mut told = Told::default();
    let only_main = Upto { events: Lsn::new(plan.first(Chain::Events).value() - 1), ..plan.all() };
    let mut reading = plan.read(only_main, None).await?;
    while let Some((_, frames)) = reading.next(host).await? {
        for frame in frames {
            let mark = Mark { lsn: frame.lsn, at: frame.hlc };
            told.oldest = told.oldest.or(Some(mark));
            told.newest = Some(mark);
            match Own::decode(frame.kind, &frame.payload).map_err(|why| Error::Source(why.into()))? {
                Own::Point { name } => told.points.push(Point { name, lsn: frame.lsn, at: frame.hlc }),
                Own::Trim(trim) => told.trims.push((frame.lsn, trim)),
                _ => {}
            }
        }
    }
    Ok(told)
}

/// The first record of a chain that is so: its number, its stamp and the stamp of the one before.
async fn first(
    plan: &Plan<'_>,
    chain: Chain,
    host: &dyn Host,
    is_so: impl Fn(&Frame) -> bool,
) -> Result<Option<(Lsn, Hlc, Hlc)>, Error> {
    let nothing = |chain| Lsn::new(plan.first(chain).value() - 1);
    let upto = match chain {
        Chain::Main => Upto { events: nothing(Chain::Events), ..plan.all() },
        Chain::Events => Upto { main: nothing(Chain::Main), ..plan.all() },
    };
    let (mut reading, mut before) = (plan.read(upto, None).await?, Hlc::default());
    while let Some((_, frames)) = reading.next(host).await? {
        for frame in frames {
            if is_so(&frame) {
                return Ok(Some((frame.lsn, frame.hlc, before)));
            }
            before = frame.hlc;
        }
    }
    Ok(None)
}

/// What the history of a backup holds behind a moment of it: what a return to there would lose, if nobody else had it.
///
/// # Errors
/// What is damaged.
pub async fn beyond(
    repository: &Repository,
    catalogue: &Catalogue,
    found: &Found,
    host: &dyn Host,
) -> Result<Lost, Error> {
    let plan = Plan::of(repository, catalogue, tip_of(catalogue, found, host))?;
    let (mut lost, mut touched) = (Lost::default(), BTreeSet::new());
    let mut reading = plan.read(plan.all(), None).await?;
    while let Some((chain, frames)) = reading.next(host).await? {
        for frame in frames.into_iter().filter(|frame| frame.lsn > found.upto.of(chain)) {
            let own = Own::decode(frame.kind, &frame.payload).map_err(|why| Error::Source(why.into()))?;
            lost.count(&frame, own, &mut touched);
        }
    }
    lost.name(touched);
    Ok(lost)
}
