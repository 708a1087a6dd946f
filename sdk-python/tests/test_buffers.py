"""Memory: what goes in, what comes out, and how long it lives. Needs no numpy, so that it runs on every Python."""

from __future__ import annotations

import array
import ctypes
import gc
import os
import pickle
import sys
import threading
import weakref

import pytest

import xdt

import sidecars


def address(memory: object) -> int:
    """Where the first byte of read-only memory is."""

    class PyBuffer(ctypes.Structure):
        _fields_ = [("buf", ctypes.c_void_p), ("rest", ctypes.c_ssize_t * 16)]

    view = PyBuffer()
    assert ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(view), 0) == 0
    start = view.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    return int(start)


def test_every_kind_of_buffer_arrives(client: xdt.Client) -> None:
    for size in (0, 10, 100_000, 1_000_000):
        data = os.urandom(size)
        kinds = [data, bytearray(data), memoryview(data), array.array("B", data), pickle.PickleBuffer(data)]
        kinds += [memoryview(b"x" + data)[1:], (ctypes.c_char * size).from_buffer_copy(data)]
        for kind in kinds:
            assert bytes(client.get(client.put(kind))) == data, type(kind)
    words = array.array("d", [1.5, -2.5])
    back = client.get(client.put(words))
    assert memoryview(back).cast("d").tolist() == [1.5, -2.5]
    assert bytes(client.get(client.put(back))) == words.tobytes(), "an object is a buffer like any other"


def test_objects_are_read_only(client: xdt.Client) -> None:
    obj = client.get(client.put(b"0123456789"))
    view = memoryview(obj)
    assert view.readonly and view.contiguous and view.format == "B" and view.nbytes == len(obj) == 10
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises((BufferError, TypeError)):
        (ctypes.c_char * 10).from_buffer(obj)
    assert obj[0] == 48 and bytes(obj[2:4]) == b"23" and isinstance(obj[2:4], memoryview)
    assert obj == bytearray(b"0123456789") and obj != b"other" and obj != 5
    with pytest.raises(TypeError):
        hash(obj)
    with pytest.raises(TypeError, match="objects come from client"):
        xdt.Object(b"")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 100, 32 * 1024, 40_000, 1_000_000, 3_000_001])
def test_memory_is_aligned(client: xdt.Client, other: xdt.Client, size: int) -> None:
    reference = client.put(bytes(size), 2)
    for obj in (client.get(reference), other.get(reference)):
        assert address(obj) % 64 == 0


def test_memory_lives_as_long_as_its_views(client: xdt.Client) -> None:
    data = os.urandom(5_000_000)
    view = memoryview(client.get(client.put(data)))[1_000_000:]
    gc.collect()
    assert view == data[1_000_000:]
    buffer = client.create(5_000_000)
    view = memoryview(buffer)
    del buffer
    gc.collect()
    view[:] = data
    assert view == data


def test_memory_is_given_back_after_a_put(client: xdt.Client) -> None:
    data = bytearray(os.urandom(1_000_000))
    client.put(data)

    def free() -> bool:
        try:
            data.append(0)  # refused while somebody has a view
        except BufferError:
            return False
        return True

    sidecars.eventually("the memory is free", free)


def test_what_is_written_after_the_put_stays_here(client: xdt.Client) -> None:
    buffer = client.create(100_000)
    view = memoryview(buffer)
    view[:] = b"a" * 100_000
    reference = buffer.put(2)
    assert view == b"a" * 100_000
    view[:] = b"b" * 100_000
    assert view == b"b" * 100_000
    assert bytes(client.get(reference)) == b"a" * 100_000
    del buffer, view
    gc.collect()
    assert bytes(client.get(reference)) == b"a" * 100_000


def test_a_file_is_read_into_a_buffer(client: xdt.Client, tmp_path) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "data").write_bytes(data)
    buffer = client.create(len(data))
    with (tmp_path / "data").open("rb") as file:
        assert file.readinto(buffer) == len(data)
    assert bytes(client.get(buffer.put())) == data


def test_readinto_fills_what_it_is_given(client: xdt.Client) -> None:
    data = os.urandom(200_000)
    reader = client.open(client.put(data))
    target = bytearray(b"." * 300_000)
    count = 0
    while got := reader.readinto(memoryview(target)[count:]):
        count += got
    assert count == len(data) and target[:count] == data and set(target[count:]) == {ord(".")}
    reader = client.open(client.put(data))
    assert reader.readinto(bytearray()) == 0
    with pytest.raises(ValueError, match="writable memory"):
        reader.readinto(b"read-only")
    with pytest.raises(TypeError, match="writable memory"):
        reader.readinto(5)  # type: ignore[arg-type]


def test_threads_fill_one_buffer(client: xdt.Client) -> None:
    buffer = client.create(8 * 100_000)
    view = memoryview(buffer)

    def fill(number: int) -> None:
        view[number * 100_000 : (number + 1) * 100_000] = bytes([number]) * 100_000

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bytes(client.get(buffer.put())) == b"".join(bytes([number]) * 100_000 for number in range(8))


def test_objects_can_be_pickled_out_of_band(client: xdt.Client) -> None:
    obj = client.get(client.put(b"0123456789" * 1000))
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps({"data": pickle.PickleBuffer(obj)}, protocol=5, buffer_callback=buffers.append)
    assert len(text) < 100 and bytes(buffers[0]) == bytes(obj)


def test_classes_are_what_they_say(client: xdt.Client) -> None:
    obj, buffer = client.get(client.put(b"x")), client.create(1)
    assert type(obj) is xdt.Object and type(buffer) is xdt.Buffer
    assert "1 bytes" in repr(obj) and "1 bytes" in repr(buffer) and not buffer.was_put
    counted = sys.getrefcount(xdt.Object)
    for _ in range(100):
        client.get(client.put(b"x"))
    assert sys.getrefcount(xdt.Object) <= counted + 1, "instances let go of their class"
    with pytest.raises(TypeError):
        weakref.ref(obj)
