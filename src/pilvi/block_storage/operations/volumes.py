"""Volumes: made, renamed, grown, taken back, deleted."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import quotas, types
from pilvi.block_storage.operations.hosts import zones
from pilvi.block_storage.policy import CREATE_MULTIATTACH
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Attachment, Backup, Snapshot, Volume
from pilvi.block_storage.workflows.change_volume import ExtendVolume, ReimageVolume, RevertVolume
from pilvi.block_storage.workflows.create_volume import CreateVolume
from pilvi.block_storage.workflows.delete_volume import DeleteVolume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.ids import is_uuid, new_id

_CLONED = ("available", "in-use", "backing-up", "uploading", "extending")  # states from which a volume can be cloned
_GIB = 1 << 30
_LARGEST = 2**31 - 1


class NewVolume(msgspec.Struct, kw_only=True):
    """A volume as it is asked for."""

    size: int | None = None
    name: str | None = None
    description: str | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    backup_id: str | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    multiattach: bool = False
    metadata: dict[str, str] = {}
    hints: dict[str, Any] = {}
    group_id: str | None = None


class _Source(msgspec.Struct, kw_only=True):
    """What a volume takes over from what it is made from."""

    size: int = 0  # GiB that it needs at least
    zone: str = ""
    type_id: str | None = None
    bootable: bool = False
    image_metadata: dict[str, str] | None = None
    multiattach: bool = False


def create(ctx: Context, new: NewVolume, *, start: bool = True) -> Volume:
    """Write the volume down and have it made; raises Invalid, NotFound, QuotaExceeded."""
    sources = [one for one in (new.image_id, new.snapshot_id, new.source_volid, new.backup_id) if one]
    if len(sources) > 1:
        raise Invalid("A volume is made from one source: an image, a snapshot, a volume or a backup.")
    source = _source(ctx, new)
    size = new.size if new.size is not None else source.size
    if size is None or size < 1:
        raise Invalid(f"Invalid input received: Volume size '{new.size}' must be an integer and greater than 0.", field="size")
    if size > _LARGEST:
        raise Invalid(f"Volume size {size} is too large.", field="size")
    if size < source.size:
        raise Invalid(f"Invalid input received: Volume size {size}GB cannot be smaller than what it is made from, {source.size}GB.", field="size")
    kind = _type(ctx, new, source)
    multiattach = new.multiattach or types.is_multiattach(kind) or source.multiattach
    if multiattach:
        ctx.allow(CREATE_MULTIATTACH.name)
    zone = checked_zone(ctx, new.availability_zone, source.zone)
    quotas.check(ctx, ctx.project_id, kind=kind, volumes=1, gigabytes=size, size=size)
    volume = ctx.db.insert(
        Volume(
            id=new_id(), project_id=ctx.project_id, user_id=ctx.user_id, name=new.name, description=new.description, size=size,
            availability_zone=zone, volume_type_id=kind.id if kind else None, bootable=source.bootable, multiattach=multiattach,
            image_id=new.image_id, snapshot_id=new.snapshot_id, source_volid=new.source_volid, backup_id=new.backup_id,
            metadata=new.metadata, image_metadata=source.image_metadata, scheduler_hints=new.hints, group_id=new.group_id,
            created_at=clock.now(),
        )
    )  # fmt: skip
    if start:
        ctx.start(CreateVolume(volume_id=volume.id))
    ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="create", status=volume.status))
    return volume


def _source(ctx: Context, new: NewVolume) -> _Source:
    if new.snapshot_id:
        seen = ctx.db.get(Snapshot, new.snapshot_id)
        origin = ctx.db.get_to_change(Volume, seen.volume_id) if seen is not None else None
        snapshot = ctx.see(ctx.db.get_to_build_on(Snapshot, new.snapshot_id), "Snapshot", new.snapshot_id, rule="volume:get_snapshot")
        if snapshot.status not in ("available", "backing-up"):
            raise wrong_state("used for a volume", "Snapshot", snapshot.id, snapshot.status, "available")
        return _taken_over(origin, snapshot.size)
    if new.source_volid:
        origin = ctx.see(ctx.db.get_to_change(Volume, new.source_volid), "Volume", new.source_volid, rule="volume:get")
        if origin.status not in _CLONED:
            raise wrong_state("cloned", "Volume", origin.id, origin.status, " or ".join(_CLONED[:2]))
        return _taken_over(origin, origin.size)
    if new.backup_id:
        backup = ctx.see(ctx.db.get_to_build_on(Backup, new.backup_id), "Backup", new.backup_id, rule="backup:get")
        if backup.status != "available":
            raise wrong_state("used for a volume", "Backup", backup.id, backup.status, "available")
        return _Source(size=backup.size, bootable=backup.bootable, image_metadata=backup.image_metadata)
    if new.image_id:
        return _from_image(ctx, new.image_id)
    return _Source()


def _taken_over(origin: Volume | None, size: int) -> _Source:
    if origin is None:
        return _Source(size=size)
    return _Source(
        size=size, zone=origin.availability_zone, type_id=origin.volume_type_id, bootable=origin.bootable, image_metadata=origin.image_metadata,
        multiattach=origin.multiattach,
    )  # fmt: skip


def _from_image(ctx: Context, image_id: str) -> _Source:
    from pilvi import image

    if not is_uuid(image_id):
        raise Invalid("Invalid image identifier or unable to access requested image.", field="imageRef")
    found = image.get(ctx, image_id)
    if found.status != "active":
        raise Invalid(f"Invalid input received: Image {image_id} is not active.", field="imageRef")
    needed = max(found.min_disk, -(-max(found.size or 0, found.virtual_size or 0) // _GIB))
    kept = dict(found.properties) | {
        "image_id": found.id, "image_name": found.name or "", "container_format": found.container_format or "",
        "disk_format": found.disk_format or "", "min_disk": str(found.min_disk), "min_ram": str(found.min_ram), "size": str(found.size or 0),
    }  # fmt: skip
    if found.checksum:
        kept["checksum"] = found.checksum
    return _Source(size=needed, bootable=True, image_metadata=kept)


def _type(ctx: Context, new: NewVolume, source: _Source) -> VolumeType | None:
    if new.volume_type:
        kind = types.visible(ctx, new.volume_type)
        origin_multiattach = source.multiattach
        if origin_multiattach and not types.is_multiattach(kind):
            raise Invalid("A volume made from a multiattach one must be of a multiattach type.", field="volume_type")
        return kind
    wanted = (source.image_metadata or {}).get("cinder_img_volume_type")
    if wanted and not source.type_id:
        return types.visible(ctx, wanted)
    kind = ctx.db.get(VolumeType, source.type_id) if source.type_id else types.default(ctx, ctx.project_id)
    if not types.stays(ctx, kind):
        raise NotFound("The type that the volume would have has just been deleted.")
    return kind


def checked_zone(ctx: Context, wanted: str | None, of_source: str) -> str:
    """The zone of a new volume or group; raises Invalid for one that is not there, or not the source's."""
    if wanted and wanted not in zones(ctx.program, ctx.db):
        raise Invalid(f"Availability zone '{wanted}' is invalid.", field="availability_zone")
    if wanted and of_source and wanted != of_source:
        raise Invalid(f"Invalid input received: what the volume is made from lies in zone '{of_source}'.", field="availability_zone")
    return wanted or of_source or ctx.program.settings.block_storage.availability_zone


