"""Snapshots: made and deleted."""

from __future__ import annotations

from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.operations import quotas
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Backup, Snapshot, Volume
from pilvi.block_storage.workflows.snapshots import CreateSnapshot, DeleteSnapshot
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.ids import new_id


def create(ctx: Context, volume: Volume, *, name: str | None, description: str | None, metadata: dict[str, str], force: bool) -> Snapshot:
    """Write the snapshot down and have it made; `force`: also of an attached volume."""
    allowed = ("available", "in-use") if force else ("available",)
    if volume.status not in allowed:
        raise wrong_state("snapshot", "Volume", volume.id, volume.status, " or ".join(allowed))
    kind = ctx.db.get(VolumeType, volume.volume_type_id) if volume.volume_type_id else None
    quotas.check(ctx, volume.project_id, kind=kind, snapshots=1, gigabytes=volume.size)
    snapshot = ctx.db.insert(
        Snapshot(
            id=new_id(), project_id=volume.project_id, user_id=ctx.user_id, volume_id=volume.id, volume_type_id=volume.volume_type_id,
            name=name, description=description, size=volume.size, metadata=metadata, created_at=clock.now(),
        )
    )  # fmt: skip
    ctx.start(CreateSnapshot(snapshot_id=snapshot.id))
    return snapshot


def delete(ctx: Context, snapshot: Snapshot, *, force: bool = False) -> None:
    """Have the snapshot gone; `force` in spite of its state, and of its being part of a group's."""
    if not force and snapshot.group_snapshot_id is not None:
        raise Invalid(f"Invalid snapshot: Snapshot {snapshot.id} is part of group snapshot {snapshot.group_snapshot_id}; delete that.")
    if not force and snapshot.status not in ("available", "error", "error_deleting", "creating", "deleting"):
        raise wrong_state("deleted", "Snapshot", snapshot.id, snapshot.status, "available or error")
    if not force and ctx.db.count(Backup, Backup.c.snapshot_id == snapshot.id, Backup.c.status == "creating"):
        raise Invalid(f"Invalid snapshot: Snapshot {snapshot.id} is being backed up.")
    if not force and ctx.db.count(Volume, Volume.c.snapshot_id == snapshot.id, Volume.c.status == "creating"):
        raise Invalid(f"Invalid snapshot: a volume is being made from snapshot {snapshot.id}.")
    ctx.db.change(snapshot, status="deleting", updated_at=clock.now())
    ctx.start(DeleteSnapshot(snapshot_id=snapshot.id))
