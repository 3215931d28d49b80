"""The picture: all providers with what is free, held in memory and brought up to date by what has changed.

Every change of a provider gives its row a new random revision.  The sum of all revisions tells in one cheap query
whether the picture is still true; when it is not, the revisions tell which providers must be read again.  A picture
is never altered, so a reader keeps the one it has; one that was drawn in a transaction that is then rolled back is
known as old by the same sum.

Which providers have changed is asked of those that changed lately; when these do not explain the new sum (clocks may
differ, transactions may end late), all revisions are held against the picture's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa

from pilvi.kernel.db import Transaction
from pilvi.kernel.db.engine import Database
from pilvi.placement import tables
from pilvi.placement.names import SHARES, in_order

T = TypeVar("T")
_MARK = sa.select(sa.func.count(), sa.func.sum(tables.Provider.c.revision))
_REVISIONS = sa.select(tables.Provider.c.uuid, tables.Provider.c.revision)
_LATELY = _REVISIONS.where(tables.Provider.c.updated_at >= sa.bindparam("since"))
_THESE = sa.bindparam("these", expanding=True)
_PROVIDERS = sa.select(tables.Provider.t).where(tables.Provider.c.uuid.in_(_THESE))
_STOCKS = sa.select(tables.Stock.t).where(tables.Stock.c.provider.in_(_THESE))
_MANY = 200  # changed providers from which on everything is read at once
_SLACK = 2.0  # seconds by which a change may be older than the newest that is known


class Stock(msgspec.Struct, frozen=True):
    """A provider's inventory of one class, with what is free of it."""

    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float
    capacity: int
    used: int
    free: int

    def has_room(self, amount: int) -> bool:
        """Whether this much can be allocated at once."""
        return amount <= self.free and self.min_unit <= amount <= self.max_unit and not amount % self.step_size


class Provider(msgspec.Struct, frozen=True, eq=False):
    """A provider as it was at one revision."""

    uuid: str
    name: str
    generation: int
    revision: int
    parent: str | None
    root: str
    traits: frozenset[str]
    aggregates: frozenset[str]
    updated_at: float
    stock: dict[str, Stock]
    key: bytes  # its uuid as JSON
    kept: dict[str, Any] = msgspec.field(default_factory=dict)  # what others made of it once, by form

    @property
    def shares(self) -> bool:
        """Whether it serves all trees that are in one of its aggregates."""
        return SHARES in self.traits


class Picture:
    """All providers at one moment."""

    def __init__(self, mark: tuple[int, int], providers: dict[str, Provider]) -> None:
        self.mark = mark
        self.providers = providers
        self.trees: dict[str, list[Provider]] = {}
        self.sharing: list[Provider] = []
        for provider in providers.values():
            tree = self.trees.get(provider.root)
            if tree is None:
                self.trees[provider.root] = [provider]
            else:
                tree.append(provider)
            if SHARES in provider.traits:
                self.sharing.append(provider)
        self.flat = len(self.trees) == len(providers)
        self.newest = max((provider.updated_at for provider in providers.values()), default=0.0)
        self._anchors: dict[str, list[Provider]] | None = None
        self._made: dict[Callable[[Provider], Any], dict[str, Any]] = {}

    def each(self, make: Callable[[Provider], T]) -> Mapping[str, T]:
        """What `make` makes of every provider; it is asked once for each state of a provider."""
        made = self._made.get(make)
        if made is None:
            made = self._made[make] = {uuid: make(provider) for uuid, provider in self.providers.items()}
        return made

    def changed(self, mark: tuple[int, int], fresh: dict[str, Provider]) -> Picture:
        """The picture with some of its providers as they are now; this one stays as it is."""
        providers = self.providers | fresh
        if not self.flat or self.sharing or any(one.shares or one.root != one.uuid for one in fresh.values()):
            return Picture(mark, providers)
        made = Picture.__new__(Picture)
        made.mark, made.providers, made.sharing, made.flat, made._anchors = mark, providers, [], True, None
        made.trees = self.trees | {uuid: [one] for uuid, one in fresh.items()}
        made._made = {make: known | {uuid: make(one) for uuid, one in fresh.items()} for make, known in self._made.items()}
        made.newest = max(self.newest, *(one.updated_at for one in fresh.values()))
        return made

    def shared_with(self, root: str) -> list[Provider]:
        """The sharing providers that serve the tree of that root from outside of it."""
        if not self.sharing:
            return []
        if self._anchors is None:
            self._anchors = {}
            for at, tree in self.trees.items():
                aggregates = frozenset().union(*(provider.aggregates for provider in tree))
                found = [one for one in self.sharing if one.root != at and one.aggregates & aggregates]
                if found:
                    self._anchors[at] = found
        return self._anchors.get(root, [])

    def is_below(self, uuid: str, ancestor: str) -> bool:
        """Whether a provider is `ancestor` or stands under it."""
        at: str | None = uuid
        while at is not None:
            if at == ancestor:
                return True
            provider = self.providers.get(at)
            at = provider.parent if provider is not None else None
        return False


