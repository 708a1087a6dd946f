//! Put: holds an object, whichever door it came by, and answers with a reference.
//!
//! [`Transfer::put`] holds all of it before it answers; [`Transfer::offer`] answers at once and lets the object pass
//! through (invoke, cut-through). Memory is reserved before the first byte is read: all of it where the size is known,
//! step by step where it is not. `adopt` is the third way in: a memory file of the pod's own. Bound: `XDT_OBJECT_MEMORY` for put objects, `XDT_INVOKE_BUFFERS` ×
//! `XDT_INVOKE_BUFFER_SIZE` for passing ones.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use opentelemetry_sdk::trace::Span;
use tokio::time::Instant;
use xdt_proto::{ByteCount, ErrorWord, Reference, Retrievals};
use xdt_shm::{Refused, ShmError};

use super::{
    Content, Filling, Transfer,
    adopt::AT_ONCE,
    description::Description,
    handover::SMALL,
    held::{Held, HeldWriter},
    pool::{BLOCK, Permit, ReserveError},
    stream::{ReaderGone, StreamWriter, stream},
};
use crate::{body::BoxError, trust::new_object_id};

/// What the smallest object is charged beside its metadata, so that the number of objects is bounded too: about what
/// its entry, its handles and its reference's bookkeeping take.
const MIN_CHARGE: u64 = 1024;
/// First reservation for a body of unknown length.
const FIRST_STEP: u64 = 16 * 1024;

/// How an object is to be held.
#[derive(Debug, Clone)]
pub struct PutTerms {
    /// What is known of it; `size` is the announced length.
    pub description: Description,
    /// How often it may be retrieved.
    pub retrievals: Retrievals,
    /// Shortens `XDT_OBJECT_TTL`; zero only where that is `0` (never).
    pub ttl: Option<Duration>,
}

/// A held object.
#[derive(Debug)]
pub struct Put {
    /// Stands for it.
    pub reference: Reference,
    /// Bytes.
    pub size: ByteCount,
}

/// Why an object is not held.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Over `XDT_MAX_OBJECT_SIZE`, or over the memory bound.
    #[error("the object is larger than {limit} bytes", limit = limit.get())]
    TooLarge {
        /// The bound that it crossed.
        limit: ByteCount,
    },
    /// No memory or buffer came free within `XDT_BUFFER_WAIT`.
    #[error("no buffer came free in time")]
    Busy,
    /// The instance is shutting down.
    #[error("the instance is shutting down and takes no new objects")]
    Draining,
    /// The body ended before its announced length, or its sender went away.
    #[error("the body broke off")]
    BodyBroken(#[source] BoxError),
    /// Its sender stopped in the middle for `XDT_CLIENT_TIMEOUT`.
    #[error("the body stopped coming before its end")]
    BodyStopped,
    /// A memory file that is not what it must be.
    #[error(transparent)]
    BadFile(#[from] Refused),
    /// A memory file that the system does not let us read.
    #[error("the memory file cannot be read")]
    UnreadableFile(#[source] ShmError),
    /// The system has less memory than `XDT_OBJECT_MEMORY` allows.
    #[error("the system has no memory for the object")]
    NoMemory(#[source] ShmError),
    /// No random bytes for an id.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl PutError {
    /// The contract's word.
    #[must_use]
    pub const fn kind(&self) -> ErrorWord {
        match self {
            Self::TooLarge { .. } => ErrorWord::TooLarge,
            Self::Busy | Self::NoMemory(_) | Self::NoRandomness => ErrorWord::Busy,
            Self::Draining => ErrorWord::Draining,
            Self::BodyBroken(_) | Self::BodyStopped | Self::BadFile(_) | Self::UnreadableFile(_) => {
                ErrorWord::BadRequest
            }
        }
    }
}

impl From<ReserveError> for PutError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::TooLarge { limit, .. } => Self::TooLarge { limit },
            ReserveError::Busy { .. } => Self::Busy,
        }
    }
}

impl From<getrandom::Error> for PutError {
    fn from(_: getrandom::Error) -> Self {
        Self::NoRandomness
    }
}

/// The server's end of a passing object.
pub struct Offer {
    /// Stands for it.
    pub reference: Reference,
    writer: OfferWriter,
}

impl Offer {
    /// The reference and the end to write into.
    #[must_use]
    pub fn split(self) -> (Reference, OfferWriter) {
        (self.reference, self.writer)
    }
}

