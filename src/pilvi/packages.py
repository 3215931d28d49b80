"""The system packages that Pilvi uses on Debian and Ubuntu: which there are, which are missing, installing them.

Only the standard library and the tree of errors are used here, so that this runs before Pilvi's own libraries are there:
`python3 -m pilvi.packages GROUP...` installs what is missing of those groups.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pilvi.kernel.errors import HostError, Invalid

# A name with bars is a choice: any one of them will do, the first that the archive offers is installed.
GROUPS: dict[str, tuple[str, ...]] = {
    # virtual machines: the emulator, its disk formats, libvirt, config drives
    "compute": (
        "qemu-system-x86",
        "qemu-utils",
        "qemu-block-extra",
        "libvirt-daemon",
        "libvirt-daemon-driver-qemu",
        "libvirt-daemon-system",
        "libvirt-clients",
        "genisoimage|xorriso",
    ),
    # bridges, namespaces, packet filters, DHCP and router advertisements
    "network": ("iproute2", "nftables", "dnsmasq-base", "conntrack", "kmod"),
    # volumes: qemu-img and the NBD server qemu-storage-daemon
    "storage": ("qemu-utils", "qemu-system-common", "qemu-block-extra"),
    # a message broker of our own
    "bus": ("nats-server",),
    # building guest images
    "guest": ("syslinux", "syslinux-common", "mtools", "dosfstools", "e2fsprogs", "qemu-utils", "zstd"),
    # compiling libvirt's Python library
    "build": ("libvirt-dev", "pkg-config|pkgconf", "gcc", "libc6-dev", "python3-dev"),
    # Pilvi's own Python environment
    "python": ("python3", "python3-venv", "ca-certificates"),
    # what the tests of real machines use beside all that
    "test": ("openssh-client", "genisoimage", "cpio", "busybox", "udhcpc", "curl", "iputils-ping", "iputils-arping"),
    # the servers that a cloud of several parts stands on; tests start their own
    "servers": ("postgresql", "mariadb-server", "nats-server", "rabbitmq-server"),
    # logging in to the demo's server
    "demo": ("openssh-client",),
}

_DPKG_STATUS = Path("/var/lib/dpkg/status")
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Made by pilvi while it installs packages: none of them may start a daemon.\nexit 101\n"
_LOCK_SECONDS = 300


def missing(groups: Iterable[str]) -> list[str]:
    """The packages of `groups` that are not installed, in order; of a choice, its first name.

    Raises Invalid for an unknown group, HostError on a system without dpkg.  Takes some milliseconds.
    """
    installed = _installed()
    entries = dict.fromkeys(entry for group in groups for entry in _group(group))
    return [entry.split("|")[0] for entry in entries if installed.isdisjoint(entry.split("|"))]


def install(packages: Sequence[str], progress: Callable[[str], None]) -> None:
    """Install packages by apt-get, without questions and without starting daemons where there is no systemd.

    Waits up to five minutes for another apt.  Raises HostError with a sentence that says what to do.
    """
    if not packages:
        return
    command = f"apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None or not _DPKG_STATUS.exists():
        raise HostError(f"Pilvi installs system packages on Debian and Ubuntu only; install by hand: {' '.join(packages)}.")
    become_root = _become_root(command)
    wanted = _known(packages)
    if len(wanted) < len(packages):
        progress("fetching the package lists")
        _run([*become_root, *_apt("update")], progress)
        wanted = _known(packages)
        if len(wanted) < len(packages):
            lost = [package for package in packages if not any(name in wanted for name in _choice(package))]
            raise HostError(
                f"The package archive of this machine does not offer {', '.join(lost)}; "
                "enable its main and universe parts in /etc/apt, or install them by hand."
            )
    progress(f"installing {len(wanted)} packages: {' '.join(wanted)}")
    with _no_daemons(become_root):
        _run([*become_root, *_apt("install", "--no-install-recommends", *wanted)], progress)


def _group(name: str) -> tuple[str, ...]:
    if name not in GROUPS:
        raise Invalid(f"There is no group of packages named {name}; there are {', '.join(GROUPS)}.")
    return GROUPS[name]


def _installed() -> set[str]:
    """The names of the installed packages, read from dpkg's own file: no process is started."""
    try:
        text = _DPKG_STATUS.read_text(errors="replace")
    except FileNotFoundError:
        raise HostError("This is not a Debian or Ubuntu system: there is no dpkg to ask for installed packages.") from None
    names: set[str] = set()
    for stanza in text.split("\n\n"):
        head = stanza.split("\nDescription:", 1)[0]
        if re.search(r"(?m)^Status: \S+ ok installed$", head) and (found := re.search(r"(?m)^Package: (\S+)$", head)):
            names.add(found[1])
    return names


