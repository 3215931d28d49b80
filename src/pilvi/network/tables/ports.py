"""Ports, and which address and which security group is whose."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.kernel.db import Key, Ref, Row, Word
from pilvi.network.tables.records import Record


class FixedIp(msgspec.Struct, frozen=True):
    """An address of a port."""

    subnet_id: str
    ip_address: str


class Pair(msgspec.Struct, frozen=True):
    """Another address that a port may send from."""

    ip_address: str
    mac_address: str


class DhcpOption(msgspec.Struct, frozen=True):
    """What DHCP tells this port beside the usual."""

    opt_name: str
    opt_value: str | None = None
    ip_version: int = 4


class Port(
    Record,
    table="network_ports",
    indexes=[("network_id",), ("project_id",), ("device_id",), ("host_id",), ("moving_to",), ("device_owner",)],
    unique=[("network_id", "mac_address")],
):
    """A port.  `fixed_ips` and `security_groups` are what the API shows; Allocation and PortGroup are what is asked by."""

    network_id: Ref
    admin_state_up: bool = True
    status: Word = "DOWN"
    mac_address: Word
    device_id: str = ""
    device_owner: str = ""
    fixed_ips: list[FixedIp] = []
    allowed_address_pairs: list[Pair] = []
    security_groups: list[str] = []
    port_security_enabled: bool = True
    host_id: str = ""
    moving_to: str = ""  # a second host on which it is plugged, while its server moves there
    vif_type: Word = "unbound"
    vif_details: dict[str, Any] = {}
    vnic_type: Word = "normal"
    profile: dict[str, Any] = {}
    dns_name: str = ""
    dns_domain: str = ""
    extra_dhcp_opts: list[DhcpOption] = []
    propagate_uplink_status: bool = True
    hints: dict[str, Any] | None = None
    tag: str = ""  # the device tag that the server's user gave this port

    @property
    def hosts(self) -> list[str]:
        """The hosts on which it is to be plugged."""
        return [host for host in (self.host_id, self.moving_to) if host]

    @property
    def tap(self) -> str:
        """The name of its device on a host."""
        return "tap" + self.id[:11]


class Allocation(Row, table="network_allocations", indexes=[("port_id",), ("network_id",)]):
    """One address in use; the key keeps it from being given twice."""

    subnet_id: Key
    address: Key
    network_id: Ref
    port_id: Ref


class PortGroup(Row, table="network_port_groups", indexes=[("group_id",)]):
    """A port is in a security group."""

    port_id: Key
    group_id: Key
