//! Get: reference → bytes. Opens the reference and takes the cheapest path that leads there; the one place that chooses.

use std::sync::Arc;

use bytes::Bytes;
use xdt_proto::ErrorWord;

use super::{
    Transfer,
    description::Description,
    source::{SourceError, Span, Terms},
    spill::SpillError,
    tally::{Outcome, Path},
    via::{Own, Via},
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
    /// Nobody listens where the producer was.
    #[error("the producer cannot be reached")]
    NotConnected,
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
            Self::Unreachable | Self::NotConnected | Self::NoPath => ErrorWord::ProducerUnreachable,
            Self::Broken => ErrorWord::TransferBroken,
            Self::Timeout => ErrorWord::Timeout,
        }
    }

    /// Whether a spilled copy may have taken the object's place: its producer is gone, or says so itself, or somebody else
    /// answers at its address.
    const fn leaves_a_copy(self) -> bool {
        matches!(self, Self::Gone | Self::Unreachable | Self::NotConnected | Self::NoPath)
    }

    /// What is left to say when there is no copy either: nobody will come back to serve the object.
    const fn without_copy(self) -> Self {
        match self {
            Self::NotConnected | Self::NoPath => Self::Gone,
            other => other,
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

impl Path {
    /// Whether this path may lead where `before` has failed so. Past the node, the network does whenever the failure is no
    /// word of the producer itself: the path may be closed, or the object passes through. To a copy, see
    /// [`GetError::leaves_a_copy`].
    fn may_lead_on(self, before: Self, error: GetError) -> bool {
        match self {
            Self::Spill => error.leaves_a_copy(),
            _ => before == Self::Node && error == GetError::Unreachable,
        }
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
        self.via.as_ref().and_then(Via::file)
    }

    /// The path that its bytes take.
    #[must_use]
    pub fn path(&self) -> Path {
        self.observed.path()
    }

    /// [`Self::file`] is all that is wanted: a producer on this node counts the retrieval now. One of this instance is
    /// counted by [`Self::handed_over`].
    ///
    /// # Errors
    /// [`GetError`]; the client must not get the file then.
    pub async fn received(mut self) -> Result<Self, GetError> {
        if let Some(Via::Node(pull)) = &mut self.via {
            let confirmed = pull.confirm().await;
            self.observed.moved(pull.held_back());
            let outcome = confirmed.map_or_else(|error| Outcome::Failed(error.kind()), |()| Outcome::Ok);
            self.observed.ended(outcome);
            confirmed?;
        }
        Ok(self)
    }

    /// The client has [`Self::file`]: the retrieval counts.
    pub fn handed_over(mut self) {
        if let Some(Via::Instance(own)) = self.via.take() {
            let bytes = self.length.and_then(|length| usize::try_from(length).ok());
            self.observed.moved(bytes.unwrap_or(usize::MAX));
            self.observed.ended(Outcome::Ok);
            own.confirm();
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

/// What came of asking for a copy after the producer could not be asked, or had nothing.
fn copied<T>(copy: Result<T, SpillError>, error: GetError) -> Result<T, GetError> {
    copy.map_err(|why| without_copy(&why, error))
}

fn without_copy(why: &SpillError, error: GetError) -> GetError {
    match why {
        SpillError::None => error.without_copy(),
        why => {
            tracing::debug!(error = %why, "a spilled copy cannot be had");
            error
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(Via::Instance(own)) = self.via.take()
            && self.taken
            && own.finished()
        {
            own.confirm();
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
        let first = self.paths(&opened).next().ok_or(GetError::NoPath)?;
        let mut observed = Observed::receiving(self.clone(), &opened, first);
        let (path, delivery) = observed.pulling(self.deliver(&opened, span, counts)).await;
        observed.takes(path);
        let (description, via) = delivery.inspect_err(|error| observed.ended(Outcome::Failed(error.kind())))?;
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

    /// The allowed paths to an object, cheapest first (contract, section 7).
    fn paths(&self, opened: &Opened) -> impl Iterator<Item = Path> + use<> {
        let own = opened.target.instance == self.trust.identity().instance && self.settings.instance_path;
        let node = !own && self.shares_node(opened);
        let stream = !own && self.settings.stream_path;
        let copy = self.copies.is_some();
        let paths = [
            (Path::Instance, own),
            (Path::Node, node),
            (Path::Stream, stream),
            (Path::Spill, copy),
        ];
        paths.into_iter().filter(|(_, open)| *open).map(|(path, _)| path)
    }

    /// Tries the paths in turn, as long as the next may lead where one has failed.
    async fn deliver(
        self: &Arc<Self>,
        opened: &Opened,
        span: Span,
        counts: bool,
    ) -> (Path, Result<(Description, Via), GetError>) {
        let mut last: Option<(Path, GetError)> = None;
        for path in self.paths(opened) {
            if last.is_some_and(|(before, error)| !path.may_lead_on(before, error)) {
                continue;
            }
            let delivered = if path == Path::Spill {
                self.deliver_copy(opened, span, counts, last).await
            } else {
                (path, self.deliver_by(opened, path, span, counts).await)
            };
            match delivered {
                (path, Err(error)) => last = Some((path, error)),
                delivered => return delivered,
            }
        }
        let (path, error) = last.unwrap_or((Path::Stream, GetError::NoPath));
        (path, Err(error))
    }

    /// Delivers from a spilled copy after all other paths have failed; without a copy it is their failure that counts.
    async fn deliver_copy(
        self: &Arc<Self>,
        opened: &Opened,
        span: Span,
        counts: bool,
        last: Option<(Path, GetError)>,
    ) -> (Path, Result<(Description, Via), GetError>) {
        let (path, error) = last.unwrap_or((Path::Spill, GetError::NoPath));
        match Box::pin(self.retrieve(opened, span, counts)).await {
            Ok(Ok(copy)) => (
                Path::Spill,
                Ok((copy.description().clone(), Via::Spill(Box::new(copy)))),
            ),
            Ok(Err(error)) => (Path::Spill, Err(error)),
            Err(why) => (path, Err(without_copy(&why, error))),
        }
    }

    async fn deliver_by(
        self: &Arc<Self>,
        opened: &Opened,
        path: Path,
        span: Span,
        counts: bool,
    ) -> Result<(Description, Via), GetError> {
        match path {
            Path::Instance => {
                let terms = Terms::new(span, counts);
                let own = Own::new(self.read_own(opened.target.object, span, terms)?);
                Ok((own.description().clone(), Via::Instance(Box::new(own))))
            }
            Path::Node => {
                let pull = self.pull_on_node(opened, span, counts).await?;
                Ok((pull.description().clone(), Via::Node(Box::new(pull))))
            }
            Path::Stream => {
                let pull = Box::new(Box::pin(self.pull(opened, span, counts)).await?);
                Ok((pull.description().clone(), Via::Stream(pull)))
            }
            // A copy is asked for by `deliver_copy`, which knows what went before.
            Path::Spill => Err(GetError::NoPath),
        }
    }

    /// Size and metadata of the object; no retrieval is claimed.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn describe(&self, reference: &str) -> Result<Description, GetError> {
        let opened = self.trust.open(reference)?;
        let mut last: Option<(Path, GetError)> = None;
        for path in self.paths(&opened) {
            if last.is_some_and(|(before, error)| !path.may_lead_on(before, error)) {
                continue;
            }
            let missed = last.map_or(GetError::NoPath, |(_, error)| error);
            let described = match path {
                Path::Instance => self.describe_own(opened.target.object).map_err(GetError::from),
                Path::Node => self.describe_on_node(&opened).await,
                Path::Stream => self.pull_description(&opened).await,
                Path::Spill => copied(self.describe_copy(&opened).await, missed),
            };
            match described {
                Err(error) => last = Some((path, error)),
                described => return described,
            }
        }
        Err(last.map_or(GetError::NoPath, |(_, error)| error))
    }

    /// Frees the object, wherever it is.
    ///
    /// # Errors
    /// [`GetError::Gone`] if it was gone already.
    pub async fn delete(&self, reference: &str) -> Result<(), GetError> {
        let opened = self.trust.open(reference)?;
        let mut last: Option<(Path, GetError)> = None;
        for path in self.paths(&opened) {
            if last.is_some_and(|(before, error)| !path.may_lead_on(before, error)) {
                continue;
            }
            let missed = last.map_or(GetError::NoPath, |(_, error)| error);
            let deleted = match path {
                Path::Instance if self.remove(opened.target.object) => Ok(()),
                Path::Instance => Err(GetError::Gone),
                Path::Node => self.delete_on_node(&opened).await,
                Path::Stream => self.pull_delete(&opened).await,
                Path::Spill => copied(self.delete_copy(&opened).await, missed),
            };
            match deleted {
                Err(error) => last = Some((path, error)),
                deleted => return deleted,
            }
        }
        Err(last.map_or(GetError::NoPath, |(_, error)| error))
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
