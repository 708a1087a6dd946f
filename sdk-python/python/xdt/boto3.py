"""boto3's shapes over XDT, so that a workflow moves from S3 and Lambda by changing one import.

::

    import xdt.boto3 as boto3                         # was: import boto3

    s3 = boto3.client("s3")
    s3.put_object(Bucket="frames", Key="one", Body=pixels)
    s3.get_object(Bucket="frames", Key="one")["Body"].read()
    boto3.client("lambda").invoke(FunctionName="resize", Payload=json.dumps({"bucket": "frames", "key": "one"}))

An object lies in the memory of the instance that put it, for at most the sidecar's time to live, and is found by its
reference. The clients of a process remember which reference a bucket and key stand for (the last 65536 of them), and
``put_object`` answers with ``Reference``, which ``get_object`` takes as ``Key`` in any other instance. ``invoke``
sends the references of keys that its JSON payload names along with the call, and :func:`lambda_app`, around the
handler over there, makes its clients find them. What has no meaning without a store (listing, versions, access lists)
is not here; calling it raises ``NotImplementedError`` with its name.

Errors have botocore's shape (``ClientError`` with ``response["Error"]["Code"]``), and are botocore's own class where
it is installed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

from . import exceptions as _errors
from ._client import Client
from ._memory import Object
from ._reference import Reference

try:
    from botocore.exceptions import ClientError
except ImportError:

    class ClientError(Exception):  # type: ignore[no-redef]
        """Of botocore's shape."""

        def __init__(self, error_response: Mapping[str, Any], operation_name: str) -> None:
            error = error_response.get("Error", {})
            super().__init__(
                f"An error occurred ({error.get('Code', 'Unknown')}) when calling the {operation_name} operation: "
                f"{error.get('Message', 'Unknown')}"
            )
            self.response = error_response
            self.operation_name = operation_name


__all__ = ["ClientError", "LambdaClient", "S3Client", "StreamingBody", "client", "lambda_app"]

#: Keys that a process remembers; the oldest is forgotten first.
REMEMBERED = 65536
#: Header that tells a function which references the keys in its event stand for.
KEYS_HEADER = "object-keys"
#: Largest such header, in bytes: below every server's limit.
KEYS_LIMIT = 4096
#: Calls of ``InvocationType="Event"`` under way at once.
EVENTS = 8


class NoSuchKey(ClientError):  # type: ignore[misc]
    """There is no object under this key: never put here, retrieved, deleted, or expired."""


_CODES = {
    "object-gone": ("NoSuchKey", 404),
    "reference-invalid": ("NoSuchKey", 404),
    "wrong-tenant": ("AccessDenied", 403),
    "too-large": ("EntityTooLarge", 400),
    "bad-request": ("InvalidRequest", 400),
    "busy": ("SlowDown", 503),
    "draining": ("ServiceUnavailable", 503),
    "producer-unreachable": ("ServiceUnavailable", 503),
    "sidecar-unavailable": ("ServiceUnavailable", 503),
    "timeout": ("RequestTimeout", 400),
}


def client(service_name: str, **settings: Any) -> S3Client | LambdaClient:
    """As ``boto3.client``: ``"s3"`` or ``"lambda"``. Regions, credentials and endpoints are accepted and not needed."""
    for name in ("region_name", "endpoint_url", "config", "use_ssl", "verify", "api_version"):
        settings.pop(name, None)
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"):
        settings.pop(name, None)
    if service_name == "s3":
        return S3Client(**settings)
    if service_name == "lambda":
        return LambdaClient(**settings)
    raise ValueError(f"service_name: must be 's3' or 'lambda', not {service_name!r}")


class StreamingBody(io.IOBase):
    """As botocore's: the bytes of an answer, to be read once."""

    def __init__(self, body: Any) -> None:
        self._memory = memoryview(body)
        self._place = 0

    def readable(self) -> bool:
        return True

    def read(self, amt: int | None = None) -> bytes:
        """Up to ``amt`` bytes; all that are left without."""
        end = len(self._memory) if amt is None or amt < 0 else min(self._place + amt, len(self._memory))
        piece = bytes(self._memory[self._place : end])
        self._place = end
        return piece

    def readinto(self, buffer: Any) -> int:
        """Fills ``buffer`` with what is left."""
        count = min(len(memoryview(buffer)), len(self._memory) - self._place)
        memoryview(buffer)[:count] = self._memory[self._place : self._place + count]
        self._place += count
        return count

    def tell(self) -> int:
        return self._place

    def iter_chunks(self, chunk_size: int = 1024) -> Iterator[bytes]:
        """Pieces of ``chunk_size`` bytes."""
        while piece := self.read(chunk_size):
            yield piece

    def iter_lines(self, chunk_size: int = 1024, keepends: bool = False) -> Iterator[bytes]:
        """The lines that are left."""
        yield from self.read().splitlines(keepends)

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_chunks()


