//! The producer's side of the same-node path: ticket, claim, the memory itself, confirmation.
//!
//! Accepts only processes of this user, as the kernel knows them, and answers only what brings a valid ticket; everything
//! else is closed without a word. Bounds: 1,024 connections, one request at a time on each, `XDT_PULL_TIMEOUT` for a
//! request to come.

use std::{os::fd::AsFd as _, sync::Arc};

use tokio::{net::UnixStream, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xdt_proto::v1::{self, NodeAnswer, NodeObject, NodeRequest, node_answer::Outcome, node_request::Step};
use xdt_shm::{Channel, ChannelError};

use super::{directory::NodeListener, from_wire};
use crate::{
    transfer::{
        Parcel, Transfer,
        get::GetError,
        serve::{CONFIRM_WAIT, admit, opening},
        source::{Source, SourceError, Span, Terms},
        tally::{Outcome as Transferred, Path},
        watch::Observed,
    },
    trust::Verb,
};

/// Connections at once; more are closed, and their consumers take the network.
const MAX_CONNECTIONS: usize = 1024;
/// Pause after a failed accept: descriptors have run out, and accepting at once would only spin.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why a connection ended before its peer closed it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("nothing came in time")]
    Silent,
    #[error("the peer did not keep to the protocol")]
    Unexpected,
    #[error("a request brought no valid ticket")]
    NoTicket,
}

/// Accepts until `stop`; each connection is a task of `connections`.
pub async fn serve(transfer: Arc<Transfer>, listener: NodeListener, stop: CancellationToken, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let socket = match accepted {
            Ok(Some(socket)) => socket,
            Ok(None) => {
                tracing::warn!("another user's process connected to the node socket; it was closed");
                continue;
            }
            Err(error) => {
                tracing::debug!(error = %error.kind(), "a connection on the node socket was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!("too many connections on the node socket; one was closed");
            continue;
        };
        let (transfer, stop) = (transfer.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                ended = converse(&transfer, socket) => if let Err(why) = ended {
                    tracing::debug!(%why, "a connection on the node socket was closed");
                },
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

/// Answers requests, one after the other, until the other side closes.
async fn converse(transfer: &Arc<Transfer>, socket: UnixStream) -> Result<(), Ended> {
    let mut channel = Channel::new(socket);
    let silence = transfer.settings.pull_timeout;
    loop {
        let received = timeout(silence, channel.receive::<NodeRequest>()).await;
        let Some((request, file)) = received.map_err(|_| Ended::Silent)?? else {
            return Ok(());
        };
        if file.is_some() {
            return Err(Ended::Unexpected);
        }
        match request.step {
            Some(Step::Pull(start)) => pull(transfer, &mut channel, &start, &request.trace).await?,
            Some(Step::Stat(request)) => {
                let opening = transfer.stat_opening(&request.ticket).map_err(|_| Ended::NoTicket)?;
                answer(&mut channel, Outcome::Opening(opening)).await?;
            }
            Some(Step::Delete(request)) => {
                let opening = transfer.delete_opening(&request.ticket).map_err(|_| Ended::NoTicket)?;
                answer(&mut channel, Outcome::Opening(opening)).await?;
            }
            Some(Step::Confirm(_)) | None => return Err(Ended::Unexpected),
        }
    }
}

async fn answer(channel: &mut Channel, outcome: Outcome) -> Result<(), ChannelError> {
    let answer = NodeAnswer { outcome: Some(outcome) };
    channel.send(&answer, None).await
}

async fn pull(
    transfer: &Arc<Transfer>,
    channel: &mut Channel,
    start: &v1::Start,
    trace: &[v1::Metadata],
) -> Result<(), Ended> {
    let ticket = admit(transfer, &start.ticket, Verb::Pull).map_err(|_| Ended::NoTicket)?;
    let span = Span {
        offset: start.offset,
        length: start.length,
    };
    let source = match ticket.object {
        Some(object) => transfer.read_own(object, span, Terms::new(span, start.claims)),
        None => Err(SourceError::Gone),
    };
    let parcel = source.as_ref().map(Source::parcel);
    if matches!(parcel, Ok(None)) {
        drop(source); // the claim goes back before the consumer knocks elsewhere
        return Ok(answer(channel, Outcome::Elsewhere(v1::Done {})).await?);
    }
    let mut observed = Observed::serving(transfer.clone(), Path::Node, ticket.object, &from_wire(trace));
    let described = source.as_ref().map(Source::description);
    let described = described.map_err(|error| GetError::from(*error).kind());
    if let Err(word) = described {
        observed.ended(Transferred::Failed(word));
    }
    let opening = opening(transfer, &ticket, described).map_err(|_| Ended::NoTicket)?;
    let parcel = parcel.ok().flatten();
    let (inline, file) = match &parcel {
        Some(Parcel::Small(bytes)) => (Some(bytes.clone()), None),
        Some(Parcel::File(file)) => (None, Some(file.as_fd())),
        None => (None, None),
    };
    let object = NodeObject {
        opening: Some(opening),
        inline,
    };
    let object = NodeAnswer {
        outcome: Some(Outcome::Object(object)),
    };
    channel.send(&object, file).await?;
    let Ok(source) = source else { return Ok(()) };
    observed.moved(source.span_len());
    if !start.claims || confirmed(channel).await? {
        if !source.confirm() {
            return Err(Ended::Unexpected); // spilled meanwhile: its copy has the retrieval
        }
        observed.ended(Transferred::Ok);
        if start.claims {
            answer(channel, Outcome::Confirmed(v1::Done {})).await?;
        }
    }
    Ok(())
}

/// Waits for the consumer's word that it has the bytes. Without it the source is dropped, which gives the claim back.
async fn confirmed(channel: &mut Channel) -> Result<bool, Ended> {
    let received = timeout(CONFIRM_WAIT, channel.receive::<NodeRequest>()).await;
    match received.map_err(|_| Ended::Silent)?? {
        Some((request, None)) if matches!(request.step, Some(Step::Confirm(_))) => Ok(true),
        // Gone without a word.
        None => Ok(false),
        Some(_) => Err(Ended::Unexpected),
    }
}
