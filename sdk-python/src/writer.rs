//! An object written piece by piece, for `xdt.Writer`: a put whose payload is a bounded queue.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::stream;
use pyo3::prelude::*;
use tokio::{sync::mpsc, task::JoinHandle};
use xdt::{Payload, Put, Reference};

use crate::{
    arguments::copied,
    error::misuse,
    gate::{self, Process},
};

/// Pieces on their way to the connection; the writer waits when they are that many.
const QUEUE: usize = 4;

type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// A put that is being written.
#[pyclass(frozen, module = "xdt._xdt")]
pub(crate) struct RawWriter {
    pieces: Mutex<Option<Pieces>>,
    put: Mutex<Option<JoinHandle<xdt::Result<Reference>>>>,
    owner: Process,
}

impl Drop for RawWriter {
    fn drop(&mut self) {
        if !self.owner.is_current() {
            std::mem::forget(lock(&self.pieces).take());
            std::mem::forget(lock(&self.put).take());
        } else if let Some(put) = lock(&self.put).take() {
            put.abort();
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RawWriter {
    /// Starts a put of `size` bytes (of any number without), made by `put` from its payload.
    pub(crate) fn begin(
        py: Python<'_>,
        size: Option<u64>,
        put: impl FnOnce(Payload) -> PyResult<Put>,
    ) -> PyResult<Self> {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let queue = stream::unfold(queue, |mut queue| async {
            queue.recv().await.map(|piece| (piece, queue))
        });
        let payload = Payload::stream(queue);
        let put = put(match size {
            Some(size) => payload.with_length(size),
            None => payload,
        })?;
        let put = gate::runtime(py)?.spawn(put.into_future());
        Ok(Self {
            pieces: Mutex::new(Some(pieces)),
            put: Mutex::new(Some(put)),
            owner: Process::current(),
        })
    }

    /// The put's own end.
    fn end(&self, py: Python<'_>) -> PyResult<Reference> {
        drop(lock(&self.pieces).take());
        let put = lock(&self.put).take().ok_or_else(|| misuse("this writer is closed"))?;
        gate::wait(py, async {
            put.await
                .unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
        })
    }
}

#[pymethods]
impl RawWriter {
    /// Adds bytes; waits while the queue is full. Fails as the put did, if it has ended early.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.owner.check("writer")?;
        let piece = copied("data", data)?;
        let pieces = lock(&self.pieces)
            .clone()
            .ok_or_else(|| misuse("this writer is closed"))?;
        let count = piece.len();
        let sent = gate::wait(py, async { Ok(pieces.send(Ok(piece)).await.is_ok()) })?;
        if !sent {
            self.end(py)?;
        }
        Ok(count)
    }

    /// Ends the object; gives its reference.
    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        self.owner.check("writer")?;
        Ok(self.end(py)?.as_str().to_owned())
    }

    /// Gives the object up: the sidecar discards what it has.
    fn abort(&self) {
        if self.owner.is_current() {
            if let Some(put) = lock(&self.put).take() {
                put.abort();
            }
            drop(lock(&self.pieces).take());
        }
    }
}
