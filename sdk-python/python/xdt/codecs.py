"""Values as objects: how arrays, tables, JSON and bytes are written, and read back without a copy.

A codec is known by its name, which travels in the object's metadata (``codec``), so that :meth:`xdt.Client.get_value`
needs no hint. Four are here; :func:`register` adds others::

    class Image:
        name = "image"
        def handles(self, value): return isinstance(value, PIL.Image.Image)
        def encode(self, value): return codecs.Encoded(value.tobytes(), "image/x-raw", {"size": json.dumps(value.size)})
        def decode(self, obj): return PIL.Image.frombuffer("RGB", tuple(json.loads(obj.metadata["size"])), obj)
    codecs.register(Image())

Pickle runs code of whoever made the object. It is never chosen by itself: ``codec="pickle"`` asks for it, with a
warning, and ``get_value`` opens it only with ``allow_pickle=True``.
"""

from __future__ import annotations

import json
import pickle
import struct
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Protocol

from ._memory import Buffer, Object
from ._reference import Reference

if TYPE_CHECKING:
    import numpy

__all__ = ["ArrayBuffer", "Codec", "Encoded", "PickleWarning", "decode", "encode", "names", "register"]

#: Name of the metadata item that holds the codec's name.
KEY = "codec"
#: Content type of a numpy array's bytes.
NUMPY_TYPE = "application/x-numpy-bytes"
#: Content type of an Arrow stream (registered at IANA).
ARROW_TYPE = "application/vnd.apache.arrow.stream"


class PickleWarning(UserWarning):
    """A value was pickled: whoever reads it runs whatever code the writer chose."""


@dataclass
class Encoded:
    """A value in the form of an object.

    Either ``data``, or ``size`` and ``fill``, which writes the value to memory of that size: it then goes straight
    into memory that the sidecar shares.
    """

    data: Any = b""
    content_type: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    size: int = 0
    fill: Callable[[memoryview], object] | None = None


class Codec(Protocol):
    """Writes and reads values of one kind."""

    #: How the object says which codec reads it: lower-case letters, digits and ``-``.
    name: str

    def handles(self, value: Any) -> bool:
        """Whether this codec is for ``value``, if the caller names none."""

    def encode(self, value: Any) -> Encoded:
        """The value as an object."""

    def decode(self, obj: Object) -> Any:
        """The object as a value."""


_codecs: dict[str, Codec] = {}


def register(codec: Codec) -> None:
    """Adds a codec; it is asked before those that were there. A name is taken once."""
    if not isinstance(codec.name, str) or not codec.name.replace("-", "").isalnum() or codec.name != codec.name.lower():
        raise ValueError("codec: its name must be made of lower-case letters, digits and -")
    if codec.name in _codecs:
        raise ValueError(f"codec: the name {codec.name} is taken")
    _codecs[codec.name] = codec


def names() -> list[str]:
    """The codecs there are."""
    return sorted(_codecs)


def encode(value: Any, codec: str | None, metadata: Mapping[str, str] | None = None) -> Encoded:
    """``value`` as an object, written by the codec of this name, or by the first that is for it."""
    chosen = _chosen(value) if codec is None else _named(codec)
    encoded = chosen.encode(value)
    return Encoded(
        encoded.data,
        encoded.content_type,
        {**(metadata or {}), **encoded.metadata, KEY: chosen.name},
        encoded.size,
        encoded.fill,
    )


def decode(obj: Object, *, allow_pickle: bool = False) -> Any:
    """The value of an object; one that no codec wrote is read by its content type (JSON), else given as it is."""
    name = obj.metadata.get(KEY)
    if name is None:
        media = (obj.content_type or "").partition(";")[0].strip()
        return obj.json() if media == "application/json" else obj
    if name == Pickle.name and not allow_pickle:
        raise ValueError("allow_pickle: this object is a pickle, which runs code of its maker; pass allow_pickle=True")
    return _named(name).decode(obj)


def _named(name: str) -> Codec:
    if name not in _codecs:
        raise ValueError(f"codec: {name!r} is not registered; there are {', '.join(names())}")
    return _codecs[name]


