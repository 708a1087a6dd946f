"""Arrays, tables, JSON and pickles as objects; scatter and gather."""

from __future__ import annotations

import json
import os
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import xdt
from xdt import codecs

import sidecars


def resident() -> int:
    """Bytes of this process that no other process shares."""
    with open("/proc/self/smaps_rollup") as file:
        lines = dict(line.split(":") for line in file.read().splitlines()[1:])
    return sum(int(lines[name].split()[0]) * 1024 for name in ("Private_Clean", "Private_Dirty"))


def test_an_array_is_the_objects_own_memory(client: xdt.Client) -> None:
    array = np.random.default_rng(1).integers(0, 255, 1_000_000, dtype=np.uint8)
    obj = client.get(client.put(array))
    back = np.frombuffer(obj, dtype=np.uint8)
    assert (back == array).all() and not back.flags.writeable and not back.flags.owndata
    assert np.shares_memory(back, np.frombuffer(obj, dtype=np.uint8)), "no view has a copy"
    with pytest.raises(ValueError):
        back.flags.writeable = True


def test_100_mb_are_got_without_a_copy_in_the_process(producer: sidecars.Sidecar) -> None:
    size = 100_000_000
    with xdt.Client(**producer.settings) as client:
        buffer = client.create(size)
        np.frombuffer(buffer, dtype=np.uint8)[:] = 7
        reference = buffer.put()
        del buffer
        before = resident()
        array = np.frombuffer(client.get(reference), dtype=np.uint8)
        assert int(array.sum(dtype=np.int64)) == 7 * size
        grown = resident() - before
        # The pages themselves are the memory file's; the sidecar let go of it, so they may be counted here, once.
        with open("/proc/self/smaps") as file:
            maps = [line for line in file if "memfd:xdt" in line]
        assert len(maps) == 1 and grown < size * 1.1, (grown, maps)


def test_an_array_stays_valid_after_its_buffer_was_put(client: xdt.Client) -> None:
    buffer = client.create(8 * 1000)
    array = np.frombuffer(buffer, dtype=np.float64)
    array[:] = np.arange(1000)
    reference = buffer.put()
    array += 1
    assert (np.frombuffer(client.get(reference), dtype=np.float64) == np.arange(1000)).all()
    assert (array == np.arange(1, 1001)).all()


ARRAYS: list[Any] = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
    np.arange(100).reshape(10, 10)[::2, 1::3],
    np.zeros((0, 5)),
    np.array(5, dtype=">u4"),
    np.float64(1.5),
    np.array([True, False]),
    np.array(["2026-11-21"], dtype="datetime64[D]"),
    np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "<i4"), ("b", "<f8")]),
    np.zeros(2, dtype=[("name", "S4"), ("grid", "<f4", (2, 3))]),
    np.array(["text", "long text"]),
    np.arange(1_000_000, dtype=np.complex128),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back_with_dtype_and_shape(client: xdt.Client, array: Any) -> None:
    for put in (client.put_numpy, client.put_value):
        back = client.get_numpy(put(array, metadata={"own": "kept"}))
        assert (back.dtype, back.shape) == (array.dtype, array.shape) and (back == array).all()
        assert not back.flags.writeable
    assert back.flags.f_contiguous or not array.flags.f_contiguous


def test_an_array_is_built_in_place(client: xdt.Client) -> None:
    built = client.create_numpy((1000, 100), "int32")
    built.array[:] = 7
    back = client.get_numpy(built.put(metadata={"a": "b"}))
    assert back.shape == (1000, 100) and back.dtype == np.int32 and (back == 7).all()
    for shape, dtype in (((-1,), "f4"), ((2,), object)):
        with pytest.raises((ValueError, TypeError), match=r"shape|dtype"):
            client.create_numpy(shape, dtype)


def test_arrays_of_objects_and_strange_objects_are_refused(client: xdt.Client) -> None:
    with pytest.raises(TypeError, match="array: dtype object holds Python objects"):
        client.put_numpy(np.array([object()]))
    with pytest.raises(ValueError, match="is no numpy array"):
        client.get_numpy(client.put(b"x"))
    for metadata in (
        {"numpy-dtype": '"<f8"', "numpy-shape": "[3]", "numpy-order": "C"},
        {"numpy-dtype": '"|O"', "numpy-shape": "[1]", "numpy-order": "C"},
    ):
        with pytest.raises(ValueError, match="reference"):
            client.get_numpy(client.put(b"12345678", metadata=metadata))


