"""The tiny guest: busybox, bash, dropbear and a cloud kernel; boots in seconds and offers what OpenStack's tests use."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

from pilvi.guest import archive, disk
from pilvi.guest.cache import cached_image
from pilvi.guest.elf import needed_libraries
from pilvi.guest.kernel_modules import Modules
from pilvi.guest.programs import run
from pilvi.guest.tree import Tree
from pilvi.kernel.errors import HostError

_FILES = Path(__file__).parent / "files"
_SIGNATURE = 0x69766C70  # of a disk that was never started; the guest gives itself another at its first boot

_PACKAGES = (
    ("linux-image-cloud-amd64", "linux-image-virtual"),
    ("busybox-static",),
    ("bash",),
    ("dropbear-bin",),
    ("e2fsprogs",),
    ("dosfstools",),
    ("util-linux",),
    ("iputils-ping",),
)
_OPTIONAL = ("wide-dhcpv6-client",)

_PROGRAMS = (
    "bash", "blkid", "dropbear", "dropbearkey", "dbclient", "lsblk", "mke2fs", "mkfs.fat", "ping", "resize2fs", "setpriv",
)  # fmt: skip
_OPTIONAL_PROGRAMS = ("dhcp6c",)
_PROGRAM_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin")
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64")
_LOADER = "ld-linux-x86-64.so.2"

_DISK_MODULES = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod", "ata_piix", "ahci", "nvme", "edd",
    "crc32c_intel", "crc32c_generic", "crc_t10dif",
)  # fmt: skip
_MODULES = (
    *_DISK_MODULES, "virtio_net", "virtio_console", "virtio_balloon", "virtio_rng", "e1000", "e1000e", "8139cp", "8139too",
    "sr_mod", "sg", "button", "evdev", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859-1", "af_packet",
    "8021q", "psmouse", "ext4", "ipv6", "failover", "net_failover", "qemu_fw_cfg", "i6300esb",
)  # fmt: skip
_EMPTY_FOLDERS = (
    "dev", "proc", "sys", "run", "mnt", "media", "opt", "srv", "etc/dropbear", "usr/local/bin", "var/lib/guest", "var/log",
    "usr/sbin",
)  # fmt: skip


def tiny_image(cache_dir: Path, progress: Callable[[str], None] | None = None) -> Path:
    """The tiny guest as a qcow2 file in `cache_dir`, built when it is not there or is out of date.

    `progress` is told in a few words what goes on.  Needs no root rights.  Raises HostError with a sentence when the
    machine lacks a program or its package archive does not answer.
    """
    say = progress or (lambda _: None)
    if platform.machine() != "x86_64":
        raise HostError(f"The tiny guest is made for x86_64 machines; this one is {platform.machine()}.")
    chosen: dict[str, archive.Package] = {}

    def versions() -> dict[str, str]:
        say("asking the package archive for the guest's packages")
        chosen.update(archive.select(_PACKAGES, _OPTIONAL))
        return {name: package.version for name, package in chosen.items()}

    def build(work: Path, image: Path) -> None:
        files = archive.unpack(chosen.values(), work, say)
        modules = Modules(files)
        say("laying out the guest's file system")
        root = _root(files, modules)
        folder = work / "root"
        folder.mkdir(mode=0o755)
        root.write(folder)
        megabytes = root.size() // disk.MIB + 12
        disk.root_partition(work / "p2", folder, megabytes, label="guestroot")
        disk.set_owners(work / "p2", root)
        kernel = archive.find_file(files, f"vmlinuz-{modules.version}", ("boot",)).read_bytes()
        boot_files = {
            "vmlinuz": kernel,
            "initrd": _initrd(files, modules).cpio(),
            "syslinux.cfg": (_FILES / "syslinux.cfg").read_bytes(),
        }
        disk.boot_partition(work / "p1", boot_files)
        say("packing the disk")
        disk.partitioned(work / "disk", work / "p1", work / "p2", signature=_SIGNATURE)
        disk.to_qcow2(work / "disk", image)
        say(f"the tiny guest is ready, {image.stat().st_size / disk.MIB:.1f} MiB")

    try:
        return cached_image(cache_dir, "pilvi-tiny", versions, build)
    except archive.Outdated:
        if os.geteuid() != 0:
            raise
        say("fetching the package lists, to try again")
        archive.refresh()
        chosen.clear()
        return cached_image(cache_dir, "pilvi-tiny", versions, build)


def _root(files: Path, modules: Modules) -> Tree:
    """The guest's root: every program lies in /usr/bin, the older folders are links to it."""
    tree = Tree()
    tree.link("bin", "usr/bin")
    tree.link("sbin", "usr/sbin")
    tree.link("lib", "usr/lib")
    tree.link("lib64", "usr/lib64")
    for folder in _EMPTY_FOLDERS:
        tree.folder(folder)
    tree.folder("tmp", 0o1777)
    tree.folder("var/tmp", 0o1777)
    tree.folder("root", 0o700)
    tree.folder("home/cirros", 0o755, 1000, 1000)
    tree.link("var/run", "../run")
    tree.link("var/lib/dhcpv6", "../../run/guest")  # a copy of the disk must not ask in the first one's name
    _programs(tree, files)
    tree.overlay(_FILES / "root")
    busybox = archive.find_file(files, "busybox", _PROGRAM_FOLDERS)
    tree.file("usr/bin/busybox", busybox.read_bytes())
    for applet in _applets(busybox):
        if f"usr/bin/{applet}" not in tree:
            tree.link(f"usr/bin/{applet}", "busybox")
    for name in ("init", "getty", "reboot", "poweroff", "halt", "dropbear", "ip", "modprobe"):
        tree.link(f"usr/sbin/{name}", f"../bin/{name}")
    tree.file("etc/shadow", (_FILES / "root/etc/shadow").read_bytes(), 0o600)
    tree.file("etc/fstab", "LABEL=guestroot / ext4 defaults 0 1\n")
    tree.link("etc/mtab", "/proc/mounts")
    modules.put_into(tree, _MODULES)
    return tree


