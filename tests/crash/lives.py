"""Lives of a program: one that is killed as by SIGKILL, and the next on the same state folder and in the same world."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

from pilvi import identity, program
from pilvi.block_storage.drivers.fake import VolumeWorld
from pilvi.compute.agent import serve as serve_compute
from pilvi.compute.drivers.fake import FakeHypervisor
from pilvi.compute.drivers.fake_world import FakeWorld, small_disk
from pilvi.kernel import clock
from pilvi.kernel.context import Caller
from pilvi.kernel.db import Transaction
from pilvi.kernel.faults import Faults, Switch
from pilvi.kernel.program import Program
from pilvi.kernel.testing import databases, people
from pilvi.kernel.testing.cloud import Cloud
from pilvi.kernel.workflows.store import Work
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.roles import serve_network
from tests.crash import worlds

HOST, OTHER = "node1", "node2"
COMPUTE, VOLUME = "compute 2.90", "volume 3.70"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the program's catches it."""


@dataclass
class World:
    """What outlives a program: machines, wires and volumes of the host, and their faults."""

    machines: FakeWorld = field(default_factory=FakeWorld)
    wires: dict[str, FakeWiring] = field(default_factory=dict)
    volumes: VolumeWorld = field(default_factory=VolumeWorld)
    switches: list[tuple[str, Switch]] = field(default_factory=list)  # (service, fault), in every life
    others: dict[str, FakeWorld] = field(default_factory=dict)  # machines of further hosts

    def hosts(self) -> dict[str, FakeWorld]:
        """What lies on each host."""
        return {HOST: self.machines, **self.others}

    @staticmethod
    def read(folder: Path, hosts: Sequence[str] = (HOST,)) -> World:
        """What lies on these hosts at this moment, as processes have written it (worlds.py)."""
        machines, wires = worlds.Machines(folder), {}
        for host in hosts:
            wires |= worlds.read(folder / host, "wires")
        others = {host: machines.of(host) for host in hosts if host != HOST}
        return World(machines.of(HOST), wires, worlds.volume_world(folder / HOST), others=others)


class Bridge:
    """Takes image data over HTTP to whichever life is the present one, as agents bring them."""

    def __init__(self) -> None:
        self.life: Life | None = None
        bridge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def answer(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    assert bridge.life is not None
                    told = bridge.life.say(self.command, self.path, headers=dict(self.headers.items()), person="nobody", data=data)
                except (Killed, AssertionError):
                    return  # the connection ends without an answer, as a dead process leaves it
                self.send_response(told.status)
                for name, value in told.headers.items():
                    if name != "content-length":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(told.content)))
                self.end_headers()
                self.wfile.write(told.content)

            do_GET = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, name="bridge", daemon=True).start()


@functools.cache
def bridge() -> Bridge:
    """The one bridge of this process."""
    return Bridge()


def _stacks() -> str:
    """Where all threads of this process stand."""
    frames = sys._current_frames()
    known = [one for one in threading.enumerate() if one.ident in frames]
    return "\n".join(f"{one.name}:\n{''.join(traceback.format_stack(frames[one.ident or 0])[-8:])}" for one in known)


class Watched:
    """Looks into a cloud's database and waits for its work to end."""

    program: Program
    world: World

    def defects(self) -> list[str]:
        """What the program's processes have logged as defects of its own, since this was asked last."""
        return []

    def works(self) -> list[Work]:
        """The workflows that are not finished."""
        return self.program.db.run(lambda tx: tx.all(Work), write=False)

    def idle(self, within: float = 15.0) -> None:
        """Wait until no workflow is left; those that rest are not waited for but woken."""

        def done() -> bool:
            left = self.works()
            if left and all(one.wake_at > clock.now() for one in left):
                self.hurry()
            return not left

        try:
            self.wait(done, within=within)
        except AssertionError:
            left = [(one.kind, one.subject, one.step, one.attempts, one.owner, one.wake_at - clock.now()) for one in self.works()]
            print(_stacks())
            raise AssertionError(f"workflows do not end: {left}") from None

    def tried(self, *, rounds: int = 12, least: float = 1.3) -> None:
        """Wait until no workflow is left, or those that are have come to rest so many times, woken each time, for so many seconds at least."""
        began, rested = time.monotonic(), 0

        def enough() -> bool:
            nonlocal rested
            left = self.works()
            if left and all(one.wake_at > clock.now() for one in left):
                rested += 1
                self.hurry()
            return not left or (rested >= rounds and time.monotonic() - began >= least)

        self.wait(enough, within=15.0)

    def hurry(self) -> None:
        """Have all that waits look again now."""

        def wake(tx: Transaction) -> None:
            tx.update(Work, wake_at=0.0, woken=Work.c.woken + 1)
            tx.after_commit(self.program.workflows.alarm)

        self.program.db.run(wake)

    def wait(self, condition: Callable[[], Any], *, within: float = 10.0) -> Any:
        """The condition's first true value; AssertionError when it stays false for `within` seconds."""
        end = time.monotonic() + within
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not so within {within:g} s")
            time.sleep(0.005)


