"""/volumes: create, list, show, change and delete volumes."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, Metadata, Value255, filters, found, listing, projects, truth, window
from pilvi.block_storage.api.volume_views import VolumeView, briefs, view, views
from pilvi.block_storage.operations import volumes as operations
from pilvi.block_storage.operations.groups import check_joins
from pilvi.block_storage.tables.groups import Group
from pilvi.block_storage.tables.volumes import Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Query, Request, Resource, since, wire

volumes = Resource("/v3/volumes")

CREATE = policy.member("volume:create", "Create a volume.")
SHOW = policy.reader("volume:get", "Show a volume.")
INDEX = policy.reader("volume:get_all", "List volumes.")
UPDATE = policy.member("volume:update", "Change a volume's name and description.")
DELETE = policy.member("volume:delete", "Delete a volume.")
FORCE_DELETE = policy.admin("volume:force_delete", "Delete a volume whatever its state.")

SORTABLE = {
    "name": "name", "display_name": "name", "id": "id", "size": "size", "status": "status", "created_at": "created_at",
    "updated_at": "updated_at", "availability_zone": "availability_zone", "bootable": "bootable", "host": "host",
    "volume_type_id": "volume_type_id", "project_id": "project_id", "user_id": "user_id",
}  # fmt: skip
_EQUAL = {
    "name": "name", "display_name": "name", "description": "description", "display_description": "description", "status": "status",
    "id": "id", "size": "size", "availability_zone": "availability_zone", "volume_type_id": "volume_type_id", "user_id": "user_id",
    "snapshot_id": "snapshot_id", "source_volid": "source_volid", "host": "host", "attach_status": "attach_status",
    "group_id": "group_id",
}  # fmt: skip
_FOREIGN = ("consistencygroup_id", "migration_status", "replication_status")  # of what no volume here has


class CreateVolumeStrict(Body):
    """A volume that is asked for."""

    size: int | None = None
    name: Value255 | None = None
    description: Value255 | None = None
    display_name: Value255 | None = None
    display_description: Value255 | None = None
    image_ref: str | None = wire("imageRef", default=None)
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    backup_id: str | None = since("3.47", default=None)
    volume_type: Value255 | None = None
    availability_zone: Value255 | None = None
    multiattach: bool | str | None = None
    metadata: Metadata | None = None
    consistencygroup_id: str | None = None
    group_id: str | None = since("3.13", default=None)
    user_id: str | None = None
    project_id: str | None = None
    status: str | None = None
    attach_status: str | None = None
    source_replica: str | None = None
    scheduler_hints: dict[str, Any] | None = None


class CreateVolume(CreateVolumeStrict, extra=True):
    """As before 3.53: what is not known is let pass."""


class ChangeVolume(Body):
    """What can be changed of a volume."""

    name: Value255 | Given | None = UNSET
    description: Value255 | Given | None = UNSET
    display_name: Value255 | Given | None = UNSET
    display_description: Value255 | Given | None = UNSET
    metadata: Metadata | Given | None = UNSET


class DeleteQuery(Query, extra=True):
    cascade: str | None = None
    force: str | None = since("3.23", default=None)


class SummaryQuery(Query, extra=True):
    all_tenants: str | None = None


def _create(ctx: Context, volume: CreateVolumeStrict, request: Request) -> VolumeView:
    """Create a volume.  It is creating until its back end has made it, then available."""
    if volume.consistencygroup_id:
        raise Invalid("Consistency groups have become groups: name a group_id, since microversion 3.13.", field="consistencygroup_id")
    group = ctx.see(ctx.db.get_to_build_on(Group, volume.group_id), "Group", volume.group_id) if volume.group_id else None
    for ref, field in ((volume.snapshot_id, "snapshot_id"), (volume.source_volid, "source_volid"), (volume.backup_id, "backup_id")):
        if ref is not None and not ref:
            raise Invalid(f"Invalid input for field {field}: an id is expected.", field=field)
    image_id = volume.image_ref or volume.image_id or None
    body = msgspec.json.decode(request.body)
    hints = volume.scheduler_hints or body.get("OS-SCH-HNT:scheduler_hints") or {}
    made = operations.create(
        ctx,
        operations.NewVolume(
            size=volume.size, name=_text(volume.name, volume.display_name), description=_text(volume.description, volume.display_description),
            image_id=image_id.rpartition("/")[2] if isinstance(image_id, str) else None, snapshot_id=volume.snapshot_id,
            source_volid=volume.source_volid, backup_id=volume.backup_id, volume_type=volume.volume_type,
            availability_zone=volume.availability_zone, metadata=volume.metadata or {}, hints=hints if isinstance(hints, dict) else {},
            multiattach=volume.multiattach is not None and truth(volume.multiattach, "multiattach"), group_id=group.id if group else None,
        ),
    )  # fmt: skip
    if group is not None:
        check_joins(group, made.volume_type_id)
    return views(ctx, [made], extended=False)[0]


def _text(*given: str | None) -> str | None:
    text = next((one for one in given if one is not None), None)
    return text.strip() if text is not None else None


@volumes.post("", rule=CREATE, answers=202, out="volume", until="3.52")
def create(ctx: Context, volume: CreateVolume, request: Request) -> VolumeView:
    return _create(ctx, volume, request)


@volumes.post("", rule=CREATE, answers=202, out="volume", since="3.53")
def create_strictly(ctx: Context, volume: CreateVolumeStrict, request: Request) -> VolumeView:
    return _create(ctx, volume, request)


@volumes.get("", rule=INDEX, out="volumes")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    if request.path.endswith("/"):  # a volume whose id is empty
        raise NotFound(kind="Volume", ref="")
    rows, extra = _rows(ctx, query, request)
    return listing(rows, briefs(ctx, rows), extra)


@volumes.get("/detail", rule=INDEX, out="volumes")
def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, list(views(ctx, rows)), extra)


def _rows(ctx: Context, query: ListQuery, request: Request) -> tuple[Page[Volume], dict[str, Any]]:
    assert ctx.version is not None
    where = projects(ctx, Volume, query, request)
    maps = {"metadata": "metadata", "glance_metadata": "image_metadata"} if ctx.version >= (3, 4) else {"metadata": "metadata"}
    flags = ("bootable", "multiattach") if ctx.version >= (3, 2) else ("multiattach",)
    equal = _EQUAL if ctx.is_admin else {name: column for name, column in _EQUAL.items() if name != "host"}
    where += filters(request, Volume, equal=equal, at=ctx.version, times=("created_at", "updated_at"), flags=flags, maps=maps)
    for name, value in request.query:
        if (name in _FOREIGN and value) or (name == "consumes_quota" and not truth(value, name)):
            where.append(sa.false())
    return found(ctx, Volume, query, where, window(ctx, query, SORTABLE))


@volumes.get("/summary", rule=INDEX, out="volume-summary", since="3.12")
def summary(ctx: Context, query: SummaryQuery) -> dict[str, Any]:
    """How many volumes there are, their GiB, and which metadata."""
    everything = ctx.is_admin and query.all_tenants is not None and truth(query.all_tenants, "all_tenants")
    where = [] if everything else [Volume.c.project_id == ctx.project_id]
    rows = ctx.db.rows(sa.select(Volume.c.size, Volume.c.metadata).where(*where))
    told: dict[str, Any] = {"total_count": len(rows), "total_size": sum(size for size, _ in rows)}
    if ctx.version is not None and ctx.version >= (3, 36):
        metadata: dict[str, list[str]] = {}
        for _, pairs in rows:
            for key, value in pairs.items():
                if value not in metadata.setdefault(key, []):
                    metadata[key].append(value)
        told["metadata"] = metadata
    return told


@volumes.get("/{volume_id}", rule=SHOW, out="volume")
def show(ctx: Context, volume_id: str) -> VolumeView:
    return view(ctx, get(ctx, volume_id))


@volumes.put("/{volume_id}", rule=UPDATE, out="volume")
def update(ctx: Context, volume_id: str, volume: ChangeVolume) -> VolumeView:
    row = get(ctx, volume_id)
    values: dict[str, Any] = {}
    for column, texts in (("name", (volume.name, volume.display_name)), ("description", (volume.description, volume.display_description))):
        text = next((one for one in texts if one is not UNSET), UNSET)
        if text is not UNSET:
            values[column] = text.strip() if isinstance(text, str) else text
    if isinstance(volume.metadata, dict):
        values["metadata"] = volume.metadata
    if not values:
        raise Invalid("Must specify at least one of the following options: name, description, metadata.")
    ctx.db.change(row, updated_at=clock.now(), **values)
    return views(ctx, [row], extended=False)[0]


@volumes.put("", rule=UPDATE, write=None)
@volumes.delete("", rule=DELETE, write=None)
def nameless(ctx: Context) -> None:
    """Of a volume whose id is empty."""
    raise NotFound(kind="Volume", ref="")


@volumes.delete("/{volume_id}", rule=DELETE, answers=202)
def delete(ctx: Context, volume_id: str, query: DeleteQuery) -> None:
    row = get(ctx, volume_id)
    force = query.force is not None and truth(query.force, "force")
    if force:
        ctx.allow(FORCE_DELETE.name, {"project_id": row.project_id})
    operations.delete(ctx, row, cascade=query.cascade is not None and truth(query.cascade, "cascade"), force=force)


def get(ctx: Context, volume_id: str) -> Volume:
    """The volume, if the caller may act on it by the route's rule."""
    return ctx.see(ctx.db.get_to_change(Volume, volume_id), "Volume", volume_id)

