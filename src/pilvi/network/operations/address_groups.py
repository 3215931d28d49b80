"""Address groups: ranges that rules refer to by one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilvi.kernel.context import Context
from pilvi.network.errors import InvalidInput
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.operations import records, sharing, wiring
from pilvi.network.security_errors import AddressesAlreadyExist, AddressesNotFound, AddressGroupInUse
from pilvi.network.tables import AddressGroup, SecurityRule


def create(ctx: Context, body: Any, project_id: str) -> AddressGroup:
    """A named list of ranges."""
    records.claim(ctx, "address_group", project_id)
    return ctx.db.insert(AddressGroup(**records.born(project_id, body), addresses=_ranges(body.addresses)))


def update(ctx: Context, row: AddressGroup, given: dict[str, Any]) -> None:
    """Change its name or description."""
    records.change(ctx.db, row, **given)


def delete(ctx: Context, row: AddressGroup) -> None:
    """Delete a list that no rule refers to."""
    if ctx.db.count(SecurityRule, SecurityRule.c.remote_address_group_id == row.id):
        raise AddressGroupInUse(f"Address group {row.id} is in use on one or more security group rules.")
    sharing.forget(ctx.db, "address_group", row.id)
    ctx.db.remove(row)


def add(ctx: Context, row: AddressGroup, wanted: Sequence[str]) -> None:
    """Put more ranges in.  Raises AddressesAlreadyExist."""
    ranges = _ranges(wanted)
    held = [one for one in ranges if one in row.addresses]
    if held:
        raise AddressesAlreadyExist(f"Addresses {', '.join(held)} already exist in the address group {row.id}.", field="addresses")
    _write(ctx, row, [*row.addresses, *ranges])


def remove(ctx: Context, row: AddressGroup, wanted: Sequence[str]) -> None:
    """Take ranges out.  Raises AddressesNotFound."""
    ranges = _ranges([one if "/" in one else f"{one}/{128 if ':' in one else 32}" for one in wanted])
    absent = [one for one in ranges if one not in row.addresses]
    if absent:
        raise AddressesNotFound(f"Addresses {', '.join(absent)} not found in the address group {row.id}.")
    _write(ctx, row, [one for one in row.addresses if one not in ranges])


def _write(ctx: Context, row: AddressGroup, ranges: list[str]) -> None:
    records.change(ctx.db, row, addresses=ranges)
    for rule in ctx.db.all(SecurityRule, SecurityRule.c.remote_address_group_id == row.id):
        wiring.group_changed(ctx, rule.security_group_id)


def _ranges(wanted: Sequence[str]) -> list[str]:
    found = []
    for text in wanted:
        found.append(str(arithmetic.parse_cidr(text, "addresses")))
    if len(set(found)) < len(found):
        raise InvalidInput("Invalid input for addresses. Reason: an address is named twice.", field="addresses")
    return found
