//! Bytes as they arrive, for `xdt.Reader` and `xdt.AsyncReader`.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use tokio::sync::Mutex;
use xdt::Reader;

use crate::{
    arguments::kind,
    error::misuse,
    gate::{self, Process},
    view::borrow,
};

/// One object, or one answer's body, on its way. Readers from several threads take turns.
#[pyclass(frozen, module = "xdt._xdt")]
pub(crate) struct RawReader {
    /// `None` once closed.
    state: Arc<Mutex<Option<State>>>,
    size: Option<u64>,
    content_type: Option<String>,
    metadata: xdt::Metadata,
    owner: Process,
}

struct State {
    reader: Reader,
    /// Arrived and not yet handed on.
    rest: Bytes,
}

impl Drop for RawReader {
    fn drop(&mut self) {
        if !self.owner.is_current() {
            // As a client's connections in a forked child.
            std::mem::forget(self.state.clone());
        }
    }
}

impl RawReader {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            size: reader.size(),
            content_type: reader.content_type().map(str::to_owned),
            metadata: reader.metadata().clone(),
            state: Arc::new(Mutex::new(Some(State {
                reader,
                rest: Bytes::new(),
            }))),
            owner: Process::current(),
        }
    }

    /// The next bytes, at most `most` of them; none at the end. `Err(())` if closed.
    fn next(&self, most: usize) -> impl Future<Output = xdt::Result<Option<Bytes>>> + Send + 'static + use<> {
        let state = self.state.clone();
        async move {
            let mut state = state.lock().await;
            let Some(state) = state.as_mut() else { return Ok(None) };
            if state.rest.is_empty() {
                state.rest = state.reader.chunk().await?.unwrap_or_default();
            }
            let count = most.min(state.rest.len());
            let piece = state.rest.slice(..count);
            state.rest.advance(count);
            Ok(Some(piece))
        }
    }
}

fn closed() -> PyErr {
    misuse("this reader is closed")
}

#[pymethods]
impl RawReader {
    #[getter]
    fn size(&self) -> Option<u64> {
        self.size
    }

    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = PyDict::new(py);
        for (name, value) in &self.metadata {
            metadata.set_item(name, value)?;
        }
        Ok(metadata)
    }

    /// The next bytes, at most `most`; empty at the end.
    fn piece<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        self.owner.check("reader")?;
        let piece = gate::wait(py, self.next(most))?.ok_or_else(closed)?;
        Ok(PyBytes::new(py, &piece))
    }

    /// As `piece`, to be awaited; `None` if closed.
    fn piece_async<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyAny>> {
        self.owner.check("reader")?;
        gate::start(py, self.next(most), |py, piece| match piece {
            Some(piece) => Ok(PyBytes::new(py, &piece).into_any().unbind()),
            None => Err(closed()),
        })
    }

    /// Fills the beginning of `memory` with the next bytes; 0 at the end.
    fn readinto(&self, py: Python<'_>, memory: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.owner.check("reader")?;
        let Some(mut target) = borrow("buffer", memory, true)? else {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "buffer: must be writable memory, not {}",
                kind(memory)
            )));
        };
        if target.len() == 0 {
            return Ok(0);
        }
        let piece = gate::wait(py, self.next(target.len()))?.ok_or_else(closed)?;
        py.detach(|| target.fill(&piece));
        Ok(piece.len())
    }

    /// Gives up what has not arrived. Waits for a read that another thread is in.
    fn close(&self, py: Python<'_>) {
        if self.owner.is_current() {
            let state = self.state.clone();
            py.detach(|| drop(state.try_lock().map(|mut state| state.take())));
        }
    }
}
