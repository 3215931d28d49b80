"""Who may use what belongs to others, and what was made for a project by itself."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Word
from pilvi.network.tables.records import Owned

EVERYONE = "*"


class Share(
    Owned,
    table="network_shares",
    indexes=[("object_id",)],
    unique=[("object_type", "object_id", "action", "target_project")],
):
    """An RBAC policy: `target_project` ("*": all) may do `action` with the object."""

    object_type: Word
    object_id: Ref
    action: Word
    target_project: Ref


class AutoTopology(Row, table="network_auto_topologies"):
    """The network that was made for a project which asked for any."""

    project_id: Key
    network_id: Ref
    router_id: Ref
