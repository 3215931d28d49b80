"""Local disks of machines: overlays over cached images, blank disks and config drives, each made whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from pathlib import Path, PurePosixPath

import msgspec

from pilvi.compute.drivers import BlankDisk, ConfigDisk, Disk, ImageDisk, Machine
from pilvi.compute.drivers.libvirt.command import run
from pilvi.compute.drivers.libvirt.places import PARTIAL, Places, settle, sync_dir
from pilvi.kernel.errors import HostError, Invalid

GIB = 1 << 30
MIB = 1 << 20
MAKE_FILE_SYSTEM = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"),
    "vfat": ("mkfs.vfat",),
    "swap": ("mkswap",),
}
# the data preparer's name in the primary volume descriptor of ISO 9660 holds the digest of a config drive's files
PREPARER_OFFSET, PREPARER_LENGTH = 16 * 2048 + 446, 128


class LocalDisks:
    """The files of disks.  Growing a disk under a running machine is not done here but through the machine."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def ensure(self, machine_id: str, disk: Disk, *, empty: bool = False) -> None:
        """Have the disk's file.  An existing one is never shrunk, and grown only by `grow`.  `empty`: without a file system."""
        path = self.places.disk(machine_id, disk)
        if path is None:
            return
        self.places.ensure_disks_folder(machine_id)
        match disk.source:
            case ConfigDisk(files=files):
                self._config(path, files)
            case _ if path.exists():
                return
            case ImageDisk() as source:
                self._overlay(path, source)
            case BlankDisk() as source:
                self._blank(path, msgspec.structs.replace(source, filesystem="") if empty else source, label=disk.key)

    def wished_size(self, disk: Disk) -> int:
        """Bytes that a local disk should have at least; 0 when its source says."""
        match disk.source:
            case ImageDisk(size_gib=size_gib):
                return size_gib * GIB
            case BlankDisk(size_mib=size_mib):
                return size_mib * MIB
            case _:
                return 0

    def grow(self, path: Path, size: int) -> None:
        """Grow the file of a disk that no machine uses now."""
        if virtual_size(path) >= size:
            return
        if path.suffix == ".qcow2":
            run("qemu-img", "resize", "-q", "-f", "qcow2", str(path), str(size))
        else:
            os.truncate(path, size)

    def keep_only(self, machine: Machine) -> None:
        """Drop every file of a disk that the machine does not name."""
        wanted: set[Path] = set()
        for disk in machine.disks:
            if path := self.places.disk(machine.id, disk):
                wanted |= {path, self.places.backing(path)}
        folder = self.places.disks(machine.id)
        if folder.exists():
            for path in folder.iterdir():
                if path not in wanted:
                    _remove(path)

    def shares(self, machine: Machine, host: str) -> bool:
        """Whether all local disks here are the very ones of the other host."""
        theirs = self.places.disks_on(host, machine.id)
        paths = [path for disk in copied(machine) if (path := self.places.disk(machine.id, disk)) is not None]
        return theirs is not None and all(same_file(path, theirs / path.name) for path in paths)

    def share(self, machine: Machine, host: str) -> bool:
        """Have the local disks that another host has on the shared storage; False when it has not all of them there."""
        theirs = self.places.disks_on(host, machine.id)
        names = [path.name for disk in copied(machine) if (path := self.places.disk(machine.id, disk)) is not None]
        if theirs is None or not all((theirs / name).exists() for name in names):
            return False
        folder = self.places.ensure_disks_folder(machine.id)
        for name in names:
            for one in (self.places.backing(Path(name)).name, name):  # what a disk stands on comes first
                _link(theirs / one, folder / one)
        sync_dir(folder)
        for disk in machine.disks:
            if isinstance(disk.source, ConfigDisk):
                self.ensure(machine.id, disk)
        return True

    def _overlay(self, path: Path, source: ImageDisk) -> None:
        cached = self.places.image(source.image_id, source.checksum)
        if cached is None:
            raise HostError(f"Image {source.image_id} is not in this host's cache; ask for the image first.")
        image, form = cached
        size = source.size_gib * GIB
        needed = virtual_size(image)
        if size and needed > size:
            raise Invalid(
                f"Image {source.image_id} needs a disk of {-(-needed // GIB)} GiB; the wished one has {source.size_gib} GiB."
            )
        backing = self.places.backing(path)
        backing.unlink(missing_ok=True)  # of a disk that was not finished
        try:
            os.link(image, backing)
        except FileNotFoundError:
            raise HostError(f"Image {source.image_id} left this host's cache just now; ask for it again.") from None
        part = _part(path)
        run(
            "qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", backing.name,
            "-o", "lazy_refcounts=on", str(part), str(size or needed),
        )  # fmt: skip
        settle(part, path)

    def _blank(self, path: Path, source: BlankDisk, *, label: str) -> None:
        part = _part(path)
        with part.open("wb") as file:
            file.truncate(source.size_mib * MIB)
        if source.filesystem:
            make = MAKE_FILE_SYSTEM.get(source.filesystem)
            if make is None:
                raise Invalid(f"{source.filesystem} is not a file system for local disks; choose {', '.join(MAKE_FILE_SYSTEM)}.")
            flag = "-n" if source.filesystem == "vfat" else "-L"
            run(*make, flag, label[:11], str(part), within=600)
        settle(part, path)

    def _config(self, path: Path, files: dict[str, bytes]) -> None:
        digest = hashlib.sha256(msgspec.msgpack.encode(sorted(files.items()))).hexdigest()
        if preparer(path) == digest:
            return
        part = _part(path)
        folder = _part(path.with_suffix(".files"))
        folder.mkdir()
        try:
            for name, content in files.items():
                relative = PurePosixPath(name)
                if relative.is_absolute() or ".." in relative.parts or not relative.parts:
                    raise Invalid(f"{name!r} cannot be a file of a config drive.")
                target = Path(folder, *relative.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            run(
                "genisoimage", "-quiet", "-V", "config-2", "-J", "-r", "-ldots", "-allow-lowercase", "-allow-multidot", "-l",
                "-p", digest, "-o", str(part), str(folder),
            )  # fmt: skip
        finally:
            _remove(folder)
        settle(part, path)


def copied(machine: Machine) -> list[Disk]:
    """The disks that lie on the machine's host and cannot be made again."""
    return [disk for disk in machine.disks if isinstance(disk.source, (ImageDisk, BlankDisk))]


def _link(theirs: Path, own: Path) -> None:
    """Have the file under a second name; what had that name before loses it."""
    if not theirs.exists():  # a raw disk stands on nothing
        return
    if not same_file(theirs, own):
        own.unlink(missing_ok=True)
        os.link(theirs, own)


def same_file(one: Path, other: Path) -> bool:
    """Whether both names are there, and are of one file."""
    try:
        return os.path.samefile(one, other)
    except FileNotFoundError:
        return False


def _part(path: Path) -> Path:
    """The name under which a file is made; what a killed process left under it goes first."""
    part = path.with_name(f"{PARTIAL}{path.name}")
    _remove(part)
    return part


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def virtual_size(path: Path) -> int:
    """Bytes of the disk in a qcow2 or raw file of our own, or inspected before."""
    if path.suffix == ".qcow2":
        with path.open("rb") as file:
            head = file.read(32)
        if head[:4] == b"QFI\xfb" and len(head) == 32:
            return int(struct.unpack_from(">Q", head, 24)[0])
    return path.stat().st_size


def preparer(path: Path) -> str:
    """The data preparer's name of an ISO file; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(PREPARER_OFFSET)
            return file.read(PREPARER_LENGTH).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
