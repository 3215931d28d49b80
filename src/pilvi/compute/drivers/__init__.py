"""The Hypervisor contract: what compute asks of a host, and the table of drivers that can do it.

Every verb may be said twice: `ensure_*` makes it so and is silent when it is so already, `remove_*` may be said
of what is absent, `observe` only looks.  A driver keeps no memory of its own beside what lies on the host: after
a restart `observe` finds all.  Verbs raise `HostError` with a sentence for the user.  Verbs block; the agent
calls them from threads, never two at once for one machine.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from pilvi.kernel.progress import Progress

Power = Literal["running", "paused", "suspended", "shutoff"]
# what `observe` may see beyond what may be wished: crashed is a machine whose guest or process died
Seen = Literal["running", "paused", "suspended", "shutoff", "crashed"]


class ImageDisk(msgspec.Struct, tag="image", frozen=True, kw_only=True):
    """A copy-on-write disk over a cached image.  `generation` grows with each rebuild: a new one is a new disk."""

    image_id: str
    checksum: str = ""  # of the image's bytes; a cached file with another is not used
    size_gib: int  # 0: as large as the image
    generation: int = 0


class BlankDisk(msgspec.Struct, tag="blank", frozen=True, kw_only=True):
    """An empty local disk (ephemeral, swap)."""

    size_mib: int
    filesystem: str = ""  # "", "ext4", "vfat", "swap"
    generation: int = 0


class VolumeDisk(msgspec.Struct, tag="volume", frozen=True, kw_only=True):
    """A volume of block storage, reached as `connection` says (see block_storage.drivers.Connection)."""

    volume_id: str
    kind: Literal["file", "nbd"]
    path: str = ""  # file: absolute path; nbd over a unix socket: the socket's path
    format: str = "raw"  # file: qcow2 or raw; nbd always raw
    host: str = ""  # nbd on another host, through its gate
    port: int = 0
    export: str = ""
    secret: str = ""
    pin: str = ""
    read_only: bool = False

    def __repr__(self) -> str:
        return f"VolumeDisk({self.volume_id} by {self.kind} at {self.path or self.host})"


class ConfigDisk(msgspec.Struct, tag="config", frozen=True, kw_only=True):
    """The config drive: an ISO 9660 image labelled config-2 with these files (path to content)."""

    files: dict[str, bytes]


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """One disk of a machine.  `key` names it within the machine for ever ("root", "eph0", "swap", a volume's id)."""

    key: str
    device: str  # vda, sda, hda
    source: ImageDisk | BlankDisk | VolumeDisk | ConfigDisk
    bus: Literal["virtio", "scsi", "ide", "sata", "usb"] = "virtio"
    kind: Literal["disk", "cdrom"] = "disk"
    boot_index: int | None = None
    serial: str = ""
    tag: str = ""


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One network card; the network driver of the host has plugged `tap` before the machine starts."""

    key: str  # the port's id
    mac: str
    tap: str
    mtu: int = 1500
    model: str = "virtio"
    tag: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual machine as it should be, whole.  Pulled from the conductor by the agent, never pushed in parts."""

    id: str  # the server's uuid; also the domain's uuid
    name: str
    vcpus: int
    memory_mib: int
    disks: list[Disk] = []
    nics: list[Nic] = []
    power: Power = "running"
    # firmware, machine type, cpu model, video, rng, watchdog...: image properties (hw_*) and extra specs (hw:*)
    properties: dict[str, str] = {}
    # grows with each wish for a hard reboot: the driver remembers with the domain the last one it has done
    reboots: int = 0
    serial_console: bool = True
    user: str = ""
    project: str = ""
    flavor: str = ""
    created_at: str = ""


class SeenMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it is: what `observe` reports."""

    id: str
    power: Seen
    reboots: int = 0
    disks: list[str] = []  # keys of the disks that are attached
    nics: list[str] = []  # keys of the cards that are attached
    since: float = 0.0  # epoch seconds at which its process started, 0 when it has none


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the host has.  Memory in MiB, disks in GiB; used_* is what machines and the host take now."""

    hypervisor: str  # QEMU, fake
    version: int  # as libvirt counts: 7002000 for 7.2.0
    hostname: str
    address: str = "127.0.0.1"
    vcpus: int
    memory_mib: int
    disk_gib: int
    free_memory_mib: int
    free_disk_gib: int
    running: int
    cpu: dict[str, object] = {}  # vendor, model, arch, features, topology
    traits: list[str] = []
    virt_type: str = "qemu"
    storage: str = ""  # what local disks lie on, when other hosts have theirs there too: the same name on each of them


class ConsoleAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a graphical or serial console of a machine listens: a unix socket of its host, or host and port.

    With a `secret` it is a door of that host's agent, which shows the certificate of which `pin` is the SHA-256.
    """

    kind: Literal["vnc", "serial"]
    path: str = ""
    host: str = ""
    port: int = 0
    pin: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"ConsoleAddress({self.kind} at {self.path or self.host})"


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0
    errors: int = 0


class NicUse(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_drops: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_drops: int = 0


class MachineUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine has used since it started (diagnostics, telemetry).  Nanoseconds and MiB."""

    id: str
    power: Seen
    uptime_s: int = 0
    cpu_ns: list[int] = []
    memory_mib: int = 0
    memory_used_mib: int = 0
    disks: list[DiskUse] = []
    nics: list[NicUse] = []


class DiskOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a shut-off machine as another host may read it, byte for byte: its local disk, or an image that one stands on."""

    key: str  # the disk's key; for an image "image:" and its id
    url: str  # opaque to all but the driver; who has it may read
    size: int  # bytes of the file


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has made ready for a machine that comes to it while it runs; opaque to all but the driver."""

    uri: str = ""  # of the hypervisor there, as the one that the machine leaves reaches it
    address: str = ""  # where memory and disks are sent
    definition: str = ""  # the machine as it is to be defined there
    disks: list[str] = []  # keys of the local disks that are to be copied: those that are not shared


class MoveUse(msgspec.Struct, frozen=True, kw_only=True):
    """How far a live migration is.  Bytes."""

    memory_total: int = 0
    memory_done: int = 0
    memory_left: int = 0
    disk_total: int = 0
    disk_done: int = 0
    disk_left: int = 0


class Hypervisor(Protocol):
    """The verbs of a hypervisor driver."""

    def facts(self) -> HostFacts:
        """What the host has now.  Cheap enough to be asked every minute."""
        ...

    def observe(self) -> list[SeenMachine]:
        """Every machine of this cloud on this host, whatever its state."""
        ...

    def ensure_image(self, image_id: str, checksum: str) -> Progress:
        """Have the image in the host's cache, inspected and ready to be a base.  Long: begun, then asked again."""
        ...

    def cached_images(self) -> list[str]:
        """Ids of the images in the cache."""
        ...

    def remove_image(self, image_id: str) -> None:
        """Drop the image from the cache unless a machine's disk stands on it."""
        ...

    def ensure_disks(self, machine: Machine) -> None:
        """Have every local disk of the machine on the host, of the wished size and generation."""
        ...

    def ensure_machine(self, machine: Machine) -> None:
        """Have the machine defined exactly so and in its wished power state.

        A machine that runs as wished is left alone.  One that runs, but whose fixed parts (cpu, memory, properties,
        root disk, reboots) differ, is stopped and started anew.  Disks and cards that differ are plugged while it runs.
        Starting a shut-off machine, resuming a paused or suspended one, pausing and suspending (to disk) are all this
        verb.  Shutting off is at once; a graceful stop is `ask_shutdown` first.
        """
        ...

    def ask_shutdown(self, machine_id: str) -> None:
        """Press the power button.  Silent when the machine does not run."""
        ...

    def ask_reboot(self, machine_id: str) -> None:
        """Press ctrl-alt-del or the power button's equivalent for a soft reboot."""
        ...

    def ensure_disk(self, machine_id: str, disk: Disk) -> None:
        """Have the disk plugged, and in the definition that outlives a restart; an already plugged one grows to size."""
        ...

    def remove_disk(self, machine_id: str, key: str) -> None:
        """Have the disk unplugged from the running machine (waits for the guest, bounded) and its definition."""
        ...

    def ensure_disk_size(self, machine_id: str, key: str, size_gib: int) -> None:
        """Tell a running machine that a plugged disk has grown."""
        ...

    def ensure_nic(self, machine_id: str, nic: Nic) -> None:
        """Have the card plugged, and in the definition."""
        ...

    def remove_nic(self, machine_id: str, key: str) -> None:
        """Have the card unplugged, and out of the definition."""
        ...

    def ensure_snapshot(self, machine_id: str, snapshot_id: str, disk_format: str) -> Progress:
        """Have a flat file with the root disk as it was at the first asking, at `snapshot_path`.  Long."""
        ...

    def snapshot_path(self, snapshot_id: str) -> str:
        """Absolute path of the file of a done snapshot."""
        ...

    def remove_snapshot(self, snapshot_id: str) -> None:
        """Forget the file of a snapshot."""
        ...

    def remove_machine(self, machine_id: str) -> None:
        """Have no machine, disk, saved state or log of this id on the host."""
        ...

    def remove_disks_except(self, machine: Machine) -> None:
        """Drop local disks that the machine no longer names (after rebuild, resize, unrescue)."""
        ...

    def offer_disks(self, machine_id: str) -> list[DiskOffer]:
        """Have the local disks of a shut-off machine, and the images they stand on, readable from other hosts."""
        ...

    def withdraw_disks(self, machine_id: str) -> None:
        """Have them readable no more."""
        ...

    def fetch_disks(self, machine: Machine, offers: list[DiskOffer]) -> Progress:
        """Have the machine's local disks here, as they are on the host that offers them.  Long.

        A half-fetched disk is never taken for a whole one, also not after a crash.
        """
        ...

    def share_disks(self, machine: Machine, host: str) -> bool:
        """Have the machine's local disks here be the very ones that it has on that host, if both keep theirs on one storage.

        Said before the machine is here.  False when they do not share it: then nothing was done.  A shared disk is gone when
        both hosts have removed it.
        """
        ...

    def ensure_arrival(self, machine: Machine, host: str) -> Arrival:
        """Be ready for the machine to come from that host while it runs; its disks (`ensure_disks`, `share_disks`) and ports are here."""
        ...

    def migrate(self, machine_id: str, arrival: Arrival) -> Progress:
        """Have the running machine at the arrival's host, local disks and all, without stopping it.  Long.

        Done: it runs there and is defined here no more (`remove_machine` then drops its files here).
        Failed: it runs here as before.  Said of a machine that has left already: done.
        """
        ...

    def abort_migrate(self, machine_id: str) -> None:
        """Have a migration under way end as failed; silent when there is none."""
        ...

    def hurry_migrate(self, machine_id: str) -> None:
        """Have a migration under way end soon, however long the guest must stand still for it; silent when there is none."""
        ...

    def move_use(self, machine_id: str) -> MoveUse | None:
        """How far the machine's migration is; None when none is under way."""
        ...

    def console_log(self, machine_id: str) -> bytes:
        """What the guest wrote on its serial console: at most the last 1 MiB."""
        ...

    def console(self, machine_id: str, kind: Literal["vnc", "serial"]) -> ConsoleAddress:
        """Where the console of a running machine listens."""
        ...

    def use(self, machine_id: str) -> MachineUse:
        """What the machine has used."""
        ...

    def send_nmi(self, machine_id: str) -> None:
        """Inject a non-maskable interrupt (crash dump)."""
        ...

    def set_password(self, machine_id: str, user: str, password: str) -> None:
        """Set a password through the guest agent; HostError when there is none."""
        ...


# name in the configuration -> where the driver is; imported only when chosen
DRIVERS: dict[str, str] = {
    "libvirt": "pilvi.compute.drivers.libvirt:LibvirtHypervisor",
    "fake": "pilvi.compute.drivers.fake:FakeHypervisor",
}
