"""Drains: hosts that are being emptied, and how it went for each of their servers."""

from __future__ import annotations

from pilvi.kernel.db import Key, LongKey, Ref, Row, Text, Word


class Drain(Row, table="compute_drains"):
    """A host that an operator wants empty.  `ended_at`: when nothing more was left that could be moved."""

    host: LongKey
    started_at: float
    ended_at: float | None = None


class DrainedServer(Row, table="compute_drained_servers", indexes=[("server_id",)]):
    """A server of a host that is being emptied.  `state`: going, gone, or stays (then `sentence` says why)."""

    host: LongKey
    server_id: Key
    state: Word
    migration: Ref = ""
    sentence: Text = ""
    updated_at: float = 0.0
