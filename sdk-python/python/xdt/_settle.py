"""The last step of an awaited call, on the thread of its event loop."""

from __future__ import annotations

import asyncio
from typing import Any


def settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    """Gives ``future`` its result, unless it was cancelled meanwhile."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
