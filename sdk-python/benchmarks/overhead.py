"""What Python adds to a call: put and get by size, 100 MB without a copy, and eight threads.

Needs two sidecars of one node or none::

    XDT_BINARIES=target/release python sdk-python/benchmarks/overhead.py

Prints medians; compare ratios only, between variants of one run.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy

import xdt

import sidecars


def microseconds(call: Callable[[], object], times: int) -> float:
    """The median time of ``call``."""
    took = []
    for _ in range(times):
        began = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(took)


def by_size(client: xdt.Client) -> None:
    for size, times in ((10_000, 500), (100_000, 300), (1_000_000, 100), (100_000_000, 5)):
        data = bytes(size)
        put = microseconds(lambda data=data: client.put(data, ttl=1), times // 2 + 1)
        reference = client.put(data, 65535)
        get = microseconds(lambda reference=reference: client.get(reference), times)
        client.delete(reference)
        print(f"{size:>11} B   put {put:10.0f} µs   get {get:10.0f} µs")


def in_place(client: xdt.Client, other: xdt.Client, name: str) -> None:
    buffer = client.create(100_000_000)
    numpy.frombuffer(buffer, dtype=numpy.uint8)[:] = 1
    reference = buffer.put(65535)
    del buffer
    get = microseconds(lambda: numpy.frombuffer(other.get(reference), dtype=numpy.uint8), 20)
    read = microseconds(lambda: int(numpy.frombuffer(other.get(reference), dtype=numpy.uint8)[::4096].sum()), 5)
    print(f"100 MB built in place, {name}: frombuffer(get) {get:8.0f} µs, and every page read {read:8.0f} µs")
    client.delete(reference)


def threads(client: xdt.Client) -> None:
    reference = client.put(bytes(10_000), 65535)

    def work(calls: int) -> None:
        for _ in range(calls):
            client.get(reference)

    for count in (1, 2, 4, 8):
        workers = [threading.Thread(target=work, args=(2000 // count,)) for _ in range(count)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(f"{count} threads: {2000 / (time.perf_counter() - began):8.0f} gets of 10 KB a second")


def main() -> None:
    room = {"XDT_OBJECT_MEMORY": "2GiB"}
    with sidecars.sidecar(**room) as here, sidecars.sidecar(**room) as there:
        with xdt.Client(**here.settings) as client, xdt.Client(**there.settings) as other:
            by_size(client)
            in_place(client, client, "same instance")
            in_place(client, other, "another instance")
            threads(client)


if __name__ == "__main__":
    main()
