"""Agents, what they serve, and availability zones in HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.http.shape import Body
from pilvi.network.api import networks, routers
from pilvi.network.api.collection import answer
from pilvi.network.api.listing import truth
from pilvi.network.api.shapes import Text, Uuid
from pilvi.network.errors import AgentIsAlive, AgentNotFound, BadRequest
from pilvi.network.logic.words import AGENTS, DHCP, agent_id
from pilvi.network.operations import agents as operations
from pilvi.network.operations import placing
from pilvi.network.policy import rule
from pilvi.network.tables import Agent, Network, Port, Router

agents = Resource("/v2.0/agents", tag="agents")
zones = Resource("/v2.0/availability_zones", tag="availability_zones")
dhcp_agents = Resource("/v2.0/networks/{network_id}/dhcp-agents", tag="agents")
l3_agents = Resource("/v2.0/routers/{router_id}/l3-agents", tag="agents")
_READ = rule("get_agent")


class ChangeAgent(Body):
    """What can be changed of an agent."""

    admin_state_up: bool | msgspec.UnsetType = msgspec.UNSET
    description: Text | msgspec.UnsetType = msgspec.UNSET


class NetworkNamed(Body):
    """A network to be served."""

    network_id: Uuid


class RouterNamed(Body):
    """A router to be served."""

    router_id: Uuid


def view(ctx: Context, row: Agent, kind: str, held: operations.Loads | None = None) -> dict[str, Any]:
    """One kind of agent of a host as clients see it; `held`: what the hosts have, when many are shown."""
    held = held or operations.loads(ctx, row.host)
    agent_type, binary, topic = AGENTS[kind]
    settings = ctx.program.settings.network
    return {
        "id": agent_id(row.host, kind), "agent_type": agent_type, "binary": binary, "topic": topic, "host": row.host,
        "admin_state_up": kind not in row.disabled, "alive": operations.alive(ctx, row), "created_at": _moment(row.created_at),
        "started_at": _moment(row.started_at), "heartbeat_timestamp": _moment(row.heartbeat_at), "description": row.description,
        "configurations": operations.configurations(ctx, row, kind, held), "resource_versions": {}, "resources_synced": None,
        "availability_zone": settings.availability_zone if kind in ("dhcp", "l3") else None,
    }  # fmt: skip


def _moment(moment: float) -> str:
    return clock.iso(moment).replace("T", " ").removesuffix("Z")


def _every(ctx: Context) -> list[tuple[Agent, str]]:
    return [(row, kind) for row in ctx.db.all(Agent, order=[Agent.c.host]) for kind in AGENTS]


def _find(ctx: Context, ref: str) -> tuple[Agent, str]:
    found = next(((row, kind) for row, kind in _every(ctx) if agent_id(row.host, kind) == ref), None)
    if found is None:
        raise AgentNotFound(ref)
    return found


@agents.get("", rule=_READ, precheck=False)
def index(ctx: Context, request: Request) -> Answer:
    """List the agents of all network hosts; who may not see them sees none."""
    if not ctx.allowed(_READ.name):
        return answer({"agents": []})
    held = operations.loads(ctx)
    told = [view(ctx, row, kind, held) for row, kind in _every(ctx)]
    fields = [value for name, value in request.query if name == "fields"]
    wanted: dict[str, set[str]] = {}
    for name, value in request.query:
        if name in ("fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"):
            continue
        if told and name not in told[0]:
            raise BadRequest(f"['{name[:100]}'] is invalid attribute for filtering", field=name)
        wanted.setdefault(name, set()).add(str(truth(value, name)) if name in ("alive", "admin_state_up") else value)
    told = [one for one in told if all(str(one[name]) in values for name, values in wanted.items())]
    if fields:
        told = [{name: value for name, value in one.items() if name in fields} for one in told]
    return answer({"agents": told})


@agents.get("/{ref}", rule=_READ)
def show(ctx: Context, ref: str) -> Answer:
    """Show an agent."""
    return answer({"agent": view(ctx, *_find(ctx, ref))})


@agents.put("/{ref}", rule=rule("update_agent"))
def update(ctx: Context, ref: str, agent: ChangeAgent) -> Answer:
    """Switch an agent off or on; what it serves moves to others, as far as there are such."""
    row, kind = _find(ctx, ref)
    if agent.description is not msgspec.UNSET:
        ctx.db.change(row, description=agent.description)
    if agent.admin_state_up is not msgspec.UNSET:
        operations.switch(ctx, row, kind, agent.admin_state_up)
    return answer({"agent": view(ctx, row, kind)})


@agents.delete("/{ref}", rule=rule("delete_agent"), answers=204)
def delete(ctx: Context, ref: str) -> None:
    """Forget a host that is dead."""
    row, _ = _find(ctx, ref)
    if operations.alive(ctx, row):
        raise AgentIsAlive(f"The agent {ref} is alive and can not be deleted.")
    ctx.db.remove(row)


# -- what they serve --------------------------------------------------------------------------------


@agents.get("/{ref}/dhcp-networks", rule=rule("get_dhcp-networks"))
def dhcp_networks(ctx: Context, ref: str) -> Answer:
    """List the networks that a DHCP agent serves."""
    row, kind = _find(ctx, ref)
    held = ctx.db.all(Port, Port.c.device_owner == DHCP, Port.c.host_id == row.host) if kind == "dhcp" else []
    served = ctx.db.by(Network, Network.c.id, [port.network_id for port in held])
    return answer({"networks": networks.views(ctx, served)})


@agents.post("/{ref}/dhcp-networks", rule=rule("create_dhcp-network"), answers=201)
def add_network(ctx: Context, ref: str, body: NetworkNamed) -> Answer:
    """Have a DHCP agent serve a network, in the place of the one that does now."""
    operations.serve_network(ctx, *_find(ctx, ref), body.network_id)
    return Answer(201, b"null", {"Content-Type": "application/json"})


@agents.delete("/{ref}/dhcp-networks/{network_id}", rule=rule("delete_dhcp-network"), answers=204)
def remove_network(ctx: Context, ref: str, network_id: str) -> None:
    """Have a DHCP agent serve a network no more."""
    operations.leave_network(ctx, *_find(ctx, ref), network_id)


@dhcp_agents.get("", rule=rule("get_dhcp-agents"))
def of_network(ctx: Context, network_id: str) -> Answer:
    """List the DHCP agents that serve a network."""
    held = ctx.db.all(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP)
    hosts = ctx.db.by(Agent, Agent.c.host, [port.host_id for port in held])
    return answer({"agents": [view(ctx, row, "dhcp") for row in hosts]})


@agents.get("/{ref}/l3-routers", rule=rule("get_l3-routers"))
def l3_routers(ctx: Context, ref: str) -> Answer:
    """List the routers that an L3 agent serves."""
    row, kind = _find(ctx, ref)
    held = ctx.db.all(Router, Router.c.host == row.host) if kind == "l3" else []
    return answer({"routers": routers.views(ctx, held)})


@agents.post("/{ref}/l3-routers", rule=rule("create_l3-router"), answers=201)
def add_router(ctx: Context, ref: str, body: RouterNamed) -> Answer:
    """Have an L3 agent serve a router that no other serves."""
    operations.serve_router(ctx, *_find(ctx, ref), body.router_id)
    return Answer(201, b"null", {"Content-Type": "application/json"})


@agents.delete("/{ref}/l3-routers/{router_id}", rule=rule("delete_l3-router"), answers=204)
def remove_router(ctx: Context, ref: str, router_id: str) -> None:
    """Have an L3 agent serve a router no more."""
    operations.leave_router(ctx, *_find(ctx, ref), router_id)


@l3_agents.get("", rule=rule("get_l3-agents"))
def of_router(ctx: Context, router_id: str) -> Answer:
    """List the L3 agents that serve a router."""
    row = routers.COLLECTION.find(ctx, router_id, "")
    hosts = ctx.db.by(Agent, Agent.c.host, [row.host] if row.host else [])
    return answer({"agents": [view(ctx, one, "l3") | {"ha_state": None} for one in hosts]})


@zones.get("", rule=rule("get_availability_zone"))
def availability_zones(ctx: Context, request: Request) -> Answer:
    """List the zones of the network hosts."""
    name = ctx.program.settings.network.availability_zone
    living = placing.living(ctx, ctx.db)
    told = [{"name": name, "resource": resource, "state": "available" if living else "unavailable"} for resource in ("network", "router")]
    for key, value in request.query:
        if key in ("name", "resource", "state"):
            told = [one for one in told if one[key] == value]
    return answer({"availability_zones": told})
