"""Which host does what: the living ones, the least loaded of them, and who has what on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.network.logic.words import DHCP, ROUTER_GATEWAY, ROUTER_OWNERS
from pilvi.network.operations import wiring
from pilvi.network.operations.binding import BOUND
from pilvi.network.tables import Agent, Network, Port, PortGroup, Router, SecurityRule


def living(ctx: Context, tx: Transaction) -> dict[str, Agent]:
    """The agents whose last heartbeat is not long ago, by host."""
    since = ctx.program.hearing.since(ctx.program.settings.network.agent_down_after)
    return {row.host: row for row in tx.all(Agent, Agent.c.heartbeat_at >= since)}


def living_of(ctx: Context, tx: Transaction, hosts: Iterable[str]) -> set[str]:
    """Those of the hosts whose agent has given a sign of life not long ago."""
    since, wanted = ctx.program.hearing.since(ctx.program.settings.network.agent_down_after), list(hosts)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        found.update(row[0] for row in tx.rows(sa.select(Agent.c.host).where(Agent.c.host.in_(some), Agent.c.heartbeat_at >= since)))
    return found


def tunnel_addresses(tx: Transaction, network_id: str, but: str) -> set[str]:
    """Where the hosts that have the network, all but one, end their tunnels."""
    c = Port.c
    found: set[str] = set()
    for column in (c.host_id, c.moving_to):
        hosts = sa.select(column).where(c.network_id == network_id, column != "")
        found.update(row[0] for row in tx.rows(sa.select(Agent.c.tunnel_address).where(Agent.c.host.in_(hosts), Agent.c.host != but)))
    return found - {""}


def network_hosts(tx: Transaction, network_id: str) -> list[str]:
    """The hosts on which the network has a port, DHCP or a router's leg."""
    found = tx.rows(sa.select(Port.c.host_id, Port.c.moving_to).where(Port.c.network_id == network_id, Port.c.host_id != "").distinct())
    return sorted({host for row in found for host in row} - {""})


def outside_hosts(ctx: Context, network: Network | None) -> list[str]:
    """The living hosts that are an external network's gateway, because its wire ends within them."""
    settings = ctx.program.settings.network
    if network is None or not network.external or network.network_type != "flat" or not settings.outside:
        return []
    return sorted(host for host, agent in living(ctx, ctx.db).items() if agent.facts.get("bridge_mappings", {}).get(network.physical_network) == "")


def choose(ctx: Context, kind: str, load: Mapping[str, int], physical: str | None = None) -> str | None:
    """The least loaded living host whose agent of that kind is not switched off (and that has the wire)."""
    fit = [
        host for host, agent in living(ctx, ctx.db).items()
        if kind not in agent.disabled and (physical is None or physical in agent.facts.get("bridge_mappings", {}))
    ]  # fmt: skip
    return min(fit, key=lambda host: (load.get(host, 0), host), default=None)


def may_stay(ctx: Context, host: str, kind: str) -> bool:
    """Whether work may stay where it is: the host lives and is not switched off, or there is no other."""
    agent = ctx.db.get(Agent, host)
    since = ctx.program.hearing.since(ctx.program.settings.network.agent_down_after)
    return agent is not None and agent.heartbeat_at >= since and kind not in agent.disabled


def place_router(ctx: Context, router_id: str) -> list[str]:
    """Have a router with something to do on a host that is alive; answers the hosts concerned, old and new."""
    router = ctx.db.get(Router, router_id)
    if router is None:
        return []
    ports = ctx.db.all(Port, Port.c.device_id == router_id, Port.c.device_owner.in_(ROUTER_OWNERS))
    if not ports:
        return [router.host] if router.host else []
    before = router.host
    if not before or not may_stay(ctx, before, "l3"):
        physical = None
        if router.gateway_network_id:
            network = ctx.db.get(Network, router.gateway_network_id)
            physical = network.physical_network if network else None
        load = {row[0]: int(row[1]) for row in ctx.db.rows(sa.select(Router.c.host, sa.func.count()).group_by(Router.c.host))}
        chosen = choose(ctx, "l3", load, physical)
        if chosen is None:
            return [before] if before else []
        ctx.db.change(router, host=chosen)
    move_ports(ctx, ports, router.host)
    return sorted({before, router.host} - {""})


def move_ports(ctx: Context, ports: list[Port], host: str) -> None:
    """Bind ports that the cloud itself serves to the host that serves them."""
    moved = [port for port in ports if port.host_id != host]
    for port in moved:
        ctx.db.change(port, host_id=host, status="DOWN", **BOUND)
    for network_id in {port.network_id for port in moved}:
        wiring.network_changed(ctx, network_id)


def ports_of_group(tx: Transaction, group_id: str, *, members: bool) -> dict[str, list[str]]:
    """Bound ports by host: those in the group, or (`members`) those whose rules name it as the remote side."""
    groups = {group_id}
    if members:
        groups = {row.security_group_id for row in tx.all(SecurityRule, SecurityRule.c.remote_group_id == group_id)}
    query = (
        sa.select(Port.c.id, Port.c.host_id, Port.c.moving_to)
        .join(PortGroup.t, PortGroup.c.port_id == Port.c.id)
        .where(PortGroup.c.group_id.in_(groups), Port.c.host_id != "", Port.c.port_security_enabled == sa.true())
        .distinct()
    )
    found: dict[str, list[str]] = {}
    for port_id, *hosts in tx.rows(query):
        for host in filter(None, hosts):
            found.setdefault(host, []).append(port_id)
    return found


def gateway_ports(tx: Transaction, network_id: str) -> int:
    """How many routers have their gateway on the network."""
    return tx.count(Port, Port.c.network_id == network_id, Port.c.device_owner == ROUTER_GATEWAY)


def dhcp_load(tx: Transaction) -> dict[str, int]:
    """How many networks each host serves DHCP for."""
    query = sa.select(Port.c.host_id, sa.func.count()).where(Port.c.device_owner == DHCP).group_by(Port.c.host_id)
    return {row[0]: int(row[1]) for row in tx.rows(query)}


