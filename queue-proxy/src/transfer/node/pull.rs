//! The consumer's side of the same-node path: the producer's memory file, handed out whole or in slices.
//!
//! Called by `get`. Whatever keeps the path from working, other than a refusal that the producer has proved, is
//! [`GetError::Unreachable`]: the network may still lead there. The retrieval is confirmed before the last slice, or the
//! file itself, is handed on, as on the network. Bound: one map of the producer's own pages; nothing is allocated here.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::timeout;
use xdt_proto::{
    ErrorWord,
    v1::{self, NodeAnswer, NodeObject, NodeRequest, node_answer::Outcome, node_request::Step},
};
use xdt_shm::{Channel, ChannelError, Refused, Sealed, ShmError};

use super::{directory::NotThere, to_wire};
use crate::{
    transfer::{Parcel, Transfer, description::Description, get::GetError, source::Span},
    trust::{IssuedTicket, Opened, TicketError, Verb},
};

/// How long a producer on the same node may take for its first word, where `XDT_PULL_TIMEOUT` is not shorter: it needs
/// microseconds, and behind it there is the network, with a patience of its own.
const PATIENCE: Duration = Duration::from_secs(1);
/// Up to this many bytes, mapping takes less time than waking another thread.
const AT_ONCE: u64 = 256 * 1024;

