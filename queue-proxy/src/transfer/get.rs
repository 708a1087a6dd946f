//! Get: reference → bytes. Opens the reference and takes the cheapest path; the one place that chooses.

use std::sync::Arc;

use bytes::Bytes;
use xdt_proto::ErrorWord;

use super::{
    Transfer,
    description::Description,
    pull::Pull,
    source::{Source, SourceError, Span},
    tally::{Outcome, Path},
    watch::Observed,
};
use crate::trust::{OpenError, Opened};

/// Why an object cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// Malformed, tampered with, or of an unknown key.
    #[error("the reference is not valid")]
    Invalid,
    /// Of another tenant.
    #[error("the reference belongs to another tenant")]
    WrongTenant,
    /// No longer held.
    #[error("the object is gone: retrieved, deleted, expired, or its producer restarted")]
    Gone,
    /// All retrievals are claimed.
    #[error("all retrievals of the object are claimed and not yet confirmed")]
    Claimed,
    /// The inbound budget was used up for too long.
    #[error("no buffer came free in time")]
    NoBuffer,
    /// Larger than the memory that holding it whole would take.
    #[error("the object is larger than the memory bound, and store-and-forward holds it whole")]
    TooLarge,
    /// Larger than its reader takes.
    #[error("the object is larger than its reader takes")]
    OverLimit,
    /// A part of a passing object.
    #[error("an object that is still being streamed can only be read as a whole")]
    NoRanges,
    /// The range lies outside the object.
    #[error("the range lies outside the object")]
    OutOfRange,
    /// The producer could not be connected to, or is none.
    #[error("the producer cannot be reached")]
    Unreachable,
    /// The stream died after it began.
    #[error("the transfer broke off; delivered bytes are void")]
    Broken,
    /// `XDT_PULL_TIMEOUT` passed.
    #[error("the producer was silent for too long")]
    Timeout,
    /// `XDT_PATHS` allows no path to this producer.
    #[error("no path to the producer is allowed here")]
    NoPath,
}

impl GetError {
    /// The contract's word.
    #[must_use]
    pub const fn kind(self) -> ErrorWord {
        match self {
            Self::Invalid => ErrorWord::ReferenceInvalid,
            Self::WrongTenant => ErrorWord::WrongTenant,
            Self::Gone => ErrorWord::ObjectGone,
            Self::Claimed | Self::NoBuffer => ErrorWord::Busy,
            Self::TooLarge | Self::OverLimit => ErrorWord::TooLarge,
            Self::NoRanges | Self::OutOfRange => ErrorWord::BadRequest,
            Self::Unreachable | Self::NoPath => ErrorWord::ProducerUnreachable,
            Self::Broken => ErrorWord::TransferBroken,
            Self::Timeout => ErrorWord::Timeout,
        }
    }

    /// What a producer's refusal means here; a word of a later version means only that the producer said no.
    pub(super) const fn refused(word: Option<ErrorWord>) -> Self {
        match word {
            Some(ErrorWord::ObjectGone) => Self::Gone,
            Some(ErrorWord::Busy) => Self::Claimed,
            Some(ErrorWord::BadRequest) => Self::NoRanges,
            Some(ErrorWord::Timeout) => Self::Timeout,
            _ => Self::Unreachable,
        }
    }
}

impl From<OpenError> for GetError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Invalid => Self::Invalid,
            OpenError::WrongTenant => Self::WrongTenant,
        }
    }
}

impl From<SourceError> for GetError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Gone => Self::Gone,
            SourceError::Busy { .. } => Self::Claimed,
            SourceError::NoRanges => Self::NoRanges,
            SourceError::OutOfRange => Self::OutOfRange,
        }
    }
}

enum Via {
    Instance(Own),
    Stream(Pull),
}

