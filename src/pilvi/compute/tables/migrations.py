"""Migrations: servers' moves between hosts, and changes of their size."""

from __future__ import annotations

from pilvi.kernel.db import Ref, Row, Serial, Word


class Migration(Row, table="compute_migrations", indexes=[("server_id",), ("updated_at",)], unique=[("uuid",)]):
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
    created_at: float
    updated_at: float
