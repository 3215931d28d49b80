"""/snapshots: points in time of volumes."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, Metadata, Value255, filters, found, listing, moment, projects, truth, window
from pilvi.block_storage.operations import snapshots as operations
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource, Version, View, since, wire

snapshots = Resource("/v3/snapshots")

CREATE = policy.member("volume:create_snapshot", "Make a snapshot.")
SHOW = policy.reader("volume:get_snapshot", "Show a snapshot.")
INDEX = policy.reader("volume:get_all_snapshots", "List snapshots.")
UPDATE = policy.member("volume:update_snapshot", "Change a snapshot's name and description.")
DELETE = policy.member("volume:delete_snapshot", "Delete a snapshot.")
RESET = policy.admin("volume_extension:snapshot_admin_actions:reset_status", "Say what state a snapshot is in.")
FORCE_DELETE = policy.admin("volume_extension:snapshot_admin_actions:force_delete", "Delete a snapshot whatever its state.")
UPDATE_STATUS = policy.member("snapshot_extension:snapshot_actions:update_snapshot_status", "Tell how the making of a snapshot goes.")

_SORTABLE = {
    "id": "id", "name": "name", "display_name": "name", "status": "status", "created_at": "created_at", "size": "size",
    "volume_size": "size", "volume_id": "volume_id", "description": "description", "project_id": "project_id",
}  # fmt: skip
_EQUAL = {
    "id": "id", "name": "name", "display_name": "name", "status": "status", "volume_id": "volume_id", "description": "description",
    "display_description": "description", "user_id": "user_id",
}  # fmt: skip
_STATUSES = ("available", "creating", "deleting", "error", "error_deleting")


class CreateSnapshot(Body, extra=True):
    """A snapshot that is asked for."""

    volume_id: str | None = None
    name: Value255 | None = None
    description: Value255 | None = None
    display_name: Value255 | None = None
    display_description: Value255 | None = None
    force: bool | str | None = None
    metadata: Metadata | None = None


class ChangeSnapshot(Body, extra=True):
    name: Value255 | Given | None = UNSET
    description: Value255 | Given | None = UNSET
    display_name: Value255 | Given | None = UNSET
    display_description: Value255 | Given | None = UNSET


class Reset(Body):
    status: str


class UpdateStatus(Body):
    status: str
    progress: str | None = None


class SnapshotView(View):
    """A snapshot."""

    id: str
    name: str | None
    description: str | None
    status: str
    size: int
    volume_id: str
    metadata: dict[str, str]
    created_at: str
    updated_at: str | None
    user_id: str = since("3.41")
    consumes_quota: bool = since("3.65", default=True)
    group_snapshot_id: str | None = since("3.14")
    progress: str | Given = wire("os-extended-snapshot-attributes:progress", default=UNSET)
    project_id: str | Given = wire("os-extended-snapshot-attributes:project_id", default=UNSET)


def view(snapshot: Snapshot, *, full: bool = False) -> SnapshotView:
    """`full`: as in show and detailed lists."""
    return SnapshotView(
        id=snapshot.id, name=snapshot.name, description=snapshot.description, status=snapshot.status, size=snapshot.size,
        volume_id=snapshot.volume_id, metadata=snapshot.metadata, created_at=clock.iso_micro(snapshot.created_at),
        updated_at=moment(snapshot.updated_at), user_id=snapshot.user_id,
        group_snapshot_id=snapshot.group_snapshot_id, progress=snapshot.progress if full else UNSET,
        project_id=snapshot.project_id if full else UNSET,
    )  # fmt: skip


@snapshots.post("", rule=CREATE, answers=202, out="snapshot")
def create(ctx: Context, snapshot: CreateSnapshot) -> SnapshotView:
    """Make a snapshot; of an attached volume with `force`, since 3.66 always."""
    assert ctx.version is not None
    ref = snapshot.volume_id or ""
    volume = ctx.see(ctx.db.get_to_change(Volume, ref), "Volume", ref)
    asked = snapshot.force is not None and truth(snapshot.force, "force")
    if ctx.version >= Version(3, 66):
        if snapshot.force is not None and not asked:
            raise Invalid("Invalid value for force: since microversion 3.66 it is always true and cannot be said to be false.", field="force")
        asked = True
    name = next((one.strip() for one in (snapshot.name, snapshot.display_name) if one is not None), None)
    description = next((one.strip() for one in (snapshot.description, snapshot.display_description) if one is not None), None)
    return view(operations.create(ctx, volume, name=name, description=description, metadata=snapshot.metadata or {}, force=asked))


@snapshots.get("", rule=INDEX, out="snapshots")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [view(one) for one in rows], extra)


@snapshots.get("/detail", rule=INDEX, out="snapshots")
def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [view(one, full=True) for one in rows], extra)


def _rows(ctx: Context, query: ListQuery, request: Request) -> tuple[Page[Snapshot], dict[str, Any]]:
    assert ctx.version is not None
    where = projects(ctx, Snapshot, query, request)
    maps = {"metadata": "metadata"} if ctx.version >= Version(3, 22) else {}
    where += filters(request, Snapshot, equal=_EQUAL, at=ctx.version, times=("created_at", "updated_at"), maps=maps)
    return found(ctx, Snapshot, query, where, window(ctx, query, _SORTABLE))


@snapshots.get("/{snapshot_id}", rule=SHOW, out="snapshot")
def show(ctx: Context, snapshot_id: str) -> SnapshotView:
    return view(_get(ctx, snapshot_id), full=True)


@snapshots.put("/{snapshot_id}", rule=UPDATE, out="snapshot")
def update(ctx: Context, snapshot_id: str, snapshot: ChangeSnapshot) -> SnapshotView:
    row = _get(ctx, snapshot_id)
    values: dict[str, Any] = {}
    for column, texts in (("name", (snapshot.name, snapshot.display_name)), ("description", (snapshot.description, snapshot.display_description))):
        text = next((one for one in texts if one is not UNSET), UNSET)
        if text is not UNSET:
            values[column] = text.strip() if isinstance(text, str) else text
    if not values:
        raise Invalid("Must specify at least one of the following options: name, description.")
    ctx.db.change(row, updated_at=clock.now(), **values)
    return view(row)


@snapshots.delete("/{snapshot_id}", rule=DELETE, answers=202)
def delete(ctx: Context, snapshot_id: str) -> None:
    operations.delete(ctx, _to_delete(ctx, snapshot_id))


@snapshots.action("os-reset_status", of="snapshot_id", rule=RESET, answers=202)
def reset(ctx: Context, snapshot_id: str, body: Reset) -> None:
    if body.status.lower() not in _STATUSES:
        raise Invalid(f"Must specify a valid status: {', '.join(_STATUSES)}.", field="status")
    ctx.db.change(_get(ctx, snapshot_id), status=body.status.lower(), updated_at=clock.now())


@snapshots.action("os-force_delete", of="snapshot_id", rule=FORCE_DELETE, answers=202)
def force_delete(ctx: Context, snapshot_id: str, body: Any) -> None:
    operations.delete(ctx, _to_delete(ctx, snapshot_id), force=True)


@snapshots.action("os-update_snapshot_status", of="snapshot_id", rule=UPDATE_STATUS, answers=202)
def update_status(ctx: Context, snapshot_id: str, body: UpdateStatus) -> None:
    """Whoever makes a snapshot outside tells how it goes."""
    row = _get(ctx, snapshot_id)
    moves = {"creating": ("creating", "available", "error"), "deleting": ("deleting", "error_deleting")}
    if row.status not in moves:
        raise Invalid(f"Snapshot status {row.status} not allowed for update_snapshot_status.")
    if body.status not in moves[row.status]:
        raise Invalid(f"Provided snapshot status {body.status} not allowed for snapshot with status {row.status}.")
    ctx.db.change(row, status=body.status, progress=body.progress or row.progress, updated_at=clock.now())


def _to_delete(ctx: Context, snapshot_id: str) -> Snapshot:
    """The snapshot, locked; its volume first, as who uses a snapshot does."""
    ctx.db.get_to_change(Volume, _get(ctx, snapshot_id).volume_id)
    return ctx.see(ctx.db.get_to_change(Snapshot, snapshot_id), "Snapshot", snapshot_id)


def _get(ctx: Context, snapshot_id: str) -> Snapshot:
    return ctx.see(ctx.db.get(Snapshot, snapshot_id), "Snapshot", snapshot_id)
