"""put, get, open, create, delete and invoke, as the contract's section 11 lists them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys

import pytest

import xdt

import sidecars

SIZES = [0, 1, 10_000, 32 * 1024, 32 * 1024 + 1, 1_000_000, 20_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_from_the_own_and_from_another_instance(
    client: xdt.Client, other: xdt.Client, transport: str, size: int
) -> None:
    data = os.urandom(size)
    reference = client.put(data, 2, content_type="application/x-test", metadata={"Key": "value 1"})
    for side, paths in ((client, {"instance"}), (other, {"stream", "node"})):
        obj = side.get(reference)
        assert len(obj) == size and bytes(obj) == data and obj == data
        assert (obj.content_type, obj.metadata) == ("application/x-test", {"key": "value 1"})
        assert obj.path in (paths if transport == "socket" else {None})
    with pytest.raises(xdt.ObjectGone):
        client.get(reference)


def test_a_reference_is_text(client: xdt.Client) -> None:
    reference = client.put(b"x")
    assert isinstance(reference, str) and isinstance(reference, xdt.Reference)
    assert reference.startswith("xdt1.") and len(reference) <= 256
    assert json.loads(json.dumps({"ref": reference}))["ref"] == reference
    assert reference[10:40] not in repr(reference) and reference.digest in repr(reference)
    assert bytes(client.get(json.loads(json.dumps(reference)))) == b"x"


def test_what_was_not_said_has_defaults(client: xdt.Client) -> None:
    obj = client.get(client.put(b"x"))
    assert (obj.content_type, obj.metadata) == ("application/octet-stream", {})


def test_delete_frees(client: xdt.Client, other: xdt.Client) -> None:
    reference = client.put(b"x")
    other.delete(reference)
    for call in (client.delete, client.get, other.get):
        with pytest.raises(xdt.ObjectGone):
            call(reference)


def test_ttl_ends_an_object(client: xdt.Client) -> None:
    reference = client.put(b"x", 1000, ttl=0.2)

    def gone() -> bool:
        try:
            client.get(reference)
        except xdt.ObjectGone:
            return True
        return False

    assert sidecars.eventually("the object expires", gone)


def test_a_buffer_is_filled_in_place_and_put(client: xdt.Client, other: xdt.Client) -> None:
    for size in (0, 10, 5_000_000):
        buffer = client.create(size)
        assert len(buffer) == size and not any(bytes(buffer))
        data = os.urandom(size)
        memoryview(buffer)[:] = data
        reference = buffer.put(2, content_type="text/plain", metadata={"a": "b"})
        obj = other.get(reference)
        assert bytes(obj) == data == bytes(client.get(reference))
        assert (obj.content_type, obj.metadata) == ("text/plain", {"a": "b"})
        with pytest.raises(RuntimeError, match="put already"):
            buffer.put()


def test_ranges(client: xdt.Client) -> None:
    reference = client.put(b"0123456789")
    assert bytes(client.get_range(reference, 2, 5)) == b"234"
    assert bytes(client.get_range(reference, 8)) == b"89"
    with pytest.raises(ValueError, match="range"):
        client.get_range(reference, 10)
    assert bytes(client.get_range(reference, 5, final=True)) == b"56789"
    with pytest.raises(xdt.ObjectGone):
        client.get(reference)


@pytest.mark.parametrize("size", [0, 10, 70_000, 3_000_000])
def test_files_are_put(client: xdt.Client, tmp_path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "data"
    path.write_bytes(data)
    seen: list[tuple[int, int | None]] = []
    with path.open("rb") as file:
        file.seek(min(5, size))
        reference = client.put(file, progress=lambda done, total: seen.append((done, total)))
    assert bytes(client.get(reference)) == data[5:]
    assert (seen[-1] == (size - 5, size - 5)) if size else not seen

    class Pipe:
        """Knows nothing of its length."""

        def __init__(self) -> None:
            self.inner = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(size)

    assert bytes(client.get(client.put(Pipe()))) == data


def test_a_failing_file_raises_its_own_exception(client: xdt.Client, producer: sidecars.Sidecar) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise KeyError("the disk")

    held = producer.held()
    with pytest.raises(KeyError, match="the disk"):
        client.put(Broken())
    with pytest.raises(TypeError, match="binary mode"):
        client.put(io.StringIO("text"))
    assert producer.held() == held


def test_an_object_is_read_as_it_arrives(client: xdt.Client, other: xdt.Client) -> None:
    data = os.urandom(3_000_000)
    reference = client.put(data, 4, content_type="a/b", metadata={"k": "v"})
    with other.open(reference) as reader:
        assert (reader.size, reader.content_type, reader.metadata) == (len(data), "a/b", {"k": "v"})
        pieces = list(reader)
    assert b"".join(pieces) == data and max(map(len, pieces)) <= 256 * 1024
    with other.open(reference) as reader:
        assert (
            reader.read(0) == b"" and reader.read(1) == data[:1] and reader.read() == data[1:] and reader.read(9) == b""
        )
    with io.BufferedReader(other.open(reference)) as buffered:
        assert buffered.read(10) == data[:10]
        assert buffered.readline() == data[10 : data.index(b"\n", 10) + 1]
    # Closed before its end, it gave its retrieval back.
    seen: list[tuple[int, int | None]] = []
    with other.open(reference, progress=lambda done, total: seen.append((done, total))) as reader:
        assert hashlib.sha256(reader.read()).digest() == hashlib.sha256(data).digest()
    assert seen[-1] == (len(data), len(data))
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_an_object_is_written_piece_by_piece(client: xdt.Client, producer: sidecars.Sidecar) -> None:
    with client.writer(2, content_type="text/plain", metadata={"k": "v"}) as writer:
        for number in range(1000):
            writer.write(b"%d\n" % number)
        with pytest.raises(ValueError, match="closed"):
            assert writer.reference
    obj = client.get(writer.reference)
    assert obj.text() == "".join(f"{number}\n" for number in range(1000))
    assert (obj.content_type, obj.metadata) == ("text/plain", {"k": "v"})
    held = producer.held()
    with pytest.raises(KeyError), client.writer() as writer:
        writer.write(b"x")
        raise KeyError
    with pytest.raises(xdt.XdtError) as caught, client.writer(size=3) as writer:
        writer.write(b"four")
    assert caught.value.word == "payload-failed"
    sidecars.eventually("what was given up is gone", lambda: producer.held() == held)


@pytest.mark.parametrize("size", [0, 1000, 200_000, 5_000_000])
def test_invoke_carries_any_size(
    function: sidecars.Function, caller: sidecars.Sidecar, transport: str, size: int
) -> None:
    data = os.urandom(size)
    with xdt.Client(transport=transport, **caller.settings) as client:
        response = client.invoke(function.url, data, content_type="application/x-test", headers={"X-Status": "418"})
        assert (response.status, response.ok, response.headers["X-METHOD"]) == (418, False, "POST")
        assert response.headers["content-type"] == "application/x-test"
        assert response.body == data and not response.headers["x-xdt"]
        file = io.BytesIO(data)
        assert client.invoke(function.url, file).body == data
        with client.stream(function.url, data) as streamed:
            assert streamed.status == 200 and streamed.body.read() == data


def test_invoke_without_data_is_a_plain_call(function: sidecars.Function, caller: sidecars.Sidecar) -> None:
    with xdt.Client(**caller.settings) as client:
        response = client.invoke(function.url, method="GET")
        assert (response.status, response.headers["x-method"], len(response.body)) == (200, "GET", 0)
        with pytest.raises(KeyError):
            response.headers["x-none"]
        assert "status" not in repr(response.headers) and dict(response.headers)["x-method"] == "GET"


def test_a_reference_is_handed_on_without_its_bytes(function: sidecars.Function, caller: sidecars.Sidecar) -> None:
    with xdt.Client(**caller.settings) as client:
        reference = client.put(b"elsewhere", content_type="text/x")
        response = client.invoke(function.url, headers={"Xdt-Reference": reference})
        assert (response.text(), response.headers["content-type"]) == ("elsewhere", "text/x")


def test_status_counts(client: xdt.Client) -> None:
    status = client.status()
    assert status["objects"]["bytes_limit"] == 256 * 1024 * 1024 and set(status) >= {"pool", "transfers", "peers"}


def test_the_sidecar_is_found_by_the_environment(producer: sidecars.Sidecar) -> None:
    script = "import xdt; c = xdt.Client(); print(c.get(c.put(b'found')).path)"
    for extra, path in (({}, "instance"), ({"XDT_TRANSPORT": "http"}, "None")):
        environment = {"PATH": os.environ["PATH"], **producer.variables, **extra}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout.strip(), done.stderr) == (path, "")


def test_settings_that_are_wrong_are_named() -> None:
    wrong = [
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"local_address": "localhost"}, "local_address"),
        ({"local_address": 5}, "local_address"),
        ({"local_socket": "no-at"}, "XDT_LOCAL_SOCKET"),
        ({"egress_address": "x"}, "egress_address"),
        ({"transport": "tcp"}, "transport"),
        ({"inline_limit": -1}, "inline_limit"),
        ({"memory_limit": 1.5}, "memory_limit"),
        ({"max_idle_connections": "many"}, "max_idle_connections"),
    ]
    for given, name in wrong:
        with pytest.raises((ValueError, TypeError), match=name):
            xdt.Client(**given)


def test_arguments_that_are_wrong_are_named(client: xdt.Client) -> None:
    reference = client.put(b"x")
    url = "http://f.localhost/"
    wrong = [
        (lambda: client.put(5), "data: must have the buffer protocol"),
        (lambda: client.put(None), "data: must have the buffer protocol"),
        (lambda: client.put("text"), "encode"),
        (lambda: client.put(memoryview(b"abcdef")[::2]), "data: must be memory in one piece"),
        (lambda: client.put(b"", 0), "retrievals: must be a whole number from 1 to 65535"),
        (lambda: client.put(b"", 65536), "retrievals"),
        (lambda: client.put(b"", "2"), "retrievals"),
        (lambda: client.put(b"", content_type=5), "content_type: must be str"),
        (lambda: client.put(b"", content_type="a\nb"), "content_type"),
        (lambda: client.put(b"", metadata={"a": 1}), "metadata: must be a dict of str to str"),
        (lambda: client.put(b"", metadata="x"), "metadata: must be a mapping"),
        (lambda: client.put(b"", metadata={"a b": "c"}), "metadata: a name"),
        (lambda: client.put(b"", ttl=-1), "ttl: must be a number of seconds"),
        (lambda: client.put(b"", ttl=float("nan")), "ttl"),
        (lambda: client.put(b"", timeout="soon"), "timeout: must be seconds"),
        (lambda: client.put(b"", progress=print), "progress"),
        (lambda: client.get(5), "reference: must be an xdt.Reference or str"),
        (lambda: client.get(reference, timeout=0), "timeout"),
        (lambda: client.get_range(reference, -1), "start"),
        (lambda: client.get_range(reference, 5, 2), "range"),
        (lambda: client.create(-1), "size: must be a whole number"),
        (lambda: client.create("1"), "size"),
        (lambda: client.writer(size=-1), "size"),
        (lambda: client.writer(size=1).write("text"), "data: must have the buffer protocol"),
        (lambda: client.invoke("https://f/", b""), "url: scheme https"),
        (lambda: client.invoke(5, b""), "url: must be str"),
        (lambda: client.invoke(url, "text"), "data"),
        (lambda: client.invoke(url, b"", method="A B"), "method"),
        (lambda: client.invoke(url, b"", method=5), "method: must be str"),
        (lambda: client.invoke(url, b"", headers={"a": 5}), "headers: must be"),
        (lambda: client.invoke(url, b"", headers={"content-length": "5"}), "content-length"),
        (lambda: client.map(url, [], concurrency=0).__next__(), "concurrency"),
        (lambda: client.gather([], concurrency=1000), "concurrency"),
    ]
    for call, text in wrong:
        with pytest.raises((TypeError, ValueError), match=text):
            call()
    assert bytes(client.get(reference)) == b"x", "nothing was used up"


def test_a_closed_client_says_so(producer: sidecars.Sidecar) -> None:
    with xdt.Client(**producer.settings) as client:
        reference = client.put(b"x")
        obj = client.get(reference)
    assert client.closed and "closed" in repr(client)
    client.close()
    for call in (lambda: client.put(b"x"), lambda: client.get(reference), lambda: client.create(1), client.status):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert bytes(obj) == b"x", "objects outlive their client"
