//! The buffer protocol, both ways: memory of Python objects read here, and memory of ours shown to Python.
//!
//! All `unsafe` code of this crate. The buffer functions and slots have been the same in every CPython since 3.9; the
//! stable ABI lists them since 3.11 only, which is why PyO3 does not offer them in an `abi3-py39` build and they are
//! declared here (PEP 3118; CPython `Include/pybuffer.h`, `Include/typeslots.h`). `tests/test_buffers.py` runs on every
//! supported Python that the machine has.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr::null_mut,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use pyo3::{
    PyClass,
    exceptions::{PyBufferError, PyTypeError, PyValueError},
    ffi,
    prelude::*,
    pyclass::boolean_struct::True,
    types::{PyTuple, PyType},
};

/// `Py_buffer` of `Include/pybuffer.h`.
#[repr(C)]
struct RawView {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: ffi::Py_ssize_t,
    itemsize: ffi::Py_ssize_t,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    suboffsets: *mut ffi::Py_ssize_t,
    internal: *mut c_void,
}

unsafe extern "C" {
    fn PyObject_CheckBuffer(object: *mut ffi::PyObject) -> c_int;
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut RawView, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawView);
    fn PyBuffer_FillInfo(
        view: *mut RawView,
        object: *mut ffi::PyObject,
        buf: *mut c_void,
        len: ffi::Py_ssize_t,
        readonly: c_int,
        flags: c_int,
    ) -> c_int;
}

/// `PyBUF_SIMPLE`: bytes in one piece.
const SIMPLE: c_int = 0;
/// `PyBUF_WRITABLE`.
const WRITABLE: c_int = 1;
/// `Py_bf_getbuffer` of `Include/typeslots.h`.
const SLOT_GET: c_int = 1;
/// `Py_TPFLAGS_BASETYPE`, without `Py_TPFLAGS_DEFAULT`'s bits, which are all zero in this build.
const BASE_TYPE: c_uint = 1 << 10;
/// Up to this many bytes, a copy costs less than taking the interpreter lock once more to give the memory back.
const COPIED: usize = 64 * 1024;

/// Memory of a Python object, borrowed from it until dropped.
pub(crate) struct Borrowed(Box<RawView>);

// SAFETY: the view was filled by `PyObject_GetBuffer` and belongs to no thread; it is released with the interpreter lock
// held, in `drop`. Test: `test_threads_put_and_get_at_once`.
unsafe impl Send for Borrowed {}
// SAFETY: through a shared reference its fields are only read. Test: as above.
unsafe impl Sync for Borrowed {}

impl Borrowed {
    /// The memory of `object`, in one piece; `None` if it does not have the buffer protocol.
    pub(crate) fn of(object: &Bound<'_, PyAny>, writable: bool) -> PyResult<Option<Self>> {
        // SAFETY: `object` is a live Python object and the interpreter lock is held (`Bound`).
        if unsafe { PyObject_CheckBuffer(object.as_ptr()) } == 0 {
            return Ok(None);
        }
        let mut view = Box::new(RawView {
            buf: null_mut(),
            obj: null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: null_mut(),
            shape: null_mut(),
            strides: null_mut(),
            suboffsets: null_mut(),
            internal: null_mut(),
        });
        let flags = if writable { WRITABLE } else { SIMPLE };
        // SAFETY: as above; `view` is a `Py_buffer` that lives as long as the export, at one address (boxed).
        if unsafe { PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } == 0 {
            return Ok(Some(Self(view)));
        }
        Err(PyErr::fetch(object.py()))
    }

    /// The bytes, for calls that end later; short ones are copied.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.as_ref().len() <= COPIED {
            return Bytes::copy_from_slice(self.as_ref());
        }
        Bytes::from_owner(self)
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.0.len).unwrap_or(0)
    }

    /// Copies to the beginning of memory that was borrowed as writable.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.len());
        debug_assert_eq!(self.0.readonly, 0, "borrowed as writable");
        // SAFETY: the export is writable and has at least `count` bytes; `bytes` is memory of ours, which Python was not
        // given. That other Python threads use the memory meanwhile is their race, as with `socket.recv_into`.
        // Test: `test_readinto_fills_what_it_is_given`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.buf.cast(), count) };
    }
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        let length = self.len();
        if length == 0 || self.0.buf.is_null() {
            return &[];
        }
        // SAFETY: the exporter keeps `len` bytes at `buf` in place until the view is released (PEP 3118). It may let
        // Python code write to them meanwhile; then the object holds either value of each byte, as with `socket.send`.
        // Test: `test_every_kind_of_buffer_arrives`.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), length) }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Without an interpreter (it is ending) there is nobody to give the memory back to.
        Python::try_attach(|_| {
            // SAFETY: the view was filled and is released once, with the interpreter lock held.
            // Test: `test_memory_is_given_back_after_a_put`.
            unsafe { PyBuffer_Release(&raw mut *self.0) };
        });
    }
}

