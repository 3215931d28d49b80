"""Routers, floating IPs and their port forwardings."""

from __future__ import annotations

from pilvi.kernel.db import Ref, Word
from pilvi.network.tables.networks import Route
from pilvi.network.tables.records import Owned, Record


class Router(Record, table="network_routers", indexes=[("project_id",), ("host",)]):
    """A router.  `host` is the network host that does its work."""

    admin_state_up: bool = True
    status: Word = "ACTIVE"
    gateway_port_id: Ref | None = None
    gateway_network_id: Ref | None = None
    enable_snat: bool = True
    routes: list[Route] = []
    availability_zone_hints: list[str] = []
    host: str = ""


class FloatingIp(
    Record,
    table="network_floating_ips",
    indexes=[("project_id",), ("router_id",), ("fixed_port_id",), ("floating_port_id",)],
    unique=[("floating_network_id", "floating_ip_address"), ("fixed_port_id", "fixed_ip_address")],
):
    """An address of an external network that leads to a port."""

    floating_network_id: Ref
    floating_ip_address: Word
    floating_port_id: Ref
    fixed_port_id: Ref | None = None
    fixed_ip_address: Word | None = None
    router_id: Ref | None = None
    status: Word = "DOWN"
    dns_name: str = ""
    dns_domain: str = ""


class PortForwarding(
    Owned,
    table="network_port_forwardings",
    indexes=[("internal_port_id",)],
    unique=[("floatingip_id", "protocol", "external_port"), ("internal_port_id", "internal_ip_address", "protocol", "internal_port")],
):
    """One port of a floating IP that leads to one port of an internal address."""

    floatingip_id: Ref
    protocol: Word
    external_port: int
    internal_port: int
    internal_ip_address: Word
    internal_port_id: Ref
    description: str = ""
