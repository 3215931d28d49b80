"""Hosts for the tests: a Linux network driver on a machine that is a namespace of the test's own.

So the computer which runs the test stays untouched.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec

from pilvi.network.drivers import Port
from pilvi.network.drivers.linux import LinuxFabric, MetadataAnswer, MetadataRequest, links

from .guests import Guest, Pump

UNIQUE = f"pfab{os.getpid()}"
numbers = itertools.count(1)


def tell(request: MetadataRequest) -> MetadataAnswer:
    """A metadata service that repeats the question."""
    return MetadataAnswer(headers={"Content-Type": "application/json"}, body=msgspec.json.encode(request))


class Host:
    """A driver on a machine of its own, with guests."""

    def __init__(self, folder: Path, pump: Pump, tunnel_address: str = "127.0.0.1", *, masquerade: bool = False) -> None:
        number = next(numbers)
        self.machine, self.netns = f"{UNIQUE}m{number}", f"{UNIQUE}h{number}"
        self.folder, self.pump, self.tunnel_address, self.guests = folder, pump, tunnel_address, list[Guest]()
        self.masquerade = masquerade
        links.add_namespace(self.machine)
        self.fabric = self.driver()

    def driver(self) -> LinuxFabric:
        with links.inside(self.machine):
            return LinuxFabric(
                "host", self.folder / self.netns, cloud="test", netns=self.netns, tunnel_address=self.tunnel_address,
                bridge_mappings={"public": ""}, metadata=tell, masquerade=self.masquerade,
            )  # fmt: skip

    def restart(self) -> None:
        self.fabric.close()
        self.fabric = self.driver()

    def guest(self, port: Port, *, by_hand: bool = True, gateway: str = "") -> Guest:
        """Plug the port and start a guest on it, with the port's addresses or without any."""
        self.fabric.ensure_port(port)
        guest = Guest(self.pump, self.netns, port, f"{UNIQUE}g{next(numbers)}", self.folder)
        self.guests.append(guest)
        for at in port.fixed_ips if by_hand else ():
            guest.has(at.address, at.prefix, gateway)
        return guest

    def close(self) -> None:
        for guest in self.guests:
            guest.close()
        self.fabric.purge()
        self.fabric.close()
        links.remove_namespace(self.machine)
