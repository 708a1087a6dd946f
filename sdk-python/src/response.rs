//! The answer to an invoke: status, headers, and the body whole or about to arrive.

use pyo3::prelude::*;
use xdt::{HeaderMap, Object, Reader};

use crate::{object, reader::RawReader};

/// Where a body is.
pub(crate) enum Body {
    Whole(Object),
    Arriving(Reader),
}

/// What `xdt.Response` is made of.
#[pyclass(frozen, module = "xdt._xdt")]
pub(crate) struct RawResponse {
    #[pyo3(get)]
    status: u16,
    /// Names in lower case, in the order of arrival; values as Latin-1 text.
    #[pyo3(get)]
    headers: Vec<(String, String)>,
    /// An `xdt.Object`, or a reader.
    #[pyo3(get)]
    body: Py<PyAny>,
}

impl RawResponse {
    pub(crate) fn new(py: Python<'_>, (status, headers): &(u16, HeaderMap), body: Body) -> PyResult<Self> {
        let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
        let body = match body {
            Body::Whole(object) => object::into_python(py, object)?,
            Body::Arriving(reader) => Py::new(py, RawReader::new(reader))?.into_any(),
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), latin(value.as_bytes())));
        Ok(Self {
            status: *status,
            headers: headers.collect(),
            body,
        })
    }
}
