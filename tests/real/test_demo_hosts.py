"""The demo on several hosts: servers meet and one moves; said again it goes on from there; down --all leaves nothing running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "demo"
    yield folder
    pilvi(folder, "down", "--all", check=False)


def pilvi(state: Path, *words: str, check: bool = True) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILVI_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pilvi", words[0], "--state", str(state), *words[1:]], env=environment | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_demo_on_three_hosts(state: Path) -> None:
    told = pilvi(state, "demo", "--hosts", "3")
    assert told.count("3 packets transmitted, 3 received") == 2
    moved = re.search(r"demo-n2 moved from n2 to n1 in [\d.]+ s; of (\d+) pings, ten a second, (\d+) were lost", told)
    assert moved
    assert int(moved[2]) < int(moved[1])
    assert [line.split()[:2] for line in pilvi(state, "lab").splitlines()] == [["controller", "up"], ["n1", "up"], ["n2", "up"], ["outside", "up"]]
    assert "demo-n2" in pilvi(state, "lab", "controller", "openstack", "server", "list", "-f", "value")
    pilvi(state, "down", "--all")
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if os.fsencode(state) in _read(path) and int(path.parent.name) != os.getpid()]
    again = pilvi(state, "demo", "--hosts", "3")
    assert "server demo-n1: there already" in again
    assert "demo-n2 moved from n1 to n2" in again
    next_ones = [line.partition("    #")[0].strip() for line in again.partition("Try next:")[2].splitlines() if " controller " in line]
    assert len(next_ones) == 3
    for line in next_ones:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
