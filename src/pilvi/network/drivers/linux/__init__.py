"""The Linux driver of the network service: bridges, VXLAN, namespaces, dnsmasq and nft, by the kernel's own means.

Everything of one cloud on one host lies in a network namespace of its own, beside which are one for each DHCP server
and each router; the machine's own devices, filter and settings stay as they are.  All of it outlives the process
except the metadata listeners, which are opened again when the driver starts.
"""

from __future__ import annotations

import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Dhcp, FabricState, Port, Router, Segment
from pilvi.network.drivers.linux import links, names
from pilvi.network.drivers.linux.dhcp import DhcpServers
from pilvi.network.drivers.linux.dnsmasq import RUN
from pilvi.network.drivers.linux.firewall import Firewall
from pilvi.network.drivers.linux.metadata import Metadata, MetadataAnswer, MetadataProxy, MetadataRequest
from pilvi.network.drivers.linux.outside import Outside
from pilvi.network.drivers.linux.ports import Ports
from pilvi.network.drivers.linux.routers import Routers
from pilvi.network.drivers.linux.segments import Segments

__all__ = ["LinuxFabric", "MetadataAnswer", "MetadataRequest"]

_NEEDED = ("ip", "bridge", "nft", "dnsmasq", "conntrack")
_log = logging.getLogger(__name__)


