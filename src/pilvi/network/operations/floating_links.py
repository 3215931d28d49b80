"""The links from floating IPs to ports: cut when the port or its address goes."""

from __future__ import annotations

from collections.abc import Sequence

from pilvi.kernel.context import Context
from pilvi.network.errors import PortHasPortForwarding
from pilvi.network.events import FloatingIpChanged
from pilvi.network.operations import records, wiring
from pilvi.network.tables import FixedIp, FloatingIp, Port, PortForwarding


def unlink_port(ctx: Context, port: Port) -> None:
    """The port goes: its floating IPs lead nowhere, its port forwardings end."""
    for floating in ctx.db.all(FloatingIp, FloatingIp.c.fixed_port_id == port.id):
        unlink(ctx, floating, port)
    forwardings = ctx.db.all(PortForwarding, PortForwarding.c.internal_port_id == port.id)
    if forwardings:
        ctx.db.delete(PortForwarding, PortForwarding.c.internal_port_id == port.id)
        for ref in {row.floatingip_id for row in forwardings}:
            drop_idle_router(ctx, ref)


def addresses_changed(ctx: Context, port: Port, fixed: Sequence[FixedIp]) -> None:
    """The port is about to have these addresses: floating IPs to others of it lead nowhere."""
    kept = {one.ip_address for one in fixed}
    lost = {one.ip_address for one in port.fixed_ips} - kept
    if not lost:
        return
    if ctx.db.count(PortForwarding, PortForwarding.c.internal_port_id == port.id, PortForwarding.c.internal_ip_address.in_(lost)):
        raise PortHasPortForwarding(f"Cannot change the addresses of port {port.id}: port forwardings lead to them.")
    for floating in ctx.db.all(FloatingIp, FloatingIp.c.fixed_port_id == port.id, FloatingIp.c.fixed_ip_address.in_(lost)):
        unlink(ctx, floating, port)


def unlink(ctx: Context, floating: FloatingIp, port: Port | None) -> None:
    """Have the floating IP lead nowhere."""
    router_id = floating.router_id
    records.change(ctx.db, floating, fixed_port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
    if router_id:
        wiring.router_changed(ctx, router_id)
    if port is not None and port.device_id:
        ctx.publish(FloatingIpChanged(device_id=port.device_id))


def drop_idle_router(ctx: Context, floating_id: str) -> None:
    """A floating IP without port forwardings and without a port has no router."""
    floating = ctx.db.get(FloatingIp, floating_id)
    if floating is None or floating.router_id is None:
        return
    router_id = floating.router_id
    if floating.fixed_port_id is None and not ctx.db.count(PortForwarding, PortForwarding.c.floatingip_id == floating_id):
        records.change(ctx.db, floating, router_id=None, status="DOWN")
    wiring.router_changed(ctx, router_id)
