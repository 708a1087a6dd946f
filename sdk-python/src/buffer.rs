//! `xdt.Buffer`: memory in which an object is built in place, and which the sidecar then takes as it is.
//!
//! Made by create. The memory stays where it is while the Python object lives, also after the put: arrays over it stay
//! valid, and what is written to them then is a private copy.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use pyo3::{exceptions::PyTypeError, prelude::*, types::PyType};
use xdt::Buffer;

use crate::{
    arguments::Terms,
    error::{exception, misuse},
    gate::{self, Process},
    view::{Filling, Memory, Shown, with_buffer_protocol},
};

/// What `xdt.Buffer` holds; the buffer protocol is added by [`class`].
#[pyclass(frozen, subclass, name = "BufferParts", module = "xdt._xdt")]
pub(crate) struct BufferParts {
    filling: Filling,
    put: AtomicBool,
    owner: Process,
}

/// Brings a buffer into the constructor of its Python class, once.
#[pyclass(frozen)]
pub(crate) struct Carrier(Mutex<Option<Buffer>>);

impl Shown for BufferParts {
    fn memory(&self) -> Memory<'_> {
        Memory::Writable(&self.filling)
    }
}

impl BufferParts {
    fn begin(&self, py: Python<'_>, terms: &Terms<'_>) -> PyResult<xdt::Put> {
        self.owner.check("buffer")?;
        terms.check()?;
        if self.put.swap(true, Ordering::AcqRel) {
            return Err(misuse(
                "buffer: was put already; an object is put once, then shared by its reference",
            ));
        }
        let put = py
            .detach(|| self.filling.put())
            .map_err(|error| exception(py, &error))?;
        terms.apply(put)
    }
}

#[pymethods]
impl BufferParts {
    #[new]
    fn new(parts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let carrier = parts.cast::<Carrier>().ok();
        let buffer = carrier.and_then(|carrier| carrier.get().0.lock().unwrap_or_else(PoisonError::into_inner).take());
        let buffer = buffer.ok_or_else(|| PyTypeError::new_err("xdt.Buffer: buffers come from client.create()"))?;
        Ok(Self {
            filling: Filling::new(buffer),
            put: AtomicBool::new(false),
            owner: Process::current(),
        })
    }

    fn __len__(&self) -> usize {
        self.filling.len()
    }

    #[getter]
    fn was_put(&self) -> bool {
        self.put.load(Ordering::Acquire)
    }

    #[pyo3(signature = (terms))]
    fn raw_put(&self, py: Python<'_>, terms: Terms<'_>) -> PyResult<String> {
        let put = self.begin(py, &terms)?;
        Ok(gate::wait(py, put.into_future())?.as_str().to_owned())
    }

    fn raw_put_async<'py>(&self, py: Python<'py>, terms: Terms<'_>) -> PyResult<Bound<'py, PyAny>> {
        let put = self.begin(py, &terms)?;
        gate::start(py, put.into_future(), crate::client::reference)
    }
}

/// `BufferBase`: what `xdt.Buffer` is derived from.
pub(crate) fn class(py: Python<'_>) -> PyResult<Py<PyType>> {
    with_buffer_protocol::<BufferParts>(py, c"xdt._xdt.BufferBase")
}

/// An instance of `name`, a class of `xdt._memory`.
pub(crate) fn into_python(py: Python<'_>, name: &str, buffer: Buffer) -> PyResult<Py<PyAny>> {
    let class = py.import("xdt._memory")?.getattr(name)?;
    Ok(class.call1((Carrier(Mutex::new(Some(buffer))),))?.unbind())
}
