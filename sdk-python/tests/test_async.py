"""The client that is awaited, under asyncio's own event loop."""

from __future__ import annotations

import asyncio
import io
import os
import threading

import pytest

import xdt

import sidecars


def test_every_verb_is_a_coroutine(producer: sidecars.Sidecar, transport: str) -> None:
    async def main() -> None:
        async with xdt.AsyncClient(transport=transport, **producer.settings) as client:
            data = os.urandom(1_000_000)
            reference = await asyncio.create_task(client.put(data, 4, content_type="a/b", metadata={"k": "v"}))
            obj = await client.get(reference)
            assert obj == data and isinstance(reference, xdt.Reference)
            assert (obj.content_type, obj.metadata) == ("a/b", {"k": "v"})
            assert await client.get_range(reference, 5, 7) == data[5:7]
            async with await client.open(reference) as reader:
                assert reader.size == len(data)
                assert b"".join([piece async for piece in reader]) == data
            reader = await client.open(reference)
            assert await reader.read(3) == data[:3] and await reader.read() == data[3:]
            await client.delete(reference)
            buffer = await client.create(10)
            memoryview(buffer)[:] = b"0123456789"
            reference = await buffer.put()
            with pytest.raises(RuntimeError, match="put already"):
                await buffer.put()
            assert bytes(await client.get(reference)) == b"0123456789"
            assert (await client.status())["objects"]["bytes_limit"]
            assert bytes(await client.get(await client.put(io.BytesIO(data)))) == data
        assert client.closed
        with pytest.raises(RuntimeError, match="closed"):
            await client.put(b"x")

    asyncio.run(main())


def test_exceptions_are_the_same(producer: sidecars.Sidecar) -> None:
    async def main() -> None:
        client = xdt.AsyncClient(**producer.settings)
        reference = await client.put(b"x")
        await client.get(reference)
        with pytest.raises(xdt.ObjectGone):
            await client.get(reference)
        with pytest.raises(TypeError, match="data"):
            await client.put("text")
        with pytest.raises(xdt.ReferenceInvalid):
            await client.delete("nonsense")

    asyncio.run(main())


def test_invoke(function: sidecars.Function, caller: sidecars.Sidecar) -> None:
    async def main() -> None:
        async with xdt.AsyncClient(**caller.settings) as client:
            for size in (10, 2_000_000):
                data = os.urandom(size)
                response = await client.invoke(function.url, data, content_type="a/b")
                assert (response.status, response.body == data, response.headers["content-type"]) == (200, True, "a/b")
                async with await client.stream(function.url, io.BytesIO(data)) as streamed:
                    assert await streamed.body.read() == data
            items = [b"%d" % number for number in range(20)]
            assert [response.body async for response in client.map(function.url, items, concurrency=3)] == items
            references = [await client.put(item) for item in items]
            assert await client.gather(references) == items

    asyncio.run(main())


def test_a_cancelled_call_ends(transport: str) -> None:
    async def main(silent: sidecars.Sidecar) -> None:
        client = xdt.AsyncClient(transport=transport, **silent.settings)
        reference = await client.put(bytes(100_000))
        silent.pause()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.get(reference), 0.2)
        task = asyncio.ensure_future(client.status())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        silent.resume()
        assert await client.get(reference) == bytes(100_000), "a get that was given up used no retrieval"

    with sidecars.sidecar() as silent:
        asyncio.run(main(silent))


def test_one_client_serves_many_event_loops(producer: sidecars.Sidecar) -> None:
    client = xdt.AsyncClient(**producer.settings)
    found: list[bytes] = []

    async def main(number: int) -> None:
        references = await asyncio.gather(*(client.put(b"%d" % number) for _ in range(20)))
        for obj in await asyncio.gather(*(client.get(reference) for reference in references)):
            found.append(bytes(obj))

    loops = [threading.Thread(target=lambda n=number: asyncio.run(main(n))) for number in range(4)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join()
    assert sorted(found) == sorted(b"%d" % number for number in range(4) for _ in range(20))


def test_the_event_loop_runs_on(producer: sidecars.Sidecar) -> None:
    async def main(silent: sidecars.Sidecar) -> None:
        client = xdt.AsyncClient(**silent.settings)
        await client.status()
        silent.pause()
        waiting = asyncio.ensure_future(client.status())
        other = xdt.AsyncClient(**producer.settings)
        for _ in range(50):
            assert await other.get(await other.put(b"x")) == b"x"
        assert not waiting.done()
        silent.resume()
        await waiting

    with sidecars.sidecar() as silent:
        asyncio.run(main(silent))


def test_outside_an_event_loop_it_says_so(producer: sidecars.Sidecar) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        xdt.AsyncClient(**producer.settings)._raw.status_async(None)
