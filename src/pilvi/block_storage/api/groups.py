"""/groups (since 3.13) and /group_snapshots (since 3.14): volumes that are handled together."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Key255, ListQuery, Value255, filters, found, listing, projects, truth, window
from pilvi.block_storage.operations import groups as operations
from pilvi.block_storage.tables.groups import Group, GroupSnapshot
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Query, Request, Resource, View, since, wire

groups = Resource("/v3/groups", since="3.13")
group_snapshots = Resource("/v3/group_snapshots", since="3.14")

INDEX = policy.reader("group:get_all", "List groups.")
SHOW = policy.reader("group:get", "Show a group.")
CREATE = policy.member("group:create", "Create a group.")
UPDATE = policy.member("group:update", "Change a group and its volumes.")
DELETE = policy.member("group:delete", "Delete a group.")
RESET = policy.admin("group:reset_status", "Say what state a group is in.")
REPLICATION = policy.member("group:enable_replication", "Replicate a group.")
S_INDEX = policy.reader("group:get_all_group_snapshots", "List group snapshots.")
S_SHOW = policy.reader("group:get_group_snapshot", "Show a group snapshot.")
S_CREATE = policy.member("group:create_group_snapshot", "Make snapshots of a group.")
S_UPDATE = policy.member("group:update_group_snapshot", "Change a group snapshot.")
S_DELETE = policy.member("group:delete_group_snapshot", "Delete a group snapshot.")
S_RESET = policy.admin("group:reset_group_snapshot_status", "Say what state a group snapshot is in.")
_SORTABLE = {"id": "id", "name": "name", "created_at": "created_at", "status": "status", "group_type_id": "group_type_id"}
_EQUAL = {"id": "id", "name": "name", "status": "status", "group_type": "group_type_id", "group_id": "group_id"}


class CreateGroup(Body, extra=True):
    name: Value255 | None = None
    description: Value255 | None = None
    group_type: Key255
    volume_types: list[str]
    availability_zone: Value255 | None = None


class CopyGroup(Body, extra=True):
    name: Value255 | None = None
    description: Value255 | None = None
    group_snapshot_id: str | None = None
    source_group_id: str | None = None


class ChangeGroup(Body, extra=True):
    name: Value255 | Given | None = UNSET
    description: Value255 | Given | None = UNSET
    add_volumes: str | None = None
    remove_volumes: str | None = None


class DeleteGroup(Body):
    delete_volumes: bool | str = wire("delete-volumes", default=False)


class Reset(Body):
    status: str


class CreateSnapshot(Body, extra=True):
    group_id: str
    name: Value255 | None = None
    description: Value255 | None = None


class ChangeSnapshot(Body, extra=True):
    name: Value255 | Given | None = UNSET
    description: Value255 | Given | None = UNSET


class ShowQuery(Query, extra=True):
    list_volume: str | None = since("3.25", default=None)


class GroupView(View):
    """A group."""

    id: str
    status: str
    availability_zone: str
    created_at: str
    name: str | None
    description: str | None
    group_type: str
    volume_types: list[str]
    group_snapshot_id: str | None = since("3.14")
    source_group_id: str | None = since("3.14")
    volumes: list[str] | Given = since("3.25")
    replication_status: str = since("3.38", default="disabled")
    project_id: str | Given = since("3.58")


class GroupSnapshotView(View):
    """A group snapshot."""

    id: str
    group_id: str
    status: str
    created_at: str
    name: str | None
    description: str | None
    group_type_id: str
    project_id: str | Given = since("3.58")


def _view(ctx: Context, one: Group, *, with_volumes: bool) -> GroupView:
    return GroupView(
        id=one.id, status=one.status, availability_zone=one.availability_zone, created_at=clock.iso_micro(one.created_at), name=one.name,
        description=one.description, group_type=one.group_type_id, volume_types=one.volume_type_ids, group_snapshot_id=one.group_snapshot_id,
        source_group_id=one.source_group_id, project_id=one.project_id if ctx.is_admin else UNSET,
        volumes=[volume.id for volume in operations.members(ctx, one.id)] if with_volumes else UNSET,
    )  # fmt: skip


def _snapshot_view(ctx: Context, one: GroupSnapshot) -> GroupSnapshotView:
    return GroupSnapshotView(
        id=one.id, group_id=one.group_id, status=one.status, created_at=clock.iso_micro(one.created_at), name=one.name,
        description=one.description, group_type_id=one.group_type_id, project_id=one.project_id if ctx.is_admin else UNSET,
    )  # fmt: skip


@groups.get("", rule=INDEX, out="groups")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, Group, query, request)
    return listing(rows, [{"id": one.id, "name": one.name} for one in rows], extra)


@groups.get("/detail", rule=INDEX, out="groups")
def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, Group, query, request)
    with_volumes = truth(dict(request.query).get("list_volume", "false"), "list_volume")
    return listing(rows, [_view(ctx, one, with_volumes=with_volumes) for one in rows], extra)


def _rows(ctx: Context, kind: type[Any], query: ListQuery, request: Request) -> tuple[Page[Any], dict[str, Any]]:
    assert ctx.version is not None
    equal = {name: column for name, column in _EQUAL.items() if column in kind.c}
    where = [*projects(ctx, kind, query, request), *filters(request, kind, equal=equal, at=ctx.version)]
    return found(ctx, kind, query, where, window(ctx, query, _SORTABLE))


@groups.post("", rule=CREATE, answers=202, out="group")
def create(ctx: Context, group: CreateGroup) -> dict[str, Any]:
    made = operations.create(
        ctx, name=group.name, description=group.description, kind=operations.group_type(ctx, group.group_type),
        volume_type_ids=operations.known_types(ctx, group.volume_types), zone=group.availability_zone,
    )  # fmt: skip
    return {"id": made.id, "name": made.name}


@groups.action("create-from-src", "/action", rule=CREATE, answers=202, since="3.14", out="group")
def create_from(ctx: Context, body: CopyGroup) -> dict[str, Any]:
    """A group whose volumes are copies of another's, or of a group snapshot's."""
    if bool(body.group_snapshot_id) == bool(body.source_group_id):
        raise Invalid("Either 'group_snapshot_id' or 'source_group_id' must be provided to create a group from source, and not both.")
    snapshot = _snapshot(ctx, body.group_snapshot_id) if body.group_snapshot_id else None
    source = _group(ctx, body.source_group_id) if body.source_group_id else None
    made = operations.create_from(ctx, name=body.name, description=body.description, snapshot=snapshot, source=source)
    return {"id": made.id, "name": made.name}


@groups.get("/{group_id}", rule=SHOW, out="group")
def show(ctx: Context, group_id: str, query: ShowQuery) -> GroupView:
    return _view(ctx, _group(ctx, group_id), with_volumes=query.list_volume is not None and truth(query.list_volume, "list_volume"))


@groups.put("/{group_id}", rule=UPDATE, answers=202)
def update(ctx: Context, group_id: str, group: ChangeGroup) -> None:
    row = _group(ctx, group_id)
    values = {name: getattr(group, name) for name in ("name", "description") if getattr(group, name) is not UNSET}
    add, remove = _refs(group.add_volumes), _refs(group.remove_volumes)
    if not values and not add and not remove:
        raise Invalid("Name, description, add_volumes, and remove_volumes can not be all empty in the request body.")
    operations.change_members(ctx, row, add, remove)
    if values:
        ctx.db.change(row, **values)


def _refs(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


@groups.action("delete", of="group_id", rule=DELETE, answers=202)
def delete(ctx: Context, group_id: str, body: DeleteGroup) -> None:
    operations.delete(ctx, _group(ctx, group_id), with_volumes=truth(body.delete_volumes, "delete-volumes"))


@groups.action("reset_status", of="group_id", rule=RESET, answers=202, since="3.20")
def reset(ctx: Context, group_id: str, body: Reset) -> None:
    ctx.db.change(_group(ctx, group_id), status=_status(body))


def _status(body: Reset) -> str:
    known = ("available", "creating", "deleting", "error", "error_deleting", "updating")
    if body.status.lower() not in known:
        raise Invalid(f"Must specify a valid status: {', '.join(known)}.", field="status")
    return body.status.lower()


def _no_replication(ctx: Context, group_id: str, body: Any) -> None:
    raise Invalid(f"Group {_group(ctx, group_id).id} cannot be replicated: no back end here replicates.")


for _name in ("enable_replication", "disable_replication", "failover_replication", "list_replication_targets"):
    groups.action(_name, of="group_id", rule=REPLICATION, answers=202, since="3.38")(_no_replication)


@group_snapshots.get("", rule=S_INDEX, out="group_snapshots")
def list_snapshots(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, GroupSnapshot, query, request)
    return listing(rows, [{"id": one.id, "name": one.name} for one in rows], extra)


@group_snapshots.get("/detail", rule=S_INDEX, out="group_snapshots")
def detail_snapshots(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, GroupSnapshot, query, request)
    return listing(rows, [_snapshot_view(ctx, one) for one in rows], extra)


@group_snapshots.post("", rule=S_CREATE, answers=202, out="group_snapshot")
def create_snapshot(ctx: Context, group_snapshot: CreateSnapshot) -> dict[str, Any]:
    made = operations.snapshot(ctx, _group(ctx, group_snapshot.group_id), name=group_snapshot.name, description=group_snapshot.description)
    return {"id": made.id, "name": made.name, "group_type_id": made.group_type_id}


@group_snapshots.get("/{snapshot_id}", rule=S_SHOW, out="group_snapshot")
def show_snapshot(ctx: Context, snapshot_id: str) -> GroupSnapshotView:
    return _snapshot_view(ctx, _snapshot(ctx, snapshot_id))


@group_snapshots.put("/{snapshot_id}", rule=S_UPDATE, answers=202, out="group_snapshot")
def update_snapshot(ctx: Context, snapshot_id: str, group_snapshot: ChangeSnapshot) -> GroupSnapshotView:
    row = _snapshot(ctx, snapshot_id)
    values = {name: getattr(group_snapshot, name) for name in ("name", "description") if getattr(group_snapshot, name) is not UNSET}
    return _snapshot_view(ctx, ctx.db.change(row, **values) if values else row)


@group_snapshots.delete("/{snapshot_id}", rule=S_DELETE, answers=202)
def delete_snapshot(ctx: Context, snapshot_id: str) -> None:
    operations.delete_snapshot(ctx, _snapshot(ctx, snapshot_id))


@group_snapshots.action("reset_status", of="snapshot_id", rule=S_RESET, answers=202, since="3.19")
def reset_snapshot(ctx: Context, snapshot_id: str, body: Reset) -> None:
    ctx.db.change(_snapshot(ctx, snapshot_id), status=_status(body))


def _group(ctx: Context, group_id: str) -> Group:
    return ctx.see(ctx.db.get_to_change(Group, group_id), "Group", group_id)


def _snapshot(ctx: Context, snapshot_id: str) -> GroupSnapshot:
    return ctx.see(ctx.db.get_to_change(GroupSnapshot, snapshot_id), "GroupSnapshot", snapshot_id)
