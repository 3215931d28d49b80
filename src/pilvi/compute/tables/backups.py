"""Backups: the images that createBackup made of servers, so that the oldest can go."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row


class Backup(Row, table="compute_backups", indexes=[("server_id", "kind")]):
    """One backup image.  `kind`: daily, weekly, or whatever its maker calls it."""

    image_id: Key
    server_id: Ref
    kind: str
    created_at: float
