"""`pilvi` with fake drivers whose worlds lie in files, as real machines, wires and disks outlive the program.

    python -m tests.crash.process up --foreground --fake --state DIR

The worlds lie in the folder that $CRASH_WORLD names.  A verb has answered only after its world was written.
Where $CRASH_POINTS names a folder, the process dies where its files say (points.py).  $CRASH_LEASE shortens the leases of workflows,
$CRASH_SILENCE the time after which a call without a sign of life has failed (seconds); $CRASH_WITHIN gives a step another deadline
(Workflow.step=seconds).
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from pilvi import program as cloud
from pilvi.block_storage.drivers import fake as volumes
from pilvi.block_storage.drivers.fake import VolumeWorld
from pilvi.compute.drivers import fake as machines
from pilvi.compute.drivers.fake_world import FakeWorld
from pilvi.kernel.bus import signs
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.kernel.workflows import store, worker
from pilvi.network.drivers import fake as wires
from tests.crash.points import Deadly, Points

MACHINES = ("machines", "disks", "images", "snapshots")
VOLUMES = ("volumes",)
_CHANGES = ("ensure", "remove", "ask_", "stop_by", "vanish", "lose")
_deadly: list[Deadly] = []  # of this process


def write(folder: Path, name: str, world: dict[str, Any]) -> None:
    """Write a world, whole or not at all."""
    fresh = folder / f".{name}.{threading.get_ident()}"
    fresh.write_bytes(pickle.dumps(world))
    fresh.replace(folder / name)


def read(folder: Path, name: str) -> dict[str, Any]:
    """The world that was written last, {} when there was none."""
    try:
        return pickle.loads((folder / name).read_bytes())  # our own file
    except FileNotFoundError:
        return {}


def _place(folder: Path, name: str) -> Any:
    """A folder of the world for what is too large for memory."""
    (folder / name).mkdir(exist_ok=True)
    return SimpleNamespace(name=str(folder / name))


def machine_world(folder: Path) -> FakeWorld:
    """The machines that are there."""
    return FakeWorld(**read(folder, "machines"), _folder=_place(folder, "snapshot-files"))


def volume_world(folder: Path) -> VolumeWorld:
    """The volumes that are there."""
    return VolumeWorld(**read(folder, "volumes"), folder=_place(folder, "copies"))


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


def keeping(driver: Any, lock: Any, keep: Any, role: str) -> Any:
    """The driver, with its world written after each verb that may change it."""
    for name in dir(type(driver)):
        if name.startswith(_CHANGES):
            verb = getattr(driver, name)

            @functools.wraps(verb)
            def kept(*args: Any, _verb: Any = verb, **options: Any) -> Any:
                with lock:
                    try:
                        return _verb(*args, **options)
                    finally:
                        keep()
                        for deadly in _deadly:
                            deadly.at(role, "done")

            setattr(driver, name, kept)
    return driver


def with_files(folder: Path) -> None:
    """Have the fake drivers of this process keep their worlds in the folder."""
    hypervisor, backend, fabric = machines.FakeHypervisor, volumes.FakeBackend, wires.FakeFabric
    folder.mkdir(parents=True, exist_ok=True)

    def make_hypervisor(*args: Any, **options: Any) -> Any:
        world = machine_world(folder)
        driver = hypervisor(*args, **{**options, "world": world, "faults": FileFaults(folder, "compute")})
        return keeping(driver, world.lock, lambda: write(folder, "machines", {name: getattr(world, name) for name in MACHINES}), "compute")

    def make_backend(*args: Any, **options: Any) -> Any:
        world = volume_world(folder)
        driver = backend(*args, **{**options, "world": world, "faults": FileFaults(folder, "block_storage")})
        return keeping(driver, world.lock, lambda: write(folder, "volumes", {name: getattr(world, name) for name in VOLUMES}), "volume")

    def make_fabric(*args: Any, **options: Any) -> Any:
        world = read(folder, "wires")
        driver = fabric(*args, **{**options, "world": world, "faults": FileFaults(folder, "network")})
        return keeping(driver, threading.RLock(), lambda: write(folder, "wires", world), "network")

    machines.FakeHypervisor = make_hypervisor  # type: ignore[assignment,misc]
    volumes.FakeBackend = make_backend  # type: ignore[assignment,misc]
    wires.FakeFabric = make_fabric  # type: ignore[assignment,misc]


def with_points(folder: Path) -> None:
    """Have the programs that this process builds die where the folder's files say."""
    build = cloud.build

    def deadly(*args: Any, **options: Any) -> Any:
        program = build(*args, **options)
        _deadly.append(Deadly(program, Points(folder)))
        return program

    cloud.build = deadly


def with_deadline(place: str, seconds: str) -> None:
    """Give a workflow's step another deadline."""
    name, _, step = place.partition(".")
    kind = next(kind for service in cloud.SERVICES for kind in service.workflows if kind.__name__ == name)
    kind.steps = tuple(msgspec.structs.replace(one, within=float(seconds)) if one.name == step else one for one in kind.steps)


def main(arguments: list[str]) -> None:
    """Be `pilvi` with these arguments."""
    from pilvi.__main__ import main as pilvi

    with_files(Path(os.environ["CRASH_WORLD"]))
    if points := os.environ.get("CRASH_POINTS"):
        with_points(Path(points))
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
