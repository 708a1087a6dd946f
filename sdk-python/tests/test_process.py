"""The package as a guest in a process: threads, forks, Ctrl-C, and nothing left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

import xdt

import sidecars


def run(script: str, sidecar: sidecars.Sidecar, *arguments: str) -> str:
    """The output of a script in a process of its own."""
    environment = {"PATH": os.environ["PATH"], **sidecar.variables}
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def test_threads_put_and_get_at_once(client: xdt.Client, other: xdt.Client) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for size in (10, 100_000, 1_000_000):
                data = bytes([number]) * size
                assert other.get(client.put(data)) == data
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_the_interpreter_runs_on_while_a_call_waits(producer: sidecars.Sidecar) -> None:
    with sidecars.sidecar() as silent, xdt.Client(**silent.settings) as client:
        reference = client.put(b"x")
        silent.pause()
        waiting = threading.Thread(target=lambda: client.get(reference))
        waiting.start()
        counted = 0
        with xdt.Client(**producer.settings) as busy:
            for _ in range(100):
                counted += len(busy.get(busy.put(b"1234")))
        assert counted == 400 and waiting.is_alive(), "the other call still waits"
        silent.resume()
        waiting.join(sidecars.PATIENCE)
        assert not waiting.is_alive()


def test_ctrl_c_ends_a_waiting_call() -> None:
    with sidecars.sidecar() as silent:
        script = """
import os, signal, sys, threading, time, xdt
client = xdt.Client(timeout=100)
reference = client.put(b"x")
print("ready", flush=True)
sys.stdin.readline()
for call in (lambda: client.get(reference), lambda: client.status(), lambda: client.put(bytes(1000))):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        call()
        print("no interrupt")
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - began < 20)
"""
        command = [sys.executable, "-c", script]
        environment = {"PATH": os.environ["PATH"], **silent.variables}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as child:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            silent.pause()
            told, _ = child.communicate("\n", timeout=60)
        assert told.split() == ["interrupted", "True"] * 3


def test_a_forked_child_must_make_its_own_client(producer: sidecars.Sidecar) -> None:
    script = """
import os, xdt
client = xdt.Client()
reference = client.put(bytes(1000000), 3)
obj, reader, buffer = client.get(reference), client.open(reference), client.create(10)
writer = client.writer()
child = os.fork()
if child == 0:
    for call in (lambda: client.put(b"x"), lambda: client.get(reference), lambda: client.create(1), lambda:
                 reader.read(1), lambda: buffer.put(), lambda: writer.write(b"x")):
        try:
            call()
            os._exit(1)
        except RuntimeError as error:
            if "fork" not in str(error):
                os._exit(2)
    if bytes(obj) != bytes(1000000):
        os._exit(3)
    client.close(); reader.close(); writer.abort()
    del client, reader, buffer, writer
    own = xdt.Client()
    if bytes(own.get(own.put(b"child"))) != b"child":
        os._exit(4)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
# The parent's connections are as they were.
print(len(reader.read()), bytes(client.get(client.put(b"parent"))))
writer.write(b"abc"); writer.close()
print(bytes(client.get(writer.reference)), client.status()["objects"]["held"] >= 0)
"""
    assert run(script, producer).splitlines() == ["0", "1000000 b'parent'", "b'abc' True"]


def test_multiprocessing_by_fork_works(producer: sidecars.Sidecar) -> None:
    script = """
import multiprocessing, os, xdt
def work(number):
    with xdt.Client() as client:
        return bytes(client.get(client.put(b"%d" % number)))
if __name__ == "__main__":
    client = xdt.Client()
    client.put(b"before")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print(pool.map(work, range(6)))
    print(bytes(client.get(client.put(b"after"))))
"""
    with warnings.catch_warnings():
        assert run(script, producer).splitlines() == [str([b"%d" % number for number in range(6)]), "b'after'"]


def test_an_exit_with_work_under_way_is_clean(producer: sidecars.Sidecar) -> None:
    script = """
import asyncio, threading, xdt
client = xdt.Client()
threading.Thread(target=lambda: [client.put(bytes(100000), ttl=1) for _ in range(50)], daemon=True).start()
async def main():
    asyncio.ensure_future(xdt.AsyncClient().put(bytes(10000000), ttl=1))
    await asyncio.sleep(0)
asyncio.run(main())
kept = client.get(client.put(bytes(1000000)))
print("end")
"""
    assert run(script, producer).strip() == "end"


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_a_thousand_cycles_leave_nothing_behind(producer: sidecars.Sidecar, transport: str) -> None:
    data = bytes(100_000)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def maps() -> int:
        with open("/proc/self/maps") as file:
            return sum("memfd:xdt" in line for line in file)

    def cycle() -> None:
        with xdt.Client(transport=transport, **producer.settings) as client:
            buffer = client.create(100_000)
            memoryview(buffer)[:5] = b"start"
            assert memoryview(client.get(buffer.put()))[:5] == b"start"
            client.get(client.put(data))
            client.open(client.put(data)).close()

    for _ in range(20):
        cycle()
    gc.collect()
    before = (descriptors(), maps(), threads())
    for _ in range(1000):
        cycle()
    gc.collect()

    def as_before() -> bool:
        # Threads end by themselves after two seconds without work.
        return descriptors() <= before[0] and maps() <= before[1] and threads() <= before[2]

    sidecars.eventually(f"descriptors, maps and threads are {before} again", as_before)


def test_waiting_costs_no_time_of_the_processor() -> None:
    with sidecars.sidecar() as silent, xdt.Client(**silent.settings) as client:
        client.status()
        silent.pause()
        used = time.process_time()
        with pytest.raises(xdt.Timeout):
            client.status(timeout=1)
        assert time.process_time() - used < 0.5
        silent.resume()
