"""Fixtures: sidecars that many tests share, and clients beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import xdt

import sidecars


def pytest_configure(config: pytest.Config) -> None:
    """The wheel is tested, never the source tree."""
    source = Path(__file__).resolve().parent.parent / "python"
    installed = Path(xdt.__file__).resolve()
    assert source not in installed.parents, f"xdt comes from {installed}, not from an installed wheel"
    for name in [name for name in os.environ if name.startswith("XDT_") and name != "XDT_BINARIES"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def producer() -> Iterator[sidecars.Sidecar]:
    """The sidecar of an instance that holds objects."""
    with sidecars.sidecar() as started:
        yield started


@pytest.fixture(scope="session")
def consumer() -> Iterator[sidecars.Sidecar]:
    """The sidecar of another instance of the same tenant."""
    with sidecars.sidecar() as started:
        yield started


@pytest.fixture(scope="session")
def function() -> Iterator[sidecars.Function]:
    """A function that echoes, behind a sidecar."""
    started = sidecars.Function(sidecars.echo)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def caller(function: sidecars.Function) -> Iterator[sidecars.Sidecar]:
    """A sidecar whose egress proxy may turn calls of ``function`` into references."""
    with sidecars.sidecar(XDT_EGRESS_HOSTS=function.sidecar.ip) as started:
        yield started


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both ways to a sidecar."""
    return str(request.param)


@pytest.fixture
def client(producer: sidecars.Sidecar, transport: str) -> Iterator[xdt.Client]:
    """A client beside ``producer``."""
    with xdt.Client(transport=transport, **producer.settings) as made:
        yield made


@pytest.fixture
def other(consumer: sidecars.Sidecar, transport: str) -> Iterator[xdt.Client]:
    """A client beside ``consumer``."""
    with xdt.Client(transport=transport, **consumer.settings) as made:
        yield made
