"""Zones: which availability zone a host is in, by the aggregates that it belongs to."""

from __future__ import annotations

from pilvi.compute.tables.aggregates import Aggregate, AggregateHost
from pilvi.kernel.db import Transaction


def aggregates_of_hosts(tx: Transaction) -> dict[str, list[Aggregate]]:
    """Every host that is in aggregates, with them."""
    aggregates = {aggregate.id: aggregate for aggregate in tx.all(Aggregate)}
    found: dict[str, list[Aggregate]] = {}
    if aggregates:
        for member in tx.all(AggregateHost):
            if member.aggregate_id in aggregates:
                found.setdefault(member.host, []).append(aggregates[member.aggregate_id])
    return found


def zone_of(aggregates: list[Aggregate], default: str) -> str:
    """The zone that these aggregates make, or the default one."""
    return next((one.metadata["availability_zone"] for one in aggregates if one.metadata.get("availability_zone")), default)


def zone_names(tx: Transaction, default: str) -> set[str]:
    """All zones that servers can be in."""
    named = {one.metadata["availability_zone"] for one in tx.all(Aggregate) if one.metadata.get("availability_zone")}
    return named | {default}
