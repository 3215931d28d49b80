"""A cloud made for measuring: an empty state folder, fake drivers, and what its processes use."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilvi import clone
from pilvi.bench.client import Client
from pilvi.cli import down, up
from pilvi.cli.place import Place
from pilvi.kernel.errors import PilviError

BENCH = (clone.ROOT or Path()) / "bench"
_TICKS = os.sysconf("SC_CLK_TCK")
# by which each service's answer is known: any status below 500 at its root
_ROOTS = ("identity", "placement", "image", "network", "volume", "compute")


class Measured:
    """A cloud of one or more processes on this machine, each with a state folder of its own; the first answers the API."""

    def __init__(self, port: int, config: Path) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="pilvi-bench-"))
        self.place = Place(argparse.Namespace(state=str(self.folder / "cloud"), config=str(config)))
        self.others: list[Place] = []

    def start(self) -> None:
        """Start the first process; raises PilviError with its own last words."""
        os.environ.update(PILVI_API__PORT=str(self.port), PILVI_API__CLASSIC_PORTS="false")
        up.start(self.place, ["--fake"])

    def until_all_answer(self) -> None:
        """Wait until the root of every service answers; raises PilviError when one does not."""
        end = time.monotonic() + 60
        for name in _ROOTS:
            while True:
                try:
                    status = Client(self.port).ask("GET", f"/{name}/")[0]
                except OSError:
                    status = 500
                if status < 500:
                    break
                if time.monotonic() > end:
                    raise PilviError(f"/{name}/ does not answer.")
                time.sleep(0.01)

    def until_well(self, *, within: float = 300.0) -> None:
        """Wait until every role of the first process is well; raises PilviError when one is not."""
        end = time.monotonic() + within
        while ill := [role for role in self.place.ask("/status")["roles"] if not role["healthy"]]:
            if time.monotonic() > end:
                raise PilviError(f"{ill[0]['role']}: {ill[0]['detail']}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End all processes; the data stays."""
        for place in [*self.others, self.place]:
            pid = place.pid()
            if pid is not None:
                down.stop(place, pid)

    def client(self) -> Client:
        """A client that is logged in."""
        made = Client(self.port)
        made.log_in(self.password)
        return made

    @property
    def password(self) -> str:
        return (self.place.state / "admin-password").read_text(encoding="utf-8").strip()

    def cpu(self) -> float:
        """Seconds of CPU that all processes have used, user and system."""
        used = 0.0
        for place in [self.place, *self.others]:
            words = Path(f"/proc/{place.pid()}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
            used += (int(words[11]) + int(words[12])) / _TICKS
        return used

    def memory(self) -> int:
        """Resident memory of the first process, the control plane, MiB."""
        return self.place.ask("/status")["memory_mib"]


@contextmanager
def measured(port: int, config: Path) -> Iterator[Measured]:
    """A cloud that has not been started; in the end nothing of it is left."""
    cloud = Measured(port, config)
    try:
        yield cloud
    finally:
        try:
            cloud.stop()
        finally:
            shutil.rmtree(cloud.folder, ignore_errors=True)


def say(what: str) -> None:
    """Tell whoever waits what is being measured."""
    print(f"== {what}", flush=True)


def number(value: float | None) -> str:
    """A figure for a table."""
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
