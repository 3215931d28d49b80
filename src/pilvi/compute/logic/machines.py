"""Machines: a server's rows in the words of the hypervisor contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pilvi.compute.drivers import BlankDisk, ConfigDisk, Disk, ImageDisk, Machine, Nic, VolumeDisk
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel import clock

# task_states in which the machine is off on the host that the server is about to leave
OFF_BEHIND = ("resize_migrating", "resize_migrated", "resize_reverting")
REBUILDING = ("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning")  # evacuation: the disks are made anew
LEAVING = ("deleting", "shelving_offloading")  # whatever is left of it may go
_SHAPING = ("hw_", "hw:", "os_", "img_")  # prefixes of properties and specs that shape the hardware


def machine(server: Server, devices: Sequence[Device], ports: Sequence[Any], files: dict[str, bytes] | None) -> Machine:
    """The machine that a server shall be.  `ports` are the network's PortInfo; `files` the config drive's, None without one."""
    return Machine(
        id=server.id, name=server.machine_name, vcpus=server.vcpus, memory_mib=server.memory_mib,
        disks=disks(server, devices, files), nics=nics(server, ports), power=server.power, properties=properties(server),
        reboots=server.reboots, user=server.user_id, project=server.project_id, flavor=server.flavor.name,
        created_at=clock.iso(server.created_at),
    )  # fmt: skip


def has_part(server: Server | None, host: str) -> bool:
    """Whether something of the server is on the host, or about to be: elsewhere, whatever is found of it may be removed."""
    there = server is not None and server.deleted_at is None and server.task_state not in LEAVING
    return there and host in (server.host, server.other_host)


def on_host(server: Server, devices: Sequence[Device], host: str) -> tuple[Server, list[Device]] | None:
    """The server's rows as they are to be on one of its hosts; None where there shall be no machine of it.

    While it moves there are two: the host that it is on keeps its machine off if its disks are being carried away, and
    on the host that it goes to it has the new size and other ways to its volumes.
    """
    if host == server.host:
        if server.other_host and server.task_state in OFF_BEHIND:
            return msgspec.structs.replace(server, power="shutoff"), list(devices)
        return server, list(devices)
    if host != server.other_host or server.old_flavor is not None or server.task_state is None:
        return None
    flavor = server.new_flavor or server.flavor
    values: dict[str, Any] = {"flavor": flavor, "vcpus": flavor.vcpus, "memory_mib": flavor.ram, "power": server.other_power or server.power}
    if server.task_state in REBUILDING:
        values |= {"generation": server.generation + 1, "base": None}
    return msgspec.structs.replace(server, **values), [
        msgspec.structs.replace(one, connection=one.other_connection) if one.destination == "volume" else one for one in devices
    ]


def properties(server: Server) -> dict[str, str]:
    """What the image and the flavor say of the hardware; the flavor's word counts more."""
    found: dict[str, str] = {}
    for source in ((server.rescue.image if server.rescue else server.image).properties, server.flavor.extra_specs):
        found |= {name: value for name, value in source.items() if name.startswith(_SHAPING)}
    return found


def disks(server: Server, devices: Sequence[Device], files: dict[str, bytes] | None) -> list[Disk]:
    """The server's disks in the order of booting; in rescue the rescue image's stands before them."""
    found = [one for one in (disk(server, device) for device in ordered(devices)) if one is not None]
    if server.rescue is not None:
        image = server.rescue.image
        source = ImageDisk(image_id=image.id, checksum=image.checksum, size_gib=server.flavor.disk, generation=int(server.rescue.since))
        names = (f"{one.device[:2]}{letter}" for one in found for letter in "bcdefghijklmnopqrstuvwxyz")
        used = {"vda"}
        moved = []
        for one in found:
            name = one.device
            if name in used:
                name = next(name for name in names if name not in used and all(name != other.device for other in found))
            used.add(name)
            moved.append(msgspec.structs.replace(one, device=name, boot_index=None))
        found = [Disk(key="rescue", device="vda", source=source, boot_index=0), *moved]
    if files is not None:
        found.append(_config_drive(properties(server), {one.device for one in found}, files))
    return found


def _config_drive(shape: Mapping[str, str], used: set[str], files: dict[str, bytes]) -> Disk:
    """The config drive: a CD on the bus that the image names, else on the one that the machine type has from birth."""
    bus = shape.get("hw_cdrom_bus") or ("sata" if "q35" in shape.get("hw_machine_type", "") else "ide")
    letters = {"ide": ("hd", "dcba"), "virtio": ("vd", "zyxwvuts")}.get(bus, ("sd", "fedcba"))
    name = next(letters[0] + letter for letter in letters[1] if letters[0] + letter not in used)
    return Disk(key="config", device=name, source=ConfigDisk(files=files), bus=bus, kind="cdrom")  # type: ignore[arg-type]


def disk(server: Server, device: Device) -> Disk | None:
    """One disk; None for a volume that is not connected yet."""
    source: ImageDisk | BlankDisk | VolumeDisk
    if device.destination == "volume":
        if not device.connection:
            return None
        source = msgspec.convert({"volume_id": device.volume_id, **device.connection}, VolumeDisk)
    elif device.source == "image":
        image = server.shelved_image or server.base or server.image
        size = server.flavor.disk if device.boot_index == 0 else device.size
        source = ImageDisk(image_id=image.id, checksum=image.checksum, size_gib=size, generation=server.generation)
    else:
        mib = device.size if device.filesystem == "swap" else device.size * 1024
        source = BlankDisk(size_mib=mib, filesystem=device.filesystem, generation=server.generation)
    return Disk(
        key=key(device), device=device.device.removeprefix("/dev/"), source=source, bus=device.bus,  # type: ignore[arg-type]
        kind="cdrom" if device.kind == "cdrom" else "disk", boot_index=device.boot_index,
        serial=device.volume_id or device.id, tag=device.tag,
    )  # fmt: skip


def key(device: Device) -> str:
    """What the disk is called within the machine, for ever: root, a volume's id, or the device's own."""
    if device.destination == "volume":
        return device.volume_id
    return "root" if device.boot_index == 0 else device.id


def ordered(devices: Sequence[Device]) -> list[Device]:
    """Boot disks first, in their order; then by device name."""
    return sorted(devices, key=lambda one: (one.boot_index is None, one.boot_index or 0, len(one.device), one.device))


def nics(server: Server, ports: Sequence[Any]) -> list[Nic]:
    """The server's cards, in the order in which it got them."""
    known: Mapping[str, Any] = {port.id: port for port in ports}
    model = server.image.properties.get("hw_vif_model", "virtio")
    return [
        Nic(key=nic.port_id, mac=known[nic.port_id].mac, tap=known[nic.port_id].tap, mtu=known[nic.port_id].mtu, model=model, tag=nic.tag)
        for nic in server.nics
        if nic.port_id in known
    ]


def key_of_disk(machine: Machine, key: str) -> Disk | None:
    """The machine's disk of that key."""
    return next((one for one in machine.disks if one.key == key), None)
