"""Quotas: limits per project, held against what is really there, so that they never drift.

A service declares its resources with their defaults; the used amount is counted from its own tables, in the
transaction that adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pilvi.kernel.db import LongKey, Row
from pilvi.kernel.errors import QuotaExceeded

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction

UNLIMITED = -1
_CLASS = "class:default"


class Limit(Row, table="kernel_limits"):
    """What an operator set for one project (or, with project "", for a quota class named in `scope`)."""

    service: LongKey
    scope: LongKey  # a project's id, or "class:NAME"
    resource: LongKey
    limit: int


class Guard(Row, table="kernel_quota_guards"):
    """One row a project and service: locked by who adds, so that two at once are counted one after the other."""

    service: LongKey
    scope: LongKey
    turn: int = 0


class Quotas:
    """The limits of one service: `defaults` as declared and configured."""

    def __init__(self, service: str, defaults: Mapping[str, int]) -> None:
        self.service = service
        self.defaults = dict(defaults)

    def limits(self, tx: Transaction, project_id: str) -> dict[str, int]:
        """Every resource's limit for the project: its own, else the default class's, else the declared one."""
        rows = tx.all(Limit, Limit.c.service == self.service, Limit.c.scope.in_((_CLASS, project_id)))
        found = {row.resource: row.limit for row in sorted(rows, key=lambda row: row.scope != _CLASS)}
        return {name: found.get(name, default) for name, default in self.defaults.items()} | {
            name: limit for name, limit in found.items() if name not in self.defaults
        }

    def set(self, tx: Transaction, scope: str, limits: Mapping[str, int]) -> None:
        """Write limits of a project, or of a class ("class:default")."""
        for resource, limit in limits.items():
            tx.put(Limit(service=self.service, scope=scope, resource=resource, limit=limit))

    def clear(self, tx: Transaction, scope: str) -> None:
        """Back to the defaults."""
        tx.delete(Limit, Limit.c.service == self.service, Limit.c.scope == scope)

    def check(self, tx: Transaction, project_id: str, resource: str, *, used: int, asked: int) -> None:
        """Raise QuotaExceeded when `asked` more would be more than the project may have."""
        if asked <= 0:
            return
        limit = self.limits(tx, project_id).get(resource, UNLIMITED)
        if limit != UNLIMITED and used + asked > limit:
            raise QuotaExceeded(resource=resource, limit=limit, used=used, asked=asked)

    def turn(self, tx: Transaction, project_id: str) -> None:
        """Wait for this project's turn; say it before counting what is used.  SQLite has one writer anyhow."""
        if tx.database.embedded:
            return
        where = (Guard.c.service == self.service, Guard.c.scope == project_id)
        if not tx.update(Guard, *where, turn=Guard.c.turn + 1):
            tx.put(Guard(service=self.service, scope=project_id))
