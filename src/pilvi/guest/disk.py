"""A bootable disk made of two partitions, without mounting anything: FAT with kernel and boot loader, ext4 with the root."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from pilvi.guest.programs import run
from pilvi.guest.tree import Tree
from pilvi.kernel.errors import HostError

SECTOR, MIB = 512, 1 << 20
_BOOT_CODE = ("/usr/lib/syslinux/mbr/mbr.bin", "/usr/lib/SYSLINUX/mbr.bin")
_FAT, _LINUX = 0x0E, 0x83


def boot_partition(path: Path, files: Mapping[str, bytes]) -> None:
    """A FAT file system with syslinux, its configuration, kernel and initrd in it."""
    # FAT16 begins at about 4200 clusters; below 16 MiB the program would choose FAT12, which syslinux takes too.
    size = sum(map(len, files.values())) + 2 * MIB
    path.touch()
    os.truncate(path, (size // MIB + 1) * MIB)
    run("mkfs.vfat", "-n", "BOOT", path)
    run("syslinux", "--install", path)
    for name, content in files.items():
        run("mcopy", "-i", path, "-", f"::{name}", stdin=content)


def root_partition(path: Path, folder: Path, megabytes: int, *, label: str, reserved_percent: int = 0) -> None:
    """An ext4 file system that holds a folder of the host and may grow to 1 TiB."""
    path.touch()
    os.truncate(path, megabytes * MIB)
    run(
        "mke2fs", "-q", "-t", "ext4", "-L", label, "-b", "4096", "-m", str(reserved_percent), "-J", "size=4",
        "-O", "^metadata_csum_seed,^orphan_file" if _knows_orphan_file() else "^metadata_csum_seed",
        "-E", f"root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,resize={(1 << 40) // 4096}",
        "-d", folder, path,
    )  # fmt: skip


def _knows_orphan_file() -> bool:
    """Whether the host's mke2fs would turn on a feature that kernels before 5.15 refuse."""
    return b"orphan_file" in Path("/etc/mke2fs.conf").read_bytes() if Path("/etc/mke2fs.conf").exists() else False


def set_owners(path: Path, tree: Tree) -> None:
    """Give the files of an ext4 file system the owners that its tree names, whoever built it."""
    builder, group = os.geteuid(), os.getegid()
    orders: list[str] = []
    for name, entry in tree:
        if entry.uid != builder:
            orders.append(f'set_inode_field "/{name}" uid {entry.uid}')
        if entry.gid != group:
            orders.append(f'set_inode_field "/{name}" gid {entry.gid}')
        if entry.mode & (stat.S_ISUID | stat.S_ISGID):
            orders.append(f'set_inode_field "/{name}" mode 0{entry.mode:o}')
    if orders:
        run("debugfs", "-w", "-f", "-", path, stdin="\n".join([*orders, ""]).encode())


def partitioned(path: Path, boot: Path, root: Path, *, signature: int) -> None:
    """Lay both partitions into one disk with a boot sector; `signature` is the 32-bit number that names the disk."""
    code = next((Path(place) for place in _BOOT_CODE if Path(place).exists()), None)
    if code is None:
        raise HostError("The package syslinux-common is not installed; run `./pilvi install guest` and try again.")
    boot_start = MIB
    root_start = boot_start + boot.stat().st_size
    sector = code.read_bytes()[:440].ljust(440, b"\0") + struct.pack("<IH", signature, 0)
    sector += _partition(_FAT, boot_start, boot.stat().st_size, active=True)
    sector += _partition(_LINUX, root_start, root.stat().st_size)
    sector = sector.ljust(510, b"\0") + b"\x55\xaa"
    with path.open("wb") as disk:
        disk.truncate(root_start + root.stat().st_size + MIB)
        disk.write(sector)
        for start, part in ((boot_start, boot), (root_start, root)):
            with part.open("rb") as source:
                while block := source.read(MIB):
                    if block.count(0) != len(block):
                        disk.seek(start)
                        disk.write(block)
                    start += len(block)


def _partition(kind: int, start: int, size: int, *, active: bool = False) -> bytes:
    beyond = b"\xfe\xff\xff"  # cylinder numbers mean nothing any more: everyone reads the sector numbers
    return struct.pack("<B3sB3sII", 0x80 if active else 0, beyond, kind, beyond, start // SECTOR, size // SECTOR)


def to_qcow2(disk: Path, image: Path) -> None:
    """Convert a raw disk into a compressed qcow2."""
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, image)
