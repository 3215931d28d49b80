"""Devices, addresses and namespaces of the host: entering a namespace, and saying `ip` commands in one batch."""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pilvi.kernel.errors import HostError

# a namespace's name as in `ip netns`, or an open file of one; "" is the caller's own
Namespace = str | int
Link = dict[str, Any]

NAMESPACES = Path("/run/netns")
PACKAGES = {
    "ip": "iproute2", "bridge": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base", "conntrack": "conntrack", "modprobe": "kmod",
}  # fmt: skip
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_libc = ctypes.CDLL(None, use_errno=True)
_environment = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def _setns(file: int) -> None:
    if _libc.setns(file, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _enter(namespace: str) -> None:
    try:
        target = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError(f"The network namespace {namespace} is not there.") from None
    try:
        _setns(target)
    except OSError as problem:
        raise HostError(f"The network namespace {namespace} cannot be entered: {problem.strerror}.") from None
    finally:
        os.close(target)


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Be in a network namespace: sockets made and programs started here belong to it.

    Only the calling thread goes there.  Raises HostError when there is no such namespace.
    """
    if namespace == "":
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if isinstance(namespace, int):
            _setns(namespace)
        else:
            _enter(namespace)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def run(argv: Sequence[str], *, namespace: Namespace = "", text: str | None = None, check: bool = True) -> str:
    """Run a program of the host, without a shell, and give what it printed.

    With `check`, a failure is a HostError that holds the program's own words.
    """
    try:
        with inside(namespace):
            done = subprocess.run(
                argv, input=text, stdin=subprocess.DEVNULL if text is None else None, capture_output=True, text=True, timeout=60,
                env=_environment, check=False,
            )  # fmt: skip
    except FileNotFoundError:
        package = PACKAGES.get(argv[0], argv[0])
        raise HostError(f"{argv[0]} is missing on this host; install the Debian package {package}.") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{argv[0]} did not finish within a minute on this host.") from None
    if check and done.returncode:
        words = " ".join((done.stderr.strip() or done.stdout.strip()).split())[:400]
        raise HostError(f"The host refused {argv[0]}: {words or f'exit status {done.returncode}'}.")
    return done.stdout


def has_program(name: str) -> bool:
    """Whether a program is installed on this host."""
    return shutil.which(name, path=_environment["PATH"]) is not None


def ip(lines: Iterable[str], *, namespace: Namespace = "") -> None:
    """Say several `ip` commands at once; the first that is refused ends them with a HostError."""
    if script := "".join(line + "\n" for line in lines):
        run(["ip", "-batch", "-"], namespace=namespace, text=script)


def documents(printed: str) -> Iterator[Any]:
    """The JSON documents that a program printed one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while (at := len(printed) - len(printed[at:].lstrip())) < len(printed):
        found, at = decoder.raw_decode(printed, at)
        yield found


def remove_devices(namespace: Namespace, names: Iterable[str]) -> None:
    """Have devices gone, also those that are just going with a namespace of their own."""
    if script := "".join(f"link del {name}\n" for name in names):
        run(["ip", "-force", "-batch", "-"], namespace=namespace, text=script, check=False)
        if left := devices(namespace, *(line.split()[-1] for line in script.splitlines())):
            raise HostError(f"The devices {', '.join(sorted(left))} could not be removed from this host.")


def _named(printed: str) -> dict[str, Link]:
    return {link["ifname"]: link for found in documents(printed) for link in found if "ifname" in link}


def devices(namespace: Namespace, *names: str) -> dict[str, Link]:
    """The devices of a namespace by name: those named, or all; what is absent is left out."""
    if names:
        script = "".join(f"link show dev {name}\n" for name in names)
        printed = run(["ip", "-j", "-d", "-force", "-batch", "-"], namespace=namespace, text=script, check=False)
    else:
        printed = run(["ip", "-j", "-d", "link", "show"], namespace=namespace)
    return _named(printed)


def addressed(namespace: Namespace) -> dict[str, Link]:
    """The devices of a namespace with their addresses."""
    return _named(run(["ip", "-j", "addr", "show"], namespace=namespace))


def addresses(link: Link) -> set[str]:
    """A device's addresses as `address/prefix`, without the IPv6 link-local ones."""
    return {f"{at['local']}/{at['prefixlen']}" for at in link.get("addr_info", ()) if not at["local"].lower().startswith("fe80:")}


def address_changes(device: str, have: set[str], want: set[str]) -> list[str]:
    """The `ip` commands that lead from some addresses to others; those that stay are not touched."""
    drop = [f"addr del {address} dev {device}" for address in sorted(have - want)]
    return drop + [f"addr add {address} dev {device}" + (" nodad" if ":" in address else "") for address in sorted(want - have)]


def is_up(link: Link) -> bool:
    """Whether a device is switched on."""
    return "UP" in link.get("flags", ())


def sysctl(namespace: Namespace, values: dict[str, str]) -> None:
    """Set kernel values (`net.ipv4.ip_forward` written with slashes) in a namespace."""
    with inside(namespace):
        for name, value in values.items():
            path = Path("/proc/sys/net", name)
            try:
                if path.read_text().strip() != value:
                    path.write_text(value)
            except OSError as problem:
                raise HostError(f"This host's kernel does not let net/{name} be set to {value}: {problem.strerror}.") from None


def namespaces(*, half_made: bool = False) -> list[str]:
    """All named network namespaces of the machine; `half_made` ones are names without a namespace behind them."""
    entries = NAMESPACES.iterdir() if NAMESPACES.is_dir() else ()
    return sorted(entry.name for entry in entries if half_made or os.path.ismount(entry))


def has_namespace(name: str) -> bool:
    """Whether a namespace is there."""
    return (NAMESPACES / name).exists()


def add_namespace(name: str) -> None:
    """Have a namespace, with its loopback up."""
    if not os.path.ismount(NAMESPACES / name):
        if has_namespace(name):
            run(["ip", "netns", "delete", name])
        run(["ip", "netns", "add", name])
    with inside(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack_from("16xH", asked)[0]
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def remove_namespace(name: str) -> None:
    """Have a namespace gone, with all devices in it."""
    if has_namespace(name):
        run(["ip", "netns", "delete", name])


def processes_in(namespace: str) -> list[int]:
    """The processes that live in a namespace."""
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace], check=False).split()]


def checksums_in_software(namespace: Namespace, device: str) -> None:
    """Have a device send whole checksums: some guests' DHCP clients refuse the half-made ones of a virtual cable."""
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", device.encode(), value.buffer_info()[0]).ljust(40, b"\0")
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
