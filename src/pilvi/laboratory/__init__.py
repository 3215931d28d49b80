"""A laboratory: several hosts on one machine, joined by wires, each with namespaces of its own for everything that can meet.

A host has its own network, mounts (a private /run, and its state folder at /run/state), host name and processes; in it
real agents run with real drivers.  The hosts' network is 192.168.77.0/24 (eth0), the external one 172.24.4.0/24 (eth1,
without an address, for `bridge_mappings`).  Outside of the cloud, at 172.24.4.1 and 192.168.77.254, is the host `outside`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from pilvi.kernel.errors import HostError, Invalid
from pilvi.laboratory.host import STATE, Host

__all__ = ["EXTERNAL", "GATEWAY", "OUTSIDE", "STATE", "WIRE", "Host", "Laboratory"]

OUTSIDE = "outside"
EXTERNAL = "172.24.4.0/24"
GATEWAY = "172.24.4.1"
WIRE = "eth1"  # the interface of each host that leads to the external network
_HOSTS = "192.168.77"
_BRIDGES = {"hosts": f"{_HOSTS}.254/24", "external": f"{GATEWAY}/24"}


class Laboratory:
    """The hosts of one folder.  `follow`: they end with this process, else they stay until `end`.

    Raises HostError without root rights or without the programs that it needs.
    """

    def __init__(self, folder: Path, *, follow: bool = False) -> None:
        self.folder = folder.resolve()
        if self.folder.is_relative_to("/run") or self.folder.is_relative_to("/proc"):
            raise Invalid(f"{self.folder} cannot be a laboratory's folder: its hosts have a /run of their own.")
        self._follow = follow
        self._hosts: dict[str, Host] = {}
        self.outside = self.host(OUTSIDE)

    def host(self, name: str) -> Host:
        """The host of that name, up or not."""
        if name not in self._hosts:
            self._hosts[name] = Host(self.folder, name, follow=self._follow)
        return self._hosts[name]

    def names(self) -> list[str]:
        """The hosts in the order in which they got their addresses."""
        try:
            return list(json.loads((self.folder / "hosts.json").read_text()))
        except FileNotFoundError:
            return []

    def address(self, name: str) -> str:
        """Where a host is on the hosts' network."""
        return f"{_HOSTS}.{self._number(name)}"

    # -- making ----------------------------------------------------------------------------------

    def start(self, names: list[str]) -> None:
        """Have these hosts up and joined by the wires."""
        if os.geteuid() != 0:
            raise HostError("A laboratory's hosts are namespaces of this machine: they need root rights; run it with sudo.")
        missing = [program for program in ("nsenter", "ip") if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None]
        if missing:
            raise HostError(f"{', '.join(missing)} is missing on this machine; install util-linux and iproute2.")
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.names()
        (self.folder / "hosts.json").write_text(json.dumps(known + [name for name in names if name not in known]))
        if not self.outside.pid:
            for name in known:  # their wires went with it
                self.host(name).kill()
            self.outside.boot()
            lines = [f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0" for bridge in _BRIDGES]
            lines += [f"address add {address} dev {bridge}" for bridge, address in _BRIDGES.items()]
            self._ip(self.outside, [*lines, *(f"link set {bridge} up" for bridge in _BRIDGES)])
        for name in names:
            self.boot(name)

    def boot(self, name: str) -> Host:
        """Have one host up, with the address that it had before."""
        host = self.host(name)
        if host.pid:
            return host
        host.boot()
        number = self._number(name)
        lines: list[str] = []
        for wire, (bridge, interface) in {f"h{number}": ("hosts", "eth0"), f"x{number}": ("external", WIRE)}.items():
            mac = f"02:77:00:00:{interface[-1]:0>2}:{number:02x}"  # the same after each boot, as that of a real card
            lines += [f"link add {wire} type veth peer name {interface} address {mac} netns {host.pid}", f"link set {wire} master {bridge} up"]
        self._clear_wires(number)
        self._ip(self.outside, lines)
        self._ip(host, [f"address add {self.address(name)}/24 dev eth0", "link set eth0 up", f"link set {WIRE} up"])
        return host

    def end(self) -> None:
        """Have no host; their folders stay."""
        for name in [*self.names(), OUTSIDE]:
            self.host(name).kill()

    # -- disturbing ------------------------------------------------------------------------------

    def cut(self, name: str) -> None:
        """Have the host without both of its networks."""
        self._ip(self.outside, [f"link set {wire}{self._number(name)} down" for wire in "hx"])

    def restore(self, name: str) -> None:
        """Give the host its networks back."""
        self._ip(self.outside, [f"link set {wire}{self._number(name)} up" for wire in "hx"])

    # -- parts -----------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        try:
            return self.names().index(name) + 1
        except ValueError:
            raise HostError(f"The laboratory has no host {name}; it has {', '.join(self.names()) or 'none'}.") from None

    def _clear_wires(self, number: int) -> None:
        """The wires of a host that went may still be on their way out."""
        seen = json.loads(self.outside.run(["ip", "-j", "link", "show"]).stdout)
        self._ip(self.outside, [f"link del {one['ifname']}" for one in seen if one["ifname"] in {f"h{number}", f"x{number}"}])

    @staticmethod
    def _ip(host: Host, lines: list[str]) -> None:
        """Say `ip` commands in the host's network, but among this machine's processes: their numbers are meant as seen here."""
        if lines:
            command = ["nsenter", "--target", str(host.pid), "--net", "--", "ip", "-batch", "-"]
            script = "\n".join(lines) + "\n"
            done = subprocess.run(command, input=script, capture_output=True, text=True, env=host.environment(), check=False)
            if done.returncode:
                raise HostError(f"The wires of {host.name} could not be laid: {done.stderr.strip()[-300:]}")
