"""Real sidecars and functions for tests: processes on loopback addresses of their own, ended with the test."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

#: Folder of the sidecar's binary.
BINARIES = Path(os.environ["XDT_BINARIES"])
#: Seconds until something that must happen has happened.
PATIENCE = 20.0
#: Ports of a sidecar.
SERVING, ADMIN, STATS, METRICS, DATA, LOCAL, EGRESS = 8012, 8022, 9090, 9091, 8014, 8015, 8016
#: First of the addresses: beyond those of the Rust tests' kit (127.64.0.0/10).
FIRST = 0x7FD00000
COUNT = 1 << 19


def eventually(what: str, condition: Callable[[], Any]) -> Any:
    """The first true value of ``condition``; an error after the patience is over."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        pause.wait(0.01)


def secret(seed: int) -> str:
    """A key for tests."""
    return base64.b64encode(bytes((seed * 31 + place) % 256 for place in range(32))).decode()


def _free_address() -> tuple[str, socket.socket]:
    """An address on which a sidecar's ports are free, and what keeps other tests off it."""
    turn = os.getpid() * 7919
    for attempt in range(10_000):
        number = FIRST + (turn + attempt) % COUNT
        ip = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
        held = socket.socket()
        try:
            held.bind((ip, 7999))
        except OSError:
            held.close()
            continue
        return ip, held
    raise AssertionError("no free loopback address")


class Sidecar:
    """One ``xdt-queue-proxy`` process."""

    def __init__(self, **environment: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="xdt-test-")
        self.ip, self._held = _free_address()
        self.socket = f"@xdt-python-{self.ip}"
        self._ring = Path(self.folder.name) / "ring.json"
        keys = [{"id": "test-1", "secret": secret(1)}]
        self._ring.write_text(json.dumps({"primary": "test-1", "keys": keys}))
        self._log = Path(self.folder.name) / "log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "CONTAINER_CONCURRENCY": "0",
            "QUEUE_SERVING_PORT": str(SERVING),
            "QUEUE_SERVING_TLS_PORT": "8112",
            "USER_PORT": "1",
            "REVISION_TIMEOUT_SECONDS": "60",
            "SERVING_LOGGING_CONFIG": "",
            "SERVING_LOGGING_LEVEL": "",
            "SERVING_NAMESPACE": "default",
            "SERVING_CONFIGURATION": "configuration",
            "SERVING_REVISION": "revision",
            "SERVING_POD": "pod",
            "SERVING_POD_IP": self.ip,
            "XDT_BIND_ADDRESS": self.ip,
            "XDT_LOCAL_ADDRESS": f"{self.ip}:{LOCAL}",
            "XDT_EGRESS_ADDRESS": f"{self.ip}:{EGRESS}",
            "XDT_LOCAL_SOCKET": self.socket,
            "XDT_KEYRING_FILE": str(self._ring),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, or starts it anew on the same address."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARIES / "xdt-queue-proxy"], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually("the sidecar listens", self._ready)

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the sidecar ended at start: {self.log}")
        with contextlib.suppress(OSError):
            socket.create_connection((self.ip, STATS), timeout=5).close()
            return self.call("GET", "/xdt/v1/status").status == 200
        return False

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    @property
    def url(self) -> str:
        """Where its function is called."""
        return f"http://{self.ip}:{SERVING}/"

    @property
    def settings(self) -> dict[str, Any]:
        """What a client beside it is made with."""
        return {
            "local_address": f"{self.ip}:{LOCAL}",
            "local_socket": self.socket,
            "egress_address": f"{self.ip}:{EGRESS}",
        }

    @property
    def variables(self) -> dict[str, str]:
        """The same as a function's environment."""
        names = ("XDT_LOCAL_ADDRESS", "XDT_LOCAL_SOCKET", "XDT_EGRESS_ADDRESS")
        return {name: self._environment[name] for name in names}

    def call(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        """A request to its local HTTP API."""
        connection = http.client.HTTPConnection(self.ip, LOCAL, timeout=PATIENCE)
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def held(self) -> int:
        """Objects that it holds."""
        connection = http.client.HTTPConnection(self.ip, LOCAL, timeout=PATIENCE)
        connection.request("GET", "/xdt/v1/status")
        status = json.load(connection.getresponse())
        connection.close()
        return int(status["objects"]["held"])

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """Stops it where it is: its sockets stay open and say nothing."""
        self.send(signal.SIGSTOP)
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task")

        def stopped() -> bool:
            stats = [(task / "stat").read_text() for task in tasks.iterdir()]
            return all(stat.rpartition(")")[2].split()[0] in "Tt" for stat in stats)

        eventually("the sidecar stops", stopped)

    def resume(self) -> None:
        """Lets it go on after :meth:`pause`."""
        self.send(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Ends it without warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it, and forgets its folder and address."""
        self.kill()
        self._held.close()
        self.folder.cleanup()


#: Status, headers and body; ``None``: the connection is cut.
Answer = Optional[tuple[int, dict[str, str], bytes]]


class Function:
    """A function behind a sidecar of its own: ``handle(request, body)`` answers every request."""

    def __init__(
        self, handle: Callable[[http.server.BaseHTTPRequestHandler, bytes], Answer], **environment: str
    ) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.answer()

            def do_GET(self) -> None:
                self.answer()

            def answer(self) -> None:
                body = b""
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                answered = handle(self, body)
                if answered is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, answer = answered
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()
        self.sidecar = Sidecar(USER_PORT=str(self.server.server_address[1]), **environment)

    @property
    def url(self) -> str:
        """Where it is called."""
        return self.sidecar.url

    def stop(self) -> None:
        """Ends both."""
        self.sidecar.stop()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@contextlib.contextmanager
def sidecar(**environment: str) -> Iterator[Sidecar]:
    """A sidecar for one ``with`` block."""
    started = Sidecar(**environment)
    try:
        yield started
    finally:
        started.stop()


def echo(request: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
    """Answers with the body, its type, and what came with it."""
    status = int(request.headers.get("X-Status", "200"))
    seen = ",".join(sorted(name.lower() for name in request.headers if name.lower().startswith("xdt-")))
    headers = {
        "Content-Type": request.headers.get("Content-Type", "text/plain"),
        "X-Method": request.command,
        "X-Xdt": seen,
    }
    return status, headers, body
