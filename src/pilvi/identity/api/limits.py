"""Unified limits: what every project may use, and what one project or domain may use."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity.api.lists import Page, narrowed
from pilvi.identity.api.services import need_service
from pilvi.identity.dialect import root
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import CatalogService, Limit, Project, Region, RegisteredLimit
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid
from pilvi.kernel.http import UNSET, Answer, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

MODEL = Rule("identity:get_limit_model", "", "Show how limits work.")
GET_REGISTERED = Rule("identity:get_registered_limit", "", "Show what every project may use.")
LIST_REGISTERED = Rule("identity:list_registered_limits", "", "List what every project may use.")
CREATE_REGISTERED = Rule("identity:create_registered_limits", ADMIN, "Set what every project may use.")
UPDATE_REGISTERED = Rule("identity:update_registered_limit", ADMIN, "Change what every project may use.")
DELETE_REGISTERED = Rule("identity:delete_registered_limit", ADMIN, "Delete what every project may use.")
GET = Rule(
    "identity:get_limit",
    f"{ADMIN_OR_SYSTEM_READER} or domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s or "
    "(project_id:%(target.limit.project_id)s and not project_id:None)",
    "Show what a project may use.",
)
LIST = Rule("identity:list_limits", "", "List what projects may use.")
CREATE = Rule("identity:create_limits", ADMIN, "Set what a project may use.")
UPDATE = Rule("identity:update_limit", ADMIN, "Change what a project may use.")
DELETE = Rule("identity:delete_limit", ADMIN, "Delete what a project may use.")

registered = Resource("/v3/registered_limits")
limits = Resource("/v3/limits")

Amount = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
ResourceName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class NewRegistered(Body):
    """What every project may use of a resource."""

    service_id: str
    region_id: str | None = None
    resource_name: ResourceName
    default_limit: Amount
    description: str | None = None


class ChangedRegistered(Body):
    """What is to be changed of it."""

    service_id: str | Given = UNSET
    region_id: str | Given | None = UNSET
    resource_name: ResourceName | Given = UNSET
    default_limit: Amount | Given = UNSET
    description: str | Given | None = UNSET


class NewLimit(Body):
    """What a project, or a domain, may use of a resource."""

    service_id: str
    region_id: str | None = None
    resource_name: ResourceName
    resource_limit: Amount
    project_id: str | None = None
    domain_id: str | None = None
    description: str | None = None


class ChangedLimit(Body):
    """What is to be changed of it."""

    resource_limit: Amount | Given = UNSET
    description: str | Given | None = UNSET


class RegisteredQuery(Page, extra=True):
    """Which registered limits."""

    service_id: str | None = None
    region_id: str | None = None
    resource_name: str | None = None


class LimitsQuery(RegisteredQuery, extra=True):
    """Which limits."""

    project_id: str | None = None
    domain_id: str | None = None


def registered_view(ctx: Context, row: RegisteredLimit) -> dict[str, Any]:
    """What every project may use."""
    return {
        "id": row.id, "service_id": row.service_id, "region_id": row.region_id or None, "resource_name": row.resource_name,
        "default_limit": row.default_limit, "description": row.description,
        "links": {"self": f"{root(ctx.base_url)}/v3/registered_limits/{row.id}"},
    }  # fmt: skip


def limit_view(ctx: Context, row: Limit, of_: RegisteredLimit) -> dict[str, Any]:
    """What a project may use."""
    return {
        "id": row.id, "service_id": of_.service_id, "region_id": of_.region_id or None, "resource_name": of_.resource_name,
        "resource_limit": row.resource_limit, "description": row.description, "project_id": row.project_id or None,
        "domain_id": row.domain_id or None, "links": {"self": f"{root(ctx.base_url)}/v3/limits/{row.id}"},
    }  # fmt: skip


@registered.post("", rule=CREATE_REGISTERED, answers=201, out="registered_limits")
def create_registered(ctx: Context, registered_limits: list[NewRegistered]) -> Answer:
    """Set what every project may use of some resources."""
    made: list[dict[str, Any]] = []
    ctx.db.hold_all(CatalogService, (one.service_id for one in registered_limits))
    ctx.db.hold_all(Region, (one.region_id for one in registered_limits if one.region_id is not None))
    for one in registered_limits:
        if ctx.db.get(CatalogService, one.service_id) is None:
            raise Invalid(f"There is no service {one.service_id}.", field="service_id")
        if one.region_id is not None and ctx.db.get(Region, one.region_id) is None:
            raise Invalid(f"There is no region {one.region_id}.", field="region_id")
        row = RegisteredLimit(
            id=new_hex(), service_id=one.service_id, region_id=one.region_id or "", resource_name=one.resource_name,
            default_limit=one.default_limit, description=one.description,
        )  # fmt: skip
        _refuse_twice(ctx, row)
        made.append(registered_view(ctx, ctx.db.insert(row)))
    return Answer(201, {"registered_limits": made})


@registered.get("", rule=LIST_REGISTERED, out="registered_limits")
def list_registered(ctx: Context, query: RegisteredQuery, request: Request) -> Listing:
    """List what every project may use."""
    rows = ctx.db.all(RegisteredLimit, *narrowed(RegisteredLimit, query, request), order=[RegisteredLimit.c.id])
    return Listing([registered_view(ctx, row) for row in rows])


@registered.get("/{limit_id}", rule=GET_REGISTERED, out="registered_limit")
def show_registered(ctx: Context, limit_id: str) -> dict[str, Any]:
    """Show what every project may use of a resource."""
    return registered_view(ctx, _registered(ctx, limit_id))


@registered.patch("/{limit_id}", rule=UPDATE_REGISTERED, out="registered_limit")
def update_registered(ctx: Context, limit_id: str, registered_limit: ChangedRegistered) -> dict[str, Any]:
    """Change what every project may use of a resource; which resource, only as long as no project has its own limit."""
    ctx.db.hold_all(CatalogService, [registered_limit.service_id] if isinstance(registered_limit.service_id, str) else [])
    row = need(ctx.db.get_to_change(RegisteredLimit, limit_id), "Registered limit", limit_id)
    names = ("service_id", "region_id", "resource_name", "default_limit", "description")
    changes: dict[str, Any] = {name: getattr(registered_limit, name) for name in names if getattr(registered_limit, name) is not UNSET}
    if "region_id" in changes:
        changes["region_id"] = changes["region_id"] or ""
    if {"service_id", "region_id", "resource_name"} & set(changes):
        _refuse_used(ctx, limit_id)
        if "service_id" in changes:
            need_service(ctx, changes["service_id"])
        _refuse_twice(ctx, msgspec.structs.replace(row, **changes))
    return registered_view(ctx, ctx.db.change(row, **changes) if changes else row)


@registered.delete("/{limit_id}", rule=DELETE_REGISTERED, answers=204)
def delete_registered(ctx: Context, limit_id: str) -> None:
    """Delete what every project may use of a resource."""
    row = need(ctx.db.get_to_change(RegisteredLimit, limit_id), "Registered limit", limit_id)
    _refuse_used(ctx, limit_id)
    ctx.db.remove(row)


@limits.get("/model", rule=MODEL, out="model")
def model(ctx: Context) -> dict[str, str]:
    """Show how limits work: flat, each project on its own."""
    return {"name": "flat", "description": "Each project has its own limit; that of its parents or children does not matter."}


@limits.post("", rule=CREATE, answers=201, out="limits")
def create(ctx: Context, limits: list[NewLimit]) -> Answer:
    """Set what projects or domains may use of some resources."""
    made: list[dict[str, Any]] = []
    ctx.db.hold_all(Project, (one.project_id or one.domain_id or "" for one in limits))
    ctx.db.hold_all(CatalogService, (one.service_id for one in limits))  # who deletes it locks its registered limits, all of them
    for one in limits:
        if (one.project_id is None) == (one.domain_id is None):
            raise Invalid("A limit is for a project or for a domain.", field="project_id")
        place = one.project_id or one.domain_id or ""
        if ctx.db.get(Project, place) is None:
            raise Invalid(f"There is no project or domain {place}.", field="project_id")
        columns = RegisteredLimit.c
        base = ctx.db.one(
            RegisteredLimit, columns.service_id == one.service_id, columns.region_id == (one.region_id or ""),
            columns.resource_name == one.resource_name,
        )  # fmt: skip
        if base is None or not ctx.db.hold(RegisteredLimit, base.id):
            raise Forbidden(f"There is no registered limit of {one.resource_name} for this service and region: set that first.")
        row = Limit(
            id=new_hex(), registered_limit_id=base.id, project_id=one.project_id or "", domain_id=one.domain_id or "",
            resource_limit=one.resource_limit, description=one.description,
        )  # fmt: skip
        same = (Limit.c.registered_limit_id == base.id, Limit.c.project_id == row.project_id, Limit.c.domain_id == row.domain_id)
        if ctx.db.one(Limit, *same) is not None:
            raise Conflict(f"There is a limit of {one.resource_name} for {place} already.")
        made.append(limit_view(ctx, ctx.db.insert(row), base))
    return Answer(201, {"limits": made})


@limits.get("", rule=LIST, out="limits")
def index(ctx: Context, query: LimitsQuery, request: Request) -> Listing:
    """List limits: all for those who may see all, else those of one's own project or domain."""
    where = narrowed(Limit, query, request)
    if not ctx.allowed(GET.name, {}):
        where.append(Limit.c.domain_id == ctx.caller.domain_id if ctx.caller.domain_id else Limit.c.project_id == (ctx.project_id or "none"))
    rows = ctx.db.all(Limit, *where, order=[Limit.c.id])
    base = {row.id: row for row in ctx.db.by(RegisteredLimit, RegisteredLimit.c.id, [row.registered_limit_id for row in rows])}
    wanted = {"service_id": query.service_id, "region_id": query.region_id, "resource_name": query.resource_name}
    fits = [
        row for row in rows
        if all(value is None or getattr(base[row.registered_limit_id], name) == value for name, value in wanted.items())
    ]  # fmt: skip
    return Listing([limit_view(ctx, row, base[row.registered_limit_id]) for row in fits])


