"""The door of block storage: what services above it may call."""

from __future__ import annotations

import msgspec

from pilvi.block_storage.drivers import Connection
from pilvi.block_storage.drivers.gates import Ways
from pilvi.block_storage.events import AttachmentsAsked, DetachAsked, VolumeChanged, VolumeExtended
from pilvi.block_storage.operations import attachments as _attachments
from pilvi.block_storage.operations import snapshots as _snapshots
from pilvi.block_storage.operations import volumes as _volumes
from pilvi.block_storage.operations.types import names as _type_names
from pilvi.block_storage.tables.volumes import Attachment, Snapshot, Volume
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import NotFound
from pilvi.kernel.program import Program


class VolumeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as other services see it."""

    id: str
    name: str
    size_gib: int
    status: str
    bootable: bool
    multiattach: bool
    project_id: str
    image_metadata: dict[str, str]
    volume_type: str
    availability_zone: str
    encrypted: bool
    attachments: list[tuple[str, str]]  # (server id, device)


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as other services see it."""

    id: str
    volume_id: str
    size_gib: int
    status: str


def _volume(ctx: Context, volume_id: str, rule: str) -> Volume:
    return ctx.see(ctx.db.get_to_change(Volume, volume_id), "Volume", volume_id, rule=rule)


def _attachment(ctx: Context, attachment_id: str) -> Attachment:
    found = ctx.db.get(Attachment, attachment_id)
    if found is None:
        raise NotFound(kind="Volume attachment", ref=attachment_id)
    return found


def get(ctx: Context, volume_id: str) -> VolumeInfo:
    """The volume; NotFound when it is absent or not the caller's to see."""
    volume = _volume(ctx, volume_id, "volume:get")
    kinds = _type_names(ctx.db, {volume.volume_type_id}) if volume.volume_type_id else {}
    rows = _attachments.of(ctx.db, volume_id) if volume.attach_status != "detached" else []
    return VolumeInfo(
        id=volume.id, name=volume.name or "", size_gib=volume.size, status=volume.status, bootable=volume.bootable,
        multiattach=volume.multiattach, project_id=volume.project_id, image_metadata=volume.image_metadata or {},
        volume_type=kinds.get(volume.volume_type_id or "", ""), availability_zone=volume.availability_zone, encrypted=False,
        attachments=[(one.server_id or "", one.device or "") for one in rows],
    )  # fmt: skip


def get_snapshot(ctx: Context, snapshot_id: str) -> SnapshotInfo:
    """The snapshot; NotFound when it is absent or not the caller's to see."""
    found = ctx.see(ctx.db.get(Snapshot, snapshot_id), "Snapshot", snapshot_id, rule="volume:get_snapshot")
    return SnapshotInfo(id=found.id, volume_id=found.volume_id, size_gib=found.size, status=found.status)


def create_volume(
    ctx: Context, *, size_gib: int | None = None, name: str = "", image_id: str | None = None, snapshot_id: str | None = None,
    source_volume_id: str | None = None, volume_type: str | None = None, availability_zone: str | None = None, description: str | None = None,
) -> str:  # fmt: skip
    """Have a volume made within the caller's quota; answers its id at once, see `status_of`."""
    ctx.allow("volume:create")
    new = _volumes.NewVolume(
        size=size_gib, name=name, description=description, image_id=image_id, snapshot_id=snapshot_id, source_volid=source_volume_id,
        volume_type=volume_type, availability_zone=availability_zone,
    )  # fmt: skip
    return _volumes.create(ctx, new).id


def status_of(tx: Transaction, volume_ids: list[str]) -> dict[str, str]:
    """Volume id to status, of those that are there."""
    return {one.id: one.status for one in tx.by(Volume, Volume.c.id, volume_ids)}


def delete_volume(ctx: Context, volume_id: str) -> None:
    """Have the volume gone; one that is gone already is fine."""
    volume = ctx.db.get_to_change(Volume, volume_id)
    if volume is not None:
        _volumes.delete(ctx, ctx.see(volume, "Volume", volume_id, rule="volume:delete"))


