"""The fleet: many hosts of the fake drivers in one process, to measure what a cloud of a thousand hosts costs.

Each host has the agents of compute and network that a real one has, and speaks over the bus as a real one does; but all
share a few threads, and one timer says when each has to report.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from pilvi.compute.agent import TOPIC as COMPUTE
from pilvi.compute.agent import ComputeAgent
from pilvi.compute.drivers.fake import FakeHypervisor
from pilvi.kernel import agent, log
from pilvi.kernel.bus.workers import Workers
from pilvi.kernel.errors import PilviError, Unavailable
from pilvi.network.agent import TOPIC as NETWORK
from pilvi.network.agent import NetworkAgent
from pilvi.network.drivers.fake import FakeFabric

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

_THREADS = 16  # for what is asked of the hosts, and as many for their machines
_REPORTERS = 4
_WAITING = 100_000  # messages to all hosts together that may wait for the threads
_TICK = 0.05  # seconds


def names(first: int, count: int) -> list[str]:
    """fake-0001 and so on."""
    return [f"fake-{number:04}" for number in range(first, first + count)]


def _address(number: int) -> str:
    """A tunnel address of its own for each host, as real ones have: nothing is ever sent there."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Fleet:
    """Fake hosts by these names, begun and ended together."""

    def __init__(self, program: Program, hosts: Sequence[str]) -> None:
        self._program = program
        self._threads = Workers("fleet", _THREADS, waiting=_WAITING)
        self._machines = ThreadPoolExecutor(_THREADS, thread_name_prefix="fleet-machines")
        self._reporters = ThreadPoolExecutor(_REPORTERS, thread_name_prefix="fleet-reports")
        self._stops: list[Callable[[], None]] = []
        self._reports: list[_Report] = []
        self._stop = threading.Event()
        self._timer = threading.Thread(target=self._beat, name="fleet", daemon=True)
        compute, network = program.settings.compute, program.settings.network
        fake = compute.fake
        for place, host in enumerate(hosts):
            driver = FakeHypervisor(host, vcpus=fake.vcpus, memory_mib=fake.memory_mib, disk_gib=fake.disk_gib, address=compute.address)
            machines = ComputeAgent(program, driver, host=host, pool=self._machines)
            ports = NetworkAgent(program.bus, host, FakeFabric(host, tunnel_address=_address(fake.first + place)), settings=network)
            self._stops += [
                machines._end,
                agent.serve(program.bus, COMPUTE, machines, host=host, workers=self._threads),
                agent.serve(program.bus, NETWORK, ports, host=host, workers=self._threads),
            ]
            share = place / len(hosts)
            self._reports += [
                _Report(host, ports.beat, network.heartbeat_every, share), _Report(host, machines._report, compute.heartbeat, share),
            ]  # fmt: skip
        program.health["compute"] = self._health

    def start(self) -> None:
        """Have every host report at once, and then each in its turn."""
        self._timer.start()

    def silence(self, host: str, *, speak: bool = False) -> None:
        """Have a host report nothing any more, or again; it does what it is told all the same."""
        for report in self._reports:
            if report.host == host:
                report.is_silent = not speak

    def stop(self) -> None:
        self._stop.set()
        if self._timer.is_alive():
            self._timer.join(10)
        for pool in (self._reporters, self._machines):
            pool.shutdown(wait=False, cancel_futures=True)
        for stop in self._stops:
            stop()
        self._threads.stop()

    def _beat(self) -> None:
        for report in self._reports:
            report.begin(self._reporters)
        waiting = [(report.due_at, place, report) for place, report in enumerate(self._reports)]
        heapq.heapify(waiting)
        while not self._stop.wait(_TICK):
            while waiting[0][0] <= time.monotonic():
                _, place, report = waiting[0]
                report.begin(self._reporters)
                heapq.heapreplace(waiting, (report.due_at, place, report))

    def _health(self) -> str:
        compute = self._reports[1::2]
        well = sum(report.is_well for report in compute)
        if well < len(compute):
            raise Unavailable(f"{well} of {len(compute)} fake hosts have reported.")
        return f"{well} fake hosts"


class _Report:
    """What one agent says every `every` seconds; `share` (0 to 1) spreads the agents over that time."""

    def __init__(self, host: str, work: Callable[[], None], every: float, share: float) -> None:
        self.host, self.work, self.every = host, work, every
        self.is_silent = False
        self.due_at = time.monotonic() + every * (1 + share)
        self.is_well = False
        self._doing: Future[None] | None = None

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Have it said, unless it is being said still."""
        while self.due_at <= time.monotonic():
            self.due_at += self.every
        if not self.is_silent and (self._doing is None or self._doing.done()):
            self._doing = pool.submit(self._say)

    def _say(self) -> None:
        try:
            self.work()
            self.is_well = True
        except PilviError as error:
            self.is_well = False
            log.warning("a fake host could not report", why=error.message)
        except Exception as error:
            self.is_well = False
            log.defect("", "report of a fake host", error)


def begin(program: Program) -> Callable[[], None]:
    """The fleet that the settings wish; answers what ends it."""
    fake = program.settings.compute.fake
    fleet = program.parts["fleet"] = Fleet(program, names(fake.first, fake.hosts))
    fleet.start()
    return fleet.stop
