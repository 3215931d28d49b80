"""What passes through the network service's door."""

from __future__ import annotations

from typing import Literal

import msgspec


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a server."""

    address: str
    version: int
    mac: str
    type: Literal["fixed", "floating"]
    network_name: str


class PortInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A port as compute needs it."""

    id: str
    network_id: str
    network_name: str
    mac: str
    fixed_ips: list[tuple[str, str, int]] = []  # subnet id, address, prefix length
    status: str = "DOWN"
    device_id: str = ""
    device_owner: str = ""
    host: str = ""
    mtu: int = 1450
    tap: str = ""
    security_groups: list[str] = []  # names
    vnic_type: str = "normal"
    tag: str = ""
    project_id: str = ""
    gateways: dict[str, str] = {}  # subnet id -> gateway address
    dns: dict[str, list[str]] = {}  # subnet id -> name servers
    dhcp: dict[str, bool] = {}  # subnet id -> whether the address comes by DHCP
    routes: dict[str, list[tuple[str, str]]] = {}  # subnet id -> destination, nexthop


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a server's maker asks for one interface: a network (perhaps at an address), or a port."""

    network_id: str = ""
    port_id: str = ""
    fixed_ip: str = ""
    tag: str = ""
