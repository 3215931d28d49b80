"""Usage over HTTP: what projects' servers took."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.compute.api.paging import PageQuery
from pilvi.compute.dialect import home
from pilvi.compute.operations import usage as operations
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Resource, Version

usage = Resource("/v2.1/os-simple-tenant-usage", tag="usage")

LIST = policy.admin("os-simple-tenant-usage:list", "Show all projects' use.")
SHOW = policy.reader("os-simple-tenant-usage:show", "Show a project's use.")


class UsageQuery(PageQuery):
    """Which span; the last four weeks by default."""

    start: str | None = None
    end: str | None = None
    detailed: str | None = None


def _span(query: UsageQuery) -> tuple[float, float]:
    now = clock.now()
    stop = clock.parse(query.end, "end") if query.end else now
    start = clock.parse(query.start, "start") if query.start else stop - 28 * 86400
    if start > stop:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.", field="start")
    return start, stop


def _found(ctx: Context, query: UsageQuery, project_id: str | None) -> tuple[list[operations.ProjectUsage], tuple[float, float], str | None]:
    """The usages, the span, and the marker of the next page if there may be one."""
    assert ctx.version is not None
    start, stop = _span(query)
    limit = None
    if ctx.version >= Version(2, 40):
        most = ctx.program.settings.compute.max_page
        limit = most if query.limit is None else min(query.limit, most)
    found = operations.usage(ctx.db, start, stop, project_id=project_id, marker=query.marker if limit is not None else None, limit=limit)
    count = sum(len(one.servers) for one in found)
    last = max((entry.server.id for one in found for entry in one.servers), default=None)
    return found, (start, stop), last if limit and count == limit else None


def _told(project: operations.ProjectUsage, span: tuple[float, float], *, detailed: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "tenant_id": project.project_id, "start": clock.iso_micro(span[0]), "stop": clock.iso_micro(span[1]), "total_hours": project.hours,
        "total_local_gb_usage": project.disk, "total_memory_mb_usage": project.memory, "total_vcpus_usage": project.vcpus,
    }  # fmt: skip
    if detailed:
        told["server_usages"] = [_server(project.project_id, one) for one in project.servers]
    return told


def _server(project_id: str, one: operations.ServerUsage) -> dict[str, Any]:
    server = one.server
    return {
        "instance_id": server.id, "name": server.name, "hours": one.hours, "flavor": server.flavor.name, "tenant_id": project_id,
        "vcpus": server.flavor.vcpus, "memory_mb": server.flavor.ram, "local_gb": server.flavor.disk + server.flavor.ephemeral,
        "started_at": clock.iso_micro(server.launched_at or 0), "ended_at": None if one.ended_at is None else clock.iso_micro(one.ended_at),
        "state": "terminated" if server.terminated_at else server.vm_state, "uptime": one.uptime,
    }  # fmt: skip


def _links(ctx: Context, path: str, query: UsageQuery, marker: str | None) -> list[dict[str, str]]:
    if marker is None:
        return []
    span = "".join(f"{name}={value}&" for name, value in (("start", query.start), ("end", query.end), ("limit", query.limit)) if value)
    return [{"rel": "next", "href": f"{home(ctx.base_url)}/v2.1/os-simple-tenant-usage{path}?{span}marker={marker}"}]


@usage.get("", rule=LIST)
def index(ctx: Context, query: UsageQuery) -> dict[str, Any]:
    """Show all projects' use."""
    found, span, marker = _found(ctx, query, None)
    told: dict[str, Any] = {"tenant_usages": [_told(one, span, detailed=query.detailed == "1") for one in found]}
    links = _links(ctx, "", query, marker)
    return {**told, "tenant_usages_links": links} if links else told


@usage.get("/{project_id}", rule=SHOW, precheck=False)
def show(ctx: Context, project_id: str, query: UsageQuery) -> dict[str, Any]:
    """Show a project's use, server by server."""
    ctx.allow(SHOW.name, {"project_id": project_id})
    found, span, marker = _found(ctx, query, project_id)
    told: dict[str, Any] = {"tenant_usage": _told(found[0], span, detailed=True) if found else {}}
    links = _links(ctx, f"/{project_id}", query, marker)
    return {**told, "tenant_usage_links": links} if links else told
