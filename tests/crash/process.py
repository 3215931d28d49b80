"""`pilvi` with fake drivers whose worlds lie in files, as real machines, wires and disks outlive the program.

    python -m tests.crash.process up --foreground --fake --state DIR

The worlds lie in the folder that $CRASH_WORLD names.  A verb has answered only after its world was written.
"""

from __future__ import annotations

import functools
import os
import pickle
import threading
from pathlib import Path
from typing import Any

from pilvi.block_storage.drivers import fake as volumes
from pilvi.block_storage.drivers.fake import VolumeWorld
from pilvi.compute.drivers import fake as machines
from pilvi.compute.drivers.fake_world import FakeWorld
from pilvi.network.drivers import fake as wires

MACHINES = ("machines", "disks", "images", "snapshots")
VOLUMES = ("volumes",)
_CHANGES = ("ensure", "remove", "ask_", "stop_by", "vanish", "lose")


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


def machine_world(folder: Path) -> FakeWorld:
    """The machines that are there."""
    return FakeWorld(**read(folder, "machines"))


def volume_world(folder: Path) -> VolumeWorld:
    """The volumes that are there."""
    return VolumeWorld(**read(folder, "volumes"))


def keeping(driver: Any, lock: Any, keep: Any) -> Any:
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

            setattr(driver, name, kept)
    return driver


def with_files(folder: Path) -> None:
    """Have the fake drivers of this process keep their worlds in the folder."""
    hypervisor, backend, fabric = machines.FakeHypervisor, volumes.FakeBackend, wires.FakeFabric

    def make_hypervisor(*args: Any, **options: Any) -> Any:
        world = machine_world(folder)
        driver = hypervisor(*args, **{**options, "world": world})
        return keeping(driver, world.lock, lambda: write(folder, "machines", {name: getattr(world, name) for name in MACHINES}))

    def make_backend(*args: Any, **options: Any) -> Any:
        world = volume_world(folder)
        driver = backend(*args, **{**options, "world": world})
        return keeping(driver, world.lock, lambda: write(folder, "volumes", {name: getattr(world, name) for name in VOLUMES}))

    def make_fabric(*args: Any, **options: Any) -> Any:
        world = read(folder, "wires")
        driver = fabric(*args, **{**options, "world": world})
        return keeping(driver, threading.RLock(), lambda: write(folder, "wires", world))

    machines.FakeHypervisor = make_hypervisor  # type: ignore[assignment,misc]
    volumes.FakeBackend = make_backend  # type: ignore[assignment,misc]
    wires.FakeFabric = make_fabric  # type: ignore[assignment,misc]


if __name__ == "__main__":
    from pilvi.__main__ import main

    with_files(Path(os.environ["CRASH_WORLD"]))
    main()
