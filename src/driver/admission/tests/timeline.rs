//! Timelines: who may begin one, and what members of different ones say to each other.

use quickcheck::{Arbitrary, Gen};

use super::super::timeline::{apart, between, names_heard_with, open_forged};
use super::*;
use crate::types::{Hlc, Lsn, TimelineId};

fn moment(admission: &Admission) -> Moment {
    Moment { node: admission.node(), lsn: Lsn::new(7), at: Hlc::default() }
}

/// A timeline of this mesh, begun by whoever holds its root key.
fn begun(founder: &Founder, parent: TimelineId) -> Timeline {
    let root = RootKey::open(&founder.dir.path().join(ROOT_FILE)).unwrap();
    let (cluster, now) = (founder.admission.cluster(), WallTime::from_micros(5));
    root.begin_timeline(cluster, parent, moment(&founder.admission), now).unwrap()
}

/// The same peer after it was restarted on this timeline.
fn on(dir: &Path, timeline: &Timeline) -> Admission {
    timeline.write(dir).unwrap();
    Admission::open(dir).unwrap().unwrap()
}

#[test]
fn a_statement_outlives_its_process_and_its_text() {
    let founder = founder();
    let timeline = begun(&founder, TimelineId::FIRST);
    assert_eq!((timeline.id().number, timeline.parent()), (1, TimelineId::FIRST));
    assert_eq!(timeline.to_string().parse::<Timeline>().unwrap(), timeline);
    let admission = on(founder.dir.path(), &timeline);
    assert_eq!(admission.timeline(), Some(timeline.clone()));
    assert_eq!(begun(&founder, timeline.id()).id().number, 2);
}

#[test]
fn only_the_root_of_the_mesh_begins_a_timeline() {
    let (founder, other) = (founder(), founder());
    let root = RootKey::open(&other.dir.path().join(ROOT_FILE)).unwrap();
    let refused = root.begin_timeline(
        founder.admission.cluster(),
        TimelineId::FIRST,
        moment(&founder.admission),
        WallTime::from_micros(5),
    );
    assert!(matches!(refused, Err(AdmissionError::NotTheRoot { .. })), "{refused:?}");
    // Of its own mesh it may.
    let foreign = begun(&other, TimelineId::FIRST);
    let cluster = founder.admission.cluster();
    assert!(matches!(foreign.verify(cluster), Err(Refusal::WrongCluster { .. })));
    let good = begun(&founder, TimelineId::FIRST);
    for forged in open_forged(&good) {
        assert_eq!(forged.verify(cluster), Err(Refusal::ForgedTimeline), "{forged:?}");
        let (_dir, member) = founder.member();
        let shown = Hello { timeline: Some(Box::new(forged.clone())), ..hello(&member) };
        let key = member.key().public();
        assert_eq!(founder.admission.check(&shown, key), Err(Refusal::ForgedTimeline));
        forged.write(founder.dir.path()).unwrap();
        assert!(Admission::open(founder.dir.path()).unwrap_err().to_string().contains("not signed"));
        std::fs::remove_file(founder.dir.path().join(TIMELINE_FILE)).unwrap();
    }
}

#[test]
fn members_of_different_timelines_name_both_on_both_sides() {
    let founder = founder();
    let (dir, member) = founder.member();
    let timeline = begun(&founder, TimelineId::FIRST);
    let (began, there) = (timeline.began(), timeline.id());
    let new = on(founder.dir.path(), &timeline);
    let refused = member.compare_timelines(&hello(&new)).unwrap_err();
    assert_eq!(refused, Refusal::OtherTimeline { here: TimelineId::FIRST, there, began });
    assert_eq!(new.compare_timelines(&hello(&member)).unwrap_err(), refused.clone().turned());
    assert!(!refused.is_final() && refused.to_string().contains(&there.to_string()), "{refused}");

    // The one on the old one remembers it, over a restart too, and does not follow.
    member.hear_of_timeline(&timeline).unwrap();
    let again = Admission::open(dir.path()).unwrap().unwrap();
    assert_eq!((again.timeline(), again.heard_timelines()), (None, vec![timeline.clone()]));
    assert_eq!(again.papers().timeline.heard[0].id, there);
    // The one on the new one has nothing to learn from the old one.
    new.hear_of_timeline(&timeline).unwrap();
    assert_eq!(new.heard_timelines(), []);

    let gone_over = on(dir.path(), &timeline);
    assert_eq!(gone_over.compare_timelines(&hello(&new)), Ok(()));
    assert_eq!(gone_over.heard_timelines(), [], "there is nothing left to go over to");
}

