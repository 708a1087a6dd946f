//! A request's body in pieces of bounded size, on its way to the user container over HTTP/1.1.
//!
//! hyper takes up to sixteen pieces of a body before it waits for the socket, however large they are, as long as their
//! bytes stay below the bound that it has for heads as well. That bound is large, because answers may have large heads;
//! so it is the size of the pieces that bounds what waits for a user container that does not read: [`PIECE`] times
//! sixteen for each request, which is as much as one vectored write takes. Nothing is copied.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Longest piece.
const PIECE: usize = 32 * 1024;

/// A body whose pieces have at most [`PIECE`] bytes.
pub(super) struct Pieces<B> {
    body: B,
    /// What is left of a longer piece.
    rest: Bytes,
}

impl<B> Pieces<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, behind) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = behind.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(behind.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http::HeaderMap;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    /// Frames that are all there.
    struct Frames(VecDeque<Frame<Bytes>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let bytes = self.0.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
            SizeHint::with_exact(bytes as u64)
        }
    }

    proptest! {
        #[test]
        fn pieces_are_short_and_no_byte_is_lost(lengths in prop::collection::vec(0_usize..3 * PIECE, 0..8)) {
            let whole: Vec<u8> = (0..=250).cycle().take(lengths.iter().sum()).collect();
            let mut left = Bytes::from(whole.clone());
            let mut frames: VecDeque<_> = lengths.iter().map(|length| Frame::data(left.split_to(*length))).collect();
            frames.push_back(Frame::trailers(HeaderMap::new()));
            let mut pieces = Pieces::new(Frames(frames));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (mut seen, mut trailers) = (Vec::new(), 0);
            while !pieces.is_end_stream() {
                prop_assert_eq!(pieces.size_hint().exact(), Some((whole.len() - seen.len()) as u64));
                let frame = runtime.block_on(pieces.frame()).expect("not over").expect("no error");
                match frame.into_data() {
                    Ok(data) => {
                        prop_assert!(data.len() <= PIECE);
                        seen.extend_from_slice(&data);
                    }
                    Err(_) => trailers += 1,
                }
            }
            prop_assert_eq!((seen, trailers), (whole, 1));
        }
    }
}
