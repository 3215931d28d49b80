"""Allocations: who uses how much of what, taken by compare-and-set so that no inventory is ever given out twice.

Inventories are changed in the order of provider and class, so that transactions wait for, but never on, each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.placement import names
from pilvi.placement.errors import ConcurrentUpdate, UnknownProvider
from pilvi.placement.operations import providers
from pilvi.placement.tables import Allocation, Consumer, Provider, Stock

Amounts = Mapping[str, Mapping[str, int]]  # provider -> class -> amount

_TAKE = (
    Stock.t.update()
    .where(
        Stock.c.provider == sa.bindparam("of"),
        Stock.c.resource_class == sa.bindparam("kind"),
        Stock.c.used + sa.bindparam("more", type_=sa.BigInteger) <= Stock.c.capacity,
    )
    .values(used=Stock.c.used + sa.bindparam("more", type_=sa.BigInteger))
)
_GIVE = (
    Stock.t.update()
    .where(Stock.c.provider == sa.bindparam("of"), Stock.c.resource_class == sa.bindparam("kind"))
    .values(used=Stock.c.used - sa.bindparam("less", type_=sa.BigInteger))
)


class Claim(msgspec.Struct, kw_only=True):
    """What one consumer shall have; `expects` is the generation that the caller read, `checked` whether it counts."""

    consumer: str
    amounts: Amounts
    project_id: str
    user_id: str
    type: str | None = None
    checked: bool = False
    expects: int | None = None


def held(tx: Transaction, consumers: Iterable[str]) -> dict[str, dict[str, dict[str, int]]]:
    """consumer -> provider -> class -> amount."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for one in tx.by(Allocation, Allocation.c.consumer, consumers):
        found.setdefault(one.consumer, {}).setdefault(one.provider, {})[one.resource_class] = one.used
    return found


def replace(tx: Transaction, claims: list[Claim]) -> None:
    """Give each consumer exactly what its claim says: all of them or none.

    Raises ConcurrentUpdate for an outdated generation, Invalid for what does not exist, Conflict when there is no room.
    """
    asked = [tx.get_to_change(Consumer, uuid) for uuid in sorted({claim.consumer for claim in claims})]
    consumers = {one.uuid: one for one in asked if one is not None}
    for claim in claims:
        _expect(claim, consumers.get(claim.consumer))
    before = held(tx, consumers)
    _require_known(tx, claims)
    changes: dict[tuple[str, str], int] = {}
    wanted: dict[tuple[str, str], list[int]] = {}
    touched: set[str] = set()
    for claim in claims:
        _compare(claim, before.get(claim.consumer, {}), changes, wanted, touched)
    _require_portions(tx, wanted)
    for (provider, name), change in sorted(changes.items()):
        if change < 0:
            tx.execute(_GIVE, {"of": provider, "kind": name, "less": -change})
        elif change > 0:
            _take(tx, provider, name, change)
    for claim in claims:
        _write(tx, claim, consumers.get(claim.consumer), before.get(claim.consumer, {}))
    taken = {provider for claim in claims for provider in claim.amounts}
    for provider in sorted(touched):
        providers.touch(tx, provider, bump=provider in taken)
    tx.wrote |= {Stock.t.name, Allocation.t.name}


def remove(tx: Transaction, consumer: str) -> bool:
    """Take everything from the consumer, who is then forgotten; answers whether there was anything."""
    tx.get_to_change(Consumer, consumer)  # of two who take it away, one finds nothing left
    rows = tx.all(Allocation, Allocation.c.consumer == consumer)
    for one in sorted(rows, key=lambda one: (one.provider, one.resource_class)):
        tx.execute(_GIVE, {"of": one.provider, "kind": one.resource_class, "less": one.used})
    if rows:
        tx.delete(Allocation, Allocation.c.consumer == consumer)
        for provider in sorted({one.provider for one in rows}):
            providers.touch(tx, provider, bump=False)
        tx.wrote.add(Stock.t.name)
    gone = tx.delete(Consumer, Consumer.c.uuid == consumer)
    return bool(rows or gone)


def take(tx: Transaction, claim: Claim, now: float) -> None:
    """The short road for a consumer that has nothing yet."""
    _require_portions(tx, {(provider, name): [amount] for provider, classes in claim.amounts.items() for name, amount in classes.items()})
    for provider, classes in sorted(claim.amounts.items()):
        for name, amount in sorted(classes.items()):
            _take(tx, provider, name, amount)
    tx.insert(_consumer(claim, now, 1))
    tx.insert_all(_rows(claim, now))
    for provider in sorted(claim.amounts):
        providers.touch(tx, provider)
    tx.wrote.add(Stock.t.name)


def _expect(claim: Claim, consumer: Consumer | None) -> None:
    if not claim.checked:
        return
    has = consumer.generation if consumer is not None else None
    if has != claim.expects:
        told = ["null" if one is None else str(one) for one in (has, claim.expects)]
        raise ConcurrentUpdate(f"consumer generation conflict - expected {told[0]} but got {told[1]}")


