"""Boot storms: many servers asked for at once, until the last of them is ACTIVE."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from pilvi.bench.client import SERVERS, Client
from pilvi.kernel.errors import PilviError

_PATIENCE = 600.0  # seconds without another server that becomes ACTIVE


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """How a storm went.  Posts in ms, `seconds` from the first POST to the last ACTIVE, CPU in ms for each server."""

    servers: int
    posts: list[float]
    states: dict[str, int]  # status -> servers
    refused: list[str]  # what POSTs answered that were not accepted
    accepted: float  # seconds until the last POST was answered
    seconds: float
    cpu: float

    @property
    def a_second(self) -> float:
        return self.servers / self.seconds

    @property
    def errors(self) -> int:
        """Servers that were refused, or are anything but ACTIVE."""
        return len(self.refused) + sum(count for status, count in self.states.items() if status != "ACTIVE")

    def post(self, percent: int) -> float:
        """The percentile of the POSTs, ms."""
        return statistics.quantiles(self.posts, n=100)[percent - 1]


def storm(client: Client, cpu: Callable[[], float], *, name: str, servers: int, concurrency: int, body: dict[str, Any]) -> Storm:
    """Ask for servers one by one on `concurrency` connections, and wait until none is being built.

    `cpu` tells the seconds of CPU that the cloud has used.  Raises PilviError when the cloud stands still.
    """
    left, lock = iter(range(servers)), threading.Lock()
    posts: list[float] = []
    refused: list[str] = []

    def ask() -> None:
        mine = client.another()
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            began = time.perf_counter()
            status, _, answered = mine.ask("POST", SERVERS, {"server": {**body, "name": f"{name}-{number}"}})
            posts.append((time.perf_counter() - began) * 1000)
            if status != 202:
                refused.append(f"{status} {answered[:200]!r}")

    spent, began = cpu(), time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = time.perf_counter() - began
    until_built(client, name)
    seconds = time.perf_counter() - began
    used = (cpu() - spent) * 1000 / servers
    return Storm(
        servers=servers, posts=posts, states=states(client, name), refused=refused, accepted=accepted, seconds=seconds, cpu=used
    )  # fmt: skip


def until_built(client: Client, name: str) -> None:
    """Wait until no server of that name is being built; raises PilviError when none becomes ready for long."""
    while found := client.call("GET", f"{SERVERS}?status=BUILD&name={name}-&limit=1")["servers"]:
        one, since = found[0]["id"], time.monotonic()
        while client.call("GET", f"{SERVERS}/{one}")["server"]["status"] == "BUILD":
            if time.monotonic() - since > _PATIENCE:
                raise PilviError(f"server {one} is still being built after {_PATIENCE:g} s.")
            time.sleep(0.05)


def states(client: Client, name: str) -> dict[str, int]:
    """How many servers of that name have which status."""
    found: Counter[str] = Counter()
    for status in ("ACTIVE", "ERROR", "BUILD", "SHUTOFF"):
        marker = ""
        while page := client.call("GET", f"{SERVERS}?status={status}&name={name}-&limit=1000{marker}")["servers"]:
            found[status] += len(page)
            marker = f"&marker={page[-1]['id']}"
    return dict(found)


def remove(client: Client, name: str, *, concurrency: int = 10) -> None:
    """Delete all servers of that name, and wait until they are gone."""
    while page := client.call("GET", f"{SERVERS}?name={name}-&limit=1000")["servers"]:
        refs = [one["id"] for one in page]
        threads = [threading.Thread(target=_delete, args=(client.another(), refs[start::concurrency])) for start in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.2)


def _delete(client: Client, refs: list[str]) -> None:
    for ref in refs:
        client.ask("DELETE", f"{SERVERS}/{ref}")
