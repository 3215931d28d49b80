"""Hosts: the hypervisors of the cloud, as they report themselves and as operators switch them."""

from __future__ import annotations

from pilvi.compute.drivers import HostFacts
from pilvi.kernel.db import LongKey, Ref, Row, Text


class ComputeHost(Row, table="compute_hosts", unique=[("id",)]):
    """A host with a compute agent.  `id` is its uuid as a node and as a resource provider."""

    host: LongKey
    id: Ref
    service_id: Ref
    facts: HostFacts
    heartbeat_at: float
    started_at: float = 0.0
    created_at: float = 0.0
    updated_at: float | None = None  # when an operator or the host's facts last changed something
    disabled: bool = False
    disabled_reason: Text | None = None
    forced_down: bool = False
    version: int = 0  # grows with each change that decides where servers go (facts, switches, aggregates, failed builds)
    failed_builds: int = 0  # in a row
