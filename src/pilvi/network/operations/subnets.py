"""Subnets: a range on a network, its pools and gateway, and the ports that make themselves an address in it."""

from __future__ import annotations

import ipaddress
from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.errors import BadRequest, GatewayIpInUse, InvalidInput, NetworkMTUSubnetConflict, NetworkNotFound, SubnetInUse
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import DHCP, FLOATING_IP, ROUTER_INTERFACE, ROUTER_OWNERS
from pilvi.network.operations import addresses, records, subnet_cuts, wiring
from pilvi.network.tables import Allocation, FixedIp, Network, Pool, Port, Route, Subnet


def create(ctx: Context, body: Any, project_id: str) -> Subnet:
    """A subnet on a network that the caller may use."""
    from pilvi.network.operations import networks

    network = networks.get(ctx, body.network_id)
    if ctx.db.lock(Network, network.id) is None:  # its subnets are made one after the other: they must not overlap
        raise NetworkNotFound(network.id)
    records.claim(ctx, "subnet", project_id)
    row = Subnet(
        **records.born(project_id, body), network_id=network.id, ip_version=body.ip_version or 4, cidr="", enable_dhcp=body.enable_dhcp,
        ipv6_ra_mode=body.ipv6_ra_mode, ipv6_address_mode=body.ipv6_address_mode, service_types=body.service_types,
        dns_publish_fixed_ip=body.dns_publish_fixed_ip,
    )  # fmt: skip
    net = subnet_cuts.range_for(ctx, row, body, network, project_id)
    row.cidr = str(net)
    check_mtu(network.mtu, row)
    _check_modes(row, net)
    _check_apart(ctx, row, net)
    row.gateway_ip = arithmetic.default_gateway(net) if body.gateway_ip == "" else body.gateway_ip
    if row.gateway_ip is not None:
        row.gateway_ip = _gateway(row, net, row.gateway_ip)
    row.allocation_pools = _pools(net, row.gateway_ip, body.allocation_pools)
    row.dns_nameservers = _servers(ctx, body.dns_nameservers)
    row.host_routes = _routes(ctx, row, body.host_routes)
    ctx.db.insert(row)
    records.bump(ctx.db, Network, network.id)
    if row.automatic:
        _give_automatic(ctx, row)
    if row.enable_dhcp or network.external:
        wiring.network_changed(ctx, network.id)
    return row


def update(ctx: Context, row: Subnet, given: dict[str, Any]) -> None:
    """Change a subnet."""
    net = arithmetic.cidr_range(row.cidr)
    pools = row.allocation_pools
    if "allocation_pools" in given:
        given["allocation_pools"] = pools = arithmetic.check_pools([Pool(**one) for one in given["allocation_pools"]], net)
    if "gateway_ip" in given:
        gateway = given["gateway_ip"] or None
        if gateway is not None:
            gateway = given["gateway_ip"] = _gateway(row, net, gateway)
        if gateway != row.gateway_ip:
            _check_gateway_free(ctx, row)
        given["gateway_ip"] = gateway
    gateway = given.get("gateway_ip", row.gateway_ip)
    if "gateway_ip" in given or "allocation_pools" in given:
        arithmetic.check_gateway_outside(gateway, pools)
    if "dns_nameservers" in given:
        given["dns_nameservers"] = _servers(ctx, given["dns_nameservers"])
    if "host_routes" in given:
        given["host_routes"] = _routes(ctx, row, given["host_routes"])
    if given.get("enable_dhcp") is False and (row.ipv6_ra_mode or row.ipv6_address_mode):
        raise InvalidInput("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.")
    records.change(ctx.db, row, **given)
    records.bump(ctx.db, Network, row.network_id)
    wiring.network_changed(ctx, row.network_id)


def delete(ctx: Context, row: Subnet) -> None:
    """Delete a subnet; SubnetInUse while a port that cannot do without has an address in it."""
    ctx.db.lock(Subnet, row.id)
    held = ctx.db.all(Allocation, Allocation.c.subnet_id == row.id)
    ports = {port.id: port for port in ctx.db.by(Port, Port.c.id, [one.port_id for one in held])}
    for port in ports.values():
        if port.device_owner == DHCP:
            continue
        if not row.automatic or port.device_owner in ROUTER_OWNERS or port.device_owner == FLOATING_IP:
            raise SubnetInUse(f"Unable to complete operation on subnet {row.id}: One or more ports have an IP allocation from this subnet.")
    for port in ports.values():
        kept = [one for one in port.fixed_ips if one.subnet_id != row.id]
        records.change(ctx.db, port, fixed_ips=kept)
    forget(ctx, row)
    records.bump(ctx.db, Network, row.network_id)
    wiring.network_changed(ctx, row.network_id)


def forget(ctx: Context, row: Subnet) -> None:
    """Have the row and its allocations gone."""
    ctx.db.delete(Allocation, Allocation.c.subnet_id == row.id)
    ctx.db.remove(row)
    ctx.program.parts.setdefault("network.cursors", {}).pop(row.id, None)


# -- parts -------------------------------------------------------------------------------------------


def check_mtu(mtu: int, row: Subnet) -> None:
    """Raise when the smallest packet of the subnet's IP version does not fit."""
    least = 68 if row.ip_version == 4 else 1280
    if mtu < least:
        raise NetworkMTUSubnetConflict(f"Invalid network MTU {mtu} for subnet cidr {row.cidr}: IPv{row.ip_version} needs at least {least}.")


