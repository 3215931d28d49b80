"""Network hosts: one row for each host's agent."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import LongKey, Row, Word


class Agent(Row, table="network_agents"):
    """A host's agent, as its last heartbeat told."""

    host: LongKey
    tunnel_address: Word = ""
    facts: dict[str, Any] = {}
    created_at: float = 0.0
    started_at: float = 0.0
    heartbeat_at: float = 0.0
    disabled: list[str] = []  # kinds that an admin has switched off: dhcp, l3, ...
    description: str = ""
