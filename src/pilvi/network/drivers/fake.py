"""A network driver that only remembers: for tests, and to try the rest of a cloud without touching the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilvi.kernel.errors import HostError
from pilvi.kernel.faults import Faults
from pilvi.network.drivers import Dhcp, FabricState, Port, Router, Segment


@dataclass
class FakeWiring:
    """What lies on one imagined host."""

    segments: dict[str, Segment] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    dhcp: dict[str, Dhcp] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    outside: dict[tuple[str, str], str] = field(default_factory=dict)  # (physical network, cidr) -> gateway


class FakeFabric:
    """Does every verb in memory.  A `world` (host name to wiring) passed to the next driver outlives this one."""

    def __init__(
        self,
        host: str,
        *,
        faults: Faults | None = None,
        world: dict[str, FakeWiring] | None = None,
        bridge_mappings: dict[str, str] | None = None,
        tunnel_address: str = "127.0.0.1",
    ) -> None:
        self.host, self.faults = host, faults or Faults()
        self.bridge_mappings = {"public": ""} if bridge_mappings is None else dict(bridge_mappings)
        self.tunnel_address = tunnel_address
        self.wiring = (world if world is not None else {}).setdefault(host, FakeWiring())

    @property
    def segments(self) -> dict[str, Segment]:
        """The networks on this host, by id."""
        return self.wiring.segments

    @property
    def ports(self) -> dict[str, Port]:
        """The ports plugged on this host, by id."""
        return self.wiring.ports

    @property
    def dhcp(self) -> dict[str, Dhcp]:
        """The DHCP served on this host, by network id."""
        return self.wiring.dhcp

    @property
    def routers(self) -> dict[str, Router]:
        """The routers on this host, by id."""
        return self.wiring.routers

    @property
    def outside(self) -> dict[tuple[str, str], str]:
        """The machine's own addresses in external networks, by physical network and cidr."""
        return self.wiring.outside

    def facts(self) -> dict[str, object]:
        """What this host's agent says of itself."""
        self.faults.strike("facts", self.host)
        return {
            "bridge_mappings": dict(self.bridge_mappings),
            "tunnel_types": ["vxlan"],
            "tunnel_address": self.tunnel_address,
            "extensions": ["port_security", "security_group", "allowed_address_pairs", "dhcp", "router", "port_forwarding"],
        }

    def observe(self) -> FabricState:
        """Everything on this host."""
        self.faults.strike("observe", self.host)
        return FabricState(
            segments=sorted(self.segments),
            ports=sorted(self.ports),
            dhcp=sorted(self.dhcp),
            routers=sorted(self.routers),
            floating_ips=sorted({address for router in list(self.routers.values()) for address in _floating(router)}),
        )

    def ensure_segment(self, segment: Segment) -> None:
        """Have the network on this host, with exactly these peers."""
        self.faults.strike("ensure_segment", segment.id)
        self._refuse_unmapped(segment)
        self.segments[segment.id] = segment

    def remove_segment(self, network_id: str) -> None:
        """Have the network gone from this host."""
        self.faults.strike("remove_segment", network_id)
        self.segments.pop(network_id, None)

    def ensure_port(self, port: Port) -> None:
        """Have the port plugged as described."""
        self.faults.strike("ensure_port", port.id)
        self._have(port.segment)
        self.ports[port.id] = port

    def remove_port(self, port_id: str) -> None:
        """Have the port gone."""
        self.faults.strike("remove_port", port_id)
        self.ports.pop(port_id, None)

    def ensure_dhcp(self, dhcp: Dhcp) -> None:
        """Have DHCP, names and metadata served as described."""
        self.faults.strike("ensure_dhcp", dhcp.segment.id)
        self._have(dhcp.segment)
        self.dhcp[dhcp.segment.id] = dhcp

    def remove_dhcp(self, network_id: str) -> None:
        """Serve the network no more."""
        self.faults.strike("remove_dhcp", network_id)
        self.dhcp.pop(network_id, None)

    def ensure_router(self, router: Router) -> None:
        """Have the router as described."""
        self.faults.strike("ensure_router", router.id)
        for leg in [*router.legs, *filter(None, [router.gateway])]:
            self._have(leg.segment)
        self.routers[router.id] = router

    def remove_router(self, router_id: str) -> None:
        """Have the router gone."""
        self.faults.strike("remove_router", router_id)
        self.routers.pop(router_id, None)

    def ensure_outside(self, physical_network: str, cidr: str, gateway: str) -> None:
        """Have the machine reach an external network's subnet."""
        self.faults.strike("ensure_outside", physical_network)
        if physical_network not in self.bridge_mappings:
            raise HostError(f"This host has no bridge mapping for the physical network {physical_network!r}.")
        self.outside[physical_network, cidr] = gateway

    def remove_outside(self, physical_network: str, cidr: str) -> None:
        """Take the machine's own address in that subnet away."""
        self.faults.strike("remove_outside", physical_network)
        self.outside.pop((physical_network, cidr), None)

    def reach(self, router_or_network_id: str) -> str:
        """A name for where that router's or network's addresses would answer."""
        self.faults.strike("reach", router_or_network_id)
        if router_or_network_id not in self.routers and router_or_network_id not in self.dhcp:
            raise HostError(f"Neither a router nor a network {router_or_network_id} is served on the host {self.host}.")
        return f"fake-{self.host}-{router_or_network_id}"

    def _have(self, segment: Segment) -> None:
        """A network that is missing is made; peers of one that is there are left as they are."""
        self._refuse_unmapped(segment)
        self.segments.setdefault(segment.id, segment)

    def _refuse_unmapped(self, segment: Segment) -> None:
        if segment.kind in ("flat", "vlan") and segment.physical_network not in self.bridge_mappings:
            raise HostError(f"This host has no bridge mapping for the physical network {segment.physical_network!r}.")


def _floating(router: Router) -> set[str]:
    if not router.gateway or not router.admin_up:
        return set()
    held = {each.floating for each in router.floating_ips} | {each.floating for each in router.forwardings}
    return held - {at.address for at in router.gateway.addresses}
