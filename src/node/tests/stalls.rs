//! A disk that neither does what it is asked nor fails.

use super::*;

/// Does everything but answer writes; those that wait.
fn without_answers(host: &mut Host, at: u64) -> Vec<Input> {
    let (mut writes, mut answers) = (Vec::new(), VecDeque::new());
    loop {
        while let Some(effect) = host.poll() {
            answers.extend(host.perform(effect));
        }
        match answers.pop_front() {
            Some(answer @ Input::Persisted { .. }) => writes.push(answer),
            Some(answer) => host.handle(at, answer),
            None => return writes,
        }
    }
}

fn says(host: &mut Host) -> (bool, Vec<Event>) {
    let told = host.told.drain(..).filter(|event| matches!(event, Event::DiskStalls { .. } | Event::DiskAnswers));
    let told = told.collect();
    (host.node().meta.read_only, told)
}

#[test]
fn who_waits_for_its_disk_says_so_until_it_answers() {
    let mut host = Host::on(1, BTreeMap::new(), 0);
    let stream = events::Name::parse("s").unwrap();
    let command = Command::Events(events::Command::Append { stream, events: vec![bytes::Bytes::from_static(b"e")] });
    host.handle(10, Input::Command { id: CommandId::new(1), command });
    let mut writes = without_answers(&mut host, 10);
    assert!(!writes.is_empty());
    host.handle(14, Input::Wake);
    writes.append(&mut without_answers(&mut host, 14));
    assert_eq!(says(&mut host), (false, Vec::new()), "disks pause now and then");
    host.handle(15, Input::Wake);
    writes.append(&mut without_answers(&mut host, 15));
    assert_eq!(says(&mut host), (true, vec![Event::DiskStalls { after: stall::STALL }]));
    assert!(host.node().read_only().is_none(), "nothing is refused");
    assert_eq!(host.node().status(now(17)).disk_stalled_ms, Some(7_000));
    for write in writes {
        host.handle(18, write);
        host.settle(18);
    }
    assert_eq!(says(&mut host), (false, vec![Event::DiskAnswers]));
    assert!(host.replies.remove(&CommandId::new(1)).unwrap().is_ok(), "and what was asked is done");
}
