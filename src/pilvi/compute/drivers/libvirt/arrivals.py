"""Machines that come to this host while they run: disks for them, and a way in for memory, disks and libvirt's own talk.

The agents carry everything between the hosts (see tunnel): libvirtd and QEMU at either end meet unix sockets of the
same name in their own run folder.
"""

from __future__ import annotations

import asyncio
import logging
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec

from pilvi.compute.drivers import Arrival, ConfigDisk, Machine
from pilvi.compute.drivers.libvirt import guard
from pilvi.compute.drivers.libvirt.disks import LocalDisks, copied
from pilvi.compute.drivers.libvirt.link import Link, is_coming, parse, run_folder, socket_of
from pilvi.compute.drivers.libvirt.places import Places, checked_id, write_whole
from pilvi.compute.drivers.libvirt.tls import Pass, read_pass
from pilvi.compute.drivers.libvirt.tunnel import Tunnels, to_socket
from pilvi.kernel.errors import HostError, PilviError

log = logging.getLogger(__name__)

FOLDER = "pilvi"  # in libvirt's run folder: the sockets of machines on the move
STREAMS = ("memory", "disks")  # how they end, and what is carried by them


class _Expected(msgspec.Struct, frozen=True):
    """What is noted of an arrival."""

    handed_out: str  # the pass
    definition: str


class Arrivals:
    """Machines that come to this host.  An arrival outlives the driver: it lies with the machine."""

    def __init__(self, places: Places, link: Link, disks: LocalDisks, tunnels: Tunnels) -> None:
        self.places, self.link, self.disks, self.tunnels = places, link, disks, tunnels
        self._open: dict[str, Pass] = {}

    def resume(self) -> None:
        """Go on expecting whom an earlier driver expected."""
        for path in self.places.machines.glob("*/arrival"):
            try:
                known = msgspec.json.decode(path.read_bytes(), type=_Expected)
                self._admit(path.parent.name, parse(known.definition), read_pass(known.handed_out))
            except (PilviError, msgspec.DecodeError) as error:
                log.warning("machine %s is expected no more: %s", path.parent.name, error)
                path.unlink()

    def share(self, machine: Machine, host: str) -> bool:
        """Have the disks be those of the other host, if they can be; of a machine that is defined here, they are what they are."""
        machine_id = checked_id(machine.id)
        if self.link.find(machine_id) is not None:
            return self.disks.shares(machine, host)
        if not self.disks.share(machine, host):
            return False
        (self.places.machine(machine_id) / "fetched").unlink(missing_ok=True)
        return True

    def ensure(self, machine: Machine, host: str, definition: ET.Element) -> Arrival:
        machine_id = checked_id(machine.id)
        shared = self.share(machine, host)
        if self.link.find(machine_id) is None:
            if not shared:
                self._fresh_disks(machine)
            self._admit(machine_id, definition, self._open.get(machine_id))
        elif machine_id not in self._open:
            raise HostError(f"Machine {machine_id} is defined on this host already; remove it here before it comes.", elsewhere=False)
        known = self._open[machine_id]
        return Arrival(
            uri=str(known), address=f"{known.host}:{known.port}", definition=ET.tostring(definition, encoding="unicode"),
            disks=[] if shared else [disk.key for disk in copied(machine)],
        )  # fmt: skip

    def close(self, machine_id: str) -> None:
        """Expect it no more."""
        machine_id = checked_id(machine_id)
        if (known := self._open.pop(machine_id, None)) is not None:
            self.tunnels.dismiss(known)
            for channel in STREAMS:
                self._socket(machine_id, channel).unlink(missing_ok=True)
        self._note(machine_id).unlink(missing_ok=True)

    def done(self, machine_id: str) -> None:
        """Expect it no more, as it is here or shall be made here.  Raises HostError while it is on its way."""
        if machine_id in self._open and self._state(machine_id) == "coming":
            raise HostError(f"Machine {machine_id} is on its way to this host; wait until it has arrived, or remove it here.", elsewhere=False)
        self.close(machine_id)

    def expected(self, machine_id: str) -> bool:
        return machine_id in self._open

    def _fresh_disks(self, machine: Machine) -> None:
        """Disks as the copying needs them: with nothing in them that an earlier life of the machine, or a file system, left."""
        for disk in machine.disks:
            path = self.places.disk(machine.id, disk)
            if path is None:
                continue
            if not isinstance(disk.source, ConfigDisk):
                path.unlink(missing_ok=True)
            self.disks.ensure(machine.id, disk, empty=True)
        (self.places.machine(machine.id) / "fetched").unlink(missing_ok=True)

    def _admit(self, machine_id: str, definition: ET.Element, earlier: Pass | None) -> None:
        async def serve(channel: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            state = await asyncio.to_thread(self._state, machine_id)
            if channel == "state":
                writer.write(f"ok\n{state}\n".encode())
                await writer.drain()
            elif state == "here":
                writer.write(b"The machine has arrived already.\n")
                await writer.drain()
            elif channel in STREAMS:
                await to_socket(self._socket(machine_id, channel), reader, writer)
            elif channel == "libvirt":
                await to_socket(socket_of(self.link.uri), reader, writer, lambda one, other: guard.forward(one, other, definition))

        for folder in (self.places.machine(machine_id), run_folder(self.link.uri) / FOLDER):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        admitted = self.tunnels.admit(serve, earlier)
        note = _Expected(str(admitted), ET.tostring(definition, encoding="unicode"))
        write_whole(self._note(machine_id), msgspec.json.encode(note).decode())
        self._open[machine_id] = admitted

    def _socket(self, machine_id: str, channel: str) -> Path:
        return run_folder(self.link.uri) / FOLDER / f"{machine_id}.{channel}"

    def _note(self, machine_id: str) -> Path:
        return self.places.machine(machine_id) / "arrival"

    def _state(self, machine_id: str) -> str:
        """here: it runs, or is paused as it was; coming: libvirt has not decided yet; none."""
        domain = self.link.find(machine_id)
        with self.link.asking("look at a machine"):
            if domain is None or not domain.isActive():
                return "none"
            return "coming" if is_coming(domain) else "here"
