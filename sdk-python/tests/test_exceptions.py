"""Every exception class, provoked by a real sidecar."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import time

import pytest

import xdt
from xdt import exceptions

import sidecars

RETRYABLE = {xdt.Busy, xdt.ProducerUnreachable, xdt.TransferBroken, xdt.Timeout, xdt.SidecarUnavailable}


def check(error: xdt.XdtError, kind: type[xdt.XdtError], sidecar: sidecars.Sidecar) -> None:
    """What holds for each of them."""
    assert type(error) is kind and error.word == kind.word and str(error).startswith(kind.word)
    assert error.retryable is (kind in RETRYABLE)
    assert error.detail and "127." not in str(error) and sidecar.ip not in repr(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (kind, str(error), error.__dict__)


def test_there_is_one_class_for_each_word() -> None:
    words = {
        "reference-invalid", "wrong-tenant", "object-gone", "too-large", "bad-request", "busy", "draining",
        "producer-unreachable", "transfer-broken", "timeout", "sidecar-unavailable",
    }  # fmt: skip
    classes = [getattr(xdt, name) for name in exceptions.__all__]
    assert {kind.word for kind in classes if kind is not xdt.XdtError} == words
    assert all(issubclass(kind, xdt.XdtError) and kind.__doc__ for kind in classes)


def test_reference_invalid(client: xdt.Client, producer: sidecars.Sidecar) -> None:
    reference = client.put(b"x")
    place = len(reference) // 2
    changed = reference[:place] + ("A" if reference[place] != "A" else "B") + reference[place + 1 :]
    for wrong in (changed, "xdt1.AAAA", "nonsense", "", "xdt1." + "A" * 500, "xdt1.\u00e4"):
        for call in (client.get, client.delete, client.open):
            with pytest.raises(xdt.ReferenceInvalid) as caught:
                call(wrong)
            check(caught.value, xdt.ReferenceInvalid, producer)


def test_wrong_tenant(client: xdt.Client, transport: str) -> None:
    reference = client.put(b"x")
    with (
        sidecars.sidecar(XDT_TENANT="somebody-else") as stranger,
        xdt.Client(transport=transport, **stranger.settings) as other,
    ):
        with pytest.raises(xdt.WrongTenant) as caught:
            other.get(reference)
        check(caught.value, xdt.WrongTenant, stranger)


def test_object_gone(client: xdt.Client, other: xdt.Client, producer: sidecars.Sidecar) -> None:
    reference = client.put(b"x")
    client.get(reference)
    for side in (client, other):
        with pytest.raises(xdt.ObjectGone) as caught:
            side.get(reference)
        check(caught.value, xdt.ObjectGone, producer)


def test_too_large_and_busy(transport: str) -> None:
    environment = {"XDT_MAX_OBJECT_SIZE": "1MiB", "XDT_OBJECT_MEMORY": "1MiB", "XDT_BUFFER_WAIT": "100ms"}
    with sidecars.sidecar(**environment) as small, xdt.Client(transport=transport, **small.settings) as client:
        with pytest.raises(xdt.TooLarge) as caught:
            client.put(bytes(1 << 21))
        check(caught.value, xdt.TooLarge, small)
        reference = client.put(bytes(700_000))
        with pytest.raises(xdt.Busy) as busy:
            client.put(bytes(700_000))
        check(busy.value, xdt.Busy, small)
        if transport == "http":
            assert busy.value.retry_after is not None and busy.value.retry_after >= 1 and busy.value.status == 429
        with xdt.Client(memory_limit=1000, transport=transport, **small.settings) as modest:
            with pytest.raises(xdt.TooLarge) as caught:
                modest.get(reference)
        check(caught.value, xdt.TooLarge, small)


def test_busy_while_all_retrievals_are_claimed(
    client: xdt.Client, other: xdt.Client, producer: sidecars.Sidecar
) -> None:
    reference = client.put(os.urandom(20_000_000))
    with other.open(reference) as reader:
        assert reader.read(1)
        with pytest.raises(xdt.Busy) as caught:
            client.get(reference)
        check(caught.value, xdt.Busy, producer)


def test_a_retry_waits_and_succeeds(producer: sidecars.Sidecar, consumer: sidecars.Sidecar) -> None:
    patient = xdt.Client(retries=20, **producer.settings)
    reference = patient.put(os.urandom(20_000_000))
    reader = xdt.Client(**consumer.settings).open(reference)
    assert reader.read(1)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (patient.get(reference), done.set()))
    thread.start()
    reader.close()  # gives the retrieval back
    assert done.wait(sidecars.PATIENCE)
    thread.join()


def test_bad_request(client: xdt.Client, producer: sidecars.Sidecar) -> None:
    for call in (lambda: client.put(b"x", ttl=0), lambda: client.put(b"x", metadata={"long": "a" * 9000})):
        with pytest.raises(xdt.BadRequest) as caught:
            call()
        check(caught.value, xdt.BadRequest, producer)


def test_draining(transport: str) -> None:
    with sidecars.sidecar() as leaving, xdt.Client(transport=transport, **leaving.settings) as client:
        reference = client.put(b"held")
        leaving.send(signal.SIGTERM)

        def refused() -> xdt.XdtError | None:
            try:
                client.put(b"x")
            except xdt.XdtError as error:
                return error
            return None

        check(sidecars.eventually("the sidecar refuses objects", refused), xdt.Draining, leaving)
        assert bytes(client.get(reference)) == b"held", "what it holds is served on"


def test_producer_unreachable(other: xdt.Client, consumer: sidecars.Sidecar) -> None:
    with sidecars.sidecar() as short, xdt.Client(**short.settings) as client:
        reference = client.put(b"x")
    with pytest.raises(xdt.ProducerUnreachable) as caught:
        other.get(reference)
    check(caught.value, xdt.ProducerUnreachable, consumer)


def test_transfer_broken(other: xdt.Client, consumer: sidecars.Sidecar) -> None:
    with sidecars.sidecar() as dying:
        with xdt.Client(**dying.settings) as client:
            reference = client.put(bytes(100_000_000))
        reader = other.open(reference)
        assert reader.read(1)
        dying.kill()
        with pytest.raises(xdt.TransferBroken) as caught:
            reader.readall()
        check(caught.value, xdt.TransferBroken, consumer)
        with pytest.raises(xdt.TransferBroken):
            reader.read(1)


def test_timeout(transport: str) -> None:
    environment = {"XDT_PULL_TIMEOUT": "300ms"}
    with sidecars.sidecar() as silent, sidecars.sidecar(**environment) as waiting:
        with xdt.Client(**silent.settings) as client, xdt.Client(transport=transport, **waiting.settings) as other:
            assert other.get(client.put(b"connects the two")) is not None
            reference = client.put(bytes(1_000_000), 2)
            silent.pause()
            with pytest.raises(xdt.Timeout) as caught:
                other.get(reference)
            check(caught.value, xdt.Timeout, waiting)
            began = time.monotonic()
            for call in (lambda: client.get(reference, timeout=0.2), lambda: client.status(timeout=0.2)):
                with pytest.raises(xdt.Timeout):
                    call()
            assert time.monotonic() - began < sidecars.PATIENCE
            silent.resume()


def test_sidecar_unavailable(transport: str) -> None:
    with sidecars.sidecar() as gone, xdt.Client(transport=transport, **gone.settings) as client:
        reference = client.put(b"x")
        gone.kill()
        for call in (lambda: client.put(b"x"), lambda: client.get(reference), client.status):
            with pytest.raises(xdt.SidecarUnavailable) as caught:
                call()
            check(caught.value, xdt.SidecarUnavailable, gone)
        gone.start()
        assert bytes(client.get(client.put(b"back"))) == b"back"
        with pytest.raises(xdt.ObjectGone):
            client.get(reference)


@pytest.mark.parametrize("verb", ["put", "get", "open", "writer", "invoke"])
def test_a_sidecar_killed_in_mid_call_breaks_the_call(verb: str, transport: str) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, sidecars.sidecar(XDT_OBJECT_MEMORY="8MiB", XDT_BUFFER_WAIT="1m") as dying:
        with xdt.Client(transport=transport, timeout=sidecars.PATIENCE, **dying.settings) as client:
            begun = threading.Event()

            class Endless:
                def read(self, size: int = -1) -> bytes:
                    begun.set()
                    return b"x" * size

            def call() -> object:
                if verb == "put":
                    return client.put(Endless())
                if verb == "invoke":
                    return client.invoke(f"http://f.localhost:{silent.getsockname()[1]}/", Endless())
                if verb == "writer":
                    with client.writer() as writer:
                        while True:
                            writer.write(b"x" * 100_000)
                            begun.set()
                reference = client.put(bytes(8_000_000), 2)
                if verb == "open":
                    reader = client.open(reference)
                    reader.read(1)
                    begun.set()
                    while reader.read(10):
                        pass
                    return reader.read(1)
                begun.set()
                while True:
                    client.get_range(reference, 0)

            ended: list[BaseException | object] = []

            def run() -> None:
                try:
                    ended.append(call())
                except BaseException as error:
                    ended.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            assert begun.wait(sidecars.PATIENCE)
            if verb == "open":
                dying.pause()
            dying.kill()
            thread.join(sidecars.PATIENCE)
            assert not thread.is_alive(), "no hang"
            expected = (xdt.SidecarUnavailable, xdt.TransferBroken)
            assert isinstance(ended[0], expected) or (verb == "open" and ended[0] == b""), ended


def test_other_failures_are_the_base_class(caller: sidecars.Sidecar) -> None:
    with socket.socket() as taken, xdt.Client(**caller.settings) as client:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(xdt.XdtError) as caught:
            client.invoke(f"http://127.0.0.1:{taken.getsockname()[1]}/", b"small")
        assert type(caught.value) is xdt.XdtError
        assert (caught.value.word, caught.value.retryable) == ("unreachable", True)


def test_an_answer_that_broke_is_not_repeated() -> None:
    calls = []

    def die(_: object, body: bytes) -> sidecars.Answer:
        calls.append(body)
        return None

    function = sidecars.Function(die)
    try:
        with xdt.Client(retries=5, **function.sidecar.settings) as client:
            try:
                answer = client.invoke(function.url, b"once")
                assert answer.status in (500, 502), answer
            except xdt.XdtError as error:
                assert not error.retryable
        assert calls == [b"once"]
    finally:
        function.stop()
