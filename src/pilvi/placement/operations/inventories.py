"""Inventories: how much of each class a provider has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Invalid
from pilvi.placement.errors import InventoryInUse
from pilvi.placement.names import in_order
from pilvi.placement.tables import Stock

MOST = 2**31 - 1
_COUNTABLE = 2**62


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a class a provider has: `total` units, `reserved` ones never given away, and in what portions."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MOST
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """How much can be allocated in all, as far as the database can count."""
        return int(min((self.total - self.reserved) * self.allocation_ratio, _COUNTABLE))


def of(tx: Transaction, provider: str) -> dict[str, Stock]:
    """The provider's inventories by class, in the standard's order."""
    found = {one.resource_class: one for one in tx.all(Stock, Stock.c.provider == provider)}
    return {name: found[name] for name in in_order(found)}


def require_sane(wanted: Mapping[str, Inventory], provider: str, *, doing: str, empty: bool) -> None:
    """Raise Invalid when an inventory reserves more than it has (or, not `empty`, all of it)."""
    for name, one in wanted.items():
        if one.reserved > one.total or (one.reserved == one.total and not empty):
            bound = "greater than total" if empty else "greater than or equal to total"
            raise Invalid(
                f"Unable to {doing} inventory for resource provider {provider}: the inventory of {name} is not valid, "
                f"its reserved value is {bound}."
            )


def put(tx: Transaction, provider: str, wanted: Mapping[str, Inventory], had: Mapping[str, Stock]) -> bool:
    """Add or change these inventories; answers whether anything was written."""
    now, wrote = clock.now(), False
    for name, one in wanted.items():
        values: dict[str, Any] = {field: getattr(one, field) for field in one.__struct_fields__} | {"capacity": one.capacity}
        before = had.get(name)
        if before is None:
            tx.insert(Stock(provider=provider, resource_class=name, updated_at=now, **values))
        elif any(getattr(before, field) != value for field, value in values.items()):
            tx.change(before, updated_at=now, **values)
        else:
            continue
        wrote = True
    return wrote


def drop(tx: Transaction, provider: str, classes: list[str]) -> None:
    """Remove these inventories; raises InventoryInUse when something is allocated from one of them."""
    if not classes:
        return
    where = (Stock.c.provider == provider, Stock.c.resource_class.in_(classes))
    if tx.delete(Stock, *where, Stock.c.used == 0) < len(classes):
        used = in_order(one.resource_class for one in tx.all(Stock, *where))
        if used:
            raise InventoryInUse(f"Inventory for '{', '.join(used)}' on resource provider '{provider}' in use.")
