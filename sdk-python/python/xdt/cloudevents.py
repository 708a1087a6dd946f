"""CloudEvents whose data stays where it is: the event carries a reference as its attribute ``dataref``.

::

    event = xdt.cloudevents.event(client, {"type": "image", "source": "/camera"}, pixels, retrievals=2)
    data = xdt.cloudevents.data(client, event)      # over there

Events are those of the package ``cloudevents``, version 2, or version 1 where that is installed.
Specification: CloudEvents extension "Dataref (Claim Check Pattern)".
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from ._client import Client
from ._memory import Object
from ._reference import Reference

#: The attribute.
DATAREF = "dataref"


def attributes(
    client: Client,
    given: Mapping[str, Any],
    data: Any,
    retrievals: int = 1,
    *,
    content_type: str | None = None,
    **terms: Any,
) -> dict[str, Any]:
    """Puts ``data`` and gives the attributes of an event that stands for it: ``given``, and what it lacks."""
    content_type = content_type or given.get("datacontenttype")
    reference = client.put(data, retrievals, content_type=content_type, **terms)
    made: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "specversion": "1.0",
        "time": datetime.datetime.now(datetime.timezone.utc),
        **given,
        DATAREF: str(reference),
    }
    if content_type is not None:
        made["datacontenttype"] = content_type
    return made


def event(client: Client, given: Mapping[str, Any], data: Any, retrievals: int = 1, **terms: Any) -> Any:
    """As :func:`attributes`, as an event of the package ``cloudevents``, without data of its own."""
    made = attributes(client, given, data, retrievals, **terms)
    try:
        from cloudevents.core.v1.event import CloudEvent
    except ImportError:
        from cloudevents.http import CloudEvent as OldCloudEvent

        made["time"] = made["time"].isoformat() if hasattr(made["time"], "isoformat") else made["time"]
        return OldCloudEvent(made)
    return CloudEvent(made)


def reference(event: Any) -> Reference | None:
    """The reference that an event carries, if it does. Takes an event of the package, or a mapping of attributes."""
    if hasattr(event, "get_attributes"):
        event = event.get_attributes()
    value = event.get(DATAREF)
    return value if value is None else Reference(value)


def data(client: Client, event: Any, *, timeout: float | None = None) -> Object | Any:
    """The data of an event: the object behind its reference, else what it carries itself."""
    found = reference(event)
    if found is not None:
        return client.get(found, timeout=timeout)
    if hasattr(event, "get_data"):
        return event.get_data()
    return event.data if hasattr(event, "data") else event.get("data")
