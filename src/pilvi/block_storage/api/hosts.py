"""What operators see of the services: /os-services, /scheduler-stats, /capabilities, /os-hosts, and zones for everyone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Value255, moment, truth
from pilvi.block_storage.operations.hosts import is_up, volume_services, zones
from pilvi.block_storage.tables.hosts import ServiceHost
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Body, Query, Resource, View, since

services = Resource("/v3/os-services")
pools = Resource("/v3/scheduler-stats/get_pools")
capabilities = Resource("/v3/capabilities")
hosts = Resource("/v3/os-hosts")
availability_zones = Resource("/v3/os-availability-zone")

INDEX = policy.admin("volume_extension:services:index", "List services.")
UPDATE = policy.admin("volume_extension:services:update", "Enable and disable services.")
FREEZE = policy.admin("volume:freeze_host", "Freeze a back end.")
THAW = policy.admin("volume:thaw_host", "Thaw a back end.")
FAILOVER = policy.admin("volume:failover_host", "Fail a back end over.")
POOLS = policy.admin("scheduler_extension:scheduler_stats:get_pools", "See the back ends' pools.")
CAPABILITIES = policy.admin("volume_extension:capabilities", "See what a back end can do.")
HOSTS = policy.admin("volume_extension:hosts", "See hosts and how many volumes they have.")
ZONES = policy.everyone("volume_extension:availability_zone_list", "List availability zones.")


class ServicesQuery(Query, extra=True):
    host: str | None = None
    binary: str | None = None


class PoolsQuery(Query, extra=True):
    detail: str | None = None
    name: str | None = since("3.28", default=None)
    volume_type: str | None = since("3.35", default=None)


class Named(Body, extra=True):
    """Which service is meant."""

    host: Value255
    binary: Value255 | None = None
    service: Value255 | None = None
    disabled_reason: Value255 | None = None


class HostOnly(Body, extra=True):
    host: Value255 | None = None


class ServiceView(View):
    """A service."""

    binary: str
    host: str
    zone: str
    status: str
    state: str
    updated_at: str | None
    disabled_reason: str | None
    cluster: str | None = since("3.7", default=None)
    replication_status: str
    active_backend_id: str | None = None
    frozen: bool
    backend_state: str | None = since("3.49")


@services.get("", rule=INDEX, out="services")
def index(ctx: Context, query: ServicesQuery) -> list[ServiceView]:
    where = [ServiceHost.c.binary == query.binary] if query.binary else []
    rows = ctx.db.all(ServiceHost, *where, order=[ServiceHost.c.binary, ServiceHost.c.host])
    told = []
    for one in rows:
        if query.host and query.host not in (one.host, one.host.partition("@")[0]):
            continue
        told.append(
            ServiceView(
                binary=one.binary, host=one.host, zone=one.zone, status="disabled" if one.disabled else "enabled",
                state="up" if is_up(ctx.program, one) else "down", updated_at=moment(one.beat_at), disabled_reason=one.disabled_reason,
                replication_status="disabled", frozen=one.frozen, backend_state="down" if one.trouble else "up",
            )
        )  # fmt: skip
    return told


@services.put("/enable", rule=UPDATE)
def enable(ctx: Context, body: Named) -> dict[str, Any]:
    return _switch(ctx, body, disabled=False)


@services.put("/disable", rule=UPDATE)
def disable(ctx: Context, body: Named) -> dict[str, Any]:
    return _switch(ctx, body, disabled=True)


@services.put("/disable-log-reason", rule=UPDATE)
def disable_with_reason(ctx: Context, body: Named) -> dict[str, Any]:
    if not body.disabled_reason or not body.disabled_reason.strip():
        raise Invalid("Disabled reason contains invalid characters or is too long, or is missing.", field="disabled_reason")
    return _switch(ctx, body, disabled=True) | {"disabled_reason": body.disabled_reason}


def _switch(ctx: Context, named: Named, *, disabled: bool) -> dict[str, Any]:
    binary = named.binary or named.service
    if not binary:
        raise Invalid("Missing required element 'binary' in request body.", field="binary")
    row = ctx.db.get(ServiceHost, binary, named.host)
    if row is None:
        raise NotFound(f"Service {binary} could not be found on host {named.host}.")
    ctx.db.change(row, disabled=disabled, disabled_reason=named.disabled_reason.strip() if disabled and named.disabled_reason else None,
                  updated_at=clock.now())  # fmt: skip
    return {"host": row.host, "service": binary, "binary": binary, "status": "disabled" if disabled else "enabled", "disabled": disabled}


@services.put("/freeze", rule=FREEZE, answers=202)
def freeze(ctx: Context, body: HostOnly) -> None:
    """A frozen back end takes no new volumes."""
    _freeze(ctx, body, frozen=True)


@services.put("/thaw", rule=THAW, answers=202)
def thaw(ctx: Context, body: HostOnly) -> None:
    _freeze(ctx, body, frozen=False)


def _freeze(ctx: Context, body: HostOnly, *, frozen: bool) -> None:
    row = ctx.db.get(ServiceHost, "cinder-volume", body.host or "")
    if row is None:
        raise Invalid(f"Service cinder-volume could not be found on host {body.host}.", field="host")
    reason = "frozen" if frozen else None
    ctx.db.change(row, frozen=frozen, disabled=frozen, disabled_reason=reason, updated_at=clock.now())


@services.put("/failover_host", rule=FAILOVER, answers=202)
def fail_over(ctx: Context, body: HostOnly) -> None:
    raise Invalid("No back end here has replication targets to fail over to.")


@pools.get("", rule=POOLS, out="pools")
def list_pools(ctx: Context, query: PoolsQuery) -> list[dict[str, Any]]:
    """The pools that the scheduler chooses from."""
    detail = query.detail is not None and truth(query.detail, "detail")
    specs: dict[str, str] = {}
    if query.volume_type:
        kind = ctx.db.one(VolumeType, sa.or_(VolumeType.c.id == query.volume_type, VolumeType.c.name == query.volume_type))
        if kind is None:
            raise NotFound(f"Volume type {query.volume_type} could not be found.")
        specs = kind.extra_specs
    told = []
    for one in volume_services(ctx.db):
        if one.capacity is None:
            continue
        name = f"{one.host}#{one.capacity.backend}"
        if (query.name and query.name != name) or specs.get("volume_backend_name", one.capacity.backend) != one.capacity.backend:
            continue
        told.append({"name": name} | ({"capabilities": _capabilities(ctx, one)} if detail else {}))
    return told


def _capabilities(ctx: Context, one: ServiceHost) -> dict[str, Any]:
    has, settings = one.capacity, ctx.program.settings.block_storage
    assert has is not None
    return {
        "timestamp": moment(one.beat_at), "volume_backend_name": has.backend, "pool_name": has.backend, "total_capacity_gb": has.total_gib,
        "free_capacity_gb": has.free_gib, "allocated_capacity_gb": has.provisioned_gib, "provisioned_capacity_gb": has.provisioned_gib,
        "reserved_percentage": settings.reserved_percent, "max_over_subscription_ratio": str(settings.over_subscription),
        "thin_provisioning_support": has.thin, "thick_provisioning_support": not has.thin, "multiattach": has.multiattach,
        "QoS_support": False, "storage_protocol": has.protocol, "vendor_name": has.vendor, "driver_version": has.version,
        "replication_enabled": False, "backend_state": "down" if one.trouble else "up", "filter_function": None, "goodness_function": None,
    }  # fmt: skip


@capabilities.get("/{host}", rule=CAPABILITIES)
def show_capabilities(ctx: Context, host: str) -> dict[str, Any]:
    """What a back end (host@backend) can do."""
    row = ctx.db.get(ServiceHost, "cinder-volume", host.partition("#")[0])
    if row is None or row.capacity is None:
        raise NotFound(f"Service {host} could not be found.")
    has = row.capacity
    return {
        "namespace": f"OS::Storage::Capabilities::{row.host}", "vendor_name": has.vendor, "volume_backend_name": has.backend,
        "pool_name": has.backend, "driver_version": has.version, "storage_protocol": has.protocol,
        "display_name": "Capabilities of Pilvi's volume driver", "description": "These are volume type options.", "visibility": "public",
        "replication_targets": [],
        "properties": {
            "thin_provisioning": {"title": "Thin Provisioning", "description": "Whether volumes take space as they are written.", "type": "boolean"},
            "compression": {"title": "Compression", "description": "Enables compression.", "type": "boolean"},
            "qos": {"title": "QoS", "description": "Enables QoS.", "type": "boolean"},
            "replication_enabled": {"title": "Replication", "description": "Enables replication.", "type": "boolean"},
        },
    }  # fmt: skip


@hosts.get("", rule=HOSTS, out="hosts")
def list_hosts(ctx: Context) -> list[dict[str, Any]]:
    return [
        {
            "host_name": one.host, "service": one.binary, "zone": one.zone,
            "service-status": "available" if is_up(ctx.program, one) else "unavailable",
            "service-state": "disabled" if one.disabled else "enabled", "last-update": moment(one.beat_at),
        }
        for one in ctx.db.all(ServiceHost, order=[ServiceHost.c.host])
    ]  # fmt: skip


@hosts.get("/{host}", rule=HOSTS, out="host")
def show_host(ctx: Context, host: str) -> list[dict[str, Any]]:
    """How many volumes and snapshots a back end has, in all and of each project."""
    if not ctx.db.count(ServiceHost, ServiceHost.c.host == host):
        raise NotFound(f"Host {host} could not be found.")
    here = Volume.c.host.startswith(f"{host}#", autoescape=True)
    volumes = {
        project: (int(count), int(size))
        for project, count, size in ctx.db.rows(
            sa.select(Volume.c.project_id, sa.func.count(), sa.func.sum(Volume.c.size)).where(here).group_by(Volume.c.project_id)
        )
    }
    snapshots = {
        project: (int(count), int(size))
        for project, count, size in ctx.db.rows(
            sa.select(Snapshot.c.project_id, sa.func.count(), sa.func.sum(Snapshot.c.size))
            .where(Snapshot.c.volume_id.in_(sa.select(Volume.c.id).where(here)))
            .group_by(Snapshot.c.project_id)
        )
    }
    total = [("(total)", *map(sum, _columns(volumes)), *map(sum, _columns(snapshots)))]
    rows = total + [(one, *volumes.get(one, (0, 0)), *snapshots.get(one, (0, 0))) for one in sorted(volumes.keys() | snapshots.keys())]
    return [
        {"resource": {"host": host, "project": project, "volume_count": str(count), "total_volume_gb": str(size),
                      "snapshot_count": str(points), "total_snapshot_gb": str(points_size)}}
        for project, count, size, points, points_size in rows
    ]  # fmt: skip


def _columns(found: dict[str, tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [count for count, _ in found.values()], [size for _, size in found.values()]


@availability_zones.get("", rule=ZONES, out="availabilityZoneInfo")
def list_zones(ctx: Context) -> list[dict[str, Any]]:
    return [{"zoneName": name, "zoneState": {"available": up}} for name, up in sorted(zones(ctx.program, ctx.db).items())]


