"""Server groups: servers that should be together, or apart."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Word


class ServerGroup(Row, table="compute_server_groups", indexes=[("project_id",)]):
    """A group and its one policy: affinity, anti-affinity, soft-affinity, soft-anti-affinity.

    Its members are the servers whose `group_id` names it.
    """

    id: Key
    name: str
    project_id: Ref
    user_id: Ref
    policy: Word
    rules: dict[str, int] = {}  # max_server_per_host
    created_at: float = 0.0
