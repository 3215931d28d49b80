"""Fifty random operations on real guests, networks and volumes, with the program killed now and then: `pytest -m slow tests/soak/real`.

Needs root rights and the packages of `pilvi install`; $SOAK_CLOUD is the state folder of a running cloud with the image "guest"
and the network "demo" of `pilvi demo`, which is told to stop and start by its own commands.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pilvi.cli.place import parser
from tests.crash.client import Client
from tests.soak.users import SERVERS, VOLUMES, Tally, User

OPERATIONS = int(os.environ.get("SOAK", "50"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 30)
pytestmark = pytest.mark.slow


class Person(User):
    """A user who lets guests boot for a while between two wishes."""

    def act(self) -> None:
        super().act()
        time.sleep(self.dice.uniform(0.5, 4.0))


def pilvi(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pilvi", *words, "--state", os.environ["SOAK_CLOUD"]]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_fifty_operations() -> None:
    from pilvi.cli.place import Place

    print(f"SOAK_SEED={SEED}")
    dice = random.Random(SEED)
    place = Place(parser("soak", "").parse_args(["--state", os.environ["SOAK_CLOUD"]]))
    port = int(place.ask("/status")["url"].rpartition(":")[2])
    client = Client([port], patience=300)
    client.log_in("admin", (place.state / "admin-password").read_text().strip(), "admin")
    image = client.named("/image/v2/images", "images", "guest")
    network = client.named("/network/v2.0/networks", "networks", "demo")
    tally = Tally(OPERATIONS)
    users = [Person(f"real{n}", client, random.Random(dice.random()), tally, image=image, network=network, admin=client) for n in range(2)]
    for user in users:
        user.start()
    deaths = 0
    while any(user.is_alive() for user in users):
        time.sleep(dice.uniform(3, 12))
        deaths += 1
        pid = place.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)
        assert pilvi("up").returncode == 0
    assert not tally.wrong, tally.wrong
    assert settled(client), [(one["name"], one["status"], one["OS-EXT-STS:task_state"]) for one in all_servers(client)]
    checked = pilvi("check")
    assert checked.returncode == 0, checked.stdout
    for one in all_servers(client):
        if "-real" in one["name"]:
            client.ask("DELETE", f"{SERVERS}/{one['id']}")
    assert settled(client)
    for one in rested(client):
        if "-real" in (one["name"] or ""):
            client.ask("DELETE", f"{VOLUMES}/volumes/{one['id']}?cascade=true")
    while any("-real" in (one["name"] or "") for one in rested(client)):
        time.sleep(1)
    checked = pilvi("check")
    assert checked.returncode == 0, checked.stdout
    print(f"{tally.count} operations, {deaths} deaths, slowest answer {tally.slowest:.1f} s; {dict(tally.done)}")


def rested(client: Client, within: float = 300.0) -> list[dict[str, str]]:
    """All volumes, once none is being worked on."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found: list[dict[str, str]] = client.ask("GET", f"{VOLUMES}/volumes/detail")["volumes"]
        if all(one["status"] in ("available", "in-use") or one["status"].startswith("error") for one in found):
            return found
        time.sleep(1)
    raise AssertionError([(one["name"], one["status"]) for one in found])


def all_servers(client: Client) -> list[dict[str, str]]:
    return client.ask("GET", f"{SERVERS}/detail")["servers"]


def settled(client: Client, within: float = 600.0) -> bool:
    """Wait until no server is being worked on, and each that is in ERROR says why."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found = all_servers(client)
        if all(one["OS-EXT-STS:task_state"] is None and one["status"] != "BUILD" for one in found):
            return all(one["status"] != "ERROR" or one.get("fault") for one in found)
        time.sleep(1)
    return False
