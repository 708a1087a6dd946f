//! Every way in which a timed body ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{sync::mpsc, time::Instant};

use super::*;
use crate::invocation::timeouts::Timeouts;

/// A body that is fed frame by frame, and shows when it is dropped.
struct Fed {
    frames: mpsc::Receiver<&'static str>,
    _shown: Arc<()>,
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = self.frames.poll_recv(cx);
        frame.map(|frame| frame.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

fn fed() -> (mpsc::Sender<&'static str>, Fed, Arc<()>) {
    let (feed, frames) = mpsc::channel(8);
    let shown = Arc::new(());
    let body = Fed {
        frames,
        _shown: shown.clone(),
    };
    (feed, body, shown)
}

fn clock(revision: u64, idle: u64) -> Clock {
    Clock::start(Timeouts {
        revision: Duration::from_secs(revision),
        response_start: None,
        idle: (idle > 0).then(|| Duration::from_secs(idle)),
    })
}

async fn next<B>(body: &mut Timed<B>) -> Option<Result<String, String>>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let frame = body.frame().await?;
    Some(match frame {
        Ok(frame) => Ok(String::from_utf8_lossy(frame.data_ref().expect("data")).into_owned()),
        Err(error) => Err(error.to_string()),
    })
}

fn never(error: Infallible) -> BoxError {
    match error {}
}

#[tokio::test]
async fn a_body_that_is_there_already_needs_no_watch() {
    let whole = Full::new(Bytes::from_static(b"whole")).map_err(never);
    let mut body = Timed::begin(whole, &clock(60, 0)).await;
    assert!(matches!(body.source, Source::Exhausted));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert_eq!(next(&mut body).await, Some(Ok("whole".to_owned())));
    assert!(body.is_end_stream());
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn an_empty_body_of_unknown_length_is_not_announced_as_none() {
    let empty = StreamBody::new(stream::empty::<Result<Frame<Bytes>, BoxError>>().boxed());
    let mut body = Timed::begin(empty, &clock(60, 0)).await;
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    assert_eq!(next(&mut body).await, None);
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_when_the_time_is_over() {
    let (feed, body, shown) = fed();
    let begun = Instant::now();
    let mut body = Timed::begin(body, &clock(3, 0)).await;
    feed.send("one").await.expect("room");
    assert_eq!(next(&mut body).await, Some(Ok("one".to_owned())));
    assert_eq!(next(&mut body).await, Some(Err("request timeout".to_owned())));
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(Arc::strong_count(&shown), 1, "the source is gone");
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_source_is_let_go_though_nobody_reads() {
    let (feed, body, shown) = fed();
    feed.send("unread").await.expect("room");
    let mut body = Timed::begin(body, &clock(3, 0)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(Arc::strong_count(&shown), 2);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(Arc::strong_count(&shown), 1, "let go at the deadline");
    assert!(feed.is_closed());
    assert_eq!(next(&mut body).await, Some(Ok("unread".to_owned())), "what had come");
    assert_eq!(next(&mut body).await, Some(Err("request timeout".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn every_frame_postpones_the_idle_timeout_but_not_the_revision_timeout() {
    for (revision, lasted) in [(60, 7), (5, 5)] {
        let (feed, body, _shown) = fed();
        let begun = Instant::now();
        let mut body = Timed::begin(body, &clock(revision, 2)).await;
        let feeding = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _too_late = feed.send("more").await;
            }
            feed.closed().await;
        });
        let mut frames = 0;
        while let Some(Ok(_)) = next(&mut body).await {
            frames += 1;
        }
        assert_eq!(
            (begun.elapsed().as_secs(), frames),
            (lasted, 5.min(revision - 1)),
            "{revision}"
        );
        feeding.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_or_ends_leaves_nothing_behind() {
    let (feed, body, shown) = fed();
    let body = Timed::begin(body, &clock(3, 1)).await;
    let watch = match &body.source {
        Source::Watched(watch) => Arc::downgrade(watch),
        _ => panic!("it streams"),
    };
    drop(body);
    assert!(feed.is_closed());
    assert_eq!((Arc::strong_count(&shown), watch.strong_count()), (1, 0));
    let (feed, body, shown) = fed();
    let mut body = Timed::begin(body, &clock(3, 1)).await;
    drop(feed);
    assert_eq!(next(&mut body).await, None);
    assert_eq!(Arc::strong_count(&shown), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_begins_after_its_time_ends_at_once() {
    let (_feed, body, shown) = fed();
    let clock = clock(1, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut body = Timed::begin(body, &clock).await;
    assert_eq!(Arc::strong_count(&shown), 1);
    assert_eq!(next(&mut body).await, Some(Err("request timeout".to_owned())));
}

#[test]
fn the_end_of_the_runtime_is_no_deadline() {
    for idle in [0, 5] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let (_feed, body, shown) = fed();
        let body = runtime.block_on(async { Timed::begin(body, &clock(60, idle)).await });
        // Fires every alarm that is left.
        drop(runtime);
        assert_eq!(Arc::strong_count(&shown), 2, "not timed out");
        drop(body);
        assert_eq!(Arc::strong_count(&shown), 1);
    }
}
