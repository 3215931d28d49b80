"""Quotas over HTTP: of a project, of a user in it (as old clients ask), and of the default class."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi import identity
from pilvi.compute import policy
from pilvi.compute.operations import quotas as operations
from pilvi.compute.tables.keypairs import KeyPair
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Body, Query, Resource, Version, until
from pilvi.kernel.policy import Rule
from pilvi.kernel.quota import UNLIMITED
from pilvi.network import for_compute as network

quota_sets = Resource("/v2.1/os-quota-sets", tag="quotas")
quota_class_sets = Resource("/v2.1/os-quota-class-sets", tag="quotas")

DEFAULTS = policy.everyone("os-quota-sets:defaults", "Show the default quotas.")
SHOW = policy.reader("os-quota-sets:show", "Show a project's quotas.")
DETAIL = policy.reader("os-quota-sets:detail", "Show a project's quotas and what is used.")
UPDATE = policy.admin("os-quota-sets:update", "Set a project's quotas.")
DELETE = policy.admin("os-quota-sets:delete", "Set a project's quotas back to the defaults.")
CLASS_SHOW = policy.admin("os-quota-class-sets:show", "Show the default class's quotas.")
CLASS_UPDATE = policy.admin("os-quota-class-sets:update", "Set the default class's quotas.")

NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")  # network's: shown, and set there
FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
GROUPS = ("server_groups", "server_group_members")
Limit = Annotated[int, msgspec.Meta(ge=-1, le=0x7FFFFFFF)]


class ClassLimits(Body):
    """The limits to set.  Those of networks are taken and have no effect: the network service's API sets them."""

    instances: Limit | None = None
    cores: Limit | None = None
    ram: Limit | None = None
    metadata_items: Limit | None = None
    injected_files: Limit | None = until("2.56", default=None)
    injected_file_content_bytes: Limit | None = until("2.56", default=None)
    injected_file_path_bytes: Limit | None = until("2.56", default=None)
    key_pairs: Limit | None = None
    server_groups: Limit | None = None
    server_group_members: Limit | None = None
    fixed_ips: Limit | None = until("2.49", default=None)
    floating_ips: Limit | None = until("2.49", default=None)
    security_groups: Limit | None = until("2.49", default=None)
    security_group_rules: Limit | None = until("2.49", default=None)


class Limits(ClassLimits):
    """The limits to set; `force`: also below what is used."""

    force: bool = False
    fixed_ips: Limit | None = until("2.35", default=None)
    floating_ips: Limit | None = until("2.35", default=None)
    security_groups: Limit | None = until("2.35", default=None)
    security_group_rules: Limit | None = until("2.35", default=None)


class UserQuery(Query, extra="2.74"):
    """Quotas of single users are those of their project."""

    user_id: str | None = None


def _limits(ctx: Context, scope: str, *, of_class: bool = False) -> dict[str, Any]:
    """The limits that this version tells of."""
    assert ctx.version is not None
    known = operations.quotas(ctx.program)
    limits = known.limits(ctx.db, scope)
    hidden: tuple[str, ...] = FILES if ctx.version >= Version(2, 57) else ()
    if of_class and ctx.version < Version(2, 50):
        hidden += GROUPS
    told = {name: limits[name] for name in known.defaults if name not in hidden}
    if ctx.version < (Version(2, 50) if of_class else Version(2, 36)):
        told |= {"fixed_ips": UNLIMITED, **network.limits(ctx, scope)}
    return told


def _own(ctx: Context, rule: Rule, project_id: str) -> None:
    ctx.allow(rule.name, {"project_id": project_id})


def _known(ctx: Context, project_id: str) -> None:
    if "identity" in ctx.program.services and not identity.project_exists(ctx.db, project_id):
        raise Invalid(f"Project ID {project_id} is not a valid project.", field="project_id")


@quota_sets.get("/{project_id}", rule=SHOW, out="quota_set", precheck=False)
def show(ctx: Context, project_id: str, query: UserQuery) -> dict[str, Any]:
    """Show a project's quotas."""
    _own(ctx, SHOW, project_id)
    _known(ctx, project_id)
    return {"id": project_id, **_limits(ctx, project_id)}


@quota_sets.get("/{project_id}/defaults", rule=DEFAULTS, out="quota_set")
def defaults(ctx: Context, project_id: str) -> dict[str, Any]:
    """Show the default quotas."""
    _known(ctx, project_id)
    return {"id": project_id, **_limits(ctx, "class:default")}


@quota_sets.get("/{project_id}/detail", rule=DETAIL, out="quota_set", precheck=False)
def detail(ctx: Context, project_id: str, query: UserQuery) -> dict[str, Any]:
    """Show a project's quotas and what is used."""
    _own(ctx, DETAIL, project_id)
    _known(ctx, project_id)
    used = {
        **operations.used(ctx, project_id), "server_groups": ctx.db.count(ServerGroup, ServerGroup.c.project_id == project_id),
        "key_pairs": ctx.db.count(KeyPair, KeyPair.c.user_id == query.user_id) if query.user_id else 0,
    }  # fmt: skip
    assert ctx.version is not None
    if ctx.version < Version(2, 36):
        used |= network.used(ctx, project_id)
    told = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in _limits(ctx, project_id).items()}
    return {"id": project_id, **told}


@quota_sets.put("/{project_id}", rule=UPDATE, out="quota_set")
def update(ctx: Context, project_id: str, quota_set: Limits, query: UserQuery) -> dict[str, Any]:
    """Set a project's quotas; a limit below what is used takes `force`."""
    _known(ctx, project_id)
    wanted = _wanted(quota_set)
    if not quota_set.force:
        used = operations.used(ctx, project_id)
        for name, limit in wanted.items():
            if 0 <= limit < used.get(name, 0):
                raise Invalid(f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved {used[name]}.", field=name)
    operations.quotas(ctx.program).set(ctx.db, project_id, wanted)
    return _limits(ctx, project_id)


@quota_sets.delete("/{project_id}", rule=DELETE, answers=202)
def delete(ctx: Context, project_id: str, query: UserQuery) -> None:
    """Set a project's quotas back to the defaults."""
    operations.quotas(ctx.program).clear(ctx.db, project_id)


@quota_class_sets.get("/{name}", rule=CLASS_SHOW, out="quota_class_set")
def show_class(ctx: Context, name: str) -> dict[str, Any]:
    """Show a class's quotas; only the class `default` has an effect."""
    return {"id": name, **_limits(ctx, f"class:{name[:200]}", of_class=True)}


@quota_class_sets.put("/{name}", rule=CLASS_UPDATE, out="quota_class_set")
def update_class(ctx: Context, name: str, quota_class_set: ClassLimits) -> dict[str, Any]:
    """Set a class's quotas."""
    if len(name) > 200:
        raise Invalid("Invalid input for field id: a class's name has at most 200 characters.", field="id")
    operations.quotas(ctx.program).set(ctx.db, f"class:{name}", _wanted(quota_class_set))
    return _limits(ctx, f"class:{name}", of_class=True)


def _wanted(limits: ClassLimits) -> dict[str, int]:
    given = {name: getattr(limits, name) for name in ClassLimits.__struct_fields__ if name not in NETWORK}
    return {name: limit for name, limit in given.items() if limit is not None}