def _programs(tree: Tree, files: Path) -> None:
    """The programs that are not busybox's, and all the shared libraries below them."""
    todo: list[str] = []
    for name in (*_PROGRAMS, *_OPTIONAL_PROGRAMS):
        try:
            content = archive.find_file(files, name, _PROGRAM_FOLDERS).read_bytes()
        except HostError:
            if name in _OPTIONAL_PROGRAMS:
                continue
            raise
        tree.file(f"usr/bin/{name}", content)
        todo += needed_libraries(content)
    tree.link("usr/bin/sh", "bash")
    tree.link("usr/bin/mkfs.vfat", "mkfs.fat")
    tree.link("usr/bin/mkdosfs", "mkfs.fat")
    for generation in ("ext2", "ext3", "ext4"):
        tree.link(f"usr/bin/mkfs.{generation}", "mke2fs")
    tree.link("usr/bin/ssh", "dbclient")
    # a copy of setpriv that keeps root's rights for members of the group sudo is what makes `sudo` work
    tree.file("usr/lib/guest/become", archive.find_file(files, "setpriv", _PROGRAM_FOLDERS).read_bytes(), 0o4750, 0, 27)
    tree.file("etc/mke2fs.conf", archive.find_file(files, "mke2fs.conf", ("etc",)).read_bytes())
    todo.append(_LOADER)
    while todo:
        name = todo.pop()
        path = f"usr/lib/x86_64-linux-gnu/{name}"
        if path not in tree:
            content = archive.find_file(files, name, _LIBRARY_FOLDERS).read_bytes()
            tree.file(path, content)
            todo += needed_libraries(content)
    tree.link(f"usr/lib64/{_LOADER}", f"../lib/x86_64-linux-gnu/{_LOADER}")


def _applets(busybox: Path) -> list[str]:
    """The names by which this busybox can be called."""
    return run(str(busybox), "--list").decode().split()


def _initrd(files: Path, modules: Modules) -> Tree:
    """What the kernel starts with: busybox, the drivers of disks, one script."""
    tree = Tree()
    for folder in ("dev", "proc", "sys", "new"):
        tree.folder(folder)
    tree.file("bin/busybox", archive.find_file(files, "busybox", _PROGRAM_FOLDERS).read_bytes())
    tree.link("lib", "usr/lib")
    modules.put_into(tree, _DISK_MODULES)
    tree.overlay(_FILES / "initrd")
    return tree
