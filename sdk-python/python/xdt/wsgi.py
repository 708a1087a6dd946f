"""WSGI middleware (Flask, Django, Bottle, functions-framework, …): the same as :mod:`xdt.asgi`, for servers that wait.

::

    app.wsgi_app = xdt.wsgi.XdtMiddleware(app.wsgi_app)

``wsgi.input`` reads the object as it arrives. If the transfer breaks, reading raises the :class:`xdt.XdtError`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Callable

from . import _server
from ._client import Client
from ._streams import PIECE, Reader, Writer
from .exceptions import BadRequest, TransferBroken, XdtError

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Lines = list[tuple[str, str]]


class XdtMiddleware:
    """Stands around a WSGI application.

    :param app: the application.
    :param client: gets and puts objects; by default one that finds the sidecar by the environment, made at the first
        use (after a server has forked its workers).
    :param inline_limit: largest answer in bytes that always travels inline.
    """

    def __init__(self, app: App, client: Client | None = None, *, inline_limit: int = _server.INLINE_LIMIT) -> None:
        self._app = app
        self._client = client
        self._inline_limit = inline_limit

    @property
    def client(self) -> Client:
        """The client that gets and puts objects."""
        if self._client is None:
            self._client = Client()
        return self._client

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        reference = environ.get("HTTP_XDT_REFERENCE")
        by_reference = environ.get("HTTP_XDT_ACCEPT", "").strip().lower() == _server.BY_REFERENCE
        if reference is None and not by_reference:
            return self._app(environ, start_response)
        reader: Reader | None = None
        try:
            if reference is not None:
                reader = self._open(reference, environ)
                environ = _original(environ, reader)
            if by_reference:
                return _ThenClosed(self._answered(environ, start_response), reader)
            return _ThenClosed(self._app(environ, start_response), reader)
        except XdtError as error:
            if reader is not None:
                reader.close()
            elif reference is None:
                raise
            return _refuse(start_response, error)

    def _open(self, reference: str, environ: Environ) -> Reader:
        if "," in reference:
            raise BadRequest("a request has at most one reference")
        if environ.get("CONTENT_LENGTH") not in (None, "", "0") or environ.get("HTTP_TRANSFER_ENCODING"):
            raise BadRequest("a request has a body or a reference, not both")
        return self.client.open(reference)

    def _answered(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The handler's answer, which becomes an object as soon as it is larger than the limit."""
        started: list[Any] = []
        written: list[bytes] = []

        def start(status: str, headers: Lines, exc_info: Any = None) -> Callable[[bytes], object]:
            started[:] = [status, headers, exc_info]
            return written.append

        answer = self._app(environ, start)
        try:
            pieces = iter(answer)
            head: list[bytes] = []
            for piece in pieces:
                head.append(piece)
                if sum(map(len, head)) > self._inline_limit:
                    break
            head = written + head
            status, headers, exc_info = started
            if any(name.lower() == _server.REFERENCE for name, _ in headers):
                head.extend(pieces)  # the handler's own reference, beside a body that is empty or short
            elif sum(map(len, head)) > self._inline_limit:
                return self._kept(status, headers, head, pieces, start_response)
            start_response(status, headers, *([exc_info] if exc_info else []))
            return head
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _kept(
        self, status: str, headers: Lines, head: list[bytes], rest: Iterator[bytes], start_response: StartResponse
    ) -> Iterable[bytes]:
        content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
        size = 0
        try:
            writer: Writer = self.client.writer(content_type=content_type)
            with writer:
                for part in (head, rest):
                    for piece in part:
                        size += len(piece)
                        writer.write(piece)
            reference = writer.reference
        except XdtError as error:
            # The handler has run, so no word may come that says it is safe to repeat the call.
            return _refuse(start_response, TransferBroken(f"the answer could not be kept: {error.word}"))
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "etag")]
        kept += [("Xdt-Reference", str(reference)), ("Xdt-Object-Size", str(size)), ("Content-Length", "0")]
        start_response(status, kept)
        return [b""]


def _original(environ: Environ, reader: Reader) -> Environ:
    original = {name: value for name, value in environ.items() if not name.startswith("HTTP_XDT_")}
    told = _server.told_type(reader.content_type, environ.get("CONTENT_TYPE"))
    if told is not None:
        original["CONTENT_TYPE"] = told
    original.pop("HTTP_TRANSFER_ENCODING", None)
    original.pop("CONTENT_LENGTH", None)
    if reader.size is not None:
        original["CONTENT_LENGTH"] = str(reader.size)
    original["wsgi.input"] = io.BufferedReader(reader, PIECE)
    original["wsgi.input_terminated"] = True
    return original


class _ThenClosed:
    """An answer after whose end the object's reader is closed."""

    def __init__(self, answer: Iterable[bytes], reader: Reader | None) -> None:
        self._answer = answer
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if hasattr(self._answer, "close"):
            self._answer.close()


def _refuse(start_response: StartResponse, error: XdtError) -> Iterable[bytes]:
    status, headers, body = _server.problem(error)
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]
