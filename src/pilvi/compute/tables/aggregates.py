"""Aggregates: hosts that operators group, by zone or by what they are good for."""

from __future__ import annotations

from pilvi.kernel.db import IntKey, LongKey, Ref, Row, Serial


class Aggregate(Row, table="compute_aggregates", unique=[("name",)]):
    """A group of hosts; its metadata's `availability_zone` makes it a zone."""

    id: Serial = 0
    uuid: Ref
    name: str
    metadata: dict[str, str] = {}
    created_at: float = 0.0
    updated_at: float | None = None


class AggregateHost(Row, table="compute_aggregate_hosts", indexes=[("host",)]):
    """A host's membership."""

    aggregate_id: IntKey
    host: LongKey
