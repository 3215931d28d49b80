"""A cloud of several processes on this machine, each with a state folder of its own; a test kills, freezes and starts them again.

The same class brings up the cloud in one process: then there is one part, with all roles, on SQLite and the in-process bus.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilvi import program as cloud
from pilvi.cli.place import Place
from pilvi.compute.drivers.fake_world import small_disk
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.testing.ports import take_port
from tests.crash import audit
from tests.crash.client import Client, Gone
from tests.crash.lives import HOST, OTHER, Life, Watched, World
from tests.crash.points import Point, Points
from tests.crash.relay import Relay
from tests.crash.zygote import Zygote

PASSWORD = "only-for-tests"  # noqa: S105
AGENTS = ("compute", "network", "volume")
UNLIMITED = ("COMPUTE__QUOTA__INSTANCES", "COMPUTE__QUOTA__CORES", "COMPUTE__QUOTA__RAM", "BLOCK_STORAGE__QUOTA__VOLUMES")


@dataclass(frozen=True)
class Shape:
    """Which processes a cloud has: (name, roles, host); "" are all roles.

    The first is also the compute and network agents of the hosts that it has as `guests`.
    """

    parts: Sequence[tuple[str, str, str]]
    guests: Sequence[str] = ()

    @property
    def hosts(self) -> list[str]:
        return self.hosts_with(*AGENTS)

    def hosts_with(self, *agents: str) -> list[str]:
        """Those that have one of these agents."""
        guests = self.guests if {"compute", "network"} & set(agents) else ()
        return sorted({host for _, roles, host in self.parts if not roles or set(roles.split(",")) & set(agents)} | {*guests})


ALONE = Shape([("all", "", HOST)])
ALONE_WITH_TWO = Shape(ALONE.parts, [OTHER])
CONTROL = [
    ("api1", "api", "c1"), ("api2", "api", "c2"), ("scheduler1", "scheduler", "c3"), ("scheduler2", "scheduler", "c4"),
    ("conductor1", "conductor", "c5"), ("conductor2", "conductor", "c6"), ("conductor3", "conductor", "c7"),
]  # fmt: skip
ONE_HOST = Shape([*CONTROL, *((f"{role}1", role, HOST) for role in AGENTS)])
TWO_HOSTS = Shape([*ONE_HOST.parts, ("compute2", "compute", OTHER), ("network2", "network", OTHER)])


class Part:
    """One process, and those that follow it on the same state folder."""

    def __init__(self, zygote: Zygote, folder: Path, name: str, roles: str, environment: dict[str, str]) -> None:
        self.name, self.roles, self.environment, self._zygote = name, roles, environment, zygote
        self.state = folder / name
        self.state.mkdir()
        self.place = Place(argparse.Namespace(state=str(self.state), config=None))
        self.pid = 0
        self.deaths = 0

    @property
    def words(self) -> str:
        """The last that its processes said."""
        told = [self.state / "words", self.state / "log" / "pilvi.log"]
        return "\n".join(one.read_text(errors="replace")[-3000:] for one in told if one.exists())

    def start(self) -> None:
        arguments = ["up", "--foreground", "--fake", "--state", str(self.state), *(["--roles", self.roles] if self.roles else [])]
        self.pid = self._zygote.start(arguments, self.environment, self.state / "words")

    @property
    def alive(self) -> bool:
        return self.pid > 0 and _is_there(self.pid)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive:
            with suppress(ProcessLookupError):  # it was dying already
                os.kill(self.pid, signal.SIGKILL)
            _gone(self.pid)
            self.deaths += 1
        self.pid = 0

    def stop(self) -> None:
        """End it as an operator would."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            if not _gone(self.pid, within=15):
                self.kill()
        self.pid = 0

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def ready(self, within: float = 60.0) -> None:
        """Wait until it has started."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                if self.place.ask("/status", timeout=10)["pid"] == self.pid:
                    return
            except (Unavailable, ValueError):
                assert self.alive, f"{self.name} ended by itself: {self.words}"
            time.sleep(0.02)
        raise AssertionError(f"{self.name} does not come up: {self.words}")


def _is_there(pid: int) -> bool:
    """Whether any of its threads still lives, and holds its locks."""
    return not _gone(pid, within=0)


def _gone(pid: int, within: float = 10.0) -> bool:
    """Wait until the process is gone; False when it is not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within)[0])
    finally:
        os.close(handle)


