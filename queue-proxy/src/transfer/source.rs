//! Reading an object of this instance, chunk by chunk, under a claim: for `serve` and for the same-instance path.

use std::{ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;
use crc_fast::Digest;
use xdt_objects::ClaimError;
use xdt_proto::ObjectId;

use super::{
    Claim, Content, Parcel, Transfer,
    description::Description,
    held::{Held, new_checksum},
    pool::BLOCK,
    pulls::Hold,
    stream::{StreamBroken, StreamReader, Streamed},
};

/// A part of an object: `length` bytes from `offset`, or all that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Bytes; `None` = to the end.
    pub length: Option<u64>,
}

impl Span {
    /// Whether it is the whole object.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self == Self::default()
    }
}

/// How an object is read.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Where the checksum begins: at the span, or before it where a reading goes on after a break.
    pub sum_from: u64,
    /// Whether it is a retrieval.
    pub counts: bool,
    /// The pull's name across its breaks.
    pub pull: Option<[u8; 16]>,
}

impl Terms {
    /// For a reading of `span` that nothing has come before.
    #[must_use]
    pub fn new(span: Span, counts: bool) -> Self {
        Self {
            sum_from: span.offset,
            counts,
            pull: None,
        }
    }
}

/// Why an object of this instance cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not held (any more).
    #[error("the object is gone")]
    Gone,
    /// All retrievals are claimed and not yet confirmed.
    #[error("all {allowed} retrievals are claimed and not yet confirmed")]
    Busy {
        /// Retrievals in all.
        allowed: u16,
    },
    /// A part of an object that passes through once.
    #[error("an object that is still being streamed can only be read as a whole")]
    NoRanges,
    /// The part begins or ends outside the object.
    #[error("the range lies outside the object")]
    OutOfRange,
}

enum Reading {
    Held {
        object: Arc<Held>,
        at: u64,
        end: u64,
        /// Read before a break, and still to be summed up again.
        before: Range<u64>,
        /// The checksum is that of the whole object, which is known.
        summed_up: bool,
        /// Read from the first byte to the last.
        whole: bool,
    },
    Streamed {
        object: Arc<Streamed>,
        reader: Option<StreamReader>,
    },
}

/// One reading of one object. Dropping it before [`Self::confirm`] gives the claim back, or, for a passing object of
/// which chunks have left, ends the object.
pub struct Source {
    description: Description,
    reading: Reading,
    hold: Option<Hold>,
    chunk: usize,
    checksum: Digest,
    read: u64,
}

impl Source {
    /// What is known of the object.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The next chunk, at most `XDT_CHUNK_SIZE`; `None` at the end.
    ///
    /// # Errors
    /// [`StreamBroken`] when the producer of a passing object gave up.
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamBroken> {
        self.sum_up_to_start().await;
        let chunk = match &mut self.reading {
            Reading::Held { object, at, end, .. } => {
                let left = usize::try_from(*end - *at).unwrap_or(usize::MAX);
                let slice = object.slice(*at, self.chunk.min(left));
                *at += slice.len() as u64;
                (!slice.is_empty()).then_some(slice)
            }
            Reading::Streamed {
                reader: Some(reader), ..
            } => reader.next().await?,
            Reading::Streamed { reader: None, .. } => return Err(StreamBroken),
        };
        if let Some(bytes) = &chunk {
            self.took(bytes);
        }
        Ok(chunk)
    }

    /// Most bytes of a chunk: `XDT_CHUNK_SIZE`.
    #[must_use]
    pub fn chunk_size(&self) -> usize {
        self.chunk
    }

    /// The chunk after the last one, if it can be had without waiting.
    pub fn next_ready(&mut self) -> Option<Bytes> {
        let chunk = match &mut self.reading {
            Reading::Held { object, at, end, .. } => {
                let left = usize::try_from(*end - *at).unwrap_or(usize::MAX);
                let slice = object.slice(*at, self.chunk.min(left));
                *at += slice.len() as u64;
                (!slice.is_empty()).then_some(slice)
            }
            Reading::Streamed { reader, .. } => reader.as_mut()?.next_ready(),
        }?;
        self.took(&chunk);
        Some(chunk)
    }

    fn took(&mut self, chunk: &Bytes) {
        self.read += chunk.len() as u64;
        if !self.knows_checksum() {
            self.checksum.update(chunk);
        }
    }

    /// Sums up what was read before a break, block by block, so that other pulls are served in between.
    async fn sum_up_to_start(&mut self) {
        if self.knows_checksum() {
            return;
        }
        let Reading::Held { object, before, .. } = &mut self.reading else {
            return;
        };
        while !before.is_empty() {
            let left = usize::try_from(before.end - before.start).unwrap_or(usize::MAX);
            let slice = object.slice(before.start, left.min(BLOCK));
            self.checksum.update(&slice);
            before.start += slice.len() as u64;
            tokio::task::yield_now().await;
        }
    }

