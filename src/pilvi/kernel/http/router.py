"""The router: from a path to the routes that stand there, literal parts before named ones."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from pilvi.kernel.http.resource import Route


class Standing(NamedTuple):
    """A route where it stands, with the names of the path's variables in order."""

    route: Route
    names: tuple[str, ...]


class Place:
    """A path's routes by method, and the places below it."""

    __slots__ = ("below", "named", "rest", "routes")

    def __init__(self) -> None:
        self.below: dict[str, Place] = {}
        self.named: Place | None = None
        self.rest = False  # this place takes all that follows: {path:rest}
        self.routes: dict[str, list[Standing]] = {}


class Found(NamedTuple):
    """The place of a path and the values of its variables."""

    place: Place
    values: tuple[str, ...]


class Router:
    """All paths of one service."""

    def __init__(self) -> None:
        self.root = Place()

    def add(self, path: str, route: Route) -> None:
        """Have the route answer at the path; a variable that is only written for the reader is named `_`."""
        place = self.root
        names: list[str] = []
        for part in _parts(path):
            if part.startswith("{"):
                names.append(part.strip("{}").removesuffix(":rest"))
                place.named = place.named or Place()
                place = place.named
                place.rest = part.endswith(":rest}")
            else:
                place = place.below.setdefault(part, Place())
        place.routes.setdefault(route.method, []).append(Standing(route, tuple(names)))

    def find(self, path: str) -> Found | None:
        """The place of the path; None when there is no such path."""
        return _find(self.root, _parts(path), 0)


def _parts(path: str) -> list[str]:
    path = path.strip("/")
    return path.split("/") if path else []


def _find(place: Place, parts: list[str], at: int) -> Found | None:
    if at == len(parts):
        return Found(place, ()) if place.routes else None
    part = parts[at]
    literal = place.below.get(part)
    if literal is not None:
        found = _find(literal, parts, at + 1)
        if found is not None:
            return found
    named = place.named
    if named is None or not part:
        return None
    if named.rest:
        return Found(named, (unquote("/".join(parts[at:])),))
    found = _find(named, parts, at + 1)
    if found is None:
        return None
    return Found(found.place, (unquote(part) if "%" in part else part, *found.values))
