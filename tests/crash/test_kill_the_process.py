"""SIGKILL hits the real process at twenty random moments while servers are made and deleted: nothing is stuck, nothing leaks."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi.compute.drivers.fake_world import small_disk
from pilvi.kernel.testing import databases
from pilvi.kernel.testing.ports import take_port
from tests.crash import audit
from tests.crash.lives import HOST, Life, World

BOOTS, KILLS = 20, 20
TOP = Path(__file__).parents[2]
UNLIMITED = ["COMPUTE__QUOTA__INSTANCES", "COMPUTE__QUOTA__CORES", "COMPUTE__QUOTA__RAM", "BLOCK_STORAGE__QUOTA__VOLUMES"]


class Gone(Exception):
    """The process died before it answered."""


class Pilvi:
    """The process, started again after each death, and a client that asks again after each."""

    def __init__(self, folder: Path) -> None:
        self.state, self.world = folder / "pilvi", folder / "world"
        self.state.mkdir()
        self.world.mkdir()
        self.port = take_port()
        own = {"PILVI_API__PORT": str(self.port), "PILVI_HOST": HOST, "CRASH_WORLD": str(self.world), "PYTHONPATH": f"{TOP / 'src'}:{TOP}"}
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PILVI_")}
        self.environment = {**outside, **own, **databases.environment(self.state), **{f"PILVI_{name}": "-1" for name in UNLIMITED}}
        self.running: subprocess.Popen[bytes] | None = None
        self.token = ""
        self.answers = threading.Event()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tests.crash.process", *words, "--state", str(self.state)]

    def start(self) -> None:
        with open(self.state / "words", "ab") as words:
            self.running = subprocess.Popen(
                self.command("up", "--foreground", "--fake"), env=self.environment, cwd=TOP, stdin=subprocess.DEVNULL, stdout=words, stderr=words
            )

    def kill(self) -> None:
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def ready(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.running is not None
            assert self.running.poll() is None, (self.state / "words").read_text()[-3000:]
            try:
                self.once("GET", "/identity/v3", None)
            except Gone:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the process does not answer")

    def once(self, method: str, path: str, body: Any, *, data: bytes | None = None) -> tuple[int, Any, dict[str, str]]:
        """One request; raises Gone when the process does not live to answer it."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        kind = "application/octet-stream" if data is not None else "application/json"
        headers = {"Content-Type": kind, "X-Auth-Token": self.token, "OpenStack-API-Version": "compute 2.90"}
        try:
            link.request(method, path, body=data if data is not None else json.dumps(body) if body is not None else None, headers=headers)
            answer = link.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Gone from error
        finally:
            link.close()
        return answer.status, json.loads(content) if content else None, dict(answer.headers.items())

    def ask(self, method: str, path: str, body: Any = None, *, done: Callable[[], bool] | None = None, data: bytes | None = None) -> Any:
        """Ask until there is an answer; before it asks again it looks whether that was `done` without one."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                status, told, _ = self.once(method, path, body, data=data)
            except Gone:
                time.sleep(0.05)
                if done is not None and done():
                    return None
                continue
            if method == "DELETE" and status == 404:
                return None
            assert status < 300, f"{method} {path}: {status} {told}"
            return told
        raise AssertionError(f"{method} {path}: no answer")

    def log_in(self) -> None:
        password = (self.state / "admin-password").read_text().strip()
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        status, told, headers = self.once("POST", "/identity/v3/auth/tokens", body)
        assert status == 201, told
        self.token = next(value for name, value in headers.items() if name.lower() == "x-subject-token")

    def named(self, path: str, key: str, name: str) -> str:
        """The id of the thing of that name, "" when there is none."""
        return next((one["id"] for one in self.ask("GET", path)[key] if one["name"] == name), "")


@pytest.fixture
def pilvi(tmp_path: Path) -> Iterator[Pilvi]:
    made = Pilvi(tmp_path)
    yield made
    made.kill()


def make(pilvi: Pilvi, path: str, key: str, name: str, body: dict[str, Any]) -> str:
    """Make a thing of that name, once, however often the process dies."""
    plural = f"{key}s"
    if not pilvi.named(path, plural, name):
        pilvi.ask("POST", path, {key: {"name": name, **body}}, done=lambda: bool(pilvi.named(path, plural, name)))
    return pilvi.named(path, plural, name)


def work(pilvi: Pilvi, image: str, network: str) -> None:
    """Twenty boots: every fourth with a volume of its own, every fourth on a port; every third is deleted at once."""
    for number in range(BOOTS):
        body: dict[str, Any] = {"flavorRef": "1", "imageRef": image, "networks": [{"uuid": network}]}
        if number % 4 == 1:
            root = {"source_type": "image", "destination_type": "local", "uuid": image, "boot_index": 0}
            blank = {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True, "boot_index": -1}
            body["block_device_mapping_v2"] = [root, blank]
        if number % 4 == 2:
            body["networks"] = [{"port": make(pilvi, "/network/v2.0/ports", "port", f"p{number}", {"network_id": network})}]
        made = make(pilvi, "/compute/v2.1/servers", "server", f"s{number}", body)
        if number % 3 == 2:
            pilvi.ask("DELETE", f"/compute/v2.1/servers/{made}")


def test_twenty_deaths(pilvi: Pilvi) -> None:
    seed = int(os.environ.get("CRASH_SEED", "0")) or random.randrange(1 << 30)
    print(f"CRASH_SEED={seed}")
    dice = random.Random(seed)
    pilvi.start()
    pilvi.ready()
    pilvi.log_in()
    image = pilvi.ask("POST", "/image/v2/images", {"name": "tiny", "disk_format": "qcow2", "container_format": "bare"})["id"]
    pilvi.ask("PUT", f"/image/v2/images/{image}/file", data=small_disk("qcow2"))
    network = make(pilvi, "/network/v2.0/networks", "network", "net", {})
    make(pilvi, "/network/v2.0/subnets", "subnet", "sub", {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"})
    failures: list[BaseException] = []

    def client() -> None:
        try:
            work(pilvi, image, network)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=client, name="client")
    thread.start()
    for turn in range(KILLS):
        if turn % 5 == 4:
            time.sleep(dice.uniform(0.1, 1.0))  # while it starts
        else:
            pilvi.ready()
            time.sleep(dice.uniform(0.0, 0.5))
        pilvi.kill()
        pilvi.start()
    thread.join(120)
    assert not thread.is_alive()
    assert not failures, failures[0]
    pilvi.ready()
    wait_until_settled(pilvi)
    checked = subprocess.run(pilvi.command("check"), env=pilvi.environment, cwd=TOP, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    statuses = {one["name"]: one["status"] for one in pilvi.ask("GET", "/compute/v2.1/servers/detail")["servers"]}
    assert statuses == {f"s{number}": "ACTIVE" for number in range(BOOTS) if number % 3 != 2}
    pilvi.kill()
    look_closely(pilvi)


def wait_until_settled(pilvi: Pilvi) -> None:
    """Wait until no server is being made or deleted."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        servers = pilvi.ask("GET", "/compute/v2.1/servers/detail")["servers"]
        if all(one["OS-EXT-STS:task_state"] is None and one["status"] != "BUILD" for one in servers):
            return
        time.sleep(0.1)
    raise AssertionError(f"stuck: {[(one['name'], one['status'], one['OS-EXT-STS:task_state']) for one in servers]}")


def look_closely(pilvi: Pilvi) -> None:
    """The audit, by a program of this process in the same world."""
    life = Life(pilvi.state, World.read(pilvi.world)).start()
    try:
        audit.settled(life)
    finally:
        life.stop()
