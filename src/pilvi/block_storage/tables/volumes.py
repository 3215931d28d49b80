"""Volumes and who has them attached."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Ref, Row, Text, Word


class Volume(
    Row, table="block_storage_volumes",
    indexes=[("project_id", "created_at"), ("host",), ("status",), ("snapshot_id",), ("source_volid",), ("group_id",)],
):  # fmt: skip
    """A volume as it should be."""

    id: Key
    project_id: Ref
    user_id: Ref
    name: str | None = None
    description: Text | None = None
    size: int  # GiB
    status: Word = "creating"
    attach_status: Word = "detached"
    previous_status: Word | None = None
    availability_zone: str = ""
    host: str = ""  # host@backend#pool, "" until the scheduler has chosen
    excluded_hosts: list[str] = []  # where it could not be made
    volume_type_id: Ref | None = None
    bootable: bool = False
    multiattach: bool = False
    read_only: bool | None = None  # None: never said
    image_id: Ref | None = None
    snapshot_id: Ref | None = None
    source_volid: Ref | None = None
    backup_id: Ref | None = None
    restored_from: Ref | None = None  # the backup that is being written into it
    refill_image_id: Ref | None = None  # the image that is being written into it
    copy_id: Ref | None = None  # of the flat copy that is being made of it
    group_id: Ref | None = None
    metadata: dict[str, str] = {}
    image_metadata: dict[str, str] | None = None
    scheduler_hints: dict[str, Any] = {}
    created_at: float
    updated_at: float | None = None
    launched_at: float | None = None


class Attachment(Row, table="block_storage_attachments", indexes=[("volume_id",), ("server_id",), ("project_id",)]):
    """A server (or a host) that has a volume, or is about to."""

    id: Key
    volume_id: Ref
    project_id: Ref
    server_id: Ref | None = None
    host: str | None = None
    device: str | None = None
    status: Word = "reserved"  # reserved, attaching, attached, detaching, error_attaching, error_detaching
    mode: Word = "rw"
    connector: dict[str, Any] | None = None
    connection: dict[str, Any] | None = None
    created_at: float
    attached_at: float | None = None
    detached_at: float | None = None


class Snapshot(Row, table="block_storage_snapshots", indexes=[("project_id", "created_at"), ("volume_id",), ("group_snapshot_id",)]):
    """A point in time of a volume."""

    id: Key
    project_id: Ref
    user_id: Ref
    volume_id: Ref
    volume_type_id: Ref | None = None
    name: str | None = None
    description: Text | None = None
    size: int  # GiB, of the volume then
    status: Word = "creating"
    progress: Word = "0%"
    group_snapshot_id: Ref | None = None
    metadata: dict[str, str] = {}
    created_at: float
    updated_at: float | None = None


class Transfer(Row, table="block_storage_transfers", indexes=[("project_id",), ("volume_id",)]):
    """An offer to hand a volume to another project."""

    id: Key
    project_id: Ref  # who offers
    volume_id: Ref
    name: str | None = None
    salt: Word
    digest: str  # of the key that the taker must know
    no_snapshots: bool = False
    accepted: bool = False
    destination_project_id: Ref | None = None
    created_at: float


class Backup(Row, table="block_storage_backups", indexes=[("project_id", "created_at"), ("volume_id",)]):
    """A full copy of a volume that outlives it."""

    id: Key
    project_id: Ref
    user_id: Ref
    volume_id: Ref
    snapshot_id: Ref | None = None
    name: str | None = None
    description: Text | None = None
    size: int  # GiB, of the volume
    status: Word = "creating"
    fail_reason: Text | None = None
    incremental: bool = False
    parent_id: Ref | None = None
    host: str = ""  # host@backend that keeps it
    copy_id: Ref  # of its data there: a record that was taken in shares them with the backup that it was given out from
    availability_zone: str | None = None
    container: str | None = None
    metadata: dict[str, str] = {}
    bootable: bool = False  # what the volume was, for volumes that are made from the backup
    volume_metadata: dict[str, str] = {}
    image_metadata: dict[str, str] | None = None
    data_timestamp: float
    created_at: float
    updated_at: float | None = None


class Message(Row, table="block_storage_messages", indexes=[("project_id", "created_at"), ("expires_at",)]):
    """Why something did not work, for the person who asked for it."""

    id: Key
    project_id: Ref
    request_id: Ref
    resource_type: Word
    resource_id: Ref
    action: Word  # cinder's number of the action
    detail: Word  # and of the reason
    text: Text
    created_at: float
    expires_at: float
