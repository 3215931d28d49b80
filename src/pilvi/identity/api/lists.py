"""Lists as all of identity has them: filtered by exact values or comparisons, in pages; and attributes that we only keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from pilvi.identity.memory import of
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Body, Count, Listing, Query, Request
from pilvi.kernel.http.shape import fields

R = TypeVar("R", bound=Row)

_COMPARISONS: dict[str, Callable[[Any, str], Any]] = {
    "equals": lambda column, value: column == value,
    "contains": lambda column, value: column.contains(value, autoescape=True),
    "startswith": lambda column, value: column.startswith(value, autoescape=True),
    "endswith": lambda column, value: column.endswith(value, autoescape=True),
    "iequals": lambda column, value: sa.func.lower(column) == value.lower(),
    "icontains": lambda column, value: column.icontains(value, autoescape=True),
    "istartswith": lambda column, value: column.istartswith(value, autoescape=True),
    "iendswith": lambda column, value: column.iendswith(value, autoescape=True),
}


class Page(Query, extra=True):
    """How much of a list is wanted."""

    limit: Count | None = None
    marker: str | None = None


def truth(text: str) -> bool:
    """A flag in a query: there without a value means yes."""
    return text.lower() not in ("0", "false", "no", "off")


def narrowed(kind: type[Row], query: Any, request: Request) -> list[Any]:
    """The conditions that a query names: those of its fields that are columns, exactly or compared (name__contains=x)."""
    where: list[Any] = []
    allowed = query.__struct_fields__
    for key, value in request.query:
        name, _, comparison = key.partition("__")
        if name not in allowed or name not in kind.c:
            continue
        column = kind.c[name]
        if isinstance(column.type, sa.Boolean):
            where.append(column.is_(truth(value)))
        elif not comparison:
            where.append(column == value)
        elif comparison in _COMPARISONS:
            where.append(_COMPARISONS[comparison](column, value))
    return where


def listed(
    ctx: Context, request: Request, query: Any, kind: type[R], *where: Any, view: Callable[[Context, R], Any], sort: str = "id"
) -> Listing:
    """The page of a list that a request asks for."""
    most = of(ctx.program).settings.list_limit or None
    limit = query.limit if most is None else min(query.limit or most, most)
    window = Window(sort=((sort, False),), limit=limit or None, marker=query.marker)
    rows = page(ctx.db, kind, *where, *narrowed(kind, query, request), window=window)
    return Listing([view(ctx, row) for row in rows], more=rows.more, marker=getattr(rows[-1], kind.keys[0]) if rows else None)


def kept(request: Request, envelope: str, shape: type[Body]) -> dict[str, Any]:
    """The attributes of a body that the shape doesn't know: they are remembered and given back as they came."""
    data = msgspec.json.decode(request.body)[envelope]
    known = _known(shape)
    found = {name: value for name, value in data.items() if name not in known}
    for name in found:
        if len(name) > 255:
            raise Invalid("An attribute's name may not be longer than 255 letters.", field=name[:50])
    return found


def given(request: Request, envelope: str) -> dict[str, Any]:
    """A body as it came."""
    return msgspec.json.decode(request.body)[envelope]


@cache
def _known(shape: type[Body]) -> frozenset[str]:
    return frozenset({field.wire for field in fields(shape)} | {"id", "links"})
