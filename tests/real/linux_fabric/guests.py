"""Guests without machines: a network namespace whose card is one end of a pair of taps, the other being a port's.

What the namespace sends comes out of the port's tap as from a virtual machine, frame by frame.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pilvi.network.drivers import Port
from pilvi.network.drivers.linux import links

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000

_DHCP_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
env > LEASE.new && mv LEASE.new LEASE
ip addr replace $ip/$mask dev $interface
[ -n "$mtu" ] && ip link set $interface mtu $mtu
set -- $staticroutes
while [ $# -ge 2 ]; do ip route replace $1 via $2 dev $interface; shift 2; done
exit 0
"""


def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition; fails with its name."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def _open_tap(namespace: str, name: str) -> int:
    with links.inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


class Pump:
    """Carries frames between pairs of taps, in one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ, -1)
        self._lock = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._carry, name="pump", daemon=True)
        self._thread.start()

    def join(self, one: int, two: int) -> None:
        with self._lock:
            self._selector.register(one, selectors.EVENT_READ, two)
            self._selector.register(two, selectors.EVENT_READ, one)

    def part(self, one: int, two: int) -> None:
        with self._lock:
            for tap in (one, two):
                self._selector.unregister(tap)
                os.close(tap)

    def close(self) -> None:
        self._ending = True
        os.write(self._waker, b"x")
        self._thread.join()
        os.close(self._wake)
        os.close(self._waker)

    def _carry(self) -> None:
        while not self._ending:
            ready = self._selector.select(1)
            with self._lock:
                for key, _ in ready:
                    if key.data >= 0 and key.fd in self._selector.get_map():
                        # a tap that is down, or was just taken away, loses its frames like a cable that is pulled
                        with contextlib.suppress(OSError):
                            os.write(key.data, os.read(key.fd, 65536))


class Guest:
    """A guest on a port; `eth0` is its card."""

    def __init__(self, pump: Pump, fabric_netns: str, port: Port, name: str, folder: Path) -> None:
        self.pump, self.port, self.name, self.folder = pump, port, name, folder
        links.add_namespace(name)
        self._taps = _open_tap(fabric_netns, port.tap), _open_tap(name, "eth0")
        pump.join(*self._taps)
        links.sysctl(name, {"ipv6/conf/eth0/accept_dad": "0", "ipv6/conf/eth0/router_solicitations": "3"})
        links.ip([f"link set eth0 address {port.mac} mtu {port.segment.mtu} up"], namespace=name)

    def close(self) -> None:
        self.pump.part(*self._taps)
        links.remove_namespace(self.name)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        with links.inside(self.name):
            return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=30)

    def has(self, address: str, prefix: int = 24, gateway: str = "") -> Guest:
        """Give the guest an address by hand."""
        links.ip([f"addr add {address}/{prefix} dev eth0" + (" nodad" if ":" in address else "")], namespace=self.name)
        if gateway:
            links.ip([f"route replace default via {gateway}"], namespace=self.name)
        return self

    def lease(self, *, tries: int = 5) -> dict[str, str]:
        """Ask for an address as a guest does; what the server told, by udhcpc's names."""
        script, lease = self.folder / f"{self.name}.sh", self.folder / f"{self.name}.lease"
        script.write_text(_DHCP_SCRIPT.replace("LEASE", str(lease)))
        script.chmod(0o755)
        lease.unlink(missing_ok=True)
        ask = ["-O", "mtu", "-O", "staticroutes", "-O", "search", "-O", "domain"]
        self.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-s", str(script), *ask, check=False)
        told = lease.read_text() if lease.exists() else ""
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def reaches(self, address: str, *, seconds: int = 4) -> bool:
        """Whether a ping is answered in time."""
        return self.run("ping", "-n", "-c", "1", "-i", "0.2", "-w", str(seconds), address, check=False).returncode == 0

    def cannot_reach(self, address: str) -> bool:
        """Whether five pings in a second stay without answer."""
        return not self.reaches(address, seconds=1)

    def fetch(self, url: str, *options: str) -> str:
        """What curl says; empty when nothing answers."""
        return self.run("curl", "-s", "-m", "3", *options, url, check=False).stdout


def connect(namespace: str, address: str, port: int, *, source: tuple[str, int] | None = None, timeout: float = 2.0) -> socket.socket:
    """A TCP connection out of a namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with links.inside(namespace):
        opened = socket.socket(family)
    opened.settimeout(timeout)
    try:
        if source:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(source)
        opened.connect((address, port))
    except OSError:
        opened.close()
        raise
    return opened


def answers(connection: socket.socket) -> str:
    """Say a line on an echo connection; who the other side says it is and sees, or "" when it is cut."""
    try:
        connection.sendall(b"?\n")
        return connection.recv(200).decode()
    except OSError:
        return ""


@contextlib.contextmanager
def echo(namespace: str, port: int, said: str = "") -> Iterator[None]:
    """A TCP server in a namespace that answers each line with `said` and the client's address."""
    with links.inside(namespace):
        server = socket.create_server(("", port), backlog=16)
    open_: list[socket.socket] = []

    def serve(connection: socket.socket, client: str) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(100):
                connection.sendall(f"{said} {client}".encode())

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, client = server.accept()
                open_.append(connection)
                threading.Thread(target=serve, args=(connection, client[0]), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in open_:
            connection.close()