/// Why the path does not work, for the log.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error("no node directory is open")]
    NoDirectory,
    #[error(transparent)]
    NotThere(#[from] NotThere),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the producer said nothing in time")]
    Silent,
    #[error("the producer closed the connection")]
    Closed,
    #[error("the producer's answer is none to the request")]
    Unexpected,
    #[error("the object passes through and lies nowhere as a whole")]
    Elsewhere,
    #[error("the producer's memory file is not what it must be: {0}")]
    BadFile(#[from] Refused),
    #[error("no ticket: {0}")]
    NoTicket(#[from] TicketError),
}

/// An object of a producer on this node, on its way to a local client. Dropped before it was confirmed, the connection
/// closes, which gives the claim back.
pub(in crate::transfer) struct NodePull {
    description: Description,
    parcel: Parcel,
    /// All bytes of the parcel, once they are wanted as bytes.
    bytes: Option<Bytes>,
    at: u64,
    end: u64,
    chunk: u64,
    /// Open as long as the retrieval is not confirmed; `None` also where none is counted.
    unconfirmed: Option<Channel>,
    silence: Duration,
}

impl NodePull {
    pub(in crate::transfer) fn description(&self) -> &Description {
        &self.description
    }

    /// The memory file, if the whole object is wanted and lies in one.
    pub(in crate::transfer) fn file(&self) -> Option<&Sealed> {
        match &self.parcel {
            Parcel::File(file) if self.at == 0 && self.end == file.size().get() => Some(file),
            _ => None,
        }
    }

    /// Makes the bytes readable.
    pub(in crate::transfer) async fn prepare(&mut self) -> Result<(), GetError> {
        if self.bytes.is_none() {
            self.bytes = Some(readable(&self.parcel).await.map_err(|error| {
                tracing::warn!(%error, "a memory file from this node cannot be mapped");
                GetError::Broken
            })?);
        }
        Ok(())
    }

    /// The next slice; the last comes only when the retrieval is confirmed. `None` after it.
    pub(in crate::transfer) async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        if self.left() <= self.chunk {
            self.confirm().await?;
        }
        Ok(self.take())
    }

    /// The next slice, unless it is the last.
    pub(in crate::transfer) fn next_but_last(&mut self) -> Option<Bytes> {
        if self.left() > self.chunk { self.take() } else { None }
    }

    /// Bytes of the last slice, where it is the next.
    pub(in crate::transfer) fn held_back(&self) -> usize {
        usize::try_from(self.left()).unwrap_or(usize::MAX)
    }

    /// Whether everything has been handed out and was confirmed.
    pub(in crate::transfer) fn finished(&self) -> bool {
        self.left() == 0 && self.unconfirmed.is_none()
    }

    /// Tells the producer that the bytes are here, and waits for its word that the retrieval is counted.
    pub(in crate::transfer) async fn confirm(&mut self) -> Result<(), GetError> {
        let Some(mut channel) = self.unconfirmed.take() else {
            return Ok(());
        };
        match timeout(self.silence, ask(&mut channel, Step::Confirm(v1::Confirm {}))).await {
            Err(_) => Err(GetError::Timeout),
            Ok(Ok((Outcome::Confirmed(_), None))) => Ok(()),
            Ok(_) => Err(GetError::Broken),
        }
    }

    fn left(&self) -> u64 {
        self.end - self.at
    }

    fn take(&mut self) -> Option<Bytes> {
        let all = self.bytes.as_ref()?;
        let start = usize::try_from(self.at).ok()?;
        self.at += self.left().min(self.chunk);
        let end = usize::try_from(self.at).ok()?;
        (start < end).then(|| all.slice(start..end))
    }
}

async fn readable(parcel: &Parcel) -> Result<Bytes, ShmError> {
    let file = match parcel {
        Parcel::Small(bytes) => return Ok(bytes.clone()),
        Parcel::File(file) => file.clone(),
    };
    let size = file.size().get();
    let map = move || file.map().map(Bytes::from_owner);
    if size <= AT_ONCE {
        return map();
    }
    // Ends early only when the runtime shuts down.
    let mapped = tokio::task::spawn_blocking(map).await;
    mapped.unwrap_or(Err(ShmError::Short))
}

/// One request and its answer.
async fn ask(channel: &mut Channel, step: Step) -> Result<(Outcome, Option<OwnedFd>), Missed> {
    let request = NodeRequest {
        step: Some(step),
        trace: Vec::new(),
    };
    ask_with(channel, request).await
}

async fn ask_with(channel: &mut Channel, request: NodeRequest) -> Result<(Outcome, Option<OwnedFd>), Missed> {
    channel.send(&request, None).await?;
    let (answer, file) = channel.receive::<NodeAnswer>().await?.ok_or(Missed::Closed)?;
    Ok((answer.outcome.ok_or(Missed::Unexpected)?, file))
}

impl Transfer {
    /// Whether the object's producer may be on this node, with a socket in our directory.
    pub(in crate::transfer) fn shares_node(&self, opened: &Opened) -> bool {
        self.node.is_some() && opened.target.node == self.trust.identity().node
    }

    /// Takes the object behind `opened` from its producer on this node; a retrieval if `counts`.
    ///
    /// # Errors
    /// [`GetError::Unreachable`] if the path does not work; otherwise what the producer refused for.
    pub(in crate::transfer) async fn pull_on_node(
        self: &Arc<Self>,
        opened: &Opened,
        span: Span,
        counts: bool,
    ) -> Result<NodePull, GetError> {
        let ticket = self
            .trust
            .issue(opened, Verb::Pull)
            .map_err(|error| missed(error.into()))?;
        let start = v1::Start {
            ticket: ticket.sealed.clone().into(),
            offset: span.offset,
            length: span.length,
            claims: counts,
            ..v1::Start::default()
        };
        let (channel, outcome, file) = self.asked(opened, Step::Pull(start)).await.map_err(missed)?;
        let object = match outcome {
            Outcome::Object(object) => object,
            Outcome::Elsewhere(_) => return Err(missed(Missed::Elsewhere)),
            Outcome::Opening(_) | Outcome::Confirmed(_) => return Err(missed(Missed::Unexpected)),
        };
        let description = self.verified(&ticket, object.opening.as_ref().unwrap_or(&v1::Opening::default()))?;
        let parcel = parcel(&description, object, file).map_err(missed)?;
        let size = description.size.map_or(0, xdt_proto::ByteCount::get);
        let end = span.length.map_or(Some(size), |length| span.offset.checked_add(length));
        let end = end.filter(|end| *end <= size && span.offset <= *end);
        Ok(NodePull {
            description,
            parcel,
            bytes: None,
            at: span.offset,
            end: end.ok_or_else(|| missed(Missed::Unexpected))?,
            chunk: self.settings.chunk_size.get(),
            unconfirmed: counts.then_some(channel),
            silence: self.settings.pull_timeout,
        })
    }

    /// Asks the producer on this node for size and metadata.
    pub(in crate::transfer) async fn describe_on_node(&self, opened: &Opened) -> Result<Description, GetError> {
        self.opening_on_node(opened, Verb::Stat, |ticket| Step::Stat(v1::StatRequest { ticket }))
            .await
    }

    /// Has the producer on this node free the object.
    pub(in crate::transfer) async fn delete_on_node(&self, opened: &Opened) -> Result<(), GetError> {
        self.opening_on_node(opened, Verb::Delete, |ticket| {
            Step::Delete(v1::DeleteRequest { ticket })
        })
        .await
        .map(drop)
    }

    async fn opening_on_node(
        &self,
        opened: &Opened,
        verb: Verb,
        step: impl FnOnce(Bytes) -> Step,
    ) -> Result<Description, GetError> {
        let ticket: IssuedTicket = self.trust.issue(opened, verb).map_err(|error| missed(error.into()))?;
        let step = step(ticket.sealed.clone().into());
        match self.asked(opened, step).await.map_err(missed)? {
            (_, Outcome::Opening(opening), None) => self.verified(&ticket, &opening),
            _ => Err(missed(Missed::Unexpected)),
        }
    }

    /// The first request on a fresh connection, and its answer.
    async fn asked(&self, opened: &Opened, step: Step) -> Result<(Channel, Outcome, Option<OwnedFd>), Missed> {
        let directory = self.node.as_ref().ok_or(Missed::NoDirectory)?;
        let mut trace = HeaderMap::new();
        self.inject(&mut trace);
        let request = NodeRequest {
            step: Some(step),
            trace: to_wire(&trace),
        };
        let conversation = async {
            let mut channel = Channel::new(directory.connect(opened.target.instance).await?);
            let (outcome, file) = ask_with(&mut channel, request).await?;
            Ok((channel, outcome, file))
        };
        let patience = PATIENCE.min(self.settings.pull_timeout);
        timeout(patience, conversation).await.unwrap_or(Err(Missed::Silent))
    }
}

/// The bytes that came with an answer, looked at like any descriptor from another process.
fn parcel(description: &Description, object: NodeObject, file: Option<OwnedFd>) -> Result<Parcel, Missed> {
    let size = description.size.ok_or(Missed::Unexpected)?;
    match (object.inline, file) {
        (Some(bytes), None) if bytes.len() as u64 == size.get() => Ok(Parcel::Small(bytes)),
        (None, Some(file)) => Ok(Parcel::File(Sealed::verify(file, size)?)),
        _ => Err(Missed::Unexpected),
    }
}

#[allow(clippy::needless_pass_by_value)] // ends the error
fn missed(why: Missed) -> GetError {
    tracing::debug!(%why, word = ErrorWord::ProducerUnreachable.as_str(), "the same-node path does not lead to an object");
    GetError::Unreachable
}
