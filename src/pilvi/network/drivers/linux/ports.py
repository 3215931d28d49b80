"""Ports: a lasting tap for each, on its network's bridge, guarded by the packet filter."""

from __future__ import annotations

import hashlib

import msgspec

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Port
from pilvi.network.drivers.linux import connections, links, names
from pilvi.network.drivers.linux.firewall import Firewall
from pilvi.network.drivers.linux.segments import Segments

ALIAS = "pilvi port "


class Ports:
    """The ports of one host.  A tap's alias holds the port's id and a digest of the rules it was last given."""

    def __init__(self, segments: Segments, firewall: Firewall) -> None:
        self.segments, self.firewall, self.netns = segments, firewall, segments.netns

    def ensure(self, port: Port) -> None:
        """Have the tap, its guard and its place; a tap that a machine holds open is never made anew."""
        tap, alias = names.device(port.tap), f"{ALIAS}{names.identity(port.id)} {_digest(port)}"
        bridge = self.segments.have(port.segment)
        seen = links.devices(self.netns, tap).get(tap)
        if seen and seen.get("ifalias") and _port_of(seen) != port.id:
            raise HostError(f"The device {tap} belongs to another port on this host.")
        if not seen:
            links.ip([f"tuntap add dev {tap} mode tap vnet_hdr"], namespace=self.netns)
            seen = links.devices(self.netns, tap)[tap]
        if port.port_security:
            self.firewall.guard(port, seen["ifindex"], bridge)
        elif seen.get("ifalias") != alias:
            self.firewall.unguard(port.id, {tap: seen["ifindex"]})
        if port.port_security and seen.get("ifalias", alias) != alias:
            connections.judge(self.netns, port)
        lines = []
        if seen["mtu"] != port.segment.mtu or seen.get("master") != bridge:
            lines.append(f"link set {tap} mtu {int(port.segment.mtu)} master {bridge}")
        if seen.get("ifalias") != alias:
            lines.append(f'link set {tap} alias "{alias}"')
        if links.is_up(seen) != port.admin_up:
            lines.append(f"link set {tap} {'up' if port.admin_up else 'down'}")
        links.ip(lines, namespace=self.netns)

    def remove(self, port_id: str) -> None:
        """Have the tap gone, then its rules: never the rules first."""
        if not links.has_namespace(self.netns):
            return
        customary = names.default_tap(names.identity(port_id))
        found = links.devices(self.netns, customary)
        if _port_of(found.get(customary, {})) != port_id:
            everything = links.devices(self.netns)
            found = {name: link for name, link in everything.items() if _port_of(link) == port_id or _unlabelled(name, link, customary)}
        links.remove_devices(self.netns, found)
        self.firewall.unguard(port_id, {name: link["ifindex"] for name, link in found.items()})

    def ports(self) -> list[str]:
        """The ports on this host."""
        if not links.has_namespace(self.netns):
            return []
        return sorted(filter(None, map(_port_of, links.devices(self.netns).values())))


def _port_of(link: links.Link) -> str:
    words = link.get("ifalias", "").removeprefix(ALIAS)
    return words.partition(" ")[0] if words != link.get("ifalias", "") else ""


def _unlabelled(name: str, link: links.Link, customary: str) -> bool:
    return name == customary and not link.get("ifalias")


def _digest(port: Port) -> str:
    """What a change of decides whether connections have to be judged again."""
    told = msgspec.json.encode([port.rules, port.fixed_ips, port.port_security, port.stateful])
    return hashlib.sha256(told).hexdigest()[:16]
