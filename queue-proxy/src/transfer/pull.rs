//! Pull: one object from a peer, cut-through, checksum verified.
//!
//! Chunks are handed on as they arrive, one behind: the last is held back until the checksum has been verified and the
//! producer has acknowledged the confirmation, so that a wrong or broken object never ends cleanly (contract, section
//! 3). A pull holds at most one stream window, for which it takes a share of the inbound budget.

use std::time::Duration;

use bytes::Bytes;
use crc_fast::Digest;
use futures_util::stream;
use http::{Method, Request, Response, Version, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming as IncomingBody};
use prost::Message as _;
use tokio::{sync::oneshot, time::Instant};
use xdt_proto::{ByteCount, ErrorWord, v1};

use super::{
    Transfer,
    description::Description,
    frame::{Decoder, Incoming, Outgoing, decode_part},
    get::GetError,
    held::new_checksum,
    peers::{CallBody, Connection, STREAM_WINDOW},
    pool::Permit,
    source::Span,
};
use crate::{
    body::BoxError,
    trust::{IssuedTicket, Opened, Verb},
};

/// A running pull. Dropping it before the last chunk was handed on gives the claim back.
pub(super) struct Pull {
    description: Description,
    messages: Messages,
    state: State,
    confirm: Option<oneshot::Sender<()>>,
    /// Received and followed by another chunk, so it may be handed on.
    ready: Option<Bytes>,
    /// The newest chunk: it may turn out to be the last.
    held_back: Option<Bytes>,
    checksum: Digest,
    received: u64,
    expected: Option<u64>,
    window: Permit,
    /// Counts as use of the peer's connection as long as the pull lasts.
    _connection: Connection,
}

/// A call that a peer has begun to answer.
struct Called {
    body: IncomingBody,
    ticket: IssuedTicket,
    connection: Connection,
}

#[derive(PartialEq, Eq)]
enum State {
    Receiving,
    /// All bytes are here and right; the producer does not know yet.
    Verified,
    /// The producer has counted the retrieval.
    Confirmed,
}

impl Pull {
    pub(super) fn description(&self) -> &Description {
        &self.description
    }

    /// Whether everything has been handed on.
    pub(super) fn finished(&self) -> bool {
        self.state == State::Confirmed && self.held_back.is_none()
    }

    /// Waits until there is something to hand on, or all of it is verified. Confirms nothing: a request that ends before
    /// its first byte was wanted gives the retrieval back.
    pub(super) async fn prepare(&mut self) -> Result<(), GetError> {
        while self.ready.is_none() && self.state == State::Receiving {
            self.receive().await?;
        }
        Ok(())
    }

    /// The chunk that may be handed on, if one was prepared.
    pub(super) fn take_ready(&mut self) -> Option<Bytes> {
        self.ready.take()
    }

    /// Bytes that the pull's share of the inbound budget stands for.
    pub(super) fn window(&self) -> u64 {
        self.window.bytes()
    }

    /// Bytes of the newest chunk, if it was not handed on.
    pub(super) fn held_back(&self) -> usize {
        self.held_back.as_ref().map_or(0, Bytes::len)
    }

    /// The next chunk; `None` after the last, which comes only when everything was right and is confirmed.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        self.prepare().await?;
        if let Some(chunk) = self.ready.take() {
            return Ok(Some(chunk));
        }
        if self.state == State::Verified {
            self.confirm().await?;
        }
        Ok(self.held_back.take())
    }

    async fn receive(&mut self) -> Result<(), GetError> {
        match self.messages.next().await? {
            Some(Incoming::Chunk(chunk)) => {
                self.checksum.update(&chunk);
                self.received += chunk.len() as u64;
                if self.expected.is_some_and(|expected| self.received > expected) {
                    return Err(GetError::Broken);
                }
                self.ready = self.held_back.replace(chunk);
                Ok(())
            }
            Some(Incoming::Message(message)) => match decode_part(message) {
                Ok(v1::pull_response::Part::Closing(closing)) => self.verify(&closing),
                _ => Err(GetError::Broken),
            },
            None => Err(GetError::Broken),
        }
    }

    fn verify(&mut self, closing: &v1::Closing) -> Result<(), GetError> {
        let right = closing.crc64_nvme == self.checksum.finalize()
            && closing.length == self.received
            && self.expected.is_none_or(|expected| expected == self.received);
        if !right {
            tracing::warn!(
                received = self.received,
                "the checksum or length of a pulled object was wrong"
            );
            return Err(GetError::Broken);
        }
        self.state = State::Verified;
        Ok(())
    }

    /// Confirms, and waits for the producer's acknowledgement.
    async fn confirm(&mut self) -> Result<(), GetError> {
        if let Some(confirm) = self.confirm.take() {
            // Fails only when the call has ended already, which the next line reports.
            let _sent = confirm.send(());
        }
        self.messages.finish().await?;
        self.state = State::Confirmed;
        Ok(())
    }
}

