//! Serve: answers a peer's pull. Ticket, claim, slices, confirmation.
//!
//! One HTTP/2 service on `XDT_DATA_PORT`. Whatever comes without a valid ticket gets UNAUTHENTICATED and learns
//! nothing. HTTP/2 flow control is the only pacing: a slice is taken from the object when the peer's window has room.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming as IncomingBody};
use prost::Message as _;
use xdt_proto::{ErrorWord, v1};

use super::{
    Transfer,
    description::Description,
    frame::{Decoder, FrameError, GATHERED, Incoming, MOST_GATHERED, Outgoing, decode},
    get::GetError,
    source::{Source, SourceError, Span, Terms},
    tally::{Outcome, Path},
    watch::Observed,
};
use crate::{
    body::BoxError,
    trust::{AdmittedTicket, Verb},
};

/// How long a consumer that has received everything may keep its claim before it confirms: its request may be waiting
/// for the user container, for at most Knative's longest revision timeout. A dead consumer is noticed earlier.
pub(super) const CONFIRM_WAIT: Duration = Duration::from_secs(600);

/// Body of an answer on the data port.
pub type AnswerBody = UnsyncBoxBody<Outgoing, BoxError>;

/// gRPC status codes that the data port uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Status {
    Ok = 0,
    InvalidArgument = 3,
    Aborted = 10,
    Internal = 13,
    Unauthenticated = 16,
}

impl Status {
    fn header(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }

    fn trailers(self) -> Frame<Outgoing> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", self.header());
        Frame::trailers(trailers)
    }
}

/// Answers one call. Never fails: what goes wrong becomes a gRPC status.
pub async fn answer(transfer: Arc<Transfer>, request: Request<IncomingBody>) -> Response<AnswerBody> {
    let verb = match request.uri().path() {
        "/xdt.v1.Transfer/Pull" => Verb::Pull,
        "/xdt.v1.Transfer/Stat" => Verb::Stat,
        "/xdt.v1.Transfer/Delete" => Verb::Delete,
        _ => return status_only(Status::Unauthenticated),
    };
    let (head, body) = request.into_parts();
    let mut requests = Requests::new(body, transfer.settings.pull_timeout);
    let result = match verb {
        Verb::Pull => pull(&transfer, requests, &head.headers).await,
        Verb::Stat => stat(&transfer, &mut requests).await,
        Verb::Delete => delete(&transfer, &mut requests).await,
    };
    result.unwrap_or_else(status_only)
}

async fn stat(transfer: &Arc<Transfer>, requests: &mut Requests) -> Result<Response<AnswerBody>, Status> {
    let request: v1::StatRequest = requests.only().await?;
    let opening = Some(transfer.stat_opening(&request.ticket)?);
    Ok(unary(&v1::StatResponse { opening }))
}

async fn delete(transfer: &Arc<Transfer>, requests: &mut Requests) -> Result<Response<AnswerBody>, Status> {
    let request: v1::DeleteRequest = requests.only().await?;
    let opening = Some(transfer.delete_opening(&request.ticket)?);
    Ok(unary(&v1::DeleteResponse { opening }))
}

async fn pull(
    transfer: &Arc<Transfer>,
    mut requests: Requests,
    headers: &HeaderMap,
) -> Result<Response<AnswerBody>, Status> {
    let request: v1::PullRequest = requests.only().await?;
    let Some(v1::pull_request::Step::Start(start)) = request.step else {
        return Err(Status::Unauthenticated);
    };
    let ticket = admit(transfer, &start.ticket, Verb::Pull)?;
    let mut observed = Observed::serving(transfer.clone(), Path::Stream, ticket.object, headers);
    let span = Span {
        offset: start.offset,
        length: start.length,
    };
    let pull = start.pull.as_deref().and_then(|pull| pull.try_into().ok());
    let terms = Terms {
        sum_from: start.sum_from.unwrap_or(start.offset),
        counts: start.claims,
        pull,
    };
    let source = match ticket.object {
        Some(object) if start.claims && pull.is_some_and(|pull| transfer.pulls.is_confirmed(&(pull, object))) => {
            observed.ended(Outcome::Ok);
            let opening = sealed(transfer, &ticket, v1::answer::Outcome::Confirmed(true))?;
            return Ok(answered(Step::Told(first_message(opening))));
        }
        Some(object) => transfer.read_own(object, span, terms).map_err(word),
        None => Err(ErrorWord::ObjectGone),
    };
    let description = source.as_ref().map(Source::description).map_err(|word| *word);
    let first = first_message(opening(transfer, &ticket, description)?);
    let step = match source {
        Ok(source) => Step::Opening(
            first,
            Serving {
                source,
                requests,
                claims: start.claims,
                observed,
            },
        ),
        Err(word) => {
            observed.ended(Outcome::Failed(word));
            Step::Told(first)
        }
    };
    Ok(answered(step))
}

