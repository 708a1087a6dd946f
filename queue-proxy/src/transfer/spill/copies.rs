//! One spilled copy in the store: `head` (what is known of the object), `data` (its chunks), and `state.N`, of which the
//! highest counts. A state is written under the next number, if nobody was faster; there is no other lock.
//!
//! A copy exists from its first state on, and ends with the state that says so; what is left of it is deleted then.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, path::Path,
};
use xdt_objects::Copy;

use super::{
    records::{Head, decode_state, encode_state},
    store::Store,
};
use crate::{
    transfer::held::Held,
    trust::{CHUNK_OVERHEAD, CopyKey, CopyName, Part, Trust},
};

/// Plain bytes of a chunk: few requests and little overhead, and one chunk is all that a reader holds.
pub(super) const CHUNK: u64 = 1024 * 1024;
/// Chunks that are written at once; above it a copy is written in parts of so many (S3 wants at least 5 MiB each).
const CHUNKS_AT_ONCE: u64 = 8;
/// How often a writer of a state may come too late before it gives up.
const ATTEMPTS: u32 = 64;
/// Largest head or state that is read: metadata have 8 KiB at most, a state 32 bytes for each open claim.
const MAX_RECORD: u64 = 4 * 1024 * 1024;

/// Why a copy cannot be read or written. Texts name neither store nor copy.
#[derive(Debug, thiserror::Error)]
pub(in crate::transfer) enum SpillError {
    /// There is none, or it is over.
    #[error("there is no copy")]
    None,
    /// The store said no, or nothing.
    #[error("the spill store failed")]
    Store(#[from] object_store::Error),
    /// What is there was not made by a holder of the ring for this copy.
    #[error("the copy is not what it should be")]
    Corrupt,
    /// Others changed it again and again.
    #[error("the copy is in too much demand")]
    Contended,
    /// The store was silent for too long.
    #[error("the spill store was silent for too long")]
    TimedOut,
    /// No random bytes for a nonce.
    #[error("the system gave no random bytes")]
    NoRandomness(#[from] getrandom::Error),
}

/// Seconds since 1970: copies cross machines and outlive processes.
pub(super) fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// All copies of a store.
pub(in crate::transfer) struct Copies {
    store: Store,
}

impl Copies {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    async fn store(&self) -> Result<&Arc<dyn ObjectStore>, SpillError> {
        Ok(self.store.get().await?)
    }

    fn at(&self, name: &CopyName, part: &str) -> Path {
        self.store.path(&name.text(), part)
    }

    /// Writes bytes and head; the copy exists only once [`Self::begin`] has succeeded.
    pub(super) async fn write(
        &self,
        trust: &Trust,
        name: &CopyName,
        object: &Held,
        expires: Option<u64>,
    ) -> Result<(), SpillError> {
        let store = self.store().await?;
        let key = trust.copy_key();
        let chunks = chunks(object.size());
        let path = self.at(name, "data");
        if chunks <= CHUNKS_AT_ONCE {
            store.put(&path, sealed(&key, name, object, 0..chunks)?).await?;
        } else {
            let mut upload = store.put_multipart(&path).await?;
            if let Err(error) = in_parts(upload.as_mut(), &key, name, object).await {
                let _given_up = upload.abort().await;
                return Err(error);
            }
        }
        let head = Head {
            description: object.description.clone(),
            size: object.size(),
            expires,
        };
        // Sealed with the key of the chunks, which it names.
        let head = key.seal_record(name, Part::Head, &head.encode())?;
        store.put(&self.at(name, "head"), head.into()).await?;
        Ok(())
    }

    /// Makes a written copy retrievable, `left` times.
    pub(super) async fn begin(&self, trust: &Trust, name: &CopyName, left: u16) -> Result<(), SpillError> {
        match self.put_state(trust, name, 0, &Copy::new(left)).await {
            // An answer was lost on the way, and the request repeated.
            Err(SpillError::Store(object_store::Error::AlreadyExists { .. })) => Ok(()),
            done => done,
        }
    }

    /// What is known of a copy that may be retrieved, and the key of its chunks.
    pub(super) async fn head(&self, trust: &Trust, name: &CopyName) -> Result<(Head, CopyKey), SpillError> {
        let (_, copy) = self.state(trust, name).await?;
        let (head, key) = self.read_head(trust, name).await?;
        let is_due = head.expires.is_some_and(|at| at <= unix_seconds(SystemTime::now()));
        if copy.is_over() || is_due {
            self.sweep(name).await;
            return Err(SpillError::None);
        }
        Ok((head, key))
    }

    async fn read_head(&self, trust: &Trust, name: &CopyName) -> Result<(Head, CopyKey), SpillError> {
        let sealed = self.record(&self.at(name, "head")).await?;
        let opened = trust.open_record(name, Part::Head, &sealed);
        let (plain, key) = opened.ok_or(SpillError::Corrupt)?;
        Ok((Head::decode(&plain).ok_or(SpillError::Corrupt)?, key))
    }

    /// Sealed bytes of the chunks from `first` on, until before `end`, in pieces of any length.
    pub(super) async fn data(
        &self,
        name: &CopyName,
        size: u64,
        first: u64,
        end: u64,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, SpillError> {
        let whole = size + chunks(size) * CHUNK_OVERHEAD;
        let sealed_chunk = CHUNK + CHUNK_OVERHEAD;
        let options = GetOptions {
            range: Some(GetRange::Bounded(first * sealed_chunk..(end * sealed_chunk).min(whole))),
            ..GetOptions::default()
        };
        let answer = self.store().await?.get_opts(&self.at(name, "data"), options).await;
        Ok(answer.map_err(missing)?.into_stream())
    }

    /// Changes the state by `change`, whose answer is returned; a state that is over takes the copy with it. `change`
    /// may run more than once; where it changes nothing, nothing is written.
    pub(super) async fn change<T>(
        &self,
        trust: &Trust,
        name: &CopyName,
        mut change: impl FnMut(&mut Copy) -> T,
    ) -> Result<T, SpillError> {
        for attempt in 0..ATTEMPTS {
            let (serial, before) = self.state(trust, name).await?;
            let mut after = before.clone();
            let answer = change(&mut after);
            if after != before {
                match self.put_state(trust, name, serial + 1, &after).await {
                    Ok(()) => {}
                    Err(SpillError::Store(object_store::Error::AlreadyExists { .. })) => {
                        pause(attempt).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            if after.is_over() {
                self.sweep(name).await;
            }
            return Ok(answer);
        }
        Err(SpillError::Contended)
    }

    /// The newest state and its number.
    async fn state(&self, trust: &Trust, name: &CopyName) -> Result<(u64, Copy), SpillError> {
        let newest = self.serials(name).await?.into_iter().max().ok_or(SpillError::None)?;
        let sealed = self.record(&self.at(name, &state_part(newest))).await?;
        let opened = trust.open_record(name, Part::State(newest), &sealed);
        let (plain, _) = opened.ok_or(SpillError::Corrupt)?;
        Ok((newest, decode_state(&plain).ok_or(SpillError::Corrupt)?))
    }

    async fn serials(&self, name: &CopyName) -> Result<Vec<u64>, SpillError> {
        let listed = self.store().await?.list(Some(&self.at(name, "")));
        let all: Vec<_> = listed
            .map_ok(|found| found.location)
            .try_collect()
            .await
            .or_else(|error| match error {
                object_store::Error::NotFound { .. } => Ok(Vec::new()),
                error => Err(error),
            })?;
        let serial = |path: &Path| path.filename()?.strip_prefix("state.")?.parse().ok();
        Ok(all.iter().filter_map(serial).collect())
    }

    async fn put_state(&self, trust: &Trust, name: &CopyName, serial: u64, copy: &Copy) -> Result<(), SpillError> {
        let sealed = trust
            .copy_key()
            .seal_record(name, Part::State(serial), &encode_state(copy))?;
        let path = self.at(name, &state_part(serial));
        let store = self.store().await?;
        store.put_opts(&path, sealed.into(), PutMode::Create.into()).await?;
        Ok(())
    }

    async fn record(&self, path: &Path) -> Result<Bytes, SpillError> {
        let found = self.store().await?.get(path).await.map_err(missing)?;
        if found.meta.size > MAX_RECORD {
            return Err(SpillError::Corrupt);
        }
        found.bytes().await.map_err(missing)
    }

    /// Deletes what is left of a copy, its states last: whoever reads one meanwhile sees that it is over.
    pub(super) async fn sweep(&self, name: &CopyName) {
        let swept = async {
            let store = self.store().await?;
            let mut serials = self.serials(name).await?;
            serials.sort_unstable();
            let states = serials.into_iter().map(state_part);
            for part in ["data".to_owned(), "head".to_owned()].into_iter().chain(states) {
                match store.delete(&self.at(name, &part)).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok::<_, SpillError>(())
        };
        if let Err(error) = swept.await {
            tracing::debug!(%error, "a spilled copy that is over was not deleted");
        }
    }
}

fn state_part(serial: u64) -> String {
    format!("state.{serial:010}")
}

/// Chunks of an object: an empty one has one, which is empty.
pub(super) fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

fn missing(error: object_store::Error) -> SpillError {
    match error {
        object_store::Error::NotFound { .. } => SpillError::None,
        error => error.into(),
    }
}

/// A short random wait, longer the more others have been faster.
async fn pause(attempt: u32) -> Result<(), getrandom::Error> {
    let random = u64::from(getrandom::u32()?);
    let most = 10_u64 << attempt.min(5);
    tokio::time::sleep(std::time::Duration::from_millis(1 + random % most)).await;
    Ok(())
}

async fn in_parts(
    upload: &mut dyn MultipartUpload,
    key: &CopyKey,
    name: &CopyName,
    object: &Held,
) -> Result<(), SpillError> {
    let all = chunks(object.size());
    let mut first = 0;
    while first < all {
        let end = (first + CHUNKS_AT_ONCE).min(all);
        upload.put_part(sealed(key, name, object, first..end)?).await?;
        first = end;
    }
    upload.complete().await?;
    Ok(())
}

fn sealed(
    key: &CopyKey,
    name: &CopyName,
    object: &Held,
    indices: std::ops::Range<u64>,
) -> Result<PutPayload, SpillError> {
    let all = chunks(object.size());
    let sealed = indices.map(|index| {
        let mut plain = Vec::with_capacity(usize::try_from(CHUNK.min(object.size())).unwrap_or_default());
        let end = (index + 1).saturating_mul(CHUNK).min(object.size());
        let mut at = index * CHUNK;
        while at < end {
            let slice = object.slice(at, usize::try_from(end - at).unwrap_or(usize::MAX));
            if slice.is_empty() {
                break;
            }
            at += slice.len() as u64;
            plain.extend_from_slice(&slice);
        }
        let last = index + 1 == all;
        Ok(Bytes::from(key.seal_chunk(
            name,
            Part::Chunk { index, last },
            &plain,
        )?))
    });
    Ok(sealed.collect::<Result<Vec<_>, SpillError>>()?.into_iter().collect())
}
