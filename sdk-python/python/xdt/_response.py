"""The answer to an invoke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import _xdt
from ._memory import Object
from ._streams import AsyncReader, Reader


class ResponseHeaders(Mapping[str, str]):
    """Headers by name, in any case; several lines of one name are joined by a comma, as HTTP joins them."""

    __slots__ = ("_lines",)

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        self._lines = lines

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Every line, names in lower case, in the order of arrival."""
        return list(self._lines)

    def __getitem__(self, name: str) -> str:
        values = [value for key, value in self._lines if key == name.lower()]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._lines))

    def __len__(self) -> int:
        return len(dict(self._lines))

    def __repr__(self) -> str:
        return f"<xdt.ResponseHeaders {sorted(self)}>"


class _Head:
    """What is known before the body."""

    __slots__ = ("_raw", "headers")

    def __init__(self, raw: _xdt.RawResponse) -> None:
        self._raw = raw
        #: The headers, as if the body had come inline.
        self.headers = ResponseHeaders(raw.headers)

    @property
    def status(self) -> int:
        """The status; failing ones are answers like any other."""
        return self._raw.status

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class Response(_Head):
    """What a function answered, with the whole body."""

    __slots__ = ()

    @property
    def body(self) -> Object:
        """The body, as read-only memory."""
        body: Object = self._raw.body
        return body

    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.text()

    def json(self) -> Any:
        """The value of the body as JSON."""
        return self.body.json()

    def __repr__(self) -> str:
        return f"<xdt.Response {self.status}, {len(self.body)} bytes>"


class StreamedResponse(_Head):
    """What a function answers, with the body on its way: ``response.body`` is an :class:`xdt.Reader`."""

    __slots__ = ("body",)

    def __init__(self, raw: _xdt.RawResponse) -> None:
        super().__init__(raw)
        self.body = Reader(raw.body)

    def close(self) -> None:
        """Gives up what has not arrived."""
        self.body.close()

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStreamedResponse(_Head):
    """What a function answers, with the body on its way: ``response.body`` is an :class:`xdt.AsyncReader`."""

    __slots__ = ("body",)

    def __init__(self, raw: _xdt.RawResponse) -> None:
        super().__init__(raw)
        self.body = AsyncReader(raw.body)

    async def aclose(self) -> None:
        """Gives up what has not arrived."""
        await self.body.aclose()

    async def __aenter__(self) -> AsyncStreamedResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
