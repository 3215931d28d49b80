"""Looking at machines: what there is, what it uses, what it wrote, where its consoles listen."""

from __future__ import annotations

import ctypes
import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pilvi.compute.drivers import (
    ConsoleAddress,
    DiskUse,
    MachineUse,
    NicUse,
    SeenMachine,
)
from pilvi.compute.drivers.libvirt import devices, marks
from pilvi.compute.drivers.libvirt.link import Link, is_coming, library, parse
from pilvi.compute.drivers.libvirt.places import Places
from pilvi.compute.drivers.libvirt.power import seen_power
from pilvi.kernel.errors import HostError

LOG_KEPT = 1 << 20  # bytes at the end of a console log
PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


class Looks:
    """Reads, and changes nothing but the length of console logs."""

    def __init__(self, places: Places, link: Link, expected: Callable[[str], bool]) -> None:
        self.places, self.link, self.expected = places, link, expected

    def observe(self) -> list[SeenMachine]:
        """Every machine with a domain, and every folder of files without one: the rest of a machine half made."""
        libvirt = library()
        seen: dict[str, SeenMachine] = {}
        for domain, definition in self.link.ours():
            machine_id = domain.UUIDString()
            self._trim_log(machine_id)
            try:
                if self.expected(machine_id) and is_coming(domain):
                    continue  # it is a machine of this host only when it has arrived; until then there are its files
                seen[machine_id] = self._seen(domain, machine_id, definition)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise self.link.sentence(error, "look at a machine") from error
        for folder in self.places.machines.iterdir():
            if folder.name not in seen and _is_id(folder.name):
                seen[folder.name] = SeenMachine(id=folder.name, power="shutoff")
        return list(seen.values())

    def use(self, machine_id: str) -> MachineUse:
        libvirt = library()
        domain = self.link.need(machine_id)
        with self.link.asking("look at what a machine uses"):
            power = seen_power(domain)
            definition = parse(domain.XMLDesc(0))
            memory = int(definition.findtext("memory") or 0) // 1024
            if not domain.isActive():
                return MachineUse(id=domain.UUIDString(), power=power, memory_mib=memory)
            wanted = (
                libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
                | libvirt.VIR_DOMAIN_STATS_BALLOON
                | libvirt.VIR_DOMAIN_STATS_VCPU
                | libvirt.VIR_DOMAIN_STATS_INTERFACE
                | libvirt.VIR_DOMAIN_STATS_BLOCK
            )
            nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
            stats: dict[str, Any] = self.link.connection().domainListGetStats([domain], wanted, nowait)[0][1]
        since = self._since(machine_id)
        return MachineUse(
            id=domain.UUIDString(),
            power=power,
            uptime_s=int(time.time() - since) if since else 0,
            cpu_ns=[stats.get(f"vcpu.{index}.time", 0) for index in range(stats.get("vcpu.current", 0))],
            memory_mib=memory,
            memory_used_mib=_memory_used(stats),
            disks=_disk_use(definition, stats),
            nics=_nic_use(definition, stats),
        )

    def console_log(self, machine_id: str) -> bytes:
        self._trim_log(machine_id)
        try:
            with self.places.console_log(machine_id).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_KEPT))
                return file.read(LOG_KEPT)
        except FileNotFoundError:
            return b""

    def console(self, machine_id: str, kind: Literal["vnc", "serial"]) -> ConsoleAddress:
        self.link.need_running(machine_id)
        path = self.places.socket(machine_id, kind)
        if not path.exists():
            raise HostError(f"Machine {machine_id} has no {kind} console.", elsewhere=False)
        return ConsoleAddress(kind=kind, path=str(path))

    def _seen(self, domain: Any, machine_id: str, definition: ET.Element) -> SeenMachine:
        found = marks.read(definition)
        return SeenMachine(
            id=machine_id,
            power=seen_power(domain),
            reboots=found.reboots if found else 0,
            disks=devices.keys(definition, devices.DISK),
            nics=devices.keys(definition, devices.NIC),
            since=self._since(machine_id) if definition.get("id") else 0.0,
        )

    def _since(self, machine_id: str) -> float:
        # QEMU makes the socket of the graphical console when it starts, and never touches it again
        try:
            return self.places.socket(machine_id, "vnc").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _trim_log(self, machine_id: str) -> None:
        """Give the room of an old log back: a guest may write for ever.  The file keeps its length, as QEMU appends to it."""
        path = self.places.console_log(machine_id)
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        if found.st_blocks * 512 > 2 * LOG_KEPT:
            _punch(path, found.st_size - LOG_KEPT)


def _punch(path: Path, length: int) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate(handle, PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(length)) != 0:
            # a file system without holes: then the old part is given up together with the new
            os.truncate(path, 0)
    finally:
        os.close(handle)


def _memory_used(stats: dict[str, Any]) -> int:
    """MiB in use as the guest says by its balloon, else what the host gave to its process."""
    if "balloon.available" in stats and "balloon.unused" in stats:
        return (stats["balloon.available"] - stats["balloon.unused"]) // 1024
    return stats.get("balloon.rss", 0) // 1024


def _disk_use(definition: ET.Element, stats: dict[str, Any]) -> list[DiskUse]:
    keys = {
        devices.target_of(element): alias.removeprefix(devices.DISK)
        for alias, element in devices.plugged(definition).items()
        if alias.startswith(devices.DISK)
    }
    return [
        DiskUse(
            key=keys[stats[f"block.{index}.name"]],
            read_bytes=stats.get(f"block.{index}.rd.bytes", 0),
            read_requests=stats.get(f"block.{index}.rd.reqs", 0),
            write_bytes=stats.get(f"block.{index}.wr.bytes", 0),
            write_requests=stats.get(f"block.{index}.wr.reqs", 0),
            errors=stats.get(f"block.{index}.errors", 0),
        )
        for index in range(stats.get("block.count", 0))
        if stats.get(f"block.{index}.name") in keys
    ]


def _nic_use(definition: ET.Element, stats: dict[str, Any]) -> list[NicUse]:
    keys = {
        devices.target_of(element): alias.removeprefix(devices.NIC)
        for alias, element in devices.plugged(definition).items()
        if alias.startswith(devices.NIC)
    }

    def count(index: int, direction: str, what: str) -> int:
        return stats.get(f"net.{index}.{direction}.{what}", 0)

    return [
        NicUse(
            key=keys[stats[f"net.{index}.name"]],
            rx_bytes=count(index, "rx", "bytes"),
            rx_packets=count(index, "rx", "pkts"),
            rx_errors=count(index, "rx", "errs"),
            rx_drops=count(index, "rx", "drop"),
            tx_bytes=count(index, "tx", "bytes"),
            tx_packets=count(index, "tx", "pkts"),
            tx_errors=count(index, "tx", "errs"),
            tx_drops=count(index, "tx", "drop"),
        )
        for index in range(stats.get("net.count", 0))
        if stats.get(f"net.{index}.name") in keys
    ]


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