def delete(ctx: Context, volume: Volume, *, cascade: bool = False, force: bool = False) -> None:
    """Have the volume gone, and its snapshots with a cascade; `force` in spite of its state, its attachments included."""
    if not force:
        if volume.group_id is not None:
            raise Invalid(f"Invalid volume: Volume {volume.id} is in group {volume.group_id}; take it out of the group first.")
        busy = volume.status in _ENGAGED or volume.attach_status != "detached"
        if busy:
            raise wrong_state(
                "deleted", "Volume", volume.id, volume.status, "available or error or error_restoring or error_extending or error_managing"
            )
    snapshots = ctx.db.all(Snapshot, Snapshot.c.volume_id == volume.id)
    if snapshots and not cascade:
        raise Invalid(f"Invalid volume: Volume {volume.id} still has {len(snapshots)} dependent snapshots; delete them first, or cascade.")
    for snapshot in snapshots:
        if not force and snapshot.status not in ("available", "error", "error_deleting", "deleting"):
            raise wrong_state("deleted with its volume", "Snapshot", snapshot.id, snapshot.status, "available or error")
        ctx.program.workflows.forget(ctx.db, snapshot.id)
        ctx.db.change(snapshot, status="deleting", updated_at=clock.now())
    if volume.copy_id:
        from pilvi import image

        image.fail(ctx.system(), volume.copy_id)
    ctx.db.change(volume, status="deleting", updated_at=clock.now())
    ctx.start(DeleteVolume(volume_id=volume.id))
    ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="delete", status=volume.status))


