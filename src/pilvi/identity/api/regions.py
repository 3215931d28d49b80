"""Regions."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from pilvi.identity.api.lists import Page, kept, listed
from pilvi.identity.dialect import root
from pilvi.identity.policy import ADMIN, need
from pilvi.identity.tables import Endpoint, Region
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

GET = Rule("identity:get_region", "", "Show a region.")
LIST = Rule("identity:list_regions", "", "List regions.")
CREATE = Rule("identity:create_region", ADMIN, "Create a region.")
UPDATE = Rule("identity:update_region", ADMIN, "Update a region.")
DELETE = Rule("identity:delete_region", ADMIN, "Delete a region.")

regions = Resource("/v3/regions")

RegionId = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CreateRegion(Body, extra=True):
    """A new region.  Other attributes are kept."""

    id: RegionId | None = None
    description: str | None = None
    parent_region_id: str | None = None


class UpdateRegion(Body, extra=True):
    """What is to be changed of a region."""

    description: str | Given | None = UNSET
    parent_region_id: str | Given | None = UNSET


class RegionsQuery(Page, extra=True):
    """Which regions."""

    parent_region_id: str | None = None


def region_view(ctx: Context, row: Region) -> dict[str, Any]:
    """A region."""
    return {
        **row.extra, "id": row.id, "description": row.description, "parent_region_id": row.parent_region_id,
        "links": {"self": f"{root(ctx.base_url)}/v3/regions/{quote(row.id)}"},
    }  # fmt: skip


@regions.post("", rule=CREATE, answers=201, out="region")
def create(ctx: Context, region: CreateRegion, request: Request) -> dict[str, Any]:
    """Create a region."""
    return region_view(ctx, _add(ctx, region.id or new_hex(), region, request))


@regions.get("", rule=LIST, out="regions")
def index(ctx: Context, query: RegionsQuery, request: Request) -> Listing:
    """List regions."""
    return listed(ctx, request, query, Region, view=region_view)


@regions.get("/{region_id}", rule=GET, out="region")
def show(ctx: Context, region_id: str) -> dict[str, Any]:
    """Show a region."""
    return region_view(ctx, need_region(ctx, region_id))


@regions.put("/{region_id}", rule=CREATE, answers=201, out="region")
def create_named(ctx: Context, region_id: str, region: CreateRegion, request: Request) -> dict[str, Any]:
    """Create a region of this id."""
    if region.id not in (None, region_id):
        raise Invalid("The id in the body is not that in the path.", field="id")
    return region_view(ctx, _add(ctx, region_id, region, request))


@regions.patch("/{region_id}", rule=UPDATE, out="region")
def update(ctx: Context, region_id: str, region: UpdateRegion, request: Request) -> dict[str, Any]:
    """Change a region."""
    row = need(_all_locked(ctx).get(region_id), "Region", region_id)
    changes: dict[str, Any] = {"extra": row.extra | kept(request, "region", UpdateRegion)}
    if region.description is not UNSET:
        changes["description"] = region.description or ""
    if region.parent_region_id is not UNSET:
        _refuse_circle(ctx, region_id, region.parent_region_id)
        changes["parent_region_id"] = region.parent_region_id
    return region_view(ctx, ctx.db.change(row, **changes))


@regions.delete("/{region_id}", rule=DELETE, answers=204)
def delete(ctx: Context, region_id: str) -> None:
    """Delete a region and those within it; it may have no endpoints."""
    known = _all_locked(ctx)
    inside = [need(known.get(region_id), "Region", region_id)]
    for one in inside:
        inside += [child for child in known.values() if child.parent_region_id == one.id and child not in inside]
    if ctx.db.by(Endpoint, Endpoint.c.region_id, [one.id for one in inside]):
        raise Forbidden("The region cannot be deleted as long as there are endpoints in it.")
    for one in inside:
        ctx.db.remove(one)


def need_region(ctx: Context, region_id: str) -> Region:
    """The region of that id; raises NotFound."""
    return need(ctx.db.get(Region, region_id), "Region", region_id)


def _all_locked(ctx: Context) -> dict[str, Region]:
    """All regions, by their ids: the tree is changed by one at a time, for two at once might close a circle."""
    ctx.db.lock_all(Region)
    return {one.id: one for one in ctx.db.all(Region)}  # with those that were added while this waited


def _add(ctx: Context, region_id: str, region: CreateRegion, request: Request) -> Region:
    if ctx.db.get(Region, region_id) is not None:
        raise Conflict(f"There is a region {region_id} already.")
    if region.parent_region_id is not None:
        need(ctx.db.get_to_build_on(Region, region.parent_region_id), "Region", region.parent_region_id)
    _refuse_circle(ctx, region_id, region.parent_region_id)
    extra = kept(request, "region", CreateRegion)
    return ctx.db.insert(Region(id=region_id, description=region.description or "", parent_region_id=region.parent_region_id, extra=extra))


def _refuse_circle(ctx: Context, region_id: str, parent_id: str | None) -> None:
    """Raise unless the parent is there, and is not within the region itself."""
    while parent_id is not None:
        if parent_id == region_id:
            raise Invalid("A region cannot be within itself.", field="parent_region_id")
        parent_id = need_region(ctx, parent_id).parent_region_id