fn first_message(opening: v1::Opening) -> Outgoing {
    Outgoing::message(&v1::PullResponse {
        part: Some(v1::pull_response::Part::Opening(opening)),
    })
}

/// The answer to a pull, step by step at the pace of its reader.
fn answered(step: Step) -> Response<AnswerBody> {
    let frames = stream::unfold(step, |step| async move {
        step.next().await.map(|(frame, next)| (Ok(frame), next))
    });
    grpc(AnswerBody::new(
        StreamBody::new(frames).map_err(|never: BoxError| never),
    ))
}

/// What one pull still needs.
struct Serving {
    source: Source,
    requests: Requests,
    claims: bool,
    observed: Observed,
}

/// Where the answer to a pull is. Dropped in any state, the source gives its claim back.
enum Step {
    /// A refusal, or that all is done already.
    Told(Outgoing),
    Opening(Outgoing, Serving),
    Chunks(Serving),
    Closed(Serving),
    Trailers(Status),
    Done,
}

impl Step {
    async fn next(self) -> Option<(Frame<Outgoing>, Self)> {
        match self {
            Self::Told(message) => Some((Frame::data(message), Self::Trailers(Status::Ok))),
            Self::Opening(message, serving) => Some((Frame::data(message), Self::Chunks(serving))),
            Self::Chunks(serving) => Some(Self::chunk(serving).await),
            Self::Closed(serving) => {
                let status = serving.confirmation().await;
                Some((status.trailers(), Self::Done))
            }
            Self::Trailers(status) => Some((status.trailers(), Self::Done)),
            Self::Done => None,
        }
    }

    async fn chunk(mut serving: Serving) -> (Frame<Outgoing>, Self) {
        match serving.source.next().await {
            Ok(Some(bytes)) => {
                let (slices, length) = serving.gather(bytes);
                serving.observed.moved(length);
                (Frame::data(Outgoing::gathered(slices)), Self::Chunks(serving))
            }
            Ok(None) => {
                let (crc64_nvme, length) = serving.source.checksum();
                let closing = v1::pull_response::Part::Closing(v1::Closing { crc64_nvme, length });
                let message = Outgoing::message(&v1::PullResponse { part: Some(closing) });
                (Frame::data(message), Self::Closed(serving))
            }
            Err(_broken) => {
                serving.observed.ended(Outcome::Failed(ErrorWord::TransferBroken));
                (Status::Aborted.trailers(), Self::Done)
            }
        }
    }
}

impl Serving {
    /// `first` and the chunks after it that are there already, as far as they fit one message; and their bytes.
    fn gather(&mut self, first: Bytes) -> ([Bytes; GATHERED], usize) {
        let mut slices = [const { Bytes::new() }; GATHERED];
        let mut length = first.len();
        slices[0] = first;
        for slice in &mut slices[1..] {
            if length + self.source.chunk_size() > MOST_GATHERED {
                break;
            }
            let Some(next) = self.source.next_ready() else { break };
            length += next.len();
            *slice = next;
        }
        (slices, length)
    }

    /// Waits for the consumer's word that it has verified everything. Anything else gives the claim back.
    async fn confirmation(mut self) -> Status {
        if !self.claims {
            self.observed.ended(Outcome::Ok);
            return Status::Ok;
        }
        self.requests.silence = CONFIRM_WAIT;
        match self.requests.next::<v1::PullRequest>().await {
            Ok(Some(v1::PullRequest {
                step: Some(v1::pull_request::Step::Confirm(_)),
            })) => {
                if self.source.confirm() {
                    self.observed.ended(Outcome::Ok);
                    Status::Ok
                } else {
                    Status::Aborted // a later call has the claim, or a spilled copy the retrieval
                }
            }
            Ok(_) => Status::Aborted,
            Err(status) => status,
        }
    }
}