impl Via {
    async fn prepare(&mut self) -> Result<(), GetError> {
        match self {
            Self::Instance(own) => own.prepare().await,
            Self::Stream(pull) => pull.prepare().await,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        match self {
            Self::Instance(own) => own.next().await,
            Self::Stream(pull) => pull.next().await,
        }
    }

    /// The next chunk, unless it is the last.
    async fn next_but_last(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        Ok(match self {
            Self::Instance(own) => own.ready.take(),
            Self::Stream(pull) => pull.take_ready(),
        })
    }

    /// Bytes of the newest chunk that was not handed out.
    fn held_back(&self) -> usize {
        match self {
            Self::Instance(own) => own.held_back.as_ref().map_or(0, Bytes::len),
            Self::Stream(pull) => pull.held_back(),
        }
    }

    /// Bytes whose memory is accounted for already.
    fn covered(&self) -> u64 {
        match self {
            Self::Instance(own) if own.source.is_held() => u64::MAX,
            Self::Instance(_) => 0,
            Self::Stream(pull) => pull.window(),
        }
    }

    /// Whether everything has been handed out and was right.
    fn finished(&self) -> bool {
        match self {
            Self::Instance(own) => own.finished(),
            Self::Stream(pull) => pull.finished(),
        }
    }
}

/// An object of this instance on its way to a client of this instance, one chunk behind like a pull.
struct Own {
    source: Source,
    ready: Option<Bytes>,
    held_back: Option<Bytes>,
    ended: bool,
}

impl Own {
    fn new(source: Source) -> Self {
        Self {
            source,
            ready: None,
            held_back: None,
            ended: false,
        }
    }

    fn finished(&self) -> bool {
        self.ended && self.ready.is_none() && self.held_back.is_none()
    }

    async fn prepare(&mut self) -> Result<(), GetError> {
        while self.ready.is_none() && !self.ended {
            match self.source.next().await.map_err(|_| GetError::Broken)? {
                Some(chunk) => self.ready = self.held_back.replace(chunk),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        Ok(self.ready.take().or_else(|| self.held_back.take()))
    }
}

/// An object on its way to a local client. Dropping it before its end gives the retrieval back; on the same-instance
/// path, dropping it after the last chunk was taken confirms the retrieval.
pub struct Delivery {
    description: Description,
    length: Option<u64>,
    /// Left when the delivery is over.
    via: Option<Via>,
    /// At least one chunk was taken, or there was none to take.
    taken: bool,
    observed: Observed,
}

impl Delivery {
    /// What is known of the object.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Bytes that this delivery will hand out; `None` if not known yet.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next chunk, in order; `None` after the last. The last chunk comes only after the whole object was verified
    /// and, on the stream path, confirmed.
    ///
    /// # Errors
    /// [`GetError`]; the bytes handed out so far are then void.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        let Some(via) = &mut self.via else { return Ok(None) };
        let next = via.next().await;
        self.taken = true;
        self.observed.moved(chunk_len(&next));
        match &next {
            Ok(_) if via.finished() => self.observed.ended(Outcome::Ok),
            Ok(_) => {}
            Err(error) => {
                self.observed.ended(Outcome::Failed(error.kind()));
                self.via = None;
            }
        }
        next
    }

    /// As [`Self::next`], but `None` before the last chunk: all of the object is then here and right, and the retrieval is
    /// not confirmed yet.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn next_but_last(&mut self) -> Result<Option<Bytes>, GetError> {
        let Some(via) = &mut self.via else { return Ok(None) };
        let next = via.next_but_last().await;
        self.observed.moved(chunk_len(&next));
        if let Err(error) = &next {
            self.observed.ended(Outcome::Failed(error.kind()));
            self.via = None;
        }
        next
    }

    /// Bytes of this delivery whose memory is accounted for already, wherever they wait.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.via.as_ref().map_or(0, Via::covered)
    }

    /// Bytes of the chunk that [`Self::next_but_last`] left.
    #[must_use]
    pub fn last_len(&self) -> usize {
        self.via.as_ref().map_or(0, Via::held_back)
    }

    /// The memory file that the object lies in, where it does.
    #[must_use]
    pub fn file(&self) -> Option<&xdt_shm::Sealed> {
        match &self.via {
            Some(Via::Instance(own)) => own.source.file(),
            _ => None,
        }
    }

    /// The path that its bytes take.
    #[must_use]
    pub fn path(&self) -> Path {
        self.observed.path()
    }

    /// The client has [`Self::file`]: the retrieval counts.
    pub fn handed_over(mut self) {
        if let Some(Via::Instance(own)) = self.via.take() {
            let bytes = self.length.and_then(|length| usize::try_from(length).ok());
            self.observed.moved(bytes.unwrap_or(usize::MAX));
            self.observed.ended(Outcome::Ok);
            own.source.confirm();
        }
    }

