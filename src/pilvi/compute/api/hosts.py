"""Hosts over HTTP, as operators switched them until 2.42; since then services and hypervisors tell the same."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.compute.operations import hosts as operations
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Query, Resource

hosts = Resource("/v2.1/os-hosts", tag="hosts", until="2.42")

LIST = policy.admin("os-hosts:list", "List hosts.")
SHOW = policy.admin("os-hosts:show", "Show what a host has, and what of it is taken.")
UPDATE = policy.admin("os-hosts:update", "Enable or disable a host.")

_WORDS = {"enable": True, "enabled": True, "disable": False, "disabled": False}


class HostsQuery(Query, extra=True):
    """Only the hosts of that zone."""

    zone: str | None = None


class HostSwitch(Body):
    """Whether the host may take new servers."""

    status: str | None = None
    maintenance_mode: str | None = None


@hosts.get("", rule=LIST, out="hosts")
def index(ctx: Context, query: HostsQuery) -> Listing:
    """List hosts by what runs on them."""
    found = operations.services(ctx)
    return Listing(
        [
            {"host_name": one.host, "service": one.binary.removeprefix("nova-"), "zone": one.zone}
            for one in found if not query.zone or one.zone == query.zone
        ]
    )  # fmt: skip


@hosts.get("/{name}", rule=SHOW, out="host")
def show(ctx: Context, name: str) -> list[dict[str, Any]]:
    """Show what a host has, what is taken now, and what each project's servers were given."""
    host = next((one.host_row for one in operations.services(ctx, host=name) if one.host_row is not None), None)
    if host is None:
        raise NotFound(f"Compute host {name[:100]} could not be found.")
    facts = host.facts
    servers = operations.servers_on(ctx, [name])[name]
    reserved = ctx.program.settings.compute.reserved_memory_mib

    def told(project: str, cpu: int, memory: int, disk: int) -> dict[str, Any]:
        return {"resource": {"host": name, "project": project, "cpu": cpu, "memory_mb": memory, "disk_gb": disk}}

    def given(project: str, wanted: str | None, memory: int) -> dict[str, Any]:
        mine = [one for one in servers if wanted in (None, one.project_id)]
        disk = sum(one.flavor.disk + one.flavor.ephemeral for one in mine)
        return told(project, sum(one.vcpus for one in mine), memory + sum(one.memory_mib for one in mine), disk)

    return [
        told("(total)", facts.vcpus, facts.memory_mib, facts.disk_gib),
        given("(used_now)", None, reserved),
        given("(used_max)", None, 0),
        *(given(project, project, 0) for project in sorted({one.project_id for one in servers})),
    ]


@hosts.put("/{name}", rule=UPDATE)
def update(ctx: Context, name: str, body: HostSwitch) -> dict[str, Any]:
    """Let a host take new servers, or not."""
    if body.maintenance_mode is not None:
        raise Invalid("Virt driver does not implement host maintenance mode.", field="maintenance_mode")
    enabled = _WORDS.get((body.status or "").strip().lower())
    if enabled is None:
        raise Invalid("Invalid input for field status: enable or disable is expected.", field="status")
    operations.switch(ctx, operations.service_at(ctx, name, "nova-compute"), enabled=enabled)
    return {"host": name, "status": "enabled" if enabled else "disabled"}
