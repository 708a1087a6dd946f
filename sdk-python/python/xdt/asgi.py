"""ASGI middleware (FastAPI, Starlette, Quart, …): handlers see ordinary requests, and large answers become references.

::

    app = xdt.asgi.XdtMiddleware(app)                 # or: app.add_middleware(xdt.asgi.XdtMiddleware)

A request with ``Xdt-Reference`` gets the object as its body, streamed as it arrives, with the object's content type and
without any ``Xdt-*`` header; any other passes as it is. If the object cannot be had, the handler is not called and the
answer is ``application/problem+json`` with the error word. If the transfer breaks later, ``receive`` raises the
:class:`xdt.XdtError`: a body never ends cleanly before its end. An answer larger than ``inline_limit`` becomes an
object if the caller allows it (``Xdt-Accept: reference``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable

from . import _server
from ._async import AsyncClient
from ._streams import PIECE, AsyncReader
from .exceptions import BadRequest, TransferBroken, XdtError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Lines = list[tuple[bytes, bytes]]


class XdtMiddleware:
    """Stands around an ASGI application.

    :param app: the application.
    :param client: gets and puts objects; by default one that finds the sidecar by the environment, made at the first
        use.
    :param inline_limit: largest answer in bytes that always travels inline.
    """

    def __init__(
        self, app: App, client: AsyncClient | None = None, *, inline_limit: int = _server.INLINE_LIMIT
    ) -> None:
        self._app = app
        self._client = client
        self._inline_limit = inline_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        lines: Lines = list(scope["headers"])
        references = [value for name, value in lines if name.lower() == _server.REFERENCE.encode()]
        accepted = (_server.ACCEPT.encode(), _server.BY_REFERENCE.encode())
        if any((name.lower(), value.strip().lower()) == accepted for name, value in lines):
            send = _Answer(self, send).message
        if not references:
            return await self._app(scope, receive, send)
        try:
            reader = await self._open(references, lines)
        except XdtError as error:
            return await _refuse(send, error)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            original = {**scope, "headers": _original(lines, reader)}
            await self._app(original, _Body(reader, receive).receive, watched)
        except XdtError as error:
            if started:
                raise
            await _refuse(send, error)
        finally:
            await reader.aclose()

    @property
    def client(self) -> AsyncClient:
        """The client that gets and puts objects."""
        if self._client is None:
            self._client = AsyncClient()
        return self._client

    async def _open(self, references: list[bytes], lines: Lines) -> AsyncReader:
        if len(references) > 1:
            raise BadRequest("a request has at most one reference")
        headers = {name.lower(): value for name, value in lines}
        if b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip() != b"0":
            raise BadRequest("a request has a body or a reference, not both")
        return await self.client.open(references[0].decode("latin-1"))


def _original(lines: Lines, reader: AsyncReader) -> Lines:
    given = next((value.decode("latin-1") for name, value in lines if name.lower() == b"content-type"), None)
    dropped = (b"content-length", b"content-type", b"transfer-encoding")
    kept = [
        (name, value)
        for name, value in lines
        if not name.lower().startswith(_server.PREFIX.encode()) and name.lower() not in dropped
    ]
    told = _server.told_type(reader.content_type, given)
    if told is not None:
        kept.append((b"content-type", told.encode("latin-1")))
    if reader.size is not None:
        kept.append((b"content-length", b"%d" % reader.size))
    return kept


class _Body:
    """The object as the body of the request."""

    def __init__(self, reader: AsyncReader, receive: Receive) -> None:
        self._reader = reader
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()  # waits for the disconnect
        piece = await self._reader.read(PIECE)
        self._ended = not piece
        return {"type": "http.request", "body": piece, "more_body": not self._ended}


class _Answer:
    """The answer on its way, which becomes an object as soon as it is larger than the limit."""

    def __init__(self, middleware: XdtMiddleware, send: Send) -> None:
        self._middleware = middleware
        self._send = send
        self._start: Message | None = None
        self._held: list[bytes] = []
        self._size = 0
        self._writer: Any = None

    async def message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            if any(name.lower() == _server.REFERENCE.encode() for name, _ in message.get("headers", ())):
                await self._pass()  # the handler's own reference
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            await self._body(message.get("body", b""), message.get("more_body", False))

    async def _body(self, piece: bytes, more: bool) -> None:
        self._size += len(piece)
        if self._writer is None:
            self._held.append(piece)
            if self._size <= self._middleware._inline_limit:
                return None if more else await self._inline()
            if not more:
                return await self._whole()
            self._writer = self._begin()
            piece = b"".join(self._held)
        try:
            await _elsewhere(self._writer.write, piece)
            if not more:
                await self._by_reference(await _elsewhere(self._writer.finish))
        except XdtError as error:
            # The handler has run, so no word may come that says it is safe to repeat the call.
            self._start = None
            await _refuse(self._send, TransferBroken(f"the answer could not be kept: {error.word}"))

    async def _whole(self) -> None:
        """All of it is here: if it cannot be kept as an object, it still travels inline."""
        body = b"".join(self._held)
        try:
            reference = await self._middleware.client.put(body, content_type=self._content_type())
        except XdtError:
            await self._inline()
        else:
            await self._by_reference(reference)

    def _begin(self) -> Any:
        terms = (1, self._content_type(), None, None)
        return self._middleware.client._raw.writer(None, terms, None)

    async def _inline(self) -> None:
        await self._pass()
        await self._send({"type": "http.response.body", "body": b"".join(self._held)})

    async def _pass(self) -> None:
        assert self._start is not None
        start, self._start = self._start, None
        await self._send(start)

    async def _by_reference(self, reference: str) -> None:
        assert self._start is not None
        start, self._start = dict(self._start), None
        kept = [line for line in start.get("headers", ()) if line[0].lower() not in (b"content-length", b"etag")]
        kept += [(_server.REFERENCE.encode(), reference.encode()), (b"content-length", b"0")]
        kept += [(_server.OBJECT_SIZE.encode(), b"%d" % self._size)]
        await self._send({**start, "headers": kept})
        await self._send({"type": "http.response.body", "body": b""})

    def _content_type(self) -> str | None:
        assert self._start is not None
        lines = self._start.get("headers", ())
        return next((value.decode("latin-1") for name, value in lines if name.lower() == b"content-type"), None)


async def _elsewhere(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


async def _refuse(send: Send, error: XdtError) -> None:
    status, headers, body = _server.problem(error)
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
