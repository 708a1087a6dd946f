//! What an HTTP/1.1 connection and the exchange on it know of each other.
//!
//! hyper's server sends neither informational answers of ours nor trailers that nobody announced, and its own errors
//! have no body. [`super::Wire`] writes these itself; the [`Line`] is where an exchange leaves them, and says when the
//! wire may take them up without cutting into anything that hyper writes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::Context,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};

/// Informational answers that wait to be written, in bytes; more are dropped, as RFC 9110 (15.2) allows.
const MAX_INTERIM: usize = 64 * 1024;

/// Trailers: none, waiting until everything before them is written, or next.
const NONE: u8 = 0;
const WAITING: u8 = 1;
const NEXT: u8 = 2;

/// Shared by the wire, the exchange in progress and its answer's body.
#[derive(Default)]
pub(in crate::server) struct Line {
    waiting: Mutex<Waiting>,
    /// Whether `waiting.interim` holds anything: looked at on each write.
    interim: AtomicBool,
    trailers: AtomicU8,
    /// Bytes of a head have come that no request was made of yet.
    began: AtomicBool,
    /// What comes may be the request's body.
    body: AtomicBool,
    /// An answer is owed or on its way: whatever is written belongs to it.
    owed: AtomicBool,
    /// The answer's body is over: with the next flush nothing is owed.
    done: AtomicBool,
    /// Another protocol is spoken here: nothing of this applies.
    switched: AtomicBool,
    /// Closing while the client may still send: read on for a while, or the answer is lost in a reset.
    linger: AtomicBool,
    /// Something was written that the system may not have taken yet.
    unflushed: AtomicBool,
    /// Reads that brought something, for whoever looks twice.
    reads: AtomicU32,
    /// The task that drives the connection.
    task: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    /// Number of the exchange in progress; its informational answers alone are taken, while it is `open`.
    exchange: u64,
    open: bool,
    interim: BytesMut,
    trailers: Bytes,
}

impl Line {
    /// A new connection: its first head counts as begun.
    pub(super) fn new() -> Arc<Self> {
        let line = Self::default();
        line.began.store(true, Ordering::Relaxed);
        Arc::new(line)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come, and with it perhaps a body.
    pub(in crate::server) fn begin(self: &Arc<Self>, body: bool) -> Interim {
        self.began.store(false, Ordering::Relaxed);
        self.body.store(body, Ordering::Relaxed);
        self.done.store(false, Ordering::Relaxed);
        self.owed.store(true, Ordering::Relaxed);
        let mut waiting = self.waiting();
        waiting.exchange += 1;
        waiting.open = true;
        waiting.interim.clear(); // what came too late for the answer before
        Interim {
            line: self.clone(),
            exchange: waiting.exchange,
        }
    }

    /// The exchange's final answer is about to be written: nothing informational follows.
    pub(in crate::server) fn answered(&self, status: StatusCode) {
        self.waiting().open = false;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.switched.store(true, Ordering::Relaxed);
        }
    }

    /// From now on bytes go through and nothing else.
    pub(super) fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// The answer's body is over.
    pub(in crate::server) fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Remembers who drives the connection.
    pub(in crate::server) fn driven_by(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Whether the trailers' turn has come; asked again after each flush.
    pub(in crate::server) fn trailers_are_next(&self) -> bool {
        self.trailers.load(Ordering::Relaxed) == NEXT
    }

    /// Leaves trailers to be written in place of the last chunk's empty ones.
    pub(in crate::server) fn leave_trailers(&self, trailers: &HeaderMap) {
        let mut text = BytesMut::new();
        put_fields(&mut text, trailers);
        self.waiting().trailers = text.freeze();
        self.trailers.store(WAITING, Ordering::Relaxed);
    }

    pub(super) fn received(&self) {
        // The wire alone counts.
        let reads = self.reads.load(Ordering::Relaxed).wrapping_add(1);
        self.reads.store(reads, Ordering::Relaxed);
        if !self.body.load(Ordering::Relaxed) {
            self.began.store(true, Ordering::Relaxed);
        }
    }

    /// The previous message is over and the next head may take its time.
    pub(super) fn awaits_head(&self) {
        if self.body.swap(false, Ordering::Relaxed) {
            self.began.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn head_began(&self) -> bool {
        self.began.load(Ordering::Relaxed)
    }

    /// What waits to be written while no final answer does; whoever asks is woken for more.
    pub(super) fn take_early_interim(&self, cx: &Context<'_>) -> Option<BytesMut> {
        let early = self.interim.load(Ordering::Acquire) && self.waiting().open;
        if early { self.take_interim(cx) } else { None }
    }

    /// What waits to be written; whoever asks is woken for more.
    pub(super) fn take_interim(&self, cx: &Context<'_>) -> Option<BytesMut> {
        if !self.interim.load(Ordering::Acquire) {
            return None;
        }
        self.driven_by(cx); // a wake-up uses up the registration
        let mut waiting = self.waiting();
        self.interim.store(false, Ordering::Release);
        Some(std::mem::take(&mut waiting.interim))
    }

    pub(super) fn take_trailers(&self) -> Option<Bytes> {
        if self.trailers.load(Ordering::Relaxed) != NEXT {
            return None;
        }
        self.trailers.store(NONE, Ordering::Relaxed);
        Some(std::mem::take(&mut self.waiting().trailers))
    }

    /// How often something has come; wraps around.
    pub(in crate::server) fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Something is being written.
    pub(super) fn writes(&self) {
        self.unflushed.store(true, Ordering::Relaxed);
    }

    /// Whether the system has taken all that was written.
    pub(in crate::server) fn is_flushed(&self) -> bool {
        !self.unflushed.load(Ordering::Relaxed)
    }

    /// Everything that hyper had is written.
    pub(super) fn flushed(&self) {
        self.unflushed.store(false, Ordering::Relaxed);
        if self.trailers.load(Ordering::Relaxed) == WAITING {
            self.trailers.store(NEXT, Ordering::Relaxed);
            self.task.wake();
        }
        if self.done.load(Ordering::Relaxed) {
            self.owed.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    pub(super) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// Whether the client may still be sending a request that nobody reads.
    pub(super) fn lingers(&self) -> bool {
        !self.is_switched() && (self.linger.load(Ordering::Relaxed) || self.body.load(Ordering::Relaxed))
    }
}

/// Sends informational answers (`1xx`) to the client of one HTTP/1.1 exchange; travels in the request's extensions.
#[derive(Clone)]
pub struct Interim {
    line: Arc<Line>,
    exchange: u64,
}

impl Interim {
    /// Writes an informational answer before the final one; dropped when that is under way, or too many wait.
    pub fn relay(&self, status: StatusCode, headers: &HeaderMap) {
        let mut waiting = self.line.waiting();
        if waiting.exchange != self.exchange || !waiting.open || waiting.interim.len() > MAX_INTERIM {
            return;
        }
        let text = &mut waiting.interim;
        text.put_slice(b"HTTP/1.1 ");
        text.put_slice(status.as_str().as_bytes());
        text.put_u8(b' ');
        text.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        text.put_slice(b"\r\n");
        put_fields(text, headers);
        text.put_slice(b"\r\n");
        self.line.interim.store(true, Ordering::Release);
        drop(waiting);
        self.line.task.wake();
    }
}

fn put_fields(text: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        text.put_slice(name.as_str().as_bytes());
        text.put_slice(b": ");
        text.put_slice(value.as_bytes());
        text.put_slice(b"\r\n");
    }
}
