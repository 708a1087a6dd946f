//! What Python callers pass, checked: every refusal names the argument and says what is accepted.

use std::time::Duration;

use bytes::Bytes;
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};
use xdt::{Payload, Put};

use crate::{source, view::borrow};

/// Longest time that any argument may ask for, in seconds: ten years, which no sidecar keeps an object for.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

/// How an object is to be held: `(retrievals, content_type, metadata, ttl)`.
pub(crate) struct Terms<'py> {
    retrievals: Bound<'py, PyAny>,
    content_type: Bound<'py, PyAny>,
    metadata: Bound<'py, PyAny>,
    ttl: Bound<'py, PyAny>,
}

impl<'a, 'py> FromPyObject<'a, 'py> for Terms<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let tuple = object.cast::<PyTuple>()?;
        let item = |index| tuple.get_item(index);
        Ok(Self {
            retrievals: item(0)?,
            content_type: item(1)?,
            metadata: item(2)?,
            ttl: item(3)?,
        })
    }
}

impl Terms<'_> {
    /// Refuses wrong values, before anything is done that cannot be undone.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.retrievals()?;
        text("content_type", &self.content_type)?;
        self.metadata()?;
        seconds("ttl", &self.ttl).map(drop)
    }

    /// Puts them on a put.
    pub(crate) fn apply(&self, put: Put) -> PyResult<Put> {
        let mut put = put.retrievals(self.retrievals()?);
        if let Some(content_type) = text("content_type", &self.content_type)? {
            put = put.content_type(content_type);
        }
        for (name, value) in self.metadata()? {
            put = put.metadata(name, value);
        }
        if let Some(ttl) = seconds("ttl", &self.ttl)? {
            put = put.ttl(ttl);
        }
        Ok(put)
    }

    fn retrievals(&self) -> PyResult<u16> {
        let count = self.retrievals.extract::<u16>().ok().filter(|count| *count > 0);
        count.ok_or_else(|| PyValueError::new_err("retrievals: must be a whole number from 1 to 65535"))
    }

    fn metadata(&self) -> PyResult<Vec<(String, String)>> {
        if self.metadata.is_none() {
            return Ok(Vec::new());
        }
        let wrong = || PyTypeError::new_err("metadata: must be a dict of str to str");
        let dict = self.metadata.cast::<PyDict>().map_err(|_| wrong())?;
        let pairs = dict.iter().map(|(name, value)| Ok((name.extract()?, value.extract()?)));
        pairs.collect::<PyResult<_>>().map_err(|_: PyErr| wrong())
    }
}

/// A reference; what has not its form is no reference of anybody.
pub(crate) fn reference(object: &Bound<'_, PyAny>) -> PyResult<Result<xdt::Reference, xdt::Error>> {
    let text = object.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!(
            "reference: must be an xdt.Reference or str, not {}",
            kind(object)
        ))
    })?;
    Ok(text.to_cow()?.parse::<xdt::Reference>().map_err(xdt::Error::from))
}

/// Bytes to send: memory, or a readable binary file.
pub(crate) fn payload(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Payload> {
    if object.is_none() && name == "data" {
        return Err(refused(name, object));
    }
    if let Some(memory) = borrow(name, object, false)? {
        return Ok(Payload::from(memory.into_bytes()));
    }
    if object.hasattr("read")? {
        return source::payload(object);
    }
    Err(refused(name, object))
}

/// As [`payload`], from memory only, copied: the caller may change it as soon as the call returns.
pub(crate) fn copied(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let memory = borrow(name, object, false)?.ok_or_else(|| refused(name, object))?;
    Ok(object.py().detach(|| Bytes::copy_from_slice(memory.as_ref())))
}

fn refused(name: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let hint = if object.is_instance_of::<PyString>() {
        "; text must be encoded first: data.encode()"
    } else {
        ""
    };
    PyTypeError::new_err(format!(
        "{name}: must have the buffer protocol (bytes, bytearray, memoryview, numpy array, …) or be a readable binary \
         file, not {}{hint}",
        kind(object)
    ))
}

/// A time in seconds, or `None`.
pub(crate) fn seconds(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if object.is_none() {
        return Ok(None);
    }
    let given = object.extract::<f64>();
    let given =
        given.map_err(|_| PyTypeError::new_err(format!("{name}: must be seconds, or None, not {}", kind(object))))?;
    if !(0.0..=LONGEST).contains(&given) {
        return Err(PyValueError::new_err(format!(
            "{name}: must be a number of seconds from 0 up"
        )));
    }
    Ok(Some(Duration::from_secs_f64(given)))
}

/// Text, or `None`.
pub(crate) fn text(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if object.is_none() {
        return Ok(None);
    }
    let text = object.extract::<String>();
    text.map(Some)
        .map_err(|_| PyTypeError::new_err(format!("{name}: must be str or None, not {}", kind(object))))
}

/// Name of an object's class.
pub(crate) fn kind(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "object".to_owned(), |name| name.to_string())
}
