"""Trunks: ports that carry other ports' networks as VLANs."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Word
from pilvi.network.tables.records import Record


class Trunk(Record, table="network_trunks", indexes=[("project_id",)], unique=[("port_id",)]):
    """A trunk on its parent port."""

    port_id: Ref
    admin_state_up: bool = True
    status: Word = "DOWN"


class SubPort(Row, table="network_subports", indexes=[("trunk_id",)], unique=[("trunk_id", "segmentation_type", "segmentation_id")]):
    """A port that is carried by a trunk."""

    port_id: Key
    trunk_id: Ref
    segmentation_type: Word
    segmentation_id: int