class _Keys:
    """Which reference a bucket and key stand for, in this process."""

    def __init__(self) -> None:
        self._references: OrderedDict[tuple[str, str], Reference] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, bucket: str, key: str, reference: Reference) -> Reference | None:
        """The reference that this one takes the place of, if there was one."""
        with self._lock:
            before = self._references.pop((bucket, key), None)
            self._references[bucket, key] = reference
            while len(self._references) > REMEMBERED:
                self._references.popitem(last=False)
            return before

    def find(self, bucket: str, key: str) -> Reference | None:
        with self._lock:
            return self._references.get((bucket, key))

    def forget(self, bucket: str, key: str) -> Reference | None:
        with self._lock:
            return self._references.pop((bucket, key), None)

    def named_in(self, texts: set[str]) -> list[tuple[str, str, str]]:
        with self._lock:
            return [(bucket, key, ref) for (bucket, key), ref in self._references.items() if key in texts]


_keys = _Keys()


class _Shim:
    """What both clients share."""

    def __init__(self, xdt_client: Client | None, **settings: Any) -> None:
        self._client = xdt_client or Client(**settings)
        self.exceptions = SimpleNamespace(ClientError=ClientError, NoSuchKey=NoSuchKey)

    def close(self) -> None:
        """Closes the connections to the sidecar."""
        self._client.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> Any:
            raise NotImplementedError(f"{name}: not part of xdt.boto3; an object has no store that could do this")

        return missing


