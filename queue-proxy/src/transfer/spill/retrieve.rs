//! Retrieves a spilled copy, as a pull retrieves an object from its producer: claimed at the start, each chunk verified
//! and handed on one behind, confirmed before the last one is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::BoxStream};
use xdt_objects::{ClaimError, Lease, LeaseId};

use super::{CHUNK, SpillError, chunks, copies::unix_seconds};
use crate::{
    transfer::{Transfer, description::Description, get::GetError, pool::Permit, source::Span},
    trust::{CHUNK_OVERHEAD, CopyKey, CopyName, Opened, Part, random},
};

/// How long a claim keeps others from a retrieval after its consumer was last heard of: longer than a consumer may wait
/// for its user container before it confirms (Knative's longest revision timeout).
const LEASE: Duration = Duration::from_secs(15 * 60);

/// Memory that one retrieval takes: a sealed chunk and a plain one, one more that is held back, and what the store has
/// sent ahead.
const WINDOW: u64 = 4 * CHUNK;

/// A retrieval of a copy. Dropped before the last chunk was handed on, it gives the claim back.
pub(in crate::transfer) struct Retrieval {
    description: Description,
    name: CopyName,
    key: CopyKey,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    silence: Duration,
    /// Sealed bytes of chunks that are not complete yet.
    sealed: BytesMut,
    /// The next chunk, and how many there are in all.
    index: u64,
    all: u64,
    /// Before which chunk to stop.
    end: u64,
    size: u64,
    /// Bytes of the first chunk that are not wanted, and bytes that still are.
    skip: u64,
    left: u64,
    ready: Option<Bytes>,
    held_back: Option<Bytes>,
    verified: bool,
    claim: Option<CopyClaim>,
    confirmed: bool,
    window: Permit,
}

/// An open claim on a copy; given back when it is dropped.
struct CopyClaim {
    transfer: Arc<Transfer>,
    name: CopyName,
    id: Option<LeaseId>,
}

impl CopyClaim {
    /// # Errors
    /// [`GetError::Broken`] if somebody else has the retrieval, or the store does not answer.
    async fn confirm(mut self) -> Result<(), GetError> {
        let Some((id, spill)) = self.id.zip(self.transfer.copies.as_ref()) else {
            return Err(GetError::Broken);
        };
        let confirmed = spill
            .change(&self.transfer.trust, &self.name, |copy| copy.confirm(id))
            .await
            .map_err(|error| {
                tracing::debug!(%error, "a retrieval of a spilled copy was not confirmed");
                GetError::Broken
            })?;
        self.id = None;
        if confirmed { Ok(()) } else { Err(GetError::Broken) }
    }
}

impl Drop for CopyClaim {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (transfer, name) = (self.transfer.clone(), self.name);
        // If the process ends before, the claim runs out by itself.
        self.transfer.spawn(async move {
            let Some(spill) = transfer.copies.as_ref() else { return };
            if let Err(error) = spill.change(&transfer.trust, &name, |copy| copy.give_back(id)).await {
                tracing::debug!(%error, "a claim on a spilled copy was not given back");
            }
        });
    }
}

impl Retrieval {
    pub(in crate::transfer) fn description(&self) -> &Description {
        &self.description
    }

    pub(in crate::transfer) fn finished(&self) -> bool {
        self.confirmed && self.held_back.is_none()
    }

    pub(in crate::transfer) fn take_ready(&mut self) -> Option<Bytes> {
        self.ready.take()
    }

    pub(in crate::transfer) fn window(&self) -> u64 {
        self.window.bytes()
    }

    pub(in crate::transfer) fn held_back(&self) -> usize {
        self.held_back.as_ref().map_or(0, Bytes::len)
    }

    /// Waits until there is something to hand on, or all of it is here and right.
    pub(in crate::transfer) async fn prepare(&mut self) -> Result<(), GetError> {
        while self.ready.is_none() && !self.verified {
            if self.index == self.end {
                self.verified = true;
                if self.left > 0 {
                    return Err(GetError::Broken);
                }
                break;
            }
            let chunk = self.chunk().await?;
            if !chunk.is_empty() {
                self.ready = self.held_back.replace(chunk);
            }
        }
        Ok(())
    }