/// The messages of one answer, with a bound on each silence of the peer.
struct Messages {
    body: IncomingBody,
    decoder: Decoder,
    input: Bytes,
    silence: Duration,
    complete: bool,
}

impl Messages {
    fn new(body: IncomingBody, decoder: Decoder, silence: Duration) -> Self {
        Self {
            body,
            decoder,
            input: Bytes::new(),
            silence,
            complete: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Incoming>, GetError> {
        loop {
            if let Some(part) = self.decoder.next(&mut self.input).map_err(|_| GetError::Broken)? {
                return Ok(Some(part));
            }
            if self.complete {
                return Ok(None);
            }
            match self.frame().await? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        self.decoder.finish().map_err(|_| GetError::Broken)?;
                        self.complete = frame.trailers_ref().is_some_and(grpc_ok);
                        return Ok(None);
                    }
                },
                None => return Ok(None),
            }
        }
    }

    /// Expects the call to end with status OK and nothing more.
    async fn finish(&mut self) -> Result<(), GetError> {
        match self.next().await? {
            None if self.complete => Ok(()),
            _ => Err(GetError::Broken),
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, GetError> {
        match tokio::time::timeout(self.silence, self.body.frame()).await {
            Err(_) => Err(GetError::Timeout),
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a pull broke");
                Err(GetError::Broken)
            }
        }
    }
}

fn grpc_ok(headers: &http::HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status == "0")
}

impl Transfer {
    /// Starts pulling `span` of the object behind `opened`; a retrieval if `counts`.
    ///
    /// # Errors
    /// [`GetError`], before any byte was handed on.
    pub(super) async fn pull(&self, opened: &Opened, span: Span, counts: bool) -> Result<Pull, GetError> {
        // Connected first, so that a producer that is not there holds no memory while that is found out.
        self.connect(opened, None).await?;
        let window = self.reserve_window(opened).await?;
        let (called, confirm) = self.start_pull(opened, span, counts).await?;
        let mut messages = Messages::new(called.body, Decoder::for_pull_answer(), self.settings.pull_timeout);
        let Some(Incoming::Message(first)) = messages.next().await.map_err(before_the_first_byte)? else {
            return Err(GetError::Unreachable);
        };
        let Ok(v1::pull_response::Part::Opening(opening)) = decode_part(first) else {
            return Err(GetError::Unreachable);
        };
        let description = self.verified(&called.ticket, &opening)?;
        let whole = description.size.map(ByteCount::get);
        let expected = span
            .length
            .or_else(|| whole.map(|size| size.saturating_sub(span.offset)));
        Ok(Pull {
            description,
            messages,
            state: State::Receiving,
            confirm,
            ready: None,
            held_back: None,
            checksum: new_checksum(),
            received: 0,
            expected,
            window,
            _connection: called.connection,
        })
    }

    async fn start_pull(
        &self,
        opened: &Opened,
        span: Span,
        counts: bool,
    ) -> Result<(Called, Option<oneshot::Sender<()>>), GetError> {
        let mut keep = None;
        let make = |ticket: &IssuedTicket| {
            let start = v1::Start {
                ticket: ticket.sealed.clone().into(),
                offset: span.offset,
                length: span.length,
                claims: counts,
            };
            let (body, confirm) = pull_body(start, counts);
            keep = confirm;
            call("Pull", body)
        };
        let called = self.call_peer(opened, Verb::Pull, make).await?;
        Ok((called, keep))
    }