/// Writes a passing object; dropping it before [`Self::finish`] breaks the object.
pub struct OfferWriter {
    stream: StreamWriter,
    filling: Filling,
    left: Option<u64>,
    most: u64,
    /// Lasts as long as the object is being written.
    _span: Option<Span>,
}

impl OfferWriter {
    /// Writes all of `body`, at the pace of its reader.
    ///
    /// # Errors
    /// [`OfferError`]; the object is then broken for its reader too.
    pub async fn write_all<B>(&mut self, mut body: B) -> Result<(), OfferError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = self.stream.reader_gone() => return Err(OfferError::ReaderGone),
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.write(data).await?;
                    }
                }
                Some(Err(error)) => return Err(OfferError::BodyBroken(error.into())),
                None => return Ok(()),
            }
        }
    }

    /// Writes `data`, which counts against the announced size.
    ///
    /// # Errors
    /// [`OfferError`].
    pub async fn write(&mut self, data: Bytes) -> Result<(), OfferError> {
        let length = data.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(length).ok_or(OfferError::WrongLength)?;
        }
        self.most = self.most.checked_sub(length).ok_or(OfferError::TooLarge)?;
        self.stream.write(data).await?;
        Ok(())
    }

    /// Marks the end.
    ///
    /// # Errors
    /// [`OfferError::WrongLength`] if less than the announced size was written; [`OfferError::ReaderGone`].
    pub async fn finish(self) -> Result<(), OfferError> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(OfferError::WrongLength);
        }
        let Self { stream, filling, .. } = self;
        // Before the last item leaves, so that its confirmation finds a complete object.
        filling.finished();
        stream.finish().await?;
        Ok(())
    }
}

/// Why a passing object ended early.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Its reader vanished, or it was deleted or expired.
    #[error("nobody reads the object any more")]
    ReaderGone,
    /// Its sender went away.
    #[error("the body broke off")]
    BodyBroken(#[source] BoxError),
    /// Not as long as announced.
    #[error("the body is not as long as announced")]
    WrongLength,
    /// Over `XDT_MAX_OBJECT_SIZE`.
    #[error("the body is larger than the largest object")]
    TooLarge,
}

impl From<ReaderGone> for OfferError {
    fn from(_: ReaderGone) -> Self {
        Self::ReaderGone
    }
}

