"""The door of placement: what hosts and pools have, and who has claimed how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.placement import names
from pilvi.placement import picture as pictures
from pilvi.placement.operations import allocations as _allocations
from pilvi.placement.operations import inventories as _inventories
from pilvi.placement.operations import providers as _providers
from pilvi.placement.operations.inventories import Inventory
from pilvi.placement.tables import Allocation, Consumer, Provider

__all__ = [
    "Inventory", "Room", "allocations", "claim", "ensure_provider", "move", "reassign", "release", "remove_provider", "rooms",
]  # fmt: skip


class Room(msgspec.Struct, frozen=True, eq=False):
    """A provider with what is free.  `classes`: class -> (total, reserved, used, allocation ratio)."""

    provider: str
    name: str
    classes: dict[str, tuple[int, int, int, float]]
    traits: frozenset[str]
    aggregates: frozenset[str]


def ensure_provider(
    tx: Transaction, uuid: str, name: str, inventories: Mapping[str, Inventory], traits: set[str], aggregates: set[str] | None = None
) -> None:
    """Have a root provider of that name, with these inventories and traits (and aggregates, unless None), and no others.

    Writes only what differs.  Custom classes and traits come to be when they are named.  Raises InventoryInUse (a
    Conflict) when an inventory that is gone has allocations; Conflict when another provider has the name.
    """
    names.ensure(tx, inventories, traits)
    provider = tx.get(Provider, uuid)
    if provider is None:
        provider = _providers.create(tx, name, uuid)
    _providers.rename(tx, provider, name)
    had = _inventories.of(tx, uuid)
    gone = [one for one in had if one not in inventories]
    wrote = _inventories.put(tx, uuid, inventories, had)
    _inventories.drop(tx, uuid, gone)
    differs: dict[str, Any] = {}
    if set(provider.traits) != traits:
        differs["traits"] = names.traits_in_order(traits)
    if aggregates is not None and set(provider.aggregates) != aggregates:
        differs["aggregates"] = sorted(aggregates)
    if wrote or gone or differs:
        _providers.change(tx, provider, **differs)


def remove_provider(tx: Transaction, uuid: str) -> None:
    """Have no such provider; raises Conflict while it has allocations or children."""
    provider = tx.get(Provider, uuid)
    if provider is not None:
        _providers.delete(tx, provider)


def claim(
    tx: Transaction, *, consumer: str, provider: str, resources: Mapping[str, int], project_id: str, user_id: str,
    consumer_type: str = "INSTANCE", has: Mapping[str, Mapping[str, int]] | None = None,
) -> None:  # fmt: skip
    """Take these amounts of one provider for a consumer; the same claim said twice is one.

    A consumer that has something of this provider already has what is said here afterwards.  `has`: its `allocations`,
    when the caller has read them in this transaction.  Raises Conflict when there is no room, naming class and numbers.
    """
    amounts = {name: amount for name, amount in resources.items() if amount}
    before = allocations(tx, consumer) if has is None else has
    if before.get(provider) == amounts:
        return
    wanted = _allocations.Claim(
        consumer=consumer, amounts={**before, provider: amounts}, project_id=project_id, user_id=user_id, type=consumer_type
    )
    if before:
        _allocations.replace(tx, [wanted])
    else:
        _allocations.take(tx, wanted, clock.now())


def release(tx: Transaction, consumer: str) -> None:
    """Give back all that the consumer has; nothing is wrong when that is nothing."""
    _allocations.remove(tx, consumer)


def allocations(tx: Transaction, consumer: str) -> dict[str, dict[str, int]]:
    """What the consumer has: provider -> class -> amount."""
    return _allocations.held(tx, [consumer]).get(consumer, {})


def move(tx: Transaction, old_consumer: str, new_consumer: str) -> None:
    """Hand all that one consumer has to another, who has nothing (a migration and its server); twice is once."""
    locked = {uuid: tx.get_to_change(Consumer, uuid) for uuid in sorted((old_consumer, new_consumer))}
    owner = locked[old_consumer]
    if owner is None:
        return
    tx.delete(Consumer, Consumer.c.uuid == new_consumer)
    tx.insert(msgspec.structs.replace(owner, uuid=new_consumer, generation=1, updated_at=clock.now()))
    tx.remove(owner)
    rows = tx.all(Allocation, Allocation.c.consumer == old_consumer)
    tx.update(Allocation, Allocation.c.consumer == old_consumer, consumer=new_consumer)
    for provider in sorted({one.provider for one in rows}):
        _providers.touch(tx, provider)


def reassign(tx: Transaction, consumer: str, provider: str, resources: Mapping[str, int]) -> None:
    """The consumer has exactly these amounts of this provider, and nothing else; raises Conflict when there is no room."""
    amounts = {name: amount for name, amount in resources.items() if amount}
    if allocations(tx, consumer) == {provider: amounts}:
        return
    owner = tx.get(Consumer, consumer)
    _allocations.replace(
        tx,
        [
            _allocations.Claim(
                consumer=consumer, amounts={provider: amounts}, project_id=owner.project_id if owner else "",
                user_id=owner.user_id if owner else "", type=owner.type if owner else "INSTANCE",
            )
        ],
    )  # fmt: skip


def rooms(tx: Transaction) -> Mapping[str, Room]:
    """All providers with what is free on them, by uuid.  A room is the same object until its provider changes."""
    return pictures.look(tx).each(_room)


def _room(one: pictures.Provider) -> Room:
    stock = {name: (held.total, held.reserved, held.used, held.allocation_ratio) for name, held in one.stock.items()}
    return Room(one.uuid, one.name, stock, one.traits, one.aggregates)
