"""Hypervisors over HTTP: what each host has, and what of it is taken."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.compute import policy
from pilvi.compute.api.paging import PageQuery
from pilvi.compute.drivers import HostFacts
from pilvi.compute.operations import hosts as operations
from pilvi.compute.operations.hosts import Load
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Given, Listing, Query, Resource, Version, View, since, until, wire
from pilvi.kernel.ids import is_uuid

hypervisors = Resource("/v2.1/os-hypervisors", tag="hypervisors")

LIST = policy.admin("os-hypervisors:list", "List hypervisors.")
DETAIL = policy.admin("os-hypervisors:list-detail", "List hypervisors in full.")
SHOW = policy.admin("os-hypervisors:show", "Show a hypervisor.")
STATISTICS = policy.admin("os-hypervisors:statistics", "Sum up all hypervisors.")
UPTIME = policy.admin("os-hypervisors:uptime", "Show how long a host has been up.")
SEARCH = policy.admin("os-hypervisors:search", "Find hypervisors by name.")
SERVERS = policy.admin("os-hypervisors:servers", "List the servers on hypervisors.")


class Brief(View):
    """A hypervisor in a short list."""

    id: int | str
    hypervisor_hostname: str
    state: str
    status: str
    servers: list[dict[str, str]] | Given = wire(default=UNSET)


class Detail(Brief):
    """A hypervisor in full."""

    hypervisor_type: str
    hypervisor_version: int
    host_ip: str
    service: dict[str, Any]
    uptime: str | None = since("2.88")
    vcpus: int = until("2.87")
    vcpus_used: int = until("2.87")
    memory_mb: int = until("2.87")
    memory_mb_used: int = until("2.87")
    free_ram_mb: int = until("2.87")
    local_gb: int = until("2.87")
    local_gb_used: int = until("2.87")
    free_disk_gb: int = until("2.87")
    disk_available_least: int = until("2.87")
    running_vms: int = until("2.87")
    current_workload: int = until("2.87")
    cpu_info: Any = until("2.87")


class HypervisorsQuery(PageQuery, extra="2.52"):
    """Which hypervisors; whether with their servers."""

    pattern: str | None = wire("hypervisor_hostname_pattern", default=None, since="2.53")
    with_servers: str | None = wire(default=None, since="2.53")


class ShowQuery(Query, extra="2.52"):
    """Whether with its servers."""

    with_servers: str | None = wire(default=None, since="2.53")


def _id(ctx: Context, ref: str) -> int | str:
    assert ctx.version is not None
    return ref if ctx.version >= Version(2, 53) else operations.number_of(ref)


def _hypervisor(ctx: Context, ref: str) -> ComputeHost:
    """The hypervisor of that id, which is a uuid since 2.53 and a number before."""
    assert ctx.version is not None
    if ctx.version >= Version(2, 53) and not is_uuid(ref):
        raise Invalid(f"Invalid uuid {ref[:100]}", field="hypervisor_id")
    return operations.hypervisor(ctx, ref)


def brief(ctx: Context, row: ComputeHost, servers: list[Server] | None = None) -> Brief:
    """A hypervisor in short; `servers` None: they were not asked for.  An empty list of them is told since 2.75."""
    assert ctx.version is not None
    told = servers is not None and (servers or ctx.version >= Version(2, 75))
    return Brief(
        id=_id(ctx, row.id), hypervisor_hostname=row.facts.hostname, state="up" if operations.is_up(ctx, row) else "down",
        status="disabled" if row.disabled else "enabled",
        servers=[{"uuid": one.id, "name": one.machine_name} for one in servers or ()] if told else UNSET,
    )  # fmt: skip


def full(ctx: Context, row: ComputeHost, load: Load, servers: list[Server] | None = None) -> Detail:
    assert ctx.version is not None
    facts: HostFacts = row.facts
    reserved = ctx.program.settings.compute.reserved_memory_mib
    used = facts.disk_gib - facts.free_disk_gib
    short = brief(ctx, row, servers)
    return Detail(
        id=short.id, hypervisor_hostname=short.hypervisor_hostname, state=short.state, status=short.status, servers=short.servers,
        hypervisor_type=facts.hypervisor, hypervisor_version=facts.version, host_ip=facts.address,
        service={"id": _id(ctx, row.service_id), "host": row.host, "disabled_reason": row.disabled_reason},
        uptime=_uptime(row) if ctx.version >= Version(2, 88) else None,
        vcpus=facts.vcpus, vcpus_used=load.vcpus, memory_mb=facts.memory_mib, memory_mb_used=load.memory_mib + reserved,
        free_ram_mb=facts.memory_mib - load.memory_mib - reserved, local_gb=facts.disk_gib, local_gb_used=used,
        free_disk_gb=facts.free_disk_gib, disk_available_least=facts.free_disk_gib, running_vms=load.servers, current_workload=load.building,
        cpu_info=facts.cpu if ctx.version >= Version(2, 28) else msgspec.json.encode(facts.cpu).decode(),
    )  # fmt: skip


def _uptime(row: ComputeHost) -> str | None:
    """How long the host's agent has been up, in words."""
    if not row.started_at:
        return None
    minutes = int(clock.now() - row.started_at) // 60
    return f"up {minutes // 1440} days, {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _found(ctx: Context, query: HypervisorsQuery) -> tuple[list[ComputeHost], bool, dict[str, list[Server]]]:
    assert ctx.version is not None
    if query.pattern is not None and (query.limit is not None or query.marker is not None):
        raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
    rows = operations.matching(ctx, query.pattern) if query.pattern is not None else operations.all_hosts(ctx)
    more = False
    if ctx.version >= Version(2, 33):
        if query.marker is not None:
            marked = [place for place, row in enumerate(rows) if query.marker in (row.id, str(operations.number_of(row.id)))]
            if not marked:
                raise Invalid(f"marker [{query.marker[:100]}] not found", field="marker")
            rows = rows[marked[0] + 1 :]
        most = ctx.program.settings.compute.max_page
        limit = most if query.limit is None else min(query.limit, most)
        rows, more = rows[:limit], len(rows) > limit
    return rows, more, operations.servers_on(ctx, [row.host for row in rows]) if _wants_servers(query.with_servers) else {}