_latest: WeakKeyDictionary[Database, Picture] = WeakKeyDictionary()


def new_revision() -> int:
    """A number that no earlier state of the provider had."""
    return secrets.randbits(48)


def look(tx: Transaction) -> Picture:
    """The picture as this transaction sees it."""
    row = tx.execute(_MARK).one()
    mark = (int(row[0]), int(row[1] or 0))
    known = _latest.get(tx.database)
    if known is not None and known.mark == mark:
        return known
    picture = (_follow(tx, known, mark) if known is not None else None) or _draw(tx, known, mark)
    _latest[tx.database] = picture
    return picture


def _follow(tx: Transaction, known: Picture, mark: tuple[int, int]) -> Picture | None:
    """The known picture with what changed lately, or None when that does not explain the mark."""
    changed, total = [], known.mark[1]
    for uuid, revision in tx.rows(_LATELY, {"since": known.newest - _SLACK}):
        had = known.providers.get(uuid)
        if had is None:
            return None
        if had.revision != revision:
            changed.append(uuid)
            total += revision - had.revision
    if not changed or len(changed) > _MANY or (known.mark[0], total) != mark:
        return None
    return known.changed(mark, _read(tx, changed))


def _draw(tx: Transaction, known: Picture | None, mark: tuple[int, int]) -> Picture:
    """A picture of all providers, those whose revision is known not read again."""
    revisions: dict[str, int] = {row[0]: row[1] for row in tx.execute(_REVISIONS)}
    had = known.providers if known is not None else {}
    kept = {uuid: provider for uuid, provider in had.items() if revisions.get(uuid) == provider.revision}
    if len(kept) < len(revisions):
        changed = [uuid for uuid in revisions if uuid not in kept]
        kept |= _read(tx, None if len(changed) > _MANY else changed)
        kept = {uuid: kept[uuid] for uuid in revisions if uuid in kept}
    return Picture(mark, kept)


def _read(tx: Transaction, uuids: list[str] | None) -> dict[str, Provider]:
    """These providers (None: all) from the database."""
    if uuids is None:
        rows, stocks = tx.all(tables.Provider), tx.all(tables.Stock)
    else:
        rows = tx.load(tables.Provider, _PROVIDERS, {"these": uuids})
        stocks = tx.load(tables.Stock, _STOCKS, {"these": uuids})
    held: dict[str, dict[str, Stock]] = {}
    for one in stocks:
        held.setdefault(one.provider, {})[one.resource_class] = Stock(
            one.total, one.reserved, one.min_unit, one.max_unit, one.step_size, one.allocation_ratio, one.capacity, one.used,
            one.capacity - one.used,
        )  # fmt: skip
    return {
        row.uuid: Provider(
            row.uuid, row.name, row.generation, row.revision, row.parent, row.root, frozenset(row.traits), frozenset(row.aggregates),
            row.updated_at, {name: held[row.uuid][name] for name in in_order(held[row.uuid])} if row.uuid in held else {},
            msgspec.json.encode(row.uuid),
        )
        for row in rows
    }  # fmt: skip
