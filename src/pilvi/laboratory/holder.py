"""The first process of a laboratory's host: it makes the host's namespaces, reaps what dies in them, and with it the host ends.

Run as a program with only the standard library: `holder.py FOLDER NAME keep|follow`.  It prints the process id by which
the host is entered.  FOLDER/NAME/state is the host's /run/state.  With `follow` the host ends when the standard input does.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys

_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # mounts, host name, IPC, processes, network
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    folder, name, life = arguments
    _check(_libc.unshare(_NAMESPACES), "cannot make namespaces")
    ready, tell = os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        if os.read(ready, 1):
            print(child, flush=True)
            os._exit(0)
        os._exit(1)
    os.close(ready)
    os.setsid()
    _furnish(os.path.join(folder, name, "state"), name)
    os.write(tell, b"1")
    os.close(tell)
    _hold(follow=life == "follow")


def _furnish(state: str, name: str) -> None:
    """Private mounts, so that everything with a fixed path below /run is the host's own."""
    _check(_libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "cannot keep mounts private")
    _check(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "cannot mount /proc")
    _check(_libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None), "cannot mount /sys")
    _check(_libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755"), "cannot mount /run")
    os.mkdir("/run/state")
    _check(_libc.mount(os.fsencode(state), b"/run/state", None, _BIND, None), "cannot mount /run/state")
    socket.sethostname(name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _hold(*, follow: bool) -> None:
    """Reap the dead until told to end; with this process the kernel ends all others of the host."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # what reads our output is to see its end
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    while True:
        seen = select.select([woken, *([0] if follow else [])], [], [])[0]
        if 0 in seen and not os.read(0, 4096):
            return
        if woken in seen:
            os.read(woken, 4096)
        while _reaped():
            pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
