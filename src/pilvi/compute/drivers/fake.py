"""The fake hypervisor: the whole contract in memory, cheap enough for hundreds of machines a second, with switches."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from pilvi.compute.drivers import (
    BlankDisk,
    ConsoleAddress,
    Disk,
    DiskUse,
    HostFacts,
    ImageDisk,
    Machine,
    MachineUse,
    Nic,
    NicUse,
    Seen,
    SeenMachine,
    VolumeDisk,
)
from pilvi.compute.drivers.fake_moves import FakeMoves
from pilvi.compute.drivers.fake_world import FakeMachine, FakeWorld, small_disk
from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.kernel.progress import DONE, Progress


class FakeHypervisor(FakeMoves):
    """A hypervisor that makes believe.

    `instant=False` makes long verbs answer "working" at the first asking.  `on_change` is told of machines that
    `lose` and `vanish` took.
    """

    def __init__(
        self,
        host: str,
        *,
        vcpus: int = 64,
        memory_mib: int = 262_144,
        disk_gib: int = 4096,
        faults: Faults | None = None,
        instant: bool = True,
        world: FakeWorld | None = None,
        address: str = "127.0.0.1",
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self.host, self.vcpus, self.memory_mib, self.disk_gib, self.address = host, vcpus, memory_mib, disk_gib, address
        self.faults = faults or Faults()
        self.world = world or FakeWorld()
        self.instant, self.on_change = instant, on_change
        self.world.others[host] = self.world

    # -- switches of the world ---------------------------------------------------------------------

    def lose(self, machine_id: str) -> None:
        """The machine's process dies."""
        with self.world.lock:
            machine = self._need(machine_id)
            machine.power, machine.since = "crashed", 0.0
        self._tell(machine_id)

    def stop_by_itself(self, machine_id: str) -> None:
        """The guest powers itself off."""
        with self.world.lock:
            machine = self._need(machine_id)
            machine.power, machine.since = "shutoff", 0.0
        self._tell(machine_id)

    def vanish(self, machine_id: str) -> None:
        """The machine and its disks are gone, as if somebody had wiped them from the host."""
        with self.world.lock:
            self.world.machines.pop(machine_id, None)
            self.world.disks.pop(machine_id, None)
        self._tell(machine_id)

    # -- the host ----------------------------------------------------------------------------------

    def facts(self) -> HostFacts:
        self.faults.strike("facts", self.host)
        with self.world.lock:
            running = [machine.wish for machine in self.world.machines.values() if machine.since]
            disk = sum(size for disks in self.world.disks.values() for source, size in disks.values() if isinstance(source, ImageDisk))
        return HostFacts(
            hypervisor="fake",
            version=1_000_000,
            hostname=self.host,
            address=self.address,
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            disk_gib=self.disk_gib,
            free_memory_mib=max(0, self.memory_mib - sum(wish.memory_mib for wish in running)),
            free_disk_gib=max(0, self.disk_gib - disk),
            running=len(running),
            storage=self.world.storage,
            cpu={
                "arch": "x86_64",
                "model": "fake",
                "vendor": "fake",
                "topology": {"sockets": 1, "cores": self.vcpus, "threads": 1},
                "features": ["sse2"],
            },
            traits=[
                "COMPUTE_ARCH_X86_64",
                "COMPUTE_DEVICE_TAGGING",
                "COMPUTE_NET_ATTACH_INTERFACE",
                "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
                "COMPUTE_NODE",
                "COMPUTE_RESCUE_BFV",
                "COMPUTE_VOLUME_ATTACH",
                "COMPUTE_VOLUME_ATTACH_WITH_TAG",
                "COMPUTE_VOLUME_EXTEND",
                "COMPUTE_VOLUME_MULTI_ATTACH",
                "HW_CPU_X86_SSE2",
            ],
            virt_type="fake",
        )

    def observe(self) -> list[SeenMachine]:
        self.faults.strike("observe", self.host)
        with self.world.lock:
            seen = {
                machine_id: SeenMachine(
                    id=machine_id,
                    power=machine.power,
                    reboots=machine.reboots,
                    disks=list(machine.disks),
                    nics=list(machine.nics),
                    since=machine.since,
                )
                for machine_id, machine in self.world.machines.items()
            }
            for machine_id in self.world.disks.keys() | self.world.halves.keys():
                seen.setdefault(machine_id, SeenMachine(id=machine_id, power="shutoff"))
        return list(seen.values())

    def ensure_image(self, image_id: str, checksum: str) -> Progress:
        self.faults.strike("ensure_image", image_id)
        with self.world.lock:
            if self.world.images.get(image_id) != checksum:
                if not self._long(f"image {image_id}"):
                    return Progress(state="working", percent=50)
                self.world.images[image_id] = checksum
        return DONE

    def cached_images(self) -> list[str]:
        self.faults.strike("cached_images", self.host)
        with self.world.lock:
            return sorted(self.world.images)

    def remove_image(self, image_id: str) -> None:
        self.faults.strike("remove_image", image_id)
        with self.world.lock:
            sources = [source for disks in self.world.disks.values() for source, _size in disks.values()]
            if not any(isinstance(source, ImageDisk) and source.image_id == image_id for source in sources):
                self.world.images.pop(image_id, None)

    # -- machines ----------------------------------------------------------------------------------

    def ensure_disks(self, machine: Machine) -> None:
        self.faults.strike("ensure_disks", machine.id)
        with self.world.lock:
            for disk in machine.disks:
                self._ensure_local(machine.id, disk)

    def ensure_machine(self, machine: Machine) -> None:
        self.faults.strike("ensure_machine", machine.id)
        with self.world.lock:
            for disk in machine.disks:
                self._ensure_local(machine.id, disk)
            known = self.world.machines.setdefault(machine.id, FakeMachine(wish=machine))
            if known.power not in ("shutoff", "crashed") and (machine.power == "shutoff" or self._must_stop(known, machine)):
                known.power, known.since = "shutoff", 0.0
            known.wish, known.reboots = machine, machine.reboots
            known.disks = {disk.key: disk for disk in machine.disks}
            known.nics = {nic.key: nic for nic in machine.nics}
            self._reach(known, machine.power)

    def ask_shutdown(self, machine_id: str) -> None:
        self.faults.strike("ask_shutdown", machine_id)
        with self.world.lock:
            machine = self.world.machines.get(machine_id)
            if machine and machine.power == "running":
                machine.power, machine.since = "shutoff", 0.0
                machine.log.append("power button: bye")

    def ask_reboot(self, machine_id: str) -> None:
        self.faults.strike("ask_reboot", machine_id)
        with self.world.lock:
            machine = self.world.machines.get(machine_id)
            if machine and machine.power == "running":
                machine.log += ["rebooting", f"{machine.wish.name} login: "]

    def remove_machine(self, machine_id: str) -> None:
        self.faults.strike("remove_machine", machine_id)
        with self.world.lock:
            self.world.machines.pop(machine_id, None)
            self.world.disks.pop(machine_id, None)
            self._forget_moves(machine_id)

    def remove_disks_except(self, machine: Machine) -> None:
        self.faults.strike("remove_disks_except", machine.id)
        with self.world.lock:
            wanted = {_file(disk) for disk in machine.disks}
            disks = self.world.disks.get(machine.id, {})
            for name in disks.keys() - wanted:
                del disks[name]

    # -- what is plugged ---------------------------------------------------------------------------

    def ensure_disk(self, machine_id: str, disk: Disk) -> None:
        self.faults.strike("ensure_disk", machine_id)
        with self.world.lock:
            machine = self._need(machine_id)
            self._ensure_local(machine_id, disk)
            machine.disks[disk.key] = disk

    def remove_disk(self, machine_id: str, key: str) -> None:
        self.faults.strike("remove_disk", machine_id)
        with self.world.lock:
            if machine := self.world.machines.get(machine_id):
                machine.disks.pop(key, None)

    def ensure_disk_size(self, machine_id: str, key: str, size_gib: int) -> None:
        self.faults.strike("ensure_disk_size", machine_id)
        with self.world.lock:
            machine = self.world.machines.get(machine_id)
            if machine and key in machine.disks:
                machine.log.append(f"{machine.disks[key].device}: has {size_gib} GiB now")

    def ensure_nic(self, machine_id: str, nic: Nic) -> None:
        self.faults.strike("ensure_nic", machine_id)
        with self.world.lock:
            self._need(machine_id).nics[nic.key] = nic

    def remove_nic(self, machine_id: str, key: str) -> None:
        self.faults.strike("remove_nic", machine_id)
        with self.world.lock:
            if machine := self.world.machines.get(machine_id):
                machine.nics.pop(key, None)

    # -- snapshots ---------------------------------------------------------------------------------

    def ensure_snapshot(self, machine_id: str, snapshot_id: str, disk_format: str) -> Progress:
        self.faults.strike("ensure_snapshot", machine_id)
        content = small_disk(disk_format)
        with self.world.lock:
            if snapshot_id in self.world.snapshots:
                return DONE
            machine = self._need(machine_id)
            root = machine.disks.get("root")
            if root is None or isinstance(root.source, VolumeDisk):
                return Progress(state="failed", why="The machine has no local root disk; take a snapshot of its volume instead.")
            if not self._long(f"snapshot {snapshot_id}"):
                return Progress(state="working", percent=50)
            Path(self.snapshot_path(snapshot_id)).write_bytes(content)
            self.world.snapshots[snapshot_id] = disk_format
        return DONE

    def snapshot_path(self, snapshot_id: str) -> str:
        return str(self.world.folder / f"snapshot-{snapshot_id}")

    def remove_snapshot(self, snapshot_id: str) -> None:
        self.faults.strike("remove_snapshot", snapshot_id)
        with self.world.lock:
            self.world.snapshots.pop(snapshot_id, None)
            Path(self.snapshot_path(snapshot_id)).unlink(missing_ok=True)  # also one whose making ended before it was noted

    # -- talking to machines -----------------------------------------------------------------------

    def console_log(self, machine_id: str) -> bytes:
        self.faults.strike("console_log", machine_id)
        with self.world.lock:
            machine = self.world.machines.get(machine_id)
            return "".join(f"{line}\n" for line in machine.log).encode() if machine else b""

    def console(self, machine_id: str, kind: Literal["vnc", "serial"]) -> ConsoleAddress:
        self.faults.strike("console", machine_id)
        with self.world.lock:
            self._need_running(machine_id)
            return ConsoleAddress(kind=kind, path=str(self.world.folder / f"{machine_id}.{kind}"))

    def use(self, machine_id: str) -> MachineUse:
        self.faults.strike("use", machine_id)
        with self.world.lock:
            machine = self._need(machine_id)
            if not machine.since:
                return MachineUse(id=machine_id, power=machine.power, memory_mib=machine.wish.memory_mib)
            uptime = int(time.time() - machine.since)
            return MachineUse(
                id=machine_id,
                power=machine.power,
                uptime_s=uptime,
                cpu_ns=[(uptime + 1) * 10_000_000] * machine.wish.vcpus,
                memory_mib=machine.wish.memory_mib,
                memory_used_mib=machine.wish.memory_mib // 2,
                disks=[DiskUse(key=key, read_bytes=1 << 20, read_requests=256) for key in machine.disks],
                nics=[NicUse(key=key, rx_bytes=1024, rx_packets=8, tx_bytes=1024, tx_packets=8) for key in machine.nics],
            )

    def send_nmi(self, machine_id: str) -> None:
        self.faults.strike("send_nmi", machine_id)
        with self.world.lock:
            self._need_running(machine_id).log.append("NMI received")

    def set_password(self, machine_id: str, user: str, password: str) -> None:
        self.faults.strike("set_password", machine_id)
        with self.world.lock:
            machine = self._need_running(machine_id)
            if machine.wish.properties.get("hw_qemu_guest_agent", "no").lower() not in ("yes", "true", "1"):
                raise HostError("The machine has no guest agent that answers: its image needs hw_qemu_guest_agent=yes.", elsewhere=False)
            self.world.passwords[machine_id, user] = password

    # -- parts -------------------------------------------------------------------------------------

    def _need(self, machine_id: str) -> FakeMachine:
        machine = self.world.machines.get(machine_id)
        if machine is None:
            raise HostError(f"Machine {machine_id} is not on host {self.host}.", elsewhere=False)
        return machine

    def _need_running(self, machine_id: str) -> FakeMachine:
        machine = self._need(machine_id)
        if not machine.since:
            raise HostError(f"Machine {machine_id} does not run; start it first.", elsewhere=False)
        return machine

    def _tell(self, machine_id: str) -> None:
        if self.on_change:
            self.on_change(machine_id)

    def _long(self, subject: str) -> bool:
        """Whether a long piece of work is done: at once, or at the second asking."""
        asked = self.world.asked[subject] = self.world.asked.get(subject, 0) + 1
        if self.instant or asked > 1:
            del self.world.asked[subject]
            return True
        return False

    def _ensure_local(self, machine_id: str, disk: Disk) -> None:
        source = disk.source
        if isinstance(source, VolumeDisk):
            return
        disks = self.world.disks.setdefault(machine_id, {})
        known = disks.get(_file(disk))
        size = 0
        if isinstance(source, ImageDisk):
            if known is None and self.world.images.get(source.image_id) != source.checksum:
                raise HostError(f"Image {source.image_id} is not in this host's cache; ask for the image first.")
            size = source.size_gib
        elif isinstance(source, BlankDisk):
            size = source.size_mib
        disks[_file(disk)] = (source, max(size, known[1] if known else 0))

    def _must_stop(self, known: FakeMachine, machine: Machine) -> bool:
        wishes = ((known.wish, known.reboots, known.disks.values()), (machine, machine.reboots, machine.disks))
        then, now = (
            (wish.vcpus, wish.memory_mib, _hardware(wish), reboots, _root(list(disks))) for wish, reboots, disks in wishes
        )
        return then != now

    def _reach(self, machine: FakeMachine, power: Seen) -> None:
        if power == "suspended":
            if machine.power in ("shutoff", "crashed"):
                raise HostError(f"Machine {machine.wish.id} does not run, so it cannot be suspended.", elsewhere=False)
            machine.since = 0.0
        elif power == "shutoff":
            machine.since = 0.0
        elif not machine.since:
            machine.since = time.time()
            self.world.offered.discard(machine.wish.id)
            if machine.power != "suspended":
                machine.memory = uuid.uuid4().hex
                machine.log += ["fake machine starting", f"{machine.wish.name} login: "]
        machine.power = power


def _file(disk: Disk) -> str:
    return f"{disk.key}.{getattr(disk.source, 'generation', 0)}"


def _hardware(machine: Machine) -> dict[str, str]:
    """The properties that shape the machine."""
    return {name: value for name, value in machine.properties.items() if name.startswith("hw")}


def _root(disks: list[Disk]) -> Disk | None:
    """The root disk without what may change while it is used: its size."""
    for disk in disks:
        if disk.key == "root":
            source = disk.source
            return msgspec.structs.replace(disk, source=msgspec.structs.replace(source, size_gib=0)) if isinstance(source, ImageDisk) else disk
    return None
