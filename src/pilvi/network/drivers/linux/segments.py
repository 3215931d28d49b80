"""Networks on the host: a bridge for each, joined to other hosts by VXLAN or to a wire by an interface or a VLAN."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Segment
from pilvi.network.drivers.linux import links, names

ALIAS = "pilvi network "
NO_NETWORK = "pilvi wire"
_AGEING = 30  # seconds after which it is asked anew on which host a silent neighbour is: it may have moved from one that died
_BRIDGED = {f"bridge/bridge-nf-call-{table}": value for table, value in (("iptables", "1"), ("ip6tables", "1"), ("arptables", "0"))}


class Segments:
    """The bridges of one host, all in its namespace `netns`.

    `outside` is the namespace in which the interfaces of `mappings` and maybe the tunnel address are found.
    """

    def __init__(self, netns: str, outside: int, mappings: dict[str, str], tunnel_address: str) -> None:
        self.netns, self.outside = netns, outside
        self.mappings, self.tunnel_address = mappings, tunnel_address
        self.lock = threading.RLock()
        self._home_seen = False

    def ensure_home(self) -> None:
        """Have the namespace of all bridges, where bridged packets pass the packet filter."""
        with self.lock:
            if self._home_seen and links.has_namespace(self.netns):
                return
            links.add_namespace(self.netns)
            with links.inside(self.netns):
                present = Path("/proc/sys/net/bridge").is_dir()
            if not present:
                links.run(["modprobe", "br_netfilter"], check=False)
            try:
                links.sysctl(self.netns, _BRIDGED)
            except HostError:
                raise HostError("This host's kernel cannot filter bridged packets; it needs the module br_netfilter.") from None
            # bridges only carry guests' packets: the host takes no part in their networks
            links.sysctl(self.netns, {"ipv4/ip_forward": "0", "ipv6/conf/default/disable_ipv6": "1"})
            self._home_seen = True

    def bridge_of(self, segment: Segment) -> str:
        """The name of a network's bridge."""
        if segment.kind != "flat":
            return names.bridge(segment.id)
        if segment.physical_network not in self.mappings:
            raise HostError(f"This host has no bridge mapping for the physical network {segment.physical_network!r}.")
        return names.physical_bridge(segment.physical_network)

    def have(self, segment: Segment) -> str:
        """The network's bridge, made when it is missing; peers of one that is there are left as they are."""
        bridge = self.bridge_of(segment)
        with self.lock:
            if not links.has_namespace(self.netns) or _network_of(links.devices(self.netns, bridge).get(bridge, {})) != segment.id:
                self.ensure(segment)
        return bridge

    def ensure(self, segment: Segment) -> None:
        """Have the bridge, its alias and mtu, and its way out with exactly the peers told."""
        bridge, alias = self.bridge_of(segment), ALIAS + names.identity(segment.id)
        with self.lock:
            self.ensure_home()
            tunnel, vlan = names.tunnel(segment.id), names.vlan(segment.id)
            seen = links.devices(self.netns, bridge, tunnel, vlan)
            other = _network_of(seen.get(bridge, {}))
            if other and other != segment.id:
                raise HostError(f"The physical network {segment.physical_network} already carries the network {other} on this host.")
            self._ensure_bridge(bridge, seen.get(bridge), segment.mtu)
            if segment.kind == "vxlan":
                self._ensure_tunnel(segment, bridge, tunnel, seen.get(tunnel))
            elif segment.kind == "flat":
                self._ensure_wire(segment.physical_network, bridge)
            elif segment.kind == "vlan":
                self._ensure_vlan(segment, bridge, vlan, seen.get(vlan))
            if seen.get(bridge, {}).get("ifalias") != alias:
                # the label is put on what is whole
                links.ip([f'link set {bridge} alias "{alias}"'], namespace=self.netns)

    def ensure_physical(self, physical_network: str) -> str:
        """Have the bridge of a physical network, with or without a network on it."""
        if physical_network not in self.mappings:
            raise HostError(f"This host has no bridge mapping for the physical network {physical_network!r}.")
        bridge = names.physical_bridge(physical_network)
        with self.lock:
            self.ensure_home()
            self._ensure_bridge(bridge, links.devices(self.netns, bridge).get(bridge), None)
            self._ensure_wire(physical_network, bridge)
        return bridge

    def remove(self, network_id: str) -> list[str]:
        """Have the network's bridge and way out gone; gives the names of bridges that are gone now."""
        with self.lock:
            if not links.has_namespace(self.netns):
                return []
            own = [names.vlan(network_id), names.tunnel(network_id), names.bridge(network_id)]
            flat = {names.physical_bridge(physical): physical for physical in self.mappings}
            seen = links.devices(self.netns, *own, *flat)
            links.remove_devices(self.netns, [name for name in own if name in seen])
            for bridge, physical in flat.items():
                if _network_of(seen.get(bridge, {})) == network_id:
                    links.ip([f'link set {bridge} alias "{NO_NETWORK}"'], namespace=self.netns)
                    self.release_physical(physical)
                elif self.mappings[physical]:
                    # a VLAN of it may have been the last, or could not be made
                    self.release_physical(physical)
            return [bridge for bridge in (names.bridge(network_id), *flat) if not links.devices(self.netns, bridge)]

    def release_physical(self, physical_network: str) -> None:
        """Have the bridge of a physical network gone, and its interface back, if no network and no leg uses them."""
        bridge, interface = names.physical_bridge(physical_network), self.mappings.get(physical_network, "")
        with self.lock:
            everything = links.devices(self.netns)
            attached = {name for name, link in everything.items() if link.get("master") == bridge} - {interface}
            vlans = any(interface and link.get("link") == interface for link in everything.values())
            if attached or vlans or _network_of(everything.get(bridge, {})):
                return
            if bridge in everything:
                links.ip([f"link del {bridge}"], namespace=self.netns)
            self.give_back(physical_network)

    def give_back(self, physical_network: str) -> None:
        """Return the interface of a physical network to where it came from."""
        interface = self.mappings.get(physical_network, "")
        if interface and interface in links.devices(self.netns, interface):
            home = f"/proc/{os.getpid()}/fd/{self.outside}"
            links.ip([f"link set {interface} nomaster netns {home}"], namespace=self.netns)

    def networks(self) -> list[str]:
        """The ids of the networks that lie on this host."""
        if not links.has_namespace(self.netns):
            return []
        return sorted(filter(None, map(_network_of, links.devices(self.netns).values())))

    # -- the parts of a network ------------------------------------------------------------------

    def _ensure_bridge(self, bridge: str, seen: links.Link | None, mtu: int | None) -> None:
        lines = [] if seen else [f"link add dev {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
        if mtu and (seen or {}).get("mtu") != mtu:
            lines.append(f"link set {bridge} mtu {int(mtu)}")
        if not seen or not links.is_up(seen):
            lines.append(f"link set {bridge} up")
        links.ip(lines, namespace=self.netns)

    def _ensure_tunnel(self, segment: Segment, bridge: str, tunnel: str, seen: links.Link | None) -> None:
        """Without peers there is no tunnel, so that clouds of one host each never meet over a number."""
        if not segment.peers:
            if seen:
                links.ip([f"link del {tunnel}"], namespace=self.netns)
            return
        local, number = names.address(segment.local_address or self.tunnel_address), int(segment.segmentation_id)
        data = (seen or {}).get("linkinfo", {}).get("info_data", {})
        if seen and (data.get("id") != number or data.get("local", data.get("local6")) != str(local)):
            links.ip([f"link del {tunnel}"], namespace=self.netns)
            seen = None
        if not seen:
            self._add_tunnel(tunnel, number, local)
        if not seen or seen.get("master") != bridge or seen.get("mtu") != segment.mtu or not links.is_up(seen):
            links.ip([f"link set {tunnel} mtu {int(segment.mtu)} master {bridge} up"], namespace=self.netns)
        have = json.loads(links.run(["bridge", "-j", "fdb", "show", "dev", tunnel], namespace=self.netns) or "[]")
        reached = {entry["dst"] for entry in have if entry.get("mac") == "00:00:00:00:00:00" and "dst" in entry}
        wanted = {str(names.address(peer)) for peer in segment.peers}
        change = [f"fdb del 00:00:00:00:00:00 dev {tunnel} dst {peer}" for peer in sorted(reached - wanted)]
        change += [f"fdb append 00:00:00:00:00:00 dev {tunnel} dst {peer}" for peer in sorted(wanted - reached)]
        if change:
            links.run(["bridge", "-batch", "-"], namespace=self.netns, text="\n".join(change) + "\n")

    def _add_tunnel(self, tunnel: str, number: int, local: names.Address) -> None:
        """A VXLAN device sends from the namespace in which it is made, even when it lies in another."""
        kind = f"type vxlan id {number} dstport 4789 ageing {_AGEING} local {local} {'udp6zerocsumrx' if local.version == 6 else ''}"
        for namespace in (self.outside, self.netns):
            if any(at["local"] == str(local) for link in links.addressed(namespace).values() for at in link["addr_info"]):
                break
        else:
            raise HostError(f"The tunnel address {local} is not an address of this host.")
        target = "" if namespace == self.netns else f"netns {self.netns} "
        try:
            links.ip([f"link add {target}dev {tunnel} {kind}"], namespace=namespace)
        except HostError as problem:
            if "exists" in problem.message:
                raise HostError(f"Another network of this machine already uses VXLAN number {number} at {local}.") from None
            raise

    def _ensure_wire(self, physical_network: str, bridge: str) -> None:
        """Have the mapped interface in the namespace and on the bridge."""
        interface = self.mappings[physical_network]
        if not interface:
            return
        link = self._bring(physical_network, names.device(interface))
        if link.get("master") != bridge or not links.is_up(link):
            links.ip([f"link set {interface} master {bridge} up"], namespace=self.netns)

    def _bring(self, physical_network: str, interface: str) -> links.Link:
        here = links.devices(self.netns, interface).get(interface)
        if here:
            return here
        there = links.addressed(self.outside).get(interface)
        if not there:
            raise HostError(f"The interface {interface}, mapped to the physical network {physical_network}, is not on this host.")
        if links.addresses(there):
            raise HostError(f"The interface {interface} carries addresses of the machine; map {physical_network} to one without.")
        links.run(["ip", "link", "set", interface, "netns", self.netns], namespace=self.outside)
        return links.devices(self.netns, interface)[interface]

    def _ensure_vlan(self, segment: Segment, bridge: str, vlan: str, seen: links.Link | None) -> None:
        interface = self.mappings.get(segment.physical_network, "")
        if not interface:
            raise HostError(f"A VLAN network needs an interface: map the physical network {segment.physical_network!r} to one.")
        if not seen:
            self._bring(segment.physical_network, names.device(interface))
            line = f"link add link {interface} name {vlan} type vlan id {int(segment.segmentation_id)}"
            try:
                links.ip([f"link set {interface} up", line], namespace=self.netns)
            except HostError as problem:
                if "Unknown device type" in problem.message:
                    raise HostError("This host's kernel has no VLAN devices (module 8021q); use a vxlan or flat network.") from None
                raise
        links.ip([f"link set {vlan} mtu {int(segment.mtu)} master {bridge} up"], namespace=self.netns)


def _network_of(link: links.Link) -> str:
    alias = link.get("ifalias", "")
    return alias[len(ALIAS) :] if alias.startswith(ALIAS) else ""
