"""Byte ranges: which part of the data a caller asks for."""

from __future__ import annotations

import re

from pilvi.kernel.errors import RangeNotSatisfiable

_RANGE = re.compile(r"\Abytes=(\d*)-(\d*)\Z")
_CONTENT_RANGE = re.compile(r"\Abytes (\d+)-(\d+)/(?:\d+|\*)\Z")


def part(headers: dict[str, str], size: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last; None for all of them.  Raises RangeNotSatisfiable."""
    asked = headers.get("range") or ""
    if not asked:
        given = _CONTENT_RANGE.match(headers.get("content-range", ""))
        if given is None:
            return None
        asked = f"bytes={given[1]}-{given[2]}"
    match = _RANGE.match(asked.strip())
    if match is None or not (match[1] or match[2]):
        raise RangeNotSatisfiable(f"The range '{asked[:60]}' is not one of bytes, first to last.")
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= size or start >= end:
        raise RangeNotSatisfiable(f"The range '{asked[:60]}' lies outside of the {size} bytes that there are.")
    return start, end
