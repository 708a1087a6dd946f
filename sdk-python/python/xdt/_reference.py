"""References: text that stands for one object."""

from __future__ import annotations

import hashlib


class Reference(str):
    """An opaque string that stands for one object.

    It is a ``str``: JSON, headers, protobuf and f-strings take it as it is, at most 256 characters that need no
    escaping. ``repr`` shows a short digest instead, because whoever has the whole reference has the object; do not log
    it.
    """

    __slots__ = ()

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that tell references apart in a log; the sidecars' logs show the same."""
        return hashlib.sha256(self.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"xdt.Reference({self.digest})"
