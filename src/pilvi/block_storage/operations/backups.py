"""Backups: made, restored, deleted, and their records given out and taken in."""

from __future__ import annotations

import base64
import binascii

import msgspec

from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.operations import quotas, volumes
from pilvi.block_storage.tables.volumes import Backup, Snapshot, Volume
from pilvi.block_storage.workflows.copies import CreateBackup, DeleteBackup, RestoreBackup
from pilvi.block_storage.workflows.reach import agent_of
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.ids import is_uuid, new_id
from pilvi.kernel.program import Program

SERVICE = "cinder.backup.drivers.pilvi.CopyBackupDriver"  # the kind of keeper that a record names, in the form clients expect


class NewBackup(msgspec.Struct, kw_only=True):
    """A backup as it is asked for."""

    volume_id: str
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: bool = False
    force: bool = False
    snapshot_id: str | None = None
    metadata: dict[str, str] = {}
    availability_zone: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """What is needed to know a backup again whose row is lost."""

    id: str
    copy_id: str
    project_id: str
    volume_id: str
    host: str
    size: int
    name: str | None = None
    description: str | None = None
    bootable: bool = False
    volume_metadata: dict[str, str] = {}
    image_metadata: dict[str, str] | None = None
    data_timestamp: float = 0.0


def create(ctx: Context, new: NewBackup) -> Backup:
    """Write the backup down and have it made: a full copy, also when an incremental one is asked for."""
    volume = ctx.see(ctx.db.get_to_change(Volume, new.volume_id), "Volume", new.volume_id, rule="backup:create")
    now = clock.now()
    taken_at = now
    if new.snapshot_id:
        snapshot = ctx.see(ctx.db.get(Snapshot, new.snapshot_id), "Snapshot", new.snapshot_id, rule="volume:get_snapshot")
        if snapshot.volume_id != volume.id:
            raise Invalid(f"Snapshot {snapshot.id} is not of volume {volume.id}.", field="snapshot_id")
        if snapshot.status != "available":
            raise wrong_state("backed up", "Snapshot", snapshot.id, snapshot.status, "available")
        taken_at = snapshot.created_at
    elif volume.status not in ("available", "in-use"):
        raise wrong_state("backed up", "Volume", volume.id, volume.status, "available or in-use")
    elif volume.status == "in-use" and not new.force:
        raise Invalid(f"Invalid volume: Volume {volume.id} is in use; use the force flag to back it up all the same.")
    parent = None
    if new.incremental:
        same = (Backup.c.volume_id == volume.id, Backup.c.project_id == volume.project_id, Backup.c.status == "available")
        parent = ctx.db.one(Backup, *same)
        if parent is None:
            raise Invalid("Invalid backup: No backups available to do an incremental backup.")
    if not volume.host:
        raise Invalid(f"Volume {volume.id} is in no back end.")
    quotas.check_backup(ctx, volume.project_id, volume.size)
    ref = new_id()
    backup = ctx.db.insert(
        Backup(
            id=ref, copy_id=ref, project_id=volume.project_id, user_id=ctx.user_id, volume_id=volume.id, snapshot_id=new.snapshot_id,
            name=new.name,
            description=new.description, size=volume.size, host=volume.host.partition("#")[0], container=new.container,
            availability_zone=new.availability_zone or volume.availability_zone, metadata=new.metadata, data_timestamp=taken_at, created_at=now,
            bootable=volume.bootable, volume_metadata=volume.metadata, image_metadata=volume.image_metadata,
        )
    )  # fmt: skip
    if not new.snapshot_id:
        ctx.db.change(volume, previous_status=volume.status, status="backing-up", updated_at=now)
    ctx.start(CreateBackup(backup_id=backup.id, volume_host=volume.host))
    return backup


