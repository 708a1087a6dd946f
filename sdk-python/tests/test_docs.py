"""The tutorial: each block of Python on the page is run, in order, as a function beside a sidecar would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import xdt
from xdt import exceptions

import sidecars

DOCS = Path(__file__).parent.parent.parent / "docs" / "python.md"


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line and text of every block of Python."""
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in found]


def test_the_tutorial_runs(caller: sidecars.Sidecar, function: sidecars.Function, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(os.urandom(300_000))
    # Each block stands at its own line, so that a traceback names the line of the page.
    page = blocks(DOCS)
    assert len(page) > 10
    lines = [""] * 1000
    for line, text in page:
        lines[line : line + text.count("\n")] = text.splitlines()
    script = tmp_path / "python.md"
    script.write_text("\n".join(lines))
    run = f"exec(compile(open({str(script)!r}).read(), 'python.md', 'exec'))"
    given = f"url = {function.url!r}; path = {str(source)!r}; {run}"
    environment = {"PATH": os.environ["PATH"], **caller.variables}
    done = subprocess.run([sys.executable, "-c", given], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file.copy").read_bytes() == source.read_bytes()


def test_the_table_of_errors_is_complete() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w-]+)` \|", DOCS.read_text(), re.M)
    classes = [getattr(xdt, name) for name in exceptions.__all__ if name != "XdtError"]
    assert sorted(rows) == sorted((kind.__name__, kind.word) for kind in classes)


def test_the_readme_of_the_package_runs(caller: sidecars.Sidecar, function: sidecars.Function, tmp_path: Path) -> None:
    (text,) = [text for _, text in blocks(DOCS.parent.parent / "sdk-python" / "README.md")]
    text = text.replace("http://consumer.default.svc.cluster.local/", function.url)
    environment = {"PATH": os.environ["PATH"], **caller.variables}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