_ENGAGED = (
    "in-use", "attaching", "detaching", "reserved", "awaiting-transfer", "maintenance", "uploading", "backing-up", "restoring-backup",
    "extending", "reverting", "downloading",
)  # fmt: skip


def extend(ctx: Context, volume: Volume, new_size: int, *, attached: bool) -> None:
    """Have the volume larger; `attached` says whether one in use may be grown by this road."""
    allowed = ("available", "in-use") if attached else ("available",)
    if volume.status not in allowed:
        raise wrong_state("extended", "Volume", volume.id, volume.status, " or ".join(allowed))
    if new_size <= volume.size:
        raise Invalid(
            f"Invalid input received: New size for extend must be greater than current size. (current: {volume.size}, extended: {new_size}).",
            field="new_size",
        )
    if new_size > _LARGEST:
        raise Invalid(f"Volume size {new_size} is too large.", field="new_size")
    kind = ctx.db.get(VolumeType, volume.volume_type_id) if volume.volume_type_id else None
    quotas.check(ctx, volume.project_id, kind=kind, gigabytes=new_size - volume.size, size=new_size)
    ctx.db.change(volume, expect={"status": volume.status}, previous_status=volume.status, status="extending", updated_at=clock.now())
    ctx.start(ExtendVolume(volume_id=volume.id, new_size=new_size))


def revert(ctx: Context, volume: Volume, snapshot_id: str) -> None:
    """Have the volume as its last snapshot has it."""
    snapshot = ctx.see(ctx.db.get(Snapshot, snapshot_id), "Snapshot", snapshot_id)
    if snapshot.volume_id != volume.id:
        raise NotFound(kind="Snapshot", ref=snapshot_id)
    if volume.status != "available":
        raise wrong_state("reverted", "Volume", volume.id, volume.status, "available")
    if snapshot.status != "available":
        raise wrong_state("reverted to", "Snapshot", snapshot.id, snapshot.status, "available")
    latest = ctx.db.all(Snapshot, Snapshot.c.volume_id == volume.id, order=[Snapshot.c.created_at.desc()], limit=1)[0]
    if latest.id != snapshot.id:
        raise Invalid(f"Specified snapshot's id {snapshot.id} is not the latest one of volume {volume.id}.")
    if volume.size < snapshot.size:
        raise Invalid(f"Volume {volume.id} is smaller than its snapshot.")
    now = clock.now()
    ctx.db.change(volume, status="reverting", previous_status=volume.status, updated_at=now)
    ctx.db.change(snapshot, status="restoring", updated_at=now)
    ctx.start(RevertVolume(volume_id=volume.id, snapshot_id=snapshot.id))