def _wants_servers(text: str | None) -> bool:
    """Whether `with_servers` says yes; raises Invalid when it is neither yes nor no."""
    if text is None:
        return False
    word = text.strip().lower()
    if word not in _TRUTH:
        raise Invalid("Invalid input for query parameters with_servers: true or false is expected.", field="with_servers")
    return _TRUTH[word]


_TRUTH = dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "off", "0"), False)


@hypervisors.get("", rule=LIST, out="hypervisors")
def index(ctx: Context, query: HypervisorsQuery) -> Listing:
    """List hypervisors."""
    rows, more, servers = _found(ctx, query)
    return Listing([brief(ctx, row, servers.get(row.host)) for row in rows], more=more, marker=str(_id(ctx, rows[-1].id)) if rows else None)


@hypervisors.get("/detail", rule=DETAIL, out="hypervisors")
def detail(ctx: Context, query: HypervisorsQuery) -> Listing:
    """List hypervisors in full."""
    rows, more, servers = _found(ctx, query)
    loads = operations.loads(ctx)
    views = [full(ctx, row, loads.get(row.host, Load()), servers.get(row.host)) for row in rows]
    return Listing(views, more=more, marker=str(_id(ctx, rows[-1].id)) if rows else None)


@hypervisors.get("/statistics", rule=STATISTICS, out="hypervisor_statistics", until="2.87")
def statistics(ctx: Context) -> dict[str, int]:
    """Sum up all hypervisors."""
    loads = operations.loads(ctx)
    views = [full(ctx, row, loads.get(row.host, Load())) for row in operations.all_hosts(ctx) if not row.disabled]
    names = (
        "vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used", "free_disk_gb",
        "disk_available_least", "running_vms", "current_workload",
    )  # fmt: skip
    return {"count": len(views), **{name: sum(getattr(view, name) for view in views) for name in names}}


@hypervisors.get("/{hypervisor_id}", rule=SHOW, out="hypervisor")
def show(ctx: Context, hypervisor_id: str, query: ShowQuery) -> Detail:
    """Show a hypervisor."""
    row = _hypervisor(ctx, hypervisor_id)
    servers = operations.servers_on(ctx, [row.host])[row.host] if _wants_servers(query.with_servers) else None
    return full(ctx, row, operations.loads(ctx).get(row.host, Load()), servers)


@hypervisors.get("/{hypervisor_id}/uptime", rule=UPTIME, out="hypervisor", until="2.87")
def uptime(ctx: Context, hypervisor_id: str) -> dict[str, Any]:
    """Show how long a host has been up."""
    row = _hypervisor(ctx, hypervisor_id)
    short = brief(ctx, row)
    if short.state == "down":
        raise Invalid(f"Compute service of {row.host} is unavailable at this time.")
    return {
        "id": short.id, "hypervisor_hostname": short.hypervisor_hostname, "state": short.state, "status": short.status, "uptime": _uptime(row)
    }  # fmt: skip


@hypervisors.get("/{pattern}/search", rule=SEARCH, out="hypervisors", until="2.52")
def search(ctx: Context, pattern: str) -> Listing:
    """Find hypervisors by name."""
    return Listing([brief(ctx, row) for row in operations.matching(ctx, pattern)])


@hypervisors.get("/{pattern}/servers", rule=SERVERS, out="hypervisors", until="2.52")
def servers(ctx: Context, pattern: str) -> Listing:
    """List the servers on the hypervisors of that name."""
    rows = operations.matching(ctx, pattern)
    listed = operations.servers_on(ctx, [row.host for row in rows])
    return Listing([brief(ctx, row, listed[row.host]) for row in rows])
