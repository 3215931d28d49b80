"""The programs that serve block storage, with what their back ends told last."""

from __future__ import annotations

from pilvi.block_storage.drivers import Capacity
from pilvi.kernel.db import LongKey, Ref, Row, Text


class ServiceHost(Row, table="block_storage_services"):
    """One binary on one host; a volume service's host is host@backend."""

    binary: LongKey
    host: LongKey
    uuid: Ref
    zone: str
    disabled: bool = False
    disabled_reason: Text | None = None
    frozen: bool = False
    trouble: Text = ""  # why the back end is not well
    capacity: Capacity | None = None
    created_at: float
    beat_at: float
    updated_at: float | None = None
