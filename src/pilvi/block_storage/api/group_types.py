"""/group_types: the kinds of groups, and their specs (since 3.11)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, Value255, found, listing, truth, window
from pilvi.block_storage.api.types import Specs
from pilvi.block_storage.operations import groups as operations
from pilvi.block_storage.tables.groups import Group, GroupType
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Name, Request, Resource
from pilvi.kernel.ids import new_id

group_types = Resource("/v3/group_types", since="3.11")

INDEX = policy.everyone("group:group_types:get_all", "List group types.")
CREATE = policy.admin("group:group_types:create", "Create a group type.")
UPDATE = policy.admin("group:group_types:update", "Change a group type.")
DELETE = policy.admin("group:group_types:delete", "Delete a group type.")
_S = "group:group_types_specs:"
SPECS_INDEX = policy.admin(_S + "get_all", "List a group type's specs.")
SPECS_SHOW = policy.admin(_S + "get", "Show a group type's spec.")
SPECS_CREATE = policy.admin(_S + "create", "Add specs to a group type.")
SPECS_UPDATE = policy.admin(_S + "update", "Change a group type's spec.")
SPECS_DELETE = policy.admin(_S + "delete", "Remove a group type's spec.")
_SORTABLE = {"id": "id", "name": "name", "created_at": "created_at"}


class CreateGroupType(Body, extra=True):
    name: Name
    description: Value255 | None = None
    is_public: bool | str = True
    group_specs: Specs | None = None


class ChangeGroupType(Body, extra=True):
    name: Value255 | None = None
    description: Value255 | Given | None = UNSET
    is_public: bool | str | None = None


def _view(ctx: Context, kind: GroupType) -> dict[str, Any]:
    told: dict[str, Any] = {"id": kind.id, "name": kind.name, "description": kind.description, "is_public": kind.is_public}
    return told | ({"group_specs": kind.specs} if ctx.allowed(SPECS_INDEX.name) else {})


@group_types.get("", rule=INDEX, out="group_types")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    where: list[Any] = []
    public = dict(request.query).get("is_public", "")
    if not ctx.is_admin:
        where.append(GroupType.c.is_public == sa.true())
    elif public and public.lower() != "none":
        where.append(GroupType.c.is_public == truth(public, "is_public"))
    rows, extra = found(ctx, GroupType, query, where, window(ctx, query, _SORTABLE))
    return listing(rows, [_view(ctx, one) for one in rows], extra)


@group_types.post("", rule=CREATE, answers=202, out="group_type")
def create(ctx: Context, group_type: CreateGroupType) -> dict[str, Any]:
    name = group_type.name.strip()
    if not name or ctx.db.one(GroupType, GroupType.c.name == name):
        raise Conflict(f"Group Type {name} already exists.") if name else Invalid("Group type name can not be empty.", field="name")
    kind = GroupType(
        id=new_id(), name=name, description=group_type.description, is_public=truth(group_type.is_public, "is_public"),
        specs=group_type.group_specs or {}, created_at=clock.now(),
    )  # fmt: skip
    return _view(ctx, ctx.db.insert(kind))


@group_types.get("/{type_id}", rule=INDEX, out="group_type")
def show(ctx: Context, type_id: str) -> dict[str, Any]:
    if type_id == "default":
        raise NotFound("There is no default group type.")
    return _view(ctx, operations.group_type(ctx, type_id))


@group_types.put("/{type_id}", rule=UPDATE, out="group_type")
def update(ctx: Context, type_id: str, group_type: ChangeGroupType) -> dict[str, Any]:
    kind = _to_change(ctx, type_id)
    values: dict[str, Any] = {}
    if group_type.name is not None:
        values["name"] = group_type.name.strip()
        other = ctx.db.one(GroupType, GroupType.c.name == values["name"])
        if not values["name"] or (other is not None and other.id != kind.id):
            raise Invalid("Group type name can not be empty, nor that of another.", field="name")
    if group_type.description is not UNSET:
        values["description"] = group_type.description
    if group_type.is_public is not None:
        values["is_public"] = truth(group_type.is_public, "is_public")
    if not values:
        raise Invalid("Specify group type name, description, is_public or a combination thereof.")
    return _view(ctx, ctx.db.change(kind, **values))


@group_types.delete("/{type_id}", rule=DELETE, answers=202)
def delete(ctx: Context, type_id: str) -> None:
    kind = _to_change(ctx, type_id)
    if ctx.db.count(Group, Group.c.group_type_id == kind.id):
        raise Invalid("Target group type is still in use.")
    ctx.db.remove(kind)


@group_types.get("/{type_id}/group_specs", rule=SPECS_INDEX, out="group_specs")
def list_specs(ctx: Context, type_id: str) -> dict[str, str]:
    return operations.group_type(ctx, type_id).specs


@group_types.post("/{type_id}/group_specs", rule=SPECS_CREATE, answers=202, out="group_specs")
def add_specs(ctx: Context, type_id: str, group_specs: Specs) -> dict[str, str]:
    kind = _to_change(ctx, type_id)
    ctx.db.change(kind, specs=kind.specs | group_specs)
    return group_specs


@group_types.get("/{type_id}/group_specs/{key}", rule=SPECS_SHOW)
def show_spec(ctx: Context, type_id: str, key: str) -> dict[str, str]:
    return {key: _spec(operations.group_type(ctx, type_id), key)}


@group_types.put("/{type_id}/group_specs/{key}", rule=SPECS_UPDATE)
def set_spec(ctx: Context, type_id: str, key: str, body: Specs) -> dict[str, str]:
    if list(body) != [key]:
        raise Invalid("Request body and URI mismatch: the body holds the key of the path alone.")
    kind = _to_change(ctx, type_id)
    ctx.db.change(kind, specs=kind.specs | body)
    return body


@group_types.delete("/{type_id}/group_specs/{key}", rule=SPECS_DELETE, answers=202)
def remove_spec(ctx: Context, type_id: str, key: str) -> None:
    kind = _to_change(ctx, type_id)
    _spec(kind, key)
    ctx.db.change(kind, specs={name: value for name, value in kind.specs.items() if name != key})


def _to_change(ctx: Context, ref: str) -> GroupType:
    """The group type of that id or name, locked."""
    found = ctx.db.get_to_change(GroupType, operations.group_type(ctx, ref).id)
    if found is None:
        raise NotFound(f"Group type {ref} could not be found.")
    return found


def _spec(kind: GroupType, key: str) -> str:
    if key not in kind.specs:
        raise NotFound(f"Group Type {kind.id} has no specs with key {key}.")
    return kind.specs[key]
