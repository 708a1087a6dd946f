"""XDT for functions in Python: objects of any size move straight between instances, and only a reference travels.

>>> import xdt
>>> client = xdt.Client()                       # finds the sidecar of this instance by itself
>>> reference = client.put(b"large")            # the bytes stay here; the reference goes to any function, as text
>>> obj = client.get(reference)                 # over there: read-only memory, numpy.frombuffer(obj) without a copy
>>> answer = client.invoke("http://consumer.default.svc.cluster.local/", b"large")   # or: a call by value

:class:`Client` waits, :class:`AsyncClient` is awaited. ``docs/python.md`` is the tutorial.
"""

from __future__ import annotations

from ._async import AsyncClient
from ._client import Client
from ._memory import AsyncBuffer, Buffer, Object
from ._reference import Reference
from ._response import AsyncStreamedResponse, Response, ResponseHeaders, StreamedResponse
from ._streams import AsyncReader, Reader, Writer
from ._xdt import __version__
from .exceptions import (
    BadRequest,
    Busy,
    Draining,
    ObjectGone,
    ProducerUnreachable,
    ReferenceInvalid,
    SidecarUnavailable,
    Timeout,
    TooLarge,
    TransferBroken,
    WrongTenant,
    XdtError,
)

__all__ = [
    "AsyncBuffer",
    "AsyncClient",
    "AsyncReader",
    "AsyncStreamedResponse",
    "BadRequest",
    "Buffer",
    "Busy",
    "Client",
    "Draining",
    "Object",
    "ObjectGone",
    "ProducerUnreachable",
    "Reader",
    "Reference",
    "ReferenceInvalid",
    "Response",
    "ResponseHeaders",
    "SidecarUnavailable",
    "StreamedResponse",
    "Timeout",
    "TooLarge",
    "TransferBroken",
    "Writer",
    "WrongTenant",
    "XdtError",
    "__version__",
]