def restore(ctx: Context, backup: Backup, volume_id: str | None, name: str | None) -> Volume:
    """Have the backup's content in that volume, or in a new one."""
    if backup.status != "available":
        raise wrong_state("restored", "Backup", backup.id, backup.status, "available")
    if volume_id is None:
        volume = volumes.create(
            ctx, volumes.NewVolume(size=backup.size, name=name or f"restore_backup_{backup.id}", backup_id=backup.id,
                                   description="auto-created_from_restore_from_backup"), start=False,
        )  # fmt: skip
    else:
        volume = ctx.see(ctx.db.get_to_change(Volume, volume_id), "Volume", volume_id)
        if volume.status != "available":
            raise wrong_state("restored into", "Volume", volume.id, volume.status, "available")
        if volume.size < backup.size:
            raise Invalid(f"Invalid volume: volume size {volume.size} is too small to restore backup of size {backup.size}.")
        if volume.host.partition("#")[0] != backup.host:
            raise Invalid(f"The backup lies in {backup.host} and the volume in {volume.host}: restore the backup to a new volume.")
        if ctx.db.count(Snapshot, Snapshot.c.volume_id == volume.id):
            raise Invalid(f"Volume {volume.id} has snapshots; restore the backup to another volume, or delete them first.")
    now = clock.now()
    ctx.db.change(
        volume, previous_status=volume.status, status="restoring-backup", restored_from=backup.id, bootable=backup.bootable,
        metadata=volume.metadata | backup.volume_metadata, image_metadata=backup.image_metadata, updated_at=now,
    )  # fmt: skip
    ctx.db.change(backup, status="restoring", updated_at=now)
    ctx.start(RestoreBackup(volume_id=volume.id, backup_id=backup.id))
    return volume


def delete(ctx: Context, backup: Backup, *, force: bool = False) -> None:
    """Have the backup gone; `force` in spite of its state."""
    if not force and backup.status not in ("available", "error", "error_deleting", "deleting"):
        raise wrong_state("deleted", "Backup", backup.id, backup.status, "available or error")
    ctx.db.change(backup, status="deleting", updated_at=clock.now())
    ctx.start(DeleteBackup(backup_id=backup.id))


def export_record(backup: Backup) -> dict[str, str]:
    """The backup's record, from which it can be known again."""
    if backup.status != "available":
        raise wrong_state("exported", "Backup", backup.id, backup.status, "available")
    record = Record(
        id=backup.id, copy_id=backup.copy_id, project_id=backup.project_id, volume_id=backup.volume_id, host=backup.host, size=backup.size,
        name=backup.name,
        description=backup.description, data_timestamp=backup.data_timestamp, bootable=backup.bootable,
        volume_metadata=backup.volume_metadata, image_metadata=backup.image_metadata,
    )  # fmt: skip
    return {"backup_service": SERVICE, "backup_url": base64.b64encode(msgspec.json.encode(record)).decode()}


def read_record(service: str, url: str) -> Record:
    """The record that a text holds; raises Invalid."""
    if service != SERVICE:
        raise Invalid(f"Backups of the kind {service} cannot be taken in here; known is {SERVICE}.", field="backup_service")
    try:
        return msgspec.json.decode(base64.b64decode(url, validate=True), type=Record)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise Invalid("Can't parse backup record.", field="backup_url") from None


def import_record(program: Program, ctx_of: Context, record: Record) -> Backup:
    """Know a backup again whose data lie in its back end.  Outside of a transaction."""
    if not (is_uuid(record.id) and is_uuid(record.copy_id)):
        raise Invalid("Can't parse backup record: it holds no ids.", field="backup_url")
    missing = agent_of(program, record.host).missing_copies([record.copy_id])
    if missing:
        raise NotFound(f"The data of backup {record.id} are not in {record.host}.")
    with program.db.transaction() as tx:
        if tx.get(Backup, record.id) is not None:
            raise Conflict(f"Backup {record.id} is known already.")
        return tx.insert(
            Backup(
                id=record.id, copy_id=record.copy_id, project_id=ctx_of.project_id, user_id=ctx_of.user_id, volume_id=record.volume_id,
                name=record.name,
                description=record.description, size=record.size, status="available", host=record.host,
                data_timestamp=record.data_timestamp, created_at=clock.now(), bootable=record.bootable,
                volume_metadata=record.volume_metadata, image_metadata=record.image_metadata,
            )
        )  # fmt: skip
