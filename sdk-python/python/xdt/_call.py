"""What both clients do around a call: arguments in their compiled form, and repeating what is safe to repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._memory import plain
from ._streams import Watched
from .exceptions import XdtError

if TYPE_CHECKING:
    from . import _types

#: Longest pause before a repetition, in seconds.
LONGEST_PAUSE = 5.0
#: Pause before the first repetition, in seconds; doubled each time.
FIRST_PAUSE = 0.05
#: Most repetitions that may be asked for.
MOST_RETRIES = 100


def settings(**given: Any) -> dict[str, Any]:
    """Settings of a client, checked as far as the compiled half does not."""
    for name in ("local_address", "local_socket", "egress_address", "transport"):
        if not (given[name] is None or isinstance(given[name], str)):
            raise TypeError(f"{name}: must be str or None, not {type(given[name]).__name__}")
    for name in ("inline_limit", "memory_limit", "max_idle_connections"):
        value = given[name]
        if not (value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63)):
            raise ValueError(f"{name}: must be a whole number from 0 up, or None")
    return given


def count(name: str, value: int, most: int, least: int = 1) -> int:
    """A whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}: must be a whole number from {least} to {most}")
    return value


def terms(
    retrievals: int, content_type: str | None, metadata: Mapping[str, str] | None, ttl: float | None
) -> tuple[Any, ...]:
    """How an object is to be held."""
    return (retrievals, content_type, plain(metadata), ttl)


def request(
    url: str, data: _types.Data | None, method: str, headers: _types.Headers | None, content_type: str | None
) -> tuple[Any, ...]:
    """A call of a function."""
    if headers is None:
        lines: list[tuple[str, str]] = []
    else:
        lines = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        for line in lines:
            if not (isinstance(line, tuple) and len(line) == 2 and all(isinstance(part, str) for part in line)):
                raise TypeError("headers: must be a mapping of str to str, or pairs of str")
    if not isinstance(url, str):
        raise TypeError(f"url: must be str, not {type(url).__name__}")
    if not isinstance(method, str):
        raise TypeError(f"method: must be str, not {type(method).__name__}")
    return (url, data, method, lines, content_type)


def watched(data: Any, progress: _types.Progress | None) -> Any:
    """``data``, with ``progress`` told of what is read, if it is a file."""
    if progress is None:
        return data
    if hasattr(data, "read"):
        return Watched(data, progress)
    raise TypeError("progress: is told of files only; memory is passed to the sidecar at once")


def repeatable(data: Any) -> bool:
    """Whether a payload can be sent again: memory can, a file has been read."""
    return not hasattr(data, "read")


def pause(error: XdtError, attempt: int) -> float:
    """Seconds to wait before repetition number ``attempt`` (from 0)."""
    own = FIRST_PAUSE * (1 << min(attempt, 16))
    asked: float = error.retry_after or 0.0
    return min(LONGEST_PAUSE, max(own, asked))


def parsed(status: str) -> dict[str, Any]:
    """The sidecar's counts."""
    counts: dict[str, Any] = json.loads(status)
    return counts