@limits.get("/{limit_id}", rule=GET, out="limit", precheck=False)
def show(ctx: Context, limit_id: str) -> dict[str, Any]:
    """Show what a project may use of a resource."""
    row = ctx.db.get(Limit, limit_id)
    project = ctx.db.get(Project, row.project_id) if row is not None and row.project_id else None
    facts = {} if row is None else {"target.limit.domain.id": row.domain_id, "target.limit.project_id": row.project_id}
    if project is not None:
        facts["target.limit.project.domain_id"] = project.domain_id
    ctx.allow(ctx.rule, {name: value for name, value in facts.items() if value})
    found = _limit(ctx, limit_id)
    return limit_view(ctx, found, _registered(ctx, found.registered_limit_id))


@limits.patch("/{limit_id}", rule=UPDATE, out="limit")
def update(ctx: Context, limit_id: str, limit: ChangedLimit) -> dict[str, Any]:
    """Change what a project may use of a resource."""
    row = _limit(ctx, limit_id)
    changes: dict[str, Any] = {name: getattr(limit, name) for name in ("resource_limit", "description") if getattr(limit, name) is not UNSET}
    return limit_view(ctx, ctx.db.change(row, **changes) if changes else row, _registered(ctx, row.registered_limit_id))


@limits.delete("/{limit_id}", rule=DELETE, answers=204)
def delete(ctx: Context, limit_id: str) -> None:
    """Delete a project's own limit; it may use what every project may."""
    ctx.db.remove(_limit(ctx, limit_id))


def _registered(ctx: Context, limit_id: str) -> RegisteredLimit:
    return need(ctx.db.get(RegisteredLimit, limit_id), "Registered limit", limit_id)


def _limit(ctx: Context, limit_id: str) -> Limit:
    return need(ctx.db.get(Limit, limit_id), "Limit", limit_id)


def _refuse_used(ctx: Context, limit_id: str) -> None:
    if ctx.db.one(Limit, Limit.c.registered_limit_id == limit_id) is not None:
        raise Forbidden("The registered limit cannot be changed or deleted so as long as projects have limits of their own for it.")


def _refuse_twice(ctx: Context, row: RegisteredLimit) -> None:
    columns = RegisteredLimit.c
    same = (columns.service_id == row.service_id, columns.region_id == row.region_id, columns.resource_name == row.resource_name)
    if ctx.db.one(RegisteredLimit, *same, columns.id != row.id) is not None:
        raise Conflict(f"There is a registered limit of {row.resource_name} for this service and region already.")
