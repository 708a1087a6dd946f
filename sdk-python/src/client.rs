//! The client: each verb once as a call that waits, once as one to be awaited.
//!
//! `xdt.Client` and `xdt.AsyncClient` (`python/xdt/_client.py`, `_async.py`) are the only callers. Arguments are checked
//! before anything is sent. A client belongs to the process that made it.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyString};
use xdt::{ByteCount, Client, Get, Invoke, Method, Payload, Put, Reference, Status};

use crate::{
    arguments::{self, Terms, payload, seconds, text},
    buffer,
    error::{exception, misuse},
    gate::{self, Process},
    object,
    reader::RawReader,
    response::{Body, RawResponse},
    writer::RawWriter,
};

/// A function's connection to its own sidecar.
#[pyclass(frozen, module = "xdt._xdt")]
pub(crate) struct RawClient {
    /// `None` once closed.
    client: Mutex<Option<Client>>,
    owner: Process,
}

impl Drop for RawClient {
    fn drop(&mut self) {
        if !self.owner.is_current() {
            // In a forked child: closing the connections would take the parent's out of its event queue.
            std::mem::forget(self.take());
        }
    }
}

impl RawClient {
    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Client> {
        self.lock().take()
    }

    /// The client, with this limit on the call if there is one.
    fn client(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<Client> {
        self.owner.check("client")?;
        let client = self.lock().clone().ok_or_else(|| misuse("this client is closed"))?;
        match seconds("timeout", timeout)? {
            None => Ok(client),
            Some(limit) => client.with_timeout(limit).map_err(|error| exception(py, &error)),
        }
    }

    fn putting(&self, data: &Bound<'_, PyAny>, terms: &Terms<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<Put> {
        let client = self.client(data.py(), timeout)?;
        terms.check()?;
        terms.apply(client.put(payload("data", data)?))
    }

    fn getting(&self, wanted: &Bound<'_, PyAny>, part: Part, timeout: &Bound<'_, PyAny>) -> PyResult<Get> {
        let client = self.client(wanted.py(), timeout)?;
        let get = client.get(&valid(wanted)?);
        Ok(match part {
            None => get,
            Some((start, None, counted)) => counted_if(get.range(start..), counted),
            Some((start, Some(stop), counted)) => counted_if(get.range(start..stop), counted),
        })
    }

    fn invoking(&self, call: &Call<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<Invoke> {
        let client = self.client(timeout.py(), timeout)?;
        let Call(url, data, method, headers, content_type) = call;
        let body = if data.is_none() {
            Payload::empty()
        } else {
            payload("data", data)?
        };
        let method = method
            .extract::<String>()
            .ok()
            .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let method = method.ok_or_else(|| PyValueError::new_err("method: must be a method of HTTP, such as POST"))?;
        let url = text("url", url)?.ok_or_else(|| PyValueError::new_err("url: must be a URL"))?;
        let mut invoke = client.invoke(url, body).method(method);
        for (name, value) in headers {
            invoke = invoke.header(name, value);
        }
        if let Some(content_type) = text("content_type", content_type)? {
            invoke = invoke.content_type(content_type);
        }
        Ok(invoke)
    }
}

/// Part of an object: first byte, end, and whether it counts as a retrieval.
type Part = Option<(u64, Option<u64>, bool)>;

fn counted_if(get: Get, counted: bool) -> Get {
    if counted { get.counted() } else { get }
}

fn valid(wanted: &Bound<'_, PyAny>) -> PyResult<Reference> {
    arguments::reference(wanted)?.map_err(|error| exception(wanted.py(), &error))
}

/// `(url, data, method, headers, content_type)`.
#[derive(FromPyObject)]
struct Call<'py>(
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Vec<(String, String)>,
    Bound<'py, PyAny>,
);

/// Settings of a client: addresses as text, times in seconds, sizes in bytes; `None` leaves the default.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Settings<'py> {
    timeout: Bound<'py, PyAny>,
    local_address: Option<String>,
    local_socket: Option<String>,
    egress_address: Option<String>,
    transport: Option<String>,
    inline_limit: Option<u64>,
    memory_limit: Option<u64>,
    max_idle_connections: Option<usize>,
}

fn address(name: &str, text: &str) -> PyResult<SocketAddr> {
    let wrong = || {
        PyValueError::new_err(format!(
            "{name}: must be an IP address and a port, such as 127.0.0.1:8015"
        ))
    };
    text.parse().map_err(|_| wrong())
}

impl Settings<'_> {
    fn build(self, py: Python<'_>) -> PyResult<Client> {
        let mut builder = Client::builder();
        if let Some(text) = &self.local_address {
            builder = builder.local_address(address("local_address", text)?);
        }
        if let Some(text) = &self.egress_address {
            builder = builder.egress_address(address("egress_address", text)?);
        }
        if let Some(name) = self.local_socket {
            builder = builder.local_socket(name);
        }
        match self.transport.as_deref() {
            None | Some("socket") => {}
            Some("http") => builder = builder.without_local_socket(),
            Some(_) => return Err(PyValueError::new_err("transport: must be 'socket', 'http' or None")),
        }
        if let Some(limit) = self.inline_limit {
            builder = builder.inline_limit(ByteCount::new(limit));
        }
        if let Some(limit) = self.memory_limit {
            builder = builder.memory_limit(ByteCount::new(limit));
        }
        if let Some(limit) = seconds("timeout", &self.timeout)? {
            builder = builder.timeout(limit);
        }
        if let Some(count) = self.max_idle_connections {
            builder = builder.max_idle_connections(count);
        }
        builder.build().map_err(|error| exception(py, &error))
    }
}

