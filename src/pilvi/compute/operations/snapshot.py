"""Snapshots: an image of a server as it is now."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi import image
from pilvi.compute.operations import actions, backups, create_checks, volumes
from pilvi.compute.operations.servers import guard
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.snapshot_server import SnapshotServer, SnapshotVolumes
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid

# properties of an image that are its own and not its snapshots'
NOT_INHERITED = frozenset(("cache_in_nova", "instance_uuid", "backup_type", "image_type", "block_device_mapping", "bdm_v2", "root_device_name"))


def create_image(ctx: Context, server: Server, name: str, metadata: dict[str, str]) -> str:
    """Begin an image of the server; answers its id."""
    guard(ctx, server, "createImage")
    create_checks.metadata(ctx, metadata)
    actions.begin(ctx, server, "createImage")
    if not server.image_id:
        return _of_volumes(ctx, server, name, metadata)
    image_id, form = _begin(ctx, server, name, {"image_type": "snapshot", **metadata})
    ctx.start(SnapshotServer(server=server.id, image=image_id, disk_format=form))
    return image_id


def create_backup(ctx: Context, server: Server, name: str, kind: str, rotation: int, metadata: dict[str, str]) -> str:
    """Begin a backup, of which the newest `rotation` are kept; answers its image's id."""
    guard(ctx, server, "createBackup")
    create_checks.metadata(ctx, metadata)
    if not server.image_id:
        raise Invalid("Backup is not supported for volume-backed instances.")
    actions.begin(ctx, server, "createBackup")
    image_id, form = _begin(ctx, server, name, {"image_type": "backup", "backup_type": kind, **metadata}, doing="image_backup")
    backups.note(ctx, server, image_id, kind)
    ctx.start(SnapshotServer(server=server.id, image=image_id, disk_format=form, backup=kind, rotation=rotation))
    return image_id


def begin_image(ctx: Context, server: Server, name: str, said: dict[str, str]) -> tuple[str, str]:
    """A queued image of the server's root disk, and the format that it will have."""
    form = "raw" if server.image.disk_format == "raw" else "qcow2"
    image_id = image.create(
        ctx, name=name, disk_format=form, container_format="bare", properties=_properties(server, said),
        min_disk=max(server.flavor.disk, server.image.min_disk), min_ram=server.image.min_ram,
    )  # fmt: skip
    return image_id, form


def _begin(ctx: Context, server: Server, name: str, said: dict[str, str], doing: str = "image_snapshot") -> tuple[str, str]:
    begun = begin_image(ctx, server, name, said)
    ctx.db.change(server, task_state=doing, updated_at=clock.now())
    return begun


def _properties(server: Server, said: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in server.image.properties.items() if name not in NOT_INHERITED}
    own = {"base_image_ref": server.image_id, "instance_uuid": server.id, "owner_id": server.project_id, "user_id": server.user_id}
    return {**inherited, **{name: value for name, value in own.items() if value}, **said}


def _of_volumes(ctx: Context, server: Server, name: str, metadata: dict[str, str]) -> str:
    """Snapshot each volume; the image names the snapshots and is booted from by way of them."""
    from pilvi import block_storage

    mapping: list[dict[str, Any]] = []
    for device in volumes.of_server(ctx, server.id):
        if not device.volume_id:
            raise Conflict(f"Instance {server.id} has a volume that is still being made.")
        volume = block_storage.get(ctx, device.volume_id)
        snapshot = block_storage.create_snapshot(ctx, device.volume_id, f"snapshot for {name}", force=True)
        mapping.append(
            {
                "source_type": "snapshot", "destination_type": "volume", "snapshot_id": snapshot, "boot_index": device.boot_index,
                "device_name": device.device, "disk_bus": device.bus, "device_type": device.kind, "volume_size": volume.size_gib,
                "delete_on_termination": device.delete_on_termination, "tag": device.tag or None,
            }
        )  # fmt: skip
    said = {
        **metadata, "bdm_v2": "True", "block_device_mapping": msgspec.json.encode(mapping).decode(), "root_device_name": server.root_device,
    }  # fmt: skip
    image_id = image.create(
        ctx, name=name, disk_format="raw", container_format="bare", properties=_properties(server, said),
        min_disk=server.image.min_disk, min_ram=server.image.min_ram,
    )  # fmt: skip
    ctx.db.change(server, task_state="image_snapshot", updated_at=clock.now())
    ctx.start(SnapshotVolumes(server=server.id, image=image_id))
    return image_id
