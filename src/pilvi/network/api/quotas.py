"""Quotas in HTTP: per project, their defaults, and what of them is used."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.quota import Limit
from pilvi.network.api.collection import answer
from pilvi.network.api.rights import Target
from pilvi.network.errors import BadRequest, PolicyNotAuthorized
from pilvi.network.operations import records
from pilvi.network.policy import rule

quotas = Resource("/v2.0/quotas", tag="quotas")
READ, WRITE, DROP = rule("get_quota"), rule("update_quota"), rule("delete_quota")
_LIMIT = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


def _may(ctx: Context, action: str, project_id: str) -> None:
    if not ctx.allowed(action, Target(project_id)):
        raise PolicyNotAuthorized(action)


def _own(tx: Transaction) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in tx.all(Limit, Limit.c.service == "network"):
        if not row.scope.startswith("class:"):
            found.setdefault(row.scope, {})[row.resource] = row.limit
    return found


@quotas.get("", rule=READ, precheck=False)
def index(ctx: Context) -> Answer:
    """List the projects that have quotas of their own."""
    _may(ctx, "get_quota", "")
    own = _own(ctx.db)
    held = records.quotas(ctx)
    return answer({"quotas": [held.limits(ctx.db, project) | {"project_id": project, "tenant_id": project} for project in sorted(own)]})


@quotas.get("/tenant", rule=READ)
def tenant(ctx: Context) -> Answer:
    """Whose quotas the caller's are."""
    return answer({"tenant": {"tenant_id": ctx.project_id}})


@quotas.get("/project", rule=READ)
def project(ctx: Context) -> Answer:
    """Whose quotas the caller's are."""
    return answer({"project": {"project_id": ctx.project_id}})


@quotas.get("/{project_id}", rule=READ, precheck=False)
def show(ctx: Context, project_id: str) -> Answer:
    """Show a project's quotas."""
    _may(ctx, "get_quota", project_id)
    return answer({"quota": records.quotas(ctx).limits(ctx.db, project_id)})


@quotas.get("/{project_id}/default", rule=READ, precheck=False)
def default(ctx: Context, project_id: str) -> Answer:
    """Show what a project has that has no quotas of its own."""
    _may(ctx, "get_quota", project_id)
    held = records.quotas(ctx)
    return answer({"quota": held.limits(ctx.db, "")})


@quotas.get("/{project_id}/details", rule=READ, precheck=False)
def details(ctx: Context, project_id: str) -> Answer:
    """Show a project's quotas and what is used of them."""
    _may(ctx, "get_quota", project_id)
    limits = records.quotas(ctx).limits(ctx.db, project_id)
    told = {name: {"limit": limit, "used": records.used(ctx.db, name, project_id), "reserved": 0} for name, limit in limits.items()}
    return answer({"quota": told})


@quotas.get("/{project_id}/details.json", rule=READ, precheck=False)
def details_json(ctx: Context, project_id: str) -> Answer:
    """As `details`, as older clients spell it."""
    return details(ctx, project_id)


@quotas.put("/{project_id}", rule=WRITE, precheck=False)
def update(ctx: Context, project_id: str, quota: dict[str, Any]) -> Answer:
    """Give a project quotas of its own; -1 is no limit."""
    _may(ctx, "update_quota", project_id)
    limits = {}
    for name, value in quota.items():
        if name in ("project_id", "tenant_id", "force", "check_limit"):
            continue
        if name not in records.DEFAULTS:
            raise BadRequest(f"Unrecognized attribute(s) '{name[:100]}'", field=name)
        try:
            limits[name] = msgspec.convert(value, _LIMIT, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"Invalid input for {name}. Reason: {error}.", field=name) from None
    if str(quota.get("check_limit", "")).lower() == "true":
        low = [name for name, limit in limits.items() if 0 <= limit < records.used(ctx.db, name, project_id)]
        if low:
            raise BadRequest(f"Invalid quota: the project uses more than the new limit of {', '.join(low)}.", field=low[0])
    held = records.quotas(ctx)
    held.set(ctx.db, project_id, limits)
    return answer({"quota": held.limits(ctx.db, project_id)})


@quotas.delete("/{project_id}", rule=DROP, precheck=False, answers=204)
def delete(ctx: Context, project_id: str) -> None:
    """Have the project go back to the defaults."""
    _may(ctx, "delete_quota", project_id)
    records.quotas(ctx).clear(ctx.db, project_id)
