"""The full guest: a Debian 12 with systemd, cloud-init and OpenSSH, as its users know it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from pilvi.guest import disk
from pilvi.guest.cache import cached_image
from pilvi.guest.programs import run
from pilvi.kernel.errors import HostError

RELEASE = "bookworm"
_PACKAGES = (
    "ca-certificates", "cloud-guest-utils", "cloud-init", "dbus", "e2fsprogs", "ifupdown", "iproute2", "iputils-ping",
    "isc-dhcp-client", "linux-image-cloud-amd64", "netbase", "openssh-server", "python3-cffi-backend", "python3-netifaces",
    "sudo", "systemd-sysv", "udev",
)  # fmt: skip
_SOURCES = Path("/etc/apt")
_UNNEEDED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
_SETTINGS = {
    "etc/cloud/cloud.cfg.d/90_pilvi.cfg": (
        "datasource_list: [ConfigDrive, OpenStack, NoCloud, Ec2, None]\nmanage_etc_hosts: true\n"
    ),
    "etc/fstab": "LABEL=guestroot / ext4 defaults,noatime 0 1\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/machine-id": "",
}
_BOOT = """\
DEFAULT guest
PROMPT 0
SERIAL 0 115200
LABEL guest
  LINUX vmlinuz
  INITRD initrd
  APPEND root=LABEL=guestroot ro console=tty1 console=ttyS0,115200 net.ifnames=0 quiet
"""


def debian_image(cache_dir: Path, progress: Callable[[str], None] | None = None) -> Path:
    """A full Debian 12 guest as a qcow2 file in `cache_dir`; takes minutes, about 1 GB of disk, root and debootstrap.

    The packages come from the mirror that this machine's own apt uses.  Raises HostError with a sentence when the
    machine cannot do it.
    """
    say = progress or (lambda _: None)
    mirror = debian_mirror()

    def versions() -> dict[str, str]:
        return {"release": RELEASE, "mirror": mirror}

    def build(work: Path, image: Path) -> None:
        if os.geteuid() != 0:
            raise HostError("Building the Debian guest needs root rights: debootstrap installs packages in a folder of its own.")
        say("installing Debian into a folder; this takes some minutes")
        root = work / "root"
        options = ["--variant=minbase", f"--include={','.join(_PACKAGES)}"]
        run("debootstrap", *options, RELEASE, root, mirror)
        _furnish(root)
        say("packing the disk")
        _pack(root, work, image)
        say(f"the Debian guest is ready, {image.stat().st_size / disk.MIB:.0f} MiB")

    return cached_image(cache_dir, "pilvi-debian", versions, build)


def _furnish(root: Path) -> None:
    """Settings of a cloud guest; nothing in it that two machines must not share."""
    for path, text in _SETTINGS.items():
        (root / path).write_text(text)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for folder in _UNNEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    # the module that generates locales fails where the package of them is not installed
    settings = root / "etc/cloud/cloud.cfg"
    settings.write_text(re.sub(r"(?m)^\s*- locale\n", "", settings.read_text()))


def _pack(root: Path, work: Path, image: Path) -> None:
    kernel = sorted((root / "boot").glob("vmlinuz-*"))[-1]
    initrd = sorted((root / "boot").glob("initrd.img-*"))[-1]
    boot_files = {"vmlinuz": kernel.read_bytes(), "initrd": initrd.read_bytes(), "syslinux.cfg": _BOOT.encode()}
    disk.boot_partition(work / "p1", boot_files)
    used = int(run("du", "-sm", root).split()[0])
    disk.root_partition(work / "p2", root, used + used // 4 + 200, label="guestroot", reserved_percent=1)
    signature = int.from_bytes(os.urandom(4), "little")
    disk.partitioned(work / "disk", work / "p1", work / "p2", signature=signature)
    disk.to_qcow2(work / "disk", image)


def debian_mirror(sources: Path = _SOURCES) -> str:
    """The first mirror of Debian itself (not of its security updates) among the machine's apt sources."""
    candidates = [
        line
        for path in (sources / "sources.list", *sorted((sources / "sources.list.d").glob("*")))
        if path.suffix in (".list", ".sources") and path.is_file()
        for line in path.read_text(errors="replace").splitlines()
    ]
    for line in candidates:
        found = re.match(r"(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(https?://\S+?/debian)/?(?:\s|$)", line)
        if found:
            return found[1]
    raise HostError("A Debian guest is built from Debian's packages, and this machine's apt sources name no mirror of them.")
