//! The compiled half of the Python package `xdt`: the verbs of the Rust SDK as classes of the module `xdt._xdt`.
//!
//! `python/xdt/` is the other half, and the only caller: it has the typed surface, the helpers, and the exceptions. A call
//! reads its arguments here with the interpreter lock held ([`arguments`]), then waits without it ([`gate`]). Payload
//! never becomes a Python object on its way: it is read from, and shown as, memory ([`view`]). Holds one runtime per
//! process, and per object one map of memory.

#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands arguments that it made for the call over by value"
)]

mod arguments;
mod buffer;
mod client;
mod error;
mod gate;
mod object;
mod reader;
mod response;
mod source;
mod view;
mod writer;

use pyo3::prelude::*;

/// The module `xdt._xdt`.
#[pymodule]
fn _xdt(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<client::RawClient>()?;
    module.add_class::<reader::RawReader>()?;
    module.add_class::<writer::RawWriter>()?;
    module.add_class::<response::RawResponse>()?;
    module.add("ObjectBase", object::class(module.py())?)?;
    module.add("BufferBase", buffer::class(module.py())?)?;
    Ok(())
}
