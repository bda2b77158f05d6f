//! Mutants of everything that crosses the admit lane or is handed on by people: read or refused, and never believed unless it
//! says what was signed.

use bincode::{Decode, Encode};

use super::*;
use crate::machine::mutate;

/// The same as bytes, as the control lane and the disk carry it.
fn bytes_of(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, bincode::config::standard()).unwrap()
}

fn read<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<{ 1 << 20 }>();
    let (value, len) = bincode::decode_from_slice(bytes, config).ok()?;
    (len == bytes.len()).then_some(value)
}

#[test]
fn no_mutant_of_a_message_of_admission_panics_or_is_believed() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let (admission, key) = (&founder.admission, member.key().public());
    let stranger_dir = tempfile::tempdir().unwrap();
    let stranger = stranger(stranger_dir.path());
    let good = hello(&member);
    let requests = [
        Request::Hello(good.clone()),
        Request::Join(ask(&founder.invite(), &stranger)),
        Request::Renew(member.credential()),
        Request::Renewed(member.credential()),
    ];
    let requests = requests.map(|request| request.to_bytes());
    let (mut rng, cases) = (mutate::luck("admission"), mutate::cases(2_000, 40));
    let (mut asked, mut believed) = (0, 0);
    for _ in 0..cases {
        let bytes = mutate::bytes_of(&mut rng, &requests);
        let Ok(request) = Request::from_bytes(&bytes) else { continue };
        assert_eq!(Request::from_bytes(&request.to_bytes()).as_ref(), Ok(&request));
        asked += 1;
        match request {
            Request::Hello(hello) => {
                if admission.check(&hello, key).is_ok() {
                    believed += 1;
                    // What is not signed may say anything; who it is may not.
                    assert_eq!(bytes_of(&hello.credential), bytes_of(&good.credential));
                }
            }
            Request::Join(join) => _ = admission.redeem(&join, key),
            Request::Renew(old) => {
                if admission.renew(&old, key).is_ok() {
                    assert_eq!(bytes_of(&old), bytes_of(&member.credential()));
                }
            }
            Request::Renewed(next) => {
                if member.accept_renewal(next.clone()).is_ok() {
                    assert_eq!(bytes_of(&next), bytes_of(&good.credential));
                }
            }
        }
    }
    mutate::report("admission", &format!("{asked} of {cases} could be read, {believed} hellos believed"));
    assert!(asked > cases / 20 && asked < cases, "{asked} of {cases}");
}

#[test]
fn no_mutant_of_a_paper_panics_or_is_believed() {
    let founder = founder();
    let (_dir, member) = founder.member();
    let cluster = founder.admission.cluster();
    let (_lost, other) = founder.member();
    founder.admission.revoke(other.node()).unwrap();
    let request = member.request_office().unwrap();
    let root = RootKey::open(&founder.dir.path().join(ROOT_FILE)).unwrap();
    let certificate = root.sign(&request, Duration::from_secs(60 * 86_400)).unwrap();
    let revocations = founder.admission.revocations_after(0);
    let invite = founder.invite();
    let texts = [invite.to_string(), request.to_string(), certificate.to_string()];
    let bytes = [bytes_of(&request), bytes_of(&certificate), bytes_of(&revocations)];
    let (mut rng, cases, mut read_again) = (mutate::luck("papers"), mutate::cases(1_000, 10), 0);
    for _ in 0..cases {
        let text = mutate::text_of(&mut rng, &texts);
        // The checksum of a text lets through what it was, spelled otherwise at most.
        assert!(text.parse::<Invite>().is_err() || text.parse::<Invite>() == Ok(invite.clone()));
        assert!(
            text.parse::<IssuerRequest>().is_ok_and(|read| read == request) || text.parse::<IssuerRequest>().is_err()
        );
        assert!(
            text.parse::<IssuerCertificate>().is_ok_and(|read| read == certificate)
                || text.parse::<IssuerCertificate>().is_err()
        );
        let mutant = mutate::bytes_of(&mut rng, &bytes);
        if let Some(found) = read::<IssuerRequest>(&mutant) {
            read_again += 1;
            assert!(found.verify(cluster).is_err() || found == request);
        }
        if let Some(found) = read::<IssuerCertificate>(&mutant) {
            read_again += 1;
            assert!(found.check_root(cluster).is_err() || found == certificate);
        }
        if let Some(found) = read::<Vec<Revocation>>(&mutant) {
            read_again += 1;
            _ = member.merge_revocations(found);
            assert!(member.revoked().iter().all(|(node, _)| *node == other.node()));
        }
        _ = Ledger::from_bytes(&mutant);
    }
    mutate::report("papers", &format!("{read_again} of {cases} could be read"));
    assert!(read_again > cases / 20, "{read_again} of {cases}");
}