    /// Memory for what may arrive before it is handed on: a window, or, with store-and-forward, the whole object.
    async fn reserve_window(&self, opened: &Opened) -> Result<Permit, GetError> {
        let (limit, window) = (self.inbound.limit(), ByteCount::new(u64::from(STREAM_WINDOW)));
        let whole = opened
            .target
            .size
            .filter(|size| !self.settings.cut_through && *size <= limit);
        let bytes = whole.unwrap_or(window).max(window).min(limit);
        let deadline = Instant::now() + self.settings.buffer_wait;
        self.waiting(self.inbound.reserve(bytes, deadline))
            .await
            .map_err(|_| GetError::NoBuffer)
    }

    /// Sends a call with a fresh ticket; once more on a fresh connection if a reused one turns out dead.
    async fn call_peer(
        &self,
        opened: &Opened,
        verb: Verb,
        mut make: impl FnMut(&IssuedTicket) -> Request<CallBody>,
    ) -> Result<Called, GetError> {
        let mut dead = None;
        loop {
            let mut connection = self.connect(opened, dead).await?;
            let ticket = self.trust.issue(opened, verb).map_err(|_| GetError::Unreachable)?;
            let mut request = make(&ticket);
            self.inject(request.headers_mut());
            let answer = tokio::time::timeout(self.settings.pull_timeout, connection.call(request)).await;
            match answer {
                Err(_) => return Err(GetError::Timeout),
                Ok(Ok(response)) => {
                    let body = accepted(response)?;
                    return Ok(Called {
                        body,
                        ticket,
                        connection,
                    });
                }
                Ok(Err(error)) if connection.reused && dead.is_none() => {
                    tracing::debug!(%error, "a reused peer connection was dead");
                    dead = Some(connection.generation);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a call to a peer failed");
                    return Err(GetError::Unreachable);
                }
            }
        }
    }

    async fn connect(&self, opened: &Opened, dead: Option<u64>) -> Result<Connection, GetError> {
        self.peers.connect(&opened.target.address, dead).await.map_err(|error| {
            tracing::debug!(%error, "no connection to a producer");
            GetError::Unreachable
        })
    }

    /// Reads the producer's first message, which must be made by a holder of the ring for this very ticket.
    pub(super) fn verified(&self, ticket: &IssuedTicket, opening: &v1::Opening) -> Result<Description, GetError> {
        if !self.trust.verify(ticket, &opening.answer, &opening.proof) {
            tracing::warn!("whoever answers at a producer's address does not hold the key ring");
            return Err(GetError::Unreachable);
        }
        let answer = v1::Answer::decode(opening.answer.clone()).map_err(|_| GetError::Broken)?;
        match answer.outcome {
            Some(v1::answer::Outcome::Description(wire)) => Description::from_wire(&wire).ok_or(GetError::Broken),
            Some(v1::answer::Outcome::Refusal(word)) => Err(GetError::refused(word.parse().ok())),
            None => Err(GetError::Broken),
        }
    }

    /// Asks the producer for size and metadata; no retrieval is claimed.
    pub(super) async fn pull_description(&self, opened: &Opened) -> Result<Description, GetError> {
        let make = |ticket: &IssuedTicket| {
            unary(
                "Stat",
                &v1::StatRequest {
                    ticket: ticket.sealed.clone().into(),
                },
            )
        };
        let called = self.call_peer(opened, Verb::Stat, make).await?;
        let answer: v1::StatResponse = self.unary_answer(called.body).await?;
        self.verified(&called.ticket, &answer.opening.unwrap_or_default())
    }