class S3Client(_Shim):
    """``put_object``, ``get_object`` and their relatives, with boto3's arguments and answers.

    :param retrievals: how often an object may be got before it is freed. S3 has no such number; by default an object
        stays until it is deleted, put anew under the same key, or expires.
    :param client: an :class:`xdt.Client`; by default one that finds the sidecar by the environment.
    """

    def __init__(self, retrievals: int = 65535, client: Client | None = None, **settings: Any) -> None:
        super().__init__(client, **settings)
        self._retrievals = retrievals

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: Any = b"",
        ContentType: str | None = None,
        Metadata: Mapping[str, str] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Puts an object. The answer has ``Reference`` beside ``ETag``."""
        _named("PutObject", Bucket=Bucket, Key=Key)
        body = Body.encode() if isinstance(Body, str) else Body
        with _Translated("PutObject"):
            reference = self._client.put(
                body, self._retrievals, content_type=ContentType or "binary/octet-stream", metadata=Metadata
            )
        before = _keys.remember(Bucket, Key, reference)
        if before is not None:
            self._free(before)
        return {"ETag": _etag(reference), "Reference": reference, **_told(200)}

    def get_object(self, *, Bucket: str, Key: str, Range: str | None = None, **_: Any) -> dict[str, Any]:
        """Gets an object; ``Key`` may be a reference. ``Range`` is ``bytes=first-last``."""
        reference = self._find("GetObject", Bucket, Key)
        with _Translated("GetObject", Key):
            part = None if Range is None else _range(Range)
            obj = self._client.get(reference) if part is None else self._client.get_range(reference, *part)
        return {"Body": StreamingBody(obj), **_described(obj, reference), **_told(200 if Range is None else 206)}

    def head_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        """What is known of an object, without a retrieval."""
        reference = self._find("HeadObject", Bucket, Key)
        with _Translated("HeadObject", Key), self._client.open(reference) as reader:
            return {
                "ContentLength": reader.size,
                "ContentType": reader.content_type,
                "Metadata": reader.metadata,
                "ETag": _etag(reference),
                **_told(200),
            }

    def delete_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        """Frees an object; as in S3, it is no error if there is none."""
        _named("DeleteObject", Bucket=Bucket, Key=Key)
        reference = _keys.forget(Bucket, Key) or (Reference(Key) if Key.startswith("xdt1.") else None)
        if reference is not None:
            self._free(reference)
        return _told(204)

    def upload_fileobj(
        self, Fileobj: Any, Bucket: str, Key: str, ExtraArgs: Any = None, Callback: Any = None, **_: Any
    ) -> None:
        """Puts everything that is left in a binary file. ``Callback`` is told of the bytes, piece by piece."""
        extra = {name: value for name, value in (ExtraArgs or {}).items() if name in ("ContentType", "Metadata")}
        self.put_object(Bucket=Bucket, Key=Key, Body=_Counted(Fileobj, Callback) if Callback else Fileobj, **extra)

    def upload_file(
        self, Filename: str, Bucket: str, Key: str, ExtraArgs: Any = None, Callback: Any = None, **_: Any
    ) -> None:
        """Puts a file."""
        with open(Filename, "rb") as file:
            self.upload_fileobj(file, Bucket, Key, ExtraArgs, Callback)

    def download_fileobj(
        self, Bucket: str, Key: str, Fileobj: Any, ExtraArgs: Any = None, Callback: Any = None, **_: Any
    ) -> None:
        """Writes an object to a binary file as it arrives."""
        reference = self._find("GetObject", Bucket, Key)
        with _Translated("GetObject", Key), self._client.open(reference) as reader:
            for piece in reader:
                Fileobj.write(piece)
                if Callback:
                    Callback(len(piece))

    def download_file(
        self, Bucket: str, Key: str, Filename: str, ExtraArgs: Any = None, Callback: Any = None, **_: Any
    ) -> None:
        """Writes an object to a file, which is there only when it is whole."""
        part = f"{Filename}.part"
        try:
            with open(part, "wb") as file:
                self.download_fileobj(Bucket, Key, file, ExtraArgs, Callback)
            os.replace(part, Filename)
        except BaseException:
            os.unlink(part)
            raise

    def _find(self, operation: str, bucket: str, key: str) -> Reference:
        _named(operation, Bucket=bucket, Key=key)
        reference = Reference(key) if key.startswith("xdt1.") else _keys.find(bucket, key)
        if reference is None:
            raise _no_such_key(operation, key)
        return reference

    def _free(self, reference: Reference) -> None:
        # Both are as gone as it can be.
        with contextlib.suppress(_errors.ObjectGone, _errors.ProducerUnreachable):
            self._client.delete(reference)


class LambdaClient(_Shim):
    """``invoke`` with boto3's arguments and answers.

    :param url: where a function is called; ``{name}`` stands for ``FunctionName``. By default the ingress of
        ``xdt-cluster`` where there is one (``XDT_CLUSTER_INGRESS``), else ``http://{name}.default.svc.cluster.local/``.
    :param client: an :class:`xdt.Client`; by default one that finds the sidecar by the environment.
    """

    def __init__(self, url: str | None = None, client: Client | None = None, **settings: Any) -> None:
        super().__init__(client, **settings)
        ingress = os.environ.get("XDT_CLUSTER_INGRESS", "")
        port = ingress.rpartition(":")[2]
        found = f"http://{{name}}.default.localhost:{port}/" if ingress else "http://{name}.default.svc.cluster.local/"
        self._url = url or found
        self._pool: ThreadPoolExecutor | None = None

    def invoke(
        self,
        *,
        FunctionName: str,
        Payload: Any = b"",
        InvocationType: str = "RequestResponse",
        ClientContext: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Calls a function, with a payload and an answer of any size.

        ``InvocationType``: ``RequestResponse`` waits for the answer, ``Event`` does not, ``DryRun`` only checks.
        """
        _named("Invoke", FunctionName=FunctionName)
        payload = Payload.read() if hasattr(Payload, "read") else Payload
        payload = payload.encode() if isinstance(payload, str) else payload
        headers = {"X-Amz-Client-Context": ClientContext} if ClientContext else {}
        headers.update(_keys_header(payload))
        url = self._url.replace("{name}", FunctionName)

        def call() -> Any:
            return self._client.invoke(url, payload, headers=headers, content_type="application/json")

        if InvocationType == "DryRun":
            return {"StatusCode": 204, **_told(204)}
        if InvocationType == "Event":
            if self._pool is None:
                self._pool = ThreadPoolExecutor(EVENTS, thread_name_prefix="xdt-lambda")
            self._pool.submit(call)
            return {"StatusCode": 202, "Payload": StreamingBody(b""), **_told(202)}
        if InvocationType != "RequestResponse":
            raise _error("InvalidParameterValueException", f"InvocationType {InvocationType} is unknown", 400, "Invoke")
        with _Translated("Invoke"):
            answer = call()
        told = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": StreamingBody(answer.body), **_told(200)}
        failed = answer.headers.get("x-amz-function-error") or (None if answer.ok else "Unhandled")
        return {**told, "FunctionError": failed} if failed else told

    def close(self) -> None:
        """Waits for calls of type ``Event``, then closes the connections."""
        if self._pool is not None:
            self._pool.shutdown()
        super().close()


