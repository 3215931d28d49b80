"""The fake hypervisor's part in moves: disks carried from one imagined host to another, and running machines."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pilvi.compute.drivers import Arrival, ConfigDisk, Disk, DiskOffer, ImageDisk, Machine, MoveUse, VolumeDisk
from pilvi.compute.drivers.fake_world import FakeMachine, FakeWorld
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.kernel.progress import DONE, Progress

GIB = 1 << 30


class FakeMoves:
    """The verbs of moves.  Hosts reach each other when their worlds share `others`."""

    host: str
    world: FakeWorld
    faults: Faults
    instant: bool
    _need: Callable[[str], FakeMachine]
    _tell: Callable[[str], None]

    # -- of machines that are off --------------------------------------------------------------------

    def offer_disks(self, machine_id: str) -> list[DiskOffer]:
        self.faults.strike("offer_disks", machine_id)
        with self.world.lock:
            machine = self._need(machine_id)
            if machine.since:
                raise HostError(f"Machine {machine_id} runs; its disks can be read only when it is off.", elsewhere=False)
            self.world.offered.add(machine_id)
            offers = []
            for name, (source, size) in self.world.disks.get(machine_id, {}).items():
                if isinstance(source, ConfigDisk):
                    continue
                key = name.rpartition(".")[0]
                offers.append(DiskOffer(key=key, url=f"nbd://{self.host}:10809/{machine_id}/{key}", size=size * GIB))
                if isinstance(source, ImageDisk) and source.image_id in self.world.images:
                    offers.append(DiskOffer(key=f"image:{source.image_id}", url=f"nbd://{self.host}:10809/{source.image_id}", size=GIB))
            return offers

    def withdraw_disks(self, machine_id: str) -> None:
        self.faults.strike("withdraw_disks", machine_id)
        with self.world.lock:
            self.world.offered.discard(machine_id)

    def fetch_disks(self, machine: Machine, offers: list[DiskOffer]) -> Progress:
        self.faults.strike("fetch_disks", machine.id)
        offered = {offer.key: offer for offer in offers}
        with self.world.lock:
            here = self.world.disks.setdefault(machine.id, {})
            missing = [disk for disk in _local(machine) if f"{disk.key}.{_generation(disk)}" not in here]
            if not missing:
                self.world.halves.pop(machine.id, None)
                return DONE
            first = not self.world.halves.get(machine.id)
            self.world.halves.setdefault(machine.id, set()).update(disk.key for disk in missing)
            if first and not self.instant:
                return Progress(state="working", percent=50)
            for disk in missing:
                offer = offered.get(disk.key)
                there = self.world.others.get(offer.url.split("//")[1].partition(":")[0]) if offer else None
                if there is None or machine.id not in there.offered:
                    return Progress(state="failed", why=f"Disk {disk.key} of machine {machine.id} is offered by no host.")
                found = next((have for name, have in there.disks.get(machine.id, {}).items() if name.rpartition(".")[0] == disk.key), None)
                if found is None:
                    return Progress(state="failed", why=f"Disk {disk.key} of machine {machine.id} is not where it was offered.")
                if isinstance(disk.source, ImageDisk) and disk.source.image_id in there.images:
                    self.world.images[disk.source.image_id] = there.images[disk.source.image_id]
                here[f"{disk.key}.{_generation(disk)}"] = disk.source, found[1]  # type: ignore[assignment]
                self._write_as(there, machine.id, disk.key)
            self.world.halves.pop(machine.id, None)
            return DONE

    # -- of machines that run ------------------------------------------------------------------------

    def share_disks(self, machine: Machine, host: str) -> bool:
        self.faults.strike("share_disks", machine.id)
        there = self.world.others.get(host)
        with self.world.lock:
            if there is None or not self.world.storage or there.storage != self.world.storage:
                return False
            theirs = there.disks.get(machine.id, {})
            names = [f"{disk.key}.{_generation(disk)}" for disk in _local(machine)]
            if not all(name in theirs for name in names):
                return False
            self.world.disks.setdefault(machine.id, {}).update({name: theirs[name] for name in names})
            for disk in _local(machine):
                self._write_as(there, machine.id, disk.key)
            return True

    def ensure_arrival(self, machine: Machine, host: str) -> Arrival:
        self.faults.strike("ensure_arrival", machine.id)
        shared = self.share_disks(machine, host)
        with self.world.lock:
            if self.world.refuses:
                raise HostError(self.world.refuses)
            here = self.world.disks.get(machine.id, {})
            for disk in _local(machine):
                if f"{disk.key}.{_generation(disk)}" not in here:
                    raise HostError(f"Disk {disk.key} of machine {machine.id} is not on host {self.host}; its disks are needed first.")
            if machine.id not in self.world.machines:
                self.world.arrivals[machine.id] = machine
        return Arrival(
            uri=f"fake://{self.host}", address=self.host, definition=msgspec.json.encode(machine).decode(),
            disks=[] if shared else [disk.key for disk in _local(machine)],
        )  # fmt: skip

    def migrate(self, machine_id: str, arrival: Arrival) -> Progress:
        self.faults.strike("migrate", machine_id)
        there = self.world.others.get(arrival.uri.removeprefix("fake://"))
        if there is None:
            return Progress(state="failed", why=f"Host {arrival.address or arrival.uri} cannot be reached.")
        with self.world.lock:
            machine = self.world.machines.get(machine_id)
            if machine is None or not machine.since:
                self.world.moving.pop(machine_id, None)
                if machine is None and machine_id in there.machines:
                    return DONE
                return Progress(state="failed", why=f"Machine {machine_id} does not run on host {self.host}.", elsewhere=False)
            done = self.world.moving.get(machine_id, 0) + 50
            self.world.moving[machine_id] = min(done, 99)
            if machine_id in self.world.aborted:
                self._forget_moves(machine_id)
                return Progress(state="failed", why=f"The migration of machine {machine_id} was aborted.", elsewhere=False)
            if machine_id not in there.arrivals:
                self._forget_moves(machine_id)
                return Progress(state="failed", why=f"Host {arrival.address} does not await machine {machine_id}.")
            if (self.world.hold_moves and machine_id not in self.world.hurried) or (not self.instant and done < 100):
                return Progress(state="working", percent=self.world.moving[machine_id])
            self._forget_moves(machine_id)
            wish = there.arrivals.pop(machine_id)
            for key in arrival.disks or [disk.key for disk in _local(wish)]:  # a shared disk has what its guest wrote last
                if (machine_id, key) in self.world.written:
                    there.written[machine_id, key] = self.world.written[machine_id, key]
            del self.world.machines[machine_id]
            machine.wish = msgspec.structs.replace(wish, power=machine.wish.power)
            machine.disks = {disk.key: disk for disk in wish.disks}
            machine.nics = {nic.key: nic for nic in wish.nics}
            there.machines[machine_id] = machine
        self._tell(machine_id)
        return DONE

    def abort_migrate(self, machine_id: str) -> None:
        self.faults.strike("abort_migrate", machine_id)
        with self.world.lock:
            if machine_id in self.world.moving:
                self.world.aborted.add(machine_id)

    def hurry_migrate(self, machine_id: str) -> None:
        self.faults.strike("hurry_migrate", machine_id)
        with self.world.lock:
            if machine_id in self.world.moving:
                self.world.hurried.add(machine_id)

    def move_use(self, machine_id: str) -> MoveUse | None:
        self.faults.strike("move_use", machine_id)
        with self.world.lock:
            percent = self.world.moving.get(machine_id)
            machine = self.world.machines.get(machine_id)
            if percent is None or machine is None:
                return None
            memory = machine.wish.memory_mib << 20
            disk = sum(size << 30 for source, size in self.world.disks.get(machine_id, {}).values() if isinstance(source, ImageDisk))
        return MoveUse(
            memory_total=memory, memory_done=memory * percent // 100, memory_left=memory - memory * percent // 100,
            disk_total=disk, disk_done=disk * percent // 100, disk_left=disk - disk * percent // 100,
        )  # fmt: skip

    # -- parts ---------------------------------------------------------------------------------------

    def _forget_moves(self, machine_id: str) -> None:
        """Nothing of a move of this machine is left on this host."""
        world = self.world
        world.moving.pop(machine_id, None)
        world.aborted.discard(machine_id)
        world.hurried.discard(machine_id)
        world.arrivals.pop(machine_id, None)
        world.halves.pop(machine_id, None)
        world.offered.discard(machine_id)
        if machine_id not in world.machines and machine_id not in world.disks:
            for place in [place for place in world.written if place[0] == machine_id]:
                del world.written[place]

    def _write_as(self, there: FakeWorld, machine_id: str, key: str) -> None:
        """The disk here has what the one there has."""
        if (machine_id, key) in there.written:
            self.world.written[machine_id, key] = there.written[machine_id, key]


def _local(machine: Machine) -> list[Disk]:
    """The disks that lie on the machine's host and cannot be made again."""
    return [disk for disk in machine.disks if not isinstance(disk.source, (VolumeDisk, ConfigDisk))]


def _generation(disk: Disk) -> int:
    return getattr(disk.source, "generation", 0)
