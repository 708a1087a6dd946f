"""References beside gRPC messages, in the metadata of a call (``grpcio``).

::

    stub.Resize(request, metadata=xdt.grpc.metadata(client.put(pixels)))     # caller
    pixels = client.get(xdt.grpc.reference(context))                         # servicer

The key is not one of XDT's headers, which a sidecar takes for itself: the call passes as it is, and the servicer
decides when it wants the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._reference import Reference

#: The key in the metadata of a call; several objects have it several times.
KEY = "object-reference"


def metadata(*references: str, beside: Iterable[tuple[str, Any]] = ()) -> tuple[tuple[str, Any], ...]:
    """Metadata for a call, with these references after what it has ``beside``."""
    for one in references:
        if not isinstance(one, str):
            raise TypeError(f"references: must be xdt.Reference or str, not {type(one).__name__}")
    return (*beside, *((KEY, str(one)) for one in references))


def references(context: Any) -> list[Reference]:
    """All references of a call, in their order. ``context``: a servicer's context, or metadata."""
    pairs = context.invocation_metadata() if hasattr(context, "invocation_metadata") else context
    return [Reference(value) for key, value in pairs or () if key.lower() == KEY]


def reference(context: Any) -> Reference:
    """The reference of a call that has exactly one.

    :raises LookupError: if it has none, or more than one.
    """
    found = references(context)
    if len(found) != 1:
        raise LookupError(f"the call has {len(found)} references in its metadata ({KEY}), not one")
    return found[0]
