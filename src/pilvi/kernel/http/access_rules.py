"""Access rules: the only calls that some callers may make, each a service, a method and a path with wildcards."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

_WILD = re.compile(r"(\*\*|\*|\{[^}]*\})")


def permits(rules: tuple[tuple[str, str, str], ...], types: Collection[str], method: str, path: str) -> bool:
    """Whether any of the rules, (service type, method, path), allows this call to a service of these types.

    In a rule's path `*` and `{name}` stand for one part of a path, `**` for any number of them.
    """
    return any(service in types and verb == method and _pattern(place).fullmatch(path) is not None for service, verb, place in rules)


@lru_cache(maxsize=1024)
def _pattern(place: str) -> re.Pattern[str]:
    parts = [".*" if part == "**" else "[^/]+" if _WILD.fullmatch(part) else re.escape(part) for part in _WILD.split(place)]
    return re.compile("".join(parts))
