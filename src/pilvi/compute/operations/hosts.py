"""Hosts and services: what runs where, whether it is well, and whether operators let it take new servers."""

from __future__ import annotations

import uuid

import msgspec
import sqlalchemy as sa

from pilvi import placement
from pilvi.compute.operations.zones import aggregates_of_hosts, zone_of
from pilvi.compute.tables.aggregates import AggregateHost
from pilvi.compute.tables.drains import Drain, DrainedServer
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock, processes
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound

CONTROL = {"conductor": "nova-conductor", "scheduler": "nova-scheduler"}  # role -> what nova calls it


class ServiceRecord(msgspec.Struct, kw_only=True):
    """A service as operators see it.  `host_row`: of a compute host."""

    id: str
    number: int
    binary: str
    host: str
    zone: str
    enabled: bool
    up: bool
    updated_at: float
    disabled_reason: str | None = None
    forced_down: bool = False
    host_row: ComputeHost | None = None


def is_up(ctx: Context, host: ComputeHost) -> bool:
    """Whether the host has reported lately, and no operator says that it is down."""
    return not host.forced_down and host.heartbeat_at >= ctx.program.hearing.since(ctx.program.settings.compute.down_after)


def all_hosts(ctx: Context) -> list[ComputeHost]:
    """All compute hosts by name."""
    return ctx.db.all(ComputeHost, order=[ComputeHost.c.host])


def number_of(ref: str) -> int:
    """The number by which older microversions know a service or a hypervisor: steady, made from its uuid."""
    return uuid.UUID(ref).int % 1_000_000_007


def services(ctx: Context, *, binary: str | None = None, host: str | None = None) -> list[ServiceRecord]:
    """All services of compute: the control roles of every process, and an agent on each host."""
    settings = ctx.program.settings.compute
    found: list[ServiceRecord] = []
    known = processes.known(ctx.db)
    for role, name in CONTROL.items():
        for process in known:
            state = next((one for one in process.roles if one.role == role), None)
            if state is None:
                continue
            ref = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{process.id}"))
            found.append(
                ServiceRecord(
                    id=ref, number=number_of(ref), binary=name, host=process.host, zone=settings.internal_zone, enabled=True,
                    up=state.healthy and processes.is_up(ctx.program, process), updated_at=process.heartbeat_at,
                )
            )  # fmt: skip
    zones = aggregates_of_hosts(ctx.db)
    for row in all_hosts(ctx):
        found.append(
            ServiceRecord(
                id=row.service_id, number=number_of(row.service_id), binary="nova-compute", host=row.host,
                zone=zone_of(zones.get(row.host, []), settings.default_zone), enabled=not row.disabled, up=is_up(ctx, row),
                updated_at=row.heartbeat_at, disabled_reason=row.disabled_reason, forced_down=row.forced_down, host_row=row,
            )
        )  # fmt: skip
    return [one for one in found if (binary is None or one.binary == binary) and (host is None or one.host == host)]


def service(ctx: Context, ref: str) -> ServiceRecord:
    """A service by its uuid, or by the number of older versions; raises NotFound."""
    for one in services(ctx):
        if ref in (one.id, str(one.number)):
            return one
    raise NotFound(f"Service {ref} could not be found.")


def service_at(ctx: Context, host: str, binary: str) -> ServiceRecord:
    """The service of that name on that host; raises NotFound."""
    found = services(ctx, binary=binary, host=host)
    if not found:
        raise NotFound(f"Service {binary} on host {host} could not be found.")
    return found[0]


def switch(
    ctx: Context, record: ServiceRecord, *, enabled: bool | None = None, reason: str | None = None, forced_down: bool | None = None
) -> ServiceRecord:
    """Let a host take new servers or not, or say that it is down."""
    row = record.host_row
    if row is None:
        raise Invalid(f"Updating a {record.binary} service is not supported. Only nova-compute services can be updated.")
    if enabled is not None:
        row = ctx.db.change(row, disabled=not enabled, disabled_reason=None if enabled else reason)
    if forced_down is not None:
        row = ctx.db.change(row, forced_down=forced_down)
    ctx.db.change(row, updated_at=clock.now(), version=row.version + 1)
    return service(ctx, record.id)


def forget(ctx: Context, record: ServiceRecord) -> None:
    """Forget a host that has no servers; its agent would report it anew."""
    row = record.host_row
    if row is None:
        raise Invalid(f"A {record.binary} service is part of the program; it cannot be deleted.")
    if ctx.db.lock(ComputeHost, row.host) is None:
        raise NotFound(f"Service {record.id} could not be found.")
    if ctx.db.count(Server, sa.or_(Server.c.host == row.host, Server.c.other_host == row.host), Server.c.deleted_at.is_(None)):
        raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
    ctx.db.delete(AggregateHost, AggregateHost.c.host == row.host)
    ctx.db.delete(Drain, Drain.c.host == row.host)
    ctx.db.delete(DrainedServer, DrainedServer.c.host == row.host)
    placement.remove_provider(ctx.db, row.id)
    ctx.db.remove(row)


# -- hypervisors -----------------------------------------------------------------------------------


class Load(msgspec.Struct, kw_only=True):
    """What the servers on a host were given.  MiB and GiB."""

    servers: int = 0
    vcpus: int = 0
    memory_mib: int = 0
    building: int = 0


def loads(ctx: Context) -> dict[str, Load]:
    """What the servers of each host were given."""
    busy = sa.case((Server.c.task_state.is_not(None), 1), else_=0)
    statement = (
        sa.select(Server.c.host, sa.func.count(), sa.func.sum(Server.c.vcpus), sa.func.sum(Server.c.memory_mib), sa.func.sum(busy))
        .where(Server.c.deleted_at.is_(None), Server.c.host.is_not(None))
        .group_by(Server.c.host)
    )
    return {
        host: Load(servers=int(count), vcpus=int(vcpus or 0), memory_mib=int(memory or 0), building=int(building or 0))
        for host, count, vcpus, memory, building in ctx.db.rows(statement)
    }


def hypervisor(ctx: Context, ref: str) -> ComputeHost:
    """A hypervisor by its uuid, or by the number of older versions; raises NotFound."""
    for row in all_hosts(ctx):
        if ref in (row.id, str(number_of(row.id))):
            return row
    raise NotFound(f"Compute host {ref} could not be found.")


def matching(ctx: Context, pattern: str) -> list[ComputeHost]:
    """The hypervisors whose names hold the text; raises NotFound when there are none."""
    found = [row for row in all_hosts(ctx) if pattern in row.facts.hostname]
    if not found:
        raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    return found


def servers_on(ctx: Context, hosts: list[str]) -> dict[str, list[Server]]:
    """The servers on each of these hosts."""
    found: dict[str, list[Server]] = {host: [] for host in hosts}
    for server in ctx.db.by(Server, Server.c.host, hosts, Server.c.deleted_at.is_(None)):
        found[server.host or ""].append(server)
    return found
