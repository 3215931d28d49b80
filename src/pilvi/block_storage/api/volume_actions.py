"""/volumes/{id}/action: what one does with a volume that is there."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Value255, moment, truth
from pilvi.block_storage.api.volumes import get
from pilvi.block_storage.operations import images, types
from pilvi.block_storage.operations import volumes as operations
from pilvi.block_storage.tables.types import VolumeType
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Body, Positive, Resource, Version, since

actions = Resource("/v3/volumes", tag="volumes")

_A = "volume_extension:volume_actions:"
_ADMIN = "volume_extension:volume_admin_actions:"
EXTEND = policy.member("volume:extend", "Grow a volume.")
EXTEND_COMPLETION = policy.admin("volume:extend_volume_completion", "Say that a volume's growth has ended outside.")
REVERT = policy.member("volume:revert_to_snapshot", "Take a volume back to its last snapshot.")
RETYPE = policy.member("volume:retype", "Give a volume another type.")
READ_ONLY = policy.member("volume:update_readonly_flag", "Make a volume read-only or writable.")
SET_BOOTABLE = policy.member("volume_extension:volume_actions:set_bootable", "Say whether a volume can be booted from.")
UPLOAD = policy.member(_A + "upload_image", "Upload a volume as an image.")
RESET = policy.admin(_ADMIN + "reset_status", "Say what state a volume is in.")
FORCE_DELETE = policy.admin(_ADMIN + "force_delete", "Delete a volume whatever its state.")
MIGRATE = policy.admin(_ADMIN + "migrate_volume", "Move a volume to another back end.")
MIGRATED = policy.admin(_ADMIN + "migrate_volume_completion", "End the move of a volume.")
REIMAGE = policy.member("volume:reimage", "Write an image over a volume.")
REIMAGE_RESERVED = policy.member("volume:reimage_reserved", "Write an image over a reserved volume.")


class Extend(Body):
    new_size: Positive


class ExtendCompletion(Body):
    error: bool | str = False


class Revert(Body):
    snapshot_id: str


class Retype(Body):
    new_type: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    migration_policy: str | None = None


class ReadOnly(Body):
    readonly: bool | str


class Bootable(Body):
    bootable: bool | str


class Reset(Body):
    status: str | None = None
    attach_status: str | None = None
    migration_status: str | None = None


class UploadImage(Body, extra=True):
    image_name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    force: bool | str = False
    disk_format: Value255 | None = None
    container_format: Value255 | None = None
    visibility: str | None = since("3.1", default=None)
    protected: bool | str | None = since("3.1", default=None)


class Reimage(Body):
    image_id: str
    reimage_reserved: bool | str = False


@actions.action("os-extend", of="volume_id", rule=EXTEND, answers=202)
def extend(ctx: Context, volume_id: str, body: Extend) -> None:
    """Grow a volume; since 3.42 one that is attached, too."""
    assert ctx.version is not None
    volume = get(ctx, volume_id)
    if volume.status == "in-use" and ctx.version >= Version(3, 42):
        ctx.allow(policy.EXTEND_ATTACHED.name, {"project_id": volume.project_id})
    operations.extend(ctx, volume, body.new_size, attached=ctx.version >= Version(3, 42))


@actions.action("os-extend_volume_completion", of="volume_id", rule=EXTEND_COMPLETION, answers=202, since="3.71")
def complete_extend(ctx: Context, volume_id: str, body: ExtendCompletion) -> None:
    """No back end here waits for that: growth ends by itself."""
    volume = get(ctx, volume_id)
    raise Invalid(f"Invalid volume: Volume {volume.id} does not wait for the end of an extension; its back end grows volumes by itself.")


@actions.action("revert", of="volume_id", rule=REVERT, answers=202, since="3.40")
def revert(ctx: Context, volume_id: str, body: Revert) -> None:
    operations.revert(ctx, get(ctx, volume_id), body.snapshot_id)


@actions.action("os-retype", of="volume_id", rule=RETYPE, answers=202)
def retype(ctx: Context, volume_id: str, body: Retype) -> None:
    operations.retype(ctx, get(ctx, volume_id), body.new_type, body.migration_policy or "never")


@actions.action("os-update_readonly_flag", of="volume_id", rule=READ_ONLY, answers=202)
def set_read_only(ctx: Context, volume_id: str, body: ReadOnly) -> None:
    operations.set_read_only(ctx, get(ctx, volume_id), truth(body.readonly, "readonly"))


@actions.action("os-set_bootable", of="volume_id", rule=SET_BOOTABLE)
def set_bootable(ctx: Context, volume_id: str, body: Bootable) -> None:
    ctx.db.change(get(ctx, volume_id), bootable=truth(body.bootable, "bootable"), updated_at=clock.now())


@actions.action("os-reset_status", of="volume_id", rule=RESET, answers=202)
def reset(ctx: Context, volume_id: str, body: Reset) -> None:
    if body.status is None and body.attach_status is None and body.migration_status is None:
        raise Invalid("Must specify 'status', 'attach_status' or 'migration_status' for update.")
    for value, field, known in ((body.status, "status", _STATUSES), (body.attach_status, "attach_status", ("attached", "detached"))):
        if value is not None and value.lower() not in known:
            raise Invalid(f"Must specify a valid {field}: {', '.join(known)}.", field=field)
    operations.reset_status(ctx, get(ctx, volume_id), body.status and body.status.lower(), body.attach_status and body.attach_status.lower())


_STATUSES = (
    "creating", "available", "deleting", "error", "error_deleting", "error_managing", "managing", "attaching", "in-use", "detaching",
    "maintenance", "reserved", "awaiting-transfer", "error_extending", "error_restoring", "extending", "uploading",
)  # fmt: skip


@actions.action("os-force_delete", of="volume_id", rule=FORCE_DELETE, answers=202)
def force_delete(ctx: Context, volume_id: str, body: Any) -> None:
    operations.delete(ctx, get(ctx, volume_id), cascade=True, force=True)


@actions.action("os-migrate_volume", of="volume_id", rule=MIGRATE, answers=202)
def migrate(ctx: Context, volume_id: str, body: dict[str, Any]) -> None:
    """Volumes stay in the back end that made them."""
    volume = get(ctx, volume_id)
    host = body.get("host")
    if host == volume.host:
        raise Invalid(f"Invalid host: No available service named {host}: the volume is there already.")
    raise Invalid(f"Volume {volume.id} cannot move to {host}: back ends share no data here; make a backup, or an image, and restore it there.")


@actions.action("os-migrate_volume_completion", of="volume_id", rule=MIGRATED)
def complete_migration(ctx: Context, volume_id: str, body: dict[str, Any]) -> None:
    volume = get(ctx, volume_id)
    raise Invalid(f"Volume {volume.id} is not being migrated.")


@actions.action("os-reimage", of="volume_id", rule=REIMAGE, answers=202, since="3.68")
def reimage(ctx: Context, volume_id: str, body: Reimage) -> None:
    """Have an image's data in place of what the volume holds."""
    volume = get(ctx, volume_id)
    reserved = truth(body.reimage_reserved, "reimage_reserved")
    if reserved:
        ctx.allow(REIMAGE_RESERVED.name, {"project_id": volume.project_id})
    operations.reimage(ctx, volume, body.image_id, reserved=reserved)