#[pymethods]
impl RawClient {
    #[new]
    fn new(py: Python<'_>, settings: Settings<'_>) -> PyResult<Self> {
        let client = settings.build(py)?;
        Ok(Self {
            client: Mutex::new(Some(client)),
            owner: Process::current(),
        })
    }

    fn close(&self) {
        if self.owner.is_current() {
            drop(self.take());
        }
    }

    #[getter]
    fn closed(&self) -> bool {
        self.lock().is_none()
    }

    fn put(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        terms: Terms<'_>,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        let put = self.putting(data, &terms, timeout)?;
        Ok(gate::wait(py, put.into_future())?.as_str().to_owned())
    }

    fn put_async<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        terms: Terms<'_>,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let put = self.putting(data, &terms, timeout)?;
        gate::start(data.py(), put.into_future(), reference)
    }

    fn get(
        &self,
        py: Python<'_>,
        wanted: &Bound<'_, PyAny>,
        part: Part,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let get = self.getting(wanted, part, timeout)?;
        object::into_python(py, gate::wait(py, get.into_future())?)
    }

    fn get_async<'py>(
        &self,
        wanted: &Bound<'py, PyAny>,
        part: Part,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let get = self.getting(wanted, part, timeout)?;
        gate::start(wanted.py(), get.into_future(), object::into_python)
    }

    fn open(
        &self,
        py: Python<'_>,
        wanted: &Bound<'_, PyAny>,
        part: Part,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<RawReader> {
        let get = self.getting(wanted, part, timeout)?;
        Ok(RawReader::new(gate::wait(py, get.open())?))
    }

    fn open_async<'py>(
        &self,
        wanted: &Bound<'py, PyAny>,
        part: Part,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let get = self.getting(wanted, part, timeout)?;
        gate::start(wanted.py(), get.open(), |py, reader| {
            Ok(Py::new(py, RawReader::new(reader))?.into_any())
        })
    }

    fn delete(&self, py: Python<'_>, wanted: &Bound<'_, PyAny>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let (client, wanted) = (self.client(py, timeout)?, valid(wanted)?);
        gate::wait(py, client.delete(&wanted))
    }

    fn delete_async<'py>(&self, wanted: &Bound<'py, PyAny>, timeout: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, client, wanted) = (wanted.py(), self.client(wanted.py(), timeout)?, valid(wanted)?);
        gate::start(py, async move { client.delete(&wanted).await }, |py, ()| Ok(py.None()))
    }

    fn create(&self, py: Python<'_>, size: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let client = self.client(py, &py.None().into_bound(py))?;
        let size = length(size)?;
        let made = py
            .detach(|| client.create(size))
            .map_err(|error| exception(py, &error))?;
        buffer::into_python(py, "Buffer", made)
    }

    fn create_async<'py>(&self, size: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = size.py();
        let client = self.client(py, &py.None().into_bound(py))?;
        let size = length(size)?;
        let make = async move {
            let made = tokio::task::spawn_blocking(move || client.create(size));
            made.await
                .unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
        };
        gate::start(py, make, |py, made| buffer::into_python(py, "AsyncBuffer", made))
    }

    fn invoke(
        &self,
        py: Python<'_>,
        call: Call<'_>,
        stream: bool,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<RawResponse> {
        let invoke = self.invoking(&call, timeout)?;
        let (head, body) = gate::wait(py, answer(invoke, stream))?;
        RawResponse::new(py, &head, body)
    }

    fn invoke_async<'py>(
        &self,
        py: Python<'py>,
        call: Call<'_>,
        stream: bool,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let invoke = self.invoking(&call, timeout)?;
        gate::start(py, answer(invoke, stream), |py, (head, body)| {
            Ok(Py::new(py, RawResponse::new(py, &head, body)?)?.into_any())
        })
    }

    fn status(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<String> {
        let client = self.client(py, timeout)?;
        Ok(json(&gate::wait(py, client.status())?))
    }

    fn status_async<'py>(&self, py: Python<'py>, timeout: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let client = self.client(py, timeout)?;
        let convert = |py: Python<'_>, status: Status| Ok(PyString::new(py, &json(&status)).into_any().unbind());
        gate::start(py, async move { client.status().await }, convert)
    }

    fn writer(
        &self,
        py: Python<'_>,
        size: &Bound<'_, PyAny>,
        terms: Terms<'_>,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<RawWriter> {
        let client = self.client(py, timeout)?;
        let size = if size.is_none() { None } else { Some(length(size)?) };
        terms.check()?;
        RawWriter::begin(py, size, |payload| terms.apply(client.put(payload)))
    }
}

/// Head and body of the answer; the body whole, or about to arrive.
async fn answer(invoke: Invoke, stream: bool) -> xdt::Result<((u16, xdt::HeaderMap), Body)> {
    let response = invoke.await?;
    let head = (response.status().as_u16(), response.headers().clone());
    let body = if stream {
        Body::Arriving(response.reader())
    } else {
        Body::Whole(response.body().await?)
    };
    Ok((head, body))
}

fn length(size: &Bound<'_, PyAny>) -> PyResult<u64> {
    size.extract::<u64>()
        .map_err(|_| PyValueError::new_err("size: must be a whole number of bytes, 0 or more"))
}

fn json(status: &Status) -> String {
    status.to_json()
}

/// For [`gate::start`]: the text of a reference.
pub(crate) fn reference(py: Python<'_>, reference: Reference) -> PyResult<Py<PyAny>> {
    Ok(PyString::new(py, reference.as_str()).into_any().unbind())
}
