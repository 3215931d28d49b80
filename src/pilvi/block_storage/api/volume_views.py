"""What clients get of volumes."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import moment
from pilvi.block_storage.dialect import linker
from pilvi.block_storage.operations import types
from pilvi.block_storage.tables.hosts import ServiceHost
from pilvi.block_storage.tables.volumes import Attachment, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http import UNSET, Given, View, since, wire


class BriefVolume(View):
    """A volume in a brief list."""

    id: str
    name: str | None
    links: list[dict[str, str]]


class VolumeView(View):
    """A volume."""

    id: str
    status: str
    size: int
    availability_zone: str | None
    created_at: str
    updated_at: str | None
    name: str | None
    description: str | None
    volume_type: str | None
    volume_type_id: str | None = since("3.63")
    snapshot_id: str | None
    source_volid: str | None
    metadata: dict[str, str]
    links: list[dict[str, str]]
    user_id: str
    bootable: str
    encrypted: bool = False
    replication_status: str | None = None
    consistencygroup_id: str | None = None
    multiattach: bool
    attachments: list[dict[str, Any]]
    migration_status: str | None = None
    group_id: str | None = since("3.13")
    provider_id: str | Given | None = since("3.21")
    service_uuid: str | None = since("3.48", default=None)
    shared_targets: bool | None = since("3.48", default=False)
    cluster_name: str | Given | None = since("3.61")
    consumes_quota: bool = since("3.65", default=True)
    host: str | Given | None = wire("os-vol-host-attr:host", default=UNSET)
    project_id: str | Given = wire("os-vol-tenant-attr:tenant_id", default=UNSET)
    migstat: str | Given | None = wire("os-vol-mig-status-attr:migstat", default=UNSET)
    name_id: str | Given | None = wire("os-vol-mig-status-attr:name_id", default=UNSET)
    volume_image_metadata: dict[str, str] | Given = UNSET


def briefs(ctx: Context, volumes: list[Volume]) -> list[BriefVolume]:
    """Volumes by name."""
    links = linker(ctx.base_url, ctx.project_id, "volumes")
    return [BriefVolume(id=one.id, name=one.name, links=links(one.id)) for one in volumes]


def view(ctx: Context, volume: Volume) -> VolumeView:
    """One volume in full."""
    return views(ctx, [volume])[0]


def views(ctx: Context, volumes: list[Volume], *, extended: bool = True) -> list[VolumeView]:
    """Volumes in full; `extended`: with what rights beyond reading show (not in the answers of create and update)."""
    names = types.names(ctx.db, {one.volume_type_id for one in volumes if one.volume_type_id})
    attachments: dict[str, list[Attachment]] = {}
    attached = [one.id for one in volumes if one.attach_status != "detached"]
    for attachment in ctx.db.by(Attachment, Attachment.c.volume_id, attached, Attachment.c.status != "reserved") if attached else ():
        attachments.setdefault(attachment.volume_id, []).append(attachment)
    services = service_uuids(ctx) if ctx.version is not None and ctx.version >= (3, 48) else {}
    admin = extended and ctx.allowed(policy.SEE_HOST.name)
    shared = None if ctx.version is not None and ctx.version >= (3, 69) else False
    micro, links = clock.iso_micro, linker(ctx.base_url, ctx.project_id, "volumes")
    told = []
    for one in volumes:
        read_only = one.read_only
        told.append(
            VolumeView(
                id=one.id, status=one.status, size=one.size, availability_zone=one.availability_zone or None,
                created_at=micro(one.created_at), updated_at=None if one.updated_at is None else micro(one.updated_at),
                name=one.name, description=one.description,
                volume_type=names.get(one.volume_type_id) if one.volume_type_id else None, volume_type_id=one.volume_type_id,
                snapshot_id=one.snapshot_id, source_volid=one.source_volid,
                metadata=one.metadata if read_only is None else {**one.metadata, "readonly": str(read_only)},
                links=links(one.id), user_id=one.user_id, bootable="true" if one.bootable else "false",
                multiattach=one.multiattach, group_id=one.group_id,
                attachments=[attachment_of(ctx, each, admin) for each in attachments.get(one.id, ())],
                service_uuid=services.get(one.host.partition("#")[0]), shared_targets=shared,
                provider_id=None if admin else UNSET, cluster_name=None if admin else UNSET,
                host=(one.host or None) if admin else UNSET, project_id=one.project_id if extended else UNSET,
                migstat=None if admin else UNSET, name_id=None if admin else UNSET,
                volume_image_metadata=one.image_metadata if extended and one.image_metadata else UNSET,
            )
        )  # fmt: skip
    return told


def attachment_of(ctx: Context, one: Attachment, admin: bool) -> dict[str, Any]:
    """An attachment as it stands in a volume; which host it is on is told to administrators."""
    return {
        "id": one.volume_id, "attachment_id": one.id, "volume_id": one.volume_id, "server_id": one.server_id,
        "host_name": one.host if admin else None, "device": one.device, "attached_at": moment(one.attached_at),
    }  # fmt: skip


def service_uuids(ctx: Context) -> dict[str, str]:
    """Back end (host@backend) to the id of its service."""
    return {one.host: one.uuid for one in ctx.db.all(ServiceHost, ServiceHost.c.binary == "cinder-volume")}