@actions.action("os-volume_upload_image", of="volume_id", rule=UPLOAD, answers=202, out="os-volume_upload_image")
def upload(ctx: Context, volume_id: str, body: UploadImage) -> dict[str, Any]:
    """Make an image of the volume."""
    assert ctx.version is not None
    volume = get(ctx, volume_id)
    modern = ctx.version >= Version(3, 1)
    asked = images.Upload(
        name=body.image_name, disk_format=body.disk_format or "raw", container_format=body.container_format or "bare",
        visibility=body.visibility or "private", protected=body.protected is not None and truth(body.protected, "protected"),
        force=truth(body.force, "force"),
    )  # fmt: skip
    if asked.visibility not in ("public", "private", "community", "shared"):
        raise Invalid("Invalid visibility: it is public, private, community or shared.", field="visibility")
    if asked.visibility == "public":
        ctx.allow(policy.UPLOAD_PUBLIC.name, {"project_id": volume.project_id})
    image_id = images.upload(ctx, volume, asked)
    told: dict[str, Any] = {
        "id": volume.id, "updated_at": moment(volume.updated_at), "status": "uploading", "display_description": volume.description,
        "size": volume.size, "volume_type": _type(ctx, volume.volume_type_id), "image_id": image_id, "container_format": asked.container_format,
        "disk_format": asked.disk_format, "image_name": asked.name,
    }  # fmt: skip
    return told | ({"visibility": asked.visibility, "protected": asked.protected} if modern else {})


def _type(ctx: Context, type_id: str | None) -> dict[str, Any] | None:
    kind: VolumeType | None = types.by_id(ctx, type_id) if type_id else None
    if kind is None:
        return None
    return {
        "id": kind.id, "name": kind.name, "description": kind.description, "is_public": kind.is_public, "extra_specs": kind.extra_specs,
        "qos_specs_id": kind.qos_specs_id, "created_at": moment(kind.created_at), "updated_at": moment(kind.updated_at), "deleted": False,
        "deleted_at": None,
    }  # fmt: skip
