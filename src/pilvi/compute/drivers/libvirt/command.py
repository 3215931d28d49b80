"""Child processes of the libvirt driver: no shell, bounded, and gone when Pilvi is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from pilvi.kernel.errors import HostError

# which Debian and Ubuntu package brings a program
PACKAGES = {
    "qemu-img": "qemu-utils",
    "genisoimage": "genisoimage",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mkswap": "util-linux",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
}


def run(
    program: str,
    *arguments: str,
    within: float = 60,
    cpu_seconds: int | None = None,
    address_space: int | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    `within` is wall seconds; `cpu_seconds` and `address_space` (bytes) bound a program that reads what a stranger
    made.  The child dies with the thread that waits for it, so a killed Pilvi leaves no writer behind.
    Raises HostError when the program is missing, fails, or takes too long.
    """
    if shutil.which(program) is None:
        raise HostError(f"The program {program} is missing on this host; install the package {PACKAGES.get(program, program)}.")
    command = ["setpriv", "--pdeathsig", "KILL", *_limits(cpu_seconds, address_space), program, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=within, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{program} did not finish within {within:.0f} s.") from None
    except FileNotFoundError:
        raise HostError("The programs setpriv and prlimit are missing on this host; install the package util-linux.") from None
    if done.returncode != 0:
        raise HostError(failure(program, done.returncode, done.stderr))
    return done.stdout


def failure(program: str, code: int, said: str) -> str:
    """A sentence for a program that failed."""
    if "No space left on device" in said:
        return "The host's disk is full: free space below the state directory, or add some."
    if code < 0:
        return f"{program} was ended by signal {-code}; the data may be malformed, or the host short of memory."
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{program} failed: {lines[-1] if lines else f'exit status {code}'}"


def _limits(cpu_seconds: int | None, address_space: int | None) -> Sequence[str]:
    limits = []
    if cpu_seconds is not None:
        limits.append(f"--cpu={cpu_seconds}")
    if address_space is not None:
        limits.append(f"--as={address_space}")
    return ["prlimit", *limits, "--"] if limits else []