@dataclass
class Servers:
    """Where the cloud's database and bus answer; "" and "local:" for the cloud in one process."""

    database: str = ""
    bus: str = "local:"
    settings: dict[str, str] = field(default_factory=dict)


class Parts(Watched):
    """The cloud, its world, and the admin's client."""

    def __init__(self, folder: Path, shape: Shape, servers: Servers, *, far: Mapping[str, Relay] | None = None, **settings: str) -> None:
        self.folder, self.shape, self.servers = folder, shape, servers
        for name in ("world", "points", "images", "image-staging"):
            (folder / name).mkdir(parents=True)
        self.points = Points(folder / "points")
        self.zygote = Zygote(folder)
        with_api = [name for name, roles, _ in shape.parts if not roles or "api" in roles.split(",")]
        ports = {name: take_port() for name in with_api}
        self.front = Relay(list(ports.values()))
        common = {
            "PILVI_API__PUBLIC_URL": f"http://127.0.0.1:{self.front.port}", "PILVI_BUS__URL": servers.bus, "PILVI_HEARTBEAT": "1",
            "PILVI_COMPUTE__HEARTBEAT": "1", "PILVI_NETWORK__HEARTBEAT_EVERY": "1", "PILVI_NETWORK__HEAL_EVERY": "5",
            "PILVI_BLOCK_STORAGE__HEARTBEAT": "1", "PILVI_DATABASE__DURABILITY": "process",
            "CRASH_POINTS": str(folder / "points"), "CRASH_SILENCE": "2", "CRASH_HOSTS": ",".join(shape.guests),
            **{f"PILVI_{name}": "-1" for name in UNLIMITED}, **servers.settings, **settings,
        }  # fmt: skip
        self.control = {
            "PILVI_DATABASE__URL": servers.database, "PILVI_IDENTITY__SECRET": PASSWORD, "PILVI_IDENTITY__ADMIN_PASSWORD": PASSWORD,
            "PILVI_IDENTITY__HASH_MEMORY_KIB": "1024", "PILVI_IMAGE__STORE_PATH": str(folder / "images"),
            "PILVI_IMAGE__STAGING_PATH": str(folder / "image-staging"),
        }  # fmt: skip
        self.parts: dict[str, Part] = {}
        for name, roles, host in shape.parts:
            own = {"PILVI_HOST": host, "PILVI_API__PORT": str(ports.get(name, 0)), "CRASH_WORLD": str(folder / "world")}
            secrets = {} if roles in AGENTS else self.control
            if far and name in far:  # this one reaches the bus through a link of its own
                own["PILVI_BUS__URL"] = f"{servers.bus.rpartition(':')[0]}:{far[name].port}"
            self.parts[name] = Part(self.zygote, folder, name, roles, {**common, **secrets, **own})
        self.client = Client(list(ports.values()))
        self._looking: Any = None
        self._heard: dict[str, int] = {}  # how much of each part's log was read
        self.image = self.network = ""

    # -- coming and going ----------------------------------------------------------------------------

    def start(self) -> Parts:
        for part in self.parts.values():
            part.start()
        self.ready()
        self.client.log_in("admin", PASSWORD, "admin")
        self.wait(lambda: self._known() == {role: self.shape.hosts_with(role) for role in AGENTS}, within=30)
        return self

    def _known(self) -> dict[str, list[str]]:
        """The hosts of which agents have been heard, by role: a server that comes before the network agent of the only host fails."""
        hypervisors = self.ask("GET", "/compute/v2.1/os-hypervisors")["hypervisors"]
        agents = self.ask("GET", "/network/v2.0/agents")["agents"]
        services = self.ask("GET", "/volume/v3/os-services?binary=cinder-volume")["services"]
        told = {
            "compute": [one["hypervisor_hostname"] for one in hypervisors], "network": [one["host"] for one in agents],
            "volume": [one["host"].partition("@")[0] for one in services],
        }  # fmt: skip
        return {role: sorted(set(hosts)) for role, hosts in told.items()}

    def ready(self) -> None:
        """Start what is not there, and wait until all answer."""
        for part in self.parts.values():
            if not part.alive:
                part.start()
        for part in self.parts.values():
            part.ready()

    def close(self) -> None:
        """End all; nothing is left."""
        if self._looking is not None:
            self._looking.bus.close()
            self._looking.db.close()
        for part in self.parts.values():
            part.kill()
        self.zygote.close()
        self.front.close()
        for part in self.parts.values():
            for left in (part.place.socket, part.place.run_dir):
                if left.is_dir():
                    left.rmdir()
                elif left.exists():
                    left.unlink()

    def of(self, role: str) -> list[Part]:
        """The processes of a role."""
        return [part for part in self.parts.values() if role in part.roles.split(",")]

    @property
    def alone(self) -> bool:
        return self.servers.bus == "local:"

    # -- looking -------------------------------------------------------------------------------------

    @property
    def program(self) -> Any:  # type: ignore[override]
        """A program of this process on the cloud's database and bus, which runs nothing."""
        if self._looking is None:
            state = self.parts["all"].state if self.alone else self.folder / "looking"
            state.mkdir(exist_ok=True)
            names = {**next(iter(self.parts.values())).environment, **self.control, "PILVI_HOST": "looking"}
            fakes = {name: {"driver": "fake"} for name in ("compute", "network", "block_storage")}
            chosen = cloud.settings(state, None, names, roles=["scheduler"], **fakes)
            self._looking = cloud.build(chosen)
        return self._looking

    def defects(self) -> list[str]:
        found: list[str] = []
        for name, part in self.parts.items():
            log = part.state / "log" / "pilvi.log"
            if log.exists():
                with open(log, "rb") as file:
                    file.seek(self._heard.get(name, 0))
                    lines = file.read()
                self._heard[name] = self._heard.get(name, 0) + len(lines)
                found += [f"{name}: {line.decode(errors='replace')}" for line in lines.splitlines() if _is_defect(line)]
        return found

    @property
    def world(self) -> World:  # type: ignore[override]
        """What lies on the hosts at this moment."""
        return World.read(self.folder / "world", self.shape.hosts)

    def settled(self, *, within: float = 60.0) -> None:
        """All work ends, and the audit finds nothing."""
        self.idle(within)
        if not self.alone:
            audit.settled(self, within=within)
            return
        assert not (defects := self.defects()), "\n".join(defects)
        self.parts["all"].kill()
        places = {"store_path": str(self.folder / "images"), "staging_path": str(self.folder / "image-staging")}
        life = Life(self.parts["all"].state, self.world, image=places).start()
        try:
            audit.settled(life)
        finally:
            life.stop()
        self.ready()

    # -- speaking ------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, person: str = "admin", **options: Any) -> Any:
        """As the admin; the status must be a good one."""
        return self.client.ask(method, path, body, data=options.get("data"))

    def furnish(self) -> None:
        """An image and a network."""
        wish = {"name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
        self.image = self.ask("POST", "/image/v2/images", wish)["id"]
        self.ask("PUT", f"/image/v2/images/{self.image}/file", data=small_disk("qcow2"))
        self.network = self.ask("POST", "/network/v2.0/networks", {"network": {"name": "net", "shared": True}})["network"]["id"]
        self.ask("POST", "/network/v2.0/subnets", {"subnet": {"network_id": self.network, "ip_version": 4, "cidr": "10.9.0.0/22"}})
        self.idle()

    # -- faults --------------------------------------------------------------------------------------

    def break_verb(self, service: str, verb: str, why: str = "told to fail", times: int | None = None, host: str = HOST) -> None:
        """Have a driver's verb fail, once or until it is healed."""
        assert times in (None, 1)
        (self.folder / "world" / host / f"fault.{service}.{verb}{'' if times is None else '.once'}").write_text(why)

    def heal(self) -> None:
        """Take all faults back."""
        for file in (self.folder / "world").glob("*/fault.*"):
            file.unlink(missing_ok=True)


def _is_defect(line: bytes) -> bool:
    """Whether a line of the log tells of something unexpected in the program itself; libraries tell of their own trouble."""
    return b'"traceback":' in line and b'"logger":' not in line


def answers(check: Callable[[], Any]) -> bool:
    """Whether it can be asked at this moment."""
    try:
        check()
    except (Gone, Unavailable, AssertionError):
        return False
    return True


__all__ = ["ALONE", "ALONE_WITH_TWO", "ONE_HOST", "TWO_HOSTS", "Part", "Parts", "Point", "Servers", "Shape", "answers"]