def _chosen(value: Any) -> Codec:
    for codec in reversed(_codecs.values()):
        if codec.handles(value):
            return codec
    raise TypeError(
        f"value: no codec is for {type(value).__name__}; there are {', '.join(names())} (pickle only by codec='pickle')"
    )


class Json:
    """Whatever JSON can say."""

    name = "json"

    def handles(self, value: Any) -> bool:
        return value is None or isinstance(value, (dict, list, str, int, float, bool))

    def encode(self, value: Any) -> Encoded:
        try:
            text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"value: JSON cannot say this: {error}") from None
        return Encoded(text.encode(), "application/json")

    def decode(self, obj: Object) -> Any:
        return obj.json()


class Raw:
    """Bytes as they are; read back as :class:`xdt.Object`."""

    name = "bytes"

    def handles(self, value: Any) -> bool:
        return isinstance(value, (bytes, bytearray, memoryview, Object))

    def encode(self, value: Any) -> Encoded:
        return Encoded(value)

    def decode(self, obj: Object) -> Any:
        return obj


class Numpy:
    """Arrays, with dtype, shape and order as ``numpy.save`` keeps them, in the object's metadata."""

    name = "numpy"

    def handles(self, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))

    def encode(self, value: Any) -> Encoded:
        import numpy

        array = numpy.asarray(value)
        if array.dtype.hasobject:
            raise TypeError(
                f"array: dtype {array.dtype} holds Python objects; use a dtype of numbers, or codec='pickle'"
            )
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        described = {
            "numpy-dtype": json.dumps(numpy.lib.format.dtype_to_descr(array.dtype)),
            "numpy-shape": json.dumps(array.shape),
            "numpy-order": "F" if fortran else "C",
        }
        data = numpy.ascontiguousarray(array.T if fortran else array)
        return Encoded(data.reshape(-1).view(numpy.uint8), NUMPY_TYPE, described)

    def decode(self, obj: Object) -> Any:
        return as_numpy(obj)


def as_numpy(obj: Object) -> numpy.ndarray[Any, Any]:
    """The array that an object is: read-only, over its memory."""
    import numpy

    metadata = obj.metadata
    try:
        described = json.loads(metadata["numpy-dtype"])
        shape = tuple(json.loads(metadata["numpy-shape"]))
        order = metadata["numpy-order"]
    except KeyError as missing:
        raise ValueError(f"reference: this object is no numpy array (its metadata has no {missing.args[0]})") from None
    dtype = numpy.lib.format.descr_to_dtype(_tuples(described))
    if dtype.hasobject or order not in ("C", "F"):
        raise ValueError("reference: this object is no numpy array of numbers")
    count = 1
    for extent in shape:
        count *= int(extent)
    if count * dtype.itemsize != len(obj):
        raise ValueError(f"reference: {len(obj)} bytes are no array of shape {shape} and dtype {dtype}")
    flat = numpy.frombuffer(memoryview(obj), dtype, count) if len(obj) else numpy.empty(count, dtype)
    array: numpy.ndarray[Any, Any] = flat.reshape(shape, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def _tuples(described: Any) -> Any:
    """JSON has no tuples, and numpy's descriptions of structures want them."""
    if isinstance(described, list):
        return [tuple(_field(part) for part in item) for item in described]
    return described


def _field(part: Any) -> Any:
    if isinstance(part, list):
        return _tuples(part) if part and isinstance(part[0], list) else tuple(part)
    return part


class Arrow:
    """Tables and record batches as an Arrow IPC stream, if pyarrow is installed."""

    name = "arrow"

    def handles(self, value: Any) -> bool:
        pyarrow = sys.modules.get("pyarrow")
        return pyarrow is not None and isinstance(value, (pyarrow.Table, pyarrow.RecordBatch))

    def encode(self, value: Any) -> Encoded:
        import pyarrow

        table = pyarrow.Table.from_batches([value]) if isinstance(value, pyarrow.RecordBatch) else value

        def write(sink: Any) -> None:
            with pyarrow.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)

        counted = pyarrow.MockOutputStream()
        write(counted)

        def fill(memory: memoryview) -> None:
            with pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(memory)) as sink:
                write(sink)

        return Encoded(content_type=ARROW_TYPE, size=counted.size(), fill=fill)

    def decode(self, obj: Object) -> Any:
        import pyarrow

        return pyarrow.ipc.open_stream(pyarrow.py_buffer(obj)).read_all()


