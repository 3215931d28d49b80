"""Actions: what was asked of servers, and how each part of it went."""

from __future__ import annotations

from pilvi.kernel.db import Ref, Row, Serial, Text, Word


class Action(Row, table="compute_actions", indexes=[("server_id", "started_at"), ("request_id",)]):
    """Something that somebody asked of a server."""

    id: Serial = 0
    server_id: Ref
    request_id: Ref
    action: Word
    user_id: Ref
    project_id: Ref
    started_at: float
    updated_at: float
    message: Text | None = None


class ActionEvent(Row, table="compute_action_events", indexes=[("action_id",)]):
    """One part of an action's work, on one host."""

    id: Serial = 0
    action_id: int
    event: str
    started_at: float
    finished_at: float | None = None
    result: Word | None = None  # Success, Error
    host: str | None = None
    details: Text | None = None
