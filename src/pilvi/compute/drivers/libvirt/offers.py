"""Disk offers: the files of a machine that is off, read by another host, which takes them as from a stranger.

A file is sent as its pieces that hold data, each after its offset and length, and an end that tells that it is whole.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
import ssl
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from pilvi.compute.drivers import BlankDisk, DiskOffer, ImageDisk, Machine
from pilvi.compute.drivers.libvirt import devices
from pilvi.compute.drivers.libvirt.command import run
from pilvi.compute.drivers.libvirt.images import AS_FETCHED, GIB, ImageCache
from pilvi.compute.drivers.libvirt.jobs import Jobs, Report
from pilvi.compute.drivers.libvirt.link import Link, parse
from pilvi.compute.drivers.libvirt.places import PARTIAL, Places, checked_id, settle, sync_dir, write_whole
from pilvi.compute.drivers.libvirt.tls import Pass, read_pass
from pilvi.compute.drivers.libvirt.tunnel import Tunnels
from pilvi.kernel.errors import HostError, Invalid, PilviError
from pilvi.kernel.progress import Progress

log = logging.getLogger(__name__)

PIECE = 1 << 20  # bytes of a file sent at a time
HEAD = struct.Struct(">QI")  # offset, length; a length of 0 ends the file, and the offset is then its size
IMAGE = "image:"


class Offers:
    """What this host offers, and what it fetches from others.  An offer outlives the driver: it lies with the machine."""

    def __init__(self, places: Places, link: Link, images: ImageCache, jobs: Jobs, tunnels: Tunnels) -> None:
        self.places, self.link, self.images, self.jobs, self.tunnels = places, link, images, jobs, tunnels
        self._open: dict[str, Pass] = {}

    def resume(self) -> None:
        """Go on with the offers that an earlier driver made."""
        for path in self.places.machines.glob("*/offer"):
            try:
                self._admit(path.parent.name, read_pass(path.read_text()))
            except PilviError as error:
                log.warning("the disks of machine %s are offered no more: %s", path.parent.name, error)
                path.unlink()

    # -- offering --------------------------------------------------------------------------------------

    def offer(self, machine_id: str) -> list[DiskOffer]:
        machine_id = checked_id(machine_id)
        domain = self.link.need(machine_id)
        with self.link.asking("offer the machine's disks"):
            if domain.isActive():
                raise HostError(f"Machine {machine_id} runs; its disks can be read from another host only when it is off.", elsewhere=False)
            if domain.hasManagedSaveImage():
                raise HostError(f"Machine {machine_id} is suspended; resume it, and stop it, before it goes to another host.", elsewhere=False)
            files = self._files(parse(domain.XMLDesc(0)), machine_id)
        if machine_id not in self._open:
            self._admit(machine_id, None)
        url = str(self._open[machine_id])
        return [DiskOffer(key=key, url=url, size=path.stat().st_size) for key, path in files.items()]

    def withdraw(self, machine_id: str) -> None:
        machine_id = checked_id(machine_id)
        if (known := self._open.pop(machine_id, None)) is not None:
            self.tunnels.dismiss(known)
        (self.places.machine(machine_id) / "offer").unlink(missing_ok=True)

    def _admit(self, machine_id: str, earlier: Pass | None) -> None:
        async def serve(channel: str, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = await asyncio.to_thread(self._offered, machine_id, channel)
            if path is None:
                writer.write(b"The machine has no such disk.\n")
                return
            writer.write(b"ok\n")
            with path.open("rb") as file:
                end = os.fstat(file.fileno()).st_size
                at = 0
                while at < end:
                    at, data = await asyncio.to_thread(_next_piece, file, at, end)
                    if data:
                        writer.write(HEAD.pack(at, len(data)) + data)
                        await writer.drain()
                    at += len(data)
                writer.write(HEAD.pack(end, 0))
                await writer.drain()

        admitted = self.tunnels.admit(serve, earlier)
        write_whole(self.places.machine(machine_id) / "offer", str(admitted))
        self._open[machine_id] = admitted

    def _offered(self, machine_id: str, key: str) -> Path | None:
        domain = self.link.need(machine_id)
        with self.link.asking("look at a machine"):
            return self._files(parse(domain.XMLDesc(0)), machine_id).get(key)

    def _files(self, definition: ET.Element, machine_id: str) -> dict[str, Path]:
        """The files by the keys of their offers."""
        folder = self.places.disks(machine_id)
        found: dict[str, Path] = {}
        for alias, element in devices.plugged(definition).items():
            path = devices.file_of(element)
            if path is None or path.parent != folder or path.suffix == ".iso":  # a config drive is made anew where it is needed
                continue
            found[alias.removeprefix(devices.DISK)] = path
            if path.suffix == ".qcow2" and (image_id := self.images.name_of(base := self.places.backing(path))):
                found[IMAGE + image_id] = base
        return found

    # -- fetching --------------------------------------------------------------------------------------

    def fetch(self, machine: Machine, offers: list[DiskOffer]) -> Progress:
        return self.jobs.ask(f"fetch {checked_id(machine.id)}", lambda report: self._fetch(machine, {one.key: one for one in offers}, report))

    def _fetch(self, machine: Machine, offers: dict[str, DiskOffer], report: Report) -> None:
        wanted: list[tuple[Path, ImageDisk | BlankDisk, DiskOffer]] = []
        for disk in machine.disks:
            path = self.places.disk(machine.id, disk)
            if path is None or not isinstance(disk.source, (ImageDisk, BlankDisk)):
                continue
            if disk.key in offers:
                wanted.append((path, disk.source, offers[disk.key]))
            elif isinstance(disk.source, ImageDisk):
                raise HostError(f"The disk {disk.key} of machine {machine.id} is not offered by the host that has it.")
        if self._begun(machine.id, offers, [path for path, _, _ in wanted]) and all(path.exists() for path, _, _ in wanted):
            return
        done, total = 0, sum(offer.size for offer in offers.values()) or 1

        def got(count: int) -> None:
            nonlocal done
            done += count
            report(min(99, 100 * done // total))

        for path, source, offer in wanted:
            if path.exists():
                continue
            if isinstance(source, ImageDisk):
                form = self._base(source, self.places.backing(path), offers.get(IMAGE + source.image_id), got)
                part = self._receive(offer, path, got)
                adopt(part, self.places.backing(path).name, form)
            else:
                part = self._receive(offer, path, got)
            part.chmod(0o644)
            settle(part, path)

    def _begun(self, machine_id: str, offers: dict[str, DiskOffer], paths: list[Path]) -> bool:
        """Whether the files here were fetched from these very offers; else what an earlier life of the machine left is dropped."""
        note = self.places.machine(machine_id) / "fetched"
        origin = hashlib.sha256(json.dumps(sorted((one.key, one.url) for one in offers.values())).encode()).hexdigest()
        if note.exists() and note.read_text() == origin:
            return True
        if self.link.find(machine_id) is not None:
            raise HostError(f"Machine {machine_id} is defined on this host already; remove it here before its disks come.")
        folder = self.places.ensure_disks_folder(machine_id)
        for path in paths:
            path.unlink(missing_ok=True)
        sync_dir(folder)
        write_whole(note, origin)
        return False

    def _base(self, source: ImageDisk, backing: Path, offer: DiskOffer | None, got: Callable[[int], None]) -> str:
        """Have what the disk stands on, from the cache if it is there; answer its format."""
        cached = self.places.image(source.image_id, source.checksum)
        if cached is None and offer is None:
            self.images.have(source.image_id, source.checksum)
            cached = self.places.image(source.image_id, source.checksum)
        backing.unlink(missing_ok=True)
        if cached is not None:
            os.link(cached[0], backing)
            return cached[1]
        if offer is None:
            raise HostError(f"Image {source.image_id} left this host's cache just now; ask for it again.")
        part = self._receive(offer, backing, got)
        from pilvi.image import inspect_file

        form = AS_FETCHED.get(inspect_file(part).format)
        if form is None:
            raise HostError(f"What the other host has for image {source.image_id} is no disk that a machine can stand on.", elsewhere=False)
        part.chmod(0o644)
        settle(part, backing)
        self.images.adopt(backing, source.image_id, source.checksum, form)
        return form

    def _receive(self, offer: DiskOffer, final: Path, got: Callable[[int], None]) -> Path:
        """The offered file under the name of one that is being made."""
        part = final.with_name(f"{PARTIAL}{final.name}")
        part.unlink(missing_ok=True)
        with self.tunnels.call(read_pass(offer.url), offer.key) as stream, stream.makefile("rb", PIECE) as source, part.open("xb") as file:
            try:
                receive(cast("BinaryIO", source), file, offer.size, got)
            except (TimeoutError, ConnectionError, ssl.SSLError):
                raise HostError(f"The host that offers the disk {offer.key} fell silent; try again.") from None
        return part


def receive(source: BinaryIO, file: BinaryIO, size: int, got: Callable[[int], None]) -> None:
    """Write a sent file.  Raises HostError unless it arrives whole and in order."""
    at = 0
    while True:
        head = source.read(HEAD.size)
        if len(head) < HEAD.size:
            raise HostError("The copy of a disk was cut off: the host that offers it stopped, or withdrew it.")
        offset, length = HEAD.unpack(head)
        if length == 0 and offset == size:
            file.truncate(size)
            return
        data = source.read(length) if 0 < length <= PIECE and at <= offset and offset + length <= size else b""
        if not data or len(data) < length:
            raise HostError("The copy of a disk was cut off, or is not what was offered.")
        file.seek(offset)
        file.write(data)
        at = offset + length
        got(length)


def adopt(overlay: Path, base: str, form: str) -> None:
    """Have an overlay that a stranger made stand on `base` beside it, and on nothing else.  Raises Invalid."""
    from pilvi.image import inspect_file

    with overlay.open("r+b") as file:
        if file.read(4) != b"QFI\xfb":
            raise Invalid("The disk that arrived is not in the format qcow2.")
        file.seek(8)
        file.write(bytes(12))  # where the backing file's name is, and how long it is: none
    inspect_file(overlay)  # no data in other files, nothing unknown
    run(
        "qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", base, "-F", form, str(overlay),
        within=600, cpu_seconds=600, address_space=2 * GIB,
    )  # fmt: skip


def _next_piece(file: BinaryIO, at: int, end: int) -> tuple[int, bytes]:
    """The next bytes that are no hole, and where they begin; no bytes at the end."""
    try:
        at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        stop = os.lseek(file.fileno(), at, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only a hole is left
            return end, b""
        raise
    return at, os.pread(file.fileno(), min(PIECE, stop - at, end - at), at)