def create_snapshot(ctx: Context, volume_id: str, name: str, *, force: bool = True, description: str | None = None) -> str:
    """Have a snapshot made, also of an attached volume; answers its id."""
    volume = _volume(ctx, volume_id, "volume:create_snapshot")
    return _snapshots.create(ctx, volume, name=name, description=description, metadata={}, force=force).id


def snapshot_status_of(tx: Transaction, snapshot_ids: list[str]) -> dict[str, str]:
    """Snapshot id to status, of those that are there."""
    return {one.id: one.status for one in tx.by(Snapshot, Snapshot.c.id, snapshot_ids)}


# -- attachments ---------------------------------------------------------------------------------------


def reserve(ctx: Context, volume_id: str, server_id: str, *, mode: str | None = None) -> str:
    """Reserve the volume for the server; answers the attachment's id.  Invalid when it cannot be had."""
    return _attachments.reserve(ctx, _volume(ctx, volume_id, "volume:attachment_create"), server_id, mode=mode).id


def connect(program: Program, attachment_id: str, host: str) -> Connection:
    """Effect: have the volume reachable for the host; may be said twice.  HostError, NotFound or Unavailable."""
    return _attachments.connect(program, attachment_id, host)


def complete(ctx: Context, attachment_id: str, device: str | None = None) -> None:
    """The server has the volume, as `device`."""
    _attachments.complete(ctx, _attachment(ctx, attachment_id), device)


def begin_detach(ctx: Context, volume_id: str, server_id: str) -> None:
    """The server is about to give the volume up; Invalid when it does not have it."""
    _attachments.begin_detach(ctx, _volume(ctx, volume_id, "volume_extension:volume_actions:begin_detaching"), server_id)


def roll_detaching(ctx: Context, volume_id: str) -> None:
    """The server keeps the volume after all."""
    volume = ctx.db.get_to_change(Volume, volume_id)
    if volume is not None:
        _attachments.roll_detaching(ctx, volume)


def disconnect(program: Program, attachment_id: str) -> None:
    """Effect: have the volume not reachable by this attachment; may be said twice, and of an attachment that is gone."""
    _attachments.disconnect(program, attachment_id)


def finish_detach(ctx: Context, attachment_id: str) -> None:
    """The attachment is over; one that is gone already is fine."""
    found = ctx.db.get(Attachment, attachment_id)
    if found is not None:
        _attachments.remove(ctx, found)


def unreserve(ctx: Context, attachment_id: str) -> None:
    """Give back an attachment that was never connected; one that is gone already is fine."""
    finish_detach(ctx, attachment_id)


delete_attachment = unreserve


def attachments_of_server(tx: Transaction, server_id: str) -> list[tuple[str, str, str]]:
    """(attachment id, volume id, device) of each volume that a server has or is about to have."""
    rows = tx.all(Attachment, Attachment.c.server_id == server_id, order=[Attachment.c.created_at])
    return [(one.id, one.volume_id, one.device or "") for one in rows]


def out_of_reach(program: Program, tx: Transaction, volume_ids: list[str], hosts: list[str]) -> dict[str, str]:
    """Those of the hosts that would not reach one of these volumes, each with a sentence that says why."""
    return _attachments.out_of_reach(program, tx, volume_ids, hosts)


def extend_volume(ctx: Context, volume_id: str, size_gib: int) -> None:
    """Have the volume larger; the event VolumeExtended tells when it is."""
    volume = _volume(ctx, volume_id, "volume:extend")
    _volumes.extend(ctx, volume, size_gib, attached=True)


__all__ = [
    "AttachmentsAsked", "Connection", "DetachAsked", "SnapshotInfo", "VolumeChanged", "VolumeExtended", "VolumeInfo", "Ways",
    "attachments_of_server", "begin_detach", "complete", "connect", "create_snapshot", "create_volume", "delete_attachment",
    "delete_volume", "disconnect", "extend_volume", "finish_detach", "get", "get_snapshot", "out_of_reach", "reserve", "roll_detaching",
    "snapshot_status_of", "status_of", "unreserve",
]  # fmt: skip
