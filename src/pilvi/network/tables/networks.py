"""Networks, their subnets, and the pools and scopes from which subnets are cut."""

from __future__ import annotations

import msgspec

from pilvi.kernel.db import Ref, Word
from pilvi.network.tables.records import Record


class Pool(msgspec.Struct, frozen=True):
    """A range of addresses, both ends included."""

    start: str
    end: str


class Route(msgspec.Struct, frozen=True):
    """A static route, as routers and subnets have them."""

    destination: str
    nexthop: str


class Network(
    Record,
    table="network_networks",
    indexes=[("project_id",), ("external",)],
    unique=[("network_type", "segment_key")],
):
    """A network.  `segment_key` is what may be used once: the physical network and id; NULL where that is no matter."""

    admin_state_up: bool = True
    status: Word = "ACTIVE"
    mtu: int = 1450
    external: bool = False
    is_default: bool = False
    port_security_enabled: bool = True
    network_type: Word = "vxlan"
    physical_network: str | None = None
    segmentation_id: int | None = None
    segment_key: str | None = None
    dns_domain: str = ""
    availability_zone_hints: list[str] = []
    vlan_transparent: bool | None = None


class Subnet(Record, table="network_subnets", indexes=[("network_id",), ("project_id",), ("subnetpool_id",)]):
    """A range of addresses on a network."""

    network_id: Ref
    ip_version: int
    cidr: Word
    gateway_ip: Word | None = None
    enable_dhcp: bool = True
    allocation_pools: list[Pool] = []
    dns_nameservers: list[str] = []
    host_routes: list[Route] = []
    ipv6_ra_mode: Word | None = None
    ipv6_address_mode: Word | None = None
    subnetpool_id: Ref | None = None
    service_types: list[str] = []
    dns_publish_fixed_ip: bool = False
    router_advertises: bool = False

    @property
    def automatic(self) -> bool:
        """Whether ports make their own addresses from their MAC."""
        return self.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


class SubnetPool(Record, table="network_subnetpools", indexes=[("project_id",)]):
    """Prefixes from which subnets are cut."""

    prefixes: list[str] = []
    ip_version: int = 4
    default_prefixlen: int = 26
    min_prefixlen: int = 8
    max_prefixlen: int = 32
    default_quota: int | None = None
    is_default: bool = False
    address_scope_id: Ref | None = None


class AddressScope(Record, table="network_address_scopes", indexes=[("project_id",)]):
    """Within a scope addresses do not overlap."""

    ip_version: int = 4
