"""The worlds of a cloud's hosts in files, as real machines, wires and disks outlive the program: a folder for each host.

The machines of all hosts lie in one file beside the folders, so that hosts in several processes reach each other, and a machine that
moves is on one host or on the other, whoever dies meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from pilvi.block_storage.drivers.fake import VolumeWorld
from pilvi.compute.drivers.fake_world import FakeWorld

_MACHINES = ("machines", "disks", "images", "snapshots", "written", "offered", "halves", "arrivals", "moving", "aborted", "hurried")
_MARK = 16  # bytes at the file's begin that differ with each writing


def write(folder: Path, name: str, world: dict[str, Any]) -> None:
    """Write a world, whole or not at all."""
    _put(folder / name, pickle.dumps(world))


def read(folder: Path, name: str) -> dict[str, Any]:
    """The world that was written last, {} when there was none."""
    try:
        return pickle.loads((folder / name).read_bytes())  # our own file
    except FileNotFoundError:
        return {}


class Machines:
    """The machines of all hosts; as a context, the turn of one verb among all threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.worlds: dict[str, FakeWorld] = {}
        self._mark = b""
        self._turn: BinaryIO | None = None
        self.read()

    def of(self, host: str) -> FakeWorld:
        """What lies on a host."""
        with self.lock:
            if host not in self.worlds:
                place, storage = _place(self.folder / host, "snapshot-files"), os.environ.get("CRASH_STORAGE", "")
                self.worlds[host] = FakeWorld(others=self.worlds, lock=self.lock, storage=storage, _folder=place)
            return self.worlds[host]

    def read(self) -> None:
        """Take up what any process has written last."""
        with self.lock:
            try:
                with open(self.folder / "machines", "rb") as file:
                    mark = file.read(_MARK)
                    if mark == self._mark:
                        return
                    told = pickle.loads(file.read())  # our own file
            except FileNotFoundError:
                return
            self._mark = mark
            for host, lies in told.items():
                world = self.of(host)
                for name in _MACHINES:
                    setattr(world, name, lies[name])

    def write(self) -> None:
        """Write all, in one's turn."""
        told = {host: {name: getattr(world, name) for name in _MACHINES} for host, world in self.worlds.items()}
        self._mark = os.urandom(_MARK)
        _put(self.folder / "machines", self._mark + pickle.dumps(told))

    def __enter__(self) -> Machines:
        self.lock.acquire()
        self._turn = open(self.folder / "machines.lock", "ab")
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self.read()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._turn is not None
        self._turn.close()
        self.lock.release()


def volume_world(folder: Path) -> VolumeWorld:
    """The volumes that lie on a host."""
    return VolumeWorld(**read(folder, "volumes"), folder=_place(folder, "copies"))


def wipe(folder: Path, host: str) -> None:
    """No machine, disk or image is on the host any more."""
    with Machines(folder) as machines:
        for name in _MACHINES:
            getattr(machines.of(host), name).clear()
        machines.write()


def scribble(folder: Path, host: str, server_id: str) -> None:
    """Have the guest on that host write on its root disk what is in its memory."""
    with Machines(folder) as machines:
        world = machines.of(host)
        world.written[server_id, "root"] = world.machines[server_id].memory
        machines.write()


def _place(folder: Path, name: str) -> Any:
    """A folder of the world for what is too large for memory."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(name=str(folder / name))


def _put(file: Path, data: bytes) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    fresh.write_bytes(data)
    fresh.replace(file)