#[test]
fn two_timelines_of_one_number_are_refused_on_both_sides() {
    let founder = founder();
    let (one, two) = (begun(&founder, TimelineId::FIRST), begun(&founder, TimelineId::FIRST));
    let (here, there) = (one.id(), two.id());
    assert_eq!(between(Some(&one), Some(&two)), Err(Refusal::ForkedTimeline { here, there }));
    assert_eq!(between(Some(&two), Some(&one)), Err(Refusal::ForkedTimeline { here, there }.turned()));
    let admission = on(founder.dir.path(), &one);
    admission.hear_of_timeline(&two).unwrap();
    assert_eq!(admission.heard_timelines(), std::slice::from_ref(&two));
    // One on the old timeline remembers both, however often it meets them: it must not be led over to either.
    let (dir, old) = founder.member();
    for shown in [&one, &two, &one, &two] {
        old.hear_of_timeline(shown).unwrap();
    }
    let mut both = [one, two.clone()];
    both.sort_by_key(Timeline::id);
    assert_eq!(Admission::open(dir.path()).unwrap().unwrap().heard_timelines(), both);
    // A later one that came of one of them ends the question, however many there were.
    for _ in 0..9 {
        old.hear_of_timeline(&begun(&founder, TimelineId::FIRST)).unwrap();
    }
    assert_eq!(old.heard_timelines().len(), 4, "of one number not all are remembered");
    let later = begun(&founder, two.id());
    old.hear_of_timeline(&later).unwrap();
    assert_eq!(old.heard_timelines(), [later]);
}

#[test]
fn who_joins_learns_the_timeline_and_who_brings_another_keeps_the_invite() {
    let founder = founder();
    let timeline = begun(&founder, TimelineId::FIRST);
    let issuer = on(founder.dir.path(), &timeline);
    with_address(&issuer);
    let dir = tempfile::tempdir().unwrap();
    let key = stranger(dir.path());
    let invite = issuer.issue_invite(Duration::from_secs(60), "test").unwrap();
    let brought = Join { timeline: Some(TimelineId::FIRST), ..ask(&invite, &key) };
    let refused = issuer.redeem(&brought, key.public()).unwrap_err();
    assert!(matches!(refused, Refusal::OtherTimeline { .. }), "{refused:?}");
    let joined = issuer.redeem(&ask(&invite, &key), key.public()).unwrap();
    let member = Admission::accept(dir.path(), key, &invite, joined).unwrap();
    assert_eq!(member.timeline(), Some(timeline));
}

/// A name out of few, so that they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(TimelineId);

impl Arbitrary for Name {
    fn arbitrary(g: &mut Gen) -> Self {
        let number = u32::arbitrary(g) % 4;
        Self(TimelineId { number, fork: if number == 0 { 0 } else { u64::arbitrary(g) % 7 } })
    }
}

fn heard_of(here: Name, shown: &[Name]) -> Vec<TimelineId> {
    let hear = |heard: Vec<_>, shown: &Name| names_heard_with(here.0, &heard, shown.0).unwrap_or(heard);
    shown.iter().fold(Vec::new(), hear)
}

quickcheck::quickcheck! {
    fn there_is_a_link_on_one_timeline_alone_and_both_sides_say_the_same(here: Name, there: Name) -> bool {
        let (ours, theirs) = (apart(here.0, there.0, None), apart(there.0, here.0, None));
        ours.is_ok() == (here == there) && ours == theirs.map_err(Refusal::turned)
    }

    fn a_later_timeline_is_never_forgotten(here: Name, shown: Vec<Name>, after: Vec<Name>) -> bool {
        let newest = |shown: &[Name]| shown.iter().map(|name| name.0.number).max().unwrap_or_default();
        let all = [&shown[..], &after[..]].concat();
        let (heard, more) = (heard_of(here, &shown), heard_of(here, &all));
        let number = |heard: &[TimelineId]| heard.first().map(|name| name.number);
        let right = |heard: &[TimelineId], shown: &[Name]| {
            // Of its own number only others are news.
            let others = shown.iter().any(|name| name.0.number == here.0.number && *name != here);
            match newest(shown) {
                newest if newest > here.0.number => number(heard) == Some(newest),
                newest if newest == here.0.number && others => number(heard) == Some(newest),
                _ => heard.is_empty(),
            }
        };
        right(&heard, &shown) && right(&more, &all) && number(&heard) <= number(&more)
    }

    fn what_is_remembered_is_of_one_number_and_bounded(here: Name, shown: Vec<Name>) -> bool {
        let heard = heard_of(here, &shown);
        heard.len() <= 4
            && heard.is_sorted()
            && heard.iter().all(|name| name.number == heard[0].number && *name != here.0)
            && heard.iter().all(|name| shown.iter().any(|shown| shown.0 == *name))
    }

    fn the_order_of_hearing_does_not_matter(here: Name, shown: Vec<Name>, luck: u64) -> bool {
        let mut turned = shown.clone();
        turned.rotate_left(usize::try_from(luck % 16).unwrap().min(shown.len()));
        let (back, mut sorted): (Vec<Name>, _) = (shown.iter().rev().copied().collect(), shown.clone());
        sorted.sort_unstable();
        let twice = [&turned[..], &shown[..]].concat();
        let heard = heard_of(here, &shown);
        [turned, back, sorted, twice].iter().all(|other| heard_of(here, other) == heard)
    }
}
