"""/backups: copies of volumes that outlive them."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Key255, ListQuery, Metadata, Value255, filters, found, listing, moment, projects, truth, window
from pilvi.block_storage.dialect import links
from pilvi.block_storage.operations import backups as operations
from pilvi.block_storage.tables.volumes import Backup
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource, View, since, wire

backups = Resource("/v3/backups")

INDEX = policy.reader("backup:get_all", "List backups.")
SHOW = policy.reader("backup:get", "Show a backup.")
CREATE = policy.member("backup:create", "Back a volume up.")
UPDATE = policy.member("backup:update", "Change a backup's name and description.")
DELETE = policy.member("backup:delete", "Delete a backup.")
RESTORE = policy.member("backup:restore", "Restore a backup.")
EXPORT_RECORD = policy.admin("backup:backup-export", "Export a backup's record.")
IMPORT_RECORD = policy.admin("backup:backup-import", "Take a backup's record in.")
RESET = policy.admin("volume_extension:backup_admin_actions:reset_status", "Say what state a backup is in.")
FORCE_DELETE = policy.admin("volume_extension:backup_admin_actions:force_delete", "Delete a backup whatever its state.")

_SORTABLE = {"id": "id", "name": "name", "display_name": "name", "status": "status", "created_at": "created_at", "size": "size",
             "volume_id": "volume_id", "data_timestamp": "data_timestamp"}  # fmt: skip
_EQUAL = {"id": "id", "name": "name", "status": "status", "volume_id": "volume_id", "snapshot_id": "snapshot_id", "size": "size"}
_STATUSES = ("available", "error", "creating", "deleting", "restoring", "error_deleting")


class CreateBackup(Body, extra=True):
    """A backup that is asked for."""

    volume_id: str
    name: Value255 | None = None
    description: Value255 | None = None
    container: Value255 | None = None
    incremental: bool | str | None = None
    force: bool | str | None = None
    snapshot_id: str | None = None
    metadata: Metadata | None = since("3.43", default=None)
    availability_zone: Value255 | None = since("3.51", default=None)


class ChangeBackup(Body, extra=True):
    name: Value255 | Given | None = UNSET
    description: Value255 | Given | None = UNSET
    metadata: Metadata | Given = since("3.43")


class Restore(Body, extra=True):
    volume_id: str | None = None
    name: Value255 | None = None


class RecordBody(Body):
    backup_service: Key255
    backup_url: str


class Reset(Body):
    status: str


class BriefBackup(View):
    id: str
    name: str | None
    links: list[dict[str, str]]


class BackupView(BriefBackup):
    """A backup."""

    status: str
    size: int
    object_count: int = 0
    availability_zone: str | None
    container: str | None
    created_at: str
    updated_at: str | None
    description: str | None
    fail_reason: str | None
    volume_id: str
    is_incremental: bool
    has_dependent_backups: bool = False
    snapshot_id: str | None
    data_timestamp: str
    project_id: str | Given = wire("os-backup-project-attr:project_id", default=UNSET, since="3.18")
    metadata: dict[str, str] = since("3.43")
    user_id: str = since("3.56")


def _brief(ctx: Context, one: Backup) -> BriefBackup:
    return BriefBackup(id=one.id, name=one.name, links=links(ctx.base_url, ctx.project_id, "backups", one.id))


def _view(ctx: Context, one: Backup) -> BackupView:
    return BackupView(
        id=one.id, name=one.name, links=links(ctx.base_url, ctx.project_id, "backups", one.id), status=one.status, size=one.size,
        availability_zone=one.availability_zone, container=one.container, created_at=clock.iso_micro(one.created_at),
        updated_at=moment(one.updated_at), description=one.description, fail_reason=one.fail_reason, volume_id=one.volume_id,
        is_incremental=one.incremental, snapshot_id=one.snapshot_id, data_timestamp=clock.iso_micro(one.data_timestamp),
        project_id=one.project_id if ctx.allowed(policy.SEE_BACKUP_PROJECT.name) else UNSET, metadata=one.metadata, user_id=one.user_id,
    )  # fmt: skip


@backups.post("", rule=CREATE, answers=202, out="backup")
def create(ctx: Context, backup: CreateBackup) -> BriefBackup:
    """Back a volume up.  Every backup is a full one, also where an incremental one is asked for."""
    made = operations.create(
        ctx,
        operations.NewBackup(
            volume_id=backup.volume_id, name=backup.name.strip() if backup.name else backup.name, description=backup.description,
            container=backup.container, incremental=backup.incremental is not None and truth(backup.incremental, "incremental"),
            force=backup.force is not None and truth(backup.force, "force"), snapshot_id=backup.snapshot_id, metadata=backup.metadata or {},
            availability_zone=backup.availability_zone,
        ),
    )  # fmt: skip
    return _brief(ctx, made)


@backups.get("", rule=INDEX, out="backups")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [_brief(ctx, one) for one in rows], extra)


@backups.get("/detail", rule=INDEX, out="backups")
def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [_view(ctx, one) for one in rows], extra)


def _rows(ctx: Context, query: ListQuery, request: Request) -> tuple[Page[Backup], dict[str, Any]]:
    assert ctx.version is not None
    where = projects(ctx, Backup, query, request)
    where += filters(request, Backup, equal=_EQUAL, at=ctx.version, times=("created_at", "updated_at"), maps={"metadata": "metadata"})
    return found(ctx, Backup, query, where, window(ctx, query, _SORTABLE))


@backups.post("/import_record", rule=IMPORT_RECORD, answers=201, out="backup", write=None, envelope="backup-record")
def import_record(ctx: Context, record: RecordBody) -> BriefBackup:
    """Know a backup again from its record."""
    made = operations.import_record(ctx.program, ctx, operations.read_record(record.backup_service, record.backup_url))
    return _brief(ctx, made)


@backups.get("/{backup_id}", rule=SHOW, out="backup")
def show(ctx: Context, backup_id: str) -> BackupView:
    return _view(ctx, _get(ctx, backup_id))


@backups.put("/{backup_id}", rule=UPDATE, out="backup", since="3.9")
def update(ctx: Context, backup_id: str, backup: ChangeBackup) -> BriefBackup:
    row = _get(ctx, backup_id)
    values = {name: getattr(backup, name) for name in ("name", "description", "metadata") if getattr(backup, name) is not UNSET}
    if not values:
        raise Invalid("Missing updates: name, description or metadata.")
    ctx.db.change(row, updated_at=clock.now(), **values)
    return _brief(ctx, row)


@backups.delete("/{backup_id}", rule=DELETE, answers=202)
def delete(ctx: Context, backup_id: str) -> None:
    operations.delete(ctx, _get(ctx, backup_id))


@backups.post("/{backup_id}/restore", rule=RESTORE, answers=202, out="restore")
def restore(ctx: Context, backup_id: str, restore: Restore) -> dict[str, str | None]:
    """Have the backup's content in a volume, a new one if none is named."""
    volume = operations.restore(ctx, _get(ctx, backup_id), restore.volume_id, restore.name)
    return {"backup_id": backup_id, "volume_id": volume.id, "volume_name": volume.name}


@backups.get("/{backup_id}/export_record", rule=EXPORT_RECORD, out="backup-record")
def export_record(ctx: Context, backup_id: str) -> dict[str, str]:
    return operations.export_record(_get(ctx, backup_id))


@backups.action("os-reset_status", of="backup_id", rule=RESET, answers=202)
def reset(ctx: Context, backup_id: str, body: Reset) -> None:
    if body.status not in _STATUSES:
        raise Invalid(f"Must specify a valid status: {', '.join(_STATUSES)}.", field="status")
    ctx.db.change(_get(ctx, backup_id), status=body.status, updated_at=clock.now())


@backups.action("os-force_delete", of="backup_id", rule=FORCE_DELETE, answers=202)
def force_delete(ctx: Context, backup_id: str, body: Any) -> None:
    operations.delete(ctx, _get(ctx, backup_id), force=True)


def _get(ctx: Context, backup_id: str) -> Backup:
    return ctx.see(ctx.db.get_to_change(Backup, backup_id), "Backup", backup_id)


