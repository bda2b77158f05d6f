//! The admission exchange on its substream: the peer that dialled shows itself first, the other answers if it is convinced.
//!
//! A peer that listens tells a stranger nothing before the stranger has shown a good ticket.

use std::io;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::Stream;
use tokio::time::timeout;

use crate::driver::admission::message::{ANSWER_MAX, Answer, Hello, Join, Joined, REQUEST_MAX, Request};
use crate::driver::admission::{Admission, Credential, Member, PublicKey, Refusal, Revocation};
use crate::types::Boot;

/// Why there is no admission.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmitError {
    /// We refused the peer.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer refused us.
    #[error("the peer refused us: {0}")]
    RefusedByPeer(Refusal, Vec<Revocation>),
    /// The peer only wanted a ticket, and got it.
    #[error("the peer has got its ticket")]
    Served,
    /// The peer is a member, and its configuration or its timeline is not as ours.
    #[error("{why}")]
    Apart { member: Member, why: Refusal },
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A peer that both ends have agreed to talk to.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) member: Member,
    pub(super) hello: Hello,
}

impl Admitted {
    /// Issuers sign their own tickets.
    fn is_issuer(&self) -> bool {
        self.hello.credential.signed_by() == self.member.node
    }
}

/// How long a refused peer has to read why.
const HANG_UP: Duration = Duration::from_millis(250);

/// Two requests in a row make sense, a renewal and then the hello; more do not.
const REQUESTS_MAX: usize = 2;

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).expect("admission messages are bounded");
    stream.write_all(&[&len.to_le_bytes(), bytes].concat()).await?;
    stream.flush().await
}

