//! Small pieces of a request's body, gathered before they go to the user container over HTTP/2.
//!
//! A client may send its body a byte a frame. Passed on like that, it would be our frames that try the user container's
//! patience, and a server that loses it ends the whole connection: with it, requests of others. What is there already
//! goes together; nothing is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BoxError};

/// Pieces below this are gathered; larger ones go as they are, uncopied.
const SMALL: usize = 1024;
/// Gathered, this is enough: a frame of HTTP/2's default size.
const ENOUGH: usize = 16 * 1024;
/// Pieces looked at in one go, empty ones included.
const MOST_PIECES: usize = ENOUGH;

type Piece = Result<Frame<Bytes>, BoxError>;

/// A body of larger pieces.
pub(super) struct Gathered {
    body: Body,
    /// Came behind what was gathered, and does not belong to it.
    next: Option<Piece>,
    over: bool,
}

impl Gathered {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            next: None,
            over: false,
        }
    }

    /// The next small piece, if one is there; anything else is kept for later.
    fn small(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => None,
            Poll::Ready(None) => {
                self.over = true;
                None
            }
            Poll::Ready(Some(piece)) => match small(piece) {
                Ok(data) => Some(data),
                Err(piece) => {
                    self.next = Some(piece);
                    None
                }
            },
        }
    }
}

/// The data of a small piece, or the piece.
fn small(piece: Piece) -> Result<Bytes, Piece> {
    let frame = piece.map_err(Err)?;
    match frame.into_data() {
        Ok(data) if data.len() < SMALL => Ok(data),
        Ok(data) => Err(Ok(Frame::data(data))),
        Err(frame) => Err(Ok(frame)),
    }
}

impl HttpBody for Gathered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let Some(first) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            self.over = true;
            return Poll::Ready(None);
        };
        let first = match small(first) {
            Ok(data) => data,
            Err(piece) => return Poll::Ready(Some(piece)),
        };
        let Some(second) = self.small(cx) else {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        };
        let mut gathered = BytesMut::with_capacity(first.len() + second.len());
        gathered.extend_from_slice(&first);
        gathered.extend_from_slice(&second);
        for _ in 0..MOST_PIECES {
            if gathered.len() > ENOUGH - SMALL {
                break;
            }
            match self.small(cx) {
                Some(data) => gathered.extend_from_slice(&data),
                None => break,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(gathered.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && (self.over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let next = self.next.as_ref().and_then(|piece| piece.as_ref().ok()?.data_ref());
        let next = next.map_or(0, |data| data.len() as u64);
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(next));
        }
        hint.set_lower(rest.lower().saturating_add(next));
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn gathered(pieces: Vec<Option<Piece>>) -> Gathered {
        // `None` is a pause.
        let pieces = stream::iter(pieces).then(|piece| async move {
            if piece.is_none() {
                tokio::task::yield_now().await;
            }
            piece
        });
        Gathered::new(Body::new(StreamBody::new(Box::pin(
            pieces.filter_map(std::future::ready),
        ))))
    }

    fn data(length: usize) -> Option<Piece> {
        Some(Ok(Frame::data(vec![b'x'; length].into())))
    }

    async fn lengths(mut body: Gathered) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("no error");
            lengths.push(frame.data_ref().map_or(usize::MAX, Bytes::len));
        }
        lengths
    }

    #[tokio::test]
    async fn what_is_there_goes_together_and_nothing_is_waited_for() {
        let trailers = || Some(Ok(Frame::trailers(HeaderMap::new())));
        let pieces = vec![
            data(1),
            data(2),
            None,
            data(3),
            data(5000),
            data(4),
            data(0),
            trailers(),
        ];
        assert_eq!(lengths(gathered(pieces)).await, [3, 3, 5000, 4, usize::MAX]);
        let many = (0..40_000).map(|_| data(1)).collect();
        let sizes = lengths(gathered(many)).await;
        assert!(sizes.len() < 5 && sizes.iter().sum::<usize>() == 40_000, "{sizes:?}");
    }

    #[tokio::test]
    async fn an_error_comes_behind_what_came_before_it() {
        let mut body = gathered(vec![data(1), data(1), Some(Err("broken".into())), data(1)]);
        let first = body.frame().await.expect("a piece").expect("data");
        assert_eq!(first.data_ref().map(Bytes::len), Some(2));
        assert!(!body.is_end_stream());
        assert!(body.frame().await.expect("the error").is_err());
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_moved(lengths in prop::collection::vec(prop::option::of(0_usize..3000), 0..60)) {
            let mut next = 0_u8;
            let mut expected = Vec::new();
            let pieces = lengths.into_iter().map(|length| {
                let bytes: Vec<u8> = (0..length?).map(|_| { next = next.wrapping_add(1); next }).collect();
                expected.extend_from_slice(&bytes);
                Some(Ok(Frame::data(bytes.into())))
            });
            let body = gathered(pieces.collect());
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let collected = runtime.block_on(body.collect()).expect("no error").to_bytes();
            prop_assert_eq!(collected.as_ref(), expected.as_slice());
        }
    }
}