    /// The next chunk; `None` after the last, which comes only once the retrieval is confirmed.
    pub(in crate::transfer) async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        if let Some(chunk) = self.ready.take() {
            return Ok(Some(chunk));
        }
        if let Some(claim) = self.claim.take() {
            claim.confirm().await?;
        }
        self.confirmed = true;
        Ok(self.held_back.take())
    }

    /// Reads, opens and cuts the next chunk.
    async fn chunk(&mut self) -> Result<Bytes, GetError> {
        let last = self.index + 1 == self.all;
        let plain = if last { self.size - self.index * CHUNK } else { CHUNK };
        let sealed = usize::try_from(plain + CHUNK_OVERHEAD).map_err(|_| GetError::Broken)?;
        while self.sealed.len() < sealed {
            let piece = tokio::time::timeout(self.silence, self.stream.next())
                .await
                .map_err(|_| GetError::Timeout)?;
            match piece {
                Some(Ok(piece)) => self.sealed.extend_from_slice(&piece),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a spilled copy broke off");
                    return Err(GetError::Broken);
                }
                None => return Err(GetError::Broken),
            }
        }
        let part = Part::Chunk {
            index: self.index,
            last,
        };
        let opened = self.key.open_chunk(&self.name, part, &self.sealed.split_to(sealed));
        let Some(opened) = opened else {
            tracing::warn!("a chunk of a spilled copy was not what it should be");
            return Err(GetError::Broken);
        };
        self.index += 1;
        let mut chunk = Bytes::from(opened);
        chunk.advance(usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len()));
        self.skip = 0;
        chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= chunk.len() as u64;
        Ok(chunk)
    }
}

impl Transfer {
    /// Starts retrieving `span` of the copy of the object behind `opened`; a retrieval if `counts`.
    ///
    /// # Errors
    /// The outer one: there is no copy, or the store cannot be asked. The inner one: there is, and it cannot be had.
    pub(in crate::transfer) async fn retrieve(
        self: &Arc<Self>,
        opened: &Opened,
        span: Span,
        counts: bool,
    ) -> Result<Result<Retrieval, GetError>, SpillError> {
        let spill = self.copies.as_ref().ok_or(SpillError::None)?;
        let name = self.trust.copy_name(opened);
        let (head, key) = self.in_time(spill.head(&self.trust, &name)).await?;
        let wanted = span
            .length
            .map_or(Some(head.size), |length| span.offset.checked_add(length));
        let Some(end) = wanted.filter(|end| *end <= head.size && span.offset <= *end) else {
            return Ok(Err(GetError::OutOfRange));
        };
        let window = match self.reserve_inbound(WINDOW.min(self.inbound.limit().get())).await {
            Ok(window) => window,
            Err(error) => return Ok(Err(error)),
        };
        let claim = match self.claim_copy(name, counts).await? {
            Ok(claim) => claim,
            Err(error) => return Ok(Err(error)),
        };
        let first = (span.offset / CHUNK).min(chunks(head.size) - 1);
        let last = end.div_ceil(CHUNK).max(first + 1);
        let stream = self.in_time(spill.data(&name, head.size, first, last)).await?;
        Ok(Ok(Retrieval {
            name,
            key,
            stream,
            silence: self.settings.pull_timeout,
            sealed: BytesMut::new(),
            index: first,
            all: chunks(head.size),
            end: last,
            size: head.size,
            skip: span.offset - first * CHUNK,
            left: end - span.offset,
            ready: None,
            held_back: None,
            verified: false,
            claim,
            confirmed: false,
            window,
            description: head.description,
        }))
    }

    async fn claim_copy(
        self: &Arc<Self>,
        name: CopyName,
        counts: bool,
    ) -> Result<Result<Option<CopyClaim>, GetError>, SpillError> {
        let Some(spill) = self.copies.as_ref().filter(|_| counts) else {
            return Ok(Ok(None));
        };
        let id: LeaseId = random()?;
        // Given back also if it is not known whether the claim came through.
        let claim = CopyClaim {
            transfer: self.clone(),
            name,
            id: Some(id),
        };
        let claimed = spill.change(&self.trust, &name, |copy| {
            let now = SystemTime::now();
            let until = unix_seconds(now + LEASE);
            copy.claim(Lease { id, until }, unix_seconds(now))
        });
        Ok(match self.in_time(claimed).await? {
            Ok(()) => Ok(Some(claim)),
            Err(ClaimError::Gone) => Err(GetError::Gone),
            Err(ClaimError::Busy { .. }) => Err(GetError::Claimed),
        })
    }

    /// What is known of the copy of the object behind `opened`.
    pub(in crate::transfer) async fn describe_copy(&self, opened: &Opened) -> Result<Description, SpillError> {
        let spill = self.copies.as_ref().ok_or(SpillError::None)?;
        let name = self.trust.copy_name(opened);
        let (head, _) = self.in_time(spill.head(&self.trust, &name)).await?;
        Ok(head.description)
    }

    /// Deletes the copy of the object behind `opened`.
    pub(in crate::transfer) async fn delete_copy(&self, opened: &Opened) -> Result<(), SpillError> {
        let spill = self.copies.as_ref().ok_or(SpillError::None)?;
        let name = self.trust.copy_name(opened);
        self.in_time(spill.head(&self.trust, &name)).await?;
        let deleted = spill.change(&self.trust, &name, xdt_objects::Copy::delete);
        if self.in_time(deleted).await? {
            Ok(())
        } else {
            Err(SpillError::None)
        }
    }

    /// Bounds a conversation with the store.
    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, SpillError>>) -> Result<T, SpillError> {
        tokio::time::timeout(self.settings.pull_timeout, asking)
            .await
            .unwrap_or(Err(SpillError::TimedOut))
    }
}
