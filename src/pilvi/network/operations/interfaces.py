"""The interfaces of a router: its ports on project networks."""

from __future__ import annotations

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.kernel.ids import new_id
from pilvi.network.errors import (
    BadRequest,
    PortInUse,
    PortNotFound,
    RouterInterfaceInUseByFloatingIP,
    RouterInterfaceInUseByRoute,
    RouterInterfaceNotFound,
    RouterInterfaceNotFoundForSubnet,
    SubnetNotFound,
)  # fmt: skip
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import ROUTER_GATEWAY, ROUTER_INTERFACE
from pilvi.network.operations import addresses, ports, records, sharing, wiring
from pilvi.network.tables import FixedIp, FloatingIp, Network, Port, PortForwarding, PortGroup, Router, Subnet


class SubnetMismatchForPort(Conflict):
    """The port is not in that subnet."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """What was joined, or taken apart."""

    id: str
    tenant_id: str
    project_id: str
    port_id: str
    network_id: str
    subnet_id: str
    subnet_ids: list[str]


def add(ctx: Context, router: Router, subnet_id: str | None, port_id: str | None) -> Interface:
    """Join a subnet, by itself or by a port that is on it."""
    if bool(subnet_id) == bool(port_id):
        raise BadRequest("Bad router request: Either subnet_id or port_id must be specified, and not both.")
    ctx.db.lock(Router, router.id)  # its subnets must not overlap
    port = _adopt(ctx, router, port_id or "") if port_id else _join(ctx, router, subnet_id or "")
    records.bump(ctx.db, Router, router.id)
    wiring.router_changed(ctx, router.id)
    wiring.network_changed(ctx, port.network_id)
    return _told(router, port, subnet_id or port.fixed_ips[0].subnet_id)


def remove(ctx: Context, router: Router, subnet_id: str | None, port_id: str | None) -> Interface:
    """Leave a subnet."""
    if not subnet_id and not port_id:
        raise BadRequest("Bad router request: Either subnet_id or port_id must be specified.")
    legs = _legs(ctx, router)
    if port_id:
        port = next((leg for leg in legs if leg.id == port_id), None)
        if port is None:
            raise RouterInterfaceNotFound(f"Router {router.id} does not have an interface with id {port_id}")
        if subnet_id and not any(one.subnet_id == subnet_id for one in port.fixed_ips):
            raise SubnetMismatchForPort(f"Subnet on port {port_id} does not match the requested subnet {subnet_id}.")
        leaving = [one for one in port.fixed_ips if not subnet_id or one.subnet_id == subnet_id]
    else:
        port = next((leg for leg in legs if any(one.subnet_id == subnet_id for one in leg.fixed_ips)), None)
        if port is None:
            if ctx.db.get(Subnet, subnet_id) is None:
                raise SubnetNotFound(subnet_id or "")
            raise RouterInterfaceNotFoundForSubnet(f"Router {router.id} has no interface on subnet {subnet_id}")
        leaving = [one for one in port.fixed_ips if one.subnet_id == subnet_id]
    for one in leaving:
        _check_leaving(ctx, router, port, one)
    told = _told(router, port, leaving[0].subnet_id if leaving else "")
    kept = [one for one in port.fixed_ips if one not in leaving]
    if kept:
        addresses.release(ctx.db, port.id, leaving)
        records.change(ctx.db, port, fixed_ips=kept)
    else:
        ports.delete_row(ctx, port, quiet=True)
    records.bump(ctx.db, Router, router.id)
    wiring.router_changed(ctx, router.id)
    wiring.network_left(ctx, port.network_id, [port.host_id] if port.host_id else [])
    return told


def _legs(ctx: Context, router: Router) -> list[Port]:
    return ctx.db.all(Port, Port.c.device_id == router.id, Port.c.device_owner == ROUTER_INTERFACE)


def _join(ctx: Context, router: Router, subnet_id: str) -> Port:
    subnet = ctx.db.get(Subnet, subnet_id)
    if subnet is None or not _usable(ctx, subnet):
        raise SubnetNotFound(subnet_id)
    if subnet.gateway_ip is None:
        raise BadRequest("Bad router request: Subnet for router interface must have a gateway IP.")
    _check_apart(ctx, router, [subnet])
    wish = {"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}
    if subnet.ip_version == 6:  # one leg carries all IPv6 subnets of a network
        for leg in _legs(ctx, router):
            if leg.network_id == subnet.network_id and any(":" in one.ip_address for one in leg.fixed_ips):
                fixed = addresses.for_port(ctx, leg, [wish], kept=leg.fixed_ips)
                return records.change(ctx.db, leg, fixed_ips=fixed)
    now = clock.now()
    port = Port(
        id=new_id(), project_id=router.project_id, created_at=now, updated_at=now, network_id=subnet.network_id,
        mac_address=arithmetic.new_mac(), device_id=router.id, device_owner=ROUTER_INTERFACE, port_security_enabled=False,
    )  # fmt: skip
    records.claim(ctx, "port", router.project_id)
    port.fixed_ips = addresses.for_port(ctx, port, [wish])
    return ctx.db.insert(port)


def _adopt(ctx: Context, router: Router, port_id: str) -> Port:
    port = ctx.db.get(Port, port_id)
    if port is None or not (port.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise PortNotFound(port_id)
    if port.device_id:
        raise PortInUse(
            f"Unable to complete operation on port {port_id} for network {port.network_id}. Port already has an attached device {port.device_id}."
        )
    if not port.fixed_ips:
        raise BadRequest("Bad router request: Router port must have at least one fixed IP.")
    if len([one for one in port.fixed_ips if ":" not in one.ip_address]) > 1:
        raise BadRequest("Bad router request: Cannot have multiple IPv4 subnets on router port.")
    _check_apart(ctx, router, ctx.db.by(Subnet, Subnet.c.id, [one.subnet_id for one in port.fixed_ips]))
    ctx.db.delete(PortGroup, PortGroup.c.port_id == port.id)
    return records.change(
        ctx.db, port, device_id=router.id, device_owner=ROUTER_INTERFACE, security_groups=[], port_security_enabled=False, allowed_address_pairs=[]
    )


def _usable(ctx: Context, subnet: Subnet) -> bool:
    if subnet.project_id == ctx.project_id or sharing.sees_all(ctx):
        return True
    network = ctx.db.get(Network, subnet.network_id)
    if network is not None and network.project_id == ctx.project_id:
        return True
    return sharing.is_shared(ctx.db, "network", subnet.network_id, ctx.project_id)


def _check_apart(ctx: Context, router: Router, subnets: list[Subnet]) -> None:
    """A router is in a subnet once, and its subnets do not overlap."""
    held = ctx.db.all(Port, Port.c.device_id == router.id, Port.c.device_owner.in_([ROUTER_INTERFACE, ROUTER_GATEWAY]))
    others = ctx.db.by(Subnet, Subnet.c.id, [one.subnet_id for leg in held for one in leg.fixed_ips])
    for subnet in subnets:
        net = arithmetic.cidr_range(subnet.cidr)
        for other in others:
            if other.id == subnet.id:
                raise BadRequest(f"Bad router request: Router already has a port on subnet {subnet.id}.")
            there = arithmetic.cidr_range(other.cidr)
            if net.version == there.version and net.overlaps(there):  # type: ignore[arg-type]
                raise BadRequest(f"Bad router request: Cidr {net} of subnet {subnet.id} overlaps with cidr {there} of subnet {other.id}.")


def _check_leaving(ctx: Context, router: Router, port: Port, one: FixedIp) -> None:
    """Floating IPs and routes that go through the subnet keep the router in it."""
    subnet = ctx.db.get(Subnet, one.subnet_id)
    if subnet is None:
        return
    net = arithmetic.cidr_range(subnet.cidr)
    floating = ctx.db.all(FloatingIp, FloatingIp.c.router_id == router.id)
    inner = [(row.fixed_port_id, row.fixed_ip_address) for row in floating if row.fixed_ip_address]
    forwardings = ctx.db.by(PortForwarding, PortForwarding.c.floatingip_id, [row.id for row in floating])
    inner += [(row.internal_port_id, row.internal_ip_address) for row in forwardings]
    homes = {row.id: row.network_id for row in ctx.db.by(Port, Port.c.id, [ref for ref, _ in inner if ref])}
    for ref, address in inner:
        if homes.get(ref or "") == subnet.network_id and arithmetic.parse_address(address or "", "address") in net:
            raise RouterInterfaceInUseByFloatingIP(
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required by one or more floating IPs."
            )
    if any(arithmetic.parse_address(route.nexthop, "routes") in net for route in router.routes):
        raise RouterInterfaceInUseByRoute(
            f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required by one or more routes."
        )


def _told(router: Router, port: Port, subnet_id: str) -> Interface:
    return Interface(
        id=router.id, tenant_id=router.project_id, project_id=router.project_id, port_id=port.id, network_id=port.network_id,
        subnet_id=subnet_id, subnet_ids=[one.subnet_id for one in port.fixed_ips],
    )  # fmt: skip
