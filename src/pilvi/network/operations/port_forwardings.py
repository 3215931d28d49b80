"""Port forwardings: single ports of a floating IP that lead to single ports inside."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.network.errors import BadRequest, FipInUseByPortForwarding, FloatingIPPortAlreadyAssociated, PortForwardingConflict
from pilvi.network.operations import floating_ips, floating_links, records, wiring
from pilvi.network.tables import FloatingIp, PortForwarding


def create(ctx: Context, floating: FloatingIp, body: Any) -> PortForwarding:
    """One more port of the floating IP leads inside."""
    if floating.fixed_port_id:
        raise FipInUseByPortForwarding(f"Floating IP {floating.id} leads to the port {floating.fixed_port_id}; port forwardings need a free one.")
    row = PortForwarding(
        id=new_id(), project_id=floating.project_id, floatingip_id=floating.id, protocol=body.protocol, external_port=body.external_port,
        internal_port=body.internal_port, internal_ip_address=body.internal_ip_address or "", internal_port_id=body.internal_port_id,
        description=body.description,
    )  # fmt: skip
    router_id = _resolve(ctx, floating, row)
    _check_clash(ctx, row)
    ctx.db.insert(row)
    if floating.router_id != router_id:
        records.change(ctx.db, floating, router_id=router_id)
    wiring.router_changed(ctx, router_id)
    return row


def update(ctx: Context, floating: FloatingIp, row: PortForwarding, given: dict[str, Any]) -> None:
    """Lead elsewhere."""
    changed = PortForwarding(**(row.values() | given))
    if "internal_port_id" in given and "internal_ip_address" not in given and changed.internal_port_id != row.internal_port_id:
        changed.internal_ip_address = ""
    router_id = _resolve(ctx, floating, changed)
    _check_clash(ctx, changed)
    values = changed.values()
    ctx.db.change(row, **{name: value for name, value in values.items() if name not in ("id", "project_id", "floatingip_id")})
    wiring.router_changed(ctx, router_id)


def delete(ctx: Context, row: PortForwarding) -> None:
    """The port of the floating IP leads nowhere."""
    ctx.db.remove(row)
    floating_links.drop_idle_router(ctx, row.floatingip_id)


def _resolve(ctx: Context, floating: FloatingIp, row: PortForwarding) -> str:
    """Fill in the address when it is not said; answers the router by which it can be reached."""
    port, address, router_id = floating_ips.inner_address(ctx, floating, row.internal_port_id, row.internal_ip_address or None)
    row.internal_ip_address = address
    if floating.router_id and floating.router_id != router_id:
        raise BadRequest(f"Bad port_forwarding request: the floating IP {floating.id} leads through the router {floating.router_id} already.")
    other = ctx.db.one(FloatingIp, FloatingIp.c.fixed_port_id == port.id, FloatingIp.c.fixed_ip_address == address)
    if other is not None:
        raise FloatingIPPortAlreadyAssociated(f"The address {address} of port {port.id} has the floating IP {other.floating_ip_address} already.")
    return router_id


def _check_clash(ctx: Context, row: PortForwarding) -> None:
    outer = ctx.db.one(
        PortForwarding, PortForwarding.c.floatingip_id == row.floatingip_id, PortForwarding.c.protocol == row.protocol,
        PortForwarding.c.external_port == row.external_port, PortForwarding.c.id != row.id,
    )  # fmt: skip
    inner = ctx.db.one(
        PortForwarding, PortForwarding.c.internal_port_id == row.internal_port_id, PortForwarding.c.protocol == row.protocol,
        PortForwarding.c.internal_ip_address == row.internal_ip_address, PortForwarding.c.internal_port == row.internal_port,
        PortForwarding.c.id != row.id,
    )  # fmt: skip
    if outer or inner:
        raise PortForwardingConflict(
            f"Bad port_forwarding request: A duplicate port forwarding entry with same attributes already exists: {(outer or inner).id}."  # type: ignore[union-attr]
        )