def _choice(package: str) -> tuple[str, ...]:
    """A package and those that may stand in for it."""
    for entries in GROUPS.values():
        for entry in entries:
            if package in (names := entry.split("|")):
                return (package, *(name for name in names if name != package))
    return (package,)


def _known(packages: Sequence[str]) -> list[str]:
    """For each package the first of its choice that apt can install; nothing for those it does not know."""
    names = {name for package in packages for name in _choice(package)}
    said = subprocess.run(
        ["apt-cache", "policy", *sorted(names)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    offered = {
        found[1] for found in re.finditer(r"(?m)^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", said.stdout)
    }
    chosen = (next((name for name in _choice(package) if name in offered), None) for package in packages)
    return [name for name in chosen if name is not None]


def _become_root(command: str) -> list[str]:
    """What stands before a command to run it as root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise HostError(f"Installing packages needs root rights, and there is no sudo here; as root, run: {command}")
    asks = subprocess.run(["sudo", "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode != 0
    if asks and not sys.stdin.isatty():
        raise HostError(f"Installing packages needs root rights, and sudo asks for a password here; as root, run: {command}")
    return ["sudo"]


def _apt(verb: str, *arguments: str) -> list[str]:
    options = [f"DPkg::Lock::Timeout={_LOCK_SECONDS}", "Dpkg::Options::=--force-confold", "Dpkg::Use-Pty=0"]
    flags = [word for option in options for word in ("-o", option)]
    return ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", *flags, "-y", verb, *arguments]


def _run(command: Sequence[str], progress: Callable[[str], None]) -> None:
    """Run apt-get, telling what it is at; raises HostError with its own words when it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    said: list[str] = []
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            said = [*said[-19:], line.strip()]
            if found := re.match(r"(?:Unpacking|Setting up) (\S+)", line):
                progress(f"{line.split(' ', 1)[0].lower()} {found[1]}".replace("setting", "setting up"))
            elif line.startswith("Need to get "):
                progress(line.strip().lower())
    if process.returncode:
        errors = [line.removeprefix("E: ") for line in said if line.startswith("E: ")] or said[-3:]
        raise HostError(f"apt-get failed: {' '.join(errors)}")


@contextmanager
def _no_daemons(become_root: Sequence[str]) -> Iterator[None]:
    """Where no systemd runs, keep packages from starting daemons by hand; the machine's own policy is left alone."""
    left_by_us = _POLICY.exists() and _readable(_POLICY) == _POLICY_TEXT
    if Path("/run/systemd/system").exists() or (_POLICY.exists() and not left_by_us):
        yield
        return
    with tempfile.NamedTemporaryFile("w", prefix="pilvi-policy-") as policy:
        policy.write(_POLICY_TEXT)
        policy.flush()
        subprocess.run([*become_root, "install", "-m", "755", policy.name, str(_POLICY)], check=True)
    try:
        yield
    finally:
        subprocess.run([*become_root, "rm", "-f", str(_POLICY)], check=True)


def _readable(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def main(groups: Sequence[str]) -> int:
    """Install what is missing of the named groups; answers the exit code."""
    try:
        install(missing(groups), lambda words: print(f"pilvi: {words}", file=sys.stderr, flush=True))
    except (HostError, Invalid) as error:
        print(f"pilvi: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
