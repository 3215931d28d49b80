"""The compute agent's part in moves: disks carried to another host, machines that leave while they run, and that arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilvi.compute.agent_jobs import Jobs
from pilvi.compute.drivers import Arrival, DiskOffer, Machine, MoveUse
from pilvi.kernel.progress import Progress


class MoveVerbs:
    """The verbs of moves; served with the agent's own."""

    driver: Any
    _jobs: Jobs
    _describe: Callable[[str], Machine]
    _prepare: Callable[[Machine], None]
    _long: Callable[[Callable[[], Progress]], None]

    def offer_disks(self, server_id: str) -> list[DiskOffer]:
        """Have the disks of a machine that is off readable from other hosts."""
        with self._jobs.turn(server_id):
            return self.driver.offer_disks(server_id)

    def withdraw_disks(self, server_id: str) -> None:
        """Have them readable no more."""
        with self._jobs.turn(server_id):
            self.driver.withdraw_disks(server_id)

    def fetch_disks(self, server_id: str, offers: list[DiskOffer], job: str) -> Progress:
        """Have the server's disks here, as another host offers them."""

        def work() -> None:
            machine = self._describe(server_id)
            self._long(lambda: self.driver.fetch_disks(machine, offers))

        return self._jobs.ask(server_id, job, work)

    def prepare_arrival(self, server_id: str, came_from: str, job: str) -> Progress:
        """Have the images and disks here, to be filled, unless the disks are shared with the host that the server leaves."""

        def work() -> None:
            machine = self._describe(server_id)
            if not self.driver.share_disks(machine, came_from):
                self._prepare(machine)

        return self._jobs.ask(server_id, job, work)

    def await_arrival(self, server_id: str, came_from: str) -> Arrival:
        """Be ready for the machine, whose disks are here, to come from that host while it runs."""
        with self._jobs.turn(server_id):
            return self.driver.ensure_arrival(self._describe(server_id), came_from)

    def migrate(self, server_id: str, arrival: Arrival, job: str) -> Progress:
        """Have the running machine where it is awaited."""
        return self._jobs.ask(server_id, job, lambda: self._long(lambda: self.driver.migrate(server_id, arrival)))

    def abort_migrate(self, server_id: str) -> None:
        """Have it stay; `migrate` then answers that it failed."""
        self.driver.abort_migrate(server_id)

    def hurry_migrate(self, server_id: str) -> None:
        """Have it leave soon, even if the guest stands still meanwhile."""
        self.driver.hurry_migrate(server_id)

    def move_use(self, server_id: str) -> MoveUse | None:
        """How far its migration is."""
        return self.driver.move_use(server_id)

    def power(self, server_id: str) -> str:
        """What the machine is seen to be on this host; "" when there is none."""
        return next((one.power for one in self.driver.observe() if one.id == server_id), "")
