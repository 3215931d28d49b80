"""The machine's own leg into an external network: so that floating addresses answer on the machine itself."""

from __future__ import annotations

from pilvi.kernel.errors import HostError
from pilvi.network.drivers.linux import links, names
from pilvi.network.drivers.linux.segments import Segments

ALIAS = "pilvi outside "


class Outside:
    """Legs from the namespace in which the program runs into the bridges of physical networks.

    With `masquerade`, what comes from an external network leaves the machine under the machine's own address; this
    is the one place that changes the machine's own packet filter and forwarding, and it is off unless asked for.
    """

    def __init__(self, segments: Segments, *, masquerade: bool) -> None:
        self.segments, self.netns, self.machine, self.masquerade = segments, segments.netns, segments.outside, masquerade

    def ensure(self, physical_network: str, cidr: str, gateway: str) -> None:
        """Have a leg in the physical network that has the gateway's address."""
        net, address = names.cidr(cidr), names.address(gateway)
        if address not in net:
            raise HostError(f"The gateway {address} is not in {net}.", elsewhere=False)
        leg = names.outside_leg(self.netns, physical_network)
        seen = links.addressed(self.machine)
        self._refuse_overlap(net, leg, seen)
        bridge = self.segments.ensure_physical(physical_network)
        near = links.devices(self.netns, leg).get(leg)
        if leg not in seen:
            # a cable has both its ends or none
            links.ip([f"link add {leg} type veth peer name {leg} netns {self.netns}"], namespace=self.machine)
            near = {}
            links.ip([f'link set {leg} alias "{ALIAS}{self.netns}"'], namespace=self.machine)
        if not near or near.get("master") != bridge or not links.is_up(near):
            links.ip([f"link set {leg} master {bridge} up"], namespace=self.netns)
        have = links.addresses(seen.get(leg, {}))
        here = {at for at in have if names.address(at.partition("/")[0]) in net}
        lines = links.address_changes(leg, here, {f"{address}/{net.prefixlen}"})
        links.ip(([] if leg in seen and links.is_up(seen[leg]) else [f"link set {leg} up"]) + lines, namespace=self.machine)
        if self.masquerade:
            self._ensure_masquerade(leg, net)

    def remove(self, physical_network: str, cidr: str) -> None:
        """Have the machine's address in that range gone, and the leg when it was the last."""
        net, leg = names.cidr(cidr), names.outside_leg(self.netns, physical_network)
        link = links.addressed(self.machine).get(leg)
        if link:
            have = links.addresses(link)
            keep = {at for at in have if names.address(at.partition("/")[0]) not in net}
            links.ip(links.address_changes(leg, have, keep) if keep else [f"link del {leg}"], namespace=self.machine)
            if keep:
                return
        if self.masquerade:
            self._drop_masquerade(leg)
        if links.has_namespace(self.netns):
            self.segments.release_physical(physical_network)

    def purge(self) -> None:
        """Have all legs of this cloud gone."""
        for name, link in links.devices(self.machine).items():
            known = name in {names.outside_leg(self.netns, physical) for physical in self.segments.mappings}
            if known or link.get("ifalias") == ALIAS + self.netns:
                links.remove_devices(self.machine, [name])
                self._drop_masquerade(name)

    @staticmethod
    def _refuse_overlap(net: names.Network, leg: str, seen: dict[str, links.Link]) -> None:
        for name, link in seen.items():
            for at in links.addresses(link) if name not in (leg, "lo") else ():
                if net.overlaps(other := names.cidr(at)):
                    raise HostError(f"{net} meets {other}, which the machine has on {name}; choose another range.", elsewhere=False)

    def _ensure_masquerade(self, leg: str, net: names.Network) -> None:
        family = "ip" if net.version == 4 else "ip6"
        table = f"{family} {leg}"
        script = f"""
            add table {table}
            add chain {table} postrouting {{ type nat hook postrouting priority 100; policy accept; }}
            flush chain {table} postrouting
            add rule {table} postrouting iifname "{leg}" oifname != "{leg}" masquerade
        """
        links.run(["nft", "-f", "-"], namespace=self.machine, text=script)
        links.sysctl(self.machine, {"ipv4/ip_forward": "1"} if net.version == 4 else {"ipv6/conf/all/forwarding": "1"})

    def _drop_masquerade(self, leg: str) -> None:
        for family in ("ip", "ip6"):
            links.run(["nft", "delete", "table", family, leg], namespace=self.machine, check=False)
