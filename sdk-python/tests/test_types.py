"""The types that the package states: consistent, complete, and those of the compiled half."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xdt

PACKAGE = Path(xdt.__file__).parent
PROJECT = Path(__file__).parent.parent


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=PROJECT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists() and (PACKAGE / "_xdt.pyi").exists()
    run("mypy", "--config-file", "pyproject.toml", "--cache-dir", str(PACKAGE / ".mypy"), "-p", "xdt")


def test_the_stubs_are_those_of_the_compiled_half() -> None:
    run("mypy.stubtest", "xdt._xdt", "--ignore-missing-stub", "--allowlist", "tests/stubtest.txt")


def test_the_style_is_kept() -> None:
    run("ruff", "check", "--no-cache", "python", "tests")
    run("ruff", "format", "--no-cache", "--check", "python", "tests")


@pytest.mark.parametrize("name", [name for name in xdt.__all__ if not name.startswith("_")])
def test_everything_is_documented(name: str) -> None:
    value = getattr(xdt, name)
    assert value.__doc__, name
    for key, member in vars(value).items():
        if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            assert inspect.getdoc(getattr(value, key)), f"{name}.{key}"
