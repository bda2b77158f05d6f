//! A store in memory that does to its users what stores do: by seed, one operation at a time, so that a run is a function of its
//! seed. What it had done by then is counted, so that a story that met nothing shows.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Luck;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// 503, and nothing was done.
    Unavailable,
    /// 429, and nothing was done.
    Throttled,
    /// No answer; nobody knows what was done, and it was nothing.
    TimedOut,
    /// It was done, and the answer is lost.
    Unheard,
    /// 409, though nothing is there and nothing was written.
    FalseConflict,
    /// The body ends too soon.
    Truncated,
    /// The body is another object's.
    Another,
    /// A bit of the body is another.
    BitFlip,
    /// The body comes in small pieces.
    Trickle,
    /// What was made last is not listed yet.
    Lag,
    /// A list comes in no order.
    Shuffled,
}

const ON_PUT: [Fault; 5] =
    [Fault::Unavailable, Fault::Throttled, Fault::TimedOut, Fault::Unheard, Fault::FalseConflict];
const ON_GET: [Fault; 7] = [
    Fault::Unavailable,
    Fault::Throttled,
    Fault::TimedOut,
    Fault::Truncated,
    Fault::Another,
    Fault::BitFlip,
    Fault::Trickle,
];
const ON_DELETE: [Fault; 4] = [Fault::Unavailable, Fault::Throttled, Fault::TimedOut, Fault::Unheard];
const ON_LIST: [Fault; 5] = [Fault::Unavailable, Fault::Throttled, Fault::TimedOut, Fault::Lag, Fault::Shuffled];

/// How it behaves from now on.
#[derive(Debug)]
struct Mood {
    luck: Luck,
    /// Of a thousand operations, so many fail.
    rate: u64,
    /// It does so many more, and then none.
    left: Option<u64>,
    /// The last one that it does is not heard of.
    unheard: bool,
    /// It overwrites whatever the condition says.
    liar: bool,
    /// Objects that no list shows for so many more lists.
    hidden: BTreeMap<Path, u64>,
    met: BTreeMap<Fault, u64>,
    /// Others come between before an operation, now and then.
    interleaved: bool,
}

/// Clones are one store.
#[derive(Clone, Debug)]
pub(super) struct Faulty {
    inner: Arc<InMemory>,
    mood: Arc<Mutex<Mood>>,
    /// So many times as long this one waits where others come between.
    slow: usize,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    /// The same store for somebody who is so many times as slow.
    pub(super) fn slower(&self, slow: usize) -> Self {
        Self { slow, ..self.clone() }
    }

    /// As good as its inner one.
    pub(super) fn over(inner: Arc<InMemory>, seed: u64) -> Self {
        let mood = Mood {
            luck: Luck(seed),
            rate: 0,
            left: None,
            unheard: false,
            liar: false,
            hidden: BTreeMap::new(),
            met: BTreeMap::new(),
            interleaved: false,
        };
        Self { inner, mood: Arc::new(Mutex::new(mood)), slow: 1 }
    }

    /// Of a thousand operations so many fail.
    pub(super) fn fail(&self, rate: u64) {
        let mut mood = self.mood.lock().unwrap();
        (mood.rate, mood.left) = (rate, None);
        mood.hidden.clear();
    }

    /// It overwrites whatever the condition says.
    pub(super) fn lie(&self) {
        self.mood.lock().unwrap().liar = true;
    }

    /// So many operations more, and then none.
    pub(super) fn die_after(&self, operations: u64, unheard: bool) {
        let mut mood = self.mood.lock().unwrap();
        (mood.left, mood.unheard) = (Some(operations), unheard);
    }

    /// Whether it has died.
    pub(super) fn is_dead(&self) -> bool {
        self.mood.lock().unwrap().left == Some(0)
    }

    pub(super) fn met(&self) -> BTreeMap<Fault, u64> {
        self.mood.lock().unwrap().met.clone()
    }

    /// Others come between before an operation, now and then.
    pub(super) fn interleave(&self, on: bool) {
        self.mood.lock().unwrap().interleaved = on;
    }