    /// Has the producer free the object.
    pub(super) async fn pull_delete(&self, opened: &Opened) -> Result<(), GetError> {
        let make = |ticket: &IssuedTicket| {
            unary(
                "Delete",
                &v1::DeleteRequest {
                    ticket: ticket.sealed.clone().into(),
                },
            )
        };
        let called = self.call_peer(opened, Verb::Delete, make).await?;
        let answer: v1::DeleteResponse = self.unary_answer(called.body).await?;
        self.verified(&called.ticket, &answer.opening.unwrap_or_default())
            .map(|_| ())
    }

    async fn unary_answer<M: prost::Message + Default>(&self, body: IncomingBody) -> Result<M, GetError> {
        let mut messages = Messages::new(body, Decoder::for_messages(), self.settings.pull_timeout);
        let Some(Incoming::Message(message)) = messages.next().await.map_err(before_the_first_byte)? else {
            return Err(GetError::Unreachable);
        };
        M::decode(message).map_err(|_| GetError::Unreachable)
    }
}

/// A peer that dies before its first message was never there for the client.
fn before_the_first_byte(error: GetError) -> GetError {
    if error.kind() == ErrorWord::TransferBroken {
        GetError::Unreachable
    } else {
        error
    }
}

/// A call that a queue-proxy's data port accepted; anything else is a stranger, or one that does not know us.
fn accepted(response: Response<IncomingBody>) -> Result<IncomingBody, GetError> {
    let refused = response
        .headers()
        .get("grpc-status")
        .is_some_and(|status| status != "0");
    if response.status() != http::StatusCode::OK || refused {
        let status = response
            .headers()
            .get("grpc-status")
            .and_then(|status| status.to_str().ok())
            .unwrap_or("none");
        tracing::debug!(
            http = response.status().as_u16(),
            grpc = status,
            "a peer refused a call"
        );
        return Err(GetError::Unreachable);
    }
    Ok(response.into_body())
}

fn call(method: &str, body: CallBody) -> Request<CallBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // The authority says nothing: peers are recognised by their tickets.
    let uri = format!("http://xdt-queue-proxy/xdt.v1.Transfer/{method}");
    *request.uri_mut() = uri.parse().unwrap_or_default();
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/grpc"),
    );
    request
        .headers_mut()
        .insert(header::TE, header::HeaderValue::from_static("trailers"));
    request
}

fn encoded(message: &impl prost::Message) -> Bytes {
    use bytes::Buf as _;
    let mut outgoing = Outgoing::message(message);
    let length = outgoing.remaining();
    outgoing.copy_to_bytes(length)
}

fn unary(method: &str, message: &impl prost::Message) -> Request<CallBody> {
    let body = http_body_util::Full::new(encoded(message)).map_err(|never| match never {});
    call(method, CallBody::new(body))
}

/// `start`, and, when it claims, a request side that stays open for the confirmation.
fn pull_body(start: v1::Start, counts: bool) -> (CallBody, Option<oneshot::Sender<()>>) {
    let start = encoded(&v1::PullRequest {
        step: Some(v1::pull_request::Step::Start(start)),
    });
    if !counts {
        return (
            CallBody::new(http_body_util::Full::new(start).map_err(|never| match never {})),
            None,
        );
    }
    let (confirm, confirmed) = oneshot::channel();
    let steps = stream::unfold(PullSteps::Start(start, confirmed), |steps| async move {
        match steps {
            PullSteps::Start(start, confirmed) => Some((Ok(Frame::data(start)), PullSteps::Confirm(confirmed))),
            PullSteps::Confirm(confirmed) => {
                // Without a confirmation the request side ends, which gives the claim back.
                confirmed.await.ok()?;
                let confirm = v1::PullRequest {
                    step: Some(v1::pull_request::Step::Confirm(v1::Confirm {})),
                };
                Some((Ok(Frame::data(encoded(&confirm))), PullSteps::Done))
            }
            PullSteps::Done => None,
        }
    });
    (
        CallBody::new(StreamBody::new(steps).map_err(|error: BoxError| error)),
        Some(confirm),
    )
}

enum PullSteps {
    Start(Bytes, oneshot::Receiver<()>),
    Confirm(oneshot::Receiver<()>),
    Done,
}
