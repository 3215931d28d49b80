"""What agents report: ports plugged, DHCP and routers there, floating addresses that lead on."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.network.logic.words import DHCP, NETWORK_OWNED, ROUTER_OWNERS
from pilvi.network.operations import binding, wiring
from pilvi.network.operations.addresses import serves
from pilvi.network.tables import FloatingIp, Network, Port, Router, Subnet


def ports_up(ctx: Context, host: str, ids: Sequence[str]) -> None:
    """Plugged ports are ACTIVE, as far as they are wanted up."""
    for port in ctx.db.by(Port, Port.c.id, ids, Port.c.host_id == host):
        binding.set_status(ctx, port, "ACTIVE" if port.admin_state_up else "DOWN")


def owned_up(ctx: Context, host: str, owners: Sequence[str], *, network_id: str = "", device_id: str = "") -> None:
    """The cloud's own ports that the host serves are ACTIVE."""
    where = [Port.c.host_id == host, Port.c.device_owner.in_(owners), Port.c.status != "ACTIVE"]
    if network_id:
        where.append(Port.c.network_id == network_id)
    if device_id:
        where.append(Port.c.device_id == device_id)
    for port in ctx.db.all(Port, *where):
        binding.set_status(ctx, port, "ACTIVE")


def router_up(ctx: Context, host: str, router_id: str, addresses: Sequence[str]) -> None:
    """The router's ports, and the floating IPs that it carries, are ACTIVE."""
    router = ctx.db.get(Router, router_id)
    if router is None or router.host != host:
        return
    owned_up(ctx, host, ROUTER_OWNERS, device_id=router_id)
    for floating in ctx.db.all(FloatingIp, FloatingIp.c.router_id == router_id):
        status = "ACTIVE" if floating.floating_ip_address in addresses else "DOWN"
        if floating.status != status:
            ctx.db.change(floating, status=status)


def new_host(ctx: Context, host: str) -> None:
    """The first agent, or one more: what waited for a host is placed, what was bound to it before is plugged."""
    for port in ctx.db.all(Port, Port.c.host_id == host, Port.c.vif_type == "binding_failed"):
        ctx.db.change(port, **binding.BOUND)
        if not port.device_owner.startswith(NETWORK_OWNED):
            wiring.port_changed(ctx, port)
    heal(ctx)


def heal(ctx: Context) -> None:
    """Start the work of placing what has no living host: networks' DHCP and routers."""
    from pilvi.network.operations import placing

    living = placing.living(ctx, ctx.db)
    if not living:
        return
    served = sa.select(Port.c.network_id).where(Port.c.device_owner == DHCP, Port.c.host_id.in_(list(living)))
    idle = ctx.db.all(Subnet, Subnet.c.enable_dhcp == sa.true(), Subnet.c.network_id.not_in(served))
    for network_id in {row.network_id for row in idle if serves(row, DHCP)}:
        network = ctx.db.get(Network, network_id)
        if network is not None and network.admin_state_up:
            wiring.network_changed(ctx, network_id)
    used = {row.device_id for row in ctx.db.all(Port, Port.c.device_owner.in_(ROUTER_OWNERS))}
    for router in ctx.db.all(Router, Router.c.host.not_in(list(living))):
        if router.id in used:
            wiring.router_changed(ctx, router.id)


