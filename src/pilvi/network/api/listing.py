"""What a list is asked for: filters by any attribute, fields, order and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window
from pilvi.kernel.errors import Invalid
from pilvi.network.errors import BadRequest

Filter = Callable[[Context, list[str]], Any]
_RESERVED = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "tags", "tags-any", "not-tags", "not-tags-any"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class Asked(msgspec.Struct, kw_only=True):
    """A list's query, read."""

    where: list[Any]
    window: Window
    fields: frozenset[str]


def truth(text: str, name: str) -> bool:
    """A boolean of a query.  Raises BadRequest naming the filter."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadRequest(f"Invalid input for {name}. Reason: '{text[:50]}' cannot be converted to boolean.", field=name)


def column_filter(column: Any, name: str) -> Filter:
    """The filter that compares a column; several values are alternatives, an empty one is also NULL."""
    kind = column.type

    def convert(text: str) -> Any:
        if isinstance(kind, sa.Boolean):
            return truth(text, name)
        if isinstance(kind, sa.Double):
            return clock.parse(text, name)
        if isinstance(kind, sa.BigInteger):
            if not text.lstrip("-").isdecimal():
                raise BadRequest(f"Invalid input for {name}. Reason: '{text[:50]}' is not an integer.", field=name)
            return int(text)
        return text

    def condition(ctx: Context, values: list[str]) -> Any:
        wanted = [convert(text) for text in values if text != "" or isinstance(kind, sa.String)]
        found = column == wanted[0] if len(wanted) == 1 else column.in_(wanted)
        if column.nullable and any(text in ("", "None", "null") for text in values):
            return sa.or_(found, column.is_(None)) if wanted else column.is_(None)
        return found

    return condition


def changed_since(column: Any) -> Filter:
    """The filter for what has been changed since a moment."""
    return lambda ctx, values: column >= max(clock.parse(text, "changed_since") for text in values)


def has_tag(column: Any, tag: str) -> Any:
    """The condition that a record carries the tag; exact on every database."""
    text = sa.type_coerce(column, sa.Text)
    return sa.func.replace(text, msgspec.json.encode(tag).decode(), "") != text


def _tag_filters(query: Mapping[str, list[str]], column: Any) -> list[Any]:
    found = []
    for name in ("tags", "tags-any", "not-tags", "not-tags-any"):
        for text in query.get(name, ()):
            each = [has_tag(column, tag) for tag in text.split(",") if tag]
            if each:
                joined = sa.or_(*each) if name.endswith("any") else sa.and_(*each)
                found.append(sa.not_(joined) if name.startswith("not") else joined)
    return found


def read(
    ctx: Context, pairs: Sequence[tuple[str, str]], filters: Mapping[str, Filter], kind: Any, sortable: Mapping[str, str]
) -> Asked:
    """Read a list's query.  Raises BadRequest for what cannot be filtered or sorted by."""
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    where = _tag_filters(query, kind.c.tags) if "tags" in kind.c else []
    for name, values in query.items():
        if name in _RESERVED:
            continue
        found = filters.get(name)
        if found is None:
            raise BadRequest(f"['{name[:100]}'] is invalid attribute for filtering", field=name)
        where.append(found(ctx, values))
    return Asked(where=where, window=_window(query, sortable), fields=frozenset(query.get("fields", ())) - {""})


def _window(query: Mapping[str, list[str]], sortable: Mapping[str, str]) -> Window:
    keys, ways = query.get("sort_key", []), query.get("sort_dir", [])
    if ways and len(keys) != len(ways):
        raise BadRequest("The number of sort_keys and sort_dirs must be same", field="sort_dir")
    sort: list[tuple[str, bool]] = []
    for place, key in enumerate(keys):
        if key not in sortable:
            raise BadRequest(f"{key[:100]} is invalid attribute for sort_keys", field="sort_key")
        way = ways[place] if ways else "asc"
        if way not in ("asc", "desc"):
            raise BadRequest("sort_dir must be asc or desc", field="sort_dir")
        sort.append((sortable[key], way == "desc"))
    return Window(
        sort=tuple(sort), limit=_limit(query), marker=(query.get("marker") or [""])[-1] or None,
        reverse=truth(query["page_reverse"][-1], "page_reverse") if "page_reverse" in query else False,
    )  # fmt: skip


def _limit(query: Mapping[str, list[str]]) -> int | None:
    text = (query.get("limit") or [""])[-1]
    if text in ("", "0"):
        return None
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"Limit must be an integer 0 or greater and not '{text[:50]}'", field="limit")
    return int(text)