    /// Whether the object lies in this instance's memory as a whole.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.reading, Reading::Held { .. })
    }

    /// The memory file that the object lies in, if all of it is read from one.
    #[must_use]
    pub fn file(&self) -> Option<&xdt_shm::Sealed> {
        match &self.reading {
            Reading::Held {
                object, whole: true, ..
            } => object.file(),
            _ => None,
        }
    }

    /// The whole object as it can be passed to another process without copying more than a small one; `None` for one that
    /// passes through, or lies in blocks.
    pub(super) fn parcel(&self) -> Option<Parcel> {
        match &self.reading {
            Reading::Held { object, .. } => object.parcel(),
            Reading::Streamed { .. } => None,
        }
    }

    /// Bytes that are wanted of a held object.
    pub(super) fn span_len(&self) -> usize {
        match &self.reading {
            Reading::Held { at, end, .. } => usize::try_from(*end - *at).unwrap_or(usize::MAX),
            Reading::Streamed { .. } => 0,
        }
    }

    /// CRC-64/NVME over all bytes so far from where the checksum begins, and their number.
    #[must_use]
    pub fn checksum(&self) -> (u64, u64) {
        let checksum = match &self.reading {
            Reading::Held { object, .. } if self.knows_checksum() => object.checksum(),
            _ => self.checksum.finalize(),
        };
        (checksum, self.read)
    }

    /// A held object was summed up when it came in.
    fn knows_checksum(&self) -> bool {
        matches!(self.reading, Reading::Held { summed_up: true, .. })
    }

    /// The consumer has verified all of it: the retrieval counts. `false` if another call of the same pull has taken the
    /// claim over, or the object was spilled meanwhile.
    pub fn confirm(mut self) -> bool {
        self.hold.take().is_none_or(Hold::confirm)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let Some(claim) = self.hold.take().and_then(Hold::into_claim) else {
            return;
        };
        match &mut self.reading {
            Reading::Streamed { object, reader } => match reader.take() {
                Some(reader) if !reader.dispatched() => {
                    object.return_reader(reader);
                    drop(claim);
                }
                _ => claim.lose(),
            },
            Reading::Held { .. } => drop(claim),
        }
    }
}

impl Transfer {
    /// Starts reading `span` of an object of this instance as `terms` say.
    pub(super) fn read_own(self: &Arc<Self>, id: ObjectId, span: Span, terms: Terms) -> Result<Source, SourceError> {
        let Terms { sum_from, counts, .. } = terms;
        if sum_from > span.offset {
            return Err(SourceError::OutOfRange);
        }
        let now = Instant::now();
        let Some(content) = self.table().peek(id, now) else {
            return Err(SourceError::Gone);
        };
        if let Content::Held(object) = &content {
            span_end(object, span)?; // a bad range uses no retrieval
        } else if !(span.is_whole() && counts) {
            return Err(SourceError::NoRanges);
        }
        let hold = if counts {
            Some(self.hold(id, &content, terms, now)?)
        } else {
            None
        };
        let (description, reading) = match content {
            Content::Held(object) => {
                let end = span_end(&object, span)?;
                let summed_up = sum_from == 0 && end == object.size();
                let whole = span.offset == 0 && summed_up;
                (
                    object.description.clone(),
                    Reading::Held {
                        object,
                        at: span.offset,
                        end,
                        before: sum_from..span.offset,
                        summed_up,
                        whole,
                    },
                )
            }
            Content::Streamed(object) => {
                let reader = object.take_reader();
                (object.description.clone(), Reading::Streamed { object, reader })
            }
        };
        let chunk = self.settings.chunk_size.as_usize();
        Ok(Source {
            description,
            reading,
            hold,
            chunk,
            checksum: new_checksum(),
            read: span.offset - sum_from,
        })
    }

    /// A claim of its own, or the one that an earlier call of the same pull has left open. An object that passes through
    /// has one reader, which cannot go over.
    fn hold(
        self: &Arc<Self>,
        id: ObjectId,
        content: &Content,
        terms: Terms,
        now: Instant,
    ) -> Result<Hold, SourceError> {
        let Some(pull) = terms.pull else {
            return Ok(Hold::Own(self.claim(id, now)?));
        };
        let left_open = match content {
            Content::Held(_) => Hold::taken_over(self, (pull, id)),
            Content::Streamed(_) => None,
        };
        match left_open {
            Some(hold) => Ok(hold),
            None => Ok(Hold::named(self, (pull, id), self.claim(id, now)?)),
        }
    }

    fn claim(self: &Arc<Self>, id: ObjectId, now: Instant) -> Result<Claim, SourceError> {
        let claimed = self.table().claim(id, now).map_err(|error| match error {
            ClaimError::Gone => SourceError::Gone,
            ClaimError::Busy { allowed, .. } => SourceError::Busy { allowed },
        })?;
        Ok(Claim {
            transfer: self.clone(),
            id: Some(claimed.claim),
        })
    }

    /// What is known of an object of this instance, without claiming anything.
    pub(super) fn describe_own(&self, id: ObjectId) -> Result<Description, SourceError> {
        match self.table().peek(id, Instant::now()) {
            Some(Content::Held(object)) => Ok(object.description.clone()),
            Some(Content::Streamed(object)) => Ok(object.description.clone()),
            None => Err(SourceError::Gone),
        }
    }
}

fn span_end(object: &Held, span: Span) -> Result<u64, SourceError> {
    let end = span
        .length
        .map_or(Some(object.size()), |length| span.offset.checked_add(length));
    match end {
        Some(end) if end <= object.size() && span.offset <= end => Ok(end),
        _ => Err(SourceError::OutOfRange),
    }
}
