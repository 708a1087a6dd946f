"""The client whose calls wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _call, _xdt, codecs
from ._memory import Buffer, Object
from ._reference import Reference
from ._response import Response, StreamedResponse
from ._streams import Reader, Writer
from .exceptions import XdtError

if TYPE_CHECKING:
    import numpy
    from typing_extensions import Self

    from . import _types
    from .codecs import ArrayBuffer

T = TypeVar("T")
U = TypeVar("U")
#: Most calls that :meth:`Client.map` and :meth:`Client.gather` may have under way.
MOST_CONCURRENT = 256


class Client:
    """A function's connection to its own sidecar, which it finds by itself (``XDT_LOCAL_SOCKET``,
    ``XDT_LOCAL_ADDRESS``).

    Connects at the first call, so it can be made while the sidecar still starts. Share one between threads; make one
    per process: after a fork the child must make its own (``RuntimeError`` says so). Waiting holds no interpreter
    lock, and Ctrl-C ends it.

    :param timeout: seconds that one call may take, and that a sender may then be silent (0.001 to 86400; default 300).
    :param retries: how often a call is repeated that failed in a way which is safe to repeat (``XdtError.retryable``).
    :param local_address: ``host:port`` of the sidecar's local HTTP API, instead of the environment's.
    :param local_socket: name of its local socket, with a leading ``@``.
    :param egress_address: ``host:port`` of its egress proxy.
    :param transport: ``"http"`` for the HTTP API only.
    :param inline_limit: bytes up to which the data of an invoke travels inside the call (default ``XDT_INLINE_LIMIT``).
    :param memory_limit: most bytes that one get may hold in memory (default 16 GiB).
    :param max_idle_connections: connections kept while no call uses them (default 16).
    :raises ValueError: if a setting, or a variable of the environment, does not parse; it is named.
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        local_address: str | None = None,
        local_socket: str | None = None,
        egress_address: str | None = None,
        transport: str | None = None,
        inline_limit: int | None = None,
        memory_limit: int | None = None,
        max_idle_connections: int | None = None,
    ) -> None:
        self._retries = _call.count("retries", retries, _call.MOST_RETRIES, least=0)
        self._raw = _xdt.RawClient(
            _call.settings(
                timeout=timeout,
                local_address=local_address,
                local_socket=local_socket,
                egress_address=egress_address,
                transport=transport,
                inline_limit=inline_limit,
                memory_limit=memory_limit,
                max_idle_connections=max_idle_connections,
            )
        )

    # The verbs.

    def put(
        self,
        data: _types.Data,
        retrievals: int = 1,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
        progress: _types.Progress | None = None,
    ) -> Reference:
        """Puts an object: its bytes stay in this instance, and the reference is all that travels.

        :param data: anything with the buffer protocol (bytes, bytearray, memoryview, numpy array, Arrow buffer), or a
            binary file, which is read to its end.
        :param retrievals: complete gets after which the object is freed, 1 to 65535.
        :param content_type: what consumers see, such as ``application/json``.
        :param metadata: visible ASCII, 8 KiB in all; names become lower case.
        :param ttl: seconds that the object may wait for its retrievals; the sidecar shortens it to its own limit.
        :param timeout: seconds that this call may take.
        :param progress: for files: called with the bytes read so far and all there are.
        :raises xdt.TooLarge, xdt.Busy, xdt.Draining, xdt.BadRequest, xdt.SidecarUnavailable, xdt.TransferBroken,
            xdt.Timeout: as ``docs/python.md`` explains.
        """
        data = _call.watched(data, progress)
        terms = _call.terms(retrievals, content_type, metadata, ttl)
        if self._retries and _call.repeatable(data):
            return Reference(self._repeat(lambda: self._raw.put(data, terms, timeout)))
        return Reference(self._raw.put(data, terms, timeout))

    def get(self, reference: str, *, timeout: float | None = None) -> Object:
        """Gets the object behind ``reference``, whole and verified. This is one retrieval.

        :raises xdt.ReferenceInvalid, xdt.WrongTenant, xdt.ObjectGone, xdt.Busy, xdt.ProducerUnreachable,
            xdt.TransferBroken, xdt.Timeout, xdt.TooLarge, xdt.SidecarUnavailable: as ``docs/python.md`` explains.
        """
        if self._retries:
            return self._repeat(lambda: self._raw.get(reference, None, timeout))
        return self._raw.get(reference, None, timeout)

    def get_range(
        self, reference: str, start: int, stop: int | None = None, *, final: bool = False, timeout: float | None = None
    ) -> Object:
        """Gets bytes ``start`` to ``stop`` (to the end without ``stop``). No retrieval, unless ``final``."""
        part = _part(start, stop, final)
        return self._repeat(lambda: self._raw.get(reference, part, timeout))

    def open(self, reference: str, *, timeout: float | None = None, progress: _types.Progress | None = None) -> Reader:
        """Opens the object behind ``reference`` to be read as it arrives. Reading it to the end is one retrieval.

        :param timeout: seconds for the opening, and then for each silence.
        :param progress: called with the bytes read so far and all there are.
        """
        return Reader(self._repeat(lambda: self._raw.open(reference, None, timeout)), progress)

    def create(self, size: int) -> Buffer:
        """Memory of ``size`` bytes, all zero, in which to build an object that is then put without a copy.

        :raises xdt.TooLarge: if the system has no memory for it.
        """
        return self._raw.create(size)

    def writer(
        self,
        retrievals: int = 1,
        *,
        size: int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Writer:
        """A file to write an object to, piece by piece; its ``reference`` is known when it is closed.

        :param size: all bytes that will be written, if known: the sidecar then reserves them at once.
        """
        terms = _call.terms(retrievals, content_type, metadata, ttl)
        return Writer(self._raw.writer(size, terms, timeout))

    def invoke(
        self,
        url: str,
        data: _types.Data | None = None,
        *,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Calls the function at ``url`` with ``data`` by value, of any size, and waits for its whole answer.

        Small data travels inside the call, larger by reference through the sidecar; the function sees an ordinary
        request either way. A call is sent once: it is repeated (``retries``) only where the function cannot have run.

        :raises xdt.XdtError: an answer that carries an error word; other failing statuses are answers.
        """
        call = _call.request(url, data, method, headers, content_type)
        if self._retries and _call.repeatable(data):
            return Response(self._repeat(lambda: self._raw.invoke(call, False, timeout)))
        return Response(self._raw.invoke(call, False, timeout))

    def stream(
        self,
        url: str,
        data: _types.Data | None = None,
        *,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> StreamedResponse:
        """As :meth:`invoke`, but returns at the head of the answer; ``response.body`` is a reader."""
        call = _call.request(url, data, method, headers, content_type)
        return StreamedResponse(self._raw.invoke(call, True, timeout))

    def delete(self, reference: str, *, timeout: float | None = None) -> None:
        """Frees the object behind ``reference`` early; running gets complete. Any instance of the tenant may."""
        self._raw.delete(reference, timeout)

    def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The sidecar's counts; also a way to see whether it is there."""
        return _call.parsed(self._repeat(lambda: self._raw.status(timeout)))

    # Values.

    def put_value(
        self,
        value: Any,
        retrievals: int = 1,
        *,
        codec: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Reference:
        """Puts a value: a numpy array, an Arrow table, bytes, or whatever JSON can say (see :mod:`xdt.codecs`)."""
        encoded = codecs.encode(value, codec, metadata)
        kind, attached = encoded.content_type, encoded.metadata
        if encoded.fill is None:
            return self.put(encoded.data, retrievals, content_type=kind, metadata=attached, ttl=ttl, timeout=timeout)
        buffer = self.create(encoded.size)
        encoded.fill(memoryview(buffer))
        return buffer.put(retrievals, content_type=kind, metadata=attached, ttl=ttl)

    def get_value(self, reference: str, *, allow_pickle: bool = False, timeout: float | None = None) -> Any:
        """Gets what :meth:`put_value` put. Arrays and tables are views of the object's memory, without a copy."""
        return codecs.decode(self.get(reference, timeout=timeout), allow_pickle=allow_pickle)

    def put_numpy(self, array: numpy.ndarray[Any, Any], retrievals: int = 1, **terms: Any) -> Reference:
        """Puts a numpy array with its dtype and shape; arguments as of :meth:`put_value`."""
        return self.put_value(array, retrievals, codec="numpy", **terms)

    def get_numpy(self, reference: str, *, timeout: float | None = None) -> numpy.ndarray[Any, Any]:
        """Gets a numpy array, read-only, over the object's own memory."""
        return codecs.as_numpy(self.get(reference, timeout=timeout))

    def create_numpy(self, shape: int | tuple[int, ...], dtype: Any = "float64") -> ArrayBuffer:
        """An array to be filled in place (``.array``) and put without a copy (``.put()``)."""
        return codecs.array_buffer(self.create, shape, dtype)

    # Many at once.

    def map(
        self,
        url: str,
        items: Iterable[_types.Data],
        *,
        concurrency: int = 8,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Response]:
        """Scatter: one :meth:`invoke` of ``url`` for each of ``items``; gives the answers in their order.

        At most ``concurrency`` (1 to 256) calls are under way or waiting to be taken. The first error ends it.
        """

        def call(item: _types.Data) -> Response:
            return self.invoke(url, item, method=method, headers=headers, content_type=content_type, timeout=timeout)

        return _in_order(call, items, _call.count("concurrency", concurrency, MOST_CONCURRENT))

    def gather(self, references: Iterable[str], *, concurrency: int = 8, timeout: float | None = None) -> list[Object]:
        """Gets many objects, at most ``concurrency`` (1 to 256) at a time, in the order of their references."""
        width = _call.count("concurrency", concurrency, MOST_CONCURRENT)
        return list(_in_order(lambda reference: self.get(reference, timeout=timeout), references, width))

    # Life.

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._raw.closed

    def close(self) -> None:
        """Closes the connections. Objects that were put stay; objects and buffers that were got stay usable."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<xdt.{type(self).__name__}{', closed' if self.closed else ''}>"

    def _repeat(self, call: Callable[[], T]) -> T:
        for attempt in range(self._retries):
            try:
                return call()
            except XdtError as error:
                if not error.retryable:
                    raise
                threading.Event().wait(_call.pause(error, attempt))
        return call()


def _part(start: int, stop: int | None, final: bool) -> tuple[int, int | None, bool]:
    _call.count("start", start, 2**63 - 1, least=0)
    if stop is not None:
        _call.count("stop", stop, 2**63 - 1)
    return (start, stop, bool(final))


def _in_order(call: Callable[[U], T], items: Iterable[U], width: int) -> Iterator[T]:
    source = iter(items)
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(width, thread_name_prefix="xdt-map")
    try:
        for item in source:
            waiting.append(pool.submit(call, item))
            if len(waiting) == width:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