/// Reads an argument that must have the buffer protocol; `None` if it does not.
pub(crate) fn borrow(name: &str, object: &Bound<'_, PyAny>, writable: bool) -> PyResult<Option<Borrowed>> {
    Borrowed::of(object, writable).map_err(|error| {
        let kind = object.get_type();
        let kind = kind
            .name()
            .map_or_else(|_| "object".to_owned(), |name| name.to_string());
        let needed = if writable {
            "writable memory in one piece"
        } else {
            "memory in one piece (C-contiguous)"
        };
        if error.is_instance_of::<PyBufferError>(object.py())
            || error.is_instance_of::<PyValueError>(object.py())
            || error.is_instance_of::<PyTypeError>(object.py())
        {
            return PyValueError::new_err(format!("{name}: must be {needed}; this {kind} is not"));
        }
        error
    })
}

/// A buffer that Python fills: memory that stays where it is until this value is dropped.
pub(crate) struct Filling {
    buffer: Mutex<xdt::Buffer>,
    start: *mut u8,
    length: usize,
}

// SAFETY: `start` points into memory of `buffer`, which is Send; only Python code uses it, under Python's own rules.
// Test: `test_threads_fill_one_buffer`.
unsafe impl Send for Filling {}
// SAFETY: as above; everything else is behind the mutex.
unsafe impl Sync for Filling {}

impl Filling {
    pub(crate) fn new(mut buffer: xdt::Buffer) -> Self {
        let (start, length) = (buffer.as_mut_ptr(), buffer.len());
        Self {
            buffer: Mutex::new(buffer),
            start,
            length,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The put of what the buffer holds now. What Python writes later stays here.
    pub(crate) fn put(&self) -> xdt::Result<xdt::Put> {
        // No Rust reference to the bytes is made here, and the memory keeps its address.
        self.buffer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put_in_place()
    }
}

/// Memory shown to Python for as long as the instance that shows it lives.
pub(crate) enum Memory<'a> {
    ReadOnly(&'a [u8]),
    Writable(&'a Filling),
}

/// A class whose instances show memory. They are frozen: nothing but their end can end a borrow of them, so what they
/// show stays.
pub(crate) trait Shown: PyClass<Frozen = True> + Sync {
    fn memory(&self) -> Memory<'_>;
}

/// A subclass of `T` with the buffer protocol, called `name`.
pub(crate) fn with_buffer_protocol<T: Shown>(py: Python<'_>, name: &'static CStr) -> PyResult<Py<PyType>> {
    let bases = PyTuple::new(py, [py.get_type::<T>()])?; // CPython 3.9 takes nothing else
    let mut slots = [
        ffi::PyType_Slot {
            slot: SLOT_GET,
            pfunc: get_buffer::<T> as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: 0,
            pfunc: null_mut(),
        },
    ];
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: 0, // the base's
        itemsize: 0,
        flags: BASE_TYPE,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: name and slots are ended by zeros; the function has the signature of its slot; CPython copies the spec and
    // keeps only the name, which is static. Test: every test of `test_buffers.py`.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// `bf_getbuffer`. Does nothing that can panic.
unsafe extern "C" fn get_buffer<T: Shown>(object: *mut ffi::PyObject, view: *mut RawView, flags: c_int) -> c_int {
    // SAFETY: CPython calls this with the interpreter lock held.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: `object` is a live instance of a subclass of `T`, the owner of the slot.
    let this = unsafe { Bound::from_borrowed_ptr(py, object) };
    // SAFETY: as above.
    let this = unsafe { this.cast_unchecked::<T>() };
    let (start, length, read_only) = match this.get().memory() {
        Memory::ReadOnly(bytes) => (bytes.as_ptr().cast_mut(), bytes.len(), 1),
        Memory::Writable(filling) => (filling.start, filling.length, 0),
    };
    let length = ffi::Py_ssize_t::try_from(length).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: `view` is CPython's, to be filled; the memory stays as long as `object` lives, to which the view holds a
    // reference from now on. Asked for writable memory that it is not, this raises `BufferError`.
    // Test: `test_memory_lives_as_long_as_its_views`, `test_objects_are_read_only`.
    unsafe { PyBuffer_FillInfo(view, object, start.cast(), length, read_only, flags) }
}