impl Transfer {
    /// Answers a peer's question for size and metadata, whichever way it came.
    pub(super) fn stat_opening(&self, ticket: &[u8]) -> Result<v1::Opening, Status> {
        let ticket = admit(self, ticket, Verb::Stat)?;
        let outcome = match ticket.object {
            Some(object) => self.describe_own(object).map_err(word),
            None => Err(ErrorWord::ObjectGone),
        };
        opening(self, &ticket, outcome.as_ref().map_err(|word| *word))
    }

    /// Frees an object on a peer's word, whichever way it came.
    pub(super) fn delete_opening(&self, ticket: &[u8]) -> Result<v1::Opening, Status> {
        let ticket = admit(self, ticket, Verb::Delete)?;
        let nothing = Description::default();
        let outcome = match ticket.object {
            Some(object) if self.remove(object) => Ok(&nothing),
            _ => Err(ErrorWord::ObjectGone),
        };
        opening(self, &ticket, outcome)
    }
}

pub(super) fn admit(transfer: &Transfer, ticket: &[u8], verb: Verb) -> Result<AdmittedTicket, Status> {
    transfer.trust.admit(ticket, verb).map_err(|error| {
        tracing::debug!(%error, "a call on the data port had no valid ticket");
        Status::Unauthenticated
    })
}

/// The first message of an answer, sealed against impostors.
pub(super) fn opening(
    transfer: &Transfer,
    ticket: &AdmittedTicket,
    outcome: Result<&Description, ErrorWord>,
) -> Result<v1::Opening, Status> {
    let outcome = match outcome {
        Ok(description) => v1::answer::Outcome::Description(description.to_wire()),
        Err(word) => v1::answer::Outcome::Refusal(word.as_str().to_owned()),
    };
    sealed(transfer, ticket, outcome)
}

fn sealed(transfer: &Transfer, ticket: &AdmittedTicket, outcome: v1::answer::Outcome) -> Result<v1::Opening, Status> {
    let answer = v1::Answer { outcome: Some(outcome) }.encode_to_vec();
    let proof = transfer.trust.prove(ticket, &answer).map_err(|_| Status::Internal)?;
    Ok(v1::Opening {
        answer: answer.into(),
        proof: proof.into(),
    })
}

fn word(error: SourceError) -> ErrorWord {
    GetError::from(error).kind()
}

fn grpc(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn status_only(status: Status) -> Response<AnswerBody> {
    let empty = http_body_util::Empty::new().map_err(|never: std::convert::Infallible| match never {});
    let mut response = grpc(AnswerBody::new(empty));
    response.headers_mut().insert("grpc-status", status.header());
    response
}

fn unary(message: &impl prost::Message) -> Response<AnswerBody> {
    let frames = [
        Ok::<_, BoxError>(Frame::data(Outgoing::message(message))),
        Ok(Status::Ok.trailers()),
    ];
    grpc(AnswerBody::new(StreamBody::new(stream::iter(frames))))
}

/// What is too long to bring a ticket brings none.
fn status_of(error: FrameError) -> Status {
    match error {
        FrameError::TooLong(_) => Status::Unauthenticated,
        FrameError::Compressed | FrameError::Malformed | FrameError::Truncated => Status::InvalidArgument,
    }
}

/// The messages of one call's request side: small, and each awaited no longer than `XDT_PULL_TIMEOUT`.
struct Requests {
    body: IncomingBody,
    decoder: Decoder,
    input: Bytes,
    silence: Duration,
}

impl Requests {
    fn new(body: IncomingBody, silence: Duration) -> Self {
        Self {
            body,
            decoder: Decoder::for_requests(),
            input: Bytes::new(),
            silence,
        }
    }

    async fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, Status> {
        loop {
            match self.decoder.next(&mut self.input).map_err(status_of)? {
                Some(Incoming::Message(message)) => {
                    return decode(message).map(Some).map_err(|_| Status::InvalidArgument);
                }
                Some(Incoming::Chunk(_)) => return Err(Status::InvalidArgument),
                None => {}
            }
            let frame = tokio::time::timeout(self.silence, self.body.frame())
                .await
                .map_err(|_| Status::Aborted)?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Status::Aborted),
                Some(Ok(frame)) => self.input = frame.into_data().unwrap_or_default(),
            }
        }
    }

    /// The message that brings the ticket. Whoever does not send one is nobody.
    async fn only<M: prost::Message + Default>(&mut self) -> Result<M, Status> {
        match self.next().await {
            Ok(Some(message)) => Ok(message),
            Err(Status::InvalidArgument) => Err(Status::InvalidArgument),
            Ok(None) | Err(_) => Err(Status::Unauthenticated),
        }
    }
}