def _require_known(tx: Transaction, claims: list[Claim]) -> None:
    """Raise Invalid when a claim names a provider or a class that does not exist."""
    wanted = {provider for claim in claims for provider in claim.amounts}
    there = {row.uuid for row in tx.by(Provider, Provider.c.uuid, wanted)}
    missing = sorted(wanted - there)
    if missing:
        raise UnknownProvider(f"Allocation for resource provider '{missing[0]}' that does not exist.")
    classes = names.unknown_classes(tx, {name for claim in claims for amounts in claim.amounts.values() for name in amounts})
    if classes:
        raise Invalid(f"Unable to allocate inventory for consumer {claims[0].consumer}: No such resource class {', '.join(classes)}.")


def _compare(
    claim: Claim, before: Amounts, changes: dict[tuple[str, str], int], wanted: dict[tuple[str, str], list[int]], touched: set[str]
) -> None:
    """Note by how much each inventory's use changes, and which amounts are wanted of it."""
    for provider in {*before, *claim.amounts}:
        old, new = before.get(provider, {}), claim.amounts.get(provider, {})
        touched.add(provider)
        for name in {*old, *new}:
            had, wants = old.get(name, 0), new.get(name, 0)
            changes[provider, name] = changes.get((provider, name), 0) + wants - had
            if wants:
                wanted.setdefault((provider, name), []).append(wants)


def _require_portions(tx: Transaction, wanted: Mapping[tuple[str, str], list[int]]) -> None:
    """Raise Conflict when an amount is not one that its inventory gives out at once."""
    if not wanted:
        return
    stocks = {(one.provider, one.resource_class): one for one in tx.by(Stock, Stock.c.provider, {provider for provider, _ in wanted})}
    for (provider, name), amounts in wanted.items():
        stock = stocks.get((provider, name))
        if stock is None:
            raise Conflict(f"Unable to allocate inventory: Inventory for '{name}' on resource provider '{provider}' invalid.")
        for amount in amounts:
            if not stock.min_unit <= amount <= stock.max_unit or amount % stock.step_size:
                raise Conflict(
                    f"Unable to allocate inventory: {amount} of '{name}' on resource provider '{provider}' violates min_unit "
                    f"({stock.min_unit}), max_unit ({stock.max_unit}) or step_size ({stock.step_size})."
                )


def _take(tx: Transaction, provider: str, name: str, amount: int) -> None:
    if tx.execute(_TAKE, {"of": provider, "kind": name, "more": amount}).rowcount:
        return
    stock = tx.get(Stock, provider, name)
    if stock is None:
        raise Conflict(f"Unable to allocate inventory: Inventory for '{name}' on resource provider '{provider}' invalid.")
    raise Conflict(
        f"Unable to allocate inventory: Unable to create allocation for '{name}' on resource provider '{provider}'. "
        f"The requested amount would exceed the capacity: {stock.used} of {stock.capacity} are used, {amount} more are wanted."
    )


def _consumer(claim: Claim, now: float, generation: int) -> Consumer:
    return Consumer(
        uuid=claim.consumer, project_id=claim.project_id, user_id=claim.user_id, type=claim.type, generation=generation,
        created_at=now, updated_at=now,
    )  # fmt: skip


def _rows(claim: Claim, now: float) -> list[Allocation]:
    return [
        Allocation(consumer=claim.consumer, provider=provider, resource_class=name, used=amount, updated_at=now)
        for provider, classes in claim.amounts.items()
        for name, amount in classes.items()
    ]


def _write(tx: Transaction, claim: Claim, consumer: Consumer | None, before: Amounts) -> None:
    """The consumer's rows as the claim says; a consumer that is left with nothing is forgotten."""
    now = clock.now()
    if before:
        tx.delete(Allocation, Allocation.c.consumer == claim.consumer)
    rows = _rows(claim, now)
    if not rows:
        if consumer is not None:
            tx.delete(Consumer, Consumer.c.uuid == claim.consumer)
        return
    tx.insert_all(rows)
    if consumer is None:
        try:
            tx.insert(_consumer(claim, now, 1))
        except Conflict:
            raise ConcurrentUpdate("consumer generation conflict - another request made the consumer at the same time") from None
        return
    try:
        tx.change(
            consumer, expect={"generation": consumer.generation}, generation=consumer.generation + 1, updated_at=now,
            project_id=claim.project_id, user_id=claim.user_id, type=claim.type or consumer.type,
        )  # fmt: skip
    except Conflict:
        raise ConcurrentUpdate("consumer generation conflict - another request changed the consumer at the same time") from None


def require_any(found: bool, consumer: str) -> None:
    """Raise NotFound for a consumer that has nothing."""
    if not found:
        raise NotFound(f"No allocations for consumer '{consumer}'")
