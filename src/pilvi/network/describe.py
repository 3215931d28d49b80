"""Descriptions: rows of the database turned into what a driver is told."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pilvi.network import drivers
from pilvi.network.describe_rules import rules_of
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import DHCP, FLOATING_IP, NETWORK_OWNED, ROUTER_GATEWAY, ROUTER_INTERFACE
from pilvi.network.operations import binding, placing
from pilvi.network.tables import Agent, FixedIp, FloatingIp, Network, Port, PortForwarding, Router, SecurityGroup, Subnet

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program

ZONES = 60_000  # conntrack zones are 16 bits


def zone(network_id: str) -> int:
    """The conntrack zone of a network: the same on every host and after every restart."""
    return 1 + int(network_id.replace("-", "")[:8], 16) % ZONES


def segment(program: Program, tx: Transaction, network: Network, host: str) -> drivers.Segment:
    """The network as it lies on the host."""
    agent = tx.get(Agent, host) if network.network_type == "vxlan" else None
    own = agent.tunnel_address if agent is not None else ""
    peers = sorted(placing.tunnel_addresses(tx, network.id, host) - {own}) if agent is not None else []
    return drivers.Segment(
        id=network.id, kind=network.network_type, segmentation_id=network.segmentation_id or 0,  # type: ignore[arg-type]
        physical_network=network.physical_network or "", mtu=network.mtu, local_address=own, peers=peers,
    )  # fmt: skip


def ports(program: Program, tx: Transaction, ids: Sequence[str], host: str) -> list[drivers.Port]:
    """Ports that should be plugged on the host."""
    rows = [
        row for row in tx.by(Port, Port.c.id, ids, sa.or_(Port.c.host_id == host, Port.c.moving_to == host))
        if row.vif_type == binding.VIF_TYPE and not row.device_owner.startswith(NETWORK_OWNED)
    ]  # fmt: skip
    networks = {row.id: row for row in tx.by(Network, Network.c.id, [port.network_id for port in rows])}
    subnets = {row.id: row for row in tx.by(Subnet, Subnet.c.network_id, list(networks))}
    segments = {ref: segment(program, tx, network, host) for ref, network in networks.items()}
    groups = {row.id: row for row in tx.by(SecurityGroup, SecurityGroup.c.id, {one for port in rows for one in port.security_groups})}
    rules = rules_of(tx, list(groups))
    return [
        drivers.Port(
            id=row.id, mac=row.mac_address, segment=segments[row.network_id], tap=row.tap, fixed_ips=_fixed(row.fixed_ips, subnets),
            allowed_pairs=[(pair.ip_address, pair.mac_address) for pair in row.allowed_address_pairs],
            port_security=row.port_security_enabled, admin_up=row.admin_state_up and networks[row.network_id].admin_state_up,
            stateful=all(groups[one].stateful for one in row.security_groups if one in groups),
            rules=[rule for one in row.security_groups for rule in rules.get(one, ())], zone=zone(row.network_id), device_owner=row.device_owner,
        )
        for row in rows
        if row.network_id in networks
    ]  # fmt: skip


def dhcp(program: Program, tx: Transaction, network: Network, host: str) -> drivers.Dhcp | None:
    """DHCP of the network, if it is this host that serves it."""
    port = tx.one(Port, Port.c.network_id == network.id, Port.c.device_owner == DHCP, Port.c.host_id == host)
    if port is None:
        return None
    rows = tx.all(Subnet, Subnet.c.network_id == network.id)
    subnets = {row.id: row for row in rows}
    lengths = _lengths(subnets)
    c = Port.c
    others = tx.rows(sa.select(c.id, c.mac_address, c.fixed_ips, c.dns_name, c.extra_dhcp_opts, c.device_owner).where(c.network_id == network.id))
    routed = {one.subnet_id for row in others if row.device_owner == ROUTER_INTERFACE for one in row.fixed_ips}
    return drivers.Dhcp(
        segment=segment(program, tx, network, host), port_id=port.id, mac=port.mac_address, addresses=_fixed(port.fixed_ips, subnets),
        subnets=[_dhcp_subnet(program, row, row.id in routed) for row in rows if row.enable_dhcp],
        leases=[
            drivers.Lease(
                port_id=row.id, mac=row.mac_address, addresses=_held(row.fixed_ips, lengths), hostname=row.dns_name,
                options=[(one.opt_name, one.opt_value or "", one.ip_version) for one in row.extra_dhcp_opts],
            )
            for row in others if row.device_owner not in (DHCP, FLOATING_IP) and row.fixed_ips
        ],
        domain=network.dns_domain or program.settings.network.dns_domain, metadata=not routed, zone=zone(network.id),
    )  # fmt: skip


def _dhcp_subnet(program: Program, row: Subnet, routed: bool) -> drivers.DhcpSubnet:
    gateway = row.gateway_ip or ""
    return drivers.DhcpSubnet(
        id=row.id, cidr=row.cidr, gateway=gateway,
        dns=row.dns_nameservers or [one for one in program.settings.network.dns_servers if ipaddress.ip_address(one).version == row.ip_version],
        routes=[drivers.HostRoute(destination=one.destination, nexthop=one.nexthop) for one in row.host_routes],
        mode=row.ipv6_address_mode or ("dhcpv6-stateful" if row.ip_version == 6 else ""),
        advertise=row.ip_version == 6 and row.ipv6_ra_mode is not None and not routed,
    )  # fmt: skip


def router(program: Program, tx: Transaction, router_id: str, host: str) -> drivers.Router | None:
    """The router, if it should be on this host."""
    row = tx.get(Router, router_id)
    if row is None or row.host != host:
        return None
    held = tx.all(Port, Port.c.device_id == router_id, Port.c.device_owner.in_([ROUTER_INTERFACE, ROUTER_GATEWAY]))
    networks = {one.id: one for one in tx.by(Network, Network.c.id, [port.network_id for port in held])}
    subnets = {one.id: one for one in tx.by(Subnet, Subnet.c.network_id, list(networks))}

    def leg(port: Port) -> drivers.RouterLeg:
        modes = [subnets[one.subnet_id].ipv6_ra_mode for one in port.fixed_ips if one.subnet_id in subnets]
        return drivers.RouterLeg(
            port_id=port.id, mac=port.mac_address, segment=segment(program, tx, networks[port.network_id], host),
            addresses=_fixed(port.fixed_ips, subnets), advertise=next((mode for mode in modes if mode), ""), zone=zone(port.network_id),
        )  # fmt: skip

    outer = next((port for port in held if port.device_owner == ROUTER_GATEWAY), None)
    gateways = [subnets[one.subnet_id].gateway_ip for one in outer.fixed_ips if one.subnet_id in subnets] if outer else []
    floating = tx.all(FloatingIp, FloatingIp.c.router_id == router_id)
    by_id = {one.id: one for one in floating}
    forwardings = tx.by(PortForwarding, PortForwarding.c.floatingip_id, list(by_id))
    return drivers.Router(
        id=row.id, admin_up=row.admin_state_up, legs=[leg(port) for port in held if port.device_owner == ROUTER_INTERFACE and port.admin_state_up],
        gateway=leg(outer) if outer else None, gateway_addresses=[one for one in gateways if one], snat=row.enable_snat,
        routes=[drivers.HostRoute(destination=one.destination, nexthop=one.nexthop) for one in row.routes],
        floating_ips=[
            drivers.FloatingIp(id=one.id, floating=one.floating_ip_address, fixed=one.fixed_ip_address)
            for one in floating if one.fixed_ip_address
        ],
        forwardings=[
            drivers.Forwarding(
                id=one.id, protocol=one.protocol, floating=by_id[one.floatingip_id].floating_ip_address, floating_port=one.external_port,
                fixed=one.internal_ip_address, fixed_port=one.internal_port,
            )
            for one in forwardings
        ],
    )  # fmt: skip


def outside_networks(program: Program, tx: Transaction, host: str) -> dict[str, str]:
    """External networks that lie on a wire which ends within this host, so that it is their gateway: their physical networks, by id."""
    agent = tx.get(Agent, host)
    if not program.settings.network.outside or agent is None or "l3" in agent.disabled:
        return {}
    ends_here = [name for name, interface in agent.facts.get("bridge_mappings", {}).items() if not interface]
    rows = tx.all(Network, Network.c.external == sa.true(), Network.c.network_type == "flat", Network.c.physical_network.in_(ends_here))
    return {row.id: row.physical_network or "" for row in rows}


def outside(program: Program, tx: Transaction, network: Network, host: str) -> list[tuple[str, str, str]]:
    """Physical network, range and gateway of the subnets in which the host itself is to be the gateway."""
    if network.id not in outside_networks(program, tx, host):
        return []
    rows = tx.all(Subnet, Subnet.c.network_id == network.id)
    return [
        (network.physical_network or "", row.cidr, row.gateway_ip) for row in rows
        if row.gateway_ip and ipaddress.ip_address(row.gateway_ip) in arithmetic.cidr_range(row.cidr)
    ]  # fmt: skip


def _fixed(held: Sequence[FixedIp], subnets: dict[str, Subnet]) -> list[drivers.FixedIp]:
    return _held(held, _lengths(subnets))


def _lengths(subnets: dict[str, Subnet]) -> dict[str, int]:
    """The prefix length of each subnet."""
    return {ref: arithmetic.cidr_range(subnet.cidr).prefixlen for ref, subnet in subnets.items()}


def _held(held: Sequence[FixedIp], lengths: dict[str, int]) -> list[drivers.FixedIp]:
    return [
        drivers.FixedIp(address=one.ip_address, prefix=lengths[one.subnet_id], subnet_id=one.subnet_id) for one in held if one.subnet_id in lengths
    ]
