"""LibvirtHypervisor: real machines by libvirt and QEMU, on one host.  Each verb is done by the part that knows how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pilvi.compute.drivers import (
    Arrival,
    ConsoleAddress,
    Disk,
    DiskOffer,
    HostFacts,
    Machine,
    MachineUse,
    MoveUse,
    Nic,
    SeenMachine,
)
from pilvi.compute.drivers.libvirt import devices
from pilvi.compute.drivers.libvirt.arrivals import Arrivals
from pilvi.compute.drivers.libvirt.departures import Departures
from pilvi.compute.drivers.libvirt.disks import GIB, LocalDisks
from pilvi.compute.drivers.libvirt.facts import Facts, choose_virt_type
from pilvi.compute.drivers.libvirt.images import Fetch, ImageCache
from pilvi.compute.drivers.libvirt.jobs import Jobs
from pilvi.compute.drivers.libvirt.link import Link, parse
from pilvi.compute.drivers.libvirt.looks import Looks
from pilvi.compute.drivers.libvirt.offers import Offers
from pilvi.compute.drivers.libvirt.places import Places, checked_key
from pilvi.compute.drivers.libvirt.plugs import Plugs
from pilvi.compute.drivers.libvirt.power import Power
from pilvi.compute.drivers.libvirt.snapshots import Snapshots
from pilvi.compute.drivers.libvirt.tls import Files, Identity
from pilvi.compute.drivers.libvirt.tunnel import Tunnels
from pilvi.compute.drivers.libvirt.xml import Setting, domain_element
from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import Progress

MOVES_AT_ONCE = 16  # machines that come or go; who sends more than is good for the network knows better
COPY_PATIENCE = 300.0  # seconds that a start waits for the copying of the disk of a machine that is off


class LibvirtHypervisor:
    """The Hypervisor contract on libvirt.

    `state_dir` holds all files of this host's machines and tells them from other clouds' on the same libvirtd;
    with `shared_disks`, a folder that all hosts have under this path, disks and images lie there;
    `fetch` writes the bytes of an image to a path and may raise; `on_change` is told, in a thread of its own, the id
    of a machine whose power state changed, by our doing or not.

    Machines on the move are carried from agent to agent: other hosts reach this one at `address`, `move_port` (0: any
    that is free, and only while a machine is offered or expected).  `ca_file`, `cert_file` and `key_file` make both sides
    show a certificate of the cloud's; without them the pass that one host hands to the other over the bus is the only
    proof.
    """

    def __init__(
        self,
        host: str,
        state_dir: Path,
        uri: str,
        *,
        fetch: Fetch,
        virt_type: Literal["auto", "kvm", "qemu"] = "auto",
        tb_cache_mib: int = 64,
        address: str = "127.0.0.1",
        move_port: int = 0,
        shared_disks: str = "",
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self.host = host
        self.places = Places(state_dir, host, shared_disks)
        kind = choose_virt_type(virt_type)
        self._setting = Setting(host=host, virt_type=kind, tb_cache_mib=tb_cache_mib, state_dir=self.places.state_dir)
        self._jobs = Jobs()
        self._link = Link(uri, host, self.places, on_change)
        self._disks = LocalDisks(self.places)
        self._images = ImageCache(self.places, fetch, self._jobs)
        self._plugs = Plugs(self._link)
        self._power = Power(self._link, self._plugs)
        self._snapshots = Snapshots(self.places, self._link, self._jobs)
        self._facts = Facts(self.places, self._link, host, address, kind)
        identity = Identity(Files(ca=ca_file, cert=cert_file, key=key_file), self.places.state_dir)
        self._tunnels = Tunnels(identity, address, move_port)
        moving = Jobs(MOVES_AT_ONCE)
        self._offers = Offers(self.places, self._link, self._images, moving, self._tunnels)
        self._arrivals = Arrivals(self.places, self._link, self._disks, self._tunnels)
        self._departures = Departures(self.places, self._link, moving, self._tunnels)
        self._looks = Looks(self.places, self._link, self._arrivals.expected)
        self._offers.resume()
        self._arrivals.resume()

    def close(self) -> None:
        """Let the connection go; machines are not touched."""
        self._tunnels.close()
        self._link.close()

    def halt(self) -> None:
        """Turn every machine off at once; their definitions and disks stay."""
        for domain, _ in self._link.ours():
            self._power.off(domain)

    # -- the host ----------------------------------------------------------------------------------

    def facts(self) -> HostFacts:
        return self._facts.now()

    def observe(self) -> list[SeenMachine]:
        return self._looks.observe()

    def ensure_image(self, image_id: str, checksum: str) -> Progress:
        return self._images.ensure(image_id, checksum)

    def cached_images(self) -> list[str]:
        return self._images.all()

    def remove_image(self, image_id: str) -> None:
        self._images.remove(image_id)

    # -- machines ----------------------------------------------------------------------------------

    def ensure_disks(self, machine: Machine) -> None:
        domain = self._link.find(machine.id)
        for disk in machine.disks:
            self._disks.ensure(machine.id, disk)
            self._ensure_wished_size(domain, machine.id, disk)

    def ensure_machine(self, machine: Machine) -> None:
        wish = domain_element(machine, self._setting, self.places)
        self._departures.settle(machine.id)
        self._arrivals.done(machine.id)
        if machine.power in ("running", "paused"):
            self._offers.withdraw(machine.id)  # a disk that changes cannot be read by others
            self._await_copy(machine.id)
        self.ensure_disks(machine)
        self._power.ensure(machine, wish)

    def ask_shutdown(self, machine_id: str) -> None:
        domain = self._link.find(machine_id)
        with self._link.asking("press the machine's power button"):
            if domain is not None and domain.isActive():
                domain.shutdown()

    def ask_reboot(self, machine_id: str) -> None:
        domain = self._link.find(machine_id)
        with self._link.asking("ask the machine to reboot"):
            if domain is not None and domain.isActive():
                domain.reboot()

    def remove_machine(self, machine_id: str) -> None:
        self._offers.withdraw(machine_id)
        self._arrivals.close(machine_id)
        domain = self._link.find(machine_id)
        if domain is not None:
            self._power.remove(domain)
        self.places.remove(machine_id)

    def remove_disks_except(self, machine: Machine) -> None:
        self._disks.keep_only(machine)

    # -- what is plugged ---------------------------------------------------------------------------

    def ensure_disk(self, machine_id: str, disk: Disk) -> None:
        domain = self._link.need(machine_id)
        self._disks.ensure(machine_id, disk)
        with self._link.asking("look at a machine"):
            definition = parse(domain.XMLDesc(0))
        system = definition.find("os/type")
        q35 = system is not None and "q35" in system.get("machine", "")
        wish = devices.disk_element(disk, self.places, machine_id, q35=q35)
        self._plugs.ensure(domain, wish)
        self._ensure_wished_size(domain, machine_id, disk)

    def remove_disk(self, machine_id: str, key: str) -> None:
        domain = self._link.find(machine_id)
        if domain is not None:
            self._plugs.remove(domain, devices.DISK + checked_key(key))

    def ensure_disk_size(self, machine_id: str, key: str, size_gib: int) -> None:
        domain = self._link.find(machine_id)
        if domain is not None:
            self._grow_live(domain, key, size_gib * GIB)

    def ensure_nic(self, machine_id: str, nic: Nic) -> None:
        self._plugs.ensure(self._link.need(machine_id), devices.nic_element(nic))

    def remove_nic(self, machine_id: str, key: str) -> None:
        domain = self._link.find(machine_id)
        if domain is not None:
            self._plugs.remove(domain, devices.NIC + checked_key(key))

    # -- snapshots ---------------------------------------------------------------------------------

    def ensure_snapshot(self, machine_id: str, snapshot_id: str, disk_format: str) -> Progress:
        return self._snapshots.ensure(machine_id, snapshot_id, disk_format)

    def snapshot_path(self, snapshot_id: str) -> str:
        return str(self.places.snapshot(snapshot_id))

    def remove_snapshot(self, snapshot_id: str) -> None:
        self._snapshots.remove(snapshot_id)

    # -- moving to another host --------------------------------------------------------------------

    def offer_disks(self, machine_id: str) -> list[DiskOffer]:
        return self._offers.offer(machine_id)

    def withdraw_disks(self, machine_id: str) -> None:
        self._offers.withdraw(machine_id)

    def fetch_disks(self, machine: Machine, offers: list[DiskOffer]) -> Progress:
        return self._offers.fetch(machine, offers)

    def share_disks(self, machine: Machine, host: str) -> bool:
        return self._arrivals.share(machine, host)

    def ensure_arrival(self, machine: Machine, host: str) -> Arrival:
        return self._arrivals.ensure(machine, host, domain_element(machine, self._setting, self.places))

    def migrate(self, machine_id: str, arrival: Arrival) -> Progress:
        return self._departures.migrate(machine_id, arrival)

    def abort_migrate(self, machine_id: str) -> None:
        self._departures.abort(machine_id)

    def hurry_migrate(self, machine_id: str) -> None:
        self._departures.hurry(machine_id)

    def move_use(self, machine_id: str) -> MoveUse | None:
        return self._departures.use(machine_id)

    # -- talking to machines -----------------------------------------------------------------------

    def console_log(self, machine_id: str) -> bytes:
        return self._looks.console_log(machine_id)

    def console(self, machine_id: str, kind: Literal["vnc", "serial"]) -> ConsoleAddress:
        return self._looks.console(machine_id, kind)

    def use(self, machine_id: str) -> MachineUse:
        return self._looks.use(machine_id)

    def send_nmi(self, machine_id: str) -> None:
        domain = self._link.need_running(machine_id)
        with self._link.asking("inject an NMI"):
            domain.injectNMI()

    def set_password(self, machine_id: str, user: str, password: str) -> None:
        domain = self._link.need_running(machine_id)
        with self._link.asking("look at a machine"):
            definition = parse(domain.XMLDesc(0))
        channel = definition.find("devices/channel/target[@name='org.qemu.guest_agent.0']")
        if channel is None or channel.get("state") != "connected":
            raise HostError(
                "The machine has no guest agent that answers: its image needs hw_qemu_guest_agent=yes and qemu-guest-agent running.",
                elsewhere=False,
            )
        with self._link.asking(f"set the password of {user}"):
            domain.setUserPassword(user, password)

    # -- parts -------------------------------------------------------------------------------------

    def _ensure_wished_size(self, domain: Any, machine_id: str, disk: Disk) -> None:
        path, size = self.places.disk(machine_id, disk), self._disks.wished_size(disk)
        if path is None or not size:
            return
        if domain is None or not self._grow_live(domain, disk.key, size):
            self._disks.grow(path, size)

    def _grow_live(self, domain: Any, key: str, size: int) -> bool:
        """Grow a disk of a running machine to `size` bytes; False when it does not run or has no such disk."""
        with self._link.asking("grow a disk"):
            if not domain.isActive():
                return False
            element = devices.plugged(parse(domain.XMLDesc(0))).get(devices.DISK + checked_key(key))
            if element is None:
                return False
            target = devices.target_of(element)
            if domain.blockInfo(target)[0] < size:
                domain.blockResize(target, size, 1)  # 1: bytes
            return True

    def _await_copy(self, machine_id: str) -> None:
        """A machine that is off cannot start while its disk is being copied."""
        domain = self._link.find(machine_id)
        with self._link.asking("look at a machine"):
            runs = domain is not None and domain.isActive()
        if not runs and not self._jobs.wait(self._snapshots.subject(machine_id), COPY_PATIENCE):
            raise HostError("A snapshot of the machine's disk is still being made; start it when that is done.", elsewhere=False)