    /// Waits for the first chunk, so that most failures come before anything was promised to the client. Uses up no
    /// retrieval, but for an empty object, of which nothing will be asked.
    async fn begin(mut self) -> Result<Self, GetError> {
        if let Some(via) = &mut self.via
            && let Err(error) = via.prepare().await
        {
            self.observed.ended(Outcome::Failed(error.kind()));
            return Err(error);
        }
        if self.length == Some(0) {
            self.next().await?;
        }
        Ok(self)
    }
}

fn chunk_len(next: &Result<Option<Bytes>, GetError>) -> usize {
    next.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, Bytes::len))
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(Via::Instance(own)) = self.via.take()
            && self.taken
            && own.finished()
        {
            own.source.confirm();
        }
    }
}

impl Transfer {
    /// Opens `reference` and starts delivering `span` of its object; a retrieval if `counts`.
    ///
    /// # Errors
    /// [`GetError`]; no retrieval is used up then.
    /// # Cancel safety
    /// Dropping the future gives the retrieval back.
    pub async fn get(self: &Arc<Self>, reference: &str, span: Span, counts: bool) -> Result<Delivery, GetError> {
        let opened = self.trust.open(reference)?;
        let path = self.path(&opened)?;
        let mut observed = Observed::receiving(self.clone(), &opened, path);
        let delivery = observed.pulling(self.deliver(&opened, path, span, counts)).await;
        let (description, via) = match delivery {
            Ok(delivery) => delivery,
            Err(error) => {
                observed.ended(Outcome::Failed(error.kind()));
                return Err(error);
            }
        };
        let whole = description.size.map(xdt_proto::ByteCount::get);
        let length = span
            .length
            .or_else(|| whole.map(|size| size.saturating_sub(span.offset)));
        Delivery {
            description,
            length,
            via: Some(via),
            taken: false,
            observed,
        }
        .begin()
        .await
    }

    /// The cheapest path that is allowed.
    fn path(&self, opened: &Opened) -> Result<Path, GetError> {
        if opened.target.instance == self.trust.identity().instance && self.settings.instance_path {
            Ok(Path::Instance)
        } else if self.settings.stream_path {
            Ok(Path::Stream)
        } else {
            Err(GetError::NoPath)
        }
    }

    async fn deliver(
        self: &Arc<Self>,
        opened: &Opened,
        path: Path,
        span: Span,
        counts: bool,
    ) -> Result<(Description, Via), GetError> {
        match path {
            Path::Instance => {
                let source = self.read_own(opened.target.object, span, counts)?;
                let own = Own::new(source);
                Ok((own.source.description().clone(), Via::Instance(own)))
            }
            Path::Stream => {
                let pull = self.pull(opened, span, counts).await?;
                Ok((pull.description().clone(), Via::Stream(pull)))
            }
        }
    }

    /// Size and metadata of the object; no retrieval is claimed.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn describe(&self, reference: &str) -> Result<Description, GetError> {
        let opened = self.trust.open(reference)?;
        match self.path(&opened)? {
            Path::Instance => Ok(self.describe_own(opened.target.object)?),
            Path::Stream => self.pull_description(&opened).await,
        }
    }

    /// Frees the object, wherever it is.
    ///
    /// # Errors
    /// [`GetError::Gone`] if it was gone already.
    pub async fn delete(&self, reference: &str) -> Result<(), GetError> {
        let opened = self.trust.open(reference)?;
        match self.path(&opened)? {
            Path::Instance if self.remove(opened.target.object) => Ok(()),
            Path::Instance => Err(GetError::Gone),
            Path::Stream => self.pull_delete(&opened).await,
        }
    }

    /// What the reference itself says of the object, without asking its producer: the strong entity tag, and the size.
    ///
    /// # Errors
    /// [`GetError::Invalid`] or [`GetError::WrongTenant`].
    pub fn inspect(&self, reference: &str) -> Result<(String, Option<u64>), GetError> {
        let opened = self.trust.open(reference)?;
        Ok((opened.entity_tag(), opened.target.size.map(xdt_proto::ByteCount::get)))
    }
}
