"""Names of resource classes and traits: the standard ones, which every OpenStack cloud shares, and custom ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

import os_resource_classes
import os_traits

from pilvi.kernel import clock
from pilvi.kernel.db import Row, Transaction
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.placement.tables import CustomClass, CustomTrait

CLASSES: tuple[str, ...] = tuple(os_resource_classes.STANDARDS)
TRAITS: frozenset[str] = frozenset(os_traits.get_traits())
CUSTOM = re.compile(r"\ACUSTOM_[A-Z0-9_]{1,248}\Z")
SHARES = "MISC_SHARES_VIA_AGGREGATE"

_STANDARD_CLASSES = frozenset(CLASSES)
_PLACES = {name: place for place, name in enumerate(CLASSES)}


def is_standard_class(name: str) -> bool:
    return name in _STANDARD_CLASSES


def in_order(classes: Iterable[str]) -> list[str]:
    """Classes in the standard's order, custom ones behind by name."""
    return sorted(classes, key=lambda name: (_PLACES.get(name, len(_PLACES)), name))


def traits_in_order(traits: Iterable[str]) -> list[str]:
    """Standard traits first, then custom ones, each by name."""
    return sorted(traits, key=lambda name: (name not in TRAITS, name))


def unknown_classes(tx: Transaction, names: Iterable[str]) -> list[str]:
    """Those of the names that are no resource class of this cloud."""
    return _unknown(tx, CustomClass, set(names) - _STANDARD_CLASSES)


def unknown_traits(tx: Transaction, names: Iterable[str]) -> list[str]:
    """Those of the names that are no trait of this cloud."""
    return _unknown(tx, CustomTrait, set(names) - TRAITS)


def require_classes(tx: Transaction, names: Iterable[str]) -> None:
    """Raise Invalid, naming them, when some of these classes do not exist."""
    missing = unknown_classes(tx, names)
    if missing:
        raise Invalid(f"No such resource class {', '.join(missing)}.")


def ensure(tx: Transaction, classes: Iterable[str], traits: Iterable[str]) -> None:
    """Have these classes and traits exist.  Raises Invalid for a name that is neither standard nor a proper custom one."""
    for kind, missing in ((CustomClass, unknown_classes(tx, classes)), (CustomTrait, unknown_traits(tx, traits))):
        for name in missing:
            if not CUSTOM.match(name):
                raise Invalid(f"{name[:100]} is not a standard name, nor a custom one (CUSTOM_ followed by A-Z, 0-9 and _).")
            add(tx, kind, name)


def add(tx: Transaction, kind: type[CustomClass] | type[CustomTrait], name: str) -> bool:
    """Add a custom name; answers whether it is new."""
    if tx.get(kind, name) is not None:
        return False
    try:
        with tx.attempt():
            tx.insert(kind(name=name, updated_at=clock.now()))
    except Conflict:
        return False
    return True


def _unknown(tx: Transaction, kind: type[CustomClass] | type[CustomTrait], names: set[str]) -> list[str]:
    if not names:
        return []
    found = {row.name for row in tx.by(kind, kind.c.name, names)}
    return sorted(names - found)


__all__ = ["CLASSES", "CUSTOM", "SHARES", "TRAITS", "Row", "add", "ensure", "in_order", "is_standard_class", "require_classes"]