class Pickle:
    """Any Python value, with large buffers beside the pickle (protocol 5), so that they are read without a copy.

    Layout: ``XDTP``, number of buffers and length of the pickle (64 bits each, little endian), lengths of the buffers,
    the pickle, then each buffer at a multiple of 64.
    """

    name = "pickle"

    def handles(self, value: Any) -> bool:
        return False

    def encode(self, value: Any) -> Encoded:
        warnings.warn("pickle: whoever reads this object runs code that its maker chose", PickleWarning, stacklevel=4)
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        head = struct.pack(f"<4sQQ{len(views)}Q", b"XDTP", len(views), len(pickled), *(view.nbytes for view in views))
        places, end = [], len(head) + len(pickled)
        for view in views:
            places.append(-(-end // 64) * 64)
            end = places[-1] + view.nbytes

        def fill(memory: memoryview) -> None:
            memory[: len(head)] = head
            memory[len(head) : len(head) + len(pickled)] = pickled
            for place, view in zip(places, views):
                memory[place : place + view.nbytes] = view

        return Encoded(content_type="application/x-python-pickle", size=end, fill=fill)

    def decode(self, obj: Object) -> Any:
        memory = memoryview(obj)
        head = struct.calcsize("<4sQQ")
        magic, count, length = struct.unpack_from("<4sQQ", memory) if len(memory) >= head else (b"", 0, 0)
        start = head + 8 * count
        if magic != b"XDTP" or start + length > len(memory):
            raise ValueError("reference: this object is no pickle of xdt.codecs")
        lengths = struct.unpack_from(f"<{count}Q", memory, head)
        pickled, end, buffers = memory[start : start + length], start + length, []
        for size in lengths:
            place = -(-end // 64) * 64
            end = place + size
            buffers.append(memory[place:end])
        return pickle.loads(pickled, buffers=buffers)


class ArrayBuffer:
    """A numpy array that is built in place: fill :attr:`array`, then :meth:`put` it without a copy."""

    def __init__(self, buffer: Buffer, array: numpy.ndarray[Any, Any]) -> None:
        #: The memory.
        self.buffer = buffer
        #: The array over it, all zero at first.
        self.array = array

    def put(
        self, retrievals: int = 1, *, metadata: Mapping[str, str] | None = None, ttl: float | None = None
    ) -> Reference:
        """Makes the array, as it is now, an object for :meth:`xdt.Client.get_numpy`."""
        import numpy

        described = {
            KEY: Numpy.name,
            "numpy-dtype": json.dumps(numpy.lib.format.dtype_to_descr(self.array.dtype)),
            "numpy-shape": json.dumps(self.array.shape),
            "numpy-order": "C",
        }
        return self.buffer.put(retrievals, content_type=NUMPY_TYPE, metadata={**(metadata or {}), **described}, ttl=ttl)


def array_buffer(create: Callable[[int], Buffer], shape: int | tuple[int, ...], dtype: Any) -> ArrayBuffer:
    """An :class:`ArrayBuffer` of this shape and dtype."""
    import numpy

    wanted = numpy.dtype(dtype)
    if wanted.hasobject:
        raise TypeError(f"dtype: {wanted} holds Python objects; use a dtype of numbers")
    extents = (shape,) if isinstance(shape, int) else tuple(shape)
    count = 1
    for extent in extents:
        if not isinstance(extent, int) or extent < 0:
            raise ValueError("shape: must be whole numbers from 0 up")
        count *= extent
    buffer = create(count * wanted.itemsize)
    flat = (
        numpy.frombuffer(memoryview(buffer), wanted, count) if count * wanted.itemsize else numpy.empty(count, wanted)
    )
    return ArrayBuffer(buffer, flat.reshape(extents))


for _codec in (Pickle(), Json(), Raw(), Arrow(), Numpy()):
    register(_codec)
