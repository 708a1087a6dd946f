"""What both middlewares know: which headers come and go, and the answer in place of a handler's."""

from __future__ import annotations

import json

from .exceptions import XdtError

#: Header that carries a reference.
REFERENCE = "xdt-reference"
#: Header by which a caller allows an answer by reference, and its value.
ACCEPT, BY_REFERENCE = "xdt-accept", "reference"
#: Header with the size of an object that an answer stands for.
OBJECT_SIZE = "xdt-object-size"
#: What all of XDT's headers begin with.
PREFIX = "xdt-"
#: Content type of objects that were put without one; it says nothing, so the message's own goes before it.
NO_CONTENT_TYPE = "application/octet-stream"
#: Largest answer that travels inline, by default: the sidecar's own default.
INLINE_LIMIT = 64 * 1024

#: Statuses of the contract (section 3).
_STATUS = {
    "reference-invalid": 400,
    "wrong-tenant": 403,
    "object-gone": 410,
    "too-large": 413,
    "bad-request": 400,
    "busy": 429,
    "draining": 503,
    "producer-unreachable": 503,
    "transfer-broken": 502,
    "timeout": 504,
}


def problem(error: XdtError) -> tuple[int, list[tuple[str, str]], bytes]:
    """The answer for an error (RFC 9457). What only this side knows becomes the word nearest in meaning."""
    word = error.word if error.word in _STATUS else "producer-unreachable"
    status = _STATUS[word]
    body = json.dumps({"type": f"urn:xdt:error:{word}", "title": word, "status": status, "detail": error.detail})
    headers = [("content-type", "application/problem+json"), ("content-length", str(len(body))), ("xdt-error", word)]
    if word == "busy":
        headers.append(("retry-after", str(int(error.retry_after or 1))))
    return status, headers, body.encode()


def told_type(object_type: str | None, message_type: str | None) -> str | None:
    """The content type that the handler sees: the object's, unless that says nothing and the message has one."""
    if object_type in (None, NO_CONTENT_TYPE) and message_type:
        return message_type
    return object_type
