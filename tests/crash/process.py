"""`pilvi` with fake drivers whose worlds lie in files, as real machines, wires and disks outlive the program.

    python -m tests.crash.process up --foreground --fake --state DIR

The worlds lie in the folder that $CRASH_WORLD names (worlds.py).  A verb has answered only after its world was written.
$CRASH_HOSTS names further hosts (a,b), whose compute and network agents are this process as well.
Where $CRASH_POINTS names a folder, the process dies where its files say (points.py).  $CRASH_LEASE shortens the leases of workflows,
$CRASH_SILENCE the time after which a call without a sign of life has failed (seconds); $CRASH_WITHIN gives a step another deadline
(Workflow.step=seconds).  $CRASH_ECHO is the share of messages that arrive twice (echo.py).  $CRASH_STORAGE names the storage on which
all hosts keep the disks of machines.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pilvi import program as cloud
from pilvi.block_storage.drivers import fake as volumes
from pilvi.compute.agent import serve as serve_compute
from pilvi.compute.drivers import fake as machines
from pilvi.kernel.bus import signs
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.kernel.workflows import store, worker
from pilvi.network.drivers import fake as wires
from pilvi.network.roles import serve_network
from tests.crash import worlds
from tests.crash.echo import Echo
from tests.crash.points import Deadly, Points

_CHANGES = ("ensure", "remove", "ask_", "stop_by", "vanish", "lose", "offer_", "withdraw_", "fetch_", "migrate", "abort_")
_deadly: list[Deadly] = []  # of this process


class FileFaults(Faults):
    """Faults that a test writes into files: `fault.SERVICE.VERB` strikes always, with `.once` at its end one time in all."""

    def __init__(self, folder: Path, service: str) -> None:
        super().__init__()
        self.folder, self.service = folder, service

    def strike(self, verb: str, subject: str = "") -> None:
        super().strike(verb, subject)
        file = self.folder / f"fault.{self.service}.{verb}"
        try:
            if file.exists():
                raise HostError(file.read_text())
            mine = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
            file.with_name(f"{file.name}.once").rename(mine)
            why = mine.read_text()
            mine.unlink()
        except FileNotFoundError:
            return
        raise HostError(why)


def keeping(driver: Any, lock: Any, keep: Any, role: str, slow: Callable[[bool], None] = lambda so: None) -> Any:
    """The driver, with its world written after each verb that may change it; `slow` says whether its long verbs take more than one asking."""
    for name in dir(type(driver)):
        if name.startswith(_CHANGES):
            verb = getattr(driver, name)

            @functools.wraps(verb)
            def kept(*args: Any, _verb: Any = verb, **options: Any) -> Any:
                with lock:
                    slow(any(deadly.awaits(role, "half") for deadly in _deadly))
                    told = None
                    try:
                        told = _verb(*args, **options)
                        return told
                    finally:
                        keep()
                        for deadly in _deadly:
                            deadly.done(role, told)

            setattr(driver, name, kept)
    return driver


def reading(driver: Any, read: Callable[[], None]) -> Any:
    """The driver, which looks at what other processes have written before each verb that only looks."""
    for name in dir(type(driver)):
        verb = getattr(driver, name)
        if callable(verb) and not name.startswith(("_", *_CHANGES)):

            @functools.wraps(verb)
            def fresh(*args: Any, _verb: Any = verb, **options: Any) -> Any:
                read()
                return _verb(*args, **options)

            setattr(driver, name, fresh)
    return driver


def with_files(folder: Path) -> None:
    """Have the fake drivers of this process keep the worlds of their hosts in the folder."""
    hypervisor, backend, fabric = machines.FakeHypervisor, volumes.FakeBackend, wires.FakeFabric
    folder.mkdir(parents=True, exist_ok=True)

    def make_hypervisor(host: str, **options: Any) -> Any:
        there = worlds.Machines(folder)
        driver = hypervisor(host, **{**options, "world": there.of(host), "faults": FileFaults(folder / host, "compute")})
        with there:
            there.write()

        def slow(so: bool) -> None:
            driver.instant = not so

        return keeping(reading(driver, there.read), there, there.write, "compute", slow)

    def make_backend(host: str, **options: Any) -> Any:
        world = worlds.volume_world(folder / host)
        driver = backend(host, **{**options, "world": world, "faults": FileFaults(folder / host, "block_storage")})

        def slow(so: bool) -> None:
            driver._asks = int(so)

        return keeping(driver, world.lock, lambda: worlds.write(folder / host, "volumes", {"volumes": world.volumes}), "volume", slow)

    def make_fabric(host: str, **options: Any) -> Any:
        (folder / host).mkdir(exist_ok=True)
        world = worlds.read(folder / host, "wires")
        driver = fabric(host, **{**options, "world": world, "faults": FileFaults(folder / host, "network")})
        return keeping(driver, threading.RLock(), lambda: worlds.write(folder / host, "wires", world), "network")

    machines.FakeHypervisor = make_hypervisor  # type: ignore[assignment,misc]
    volumes.FakeBackend = make_backend  # type: ignore[assignment,misc]
    wires.FakeFabric = make_fabric  # type: ignore[assignment,misc]


def with_hosts(hosts: list[str]) -> None:
    """Have the programs that this process builds be the compute and network agents of these hosts as well."""
    build = cloud.build

    def larger(*args: Any, **options: Any) -> Any:
        program = build(*args, **options)

        def join() -> None:
            for host in hosts:
                program._stops.append(serve_network(program, host=host))
                program._stops.append(serve_compute(program, host=host))

        program.on_started.append(join)
        return program

    cloud.build = larger


def with_points(folder: Path) -> None:
    """Have the programs that this process builds die where the folder's files say."""
    build = cloud.build

    def deadly(*args: Any, **options: Any) -> Any:
        program = build(*args, **options)
        _deadly.append(Deadly(program, Points(folder)))
        return program

    cloud.build = deadly


def with_echoes(share: float) -> None:
    """Have a share of what the programs that this process builds say on the bus arrive twice."""
    build = cloud.build

    def echoing(*args: Any, **options: Any) -> Any:
        program = build(*args, **options)
        Echo(program, share)
        return program

    cloud.build = echoing


def with_deadline(place: str, seconds: str) -> None:
    """Give a workflow's step another deadline."""
    name, _, step = place.partition(".")
    kind = next(kind for service in cloud.SERVICES for kind in service.workflows if kind.__name__ == name)
    kind.steps = tuple(msgspec.structs.replace(one, within=float(seconds)) if one.name == step else one for one in kind.steps)


def main(arguments: list[str]) -> None:
    """Be `pilvi` with these arguments."""
    from pilvi.__main__ import main as pilvi

    with_files(Path(os.environ["CRASH_WORLD"]))
    if hosts := os.environ.get("CRASH_HOSTS"):
        with_hosts(hosts.split(","))
    if points := os.environ.get("CRASH_POINTS"):
        with_points(Path(points))
    if echo := os.environ.get("CRASH_ECHO"):
        with_echoes(float(echo))
    if lease := os.environ.get("CRASH_LEASE"):
        store.LEASE = worker.LEASE = float(lease)  # type: ignore[attr-defined]
    if silence := os.environ.get("CRASH_SILENCE"):
        signs.SILENCE = float(silence)
    if within := os.environ.get("CRASH_WITHIN"):
        with_deadline(*within.split("="))
    sys.argv[1:] = arguments
    pilvi()


if __name__ == "__main__":
    main(sys.argv[1:])