    async fn pause(&self) {
        let times = if self.mood.lock().unwrap().interleaved { self.luck(40) * self.slow } else { 0 };
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    /// What happens to this operation.
    fn next(&self, of: &[Fault]) -> Result<Option<Fault>> {
        let mut mood = self.mood.lock().unwrap();
        if let Some(left) = mood.left {
            mood.left = Some(left.saturating_sub(1));
            return match left {
                0 => Err(failed("the process has died")),
                1 if mood.unheard => Ok(Some(Fault::Unheard)),
                _ => Ok(None),
            };
        }
        let rate = mood.rate;
        if mood.luck.below(1_000) >= rate {
            return Ok(None);
        }
        let at = mood.luck.below(of.len() as u64);
        let fault = of[usize::try_from(at).unwrap()];
        *mood.met.entry(fault).or_default() += 1;
        match fault {
            Fault::Unavailable => Err(failed("503 Service Unavailable")),
            Fault::Throttled => Err(failed("429 Too Many Requests")),
            Fault::TimedOut => Err(failed("timed out")),
            fault => Ok(Some(fault)),
        }
    }

    fn luck(&self, below: u64) -> usize {
        usize::try_from(self.mood.lock().unwrap().luck.below(below.max(1))).unwrap()
    }

    /// What a list shows.
    async fn shown(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        self.pause().await;
        let fault = self.next(&ON_LIST)?;
        let mut listed: Vec<ObjectMeta> = self.inner.list(prefix).try_collect().await?;
        match fault {
            Some(Fault::Lag) => {
                if let Some(newest) = listed.iter().max_by_key(|meta| meta.last_modified) {
                    self.mood.lock().unwrap().hidden.insert(newest.location.clone(), 3);
                }
            }
            Some(Fault::Shuffled) => listed.reverse(),
            _ => {}
        }
        let mut mood = self.mood.lock().unwrap();
        listed.retain(|meta| !mood.hidden.contains_key(&meta.location));
        mood.hidden.values_mut().for_each(|left| *left -= 1);
        mood.hidden.retain(|_, left| *left > 0);
        Ok(listed)
    }
}

fn failed(why: &'static str) -> Error {
    Error::Generic { store: "faulty", source: why.into() }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.pause().await;
        let fault = self.next(&ON_PUT)?;
        if self.mood.lock().unwrap().liar {
            options.mode = PutMode::Overwrite;
        }
        match fault {
            Some(Fault::FalseConflict) if options.mode == PutMode::Create => {
                Err(Error::AlreadyExists { path: at.to_string(), source: "409 Conflict".into() })
            }
            Some(Fault::Unheard) => {
                self.inner.put_opts(at, payload, options).await?;
                Err(failed("no answer"))
            }
            _ => self.inner.put_opts(at, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.pause().await;
        let fault = self.next(&ON_GET)?;
        let mut got = self.inner.get_opts(at, options).await?;
        let Some(fault) = fault.filter(|fault| *fault != Fault::Unheard) else { return Ok(got) };
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let mut bytes = got.bytes().await?;
        match fault {
            Fault::Truncated => bytes = bytes.slice(..self.luck(bytes.len() as u64)),
            Fault::Another => {
                let all: Vec<ObjectMeta> = self.inner.list(None).try_collect().await?;
                let other = &all[self.luck(all.len() as u64)].location;
                bytes = self.inner.get(other).await?.bytes().await?;
            }
            Fault::BitFlip if !bytes.is_empty() => {
                let mut flipped = bytes.to_vec();
                let at = self.luck(flipped.len() as u64);
                flipped[at] ^= 1 << (at % 8);
                bytes = flipped.into();
            }
            _ => {}
        }
        let piece = if fault == Fault::Trickle { 7 } else { usize::MAX };
        let pieces: Vec<Result<Bytes>> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        got = GetResult {
            payload: GetResultPayload::Stream(stream::iter(pieces).boxed()),
            meta,
            range,
            attributes,
            extensions: Default::default(),
        };
        Ok(got)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.next(&ON_DELETE) {
            Err(error) => stream::once(async { Err(error) }).boxed(),
            Ok(None) => self.inner.delete_stream(at),
            Ok(Some(_)) => self.inner.delete_stream(at).map(|done| done.and(Err(failed("no answer")))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move { store.shown(prefix.as_ref()).await.map(|listed| stream::iter(listed).map(Ok)) };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.next(&ON_LIST[..3])?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
