"""The main job on real machines: the demo logs in to a server; kill -9 disturbs no guest; down --all leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.kernel.testing.ports import take_port

ROOT = Path(__file__).resolve().parents[2]


class House:
    """A real cloud of this test's own, used by the command line as a person would."""

    def __init__(self, state: Path) -> None:
        self.state = state
        port = take_port()
        self.environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"), PILVI_API__PORT=str(port))
        for name in [name for name in self.environment if name.startswith("OS_")]:
            del self.environment[name]

    def pilvi(self, *words: str, check: bool = True, within: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pilvi", words[0], "--state", str(self.state), *words[1:]]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=within)
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def status(self) -> dict[str, object]:
        return json.loads(self.pilvi("status", "--json").stdout)

    def ssh(self, address: str, command: str) -> str:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=10", "LogLevel=ERROR"]
        words = [part for option in options for part in ("-o", option)]
        done = subprocess.run(
            ["ssh", *words, "-i", str(self.state / "demo" / "id"), f"cirros@{address}", command],
            capture_output=True, text=True, check=True, timeout=60,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.pilvi("down", "--all", check=False)


@pytest.fixture(scope="module")
def told(house: House) -> str:
    """What the demo printed."""
    return house.pilvi("demo").stdout


@pytest.fixture(scope="module")
def address(told: str) -> str:
    """The floating address of the demo's server."""
    found = re.search(r"cirros@([\d.]+)", told)
    assert found
    return found[1]


def test_what_it_says_to_try_next_works(house: House, told: str) -> None:
    lines = [line.strip() for line in told.partition("try next:")[2].splitlines() if "--state" in line]
    assert len(lines) == 2
    for line in lines:
        done = subprocess.run(["sh", "-c", line], env=house.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        assert "demo" in done.stdout


def test_the_demo_boots_a_server_and_logs_in(told: str) -> None:
    assert re.search(r"first login [\d.]+ s after the request", told)
    assert "host name: demo" in told
    assert re.search(r"vdb +1073741824 disk", told), "the volume is seen inside"
    assert re.search(r"^ +28 +[\d.]+ ms ", told, re.MULTILINE), "the trace has the last step"


def test_said_again_it_starts_from_what_is_there(house: House, told: str) -> None:
    again = house.pilvi("demo").stdout
    assert "server demo: there already" in again
    assert "$ openstack server create" not in again


def test_kill_9_disturbs_no_guest(house: House, address: str) -> None:
    mark = "mark-of-this-boot"
    house.ssh(address, f"echo {mark} | sudo tee /run/mark")
    os.kill(int(str(house.status()["pid"])), signal.SIGKILL)
    assert house.ssh(address, "cat /run/mark") == mark, "the guest answers while the program is dead"
    house.pilvi("up")
    assert house.ssh(address, "cat /run/mark") == mark
    end = time.monotonic() + 60
    while (found := house.pilvi("check", check=False)).returncode and time.monotonic() < end:
        time.sleep(1)
    assert found.returncode == 0, found.stdout


def test_metadata_is_answered_after_the_restart(house: House, address: str) -> None:
    assert house.ssh(address, "curl -s http://169.254.169.254/latest/meta-data/local-hostname").startswith("demo")


def test_it_is_small(house: House, told: str) -> None:
    memory = int(str(house.status()["memory_mib"]))
    assert memory <= 150, f"{memory} MiB"


def test_down_all_leaves_nothing_running(house: House, told: str) -> None:
    house.pilvi("down", "--all")
    left = [
        path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(house.state).encode() in path.read_bytes() and int(path.parent.name) != os.getpid()
    ]  # fmt: skip
    assert not left
    digest = hashlib.sha256(str(house.state).encode()).hexdigest()[:8]
    assert not [name for name in os.listdir("/run/netns") if name.startswith(f"pilvi-{digest}")]