def reimage(ctx: Context, volume: Volume, image_id: str, *, reserved: bool) -> None:
    """Have an image's data in place of what the volume holds; `reserved`: also of one that a server has reserved."""
    allowed = ("available", "error", "reserved") if reserved else ("available", "error")
    if volume.status not in allowed:
        raise wrong_state("written over", "Volume", volume.id, volume.status, " or ".join(allowed))
    if not volume.host or ctx.db.count(Attachment, Attachment.c.volume_id == volume.id, Attachment.c.connection.is_not(None)):
        raise Invalid(f"Volume {volume.id} is connected to a host, or in no back end.")
    source = _from_image(ctx, image_id)
    if source.size > volume.size:
        raise Invalid(f"Image {image_id} needs {source.size} GiB; the volume has {volume.size} GiB.", field="image_id")
    back = "reserved" if volume.status == "reserved" else "available"
    ctx.db.change(volume, status="downloading", previous_status=back, refill_image_id=image_id, updated_at=clock.now())
    ctx.start(ReimageVolume(volume_id=volume.id, image_metadata=source.image_metadata or {}))


def retype(ctx: Context, volume: Volume, wanted: str, policy: str) -> None:
    """Have the volume be of another type, if its back end can serve that; volumes do not move."""
    from pilvi.block_storage import scheduler
    from pilvi.kernel.errors import NoValidHost

    if volume.status not in ("available", "in-use"):
        raise wrong_state("retyped", "Volume", volume.id, volume.status, "available or in-use")
    if policy not in ("never", "on-demand"):
        raise Invalid("Invalid migration policy: it is never or on-demand.", field="migration_policy")
    kind = types.visible(ctx, wanted)
    if kind.id == volume.volume_type_id:
        raise Invalid(f"Retype needs volume to be in available or in-use state, and the type {kind.name} to be another than its own.")
    if types.is_multiattach(kind) != volume.multiattach and volume.status == "in-use":
        raise Invalid("A volume that is in use cannot become, or cease to be, multiattach.")
    quotas.check(ctx, volume.project_id, kind=kind, size=volume.size)
    as_wished = msgspec.structs.replace(volume, volume_type_id=kind.id, multiattach=types.is_multiattach(kind), size=0)
    as_wished.snapshot_id = as_wished.backup_id = None
    as_wished.source_volid = volume.id  # it must stay where it is
    try:
        scheduler.find(ctx.program, ctx.db, as_wished)
    except NoValidHost as error:
        raise Invalid(f"The back end of the volume cannot serve type {kind.name}, and volumes do not move: {error.message}") from error
    ctx.db.change(volume, volume_type_id=kind.id, multiattach=types.is_multiattach(kind), updated_at=clock.now())


def reset_status(ctx: Context, volume: Volume, status: str | None, attach_status: str | None) -> None:
    """An administrator says what state the volume is in."""
    values: dict[str, Any] = {"updated_at": clock.now()}
    if status is not None:
        values["status"] = status
    if attach_status is not None:
        values["attach_status"] = attach_status
        if attach_status == "detached":
            ctx.db.delete(Attachment, Attachment.c.volume_id == volume.id, Attachment.c.connection.is_(None))
    ctx.db.change(volume, **values)


def set_read_only(ctx: Context, volume: Volume, read_only: bool) -> None:
    if volume.status != "available":
        raise wrong_state("made read-only or writable", "Volume", volume.id, volume.status, "available")
    ctx.db.change(volume, read_only=read_only, updated_at=clock.now())


def write_metadata(ctx: Context, volume: Volume, metadata: dict[str, str]) -> None:
    """Write the user's metadata; not below a volume that is on its way to another project."""
    if volume.status in ("maintenance", "uploading"):
        raise Forbidden(f"Metadata cannot be changed while volume {volume.id} is {volume.status}.")
    ctx.db.change(volume, metadata=metadata, updated_at=clock.now())
