"""Migrations: servers' moves between hosts, and changes of their size."""

from __future__ import annotations

from pilvi.kernel.db import Ref, Row, Serial, Text, Word

# statuses in which nothing is under way, and nothing waits for a word
ENDED = ("confirmed", "reverted", "error", "failed", "completed", "cancelled", "done")


class Migration(Row, table="compute_migrations", indexes=[("server_id",), ("status",), ("updated_at",)], unique=[("uuid",)]):
    """One move.  `kind`: resize, migration, live-migration, evacuation."""

    id: Serial = 0
    uuid: Ref
    server_id: Ref
    project_id: Ref
    user_id: Ref
    kind: Word
    status: Word
    source_host: str
    source_node: str
    dest_host: str = ""
    dest_node: str = ""
    dest_address: str = ""
    old_flavor: str = ""
    new_flavor: str = ""
    wish: Word = ""  # of a live migration under way: abort, force
    message: Text | None = None  # why it failed
    memory_total: int = 0  # bytes, as the figures below
    memory_done: int = 0
    memory_left: int = 0
    disk_total: int = 0
    disk_done: int = 0
    disk_left: int = 0
    created_at: float
    updated_at: float
