"""Paging: limit, marker and sort parameters as nova takes them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pilvi.kernel.db.pages import Window
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Query, wire

Limit = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class PageQuery(Query, extra="2.74"):
    """What every list takes; unknown parameters are let pass up to 2.74, as nova does."""

    limit: Limit | None = None
    marker: str | None = None
    sort_key: list[str] = wire(factory=list)
    sort_dir: list[str] = wire(factory=list)


def window(query: PageQuery, most: int, *, default: tuple[tuple[str, bool], ...] = ()) -> Window:
    """The window that a query asks for; at most `most` entries.  Raises Invalid on a direction that is none."""
    for direction in query.sort_dir:
        if direction not in ("asc", "desc"):
            raise Invalid(f"Invalid input for field sort_dir: '{direction}' is neither asc nor desc.", field="sort_dir")
    directions = query.sort_dir or ["asc"]
    sort = tuple((key, directions[min(place, len(directions) - 1)] == "desc") for place, key in enumerate(query.sort_key))
    limit = most if query.limit is None else min(query.limit, most)
    return Window(sort=sort or default, limit=limit, marker=query.marker)
