"""Errors that placement tells apart by a code of its own."""

from __future__ import annotations

from typing import ClassVar

from pilvi.kernel.errors import Conflict, Invalid

UNDEFINED = "placement.undefined_code"


class ConcurrentUpdate(Conflict):
    """Another request changed the thing since the caller read it."""

    code: ClassVar[str] = "placement.concurrent_update"


class DuplicateName(Conflict):
    code: ClassVar[str] = "placement.duplicate_name"


class InventoryInUse(Conflict):
    code: ClassVar[str] = "placement.inventory.inuse"


class ProviderInUse(Conflict):
    code: ClassVar[str] = "placement.resource_provider.inuse"


class ProviderHasChildren(Conflict):
    code: ClassVar[str] = "placement.resource_provider.cannot_delete_parent"


class UnknownProvider(Invalid):
    """A body names a provider that is not there."""

    code: ClassVar[str] = "placement.resource_provider.not_found"


class DuplicateKey(Invalid):
    code: ClassVar[str] = "placement.query.duplicate_key"


class BadValue(Invalid):
    code: ClassVar[str] = "placement.query.bad_value"


class MissingValue(Invalid):
    code: ClassVar[str] = "placement.query.missing_value"


def code_of(error: Exception) -> str:
    """The code that clients tell errors apart by."""
    return getattr(error, "code", UNDEFINED)
