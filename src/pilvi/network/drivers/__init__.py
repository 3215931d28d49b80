"""The Fabric contract: what the network service asks of a host, and the table of drivers that can do it.

Every verb may be said twice: `ensure_*` makes it so, exactly as described, and is silent when it is so already;
`remove_*` may be said of what is absent; `observe` only looks.  A driver keeps no memory of its own beside what
lies on the host.  Verbs raise `HostError` with a sentence for the user.  Verbs block; the agent calls them from
threads, never two at once for one subject.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A network as it should lie on a host: a bridge, joined to other hosts (vxlan) or to a wire (flat, vlan)."""

    id: str
    kind: Literal["vxlan", "flat", "vlan", "local"]
    segmentation_id: int = 0
    physical_network: str = ""
    mtu: int = 1450
    local_address: str = ""  # vxlan: the tunnel's address here
    peers: list[str] = []  # vxlan: tunnel addresses of the other hosts that have this network


class FixedIp(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    prefix: int  # of the subnet: 24
    subnet_id: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One security group rule, expanded: `remote` holds CIDRs (a remote group is its members' addresses)."""

    direction: Literal["ingress", "egress"]
    ether: Literal["IPv4", "IPv6"]
    protocol: str = ""  # "", tcp, udp, icmp, ipv6-icmp, a number as text, ...
    port_min: int | None = None  # icmp: the type
    port_max: int | None = None  # icmp: the code
    remote: list[str] | None = None  # None: anywhere; []: nobody


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port as it should be plugged on this host."""

    id: str
    mac: str
    segment: Segment
    tap: str  # the device's name, at most 15 characters
    fixed_ips: list[FixedIp] = []
    allowed_pairs: list[tuple[str, str]] = []  # (ip or cidr, mac): may send as these too
    port_security: bool = True
    admin_up: bool = True
    stateful: bool = True
    rules: list[Rule] = []
    zone: int = 1  # conntrack zone: one per network, so that overlapping addresses stay apart
    device_owner: str = ""


class HostRoute(msgspec.Struct, frozen=True, kw_only=True):
    destination: str
    nexthop: str


class DhcpSubnet(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet with DHCP or router advertisements.  `mode`: "" for IPv4; slaac, dhcpv6-stateful, dhcpv6-stateless."""

    id: str
    cidr: str
    gateway: str = ""
    dns: list[str] = []
    routes: list[HostRoute] = []
    mode: str = ""
    advertise: bool = False  # IPv6: no router is there to send advertisements


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One port's addresses for DHCP, its name, and its own options (extra_dhcp_opts: name or number to value)."""

    port_id: str
    mac: str
    addresses: list[FixedIp]
    hostname: str = ""
    options: list[tuple[str, str, int]] = []  # name, value, ip version


class Dhcp(msgspec.Struct, frozen=True, kw_only=True):
    """DHCP, names and metadata of one network on this host."""

    segment: Segment
    port_id: str
    mac: str
    addresses: list[FixedIp]  # of the DHCP port itself
    subnets: list[DhcpSubnet] = []
    leases: list[Lease] = []
    domain: str = ""
    metadata: bool = True  # serve 169.254.169.254 here (networks without a router)
    zone: int = 1


class RouterLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of a router; `advertise` sends router advertisements in that mode."""

    port_id: str
    mac: str
    segment: Segment
    addresses: list[FixedIp]
    advertise: str = ""
    zone: int = 1


class FloatingIp(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    floating: str
    fixed: str


class Forwarding(msgspec.Struct, frozen=True, kw_only=True):
    """One port forwarding of a floating address."""

    id: str
    protocol: str
    floating: str
    floating_port: int
    fixed: str
    fixed_port: int


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """A router as it should be on this host."""

    id: str
    admin_up: bool = True
    legs: list[RouterLeg] = []
    gateway: RouterLeg | None = None
    gateway_addresses: list[str] = []  # next hops of the default routes, per IP version
    snat: bool = True
    routes: list[HostRoute] = []
    floating_ips: list[FloatingIp] = []
    forwardings: list[Forwarding] = []
    metadata: bool = True


class FabricState(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on the host: ids only."""

    segments: list[str] = []
    ports: list[str] = []
    dhcp: list[str] = []  # network ids
    routers: list[str] = []
    floating_ips: list[str] = []  # addresses


class Fabric(Protocol):
    """The verbs of a network driver."""

    def facts(self) -> dict[str, object]:
        """What this host's agent says of itself: bridge mappings, tunnel types, tunnel address, extensions."""
        ...

    def observe(self) -> FabricState:
        """Everything of this cloud on this host."""
        ...

    def ensure_segment(self, segment: Segment) -> None:
        """Have the network on this host, with exactly these peers."""
        ...

    def remove_segment(self, network_id: str) -> None:
        """Have the network's bridge and tunnel gone.  Its ports, DHCP and router legs are gone before."""
        ...

    def ensure_port(self, port: Port) -> None:
        """Have the tap there, on its network, guarded by anti-spoofing and the rules.  Never cuts a tap in use."""
        ...

    def remove_port(self, port_id: str) -> None:
        """Have the tap and its rules gone."""
        ...

    def ensure_dhcp(self, dhcp: Dhcp) -> None:
        """Have DHCP, names and metadata served as described; leases already given are kept."""
        ...

    def remove_dhcp(self, network_id: str) -> None:
        """Serve the network no more."""
        ...

    def ensure_router(self, router: Router) -> None:
        """Have the router as described: legs, gateway, NAT, floating IPs, routes, metadata; connections survive."""
        ...

    def remove_router(self, router_id: str) -> None:
        """Have the router gone."""
        ...

    def ensure_outside(self, physical_network: str, cidr: str, gateway: str) -> None:
        """Have the host itself reach an external network's subnet, as its gateway (the demo's outside world)."""
        ...

    def remove_outside(self, physical_network: str, cidr: str) -> None:
        """Take the host's own address in that subnet away."""
        ...

    def reach(self, router_or_network_id: str) -> str:
        """Name of the network namespace from which that router's or network's addresses answer (for diagnosis)."""
        ...


# name in the configuration -> where the driver is; imported only when chosen
DRIVERS: dict[str, str] = {
    "linux": "pilvi.network.drivers.linux:LinuxFabric",
    "fake": "pilvi.network.drivers.fake:FakeFabric",
}