class Life(Watched, Cloud):
    """The whole program on fake drivers, from its start until it is killed or stopped."""

    def __init__(self, state: Path, world: World, **settings: Any) -> None:
        fakes: dict[str, dict[str, Any]] = {name: {"driver": "fake"} for name in ("compute", "network", "block_storage")}
        for name, more in settings.items():
            fakes[name] = {**fakes.get(name, {}), **more}
        super().__init__(state, program.SERVICES, program.Settings, api={"port": bridge().port}, **fakes)
        self.world = world
        self.killed = threading.Event()
        self._joined: list[Callable[[], None]] = []  # stop the agents of further hosts
        self.faults = {name: Faults() for name in ("compute", "network", "block_storage")}
        for name, switch in world.switches:
            self.faults[name].switches.append(switch)
        parts = self.program.parts
        parts["compute.driver"] = FakeHypervisor(HOST, faults=self.faults["compute"], world=world.machines)
        parts["network.world"], parts["network.faults"] = world.wires, self.faults["network"]
        parts["block_storage.world"], parts["block_storage.faults"] = world.volumes, self.faults["block_storage"]
        self.program.authenticate = self._authenticate

    def _authenticate(self, token: str) -> Caller:
        return people.authenticate(token) if token in people.PEOPLE else identity.authenticate(self.program, token)

    def start(self) -> Life:
        bridge().life = self
        super().start()
        for host in self.world.others:
            self.join(host)
        return self

    def join(self, host: str) -> None:
        """Have a further host, with its compute and network agents, in the same process; it finds what lies on it."""
        world = self.world.others.setdefault(host, FakeWorld(others=self.world.machines.others))
        driver = FakeHypervisor(host, faults=self.faults["compute"], world=world)
        self._joined.append(serve_network(self.program, host=host))
        self._joined.append(serve_compute(self.program, host=host, driver=driver))

    def stop(self) -> None:
        while self._joined:
            self._joined.pop()()
        super().stop()

    def break_verb(self, service: str, verb: str, why: str = "told to fail", times: int | None = None, host: str = HOST) -> None:
        """Have a driver's verb fail, in this life and in those that follow; here on whichever host comes to it first."""
        self.world.switches.append((service, self.faults[service].fail(verb, why, times=times)))

    def heal(self) -> None:
        """Take all faults back."""
        self.world.switches.clear()
        for faults in self.faults.values():
            faults.heal()

    def kill(self) -> None:
        """From now on this life neither reads nor writes its database, and touches nothing of the world."""
        self.killed.set()
        self.program.db.begin = die  # type: ignore[method-assign]
        self.program.crash_hook = die
        for faults in self.faults.values():
            faults.strike = die  # type: ignore[method-assign]

    def bury(self) -> None:
        """End the threads of a life that was killed."""
        self.kill()
        while True:
            try:
                self.stop()
                return
            except Killed:
                continue  # what would have been said at the end is not said; the rest is ended

    # -- speaking ----------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, person: str = "admin", **options: Any) -> Any:
        """The answer's JSON; the status must be a good one."""
        version = COMPUTE if path.startswith("/compute") else VOLUME if path.startswith("/volume") else ""
        told = self.say(method, path, body, person=person, version=version, **options)
        assert told.status < 300, f"{method} {path}: {told}"
        return told.json() if told.content else None


def die(*args: Any, **options: Any) -> NoReturn:
    """What every call of a dead program does."""
    raise Killed


@dataclass(frozen=True)
class Template:
    """A cloud that has an image and a network, as a folder to copy."""

    folder: Path
    image: str
    network: str


def make_template(folder: Path) -> Template:
    """Bring a cloud up once, give it an image and a network, and put it away."""
    life = Life(folder, World()).start()
    try:
        life.wait(lambda: life.ask("GET", "/compute/v2.1/os-hypervisors")["hypervisors"])
        body = {"name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
        image = life.ask("POST", "/image/v2/images", body)["id"]
        path, headers = f"/image/v2/images/{image}/file", {"content-type": "application/octet-stream"}
        told = life.put(path, data=small_disk("qcow2"), person="admin", headers=headers)
        assert told.status == 204, told
        network = life.ask("POST", "/network/v2.0/networks", {"network": {"name": "net"}})["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"}
        life.ask("POST", "/network/v2.0/subnets", {"subnet": subnet})
        life.idle()
    finally:
        life.stop()
    return Template(folder, image, network)


class Story:
    """A cloud over several lives in one world, beginning as a copy of the template."""

    def __init__(self, template: Template, folder: Path, **settings: Any) -> None:
        self.image, self.network = template.image, template.network
        self.folder, self.settings = folder, settings
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        databases.copy(template.folder, folder)
        self.world = World()
        self.lives: list[Life] = []
        self.next_life()

    @property
    def life(self) -> Life:
        """The present one."""
        return self.lives[-1]

    def next_life(self) -> Life:
        """Start the program; the one before was killed."""
        life = Life(self.folder, self.world, **self.settings)
        self.lives.append(life)
        life.start()
        return life

    def scribble(self, server_id: str) -> None:
        """Have the guest write on its root disk what is in its memory."""
        self.world.machines.written[server_id, "root"] = self.world.machines.machines[server_id].memory

    def kill_at(self, workflow: str, step: str, when: str) -> None:
        """Have the present life die at this moment."""
        life = self.life

        def hook(kind: str, name: str, moment: str) -> None:
            if life.killed.is_set():
                raise Killed
            if (kind, name, moment) == (workflow, step, when):
                life.kill()
                raise Killed

        life.program.crash_hook = hook

    def end(self) -> None:
        """Stop all of them."""
        for life in self.lives:
            if life.killed.is_set():
                life.bury()
            else:
                life.stop()
        self.lives.clear()
