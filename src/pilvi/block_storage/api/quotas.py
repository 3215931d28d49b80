"""/os-quota-sets, /os-quota-class-sets and /limits."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import truth
from pilvi.block_storage.operations import quotas as operations
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Query, Resource, Version

quota_sets = Resource("/v3/os-quota-sets")
class_sets = Resource("/v3/os-quota-class-sets")
limits = Resource("/v3/limits")

SHOW = policy.reader("volume_extension:quotas:show", "Show a project's quota.")
UPDATE = policy.admin("volume_extension:quotas:update", "Change a project's quota.")
DELETE = policy.admin("volume_extension:quotas:delete", "Take a project's quota back to the defaults.")
CLASS_SHOW = policy.admin("volume_extension:quota_classes:get", "Show the default quota.")
CLASS_UPDATE = policy.admin("volume_extension:quota_classes:update", "Change the default quota.")
LIMITS = policy.reader("limits_extension:used_limits", "See how much of the limits is used.")

_BESIDE = ("tenant_id", "id", "force", "class_name", "project_id")  # may stand in an update, and mean nothing
_LARGEST = 2**31 - 1
_ABSOLUTE = {
    "volumes": ("maxTotalVolumes", "totalVolumesUsed"), "gigabytes": ("maxTotalVolumeGigabytes", "totalGigabytesUsed"),
    "snapshots": ("maxTotalSnapshots", "totalSnapshotsUsed"), "backups": ("maxTotalBackups", "totalBackupsUsed"),
    "backup_gigabytes": ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed"),
}  # fmt: skip


class ShowQuery(Query, extra=True):
    usage: str | None = None


class LimitsQuery(Query, extra=True):
    project_id: str | None = None
    tenant_id: str | None = None


@quota_sets.get("/{target}", rule=SHOW, out="quota_set", precheck=False)
def show(ctx: Context, target: str, query: ShowQuery) -> dict[str, Any]:
    """The project's limits; with usage=True also what is used."""
    ctx.allow(SHOW.name, {"project_id": target})
    most = operations.limits(ctx.program, ctx.db, target)
    if query.usage is None or not truth(query.usage, "usage"):
        return {"id": target, **most}
    used = operations.used(ctx.db, target)
    return {"id": target} | {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in most.items()}


@quota_sets.get("/{target}/defaults", rule=SHOW, out="quota_set", precheck=False)
def show_defaults(ctx: Context, target: str) -> dict[str, Any]:
    ctx.allow(SHOW.name, {"project_id": target})
    return {"id": target, **operations.defaults(ctx.program, ctx.db)}


@quota_sets.put("/{target}", rule=UPDATE, out="quota_set")
def update(ctx: Context, target: str, quota_set: dict[str, Any]) -> dict[str, Any]:
    _known_project(ctx, target)
    operations.quotas(ctx.program).set(ctx.db, target, _limits(ctx.program, ctx.db, quota_set))
    return operations.limits(ctx.program, ctx.db, target)


@quota_sets.delete("/{target}", rule=DELETE)
def reset(ctx: Context, target: str) -> None:
    operations.quotas(ctx.program).clear(ctx.db, target)


@class_sets.get("/{name}", rule=CLASS_SHOW, out="quota_class_set")
def show_class(ctx: Context, name: str) -> dict[str, Any]:
    """The default limits: only the class `default` has any effect."""
    return {"id": name, **operations.defaults(ctx.program, ctx.db)}


@class_sets.put("/{name}", rule=CLASS_UPDATE, out="quota_class_set")
def update_class(ctx: Context, name: str, quota_class_set: dict[str, Any]) -> dict[str, Any]:
    if name != "default":
        raise NotFound(f"Quota class {name} could not be found: there is only the class default.")
    operations.quotas(ctx.program).set(ctx.db, "class:default", _limits(ctx.program, ctx.db, quota_class_set))
    return operations.defaults(ctx.program, ctx.db)


@limits.get("", rule=LIMITS, out="limits")
def show_limits(ctx: Context, query: LimitsQuery) -> dict[str, Any]:
    """What the project may have, and has."""
    other = query.project_id or query.tenant_id
    may_choose = ctx.is_admin and ctx.version is not None and ctx.version >= Version(3, 39)
    project = other if other and may_choose else ctx.project_id
    most, used = operations.quotas(ctx.program).limits(ctx.db, project), operations.used(ctx.db, project)
    absolute: dict[str, int] = {}
    for name, (limit, taken) in _ABSOLUTE.items():
        absolute[limit], absolute[taken] = most[name], used[name]
    return {"rate": [], "absolute": absolute}


def _limits(program: Any, tx: Transaction, given: dict[str, Any]) -> dict[str, int]:
    """The limits in an update; raises Invalid naming the one at fault."""
    known = {*operations.quotas(program).defaults, *operations.type_resources(tx)}
    wanted: dict[str, int] = {}
    for name, value in given.items():
        if name in _BESIDE:
            continue
        if name not in known:
            raise Invalid(f"Bad key(s) in quota set: {name}.", field=name)
        try:
            limit = int(str(value))
        except ValueError:
            raise Invalid(f"Invalid quota limit for {name}: '{value}' is not an integer.", field=name) from None
        if isinstance(value, bool) or not -1 <= limit <= _LARGEST:
            raise Invalid(f"Invalid quota limit for {name}: it must be between -1 and {_LARGEST}.", field=name)
        wanted[name] = limit
    return wanted


def _known_project(ctx: Context, project_id: str) -> None:
    """Where identity is part of the program, limits are only given to projects that exist."""
    if "identity" in ctx.program.services:
        from pilvi import identity

        if not identity.project_exists(ctx.db, project_id):
            raise NotFound(f"Project {project_id} could not be found.")