class LinuxFabric:
    """The verbs of the Fabric contract on this host.

    `netns` names the namespace of all bridges and taps; machines are run inside it.  `bridge_mappings` leads from a
    physical network to an interface of the machine, or to "" for a wire that ends here.  `metadata` answers guests.
    `resolvers` are DNS servers that guests' questions are passed on to.
    """

    def __init__(
        self,
        host: str,
        state_dir: Path,
        *,
        cloud: str,
        netns: str,
        tunnel_address: str = "127.0.0.1",
        bridge_mappings: dict[str, str] | None = None,
        metadata: Metadata | None = None,
        masquerade: bool = False,
        resolvers: tuple[str, ...] = (),
    ) -> None:
        if os.geteuid() != 0:
            raise HostError("The linux network driver makes devices and namespaces, so this host's agent has to run as root.")
        for program in _NEEDED:
            if not links.has_program(program):
                raise HostError(f"{program} is missing on this host; install the Debian package {links.PACKAGES[program]}.")
        self.host, self.cloud, self.netns = host, cloud, names.namespace(netns)
        self.tunnel_address, self.bridge_mappings = str(names.address(tunnel_address)), dict(bridge_mappings or {})
        self._leases = state_dir / "dhcp"
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._segments = Segments(self.netns, self._outside, self.bridge_mappings, self.tunnel_address)
        self._firewall = Firewall(self.netns)
        self._ports = Ports(self._segments, self._firewall)
        self._proxy = MetadataProxy(metadata)
        self._dhcp = DhcpServers(self._segments, self._proxy, self._leases, resolvers)
        self._routers = Routers(self._segments, self._proxy)
        self._legs = Outside(self._segments, masquerade=masquerade)
        if metadata:
            self._segments.ensure_home()  # machines are run in it, also before they have a network
            self._resume()

    def close(self) -> None:
        """End what lives in this process, the metadata listeners; all else on the host stays."""
        self._proxy.close()
        if self._outside >= 0:
            os.close(self._outside)
            self._outside = -1

    # -- looking ---------------------------------------------------------------------------------

    def facts(self) -> dict[str, object]:
        """What this host's agent says of itself."""
        return {
            "bridge_mappings": dict(self.bridge_mappings),
            "tunnel_types": ["vxlan"],
            "tunnel_address": self.tunnel_address,
            "extensions": ["port_security", "security_group", "allowed_address_pairs", "dhcp", "router", "port_forwarding"],
            "netns": self.netns,
        }

    def observe(self) -> FabricState:
        """Everything of this cloud on this host, as the kernel shows it."""
        routers = self._routers.routers()
        with ThreadPoolExecutor(4) as pool:
            floating = sorted(address for held in pool.map(self._routers.floating, routers) for address in held)
        return FabricState(
            segments=self._segments.networks(),
            ports=self._ports.ports(),
            dhcp=sorted(self._dhcp.networks()),
            routers=sorted(routers),
            floating_ips=floating,
        )

    def reach(self, router_or_network_id: str) -> str:
        """The namespace from which that router's or network's addresses answer."""
        for name in (names.router_namespace, names.dhcp_namespace):
            if links.has_namespace(found := name(self.netns, router_or_network_id)):
                return found
        raise HostError(f"Neither a router nor a network {router_or_network_id} is served on the host {self.host}.")

    # -- the verbs -------------------------------------------------------------------------------

    def ensure_segment(self, segment: Segment) -> None:
        """Have the network on this host, with exactly these peers."""
        self._segments.ensure(segment)

    def remove_segment(self, network_id: str) -> None:
        """Have the network's bridge and tunnel gone."""
        for bridge in self._segments.remove(network_id):
            self._firewall.forget_bridge(bridge)

    def ensure_port(self, port: Port) -> None:
        """Have the tap on its network, guarded by anti-spoofing and the rules."""
        self._ports.ensure(port)

    def remove_port(self, port_id: str) -> None:
        """Have the tap and its rules gone."""
        self._ports.remove(port_id)

    def ensure_dhcp(self, dhcp: Dhcp) -> None:
        """Have DHCP, names and metadata served as described."""
        self._dhcp.ensure(dhcp)

    def remove_dhcp(self, network_id: str) -> None:
        """Serve the network no more."""
        self._dhcp.remove(network_id)

    def ensure_router(self, router: Router) -> None:
        """Have the router as described; connections survive."""
        self._routers.ensure(router)

    def remove_router(self, router_id: str) -> None:
        """Have the router gone."""
        self._routers.remove(router_id)

    def ensure_outside(self, physical_network: str, cidr: str, gateway: str) -> None:
        """Have the machine itself reach an external network's subnet, as its gateway."""
        self._legs.ensure(physical_network, cidr, gateway)

    def remove_outside(self, physical_network: str, cidr: str) -> None:
        """Take the machine's own address in that subnet away."""
        self._legs.remove(physical_network, cidr)

    @staticmethod
    def has_been_here(netns: str) -> bool:
        """Whether something of that cloud is on this host: `purge` removes its own namespace last."""
        return any(name == netns or names.subject_of(netns, name) for name in links.namespaces(half_made=True))

    def purge(self) -> None:
        """Remove everything of this cloud on this host, also what nobody remembers; machines are stopped before."""
        self._proxy.close()
        for name in links.namespaces(half_made=True):
            kind, subject = names.subject_of(self.netns, name) or ("", "")
            if kind == "d":
                self._dhcp.remove(subject)
            elif kind == "r":
                self._routers.remove(subject)
        self._legs.purge()
        if links.has_namespace(self.netns):
            for physical in self.bridge_mappings:
                self._segments.give_back(physical)
            if links.processes_in(self.netns):
                # a machine that still runs keeps the namespace alive, but not the devices
                own = [name for name in links.devices(self.netns) if name.startswith(("br-", "bp-", "vx-", "vl-", "tap"))]
                links.remove_devices(self.netns, own)
            links.remove_namespace(self.netns)
        shutil.rmtree(RUN / self.netns, ignore_errors=True)
        shutil.rmtree(self._leases, ignore_errors=True)

    def _resume(self) -> None:
        """Listen for metadata wherever it was served before this process began."""
        for name in links.namespaces():
            kind, subject = names.subject_of(self.netns, name) or ("", "")
            try:
                if kind == "d":
                    self._dhcp.resume(subject)
                elif kind == "r":
                    self._routers.resume(subject)
            except HostError as problem:
                # the next ensure of that network or router tells it where it is seen
                _log.warning("metadata is not served in %s: %s", name, problem.message)
