"""/types: the kinds of volumes, their extra specs, who may use them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Key255, ListQuery, Value255, found, listing, pairs_in, truth, window
from pilvi.block_storage.operations import types as operations
from pilvi.block_storage.tables.types import TypeAccess, VolumeType
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Name, Request, Resource, Version, View, wire

types = Resource("/v3/types")

INDEX = policy.reader("volume_extension:type_get_all", "List volume types.")
SHOW = policy.reader("volume_extension:type_get", "Show a volume type.")
CREATE = policy.admin("volume_extension:type_create", "Create a volume type.")
UPDATE = policy.admin("volume_extension:type_update", "Change a volume type.")
DELETE = policy.admin("volume_extension:type_delete", "Delete a volume type.")
SPECS_INDEX = policy.reader("volume_extension:types_extra_specs:index", "List extra specs.")
SPECS_SHOW = policy.reader("volume_extension:types_extra_specs:show", "Show an extra spec.")
SPECS_CREATE = policy.admin("volume_extension:types_extra_specs:create", "Add extra specs.")
SPECS_UPDATE = policy.admin("volume_extension:types_extra_specs:update", "Change an extra spec.")
SPECS_DELETE = policy.admin("volume_extension:types_extra_specs:delete", "Remove an extra spec.")
ACCESS = policy.member("volume_extension:volume_type_access", "See whether a volume type is public.")
ACCESS_LIST = policy.admin("volume_extension:volume_type_access:get_all_for_type", "List the projects that may use a type.")
ACCESS_ADD = policy.admin("volume_extension:volume_type_access:addProjectAccess", "Let a project use a type.")
ACCESS_REMOVE = policy.admin("volume_extension:volume_type_access:removeProjectAccess", "Let a project use a type no more.")

# extra specs that every project may see; others are for administrators
_FOR_EVERYONE = frozenset({"multiattach", "RESKEY:availability_zones", "replication_enabled"})
_SORTABLE = {"id": "id", "name": "name", "created_at": "created_at", "updated_at": "updated_at"}
SpecKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-_:. ]+$")]
Specs = dict[SpecKey, Value255]


class CreateType(Body, extra=True):
    name: Name
    description: Value255 | None = None
    is_public: bool | str = wire("os-volume-type-access:is_public", default=True)
    extra_specs: Specs | None = None


class ChangeType(Body, extra=True):
    name: Value255 | None = None
    description: Value255 | Given | None = UNSET
    is_public: bool | str | None = None


class ProjectAccess(Body):
    project: Key255


class TypeView(View):
    """A volume type."""

    id: str
    name: str
    is_public: bool
    description: str | None
    extra_specs: dict[str, str] | Given = UNSET
    qos_specs_id: str | Given | None = UNSET
    access: bool | Given = wire("os-volume-type-access:is_public", default=UNSET)


def _view(ctx: Context, kind: VolumeType, *, full: bool = True) -> TypeView:
    """`full`: as in show and lists; create and update do not tell of qos specs."""
    admin = ctx.is_admin
    specs = kind.extra_specs if admin else {key: value for key, value in kind.extra_specs.items() if key in _FOR_EVERYONE}
    return TypeView(
        id=kind.id, name=kind.name, is_public=kind.is_public, description=kind.description, access=kind.is_public,
        extra_specs=specs if ctx.allowed(policy.SEE_TYPE_SPECS.name) else UNSET,
        qos_specs_id=kind.qos_specs_id if full and ctx.allowed(policy.SEE_TYPE_QOS.name) else UNSET,
    )  # fmt: skip


@types.get("", rule=INDEX, out="volume_types")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    """The types that the caller may use; an administrator sees all, or those of the wished publicity."""
    assert ctx.version is not None
    where: list[Any] = []
    asked = dict(request.query)
    public = asked.get("is_public", "")
    if not ctx.is_admin:
        granted = sa.select(TypeAccess.c.type_id).where(TypeAccess.c.project_id == ctx.project_id)
        where.append(sa.or_(VolumeType.c.is_public == sa.true(), VolumeType.c.id.in_(granted)))
    elif public and public.lower() != "none":
        where.append(VolumeType.c.is_public == truth(public, "is_public"))
    for name in ("name", "description"):
        if name in asked:
            where.append(VolumeType.c[name] == asked[name])
    if "extra_specs" in asked and ctx.version >= Version(3, 52):
        where += pairs_in(VolumeType.c.extra_specs, asked["extra_specs"], "extra_specs")
    rows, extra = found(ctx, VolumeType, query, where, window(ctx, query, _SORTABLE))
    return listing(rows, [_view(ctx, one) for one in rows], extra)


@types.post("", rule=CREATE, out="volume_type")
def create(ctx: Context, volume_type: CreateType) -> TypeView:
    name = volume_type.name.strip()
    if not name:
        raise Invalid("Invalid input for field name: it must not be blank.", field="name")
    public = truth(volume_type.is_public, "is_public")
    kind = operations.create(ctx, name=name, description=volume_type.description, is_public=public, specs=volume_type.extra_specs or {})
    return _view(ctx, kind, full=False)


@types.get("/{type_id}", rule=SHOW, out="volume_type")
def show(ctx: Context, type_id: str) -> TypeView:
    kind = operations.default(ctx, ctx.project_id) if type_id == "default" else operations.visible(ctx, type_id)
    if kind is None:
        raise NotFound("There is no default volume type.")
    return _view(ctx, kind)


@types.put("/{type_id}", rule=UPDATE, out="volume_type")
def update(ctx: Context, type_id: str, volume_type: ChangeType) -> TypeView:
    kind = operations.by_id(ctx, type_id)
    values: dict[str, Any] = {}
    if volume_type.name is not None:
        name = volume_type.name.strip()
        if not name:
            raise Invalid("Volume type name can not be empty.", field="name")
        other = ctx.db.one(VolumeType, VolumeType.c.name == name)
        if other is not None and other.id != kind.id:
            raise Conflict(f"Volume Type {name} already exists.")
        values["name"] = name
    if volume_type.description is not UNSET:
        values["description"] = volume_type.description
    if volume_type.is_public is not None:
        values["is_public"] = truth(volume_type.is_public, "is_public")
    if not values:
        raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
    ctx.db.change(kind, updated_at=clock.now(), **values)
    told = _view(ctx, kind, full=False)
    told.access = UNSET
    return told


@types.delete("/{type_id}", rule=DELETE, answers=202)
def delete(ctx: Context, type_id: str) -> None:
    operations.remove(ctx, operations.by_id(ctx, type_id))


# -- extra specs ---------------------------------------------------------------------------------------


@types.get("/{type_id}/extra_specs", rule=SPECS_INDEX, out="extra_specs")
def list_specs(ctx: Context, type_id: str) -> dict[str, str]:
    told = _view(ctx, operations.visible(ctx, type_id)).extra_specs
    return told if isinstance(told, dict) else {}


@types.post("/{type_id}/extra_specs", rule=SPECS_CREATE, out="extra_specs")
def add_specs(ctx: Context, type_id: str, extra_specs: Specs) -> dict[str, str]:
    kind = operations.by_id(ctx, type_id)
    operations.write_specs(ctx, kind, kind.extra_specs | extra_specs)
    return extra_specs


@types.get("/{type_id}/extra_specs/{key}", rule=SPECS_SHOW)
def show_spec(ctx: Context, type_id: str, key: str) -> dict[str, str]:
    specs = list_specs(ctx, type_id)
    if key not in specs:
        raise NotFound(f"Volume Type {type_id} has no extra specs with key {key}.")
    return {key: specs[key]}


@types.put("/{type_id}/extra_specs/{key}", rule=SPECS_UPDATE)
def set_spec(ctx: Context, type_id: str, key: str, body: Specs) -> dict[str, str]:
    if list(body) != [key]:
        raise Invalid("Request body and URI mismatch: the body holds the key of the path alone.")
    kind = operations.by_id(ctx, type_id)
    operations.write_specs(ctx, kind, kind.extra_specs | body)
    return body


@types.delete("/{type_id}/extra_specs/{key}", rule=SPECS_DELETE, answers=202)
def remove_spec(ctx: Context, type_id: str, key: str) -> None:
    kind = operations.by_id(ctx, type_id)
    if key not in kind.extra_specs:
        raise NotFound(f"Volume Type {type_id} has no extra specs with key {key}.")
    operations.write_specs(ctx, kind, {name: value for name, value in kind.extra_specs.items() if name != key})


# -- access --------------------------------------------------------------------------------------------


@types.get("/{type_id}/os-volume-type-access", rule=ACCESS_LIST, out="volume_type_access")
def list_access(ctx: Context, type_id: str) -> list[dict[str, str]]:
    kind = operations.by_id(ctx, type_id)
    if kind.is_public:
        raise NotFound("Access list not available for public volume types.")
    return [{"volume_type_id": kind.id, "project_id": one.project_id} for one in ctx.db.all(TypeAccess, TypeAccess.c.type_id == kind.id)]


@types.action("addProjectAccess", of="type_id", rule=ACCESS_ADD, answers=202)
def add_access(ctx: Context, type_id: str, body: ProjectAccess) -> None:
    kind = operations.by_id(ctx, type_id)
    if kind.is_public:
        raise Conflict(f"Type access modification is not applicable to public volume type {kind.id}.")
    if ctx.db.get(TypeAccess, kind.id, body.project):
        raise Conflict(f"Volume type access for {kind.id} / {body.project} combination already exists.")
    ctx.db.insert(TypeAccess(type_id=kind.id, project_id=body.project))


@types.action("removeProjectAccess", of="type_id", rule=ACCESS_REMOVE, answers=202)
def remove_access(ctx: Context, type_id: str, body: ProjectAccess) -> None:
    kind = operations.by_id(ctx, type_id)
    if kind.is_public:
        raise Conflict(f"Type access modification is not applicable to public volume type {kind.id}.")
    row = ctx.db.get(TypeAccess, kind.id, body.project)
    if row is None:
        raise NotFound(f"Volume type access not found for {kind.id} / {body.project} combination.")
    ctx.db.remove(row)
