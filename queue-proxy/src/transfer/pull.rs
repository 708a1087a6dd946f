//! Pull: one object from a peer, cut-through, checksum verified.
//!
//! Chunks are handed on as they arrive, one behind: the last is held back until the checksum has been verified and the
//! producer has acknowledged the confirmation, so that a wrong or broken object never ends cleanly (contract, section
//! 3). A pull holds at most one stream window, for which it takes a share of the inbound budget.
//!
//! A connection that breaks in the middle is no end: the pull goes on over another one at the first byte that is
//! missing, and the checksum covers what came before as well (section 8). Bounds: `attempts`, and `XDT_PULL_TIMEOUT`
//! from the break to the next answer.

mod attempts;
mod messages;
mod request;

use std::{io::ErrorKind, sync::Arc};

use bytes::Bytes;
use crc_fast::Digest;
use http::{Request, Response};
use hyper::body::Incoming as IncomingBody;
use prost::Message as _;
use tokio::{sync::oneshot, time::Instant};
use xdt_proto::{ByteCount, v1};

use super::{
    Transfer,
    description::Description,
    frame::{Decoder, Incoming, decode_part},
    get::GetError,
    held::new_checksum,
    peers::{CallBody, Connection, DialError, STREAM_WINDOW},
    pool::Permit,
    source::Span,
};
use crate::trust::{IssuedTicket, Opened, Verb, random};
use attempts::{Attempts, pauses};
use messages::{BROKEN, Cut, Messages};
use request::{call, pull_body, unary};

/// A running pull. Dropping it before the last chunk was handed on gives the claim back.
pub(super) struct Pull {
    transfer: Arc<Transfer>,
    wanted: Wanted,
    answer: Answer,
    attempts: Attempts,
    state: State,
    /// Received and followed by another chunk, so it may be handed on.
    ready: Option<Bytes>,
    /// The newest chunk: it may turn out to be the last.
    held_back: Option<Bytes>,
    checksum: Digest,
    received: u64,
    expected: Option<u64>,
    window: Permit,
}

/// What a pull is after.
struct Wanted {
    opened: Opened,
    span: Span,
    /// Whether it is a retrieval.
    counts: bool,
    /// Its name at the producer, across all its calls.
    name: [u8; 16],
}

