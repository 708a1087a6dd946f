//! Payloads that Python reads for us: binary files and whatever else has `read(n)`.
//!
//! Read piece by piece on a thread that may wait, each piece when the connection has taken the one before it.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use pyo3::{exceptions::PyTypeError, prelude::*};
use xdt::Payload;

use crate::{arguments::kind, view::Borrowed};

/// Bytes asked of `read` at a time: large enough that taking the interpreter lock does not show.
const PIECE: usize = 1024 * 1024;

/// Everything that `file.read` still gives; its length is stated where the file tells it.
pub(crate) fn payload(file: &Bound<'_, PyAny>) -> PyResult<Payload> {
    let length = remaining(file)?;
    let read = file.getattr("read")?.unbind();
    let pieces = stream::try_unfold(read, |read| async move {
        let piece = tokio::task::spawn_blocking(move || {
            Python::try_attach(|py| next(py, &read))
                .unwrap_or_else(|| Err(io::Error::other("the interpreter is ending")))
                .map(|piece| (piece, read))
        });
        let (piece, read) = piece.await.map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then_some((piece, read)))
    });
    let payload = Payload::stream(pieces);
    Ok(match length {
        Some(length) => payload.with_length(length),
        None => payload,
    })
}

fn next(py: Python<'_>, read: &Py<PyAny>) -> io::Result<Bytes> {
    let piece = read.call1(py, (PIECE,)).map_err(io::Error::other)?;
    let piece = piece.bind(py);
    match Borrowed::of(piece, false).map_err(io::Error::other)? {
        // Copied: a file may use one buffer for all it reads.
        Some(memory) => Ok(Bytes::copy_from_slice(memory.as_ref())),
        None => {
            let message = format!(
                "data: its read() must give bytes, not {}; open the file in binary mode",
                kind(piece)
            );
            Err(io::Error::other(PyTypeError::new_err(message)))
        }
    }
}

/// Bytes from the position to the end, for files that can tell; the position stays.
fn remaining(file: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let seekable = file
        .call_method0("seekable")
        .and_then(|answer| answer.is_truthy())
        .unwrap_or(false);
    if !seekable || file.hasattr("encoding")? {
        return Ok(None);
    }
    let here: u64 = file.call_method0("tell")?.extract()?;
    let end: u64 = file.call_method1("seek", (0, 2))?.extract()?;
    file.call_method1("seek", (here,))?;
    Ok(Some(end.saturating_sub(here)))
}
