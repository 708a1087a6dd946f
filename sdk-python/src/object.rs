//! `xdt.Object`: the bytes of one object as read-only memory, alive as long as anything views it.
//!
//! Made by get and by an answer's body. Owns its bytes, which begin at a multiple of 64 in memory.

use std::sync::{Mutex, PoisonError};

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    pyclass::CompareOp,
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyType},
};
use xdt::Object;

use crate::view::{Memory, Shown, borrow, with_buffer_protocol};

/// What `xdt.Object` holds; the buffer protocol is added by [`class`].
#[pyclass(frozen, subclass, name = "ObjectParts", module = "xdt._xdt")]
pub(crate) struct ObjectParts(Object);

/// Brings an object into the constructor of its Python class, once.
#[pyclass(frozen)]
pub(crate) struct Carrier(Mutex<Option<Object>>);

impl Shown for ObjectParts {
    fn memory(&self) -> Memory<'_> {
        Memory::ReadOnly(&self.0)
    }
}

#[pymethods]
impl ObjectParts {
    #[new]
    fn new(parts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let object = parts.cast::<Carrier>().ok().and_then(|carrier| carrier.get().take());
        let refused = || PyTypeError::new_err("xdt.Object: objects come from client.get() and from an answer's body");
        object.map(Self).ok_or_else(refused)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0)
    }

    fn __richcmp__(&self, py: Python<'_>, other: &Bound<'_, PyAny>, operator: CompareOp) -> PyResult<Py<PyAny>> {
        let equal = match operator {
            CompareOp::Eq | CompareOp::Ne => match borrow("other", other, false)? {
                Some(other) => py.detach(|| self.0[..] == *other.as_ref()),
                None => return Ok(py.NotImplemented()),
            },
            _ => return Ok(py.NotImplemented()),
        };
        let told = equal == matches!(operator, CompareOp::Eq);
        Ok(told.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.0.content_type()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = PyDict::new(py);
        for (name, value) in self.0.metadata() {
            metadata.set_item(name, value)?;
        }
        Ok(metadata)
    }

    #[getter]
    fn path(&self) -> Option<&str> {
        self.0.path()
    }
}

impl Carrier {
    fn take(&self) -> Option<Object> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `ObjectBase`: what `xdt.Object` is derived from.
pub(crate) fn class(py: Python<'_>) -> PyResult<Py<PyType>> {
    with_buffer_protocol::<ObjectParts>(py, c"xdt._xdt.ObjectBase")
}

/// An `xdt.Object`.
pub(crate) fn into_python(py: Python<'_>, object: Object) -> PyResult<Py<PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || py.import("xdt._memory")?.getattr("Object").map(Bound::unbind))?;
    class.call1(py, (Carrier(Mutex::new(Some(object))),))
}
