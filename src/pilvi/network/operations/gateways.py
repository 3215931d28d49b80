"""The gateway of a router: its port on an external network."""

from __future__ import annotations

from typing import Any

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.network.errors import BadRequest, RouterExternalGatewayInUseByFloatingIp
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import ROUTER_GATEWAY, ROUTER_INTERFACE
from pilvi.network.operations import addresses, ports, records, wiring
from pilvi.network.tables import FloatingIp, Network, Port, Router, Subnet


def set_gateway(ctx: Context, router: Router, info: dict[str, Any] | None) -> None:
    """Have the router's gateway as `info` says; None or empty: none.  Raises BadRequest, and conflicts with floating IPs."""
    if not info:
        if router.gateway_port_id:
            _check_floating(ctx, router)
            clear(ctx, router)
            records.change(ctx.db, router, gateway_port_id=None, gateway_network_id=None, enable_snat=True)
            wiring.router_changed(ctx, router.id)
        return
    if not info.get("network_id"):
        raise BadRequest("Bad router request: external_gateway_info needs a network_id.", field="external_gateway_info")
    snat = info.get("enable_snat", True if router.gateway_port_id is None else router.enable_snat)
    network = _external(ctx, info["network_id"])
    wanted = info.get("external_fixed_ips")
    port = ctx.db.get(Port, router.gateway_port_id) if router.gateway_port_id else None
    if port is not None and port.network_id == network.id:
        if wanted:
            fixed = addresses.replace(ctx, port, wanted)
            if fixed != port.fixed_ips:
                records.change(ctx.db, port, fixed_ips=fixed)
        records.change(ctx.db, router, enable_snat=snat)
    else:
        if port is not None:
            _check_floating(ctx, router)
            clear(ctx, router)
        port = _make(ctx, router, network, wanted)
        records.change(ctx.db, router, gateway_port_id=port.id, gateway_network_id=network.id, enable_snat=snat)
    wiring.router_changed(ctx, router.id)


def clear(ctx: Context, router: Router) -> None:
    """Have the gateway's port gone."""
    port = ctx.db.get(Port, router.gateway_port_id) if router.gateway_port_id else None
    if port is not None:
        ports.delete_row(ctx, port, quiet=True)
        if port.host_id:
            wiring.network_left(ctx, port.network_id, [port.host_id])


def _external(ctx: Context, network_id: str) -> Network:
    from pilvi.network.operations import networks

    network = networks.get(ctx, network_id)
    if not network.external:
        raise BadRequest(f"Bad router request: Network {network_id} is not an external network.", field="external_gateway_info")
    return network


def _make(ctx: Context, router: Router, network: Network, wanted: list[dict[str, Any]] | None) -> Port:
    _check_apart(ctx, router, network)
    now = clock.now()
    port = Port(
        id=new_id(), project_id="", created_at=now, updated_at=now, network_id=network.id, mac_address=arithmetic.new_mac(),
        device_id=router.id, device_owner=ROUTER_GATEWAY, port_security_enabled=False,
    )  # fmt: skip
    port.fixed_ips = addresses.for_port(ctx, port, wanted or None)
    return ctx.db.insert(port)


def _check_apart(ctx: Context, router: Router, network: Network) -> None:
    """What is outside may not overlap with what is inside."""
    outer = [arithmetic.cidr_range(row.cidr) for row in addresses.subnets_of(ctx.db, network.id)]
    legs = ctx.db.all(Port, Port.c.device_id == router.id, Port.c.device_owner == ROUTER_INTERFACE)
    for inner in ctx.db.by(Subnet, Subnet.c.id, [one.subnet_id for leg in legs for one in leg.fixed_ips]):
        net = arithmetic.cidr_range(inner.cidr)
        if any(net.version == other.version and net.overlaps(other) for other in outer):  # type: ignore[arg-type]
            raise BadRequest(f"Bad router request: Cidr {net} of subnet {inner.id} overlaps with the external network {network.id}.")


def _check_floating(ctx: Context, router: Router) -> None:
    if ctx.db.count(FloatingIp, FloatingIp.c.router_id == router.id):
        raise RouterExternalGatewayInUseByFloatingIp(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network {router.gateway_network_id} is required "
            "by one or more floating IPs."
        )
