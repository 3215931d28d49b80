"""What all operations do with records: the attributes of a new one, a change, a revision, a quota."""

from __future__ import annotations

from typing import Any, TypeVar

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row, Transaction
from pilvi.kernel.ids import new_id
from pilvi.kernel.quota import Quotas
from pilvi.network.errors import OverQuota
from pilvi.network.tables import (
    AddressGroup,
    FloatingIp,
    Network,
    Port,
    Record,
    Router,
    SecurityGroup,
    SecurityRule,
    Share,
    Subnet,
    SubnetPool,
    Trunk,
)  # fmt: skip

R = TypeVar("R", bound=Record)

DEFAULTS = {
    "network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10, "security_group_rule": 100,
    "rbac_policy": 10, "subnetpool": -1, "trunk": -1, "address_group": -1,
}  # fmt: skip
COUNTED: dict[str, type[Row]] = {
    "network": Network, "subnet": Subnet, "port": Port, "router": Router, "floatingip": FloatingIp, "security_group": SecurityGroup,
    "security_group_rule": SecurityRule, "rbac_policy": Share, "subnetpool": SubnetPool, "trunk": Trunk, "address_group": AddressGroup,
}  # fmt: skip


def born(project_id: str, body: Any) -> dict[str, Any]:
    """The standard attributes of a new record: those that the body has, and the usual ones."""
    now = clock.now()
    return {
        "id": new_id(), "project_id": project_id, "created_at": now, "updated_at": now,
        "name": getattr(body, "name", "") or "", "description": getattr(body, "description", "") or "",
        "tags": sorted(set(getattr(body, "tags", ()))),
    }  # fmt: skip


def change(tx: Transaction, row: R, **values: Any) -> R:
    """Write columns and count the revision."""
    return tx.change(row, **values, updated_at=clock.now(), revision_number=row.revision_number + 1)


def bump(tx: Transaction, kind: type[Record], ref: str) -> None:
    """Count a revision of a record because something of it has changed."""
    tx.update(kind, kind.c.id == ref, updated_at=clock.now(), revision_number=kind.c.revision_number + 1)


def quotas(ctx: Context) -> Quotas:
    """The service's quotas, with the configured defaults."""
    return Quotas("network", DEFAULTS | ctx.program.settings.network.quotas)


def used(tx: Transaction, resource: str, project_id: str) -> int:
    """How many of a resource the project has."""
    kind = COUNTED[resource]
    return tx.count(kind, kind.c.project_id == project_id)


def claim(ctx: Context, resource: str, project_id: str, asked: int = 1) -> None:
    """Raise OverQuota unless the project may have `asked` more.  What belongs to no project is not counted."""
    if not project_id:
        return
    held = quotas(ctx)
    held.turn(ctx.db, project_id)
    limit = held.limits(ctx.db, project_id).get(resource, -1)
    if limit < 0:
        return
    have = used(ctx.db, resource, project_id)
    if have + asked > limit:
        raise OverQuota(resource, limit=limit, used=have, asked=asked)
