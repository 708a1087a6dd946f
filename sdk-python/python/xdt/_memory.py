"""Objects and buffers: memory that is shared with the sidecar, through Python's buffer protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, final

from . import _xdt
from ._reference import Reference


@final
class Object(_xdt.ObjectBase):
    """The bytes of one object, complete and verified, as read-only memory.

    ``memoryview(obj)``, ``numpy.frombuffer(obj, dtype)``, ``pyarrow.py_buffer(obj)`` and ``file.write(obj)`` use the
    memory itself, without a copy; ``bytes(obj)`` copies. The memory begins at a multiple of 64 and lives as long as
    anything views it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<xdt.Object of {len(self)} bytes, {self.content_type}>"

    def __getitem__(self, index: Any) -> Any:
        """A byte as ``int``, or a slice as ``memoryview`` (no copy)."""
        return memoryview(self)[index]

    def text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The bytes as text."""
        return str(memoryview(self), encoding, errors)

    def json(self) -> Any:
        """The value of the bytes as JSON."""
        return json.loads(bytes(self))


class _Filled(_xdt.BufferBase):
    """What both kinds of buffer share."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<xdt.{type(self).__name__} of {len(self)} bytes{', put' if self.was_put else ''}>"


@final
class Buffer(_Filled):
    """Writable memory in which an object is built in place; its :meth:`put` copies nothing.

    Fill it through ``memoryview(buffer)``, ``numpy.frombuffer(buffer, dtype)`` or ``file.readinto(buffer)``. At first
    all bytes are zero. After the put, views of it stay valid, but what is written to them no longer reaches the object.
    """

    __slots__ = ()

    def put(
        self,
        retrievals: int = 1,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Reference:
        """Makes the bytes, as they are now, an object. Once only; arguments and errors as of :meth:`xdt.Client.put`."""
        return Reference(self.raw_put((retrievals, content_type, plain(metadata), ttl)))


@final
class AsyncBuffer(_Filled):
    """As :class:`xdt.Buffer`, with a :meth:`put` to be awaited."""

    __slots__ = ()

    async def put(
        self,
        retrievals: int = 1,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Reference:
        """Makes the bytes, as they are now, an object. Once only; arguments and errors as of :meth:`xdt.Client.put`."""
        return Reference(await self.raw_put_async((retrievals, content_type, plain(metadata), ttl)))


def plain(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    """``metadata`` as the compiled half wants it."""
    if metadata is None or type(metadata) is dict:
        return metadata
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata: must be a mapping of str to str, not {type(metadata).__name__}")
    return dict(metadata)
