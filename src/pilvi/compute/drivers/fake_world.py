"""The world of the fake hypervisor: what lies on one host, in memory, whichever driver looks at it."""

from __future__ import annotations

import struct
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from pilvi.compute.drivers import (
    BlankDisk,
    ConfigDisk,
    Disk,
    ImageDisk,
    Machine,
    Nic,
    Seen,
)
from pilvi.kernel.errors import Invalid

CLUSTER = 1 << 16
Local = ImageDisk | BlankDisk | ConfigDisk


@dataclass
class FakeMachine:
    """A machine of the world: what runs now and what is defined for the next start."""

    wish: Machine
    power: Seen = "shutoff"
    reboots: int = 0
    since: float = 0.0
    disks: dict[str, Disk] = field(default_factory=dict)
    nics: dict[str, Nic] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    memory: str = ""  # another after each start, the same after a move: tells whether a guest was restarted


@dataclass
class FakeWorld:
    """What lies on one host.  Hand the same world to the next driver to play the restart of an agent.

    Worlds that share `others` are hosts that reach each other.
    """

    machines: dict[str, FakeMachine] = field(default_factory=dict)
    # machine id -> key -> (what the disk is, GiB or MiB that it has)
    disks: dict[str, dict[str, tuple[Local, int]]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)  # id -> checksum
    snapshots: dict[str, str] = field(default_factory=dict)  # id -> format
    asked: dict[str, int] = field(default_factory=dict)  # how often after a long piece of work
    passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    others: dict[str, FakeWorld] = field(default_factory=dict)  # host name -> its world, this one among them
    written: dict[tuple[str, str], str] = field(default_factory=dict)  # (machine id, disk's key) -> what its guest wrote there
    offered: set[str] = field(default_factory=set)  # machines whose disks other hosts may read
    halves: dict[str, set[str]] = field(default_factory=dict)  # machine id -> disks that were fetched halfway
    arrivals: dict[str, Machine] = field(default_factory=dict)  # machines that are awaited
    moving: dict[str, int] = field(default_factory=dict)  # machines that are leaving -> percent
    aborted: set[str] = field(default_factory=set)  # of those, the ones that shall stay
    hurried: set[str] = field(default_factory=set)  # of those, the ones that nothing holds
    storage: str = ""  # the name of the storage that it shares with others
    hold_moves: bool = False  # switch: migrations go on for ever
    refuses: str = ""  # switch: why no machine may come here
    lock: threading.RLock = field(default_factory=threading.RLock)
    _folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path:
        """Where the few real files lie; gone with the world."""
        with self.lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="pilvi-fake-")
            return Path(self._folder.name)


def small_disk(disk_format: str) -> bytes:
    """A valid disk of one MiB, all zeros, in the format qcow2 or raw."""
    if disk_format == "raw":
        return bytes(1 << 20)
    if disk_format != "qcow2":
        raise Invalid(f"A snapshot cannot be of the format {disk_format} here; choose qcow2 or raw.")
    # header, refcount table, refcount block, first level table: a cluster each
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, 1 << 20, 0, 1, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104)
    table = struct.pack(">Q", 2 * CLUSTER)
    counts = struct.pack(">HHHH", 1, 1, 1, 1)
    return header.ljust(CLUSTER, b"\0") + table.ljust(CLUSTER, b"\0") + counts.ljust(CLUSTER, b"\0") + bytes(CLUSTER)
