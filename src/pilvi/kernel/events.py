"""Events: facts told upwards, heard within the transaction that made them true.

A service publishes a struct of its `events.py`; services above name in their manifest which operation hears it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pilvi.kernel.context import Context

Hearer = Callable[["Context", Any], None]


class Events:
    """Who hears what."""

    def __init__(self) -> None:
        self._hearers: dict[type[msgspec.Struct], list[Hearer]] = {}

    def hear(self, event: type[msgspec.Struct], hearer: Hearer) -> None:
        """From now on `hearer` is called with each event of this kind."""
        self._hearers.setdefault(event, []).append(hearer)

    def tell(self, ctx: Context, event: msgspec.Struct) -> None:
        """Call all that hear this event, in the caller's transaction; what one of them raises, the caller gets."""
        for hearer in self._hearers.get(type(event), ()):
            hearer(ctx, event)
