"""Ports and addresses of servers, many at once, as compute shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pilvi.network.door_structs import Address, PortInfo
from pilvi.network.logic.addresses import cidr_range
from pilvi.network.logic.words import ROUTER_INTERFACE
from pilvi.network.tables import Allocation, FloatingIp, Network, Port, SecurityGroup, Subnet

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction


def infos(tx: Transaction, rows: Sequence[Port]) -> list[PortInfo]:
    """What compute needs of ports."""
    networks = {row.id: row for row in tx.by(Network, Network.c.id, [port.network_id for port in rows])}
    subnets = {row.id: row for row in tx.by(Subnet, Subnet.c.id, [one.subnet_id for port in rows for one in port.fixed_ips])}
    names = group_names(tx, [one for port in rows for one in port.security_groups])
    found = []
    for port in rows:
        network = networks[port.network_id]
        held = [subnets[one.subnet_id] for one in port.fixed_ips if one.subnet_id in subnets]
        found.append(
            PortInfo(
                id=port.id, network_id=port.network_id, network_name=network.name, mac=port.mac_address,
                fixed_ips=[
                    (one.subnet_id, one.ip_address, cidr_range(subnets[one.subnet_id].cidr).prefixlen)
                    for one in port.fixed_ips if one.subnet_id in subnets
                ],
                status=port.status, device_id=port.device_id, device_owner=port.device_owner, host=port.host_id, mtu=network.mtu,
                tap=port.tap, security_groups=[names[one] for one in port.security_groups if one in names], vnic_type=port.vnic_type,
                tag=port.tag, project_id=port.project_id, gateways={row.id: row.gateway_ip for row in held if row.gateway_ip},
                dns={row.id: row.dns_nameservers for row in held}, dhcp={row.id: row.enable_dhcp for row in held},
                routes={row.id: [(one.destination, one.nexthop) for one in row.host_routes] for row in held},
            )
        )  # fmt: skip
    return found


def group_names(tx: Transaction, ids: Iterable[str]) -> dict[str, str]:
    """Names of security groups, by id."""
    return {row.id: row.name for row in tx.by(SecurityGroup, SecurityGroup.c.id, ids)}


def _of_servers(tx: Transaction, server_ids: Iterable[str]) -> list[Port]:
    rows = tx.by(Port, Port.c.device_id, [one for one in server_ids if one])
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def ports_of(tx: Transaction, server_ids: Iterable[str]) -> dict[str, list[PortInfo]]:
    """The ports of each server, the oldest first."""
    found: dict[str, list[PortInfo]] = {}
    for info in infos(tx, _of_servers(tx, server_ids)):
        found.setdefault(info.device_id, []).append(info)
    return found


def addresses_of(tx: Transaction, server_ids: Iterable[str]) -> dict[str, list[Address]]:
    """The addresses of each server, fixed and floating, in the order of its ports."""
    found: dict[str, list[Address]] = {}
    rows: list[tuple[Port, str]] = []
    wanted = [one for one in dict.fromkeys(server_ids) if one]
    for start in range(0, len(wanted), 500):
        query = sa.select(Port.t, Network.c.name).join(Network.t, Network.c.id == Port.c.network_id)
        query = query.where(Port.c.device_id.in_(wanted[start : start + 500])).order_by(Port.c.created_at, Port.c.id)
        rows += [(Port.load(row), row[-1]) for row in tx.execute(query)]
    floating: dict[tuple[str, str], str] = {}
    for one in tx.by(FloatingIp, FloatingIp.c.fixed_port_id, [port.id for port, _ in rows]):
        floating[one.fixed_port_id or "", one.fixed_ip_address or ""] = one.floating_ip_address
    for port, name in rows:
        mine = found.setdefault(port.device_id, [])
        for fixed in port.fixed_ips:
            version = 6 if ":" in fixed.ip_address else 4
            mine.append(Address(address=fixed.ip_address, version=version, mac=port.mac_address, type="fixed", network_name=name))
        for fixed in port.fixed_ips:
            outer = floating.get((port.id, fixed.ip_address))
            if outer:
                version = 6 if ":" in outer else 4
                mine.append(Address(address=outer, version=version, mac=port.mac_address, type="floating", network_name=name))
    return found


def groups_of(tx: Transaction, server_ids: Iterable[str]) -> dict[str, list[str]]:
    """The names of each server's security groups."""
    rows = _of_servers(tx, server_ids)
    names = group_names(tx, [one for row in rows for one in row.security_groups])
    found: dict[str, list[str]] = {}
    for row in rows:
        mine = found.setdefault(row.device_id, [])
        mine += [names[one] for one in row.security_groups if one in names and names[one] not in mine]
    return found


def find_port_by_source(tx: Transaction, address: str, *, network_id: str = "", router_id: str = "") -> tuple[str, str, str] | None:
    """Whose address it is, seen in a network or behind a router: server, project and port ids; None when nobody's."""
    networks = [network_id] if network_id else []
    if router_id:
        legs = tx.all(Port, Port.c.device_id == router_id, Port.c.device_owner == ROUTER_INTERFACE)
        networks += [leg.network_id for leg in legs]
    query = sa.select(Port.t).join(Allocation.t, Allocation.c.port_id == Port.c.id)
    query = query.where(Allocation.c.address == address, Allocation.c.network_id.in_(networks))
    held = tx.load(Port, query)
    found = next((port for port in held if port.device_id and not port.device_owner.startswith("network:")), None)
    return (found.device_id, found.project_id, found.id) if found else None