def lambda_app(handler: Callable[[Any, Any], Any]) -> Callable[..., Iterable[bytes]]:
    """A Lambda handler as a WSGI application, for any server: ``app = xdt.boto3.lambda_app(handler)``.

    The event is the request's JSON, the answer that of the handler. Keys that the caller named are known to
    :class:`S3Client` while the handler runs. A handler that raises is answered as Lambda answers
    (``X-Amz-Function-Error: Unhandled`` and ``errorMessage``, ``errorType``).
    """

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length)) if length else b""
        for bucket, key, reference in _told_keys(environ.get("HTTP_OBJECT_KEYS", "")):
            _keys.remember(bucket, key, Reference(reference))
        context = SimpleNamespace(
            function_name=os.environ.get("K_SERVICE", ""),
            function_version=os.environ.get("K_REVISION", "$LATEST"),
            aws_request_id=environ.get("HTTP_X_REQUEST_ID", ""),
            client_context=environ.get("HTTP_X_AMZ_CLIENT_CONTEXT"),
        )
        headers = [("Content-Type", "application/json")]
        try:
            answer = json.dumps(handler(json.loads(body) if body else None, context)).encode()
        except Exception as error:
            headers.append(("X-Amz-Function-Error", "Unhandled"))
            answer = json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}).encode()
        start_response("200 OK", [*headers, ("Content-Length", str(len(answer)))])
        return [answer]

    return app


def _keys_header(payload: Any) -> dict[str, str]:
    """The keys that a JSON payload names, and their references, as far as they fit."""
    try:
        texts = set(_texts(json.loads(bytes(payload)))) if len(payload) <= KEYS_LIMIT * 16 else set()
    except (ValueError, TypeError):
        return {}
    named: list[tuple[str, str, str]] = []
    for found in _keys.named_in(texts):
        if len(_packed([*named, found])) > KEYS_LIMIT:
            break
        named.append(found)
    return {KEYS_HEADER: _packed(named)} if named else {}


def _packed(named: list[tuple[str, str, str]]) -> str:
    return base64.b64encode(json.dumps(named).encode()).decode()


def _told_keys(header: str) -> list[tuple[str, str, str]]:
    try:
        told = json.loads(base64.b64decode(header, validate=True)) if header else []
        return [(str(bucket), str(key), str(reference)) for bucket, key, reference in told]
    except (ValueError, TypeError):
        return []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


class _Counted:
    """A file that tells boto3's callback what was read of it."""

    def __init__(self, file: Any, callback: Callable[[int], object]) -> None:
        self._file, self._callback = file, callback

    def read(self, size: int = -1, /) -> bytes:
        piece: bytes = self._file.read(size)
        if piece:
            self._callback(len(piece))
        return piece


class _Translated:
    """XDT's errors in botocore's shape."""

    def __init__(self, operation: str, key: str = "") -> None:
        self._operation, self._key = operation, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, _errors.XdtError):
            code, status = _CODES.get(error.word, ("InternalError", 500))
            if code == "NoSuchKey" and self._key:
                raise _no_such_key(self._operation, self._key) from error
            raise _error(code, str(error), status, self._operation) from error


def _error(code: str, message: str, status: int, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, **_told(status)}, operation)


def _no_such_key(operation: str, key: str) -> NoSuchKey:
    error = {"Code": "NoSuchKey", "Message": "The specified key does not exist.", "Key": key}
    return NoSuchKey({"Error": error, **_told(404)}, operation)


def _told(status: int) -> dict[str, Any]:
    return {
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {"date": formatdate(usegmt=True)},
            "RetryAttempts": 0,
        }
    }


def _etag(reference: str) -> str:
    return f'"{hashlib.sha256(reference.encode()).hexdigest()[:32]}"'


def _described(obj: Object, reference: str) -> dict[str, Any]:
    return {
        "ContentLength": len(obj),
        "ContentType": obj.content_type,
        "Metadata": obj.metadata,
        "ETag": _etag(reference),
    }


def _range(text: str) -> tuple[int, int | None]:
    first, dash, last = text.removeprefix("bytes=").partition("-") if text.startswith("bytes=") else ("", "", "")
    if not (dash and first.isdigit() and (not last or last.isdigit())):
        raise ValueError(f"Range: must be bytes=first-last or bytes=first-, not {text!r}")
    return int(first), int(last) + 1 if last else None


def _named(operation: str, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            raise TypeError(f"{operation}: {name} must be a str that is not empty, not {value!r}")
