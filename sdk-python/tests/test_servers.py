"""FastAPI and Flask behind the middlewares: on real servers, with and without a sidecar in front of them."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import threading
import wsgiref.simple_server
from collections.abc import Iterator
from typing import Any

import fastapi
import flask
import pytest
import uvicorn

import xdt
import xdt.asgi
import xdt.wsgi

import sidecars

Answer = tuple[int, dict[str, str], bytes]


def fastapi_app(settings: dict[str, Any]) -> Any:
    app = fastapi.FastAPI()

    @app.post("/echo")
    async def echo(request: fastapi.Request) -> fastapi.Response:
        seen = sorted(name for name in request.headers if name.startswith("xdt-"))
        headers = {"x-seen": ",".join(seen), "x-length": request.headers.get("content-length", "none")}
        return fastapi.Response(await request.body(), media_type=request.headers.get("content-type"), headers=headers)

    @app.post("/count")
    async def count(request: fastapi.Request) -> dict[str, int]:
        pieces = [len(piece) async for piece in request.stream()]
        return {"pieces": len(pieces), "bytes": sum(pieces)}

    @app.post("/stream")
    async def stream() -> fastapi.responses.StreamingResponse:
        async def pieces() -> Any:
            for _ in range(30):
                yield b"x" * 10_000

        return fastapi.responses.StreamingResponse(pieces(), media_type="text/x")

    @app.post("/own")
    async def own() -> fastapi.Response:
        return fastapi.Response(b"", headers={"xdt-reference": "xdt1.own"})

    app.add_middleware(xdt.asgi.XdtMiddleware, client=xdt.AsyncClient(**settings))
    return app


def flask_app(settings: dict[str, Any]) -> Any:
    app = flask.Flask("test")

    @app.post("/echo")
    def echo() -> flask.Response:
        seen = sorted(name.lower() for name, _ in flask.request.headers if name.lower().startswith("xdt-"))
        headers = {"x-seen": ",".join(seen), "x-length": flask.request.headers.get("content-length", "none")}
        return flask.Response(flask.request.get_data(), content_type=flask.request.content_type, headers=headers)

    @app.post("/count")
    def count() -> dict[str, int]:
        pieces = []
        while piece := flask.request.stream.read(100_000):
            pieces.append(len(piece))
        return {"pieces": len(pieces), "bytes": sum(pieces)}

    @app.post("/stream")
    def stream() -> flask.Response:
        flask.request.get_data()  # a server that closes on unread bytes resets the connection
        return flask.Response((b"x" * 10_000 for _ in range(30)), content_type="text/x")

    @app.post("/own")
    def own() -> flask.Response:
        return flask.Response(b"", headers={"xdt-reference": "xdt1.own"})

    app.wsgi_app = xdt.wsgi.XdtMiddleware(app.wsgi_app, xdt.Client(**settings))  # type: ignore[method-assign]
    return app


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", params=["fastapi", "flask"])
def server(request: pytest.FixtureRequest, consumer: sidecars.Sidecar) -> Iterator[int]:
    """A server beside ``consumer``, on this port."""
    if request.param == "fastapi":
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(fastapi_app(consumer.settings), log_level="error", ws="none")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(running.serve([listener]),))
        thread.start()
        sidecars.eventually("uvicorn runs", lambda: running.started)
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join()
        listener.close()
    else:
        made = wsgiref.simple_server.make_server("127.0.0.1", 0, flask_app(consumer.settings), handler_class=Quiet)
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made.server_port
        made.shutdown()
        thread.join()
        made.server_close()


def post(port: int, path: str, headers: dict[str, str], body: bytes = b"", host: str = "127.0.0.1") -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=sidecars.PATIENCE)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, read


@pytest.fixture
def here(producer: sidecars.Sidecar) -> Iterator[xdt.Client]:
    with xdt.Client(**producer.settings) as client:
        yield client


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_the_handler_sees_an_ordinary_request(server: int, here: xdt.Client, size: int) -> None:
    data = os.urandom(size)
    reference = here.put(data, content_type="text/own")
    status, headers, body = post(server, "/echo", {"Xdt-Reference": reference, "Content-Type": "a/b", "Xdt-Other": "x"})
    assert (status, body == data) == (200, True)
    assert (headers["x-seen"], headers["x-length"]) == ("", str(size))
    assert headers["content-type"].startswith("text/own")
    with pytest.raises(xdt.ObjectGone):
        here.get(reference)
    reference = here.put(data)
    _, headers, _ = post(server, "/echo", {"Xdt-Reference": reference, "Content-Type": "a/b"})
    assert headers["content-type"] == "a/b", "an object without a type leaves the message's"


def test_a_request_without_a_reference_passes(server: int) -> None:
    status, headers, body = post(server, "/echo", {"Content-Type": "a/b"}, b"plain")
    assert (status, body, headers["content-type"]) == (200, b"plain", "a/b")


def test_the_body_is_streamed(server: int, here: xdt.Client) -> None:
    _, _, body = post(server, "/count", {"Xdt-Reference": here.put(bytes(20_000_000))})
    counted = json.loads(body)
    assert counted["bytes"] == 20_000_000 and counted["pieces"] > 10


def test_what_cannot_be_had_is_a_problem(server: int, here: xdt.Client) -> None:
    gone = here.put(b"x")
    here.delete(gone)
    for given, body, word, expected in (
        ({"Xdt-Reference": gone}, b"", "object-gone", 410),
        ({"Xdt-Reference": "nonsense"}, b"", "reference-invalid", 400),
        ({"Xdt-Reference": here.put(b"x")}, b"also a body", "bad-request", 400),
    ):
        status, headers, problem = post(server, "/echo", given, body)
        assert (status, headers["xdt-error"], headers["content-type"]) == (expected, word, "application/problem+json")
        told = json.loads(problem)
        assert (told["type"], told["status"]) == (f"urn:xdt:error:{word}", expected)


def test_two_references_are_a_bad_request(server: int, here: xdt.Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=sidecars.PATIENCE)
    connection.putrequest("POST", "/echo")
    connection.putheader("Xdt-Reference", here.put(b"1"))
    connection.putheader("Xdt-Reference", here.put(b"2"))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("xdt-error")) == (400, "bad-request")
    connection.close()


@pytest.mark.parametrize("path", ["/echo", "/stream"])
def test_large_answers_become_references(server: int, here: xdt.Client, path: str) -> None:
    data = b"x" * 300_000
    given = {"Content-Type": "text/x", "Xdt-Accept": "reference"}
    status, headers, body = post(server, path, given, data)
    assert (status, body, headers["content-length"], headers["xdt-object-size"]) == (200, b"", "0", "300000")
    obj = here.get(headers["xdt-reference"])
    assert bytes(obj) == data and obj.content_type.startswith("text/x")
    status, headers, body = post(server, "/echo", given, b"small")
    assert (status, body) == (200, b"small") and "xdt-reference" not in headers
    status, headers, body = post(server, path, {"Content-Type": "text/x"}, data)
    assert body == data and "xdt-reference" not in headers, "only callers who accept references get them"


def test_a_reference_of_the_handlers_own_passes(server: int) -> None:
    _, headers, _ = post(server, "/own", {"Xdt-Accept": "reference"})
    assert headers["xdt-reference"] == "xdt1.own"


def test_a_broken_transfer_never_ends_cleanly(server: int) -> None:
    with sidecars.sidecar() as dying:
        with xdt.Client(**dying.settings) as client:
            reference = client.put(bytes(100_000_000))
        connection = http.client.HTTPConnection("127.0.0.1", server, timeout=sidecars.PATIENCE)
        dying.pause()
        done: list[Answer] = []
        thread = threading.Thread(target=lambda: done.append(post(server, "/count", {"Xdt-Reference": reference})))
        thread.start()
        dying.kill()
        thread.join(sidecars.PATIENCE)
        connection.close()
        status, headers, _ = done[0]
        assert status in (502, 503) and headers["xdt-error"] in ("transfer-broken", "producer-unreachable")


def test_behind_a_sidecar(server: int, caller: sidecars.Sidecar) -> None:
    """As on Knative: the sidecar has delivered the object already, and turns the answer into one."""
    with sidecars.sidecar(USER_PORT=str(server)) as front, xdt.Client(**caller.settings) as client:
        data = os.urandom(1_000_000)
        answer = client.invoke(f"{front.url}echo", headers={"Xdt-Reference": client.put(data)})
        assert answer.status == 200 and answer.body == data
