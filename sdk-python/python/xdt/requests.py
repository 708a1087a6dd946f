"""``requests`` over XDT: ``session.post(url, data=big)`` becomes an invoke, of any size.

::

    session = xdt.requests.Session()                  # or: any_session.mount("http://", xdt.requests.XdtAdapter())
    answer = session.post("http://consumer.default.svc.cluster.local/", data=open("video.mp4", "rb"))

Responses are ordinary ones of ``requests``, streamed where ``stream=True``. Failures are its own exceptions
(``ConnectionError``, ``Timeout``) with the :class:`xdt.XdtError` as ``__cause__``. Redirects, cookies and
authentication are the session's, as always.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.cookies import extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from . import exceptions
from ._client import Client
from ._response import StreamedResponse

__all__ = ["Session", "XdtAdapter"]

#: Follow from the body, or belong to the connection.
_OWN = ("content-length", "transfer-encoding", "connection", "host")


class XdtAdapter(BaseAdapter):
    """Sends requests through the sidecar.

    :param client: by default one that finds the sidecar by the environment.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__()
        self._client = client or Client()
        self._owned = client is None

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float | None] | None = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        headers = [(name, _text(value)) for name, value in request.headers.items() if name.lower() not in _OWN]
        limit = timeout[-1] if isinstance(timeout, tuple) else timeout
        try:
            answer = self._client.stream(
                request.url or "",
                _payload(request.body),
                method=request.method or "GET",
                headers=headers,
                timeout=limit,
            )
            response = _response(request, answer, self)
            if not stream:
                response.content  # noqa: B018  # reads it
        except exceptions.Timeout as error:
            raise requests.Timeout(str(error), request=request) from error
        except exceptions.XdtError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        return response

    def close(self) -> None:
        if self._owned:
            self._client.close()


class Session(requests.Session):
    """A session whose plain HTTP goes over XDT."""

    def __init__(self, client: Client | None = None) -> None:
        super().__init__()
        self.mount("http://", XdtAdapter(client))


class _Raw(io.RawIOBase):
    """The body as a file that raises the exceptions of ``requests``."""

    def __init__(self, answer: StreamedResponse) -> None:
        self._answer = answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            return self._answer.body.readinto(buffer)
        except exceptions.XdtError as error:
            raise requests.exceptions.ChunkedEncodingError(str(error)) from error

    def close(self) -> None:
        self._answer.close()
        super().close()


class _Original:
    """What the session reads cookies from."""

    def __init__(self, answer: StreamedResponse) -> None:
        self.msg = HTTPMessage()
        for name, value in answer.headers.lines:
            self.msg[name] = value

    def isclosed(self) -> bool:
        """The connection is the client's affair."""
        return True

    def close(self) -> None:
        """As above."""


def _response(request: requests.PreparedRequest, answer: StreamedResponse, adapter: XdtAdapter) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.headers = CaseInsensitiveDict(dict(answer.headers))
    response.encoding = get_encoding_from_headers(response.headers)
    response.url = request.url or ""
    response.request = request
    response.raw = urllib3.HTTPResponse(
        _Raw(answer),
        headers=urllib3.HTTPHeaderDict(answer.headers.lines),
        status=answer.status,
        preload_content=False,
        original_response=_Original(answer),  # type: ignore[arg-type]
    )
    extract_cookies_to_jar(response.cookies, request, response.raw)  # type: ignore[no-untyped-call]
    response.connection = adapter  # type: ignore[assignment]
    return response


class _Pieces:
    """An iterable of pieces as a file."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int = -1, /) -> bytes:
        for piece in self._pieces:
            if piece:
                return piece.encode() if isinstance(piece, str) else bytes(piece)
        return b""


def _payload(body: Any) -> Any:
    if body is None or hasattr(body, "read"):
        return body
    if isinstance(body, str):
        return body.encode()
    try:
        return memoryview(body)
    except TypeError:
        return _Pieces(body)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
