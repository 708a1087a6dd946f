"""``httpx`` over XDT: requests of any size, with httpx's own clients, responses and exceptions.

::

    with httpx.Client(transport=xdt.httpx.XdtTransport()) as client:
        client.post("http://consumer.default.svc.cluster.local/", content=big)

    httpx.AsyncClient(transport=xdt.httpx.AsyncXdtTransport())
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from . import exceptions
from ._async import AsyncClient
from ._client import Client
from ._response import AsyncStreamedResponse, StreamedResponse

__all__ = ["AsyncXdtTransport", "XdtTransport"]

#: Follow from the body, or belong to the connection.
_OWN = ("content-length", "transfer-encoding", "connection", "host")


class XdtTransport(httpx.BaseTransport):
    """Sends requests through the sidecar; ``client`` is by default one that finds it by the environment."""

    def __init__(self, client: Client | None = None) -> None:
        self._client = client or Client()
        self._owned = client is None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._client.stream(
                str(request.url),
                _payload(request.stream),
                method=request.method,
                headers=_headers(request),
                timeout=_limit(request),
            )
        except exceptions.XdtError as error:
            raise _mapped(error, request) from error
        return httpx.Response(answer.status, headers=answer.headers.lines, stream=_Body(answer, request))

    def close(self) -> None:
        if self._owned:
            self._client.close()


class AsyncXdtTransport(httpx.AsyncBaseTransport):
    """As :class:`XdtTransport`, for ``httpx.AsyncClient``."""

    def __init__(self, client: AsyncClient | None = None) -> None:
        self._client = client or AsyncClient()
        self._owned = client is None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # What is sent is read first: the compiled half reads files of threads, not of an event loop.
        content = await request.aread()
        try:
            answer = await self._client.stream(
                str(request.url), content, method=request.method, headers=_headers(request), timeout=_limit(request)
            )
        except exceptions.XdtError as error:
            raise _mapped(error, request) from error
        return httpx.Response(answer.status, headers=answer.headers.lines, stream=_AsyncBody(answer, request))

    async def aclose(self) -> None:
        if self._owned:
            await self._client.aclose()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: StreamedResponse, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.body
        except exceptions.XdtError as error:
            raise _mapped(error, self._request) from error

    def close(self) -> None:
        self._answer.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, answer: AsyncStreamedResponse, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.body:
                yield piece
        except exceptions.XdtError as error:
            raise _mapped(error, self._request) from error

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Pieces:
    """A stream of httpx as a file."""

    def __init__(self, stream: Any) -> None:
        self._pieces = iter(stream)

    def read(self, size: int = -1, /) -> bytes:
        return next((piece for piece in self._pieces if piece), b"")


def _payload(stream: Any) -> Any:
    # httpx keeps bytes in a stream of one piece; as memory they can travel inline and be sent again.
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream)
    return _Pieces(stream)


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.headers.multi_items() if name.lower() not in _OWN]


def _limit(request: httpx.Request) -> float | None:
    limit: float | None = request.extensions.get("timeout", {}).get("read")
    return limit


def _mapped(error: exceptions.XdtError, request: httpx.Request) -> httpx.TransportError:
    if isinstance(error, exceptions.Timeout):
        return httpx.ReadTimeout(str(error), request=request)
    if isinstance(error, exceptions.SidecarUnavailable) or error.word == "unreachable":
        return httpx.ConnectError(str(error), request=request)
    return httpx.RemoteProtocolError(str(error), request=request)
