"""What can go wrong: one class per error word of XDT's contract, all of them :class:`XdtError`.

``docs/python.md`` has a table of what to do for each. Wrong arguments are ``TypeError`` or ``ValueError``, and using
what is closed or belongs to another process is ``RuntimeError``, as everywhere in Python.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadRequest",
    "Busy",
    "Draining",
    "ObjectGone",
    "ProducerUnreachable",
    "ReferenceInvalid",
    "SidecarUnavailable",
    "Timeout",
    "TooLarge",
    "TransferBroken",
    "WrongTenant",
    "XdtError",
]


class XdtError(Exception):
    """A call that failed.

    Raised itself for what has no word in the contract: ``unreachable`` (nobody listens at the URL of a small call),
    ``payload-failed`` (the data's length is not the stated one) and ``unexpected-answer`` (whoever answered is no
    sidecar).
    """

    #: The contract's error word.
    word: str = "unexpected-answer"
    #: Whether repeating the same call may succeed and cannot run user code twice.
    retryable: bool = False
    #: One sentence, without addresses or names.
    detail: str
    #: HTTP status of the answer that carried the error, where there was one.
    status: int | None
    #: Seconds that the sidecar asks to wait before a retry (``busy`` only).
    retry_after: float | None

    def __init__(
        self,
        detail: str = "",
        *,
        word: str | None = None,
        retryable: bool | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.word = type(self).word if word is None else word
        self.retryable = type(self).retryable if retryable is None else retryable
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}" if self.detail else self.word

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.detail,), self.__dict__.copy()


class ReferenceInvalid(XdtError, ValueError):
    """The reference is malformed, was changed, or was made under a key that is unknown here."""

    word = "reference-invalid"


class WrongTenant(XdtError, PermissionError):
    """The reference is authentic, but belongs to another tenant."""

    word = "wrong-tenant"


class ObjectGone(XdtError, LookupError):
    """The producer no longer holds the object: retrieved, deleted, expired, or its instance has ended."""

    word = "object-gone"


class TooLarge(XdtError):
    """The object is larger than a limit of the sidecar or of this client allows."""

    word = "too-large"


class BadRequest(XdtError, ValueError):
    """A parameter is outside what the contract allows; ``detail`` names it."""

    word = "bad-request"


class Busy(XdtError):
    """No memory came free in time, or all retrievals are being used; ``retry_after`` says when to ask again."""

    word = "busy"
    retryable = True


class Draining(XdtError):
    """This instance is shutting down and takes no new objects."""

    word = "draining"


class ProducerUnreachable(XdtError, ConnectionError):
    """The instance that holds the object cannot be connected to; it may come back."""

    word = "producer-unreachable"
    retryable = True


class TransferBroken(XdtError, ConnectionError):
    """The transfer died after it had begun; bytes that were delivered are void."""

    word = "transfer-broken"
    retryable = True


class Timeout(XdtError, TimeoutError):
    """Somebody was silent for too long, or the call took longer than its ``timeout``."""

    word = "timeout"
    retryable = True


class SidecarUnavailable(XdtError, ConnectionError):
    """This instance's own sidecar does not accept connections: it is not there, or not yet."""

    word = "sidecar-unavailable"
    retryable = True
