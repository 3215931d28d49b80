"""Floating IPs: addresses of an external network that lead to a port inside."""

from __future__ import annotations

from typing import Any

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.network.errors import (
    BadRequest,
    ExternalGatewayForFloatingIPNotFound,
    ExternalIpAddressExhausted,
    FipInUseByPortForwarding,
    FloatingIPPortAlreadyAssociated,
    PortNotFound,
)  # fmt: skip
from pilvi.network.events import FloatingIpChanged
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import FLOATING_IP
from pilvi.network.operations import addresses, floating_links, ports, records, routers, sharing, wiring
from pilvi.network.tables import FloatingIp, Port, PortForwarding, Subnet


def create(ctx: Context, body: Any, project_id: str) -> FloatingIp:
    """An address of the external network, perhaps leading to a port at once."""
    from pilvi.network.operations import networks

    network = networks.get(ctx, body.floating_network_id)
    if not network.external:
        raise BadRequest(f"Bad floatingip request: Network {network.id} is not a valid external network.", field="floating_network_id")
    records.claim(ctx, "floatingip", project_id)
    now, ref = clock.now(), new_id()
    outer = Port(
        id=new_id(), project_id="", created_at=now, updated_at=now, network_id=network.id, mac_address=arithmetic.new_mac(), device_id=ref,
        device_owner=FLOATING_IP, port_security_enabled=False, status="N/A",
    )  # fmt: skip
    outer.fixed_ips = addresses.for_port(ctx, outer, [_wish(ctx, network.id, body)])
    ctx.db.insert(outer)
    values: dict[str, Any] = records.born(project_id, body) | {"id": ref}
    row = FloatingIp(
        **values, floating_network_id=network.id, floating_ip_address=outer.fixed_ips[0].ip_address, floating_port_id=outer.id,
        dns_name=body.dns_name.lower(), dns_domain=body.dns_domain,
    )  # fmt: skip
    if body.fixed_ip_address and not body.port_id:
        raise BadRequest("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.", field="fixed_ip_address")
    ctx.db.insert(row)
    if body.port_id:
        _associate(ctx, row, body.port_id, body.fixed_ip_address)
    return row


def _wish(ctx: Context, network_id: str, body: Any) -> dict[str, Any]:
    """Which address is wanted; nothing said is the first of the network's IPv4 subnets that has one free."""
    if body.floating_ip_address or body.subnet_id:
        named = {"ip_address": body.floating_ip_address, "subnet_id": body.subnet_id}
        return {name: value for name, value in named.items() if value}
    for subnet in addresses.subnets_of(ctx.db, network_id):
        special = FLOATING_IP in subnet.service_types or not subnet.service_types
        if subnet.ip_version == 4 and special and addresses.next_free(ctx, subnet, peek=True) is not None:
            return {"subnet_id": subnet.id}
    raise ExternalIpAddressExhausted(f"Unable to find any IP address on external network {network_id}.")


def update(ctx: Context, row: FloatingIp, given: dict[str, Any]) -> None:
    """Lead to another port, to none, or describe otherwise; to say nothing at all is to lead to none."""
    if not given:
        given["port_id"] = None
    fixed = given.pop("fixed_ip_address", None)
    if "port_id" in given:
        port_id = given.pop("port_id")
        if port_id:
            if port_id != row.fixed_port_id or (fixed and fixed != row.fixed_ip_address):
                _associate(ctx, row, port_id, fixed)
        elif fixed:
            raise BadRequest("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.", field="fixed_ip_address")
        elif row.fixed_port_id:
            floating_links.unlink(ctx, row, ctx.db.get(Port, row.fixed_port_id))
    elif fixed:
        if not row.fixed_port_id:
            raise BadRequest("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.", field="fixed_ip_address")
        if fixed != row.fixed_ip_address:
            _associate(ctx, row, row.fixed_port_id, fixed)
    if given:
        records.change(ctx.db, row, **given)


def delete(ctx: Context, row: FloatingIp) -> None:
    """Give the address back.  Raises FipInUseByPortForwarding."""
    if ctx.db.count(PortForwarding, PortForwarding.c.floatingip_id == row.id):
        raise FipInUseByPortForwarding(f"Floating IP {row.id} in use by Port Forwarding resources.")
    inner = ctx.db.get(Port, row.fixed_port_id) if row.fixed_port_id else None
    outer = ctx.db.get(Port, row.floating_port_id)
    ctx.db.remove(row)
    if outer is not None:
        ports.delete_row(ctx, outer, quiet=True)
    if row.router_id:
        wiring.router_changed(ctx, row.router_id)
    if inner is not None and inner.device_id:
        ctx.publish(FloatingIpChanged(device_id=inner.device_id))


def inner_address(ctx: Context, row: FloatingIp, port_id: str, fixed: str | None) -> tuple[Port, str, str]:
    """The port, its address, and the router by which the floating IP can lead there.  Raises the API's errors."""
    port = ctx.db.get(Port, port_id)
    if port is None:
        raise PortNotFound(port_id)
    if port.project_id != row.project_id and not sharing.sees_all(ctx):
        raise BadRequest(
            f"Bad floatingip request: Port {port_id} is associated with a different tenant than Floating IP {row.id} and therefore cannot be bound."
        )
    held = [one for one in port.fixed_ips if ":" not in one.ip_address]
    if fixed:
        held = [one for one in held if one.ip_address == fixed]
        if not held:
            raise BadRequest(f"Bad floatingip request: Port {port_id} does not have fixed ip {fixed}.", field="fixed_ip_address")
    if not held:
        raise BadRequest(f"Bad floatingip request: Cannot add floating IP to port {port_id} that has no fixed IPv4 addresses.", field="port_id")
    if len(held) > 1:
        raise BadRequest(
            f"Bad floatingip request: Port {port_id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a "
            "floating IP.", field="fixed_ip_address",
        )  # fmt: skip
    subnets = ctx.db.by(Subnet, Subnet.c.id, [held[0].subnet_id])
    router_id = routers.joining(ctx, subnets, row.floating_network_id)
    if router_id is None:
        raise ExternalGatewayForFloatingIPNotFound(
            f"External network {row.floating_network_id} is not reachable from subnet {held[0].subnet_id}. Therefore, cannot associate Port "
            f"{port_id} with a Floating IP."
        )
    return port, held[0].ip_address, router_id


def _associate(ctx: Context, row: FloatingIp, port_id: str, fixed: str | None) -> None:
    if ctx.db.count(PortForwarding, PortForwarding.c.floatingip_id == row.id):
        raise FipInUseByPortForwarding(f"Floating IP {row.id} in use by Port Forwarding resources.")
    port, address, router_id = inner_address(ctx, row, port_id, fixed)
    other = ctx.db.one(FloatingIp, FloatingIp.c.fixed_port_id == port_id, FloatingIp.c.fixed_ip_address == address, FloatingIp.c.id != row.id)
    if other is not None:
        raise FloatingIPPortAlreadyAssociated(
            f"Cannot associate floating IP {row.floating_ip_address} ({row.id}) with port {port_id} using fixed IP {address}, as that fixed IP "
            f"already has a floating IP on external network {row.floating_network_id}."
        )
    before = ctx.db.get(Port, row.fixed_port_id) if row.fixed_port_id else None
    router_before = row.router_id
    records.change(ctx.db, row, fixed_port_id=port_id, fixed_ip_address=address, router_id=router_id, status="DOWN")
    for one in {router_before, router_id} - {None}:
        wiring.router_changed(ctx, one or "")
    for held in (before, port):
        if held is not None and held.device_id:
            ctx.publish(FloatingIpChanged(device_id=held.device_id))


