"""Auto-allocated topologies, address availability, and service providers in HTTP."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Resource
from pilvi.network.api.collection import answer
from pilvi.network.api.rights import Target
from pilvi.network.errors import BadRequest, NetworkNotFound, PolicyNotAuthorized
from pilvi.network.logic.addresses import cidr_range, size
from pilvi.network.operations import topology
from pilvi.network.policy import rule
from pilvi.network.tables import Allocation, Network, Subnet

auto = Resource("/v2.0/auto-allocated-topology", tag="auto_allocated_topology")
availability = Resource("/v2.0/network-ip-availabilities", tag="network_ip_availabilities")
providers = Resource("/v2.0/service-providers", tag="service_providers")
_FILTERS = {"network_id": Network.c.id, "network_name": Network.c.name, "tenant_id": Network.c.project_id, "project_id": Network.c.project_id}


def _project(ctx: Context, ref: str, action: str) -> str:
    project_id = ctx.project_id if ref in ("None", "none", "") else ref
    if not ctx.allowed(action, Target(project_id)):
        raise PolicyNotAuthorized(action)
    return project_id


@auto.get("/{ref}", rule=rule("get_auto_allocated_topology"), precheck=False, write=True)
def show(ctx: Context, ref: str, request: Request) -> Answer:
    """The network that is the project's own, made when there is none; `fields=dry-run` only tells whether it could be."""
    project_id = _project(ctx, ref, "get_auto_allocated_topology")
    if ("fields", "dry-run") in request.query:
        topology.requirements(ctx)
        return answer({"auto_allocated_topology": {"id": "dry-run=pass", "project_id": project_id, "tenant_id": project_id}})
    made = topology.ensure(ctx, project_id)
    return answer({"auto_allocated_topology": {"id": made.network_id, "project_id": project_id, "tenant_id": project_id}})


@auto.delete("/{ref}", rule=rule("delete_auto_allocated_topology"), precheck=False, answers=204)
def delete(ctx: Context, ref: str) -> None:
    """Have the project's own network gone."""
    topology.delete(ctx, _project(ctx, ref, "delete_auto_allocated_topology"))


def _told(ctx: Context, networks: list[Network], version: str = "") -> list[dict[str, Any]]:
    subnets: dict[str, list[Subnet]] = {}
    for row in ctx.db.by(Subnet, Subnet.c.network_id, [one.id for one in networks]):
        subnets.setdefault(row.network_id, []).append(row)
    used = {row[0]: int(row[1]) for row in ctx.db.rows(sa.select(Allocation.c.subnet_id, sa.func.count()).group_by(Allocation.c.subnet_id))}
    found = []
    for network in networks:
        each = [
            {
                "subnet_id": row.id, "subnet_name": row.name, "cidr": row.cidr, "ip_version": row.ip_version, "used_ips": used.get(row.id, 0),
                "total_ips": size(row.allocation_pools) if row.allocation_pools else cidr_range(row.cidr).num_addresses,
            }
            for row in subnets.get(network.id, []) if version in ("", str(row.ip_version))
        ]  # fmt: skip
        found.append(
            {
                "network_id": network.id, "network_name": network.name, "tenant_id": network.project_id, "project_id": network.project_id,
                "total_ips": sum(int(str(one["total_ips"])) for one in each), "used_ips": sum(int(str(one["used_ips"])) for one in each),
                "subnet_ip_availability": each,
            }
        )  # fmt: skip
    return found


@availability.get("", rule=rule("get_network_ip_availability"))
def index(ctx: Context, request: Request) -> Answer:
    """How many addresses of each network are in use."""
    where, version = [], ""
    for name, value in request.query:
        if name == "ip_version":
            version = value
        elif name in _FILTERS:
            where.append(_FILTERS[name] == value)
        elif name != "fields":
            raise BadRequest(f"['{name[:100]}'] is invalid attribute for filtering", field=name)
    return answer({"network_ip_availabilities": _told(ctx, ctx.db.all(Network, *where, order=[Network.c.id]), version)})


@availability.get("/{network_id}", rule=rule("get_network_ip_availability"))
def of_network(ctx: Context, network_id: str) -> Answer:
    """How many addresses of a network are in use."""
    network = ctx.db.get(Network, network_id)
    if network is None:
        raise NetworkNotFound(network_id)
    return answer({"network_ip_availability": _told(ctx, [network])[0]})


@providers.get("", rule=rule("get_service_provider"))
def service_providers() -> Answer:
    """Who provides which service."""
    return answer({"service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True}]})
