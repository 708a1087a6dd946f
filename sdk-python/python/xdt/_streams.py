"""Objects read and written piece by piece, as files are."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING

from . import _xdt
from ._reference import Reference

if TYPE_CHECKING:
    from typing_extensions import Buffer as BytesLike
    from typing_extensions import Self

    from . import _types

#: Bytes that an iteration gives at a time, at most.
PIECE = 256 * 1024


class Reader(io.RawIOBase):
    """An object as it arrives: a binary file, read from its beginning to its end.

    Iterating gives pieces of up to 256 KiB, not lines; wrap it in ``io.BufferedReader`` or ``io.TextIOWrapper`` for
    those. Closing it before the end gives the retrieval back. If the transfer breaks, reading raises, and what was
    read is void.
    """

    def __init__(self, raw: _xdt.RawReader, progress: _types.Progress | None = None) -> None:
        self._raw = raw
        self._progress = progress
        self._count = 0

    @property
    def size(self) -> int | None:
        """Bytes of the object (or of the part asked for), where that is known."""
        return self._raw.size

    @property
    def content_type(self) -> str | None:
        """The content type that the producer gave."""
        return self._raw.content_type

    @property
    def metadata(self) -> dict[str, str]:
        """What the producer attached; names in lower case."""
        return self._raw.metadata

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: BytesLike, /) -> int:
        """Fills the beginning of ``buffer`` with what has arrived; waits for at least one byte. 0 at the end."""
        self._open()
        return self._counted(self._raw.readinto(buffer))

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, at least one if there is one; all to the end if ``size`` is negative or None."""
        if size is None or size < 0:
            return self.readall()
        self._open()
        if size == 0:
            return b""
        piece = self._raw.piece(size)
        self._counted(len(piece))
        return piece

    def readall(self) -> bytes:
        """All bytes to the end."""
        return b"".join(self)

    def __next__(self) -> bytes:
        piece = self.read(PIECE)
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()

    def _open(self) -> None:
        if self.closed:
            raise ValueError("read of a closed xdt.Reader")

    def _counted(self, count: int) -> int:
        if self._progress is not None and count:
            self._count += count
            self._progress(self._count, self.size)
        return count


class AsyncReader:
    """An object as it arrives; ``async for`` gives pieces of up to 256 KiB. Otherwise as :class:`xdt.Reader`."""

    def __init__(self, raw: _xdt.RawReader, progress: _types.Progress | None = None) -> None:
        self._raw = raw
        self._progress = progress
        self._count = 0

    @property
    def size(self) -> int | None:
        """Bytes of the object (or of the part asked for), where that is known."""
        return self._raw.size

    @property
    def content_type(self) -> str | None:
        """The content type that the producer gave."""
        return self._raw.content_type

    @property
    def metadata(self) -> dict[str, str]:
        """What the producer attached; names in lower case."""
        return self._raw.metadata

    async def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, at least one if there is one; all to the end if ``size`` is negative or None."""
        if size is None or size < 0:
            return b"".join([piece async for piece in self])
        if size == 0:
            return b""
        piece = await self._raw.piece_async(size)
        if self._progress is not None and piece:
            self._count += len(piece)
            self._progress(self._count, self.size)
        return piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read(PIECE)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives up what has not arrived; before the end, this gives the retrieval back."""
        self._raw.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Writer(io.RawIOBase):
    """An object that is written piece by piece: a binary file whose end makes the object.

    Leaving the ``with`` block puts it, and :attr:`reference` then stands for it; leaving it by an exception discards
    it. Writing waits while the sidecar has no memory for more.
    """

    def __init__(self, raw: _xdt.RawWriter) -> None:
        self._raw = raw
        self._reference: Reference | None = None

    @property
    def reference(self) -> Reference:
        """Stands for the object, once the writer is closed."""
        if self._reference is None:
            raise ValueError("reference: is known when the writer has been closed, and not after an abort")
        return self._reference

    def writable(self) -> bool:
        return True

    def write(self, data: BytesLike, /) -> int:
        """Adds all of ``data``; it may be changed as soon as this returns."""
        if self.closed:
            raise ValueError("write to a closed xdt.Writer")
        return self._raw.write(data)

    def close(self) -> None:
        """Ends the object and waits until the sidecar holds it."""
        if self.closed:
            return
        try:
            self._reference = Reference(self._raw.finish())
        finally:
            super().close()

    def abort(self) -> None:
        """Gives the object up: the sidecar discards what it has."""
        if not self.closed:
            self._raw.abort()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # What nobody closed is no object; io's own __del__ would make it one.
        self.abort()


class Watched:
    """A readable file that tells how much of it was read."""

    def __init__(self, file: _types.Readable, progress: _types.Progress) -> None:
        self._file = file
        self._progress = progress
        self._count = 0
        self._size = measure(file)

    def read(self, size: int = -1, /) -> bytes:
        piece = self._file.read(size)
        if piece:
            self._count += len(piece)
            self._progress(self._count, self._size)
        return piece

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def measure(file: _types.Readable) -> int | None:
    """Bytes from the position to the end, for files that can tell."""
    try:
        here: int = file.tell()  # type: ignore[attr-defined]
        end: int = file.seek(0, io.SEEK_END)  # type: ignore[attr-defined]
        file.seek(here)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
    return end - here
