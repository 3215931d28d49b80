"""Pages: a list in a wished order, a bounded number at a time, going on behind a marker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from pilvi.kernel.db.rows import Row
from pilvi.kernel.db.transaction import Transaction
from pilvi.kernel.errors import Invalid

R = TypeVar("R", bound=Row)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is asked for.  `sort` holds (key, descending) pairs; `limit` None is all."""

    sort: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False  # go backwards from the marker


class Page(list[R]):
    """The rows of a window; `more` tells that others follow."""

    more: bool = False


def page(
    tx: Transaction, kind: type[R], *where: Any, window: Window, sortable: Sequence[str] | None = None, key: str | None = None,
    statement: Any = None,
) -> Page[R]:
    """The rows that fit, in the window's order, with the key as the last word on order.

    `sortable` names the columns that may be sorted by (all when None).  An unknown sort key, or a marker that is
    not in the table, is Invalid.
    """  # fmt: skip
    key = key or kind.keys[0]
    columns = [(name, down) for name, down in window.sort]
    for name, _ in columns:
        if name not in kind.c or (sortable is not None and name not in sortable):
            raise Invalid(f"Sort key '{name}' is not valid.", field="sort_key")
    if key not in [name for name, _ in columns]:
        columns.append((key, columns[-1][1] if columns else False))
    if window.reverse:
        columns = [(name, not down) for name, down in columns]
    select = (sa.select(kind.t) if statement is None else statement).where(*where)
    if window.marker is not None:
        anchor = tx.one(kind, kind.c[key] == window.marker)
        if anchor is None:
            raise Invalid(f"Marker '{window.marker}' was not found.", field="marker")
        select = select.where(_behind(kind, columns, anchor))
    for name, down in columns:
        column = kind.c[name]
        if column.nullable:  # one order of NULLs on every database: first when ascending
            null_rank = sa.case((column.is_(None), 0), else_=1)
            select = select.order_by(null_rank.desc() if down else null_rank)
        select = select.order_by(column.desc() if down else column)
    if window.limit is not None:
        select = select.limit(window.limit + 1)
    found: Page[R] = Page(kind.load(row) for row in tx.execute(select))
    if window.limit is not None and len(found) > window.limit:
        del found[window.limit :]
        found.more = True
    if window.reverse:
        found.reverse()
    return found


def _behind(kind: type[Row], columns: Sequence[tuple[str, bool]], anchor: Row) -> Any:
    """The condition of standing behind `anchor` in this order."""
    choices: list[Any] = []
    equal: list[Any] = []
    for name, down in columns:
        column, value = kind.c[name], getattr(anchor, name)
        if value is None:
            behind = sa.false() if down else column.is_not(None)
            same = column.is_(None)
        else:
            behind = sa.or_(column < value, column.is_(None)) if down and column.nullable else column < value if down else column > value
            same = column == value
        choices.append(sa.and_(*equal, behind))
        equal.append(same)
    return sa.or_(*choices)
