//! The one gate between Python and the runtime: every call that may wait goes through here, so none can forget a step.
//!
//! A blocking call gives up the interpreter lock, runs to its end on the caller's own thread, and looks for Ctrl-C
//! meanwhile; an awaited call runs in the background and settles a future of the caller's event loop. One runtime per
//! process, made at the first call, never ended: a process that forks leaves it to its parent and makes another, if the
//! child asks for one.

use std::{
    future::Future,
    pin::pin,
    process,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, sync::PyOnceLock};
use tokio::{
    runtime::{Builder, Runtime},
    task::AbortHandle,
};

use crate::error::exception;

/// Threads that read and write sockets. Two keep one waiting for the interpreter from holding up the other.
const WORKERS: usize = 2;
/// Threads that copy, map and resolve names: as many as calls of one function usually run at once.
const BLOCKING: usize = 16;
/// How long such a thread stays without work.
const KEEP: Duration = Duration::from_secs(2);
/// How often a blocking call looks for Ctrl-C: short enough to feel prompt, long enough to cost nothing.
const INTERRUPT_CHECK: Duration = Duration::from_millis(50);

/// The process that something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(process::id())
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Refuses what was made before a fork: its connections belong to the parent.
    pub(crate) fn check(self, what: &str) -> PyResult<()> {
        if self.is_current() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!(
            "this {what} was made before a fork and belongs to the parent process; make a new one in the child"
        )))
    }
}

/// This process's runtime.
pub(crate) fn runtime(_: Python<'_>) -> PyResult<&'static Runtime> {
    // Only ever locked with the interpreter lock held, which `os.fork` holds too, so a child never finds it locked.
    static RUNTIME: Mutex<Option<(Process, &'static Runtime)>> = Mutex::new(None);
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *slot {
        Some((owner, runtime)) if owner.is_current() => Ok(runtime),
        _ => {
            let mut builder = Builder::new_multi_thread();
            builder
                .worker_threads(WORKERS)
                .max_blocking_threads(BLOCKING)
                .thread_keep_alive(KEEP);
            let made = builder.thread_name("xdt").enable_all().build();
            let made =
                made.map_err(|error| PyRuntimeError::new_err(format!("xdt cannot start its threads: {error}")))?;
            // Never dropped: after a fork its threads are not there to be joined, and at exit nobody waits for them.
            let made: &'static Runtime = Box::leak(Box::new(made));
            *slot = Some((Process::current(), made));
            Ok(made)
        }
    }
}

/// Waits for `call` on this thread, without the interpreter lock; Ctrl-C drops it.
pub(crate) fn wait<T: Send>(py: Python<'_>, call: impl Future<Output = xdt::Result<T>> + Send) -> PyResult<T> {
    let runtime = runtime(py)?;
    let ended = py.detach(|| {
        runtime.block_on(async {
            let mut call = pin!(call);
            loop {
                tokio::select! {
                    biased;
                    result = &mut call => return Ok(result),
                    () = tokio::time::sleep(INTERRUPT_CHECK) => interrupts()?,
                }
            }
        })
    });
    ended.and_then(|result: xdt::Result<T>| result.map_err(|error| exception(py, &error)))
}

/// The exception of a signal's handler, if one raised.
#[allow(
    clippy::redundant_closure_for_method_calls,
    reason = "the method is not general over lifetimes"
)]
fn interrupts() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}

/// Starts `call` and gives an `asyncio.Future` of the running event loop; cancelling that drops the call.
pub(crate) fn start<'py, T: Send + 'static>(
    py: Python<'py>,
    call: impl Future<Output = xdt::Result<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let runtime = runtime(py)?;
    let event_loop = running_loop(py)?;
    let future = event_loop.call_method0("create_future")?;
    let settle = Settle {
        event_loop: event_loop.unbind(),
        future: future.clone().unbind(),
    };
    let task = runtime.spawn(async move {
        let result = call.await;
        // Without an interpreter (it is ending) nobody waits any more.
        Python::try_attach(|py| {
            let value = match result {
                Ok(value) => convert(py, value),
                Err(error) => Err(exception(py, &error)),
            };
            settle.with(py, value);
        });
    });
    future.call_method1("add_done_callback", (Cancel(task.abort_handle()),))?;
    Ok(future)
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = GET.get_or_try_init(py, || {
        py.import("asyncio")?.getattr("get_running_loop").map(Bound::unbind)
    })?;
    get.bind(py).call0()
}

struct Settle {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
}

impl Settle {
    fn with(self, py: Python<'_>, value: PyResult<Py<PyAny>>) {
        static HANDOVER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let handover = HANDOVER.get_or_try_init(py, || py.import("xdt._settle")?.getattr("settle").map(Bound::unbind));
        let Ok(handover) = handover else { return };
        let (value, error) = match value {
            Ok(value) => (value, py.None()),
            Err(error) => (py.None(), error.into_value(py).into_any()),
        };
        let arguments = (handover.bind(py), self.future, value, error);
        // Fails only if the loop was closed meanwhile; then nobody waits any more.
        drop(self.event_loop.call_method1(py, "call_soon_threadsafe", arguments));
    }
}

/// Called when the future is done, cancelled or not: an ended task does not mind.
#[pyclass(frozen)]
struct Cancel(AbortHandle);

#[pymethods]
impl Cancel {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}