/// A call that a producer has begun to answer: it has the object.
struct Answer {
    description: Description,
    messages: Messages,
    confirm: Option<oneshot::Sender<()>>,
    /// Counts as use of the peer's connection as long as the call lasts.
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
        &self.answer.description
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
        let part = match self.answer.messages.next().await {
            Err(Cut::Interrupted) => return self.resume().await,
            part => part?,
        };
        match part {
            Some(Incoming::Chunk(chunk)) => {
                self.checksum.update(&chunk);
                self.received += chunk.len() as u64;
                self.attempts.progress();
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

    /// Goes on at the first missing byte. An object that passes through cannot be read again, and says so.
    async fn resume(&mut self) -> Result<(), GetError> {
        tracing::debug!(received = self.received, "a pull goes on after a break");
        // Ends the broken call at the producer too, where only its stream broke.
        self.answer.confirm = None;
        let again = Box::pin(self.transfer.ask_again(&self.wanted, self.received, &mut self.attempts));
        match again.await {
            Ok(answer) => self.go_on(answer),
            Err(_) => Err(GetError::Broken),
        }
    }

    fn go_on(&mut self, answer: Answer) -> Result<(), GetError> {
        if answer.description.size != self.answer.description.size {
            return Err(GetError::Broken);
        }
        self.answer = answer;
        Ok(())
    }

    /// Confirms, and waits for the producer's acknowledgement. After a break it is asked whether the confirmation counted;
    /// if not, the pull is at its end once more.
    async fn confirm(&mut self) -> Result<(), GetError> {
        loop {
            if let Some(confirm) = self.answer.confirm.take() {
                // Fails only when the call has ended already, which the next line reports.
                let _sent = confirm.send(());
            }
            match self.answer.messages.finish().await {
                Err(Cut::Interrupted) => {}
                ended => break ended?,
            }
            let again = Box::pin(self.transfer.ask_again(&self.wanted, self.received, &mut self.attempts));
            match again.await {
                Ok(answer) => self.go_on(answer)?,
                Err(Cut::Confirmed) => break,
                Err(_) => return Err(GetError::Broken),
            }
            self.state = State::Receiving;
            while self.state == State::Receiving {
                self.receive().await?;
            }
        }
        self.state = State::Confirmed;
        Ok(())
    }
}

impl Transfer {
    /// Starts pulling `span` of the object behind `opened`; a retrieval if `counts`.
    ///
    /// # Errors
    /// [`GetError`], before any byte was handed on.
    pub(super) async fn pull(self: &Arc<Self>, opened: &Opened, span: Span, counts: bool) -> Result<Pull, GetError> {
        // Connected first, so that a producer that is not there holds no memory while that is found out.
        if let Err(error @ Cut::Final(_)) = self.connect(opened, None).await {
            return Err(before_the_first_byte(error));
        }
        let window = self.reserve_window(opened).await?;
        let wanted = Wanted {
            opened: opened.clone(),
            span,
            counts,
            name: random().map_err(|_| GetError::NoBuffer)?,
        };
        let mut attempts = Attempts::default();
        let answer = match self.ask(&wanted, 0).await {
            Err(Cut::Interrupted) => Box::pin(self.ask_again(&wanted, 0, &mut attempts)).await,
            answer => answer,
        };
        let answer = answer.map_err(before_the_first_byte)?;
        let whole = answer.description.size.map(ByteCount::get);
        let expected = span
            .length
            .or_else(|| whole.map(|size| size.saturating_sub(span.offset)));
        Ok(Pull {
            transfer: self.clone(),
            wanted,
            answer,
            attempts,
            state: State::Receiving,
            ready: None,
            held_back: None,
            checksum: new_checksum(),
            received: 0,
            expected,
            window,
        })
    }

    /// Asks for what is wanted but for the first `have` bytes of it, and waits for the first message of the answer.
    async fn ask(&self, wanted: &Wanted, have: u64) -> Result<Answer, Cut> {
        let Wanted {
            opened,
            span,
            counts,
            name,
        } = wanted;
        let mut confirm = None;
        let make = |ticket: &IssuedTicket| {
            let start = v1::Start {
                ticket: ticket.sealed.clone().into(),
                offset: span.offset + have,
                length: span.length.map(|length| length.saturating_sub(have)),
                claims: *counts,
                sum_from: (have > 0).then_some(span.offset),
                pull: counts.then(|| Bytes::copy_from_slice(name)),
            };
            let (body, keep) = pull_body(start, *counts);
            confirm = keep;
            call("Pull", body)
        };
        let called = self.call_peer(opened, Verb::Pull, make).await?;
        let mut messages = Messages::new(called.body, Decoder::for_pull_answer(), self.settings.pull_timeout);
        let Some(Incoming::Message(first)) = messages.next().await? else {
            return Err(Cut::Final(GetError::Unreachable));
        };
        let Ok(v1::pull_response::Part::Opening(opening)) = decode_part(first) else {
            return Err(Cut::Final(GetError::Unreachable));
        };
        let description = self.heard(&called.ticket, &opening)?;
        Ok(Answer {
            description,
            messages,
            confirm,
            _connection: called.connection,
        })
    }

    /// As [`Self::ask`] after a break, as often as `attempts` allows and `XDT_PULL_TIMEOUT` gives time for.
    async fn ask_again(&self, wanted: &Wanted, have: u64, attempts: &mut Attempts) -> Result<Answer, Cut> {
        let deadline = Instant::now() + self.settings.pull_timeout;
        if !attempts.broke() {
            return Err(Cut::Interrupted);
        }
        for pause in pauses() {
            let asked = tokio::time::timeout_at(deadline, async {
                tokio::time::sleep(pause).await;
                self.ask(wanted, have).await
            });
            match asked.await.unwrap_or(Err(Cut::Final(GetError::Timeout))) {
                Err(Cut::Interrupted) if attempts.broke() => {}
                // The producer has not noticed yet that the broken call is over, so its claim is still open.
                Err(Cut::Final(GetError::Claimed)) if wanted.counts => {}
                answer => return answer,
            }
        }
        Err(Cut::Interrupted)
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
    ) -> Result<Called, Cut> {
        let mut dead = None;
        loop {
            let mut connection = self.connect(opened, dead).await?;
            let ticket = self.trust.issue(opened, verb);
            let ticket = ticket.map_err(|_| Cut::Final(GetError::Unreachable))?;
            let mut request = make(&ticket);
            self.inject(request.headers_mut());
            let answer = tokio::time::timeout(self.settings.pull_timeout, connection.call(request)).await;
            match answer {
                Err(_) => return Err(Cut::Final(GetError::Timeout)),
                Ok(Ok(response)) => {
                    let body = accepted(response).map_err(Cut::Final)?;
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
                    return Err(Cut::Interrupted);
                }
            }
        }
    }

    async fn connect(&self, opened: &Opened, dead: Option<u64>) -> Result<Connection, Cut> {
        self.peers.connect(&opened.target.address, dead).await.map_err(|error| {
            tracing::debug!(%error, "no connection to a producer");
            match error {
                // Nobody listens: the producer and its objects are gone. Or a deadline has passed.
                DialError::Failed(
                    ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable,
                )
                | DialError::TooLong => Cut::Final(GetError::NotConnected),
                // A stranger.
                DialError::Tls(ErrorKind::InvalidData) => Cut::Final(GetError::Unreachable),
                DialError::Failed(_) | DialError::Tls(_) | DialError::Protocol => Cut::Interrupted,
            }
        })
    }

    /// Reads the producer's first message, which must be made by a holder of the ring for this very ticket.
    pub(super) fn verified(&self, ticket: &IssuedTicket, opening: &v1::Opening) -> Result<Description, GetError> {
        self.heard(ticket, opening).map_err(GetError::from)
    }

    fn heard(&self, ticket: &IssuedTicket, opening: &v1::Opening) -> Result<Description, Cut> {
        if !self.trust.verify(ticket, &opening.answer, &opening.proof) {
            tracing::warn!("whoever answers at a producer's address does not hold the key ring");
            return Err(Cut::Final(GetError::Unreachable));
        }
        let answer = v1::Answer::decode(opening.answer.clone()).map_err(|_| BROKEN)?;
        match answer.outcome {
            Some(v1::answer::Outcome::Description(wire)) => Description::from_wire(&wire).ok_or(BROKEN),
            Some(v1::answer::Outcome::Refusal(word)) => Err(Cut::Final(GetError::refused(word.parse().ok()))),
            Some(v1::answer::Outcome::Confirmed(_)) => Err(Cut::Confirmed),
            None => Err(BROKEN),
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
        let called = self
            .call_peer(opened, Verb::Stat, make)
            .await
            .map_err(before_the_first_byte)?;
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
        let called = self
            .call_peer(opened, Verb::Delete, make)
            .await
            .map_err(before_the_first_byte)?;
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
fn before_the_first_byte(cut: Cut) -> GetError {
    match cut {
        Cut::Interrupted | Cut::Confirmed | Cut::Final(GetError::Broken) => GetError::Unreachable,
        Cut::Final(error) => error,
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
