//! From the SDK's errors to Python's exceptions: the one table.
//!
//! The classes are Python's own (`python/xdt/exceptions.py`); `tests/test_exceptions.py` provokes each from a real
//! sidecar.

use std::error::Error as _;

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyType},
};
use xdt::{Error, ErrorKind};

/// How one kind reaches Python.
enum Shape {
    /// A class of `xdt.exceptions`.
    Class(&'static str),
    /// A wrong argument, as everywhere in Python.
    ValueError,
}

const fn shape(kind: ErrorKind) -> Shape {
    match kind {
        ErrorKind::ReferenceInvalid => Shape::Class("ReferenceInvalid"),
        ErrorKind::WrongTenant => Shape::Class("WrongTenant"),
        ErrorKind::ObjectGone => Shape::Class("ObjectGone"),
        ErrorKind::TooLarge => Shape::Class("TooLarge"),
        ErrorKind::BadRequest => Shape::Class("BadRequest"),
        ErrorKind::Busy => Shape::Class("Busy"),
        ErrorKind::Draining => Shape::Class("Draining"),
        ErrorKind::ProducerUnreachable => Shape::Class("ProducerUnreachable"),
        ErrorKind::TransferBroken => Shape::Class("TransferBroken"),
        ErrorKind::Timeout => Shape::Class("Timeout"),
        ErrorKind::SidecarUnavailable => Shape::Class("SidecarUnavailable"),
        // Nothing of the contract: the callee of a small call, the caller's own payload, a stranger's answer.
        ErrorKind::Unreachable | ErrorKind::PayloadFailed | ErrorKind::UnexpectedAnswer => Shape::Class("XdtError"),
        ErrorKind::InvalidArgument => Shape::ValueError,
    }
}

/// The exception for an error of a call.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    if let Some(own) = of_the_payload(py, error) {
        return own;
    }
    match shape(error.kind()) {
        Shape::ValueError => PyValueError::new_err(error.detail().to_owned()),
        Shape::Class(name) => made(py, name, error).unwrap_or_else(|failed| failed),
    }
}

/// The exception that a payload's own `read` raised.
fn of_the_payload(py: Python<'_>, error: &Error) -> Option<PyErr> {
    let source = error.source()?.downcast_ref::<std::io::Error>()?;
    let raised = source.get_ref()?.downcast_ref::<PyErr>()?;
    Some(raised.clone_ref(py))
}

fn made(py: Python<'_>, name: &str, error: &Error) -> PyResult<PyErr> {
    let given = PyDict::new(py);
    given.set_item("word", error.kind().as_str())?;
    given.set_item("retryable", error.is_retryable())?;
    given.set_item("status", error.status().map(|status| status.as_u16()))?;
    given.set_item("retry_after", error.retry_after().map(|wait| wait.as_secs_f64()))?;
    let exceptions = exceptions(py)?;
    let class = exceptions.getattr(name)?.cast_into::<PyType>()?;
    Ok(PyErr::from_value(class.call((error.detail(),), Some(&given))?))
}

fn exceptions(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("xdt.exceptions").map(Bound::unbind))?;
    Ok(module.bind(py))
}

/// A use that the object's state forbids.
pub(crate) fn misuse(what: &str) -> PyErr {
    PyRuntimeError::new_err(what.to_owned())
}
