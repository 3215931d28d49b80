"""Filters: which images a list is asked for."""

from __future__ import annotations

import csv
from typing import Any

import sqlalchemy as sa

from pilvi.image.tables import Image, Property, Tag
from pilvi.kernel import clock
from pilvi.kernel.errors import Invalid

_TEXTS = ("name", "status", "id", "container_format", "disk_format", "checksum", "os_hash_value", "os_hash_algo", "owner")
_SEVERAL = ("name", "status", "id", "container_format", "disk_format")
_NUMBERS = ("size", "virtual_size", "min_disk", "min_ram")
_MOMENTS = ("created_at", "updated_at")
_BOOLEANS = ("protected", "os_hidden")
_OTHERS = frozenset(["limit", "marker", "sort", "sort_key", "sort_dir", "tag", "visibility", "member_status", "changes-since", "deleted"])
SORTABLE = (
    "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at", "virtual_size", "min_disk", "min_ram",
    "protected", "owner", "visibility", "checksum",
)  # fmt: skip
_LARGEST = (1 << 63) - 1
_SHOWN = Image.c.os_hidden.is_(False)


def conditions(pairs: list[tuple[str, str]]) -> list[Any]:
    """The conditions that the query's parameters say, visibility apart; raises Invalid."""
    found: list[Any] = []
    hidden = False
    for name, value in pairs:
        if name in _BOOLEANS:
            wanted = _boolean(name, value)
            hidden = hidden or name == "os_hidden"
            found.append(Image.c[name].is_(wanted))
        elif name in _TEXTS:
            found.append(_text(name, value))
        elif name in _MOMENTS:
            found.append(_moment(name, value))
        elif name in _NUMBERS:
            found.append(Image.c[name] == number(name, value))
        elif name.rpartition("_")[0] in _NUMBERS and name.endswith(("_min", "_max")):
            column, bound = Image.c[name.rpartition("_")[0]], number(name, value)
            found.append(column >= bound if name.endswith("_min") else column <= bound)
        elif name == "tag":
            found.append(Image.c.id.in_(sa.select(Tag.c.image).where(Tag.c.tag == value)))
        elif name not in _OTHERS:
            found.append(Image.c.id.in_(sa.select(Property.c.image).where(Property.c.name == name, Property.c.value == value)))
    if not hidden:
        found.append(_SHOWN)
    return found


def number(name: str, value: str) -> int:
    """A whole number, not negative; raises Invalid."""
    if not value.isascii() or not value.isdigit() or int(value) > _LARGEST:
        raise Invalid(f"{name} must be a whole number and not negative, not '{value[:40]}'.", field=name)
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise Invalid(f"Invalid value '{value[:40]}' for '{name}' filter. Valid values are case sensitive 'true' or 'false'.", field=name)
    return value.lower() == "true"


def _text(name: str, value: str) -> Any:
    kind, colon, rest = value.partition(":")
    if colon and kind == "in" and name in _SEVERAL:
        try:
            (values,) = csv.reader([rest], strict=True)
        except (csv.Error, ValueError):
            raise Invalid(f"Invalid filter value '{rest[:100]}': quote values that contain commas.", field=name) from None
        if not all(values):
            raise Invalid(f"Invalid filter value '{rest[:100]}': an empty value is not possible.", field=name)
        return Image.c[name].in_(values)
    if colon and kind == "eq" and name in _SEVERAL:
        value = rest
    return Image.c[name] == value.strip('"') if name == "name" and value.startswith('"') else Image.c[name] == value


def _moment(name: str, value: str) -> Any:
    kind, colon, rest = value.partition(":")
    if colon and kind in ("gt", "gte", "lt", "lte", "eq", "neq"):
        value = rest
    else:
        kind = "eq"
    at, column = clock.parse(value, name), Image.c[name]
    if kind in ("eq", "neq"):  # callers see whole seconds
        same = sa.and_(column >= at, column < at + 1)
        return same if kind == "eq" else sa.not_(same)
    return {"gt": column >= at + 1, "gte": column >= at, "lt": column < at, "lte": column < at + 1}[kind]


def order(pairs: list[tuple[str, str]]) -> tuple[tuple[str, bool], ...]:
    """The keys to sort by, each with whether downwards; raises Invalid."""
    sorts = [value for name, value in pairs if name == "sort"]
    keys = [value for name, value in pairs if name == "sort_key"]
    ways = [value for name, value in pairs if name == "sort_dir"]
    if sorts and (keys or ways):
        raise Invalid("The sort parameter does not go together with sort_key and sort_dir.", field="sort")
    if sorts:
        split = [part.strip().partition(":") for part in ",".join(sorts).split(",")]
        keys, ways = [one[0] for one in split], [one[2] or "desc" for one in split]
    elif not keys:
        keys = ["created_at"]
    if len(ways) > 1 and len(ways) != len(keys):
        raise Invalid("Number of sort dirs does not match the number of sort keys.", field="sort_dir")
    if len(ways) <= 1:
        ways = (ways or ["desc"]) * len(keys)
    for way in ways:
        if way not in ("asc", "desc"):
            raise Invalid(f"Invalid sort direction: {way[:40]}; it is asc or desc.", field="sort_dir")
    found = tuple((key, way == "desc") for key, way in zip(keys, ways, strict=True))
    for key, _ in found:
        if key not in SORTABLE:
            raise Invalid(f"Sort key '{key[:60]}' is not valid.", field="sort_key")
    return found
