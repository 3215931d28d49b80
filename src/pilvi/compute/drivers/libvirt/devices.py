"""The XML of what can be plugged: disks and network cards, each under an alias made of its key."""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pilvi.compute.drivers import ConfigDisk, Disk, ImageDisk, Nic, VolumeDisk
from pilvi.compute.drivers.libvirt.marks import writable
from pilvi.compute.drivers.libvirt.places import Places, checked_key

DISK, NIC = "ua-disk-", "ua-nic-"  # libvirt leaves aliases alone that begin with "ua-"
NIC_MODELS = {"virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "igb", "vmxnet3"}
SATA_PORTS = 6  # of q35's own controller
COLD_BUSES = {"ide", "sata"}  # nothing can be plugged here while the machine runs


def disk_element(disk: Disk, places: Places, machine_id: str, *, q35: bool = False) -> ET.Element:
    """A <disk>.  q35 has no IDE: such a disk is put on SATA there, from the last port down."""
    source = disk.source
    element = ET.Element("disk", type="file", device=disk.kind)
    driver = ET.SubElement(element, "driver", name="qemu", type="raw")
    read_only = disk.kind == "cdrom"
    match source:
        case VolumeDisk(kind="nbd"):
            element.set("type", "network")
            remote = ET.SubElement(element, "source", protocol="nbd", name=source.export)
            if source.path:
                ET.SubElement(remote, "host", transport="unix", socket=source.path)
            else:
                ET.SubElement(remote, "host", name=source.host, port=str(source.port or 10809))
            ET.SubElement(remote, "reconnect", delay="10")
            driver.attrib.update(cache="none", discard="unmap")
            read_only |= source.read_only
        case VolumeDisk():
            ET.SubElement(element, "source", file=source.path)
            # a volume's file may be shared between hosts: nothing of it may stay in this host's cache
            driver.attrib.update(type=source.format, cache=_uncached(os.path.dirname(source.path)), discard="unmap")
            read_only |= source.read_only
        case _:
            ET.SubElement(element, "source", file=str(places.disk(machine_id, disk)))
            driver.attrib.update(type="qcow2" if isinstance(source, ImageDisk) else "raw", cache="writeback", discard="unmap")
            read_only |= isinstance(source, ConfigDisk)
    if q35 and disk.bus == "ide":
        index = ord(disk.device[2:3] or "a") - ord("a")
        ET.SubElement(element, "target", dev=f"sd{chr(ord('z') - index)}", bus="sata")
        ET.SubElement(element, "address", type="drive", controller="0", bus="0", target="0", unit=str(SATA_PORTS - 1 - index))
    else:
        ET.SubElement(element, "target", dev=disk.device, bus=disk.bus)
    serial = disk.serial or (source.volume_id if isinstance(source, VolumeDisk) else "")
    if serial:
        ET.SubElement(element, "serial").text = writable(serial)
    if read_only:
        ET.SubElement(element, "readonly")
    if disk.boot_index is not None and disk.boot_index >= 0:
        ET.SubElement(element, "boot", order=str(disk.boot_index + 1))
    ET.SubElement(element, "alias", name=DISK + checked_key(disk.key))
    return element


def nic_element(nic: Nic) -> ET.Element:
    """An <interface> onto a tap that is there already."""
    element = ET.Element("interface", type="ethernet")
    ET.SubElement(element, "mac", address=nic.mac)
    ET.SubElement(element, "target", dev=nic.tap, managed="no")
    ET.SubElement(element, "model", type=nic.model if nic.model in NIC_MODELS else "virtio")
    ET.SubElement(element, "mtu", size=str(nic.mtu))
    ET.SubElement(element, "alias", name=NIC + checked_key(nic.key))
    return element


def plugged(domain: ET.Element) -> dict[str, ET.Element]:
    """The disks and cards of a definition that are ours, by alias."""
    return {alias: element for element in _devices(domain) if (alias := alias_of(element)).startswith((DISK, NIC))}


def keys(domain: ET.Element, prefix: str) -> list[str]:
    """The keys of the plugged disks (DISK) or cards (NIC)."""
    return [alias.removeprefix(prefix) for alias in plugged(domain) if alias.startswith(prefix)]


def alias_of(element: ET.Element) -> str:
    return element.findtext("alias") or _attribute(element, "alias", "name")


def target_of(element: ET.Element) -> str:
    """The disk's name in the machine (vda), or the card's tap."""
    return _attribute(element, "target", "dev")


def file_of(element: ET.Element) -> Path | None:
    """The file of a disk; None for what has none."""
    source = element.find("source")
    file = "" if source is None else source.get("file", "")
    return Path(file) if file else None


def same(one: ET.Element, other: ET.Element) -> bool:
    """Whether two elements mean the same device; what libvirt adds by itself does not count."""
    return _essence(one) == _essence(other)


def is_cold(element: ET.Element) -> bool:
    """Whether the device can come and go only with a restart."""
    return element.tag == "disk" and (_attribute(element, "target", "bus") in COLD_BUSES or element.get("device") == "cdrom")


def adopt_addresses(wish: ET.Element, present: ET.Element) -> None:
    """Give devices of the wish the bus addresses they have at present, so that guests find them where they were."""
    known = plugged(present)
    for alias, element in plugged(wish).items():
        address = known[alias].find("address") if alias in known and same(known[alias], element) else None
        if address is not None and element.find("address") is None:
            element.append(address)


def _essence(element: ET.Element) -> tuple[str, ...]:
    if element.tag == "interface":
        return (_attribute(element, "mac", "address").lower(), target_of(element), _attribute(element, "model", "type"))
    host = element.find("source/host")
    return (
        element.get("type", ""),
        element.get("device", ""),
        _attribute(element, "source", "file"),
        _attribute(element, "source", "name"),
        *(() if host is None else (host.get("socket", ""), host.get("name", ""), host.get("port", ""))),
        _attribute(element, "driver", "type"),
        target_of(element),
        _attribute(element, "target", "bus"),
        element.findtext("serial") or "",
        "readonly" if element.find("readonly") is not None else "",
    )


def _attribute(element: ET.Element, child: str, name: str) -> str:
    found = element.find(child)
    return "" if found is None else found.get(name, "")


def _devices(domain: ET.Element) -> Iterator[ET.Element]:
    yield from domain.iterfind("devices/disk")
    yield from domain.iterfind("devices/interface")


@cache
def _uncached(folder: str) -> str:
    """The cache mode for files of a folder: "none" where its file system can do direct input and output."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            os.close(os.open(probe.name, os.O_RDWR | os.O_DIRECT))
        return "none"
    except OSError:
        return "writeback"
