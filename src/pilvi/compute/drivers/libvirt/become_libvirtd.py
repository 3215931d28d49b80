"""The last thing a child process does before it is libvirtd: private folders and a host name of its own.

Run as a program with only the standard library: `become_libvirtd.py HOSTNAME FROM:TO ... -- LIBVIRTD ARGUMENT ...`
mounts each folder FROM over TO in a mount namespace of its own, then executes LIBVIRTD in its own place.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

CLONE_NEWNS, CLONE_NEWUTS = 0x00020000, 0x04000000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000


def main(arguments: list[str]) -> None:
    end = arguments.index("--")
    hostname, *pairs = arguments[:end]
    command = arguments[end + 1 :]
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "cannot make namespaces")
    # what the host mounts later is seen here too; what is mounted here stays here
    check(libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None), "cannot keep mounts private")
    for pair in pairs:
        source, _, target = pair.partition(":")
        os.makedirs(target, exist_ok=True)
        check(libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None), f"cannot mount {target}")
    socket.sethostname(hostname)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
