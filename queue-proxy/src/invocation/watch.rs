//! Watches a response to its end, for whoever counts, logs or traces: how many bytes went out, and whether it came to
//! a clean end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BoxError};

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Bytes of its body that went out.
    pub bytes: u64,
    /// It broke off: an error of its source, or a client that left.
    pub aborted: bool,
}

type Told = Box<dyn FnOnce(End) + Send>;

/// A response body that tells once how it ended.
pub struct Watched {
    body: Body,
    /// Its length, where it was announced.
    announced: Option<u64>,
    bytes: u64,
    failed: bool,
    told: Option<Told>,
}

impl Watched {
    /// Calls `told` when `body` has ended or was dropped.
    #[must_use]
    pub fn new(body: Body, told: impl FnOnce(End) + Send + 'static) -> Self {
        Self {
            announced: body.size_hint().exact(),
            body,
            bytes: 0,
            failed: false,
            told: Some(Box::new(told)),
        }
    }

    fn tell(&mut self) {
        if let Some(told) = self.told.take() {
            // The HTTP server may not ask for the end of what it knows to be complete.
            let complete = self.body.is_end_stream() || self.announced == Some(self.bytes);
            told(End {
                bytes: self.bytes,
                aborted: self.failed || !complete,
            });
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Poll::Ready(Some(Err(_))) => self.failed = true,
            // A source may know of its end only now.
            Poll::Ready(None) => {
                let bytes = self.bytes;
                if let Some(told) = self.told.take() {
                    told(End { bytes, aborted: false });
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::body::full;

    type Told = Arc<Mutex<Vec<End>>>;

    fn watched(body: Body) -> (Watched, Told) {
        let told = Told::default();
        let list = told.clone();
        (
            Watched::new(body, move |end| list.lock().expect("no panic").push(end)),
            told,
        )
    }

    #[tokio::test]
    async fn a_whole_body_ends_well_once() {
        let (body, told) = watched(full("four"));
        body.collect().await.expect("in memory");
        let whole = End {
            bytes: 4,
            aborted: false,
        };
        assert_eq!(*told.lock().expect("no panic"), [whole]);
    }

    #[tokio::test]
    async fn what_is_dropped_or_fails_was_aborted() {
        let (body, told) = watched(full("four"));
        drop(body);
        let frames: [Result<Frame<Bytes>, BoxError>; 2] = [Ok(Frame::data("two".into())), Err("gone".into())];
        let (body, failed) = watched(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
        assert!(body.collect().await.is_err());
        assert_eq!(
            *told.lock().expect("no panic"),
            [End {
                bytes: 0,
                aborted: true
            }]
        );
        assert_eq!(
            *failed.lock().expect("no panic"),
            [End {
                bytes: 3,
                aborted: true
            }]
        );
    }

    #[test]
    fn an_empty_body_that_nobody_asks_has_ended() {
        let (body, told) = watched(crate::body::empty());
        drop(body);
        assert_eq!(
            *told.lock().expect("no panic"),
            [End {
                bytes: 0,
                aborted: false
            }]
        );
    }
}
