"""Agents as an admin sees them: alive or not, switched off, and told what to serve."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.network.errors import (
    InvalidDHCPAgent,
    InvalidL3Agent,
    NetworkHostedByDHCPAgent,
    NetworkNotFound,
    NetworkNotHostedByDhcpAgent,
    RouterHostedByL3Agent,
    RouterNotFound,
    RouterNotHostedByL3Agent,
)  # fmt: skip
from pilvi.network.logic.words import DHCP, ROUTER_OWNERS, agent_id, dhcp_device_id
from pilvi.network.operations import dhcp, placing, ports, wiring
from pilvi.network.tables import Agent, Network, Port, Router


def alive(ctx: Context, row: Agent) -> bool:
    """Whether the last heartbeat is not long ago."""
    return row.heartbeat_at >= ctx.program.hearing.since(ctx.program.settings.network.agent_down_after)


class Loads(msgspec.Struct, frozen=True):
    """How much hosts have of what agents serve: host -> networks with DHCP, routers, ports."""

    networks: dict[str, int]
    routers: dict[str, int]
    ports: dict[str, int]


def loads(ctx: Context, host: str = "") -> Loads:
    """What one host has, or all have."""
    served = [Port.c.device_owner == DHCP]
    return Loads(_count(ctx, Port.c.host_id, host, *served), _count(ctx, Router.c.host, host), _count(ctx, Port.c.host_id, host))


def _count(ctx: Context, column: Any, host: str, *where: Any) -> dict[str, int]:
    these = [*where, column == host] if host else list(where)
    return {row[0]: int(row[1]) for row in ctx.db.rows(sa.select(column, sa.func.count()).where(*these).group_by(column))}


def configurations(ctx: Context, row: Agent, kind: str, held: Loads) -> dict[str, Any]:
    """What the agent says of itself."""
    if kind == "dhcp":
        return {"networks": held.networks.get(row.host, 0), "dhcp_driver": ctx.program.settings.network.driver}
    if kind == "l3":
        return {"routers": held.routers.get(row.host, 0), "agent_mode": "legacy", "handle_internal_only_routers": True}
    if kind == "l2":
        return {
            "bridge_mappings": row.facts.get("bridge_mappings", {}), "tunnel_types": row.facts.get("tunnel_types", []),
            "tunneling_ip": row.tunnel_address, "extensions": row.facts.get("extensions", []),
            "devices": held.ports.get(row.host, 0),
        }  # fmt: skip
    return {}


def switch(ctx: Context, row: Agent, kind: str, up: bool) -> None:
    """Switch a kind of agent of a host on or off; what it serves moves."""
    disabled = sorted({*row.disabled, kind} if not up else {*row.disabled} - {kind})
    if disabled == row.disabled:
        return
    ctx.db.change(row, disabled=disabled)
    if kind == "dhcp":
        for port in ctx.db.all(Port, Port.c.device_owner == DHCP, Port.c.host_id == row.host):
            wiring.network_changed(ctx, port.network_id)
    if kind == "l3":
        for router in ctx.db.all(Router, Router.c.host == row.host):
            wiring.router_changed(ctx, router.id)


def serve_network(ctx: Context, row: Agent, kind: str, network_id: str) -> None:
    """Have this host serve DHCP for the network."""
    if kind != "dhcp" or "dhcp" in row.disabled:
        raise InvalidDHCPAgent(f"Agent {agent_id(row.host, kind)} is not a valid DHCP Agent or has been disabled")
    if ctx.db.get(Network, network_id) is None:
        raise NetworkNotFound(network_id)
    held = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP)
    if any(port.host_id == row.host for port in held):
        raise NetworkHostedByDHCPAgent(f"The network {network_id} has been already hosted by the DHCP Agent {agent_id(row.host, kind)}.")
    if not held:
        dhcp.place(ctx, network_id)
        held = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP)
    for port in held:
        if port.host_id != row.host:
            wiring.network_left(ctx, network_id, [port.host_id])
            ctx.db.change(port, host_id=row.host, device_id=dhcp_device_id(row.host, network_id), status="DOWN")
    wiring.network_changed(ctx, network_id)


def leave_network(ctx: Context, row: Agent, kind: str, network_id: str) -> None:
    """Have this host serve DHCP for the network no more; the healing gives it to another when it is needed."""
    held = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP, Port.c.host_id == row.host)
    if kind != "dhcp" or not held:
        raise NetworkNotHostedByDhcpAgent(f"The network {network_id} is not hosted by the DHCP agent {agent_id(row.host, kind)}.")
    for port in held:
        ports.delete_row(ctx, port)


def serve_router(ctx: Context, row: Agent, kind: str, router_id: str) -> None:
    """Have this host serve the router."""
    if kind != "l3" or "l3" in row.disabled:
        raise InvalidL3Agent(f"Agent {agent_id(row.host, kind)} is not a L3 Agent or has been disabled")
    router = ctx.db.get(Router, router_id)
    if router is None:
        raise RouterNotFound(router_id)
    if router.host == row.host:
        return
    if router.host and router.host in placing.living(ctx, ctx.db):
        raise RouterHostedByL3Agent(f"The router {router_id} has been already hosted by the L3 Agent {agent_id(router.host, 'l3')}.")
    ctx.db.change(router, host=row.host)
    placing.move_ports(ctx, ctx.db.all(Port, Port.c.device_id == router_id, Port.c.device_owner.in_(ROUTER_OWNERS)), row.host)
    wiring.router_changed(ctx, router_id)


def leave_router(ctx: Context, row: Agent, kind: str, router_id: str) -> None:
    """Have this host serve the router no more; the healing gives it to a host again when it has something to do."""
    router = ctx.db.get(Router, router_id)
    if router is None:
        raise RouterNotFound(router_id)
    if kind != "l3" or router.host != row.host:
        raise RouterNotHostedByL3Agent(f"The router {router_id} is not hosted by L3 agent {agent_id(row.host, kind)}.")
    ctx.db.change(router, host="")
    wiring.router_gone(ctx, router_id, row.host)
