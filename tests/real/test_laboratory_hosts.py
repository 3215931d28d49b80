"""The laboratory itself: its hosts meet by the wires only, are cut off and killed at will, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.kernel.errors import HostError
from pilvi.laboratory import GATEWAY, Laboratory

from .laboratory import until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    made = Laboratory(tmp_path / "laboratory", follow=True)
    made.start(["a", "b"])
    yield made
    made.end()


def reaches(laboratory: Laboratory, name: str, address: str) -> bool:
    return laboratory.host(name).run(["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


def processes(folder: Path) -> list[int]:
    """Those whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_hosts_are_apart_and_joined_by_wires(laboratory: Laboratory) -> None:
    a, b = laboratory.host("a"), laboratory.host("b")
    assert (a.run(["hostname"]).stdout, b.run(["hostname"]).stdout) == ("a\n", "b\n")
    a.run(["ip", "netns", "add", "same-name"])
    b.run(["ip", "netns", "add", "same-name"])
    assert not Path("/run/netns/same-name").exists()
    a.run(["touch", "/run/state/here"])
    assert (a.state / "here").exists()
    assert not (b.state / "here").exists()
    assert len(a.run(["ps", "-e", "-o", "comm="]).stdout.split()) <= 3, "a host sees its own processes only"
    assert reaches(laboratory, "a", laboratory.address("b"))
    assert not reaches(laboratory, "a", GATEWAY), "the external network is reached by who has an address in it"
    a.run(["ip", "address", "add", "172.24.4.9/24", "dev", "eth1"])
    assert reaches(laboratory, "a", GATEWAY)


def test_a_host_is_cut_off_and_comes_back(laboratory: Laboratory) -> None:
    laboratory.cut("b")
    assert not reaches(laboratory, "a", laboratory.address("b"))
    laboratory.restore("b")
    until("it is reached again", lambda: reaches(laboratory, "a", laboratory.address("b")), 10)


def test_a_killed_host_takes_everything_with_it(laboratory: Laboratory) -> None:
    sign = "7341.5"  # seconds, by which the process is known
    running = laboratory.host("b").start(["sh", "-c", f"setsid sleep {sign} & setsid sleep {sign}"])
    until("it runs", lambda: laboratory.host("b").run(["pgrep", "-c", "sleep"], check=False).stdout == "2\n", 10)
    laboratory.host("b").kill()
    running.wait(10)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if sign.encode() in _read(path)]
    with pytest.raises(HostError, match="b is down"):
        laboratory.host("b").run(["true"])
    (laboratory.host("b").state / "kept").touch()
    laboratory.boot("b")
    assert laboratory.host("b").run(["ls", "/run/state"]).stdout == "kept\n", "its disk is as it was"
    assert reaches(laboratory, "a", laboratory.address("b"))


def test_hosts_end_with_the_process_that_they_follow(tmp_path: Path) -> None:
    folder = tmp_path / "laboratory"
    script = "import sys, time; from pathlib import Path; from pilvi.laboratory import Laboratory\n"
    # the hosts' lives hang on pipes that the object holds: it is kept
    script += "kept = Laboratory(Path(sys.argv[1]), follow=True); kept.start(['a']); print('up', flush=True); time.sleep(600)"
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    )
    assert owner.stdout is not None
    with owner:
        try:
            assert owner.stdout.readline() == "up\n"
            there = processes(folder)
        finally:
            owner.send_signal(signal.SIGKILL)
    assert len(there) == 3, "the owner, the host, and what is outside"
    until("nothing is left", lambda: not processes(folder), 10)


def test_hosts_that_are_kept_are_found_again(tmp_path: Path) -> None:
    first = Laboratory(tmp_path / "laboratory")
    first.start(["a", "b"])
    try:
        pid = first.host("a").pid
        again = Laboratory(tmp_path / "laboratory")
        again.start(["a", "b"])
        assert again.host("a").pid == pid
        os.kill(again.outside.pid, signal.SIGKILL)
        until("the wires are gone", lambda: not again.outside.pid, 10)
        again.start(["a", "b"])
        assert reaches(again, "a", again.address("b")), "what is left of it is cleared, and it is made anew"
    finally:
        Laboratory(tmp_path / "laboratory").end()
    assert not processes(tmp_path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
