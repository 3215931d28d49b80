"""Providers: found, made, renamed, moved in their trees, marked with traits and aggregates, deleted."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.ids import new_id
from pilvi.placement import names
from pilvi.placement.errors import ConcurrentUpdate, DuplicateName, ProviderHasChildren, ProviderInUse
from pilvi.placement.picture import new_revision
from pilvi.placement.tables import Allocation, Provider, Stock

_TOUCH = (
    Provider.t.update()
    .where(Provider.c.uuid == sa.bindparam("of"))
    .values(generation=Provider.c.generation + sa.bindparam("more"), revision=sa.bindparam("fresh"), updated_at=sa.bindparam("at"))
)


def find(tx: Transaction, uuid: str, *, doing: str = "") -> Provider:
    """The provider; raises NotFound."""
    provider = tx.get(Provider, uuid)
    if provider is None:
        raise NotFound(f"No resource provider with uuid {uuid} found{doing}")
    return provider


def touch(tx: Transaction, uuid: str, *, bump: bool = True) -> None:
    """Something of the provider changed; with `bump` clients see it as the next generation."""
    tx.execute(_TOUCH, {"of": uuid, "more": int(bump), "fresh": new_revision(), "at": clock.now()})
    tx.wrote.add(Provider.t.name)


def expect_generation(provider: Provider, given: int) -> None:
    """Raise ConcurrentUpdate when the caller read another generation than the one that is there now."""
    if provider.generation != given:
        raise ConcurrentUpdate(
            f"resource provider generation conflict for provider {provider.uuid}: actual: {provider.generation}, given: {given}"
        )


def change(tx: Transaction, provider: Provider, *, bump: bool = True, **values: object) -> Provider:
    """Write these columns, if nobody else has changed the provider meanwhile."""
    generation = provider.generation + 1 if bump else provider.generation
    try:
        return tx.change(
            provider, expect={"revision": provider.revision}, generation=generation, revision=new_revision(), updated_at=clock.now(), **values
        )
    except Conflict:
        raise ConcurrentUpdate(f"Provider {provider.uuid} was changed by another request at the same time; try again.") from None
    except sa.exc.IntegrityError:
        raise DuplicateName(f"Conflicting resource provider name: {values.get('name')} already exists.") from None


def create(tx: Transaction, name: str, uuid: str | None = None, parent: str | None = None) -> Provider:
    """A new provider, a root or a child of `parent`."""
    uuid = str(UUID(uuid)) if uuid else new_id()
    where = f'Unable to create resource provider "{name}", {uuid}:'
    if parent == uuid:
        raise Invalid(f"{where} parent provider UUID cannot be same as UUID. Leave the parent out for a root provider.")
    above = tx.get(Provider, parent) if parent else None
    if parent and above is None:
        raise Invalid(f"{where} parent provider UUID does not exist.")
    if tx.get(Provider, uuid) is not None:
        raise DuplicateName(f"Conflicting resource provider uuid: {uuid} already exists.")
    _require_free(tx, name)
    now = clock.now()
    provider = Provider(
        uuid=uuid, name=name, revision=new_revision(), parent=parent, root=above.root if above else uuid, traits=[], aggregates=[],
        created_at=now, updated_at=now,
    )  # fmt: skip
    try:
        return tx.insert(provider)
    except Conflict:
        raise DuplicateName(f"Conflicting resource provider: name {name} or uuid {uuid} already exists.") from None


def rename(tx: Transaction, provider: Provider, name: str) -> None:
    """Give the provider another name."""
    if name != provider.name:
        _require_free(tx, name)
        change(tx, provider, bump=False, name=name)


def move(tx: Transaction, provider: Provider, parent: str | None, *, freely: bool) -> None:
    """Put the provider, with all below it, under another parent (None: a tree of its own).

    Not `freely`: only a root may be given a parent.
    """
    if parent == provider.parent:
        return
    where = f"Unable to save resource provider {provider.uuid}:"
    if provider.parent is not None and not freely:
        what = "un-parenting" if parent is None else "re-parenting"
        raise Invalid(f"{where} {what} a provider is not currently allowed.")
    above = tx.get(Provider, parent) if parent else None
    if parent and above is None:
        raise Invalid(f"{where} parent provider UUID does not exist.")
    tree = tx.all(Provider, Provider.c.root == provider.root)
    below = _subtree(provider.uuid, tree)
    if parent in below:
        raise Invalid(f"{where} creating loop in the provider tree is not allowed.")
    root = above.root if above else provider.uuid
    for one in tree:
        if one.uuid == provider.uuid:
            change(tx, provider, bump=False, parent=parent, root=root)
        elif one.uuid in below:
            change(tx, one, bump=False, root=root)


def delete(tx: Transaction, provider: Provider) -> None:
    """Remove a provider that has no children and against which nothing is allocated."""
    if tx.one(Provider, Provider.c.parent == provider.uuid) is not None:
        raise ProviderHasChildren(f"Unable to delete parent resource provider {provider.uuid}: It has child resource providers.")
    if tx.one(Allocation, Allocation.c.provider == provider.uuid) is not None:
        raise ProviderInUse(f"Unable to delete resource provider {provider.uuid}: Resource provider has allocations.")
    tx.delete(Stock, Stock.c.provider == provider.uuid)
    tx.remove(provider)


def set_traits(tx: Transaction, provider: Provider, traits: Collection[str]) -> None:
    """The provider has these traits, and no others."""
    missing = names.unknown_traits(tx, traits)
    if missing:
        raise Invalid(f"No such trait {', '.join(missing)}.")
    change(tx, provider, traits=names.traits_in_order(set(traits)))


def set_aggregates(tx: Transaction, provider: Provider, aggregates: Collection[str], *, bump: bool = True) -> None:
    """The provider is in these aggregates, and no others."""
    change(tx, provider, bump=bump, aggregates=list(dict.fromkeys(aggregates)))


def _require_free(tx: Transaction, name: str) -> None:
    if tx.one(Provider, Provider.c.name == name) is not None:
        raise DuplicateName(f"Conflicting resource provider name: {name} already exists.")


def _subtree(uuid: str, tree: list[Provider]) -> set[str]:
    """The provider and all that stand below it."""
    found, size = {uuid}, 0
    while size < len(found):
        size = len(found)
        found |= {one.uuid for one in tree if one.parent in found}
    return found
