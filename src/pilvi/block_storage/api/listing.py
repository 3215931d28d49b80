"""Lists of block storage: filters, order and pages, the same for every kind of thing."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row
from pilvi.kernel.db.pages import Page, Window, page
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Listing, Query, Request, Version
from pilvi.kernel.http.shape import wire

R = TypeVar("R", bound=Row)

Key255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Value255 = Annotated[str, msgspec.Meta(max_length=255)]
Metadata = dict[Key255, Value255]
_TRUE, _FALSE = ("1", "t", "true", "on", "y", "yes"), ("0", "f", "false", "off", "n", "no")
_OPERATORS: dict[str, Callable[[Any, float], Any]] = {
    "gt": lambda column, at: column > at, "gte": lambda column, at: column >= at, "lt": lambda column, at: column < at,
    "lte": lambda column, at: column <= at, "eq": lambda column, at: column == at, "neq": lambda column, at: column != at,
}  # fmt: skip


class ListQuery(Query, extra=True):
    """What every list takes; filters are read from the request by the columns' names."""

    limit: str | None = None
    marker: str | None = None
    offset: str | None = None
    sort: str | None = None
    sort_key: str | None = None
    sort_dir: str | None = None
    all_tenants: str | None = None
    with_count: str | None = wire(default=None, since="3.45")


def truth(text: str | bool, field: str) -> bool:
    """A boolean as clients write it; raises Invalid."""
    word = str(text).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Invalid(f"Invalid value for {field}: '{text}' is not a boolean.", field=field)


def number(text: str | None, field: str) -> int | None:
    """A whole number of 0 or more; raises Invalid."""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise Invalid(f"{field} param must be an integer of 0 or more.", field=field)
    return int(text)


def window(ctx: Context, query: ListQuery, sortable: Mapping[str, str], default: str = "created_at") -> Window:
    """Which part of the list is asked for, in which order; `sortable` maps the API's names to columns."""
    most = ctx.program.settings.block_storage.max_page
    asked = number(query.limit, "limit")
    if query.sort is not None and (query.sort_key is not None or query.sort_dir is not None):
        raise Invalid("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.", field="sort")
    if query.sort is not None:
        parts = [part.strip().partition(":") for part in query.sort.split(",")]
        pairs = [(name.strip() or default, way.strip() or "desc") for name, _, way in parts]
    else:
        pairs = [(query.sort_key or default, query.sort_dir or "desc")]
    sort: list[tuple[str, bool]] = []
    for name, way in pairs:
        if way not in ("asc", "desc"):
            raise Invalid(f"Unknown sort direction, must be 'desc' or 'asc', not '{way}'.", field="sort_dir")
        if name not in sortable:
            raise Invalid(f"Sort key '{name}' is not valid.", field="sort_key")
        sort.append((sortable[name], way == "desc"))
    return Window(sort=tuple(sort), limit=most if asked is None else min(asked, most), marker=query.marker or None)


def found(ctx: Context, kind: type[R], query: ListQuery, where: Sequence[Any], asked: Window) -> tuple[Page[R], dict[str, Any]]:
    """The rows of the window, and the count of all that fit if it is asked for."""
    if asked.marker and ctx.db.one(kind, kind.c.id == asked.marker) is None:
        raise NotFound(f"The marker {asked.marker} could not be found.", field="marker")
    offset = number(query.offset, "offset")
    statement = sa.select(kind.t).offset(offset) if offset else None
    rows: Page[R] = Page() if asked.limit == 0 else page(ctx.db, kind, *where, window=asked, statement=statement)
    if asked.limit and len(rows) == asked.limit:
        rows.more = True  # a full page always has a next one, which may be empty
    extra = {"count": ctx.db.count(kind, *where)} if query.with_count and truth(query.with_count, "with_count") else {}
    return rows, extra


def listing(rows: Page[Any], views: list[Any], extra: dict[str, Any]) -> Listing:
    return Listing(views, more=rows.more, marker=rows[-1].id if rows else None, extra=extra)


def projects(ctx: Context, kind: type[Row], query: ListQuery, request: Request) -> list[Any]:
    """Whose things are listed: the caller's own project's; all, or another's, for an administrator who asks so."""
    if ctx.is_admin and query.all_tenants is not None and truth(query.all_tenants, "all_tenants"):
        other = next((value for name, value in request.query if name in ("project_id", "tenant_id")), None)
        return [kind.c.project_id == other] if other else []
    return [kind.c.project_id == ctx.project_id]


def filters(
    request: Request, kind: type[Row], *, equal: Mapping[str, str], at: Version, times: Sequence[str] = (), flags: Sequence[str] = (),
    maps: Mapping[str, str] = {}, similar: bool = True,
) -> list[Any]:
    """Conditions from the query: `equal` maps parameters to columns, `flags` are booleans, `maps` are JSON columns.

    `name~=part` finds names that hold the part (since 3.34); moments are compared as `gt:2026-11-20` (since 3.60).
    """  # fmt: skip
    where: list[Any] = []
    for name, value in request.query:
        if name in equal:
            column = kind.c[equal[name]]
            if column.type.python_type is int:
                where.append(column == number(value, name))
            else:
                where.append(column.in_(value.split(",")) if name in ("id", "status") and "," in value else column == value)
        elif similar and name.endswith("~") and name[:-1] in equal and at >= Version(3, 34):
            where.append(kind.c[equal[name[:-1]]].contains(value, autoescape=True))
        elif name in flags:
            where.append(kind.c[name] == truth(value, name))
        elif name in maps:
            where += pairs_in(kind.c[maps[name]], value, name)
        elif name in times and at >= Version(3, 60):
            where += moments(kind.c[name], value, name)
    return where


def pairs_in(column: Any, text: str, field: str) -> list[Any]:
    """Conditions that a JSON mapping of texts holds these pairs, written as a Python or JSON mapping."""
    try:
        pairs = ast.literal_eval(text) if len(text) < 4096 else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pairs = None
    if not isinstance(pairs, dict):
        raise Invalid(f"Invalid filter {field}: a mapping such as {{'key': 'value'}} is expected.", field=field)
    plain = sa.type_coerce(column, sa.Text)
    conditions = []
    for key, value in pairs.items():
        needle = f"{msgspec.json.encode(str(key)).decode()}:{msgspec.json.encode(str(value)).decode()}"
        conditions.append(sa.func.replace(plain, needle, "", type_=sa.Text) != plain)  # case counts, unlike with LIKE
    return conditions


def moments(column: Any, text: str, field: str) -> list[Any]:
    """Conditions on a moment: `gt:2026-11-20T10:00:00,lt:...`, or a bare moment."""
    conditions = []
    for part in text.split(","):
        operator, colon, moment = part.partition(":")
        if operator in _OPERATORS and colon:
            conditions.append(_OPERATORS[operator](column, clock.parse(moment, field)))
        else:
            conditions.append(column == clock.parse(part, field))
    return conditions


def moment(at: float | None) -> str | None:
    """A moment as block storage writes it."""
    return None if at is None else clock.iso_micro(at)