def _check_modes(row: Subnet, net: arithmetic.Range) -> None:
    """IPv6 modes: for IPv6 with DHCP, equal when both are said, and /64 where addresses are automatic."""
    modes = [mode for mode in (row.ipv6_ra_mode, row.ipv6_address_mode) if mode]
    if not modes:
        return
    if row.ip_version == 4:
        raise InvalidInput("Invalid input for operation: IPv4 subnets have no ipv6_ra_mode or ipv6_address_mode.", field="ipv6_ra_mode")
    if not row.enable_dhcp:
        raise InvalidInput("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.")
    if len(set(modes)) > 1:
        raise InvalidInput(
            f"Invalid input for operation: ipv6_ra_mode set to '{row.ipv6_ra_mode}' with ipv6_address_mode set to '{row.ipv6_address_mode}' "
            "is not valid. If both attributes are set, they must be the same value."
        )
    if modes[0] in ("slaac", "dhcpv6-stateless") and net.prefixlen != 64:
        raise InvalidInput(
            f"Invalid input for operation: Invalid CIDR {net} for IPv6 address mode. OpenStack uses the EUI-64 address format, which "
            "requires the prefix to be /64.", field="cidr",
        )  # fmt: skip


def _check_apart(ctx: Context, row: Subnet, net: arithmetic.Range) -> None:
    for other in addresses.subnets_of(ctx.db, row.network_id):
        if other.ip_version == row.ip_version and arithmetic.cidr_range(other.cidr).overlaps(net):  # type: ignore[arg-type]
            raise InvalidInput(
                f"Invalid input for operation: Requested subnet with cidr: {net} for network: {row.network_id} overlaps with another subnet.",
                field="cidr",
            )


def _gateway(row: Subnet, net: arithmetic.Range, text: str) -> str:
    gateway = arithmetic.parse_address(text, "gateway_ip")
    if gateway.version != row.ip_version:
        raise InvalidInput(f"Invalid input for operation: gateway_ip '{gateway}' is not of IPv{row.ip_version}.", field="gateway_ip")
    link_local = isinstance(gateway, ipaddress.IPv6Address) and gateway.is_link_local
    if not link_local and gateway in net:
        low, high = arithmetic.usable(net)
        if not low <= int(gateway) <= high and net.version == 4:
            raise InvalidInput("Invalid input for operation: Gateway is not valid on subnet.", field="gateway_ip")
    return str(gateway)


def _pools(net: arithmetic.Range, gateway: str | None, wanted: list[dict[str, str]] | None) -> list[Pool]:
    if wanted is None:
        return arithmetic.default_pools(net, gateway)
    pools = arithmetic.check_pools([Pool(**one) for one in wanted], net)
    arithmetic.check_gateway_outside(gateway, pools)
    return pools


def _servers(ctx: Context, wanted: list[str] | None) -> list[str]:
    servers = [str(arithmetic.parse_address(one, "dns_nameservers")) for one in wanted or []]
    if len(set(servers)) < len(servers):
        raise InvalidInput("Invalid input for dns_nameservers. Reason: Duplicate nameserver.", field="dns_nameservers")
    most = ctx.program.settings.network.max_dns_nameservers
    if len(servers) > most:
        raise BadRequest(f"Unable to complete operation: too many DNS nameservers (more than {most}).", field="dns_nameservers")
    return servers


def _routes(ctx: Context, row: Subnet, wanted: list[dict[str, str]] | None) -> list[Route]:
    routes = []
    for one in wanted or []:
        net = arithmetic.parse_cidr(one["destination"], "host_routes")
        hop = arithmetic.parse_address(one["nexthop"], "host_routes")
        if net.version != row.ip_version or hop.version != row.ip_version:
            raise InvalidInput(f"Invalid input for host_routes. Reason: the route {net} does not match the ip_version.", field="host_routes")
        routes.append(Route(str(net), str(hop)))
    most = ctx.program.settings.network.max_host_routes
    if len(routes) > most:
        raise BadRequest(f"Unable to complete operation: too many host routes (more than {most}).", field="host_routes")
    return list(dict.fromkeys(routes))


def _check_gateway_free(ctx: Context, row: Subnet) -> None:
    """Raise GatewayIpInUse when a router is the subnet's gateway."""
    if row.gateway_ip is None:
        return
    held = ctx.db.get(Allocation, row.id, row.gateway_ip)
    port = ctx.db.get(Port, held.port_id) if held else None
    if port is not None and port.device_owner == ROUTER_INTERFACE:
        raise GatewayIpInUse(f"Current gateway ip {row.gateway_ip} already in use by port {port.id}. Unable to update.")


def _give_automatic(ctx: Context, row: Subnet) -> None:
    """Ports that are on the network already make themselves an address in the new range."""
    for port in ctx.db.all(Port, Port.c.network_id == row.network_id):
        if port.device_owner in (*ROUTER_OWNERS, FLOATING_IP, DHCP) or not port.fixed_ips or not addresses.serves(row, port.device_owner):
            continue
        address = arithmetic.eui64(row.cidr, port.mac_address)
        ctx.db.insert(Allocation(subnet_id=row.id, address=address, network_id=row.network_id, port_id=port.id))
        records.change(ctx.db, port, fixed_ips=[*port.fixed_ips, FixedIp(row.id, address)])
        wiring.port_changed(ctx, port, members=True)


def routers_on(ctx: Context, network_id: str) -> list[str]:
    """The routers that have a leg on the network."""
    rows = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner.in_(ROUTER_OWNERS))
    return sorted({row.device_id for row in rows})


