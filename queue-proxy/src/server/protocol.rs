//! Serving HTTP on one connection: finds out which version the client speaks, and does what hyper leaves open.
//!
//! Contract of the queue-proxy, sections 2.4 and 2.8. Bounds: a client has [`HEAD_TIME`] for its first bytes and for each
//! head; heads, streams and windows have stock's limits. Idle connections stay open.

use std::{convert::Infallible, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Version};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{
    accept::{Handler, NEW_CONNECTION_WAIT, ended},
    connections::Seat,
    fair::Fair,
    head,
    held::Held,
    reply::Reply,
    wire::{HEAD_TIME, HeadTimer, Line, Wire},
};
use crate::{
    body::Body,
    net::{MAX_HEADERS, Peer},
};

/// Largest head of an HTTP/1 request, which is also the largest read (stock: 1 MiB and 4 KiB).
const MAX_HEAD: usize = (1 << 20) + 4096;
/// Streams, windows, frames and headers of HTTP/2 (stock's figures). The window of a connection is that of all its
/// streams: one upload that nobody reads does not stop the others.
const MAX_STREAMS: u32 = 250;
const WINDOW: u32 = 1 << 20;
const MAX_HEADER_LIST: u32 = (1 << 20) + 320;
/// What one answer may have written ahead of its client's window.
pub(super) const SEND_AHEAD: usize = 512 * 1024;
/// An HTTP/2 connection without requests for so long is idle when the server stops,
const RESTED: Duration = Duration::from_secs(10);
/// and its peer has so long to take notice of GOAWAY.
const GOODBYE: Duration = Duration::from_millis(250);
/// Others are idle when their peers have said nothing for so long.
const SILENCE: Duration = Duration::from_secs(5);
/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a port speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// HTTP/1.
    pub(super) http1: bool,
    /// HTTP/2 with prior knowledge.
    pub(super) http2: bool,
    /// Whether heads are held to the rules of [`head`].
    pub(super) strict: bool,
    /// Largest read, and with it the largest head, of HTTP/1.
    pub(super) read: usize,
    /// What a client has for each head of HTTP/1.
    pub(super) head_time: Duration,
}

impl Terms {
    /// HTTP/1 and HTTP/2.
    pub(super) const BOTH: Self = Self {
        http1: true,
        http2: true,
        strict: true,
        read: MAX_HEAD,
        head_time: HEAD_TIME,
    };
    /// HTTP/1 only.
    pub(super) const HTTP1: Self = Self {
        http2: false,
        ..Self::BOTH
    };
    /// HTTP/2 only.
    pub(super) const HTTP2: Self = Self {
        http1: false,
        ..Self::BOTH
    };
}

/// Serves a connection to its end, or until `stop` and the end of what runs then.
pub(super) async fn serve<S>(
    terms: Terms,
    handler: Handler<Body>,
    mut socket: S,
    peer: Peer,
    stop: CancellationToken,
    seat: Seat,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut early = BytesMut::new();
    let begins_http2 = if terms.http2 {
        tokio::select! {
            found = begins_http2(&mut socket, &mut early) => match found {
                Ok(found) => found,
                Err(_gone) => return,
            },
            () = silence(&stop) => return,
        }
    } else {
        false
    };
    let server = Server { handler, peer, seat };
    if begins_http2 || !terms.http1 {
        server.serve_http2(socket, early.freeze(), stop).await;
    } else {
        server.serve_http1(terms, socket, early.freeze(), stop).await;
    }
}

/// How long a new connection may be silent.
async fn silence(stop: &CancellationToken) {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(NEW_CONNECTION_WAIT).await;
    };
    tokio::select! {
        () = stopped => {}
        () = tokio::time::sleep(HEAD_TIME) => {}
    }
}

/// Reads until it is clear whether the client begins with HTTP/2's preface.
async fn begins_http2<S: AsyncRead + Unpin>(socket: &mut S, early: &mut BytesMut) -> std::io::Result<bool> {
    early.reserve(PREFACE.len());
    loop {
        let count = socket.read_buf(early).await?;
        let known = early.len().min(PREFACE.len());
        if count == 0 || early[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
    }
}

/// What answers on one connection.
struct Server {
    handler: Handler<Body>,
    peer: Peer,
    seat: Seat,
}

impl Server {
    async fn serve_http1<S>(self, terms: Terms, socket: S, early: Bytes, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wire = Wire::new(Fair::new(socket), early);
        let line = wire.line();
        let mut builder = http1::Builder::new();
        builder
            .timer(HeadTimer::new(line.clone(), terms.head_time))
            .header_read_timeout(terms.head_time)
            .max_buf_size(terms.read)
            .max_headers(MAX_HEADERS);
        let seat = self.seat.clone();
        let service = service_fn(move |request| self.exchange(&line, terms, request));
        let connection = builder.serve_connection(TokioIo::new(wire), service).with_upgrades();
        tokio::pin!(connection);
        // In this order: a request whose first bytes have come already is still answered.
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                ended(connection, &seat).await
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }

    /// One request and its answer on an HTTP/1 connection.
    fn exchange(
        &self,
        line: &Arc<Line>,
        terms: Terms,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Reply>, Infallible>> + Send + use<> {
        let http11 = request.version() == Version::HTTP_11;
        self.seat.request(request.version());
        let interim = line.begin(!request.body().is_end_stream());
        let own = if terms.strict { head::answer(&request) } else { None };
        let answer = match own {
            Some(own) => Err(own),
            None => {
                if http11 {
                    request.extensions_mut().insert(interim);
                }
                Ok((self.handler)(request, self.peer))
            }
        };
        let line = line.clone();
        async move {
            poll_fn(|cx| {
                line.driven_by(cx);
                Poll::Ready(())
            })
            .await;
            let mut response = match answer {
                Ok(answer) => answer.await,
                Err(own) => own,
            };
            // hyper would answer in the user container's version; it steps down itself for HTTP/1.0 clients.
            *response.version_mut() = Version::HTTP_11;
            line.answered(response.status());
            Ok(response.map(|body| Reply::new(body, line, http11)))
        }
    }

    async fn serve_http2<S>(self, socket: S, early: Bytes, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wire = Wire::transparent(socket, early);
        let (seat, line) = (self.seat.clone(), wire.line());
        let service = service_fn(move |request: Request<Incoming>| {
            self.seat.request(request.version());
            let exchange = self.seat.exchange();
            let answer = (self.handler)(request, self.peer);
            async move { Ok::<_, Infallible>(answer.await.map(|body| Held::new(body, exchange))) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_STREAMS as usize)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * MAX_STREAMS)
            .max_frame_size(WINDOW)
            .header_table_size(4096)
            .max_send_buf_size(SEND_AHEAD)
            .max_header_list_size(MAX_HEADER_LIST);
        let connection = builder.serve_connection(TokioIo::new(wire), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = ended(connection, &seat) => ended,
                    () = idle(&seat, &line) => None,
                }
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// Resolves when an HTTP/2 connection that was told to end is of no use to its peer, although the peer does not close
/// it and does not even answer.
///
/// A body is over when hyper has taken its last piece, which may still wait for the peer's window: where that was
/// [`RESTED`] ago the peer does not want it, otherwise it has [`SILENCE`] to say that it does.
async fn idle(seat: &Seat, line: &Line) {
    loop {
        let (rested, reads) = (seat.rested(), line.reads());
        let long_ago = rested.is_some_and(|rested| rested >= RESTED);
        tokio::time::sleep(if long_ago { GOODBYE } else { SILENCE }).await;
        if rested.is_some() && seat.rested() > rested && line.is_flushed() && line.reads() == reads {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
