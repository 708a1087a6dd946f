"""The client whose calls are awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _call, _xdt, codecs
from ._client import MOST_CONCURRENT, _part
from ._memory import AsyncBuffer, Object
from ._reference import Reference
from ._response import AsyncStreamedResponse, Response
from ._streams import AsyncReader
from .exceptions import XdtError

if TYPE_CHECKING:
    import numpy
    from typing_extensions import Self

    from . import _types

T = TypeVar("T")
U = TypeVar("U")


class AsyncClient:
    """As :class:`xdt.Client`, with every verb as a coroutine. One client may serve many event loops and threads.

    Cancelling a coroutine ends its call: an upload breaks off, a download gives its retrieval back.
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

    async def put(
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
        """As :meth:`xdt.Client.put`. A file is read on other threads."""
        data = _call.watched(data, progress)
        terms = _call.terms(retrievals, content_type, metadata, ttl)
        if not _call.repeatable(data):
            return Reference(await self._raw.put_async(data, terms, timeout))
        return Reference(await self._repeat(lambda: self._raw.put_async(data, terms, timeout)))

    async def get(self, reference: str, *, timeout: float | None = None) -> Object:
        """As :meth:`xdt.Client.get`."""
        return await self._repeat(lambda: self._raw.get_async(reference, None, timeout))

    async def get_range(
        self, reference: str, start: int, stop: int | None = None, *, final: bool = False, timeout: float | None = None
    ) -> Object:
        """As :meth:`xdt.Client.get_range`."""
        part = _part(start, stop, final)
        return await self._repeat(lambda: self._raw.get_async(reference, part, timeout))

    async def open(
        self, reference: str, *, timeout: float | None = None, progress: _types.Progress | None = None
    ) -> AsyncReader:
        """As :meth:`xdt.Client.open`."""
        return AsyncReader(await self._repeat(lambda: self._raw.open_async(reference, None, timeout)), progress)

    async def create(self, size: int) -> AsyncBuffer:
        """As :meth:`xdt.Client.create`."""
        return await self._raw.create_async(size)

    async def invoke(
        self,
        url: str,
        data: _types.Data | None = None,
        *,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Response:
        """As :meth:`xdt.Client.invoke`."""
        call = _call.request(url, data, method, headers, content_type)
        if not _call.repeatable(data):
            return Response(await self._raw.invoke_async(call, False, timeout))
        return Response(await self._repeat(lambda: self._raw.invoke_async(call, False, timeout)))

    async def stream(
        self,
        url: str,
        data: _types.Data | None = None,
        *,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> AsyncStreamedResponse:
        """As :meth:`xdt.Client.stream`."""
        call = _call.request(url, data, method, headers, content_type)
        return AsyncStreamedResponse(await self._raw.invoke_async(call, True, timeout))

    async def delete(self, reference: str, *, timeout: float | None = None) -> None:
        """As :meth:`xdt.Client.delete`."""
        await self._raw.delete_async(reference, timeout)

    async def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """As :meth:`xdt.Client.status`."""
        return _call.parsed(await self._repeat(lambda: self._raw.status_async(timeout)))

    # Values.

    async def put_value(
        self,
        value: Any,
        retrievals: int = 1,
        *,
        codec: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Reference:
        """As :meth:`xdt.Client.put_value`."""
        encoded = codecs.encode(value, codec, metadata)
        kind, attached = encoded.content_type, encoded.metadata
        if encoded.fill is None:
            return await self.put(
                encoded.data, retrievals, content_type=kind, metadata=attached, ttl=ttl, timeout=timeout
            )
        buffer = await self.create(encoded.size)
        await asyncio.get_running_loop().run_in_executor(None, encoded.fill, memoryview(buffer))
        return await buffer.put(retrievals, content_type=kind, metadata=attached, ttl=ttl)

    async def get_value(self, reference: str, *, allow_pickle: bool = False, timeout: float | None = None) -> Any:
        """As :meth:`xdt.Client.get_value`."""
        return codecs.decode(await self.get(reference, timeout=timeout), allow_pickle=allow_pickle)

    async def put_numpy(self, array: numpy.ndarray[Any, Any], retrievals: int = 1, **terms: Any) -> Reference:
        """As :meth:`xdt.Client.put_numpy`."""
        return await self.put_value(array, retrievals, codec="numpy", **terms)

    async def get_numpy(self, reference: str, *, timeout: float | None = None) -> numpy.ndarray[Any, Any]:
        """As :meth:`xdt.Client.get_numpy`."""
        return codecs.as_numpy(await self.get(reference, timeout=timeout))

    # Many at once.

    async def map(
        self,
        url: str,
        items: Iterable[_types.Data],
        *,
        concurrency: int = 8,
        method: str = "POST",
        headers: _types.Headers | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Response]:
        """As :meth:`xdt.Client.map`: ``async for response in client.map(url, items)``."""

        def call(item: _types.Data) -> Awaitable[Response]:
            return self.invoke(url, item, method=method, headers=headers, content_type=content_type, timeout=timeout)

        width = _call.count("concurrency", concurrency, MOST_CONCURRENT)
        async for response in _in_order(call, items, width):
            yield response

    async def gather(
        self, references: Iterable[str], *, concurrency: int = 8, timeout: float | None = None
    ) -> list[Object]:
        """As :meth:`xdt.Client.gather`."""
        width = _call.count("concurrency", concurrency, MOST_CONCURRENT)
        objects = _in_order(lambda reference: self.get(reference, timeout=timeout), references, width)
        return [found async for found in objects]

    # Life.

    @property
    def closed(self) -> bool:
        """Whether :meth:`aclose` was called."""
        return self._raw.closed

    async def aclose(self) -> None:
        """As :meth:`xdt.Client.close`."""
        self._raw.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<xdt.{type(self).__name__}{', closed' if self.closed else ''}>"

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(self._retries):
            try:
                return await call()
            except XdtError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(_call.pause(error, attempt))
        return await call()


async def _in_order(call: Callable[[U], Awaitable[T]], items: Iterable[U], width: int) -> AsyncIterator[T]:
    waiting: deque[asyncio.Future[T]] = deque()
    try:
        for item in items:
            waiting.append(asyncio.ensure_future(call(item)))
            if len(waiting) == width:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
