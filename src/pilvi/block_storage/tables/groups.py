"""Groups of volumes that are handled together, their types, and snapshots of whole groups."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Text, Word


class GroupType(Row, table="block_storage_group_types", unique=[("name",)]):
    """A kind of group that an operator offers."""

    id: Key
    name: str
    description: Text | None = None
    is_public: bool = True
    specs: dict[str, str] = {}
    created_at: float


class Group(Row, table="block_storage_groups", indexes=[("project_id", "created_at")]):
    """Volumes that are handled together."""

    id: Key
    project_id: Ref
    user_id: Ref
    name: str | None = None
    description: Text | None = None
    group_type_id: Ref
    volume_type_ids: list[str] = []
    status: Word = "available"
    availability_zone: str = ""
    group_snapshot_id: Ref | None = None
    source_group_id: Ref | None = None
    created_at: float


class GroupSnapshot(Row, table="block_storage_group_snapshots", indexes=[("project_id", "created_at"), ("group_id",)]):
    """Snapshots of all volumes of a group."""

    id: Key
    project_id: Ref
    user_id: Ref
    group_id: Ref
    group_type_id: Ref
    name: str | None = None
    description: Text | None = None
    status: Word = "creating"
    created_at: float