def test_tables_come_back_without_a_copy(client: xdt.Client) -> None:
    table = pa.table({"number": list(range(100_000)), "text": [str(n) for n in range(100_000)]})
    for value in (table, table.to_batches()[0]):
        obj = client.get(client.put_value(value))
        assert obj.content_type == "application/vnd.apache.arrow.stream"
        back = codecs.decode(obj)
        assert back.equals(table)
        start = np.frombuffer(obj, np.uint8).__array_interface__["data"][0]
        assert start <= back["number"].chunk(0).buffers()[1].address < start + len(obj)


def test_json_and_bytes(client: xdt.Client) -> None:
    for value in ({"a": [1, None, "ä"]}, [], "text", 5, 1.5, True, None):
        assert client.get_value(client.put_value(value)) == value
    assert client.get_value(client.put_value(b"bytes")) == b"bytes"
    assert client.get_value(client.put(b'{"a":1}', content_type="application/json; charset=utf-8")) == {"a": 1}
    assert client.get_value(client.put(b"x")) == b"x"
    for value in ({1, 2}, object()):
        with pytest.raises(TypeError, match="value: no codec"):
            client.put_value(value)
    for value in ({"a": {1}}, float("nan")):
        with pytest.raises((TypeError, ValueError), match="JSON"):
            client.put_value(value)
    with pytest.raises(ValueError, match="codec: 'tiff' is not registered; there are arrow, bytes"):
        client.put_value(b"", codec="tiff")


def test_pickle_only_on_request_and_with_a_warning(client: xdt.Client) -> None:
    value = {"set": {1, 2}, "array": np.arange(100_000), "small": np.arange(3)}
    with pytest.warns(codecs.PickleWarning):
        reference = client.put_value(value, 2, codec="pickle")
    with pytest.raises(ValueError, match="allow_pickle"):
        client.get_value(reference)
    back = client.get_value(reference, allow_pickle=True)
    assert back["set"] == {1, 2} and (back["array"] == value["array"]).all()
    assert not back["array"].flags.owndata and not back["array"].flags.writeable, "read where it lies"
    for text in (b"", b"XDTP", b"XDTP" + b"\xff" * 100, pickle.dumps(1)):
        with pytest.raises((ValueError, pickle.UnpicklingError, EOFError)):
            client.get_value(client.put(text, metadata={"codec": "pickle"}), allow_pickle=True)


def test_a_codec_of_ones_own() -> None:
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    class Codec:
        name = "celsius"

        def handles(self, value: Any) -> bool:
            return isinstance(value, Celsius)

        def encode(self, value: Any) -> codecs.Encoded:
            return codecs.Encoded(json.dumps(value.degrees).encode(), "application/x-celsius")

        def decode(self, obj: xdt.Object) -> Any:
            return Celsius(obj.json())

    codecs.register(Codec())
    try:
        encoded = codecs.encode(Celsius(21.5), None, {"room": "5"})
        assert (bytes(encoded.data), encoded.metadata) == (b"21.5", {"room": "5", "codec": "celsius"})
        with pytest.raises(ValueError, match="taken"):
            codecs.register(Codec())
    finally:
        del codecs._codecs["celsius"]
    Codec.name = "No Name"
    with pytest.raises(ValueError, match="name"):
        codecs.register(Codec())


def test_map_keeps_order_and_its_bound(caller: sidecars.Sidecar) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def count(_: Any, body: bytes) -> sidecars.Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        sidecars.eventually("another comes", lambda: most > 1)
        with lock:
            now -= 1
        return (500 if body == b"fail" else 200), {}, body

    function = sidecars.Function(count)
    try:
        with xdt.Client(**caller.settings) as client:
            items = [b"%d" % number for number in range(11)]
            with warnings.catch_warnings():
                answers = list(client.map(function.url, [*items, b"last"], concurrency=3))
            assert [bytes(answer.body) for answer in answers] == [*items, b"last"] and 1 < most <= 3
    finally:
        function.stop()


def test_map_ends_with_the_first_error(caller: sidecars.Sidecar, function: sidecars.Function) -> None:
    with xdt.Client(**caller.settings) as client:
        items = [b"1", b"2", "three", b"4"]
        answers = client.map(function.url, items, concurrency=2)
        assert [bytes(next(answers).body), bytes(next(answers).body)] == [b"1", b"2"]
        with pytest.raises(TypeError, match="data"):
            next(answers)


def test_gather_gets_many_in_order(client: xdt.Client, other: xdt.Client) -> None:
    data = [os.urandom(1000 * number) for number in range(30)]
    references = [client.put(item) for item in data]
    assert other.gather(references, concurrency=4) == data
    with pytest.raises(xdt.ObjectGone):
        other.gather(references)
