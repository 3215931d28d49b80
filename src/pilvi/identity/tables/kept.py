"""What identity keeps for others: policies and settings of domains."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Row, Text


class PolicyText(Row, table="identity_policies"):
    """A policy, in the words of whoever asks for it."""

    id: Key
    type: str
    blob: Text
    extra: dict[str, Any] = {}


class DomainConfig(Row, table="identity_domain_configs"):
    """Settings kept for a domain: group -> option -> value."""

    domain_id: Key
    config: dict[str, dict[str, Any]] = {}