/// One message. The length is checked before anything is allocated.
async fn read(stream: &mut Stream, max: usize) -> Result<Vec<u8>, AdmitError> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > max {
        return Err(AdmitError::Refused(Refusal::Malformed));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn ask(stream: &mut Stream, request: &Request, answer_max: usize) -> Result<Answer, AdmitError> {
    write(stream, &request.to_bytes()).await?;
    let bytes = read(stream, answer_max).await?;
    match Answer::from_bytes(&bytes).map_err(AdmitError::Refused)? {
        Answer::Refused(why, proof) => Err(AdmitError::RefusedByPeer(why.turned(), proof)),
        answer => Ok(answer),
    }
}

/// As [`ask`], for a member: what proves a refusal is taken in.
async fn ask_as_member(stream: &mut Stream, admission: &Admission, request: &Request) -> Result<Answer, AdmitError> {
    match ask(stream, request, REQUEST_MAX).await {
        Err(AdmitError::RefusedByPeer(why, proof)) => {
            let admission = admission.clone();
            let learned = aside(move || admission.merge_revocations(proof)).await;
            if let Some(Err(error)) = learned {
                tracing::warn!(%error, "what a peer gave as the reason of its refusal was not taken in");
            }
            Err(AdmitError::RefusedByPeer(why, Vec::new()))
        }
        asked => asked,
    }
}

/// Work that may wait for the disk, off the threads that serve heartbeats. `None`: the runtime stops, and it was not begun.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// Our side when we dialled. A ticket that has expired is renewed first, whichever of both is the issuer.
pub(super) async fn request(
    stream: &mut Stream,
    admission: &Admission,
    key: PublicKey,
    boot: Boot,
    attempt: u64,
) -> Result<Admitted, AdmitError> {
    if admission.is_expired() && !admission.is_issuer() {
        let old = admission.credential();
        let expired = Refusal::TicketExpired { at: old.expires_at() };
        match ask_as_member(stream, admission, &Request::Renew(old)).await {
            Ok(Answer::Renewed(credential)) => accept_renewal(admission, credential).await,
            // Not to be able to renew is no fault of the peer's: what keeps us out is our ticket.
            Err(AdmitError::RefusedByPeer(Refusal::NotAnIssuer, _)) => {
                return Err(AdmitError::RefusedByPeer(expired, Vec::new()));
            }
            Ok(_) => return Err(AdmitError::Refused(Refusal::Malformed)),
            Err(error) => return Err(error),
        }
    }
    let mut hello = greet(stream, admission, &Request::Hello(admission.hello(boot, attempt))).await?;
    let mut checked = admission.check(&hello, key);
    if let Err(Refusal::TicketExpired { .. } | Refusal::IssuerExpired { .. }) = checked
        && let Ok(next) = admission.renew(&hello.credential, key)
    {
        // It cannot dial us, or has not yet: it waits for this if it knows us for an issuer.
        hello = greet(stream, admission, &Request::Renewed(next)).await?;
        checked = admission.check(&hello, key);
    }
    let member = checked.map_err(AdmitError::Refused)?;
    agreed(admission, Admitted { member, hello }).await
}

async fn greet(stream: &mut Stream, admission: &Admission, request: &Request) -> Result<Hello, AdmitError> {
    match ask_as_member(stream, admission, request).await? {
        Answer::Hello(hello) => Ok(hello),
        _ => Err(AdmitError::Refused(Refusal::Malformed)),
    }
}

/// Members that have not the same configuration where they must, or are on different timelines, are told so, both, and are not
/// linked. Both find it by themselves and alike: what is compared is only what both have told.
async fn agreed(admission: &Admission, admitted: Admitted) -> Result<Admitted, AdmitError> {
    let member = admitted.member.clone();
    if let Err(why) = admission.compare_timelines(&admitted.hello) {
        if let Some(shown) = admitted.hello.timeline {
            let admission = admission.clone();
            if let Some(Err(error)) = aside(move || admission.hear_of_timeline(&shown)).await {
                tracing::error!(%error, "another timeline was heard of, and could not be remembered");
            }
        }
        return Err(AdmitError::Apart { member, why });
    }
    let differences = admission.differences(&admitted.hello);
    if differences.is_empty() {
        return Ok(admitted);
    }
    Err(AdmitError::Apart { member, why: Refusal::Differs(differences) })
}

pub(super) async fn accept_renewal(admission: &Admission, credential: Credential) {
    let admission = admission.clone();
    match aside(move || admission.accept_renewal(credential)).await {
        None => {}
        Some(Ok(())) => tracing::info!("the admission ticket was renewed"),
        Some(Err(error)) => tracing::warn!(%error, "a renewed ticket was not accepted"),
    }
}

/// Our side when we listen. `admit` is called before the answer leaves: from then on the peer may open lanes.
pub(super) async fn answer(
    stream: &mut Stream,
    admission: &Admission,
    key: PublicKey,
    boot: Boot,
    admit: impl FnOnce(),
) -> Result<Admitted, AdmitError> {
    let mut served = false;
    for _ in 0..REQUESTS_MAX {
        let bytes = match read(stream, REQUEST_MAX).await {
            Err(AdmitError::Io(_)) if served => return Err(AdmitError::Served),
            read => read?,
        };
        match decide(&bytes, admission, key).await {
            Ok(Decision::Admit(admitted)) => {
                let agreed = agreed(admission, *admitted).await;
                if agreed.is_ok() {
                    admit();
                }
                write(stream, &Answer::Hello(admission.hello(boot, 0)).to_bytes()).await?;
                match &agreed {
                    Ok(admitted) if admission.is_expired() && admitted.is_issuer() => {
                        take_renewal(stream, admission, boot).await?;
                    }
                    Ok(_) => {}
                    Err(_) => hang_up(stream).await?,
                }
                return agreed;
            }
            Ok(Decision::Serve(answer)) => {
                write(stream, &answer.to_bytes()).await?;
                served = true;
            }
            Err(why) => {
                write(stream, &Answer::Refused(why.clone(), admission.proof(&why)).to_bytes()).await?;
                hang_up(stream).await?;
                return Err(AdmitError::Refused(why));
            }
        }
    }
    Err(AdmitError::Refused(Refusal::Malformed))
}

/// An issuer has dialled us, and our ticket has expired by our clock: if it has by the issuer's too, the next one comes.
async fn take_renewal(stream: &mut Stream, admission: &Admission, boot: Boot) -> Result<(), AdmitError> {
    let bytes = match read(stream, REQUEST_MAX).await {
        Err(AdmitError::Io(_)) => return Ok(()),
        read => read?,
    };
    let Request::Renewed(credential) = Request::from_bytes(&bytes).map_err(AdmitError::Refused)? else {
        return Err(AdmitError::Refused(Refusal::Malformed));
    };
    accept_renewal(admission, credential).await;
    Ok(write(stream, &Answer::Hello(admission.hello(boot, 0)).to_bytes()).await?)
}

/// The last answer must arrive before the connection goes: a peer that has read it hangs up.
async fn hang_up(stream: &mut Stream) -> io::Result<()> {
    stream.close().await?;
    _ = timeout(HANG_UP, read(stream, 0)).await;
    Ok(())
}

enum Decision {
    Admit(Box<Admitted>),
    Serve(Box<Answer>),
}

async fn decide(bytes: &[u8], admission: &Admission, key: PublicKey) -> Result<Decision, Refusal> {
    match Request::from_bytes(bytes)? {
        Request::Hello(hello) => {
            let member = admission.check(&hello, key)?;
            Ok(Decision::Admit(Box::new(Admitted { member, hello })))
        }
        // Comes behind a hello only, where it is waited for.
        Request::Renewed(_) => Err(Refusal::Malformed),
        Request::Renew(old) => Ok(Decision::Serve(Box::new(Answer::Renewed(admission.renew(&old, key)?)))),
        Request::Join(join) => {
            let admission = admission.clone();
            // The invite's use is synced to the disk before the answer: not on a thread that serves heartbeats.
            match aside(move || admission.redeem(&join, key)).await {
                Some(joined) => Ok(Decision::Serve(Box::new(Answer::Joined(joined?)))),
                None => Err(Refusal::Disk),
            }
        }
    }
}

/// A joiner's side.
pub(super) async fn join(stream: &mut Stream, join: Join) -> Result<Joined, AdmitError> {
    match ask(stream, &Request::Join(join), ANSWER_MAX).await? {
        Answer::Joined(joined) => Ok(joined),
        _ => Err(AdmitError::Refused(Refusal::Malformed)),
    }
}