impl Transfer {
    /// Reads all of `body` into memory and makes a reference to it.
    ///
    /// # Errors
    /// [`PutError`]; nothing is kept then.
    /// # Cancel safety
    /// Dropping the future gives all memory back.
    pub async fn put<B>(self: &Arc<Self>, body: B, terms: PutTerms) -> Result<Put, PutError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if self.is_draining() {
            return Err(PutError::Draining);
        }
        self.putting(async {
            let held = self.fill(body, terms.description).await?;
            self.keep(held, terms.retrievals, terms.ttl)
        })
        .await
    }

    /// Enters a complete object, and makes a reference to it.
    pub(super) fn keep(&self, held: Held, retrievals: Retrievals, ttl: Option<Duration>) -> Result<Put, PutError> {
        let size = ByteCount::new(held.size());
        let object = new_object_id()?;
        let reference = self.trust.refer(object, Some(size), retrievals)?;
        let content = Content::Held(Arc::new(held));
        #[allow(clippy::expect_used)]
        self.table()
            .hold(object, retrievals, size, self.expires(ttl), content)
            .expect("128 fresh random bits do not repeat");
        self.expiry_moved.notify_one();
        tracing::debug!(
            size = size.get(),
            copied_in_all = self.tally.copied(),
            "an object is held"
        );
        Ok(Put { reference, size })
    }

    async fn fill<B>(&self, mut body: B, description: Description) -> Result<Held, PutError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let limit = self.settings.max_object_size;
        if description.size.is_some_and(|size| size > limit) {
            return Err(PutError::TooLarge { limit });
        }
        // More than all memory is never held, so a body of unknown length does not wait for it.
        let limit = limit.min(self.held.limit());
        let charge = charge(&description);
        let first = description.size.unwrap_or(ByteCount::ZERO).max(charge);
        let granted = self.reserve(first).await?;
        let mut writer = self.writer(granted, description.size);
        while let Some(frame) = self.next_frame(&mut body).await? {
            let frame = frame.map_err(|error| PutError::BodyBroken(error.into()))?;
            let Ok(mut data) = frame.into_data() else { continue };
            if writer.size() + data.len() as u64 > limit.get() {
                return Err(PutError::TooLarge { limit });
            }
            self.tally.add_copied(data.len());
            while data.has_remaining() {
                if writer.room() == 0 {
                    let most = self.held.limit();
                    let left = most.get().saturating_sub(writer.granted());
                    if left == 0 {
                        return Err(PutError::TooLarge { limit: most });
                    }
                    let step = next_step(writer.size(), data.len()).min(ByteCount::new(left));
                    writer.grant(self.reserve(step).await?);
                }
                writer.write(&self.held, &mut data).map_err(PutError::NoMemory)?;
            }
        }
        let quick = writer.size() <= AT_ONCE || !writer.is_in_file();
        let finish = move || writer.finish(description, charge).map_err(PutError::NoMemory);
        if quick {
            return finish();
        }
        // Ends early only when the runtime shuts down.
        tokio::task::spawn_blocking(finish)
            .await
            .map_err(|_| PutError::Draining)?
    }

    /// Takes the bytes of an object of this size. What may be passed to another process lies in a file from the start.
    pub(super) fn writer(&self, granted: Permit, size: Option<ByteCount>) -> HeldWriter {
        let passed_on = self.node.is_some() && size.is_none_or(|size| size.get() > SMALL);
        if passed_on {
            HeldWriter::in_file(granted)
        } else {
            HeldWriter::new(granted)
        }
    }

    /// The next frame of a client's body, which must come within `XDT_CLIENT_TIMEOUT`.
    async fn next_frame<B>(&self, body: &mut B) -> Result<Option<Result<http_body::Frame<Bytes>, B::Error>>, PutError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        tokio::time::timeout(self.settings.client_timeout, body.frame())
            .await
            .map_err(|_| PutError::BodyStopped)
    }

    pub(super) async fn reserve(&self, bytes: ByteCount) -> Result<Permit, ReserveError> {
        let deadline = Instant::now() + self.settings.buffer_wait;
        self.waiting(self.held.reserve(bytes, deadline)).await
    }

    /// The call that carried `reference` is over: nobody new may claim its object. One that is being read is read to
    /// its end; otherwise it is freed. `true` if it was still there.
    pub fn release(&self, reference: &Reference) -> bool {
        self.trust
            .open(reference.as_str())
            .is_ok_and(|opened| self.remove(opened.target.object))
    }

    /// Makes a reference to an object that is about to pass through; one retrieval. Waits for a buffer for at most
    /// `patience`.
    ///
    /// # Errors
    /// [`PutError`].
    pub async fn offer(self: &Arc<Self>, description: Description, patience: Duration) -> Result<Offer, PutError> {
        if self.is_draining() {
            return Err(PutError::Draining);
        }
        let limit = self.settings.max_object_size;
        let size = description.size;
        if size.is_some_and(|size| size > limit) {
            return Err(PutError::TooLarge { limit });
        }
        let buffer = self.invoke_buffers.clone().acquire_owned();
        let buffer = self.waiting(tokio::time::timeout(patience, buffer)).await;
        let buffer = buffer.ok().and_then(Result::ok).ok_or(PutError::Busy)?;
        let object = new_object_id()?;
        let reference = self.trust.refer(object, size, Retrievals::ONE)?;
        let (streamed, stream) = stream(
            description,
            self.settings.invoke_buffer_size,
            self.settings.chunk_size,
            buffer,
        );
        let content = Content::Streamed(Arc::new(streamed));
        #[allow(clippy::expect_used)]
        self.table()
            .stream(object, self.expires(None), content)
            .expect("128 fresh random bits do not repeat");
        self.expiry_moved.notify_one();
        let filling = Filling {
            transfer: self.clone(),
            id: Some(object),
        };
        let writer = OfferWriter {
            stream,
            filling,
            left: size.map(ByteCount::get),
            most: limit.get(),
            _span: self.offering(reference.as_str(), size),
        };
        Ok(Offer { reference, writer })
    }
}

/// What the smallest object with this description takes of the memory bound.
pub(super) fn charge(description: &Description) -> ByteCount {
    ByteCount::new(MIN_CHARGE + description.header_bytes())
}

/// Grows with the object, so that a long body waits for few grants and a short one takes little.
fn next_step(have: u64, want: usize) -> ByteCount {
    ByteCount::new(
        have.clamp(FIRST_STEP, BLOCK as u64)
            .max((want as u64).min(BLOCK as u64)),
    )
}
