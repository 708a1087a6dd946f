"""Types of arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Optional, Protocol, Union

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Readable(Protocol):
    """A binary file open for reading, or whatever else has its ``read``."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


#: What a put or an invoke sends.
Data = Union["Buffer", Readable]
#: Called with the bytes moved so far, and all there are (``None`` where that is not known).
Progress = Callable[[int, Optional[int]], object]
#: Headers of a request.
Headers = Union[Mapping[str, str], Sequence[tuple[str, str]]]
